/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/tracking.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "qemu/bitmaps.h"
#include "qemu/machine.h"
#include "repo/manifest.h"

#define REPO "0123456789abcdef0123456789abcdef"
#define BACKUP "fedcba9876543210fedcba9876543210"

static char *
text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void
names(void **state)
{
    static const char *const not_ours[] = {
        "",
        "vmkeep:",
        "vmkeep:" REPO,
        "vmkeep:" REPO ":",
        "vmkeep:" BACKUP ":" BACKUP,
        "vmkeep:" REPO ":" BACKUP "0",
        "vmkeep:" REPO ":fedcba9876543210fedcba987654321",
        "vmkeep:" REPO ":FEDCBA9876543210FEDCBA9876543210",
        "vmkeep:" REPO "0:" BACKUP,
        "x" REPO ":" BACKUP,
        "vmkeep-" REPO ":" BACKUP,
    };
    char name[TRACKING_NAME_MAX];

    (void)state;
    tracking_name(name, REPO, BACKUP);
    assert_string_equal(name, "vmkeep:" REPO ":" BACKUP);
    assert_string_equal(tracking_backup(name, REPO), BACKUP);
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
        assert_null(tracking_backup(not_ours[i], REPO));
}

/* A disk whose bitmap can be believed, for each test to spoil. */
struct scene {
    struct disk disk, before;
    struct machine now, then;
    struct bitmap bitmap;
    struct manifest *base;
};

static struct scene
good_scene(void)
{
    const struct disk d = {.name = text("vda"),
                           .node = text("node0"),
                           .format = text("qcow2"),
                           .filename = text("/img/a"),
                           .size_bytes = 4096};
    struct scene s = {.disk = d,
                      .before = d,
                      .bitmap = {.recording = true},
                      .base = manifest_new()};
    const struct volume_root root = {.size_bytes = 4096};

    s.now = s.then = (struct machine){.pid = 5, .start_time = 77};
    manifest_add_volume(s.base, "disk/vda", &root);
    return s;
}

static const char *
doubt(struct scene *s)
{
    s->then.disks = &s->before;
    s->then.n_disks = 1;
    return tracking_doubt(&s->now, &s->disk, &s->bitmap, &s->then, s->base);
}

/* Tries the scene after `spoil` and frees it. */
#define assert_doubts(part, spoil)                \
    do {                                          \
        struct scene s = good_scene();            \
        assert_null(doubt(&s));                   \
        spoil;                                    \
        assert_non_null(doubt(&s));               \
        assert_non_null(strstr(doubt(&s), part)); \
        manifest_free(s.base);                    \
    } while (0)

static void
doubts(void **state)
{
    const struct volume_root other = {.size_bytes = 8192};

    (void)state;
    assert_doubts("inconsistent", s.bitmap.inconsistent = true);
    assert_doubts("in use", s.bitmap.busy = true);
    assert_doubts("disabled", s.bitmap.recording = false);
    assert_doubts("not known", s.now.pid = s.then.pid = 0);
    assert_doubts("not known", s.now.start_time = s.then.start_time = 0);
    assert_doubts("restarted", s.now.pid = 6);
    assert_doubts("restarted", s.now.start_time = 78);
    assert_doubts("does not have it", s.before.name = text("vdb"));
    assert_doubts("another image", s.before.node = text("node1"));
    assert_doubts("another image", s.before.format = text("raw"));
    assert_doubts("another image", s.before.filename = text("/img/b"));
    assert_doubts("size", s.before.size_bytes = 512);
    assert_doubts("size", s.disk.size_bytes = 8192);
    assert_doubts("size", s.base->volumes[0].root = other);
    assert_doubts("does not have it", s.base->volumes[0].name[5] = 'x');
}

static void
no_bitmap(void **state)
{
    struct scene s = good_scene();

    (void)state;
    s.then.disks = &s.before;
    s.then.n_disks = 1;
    assert_non_null(strstr(
        tracking_doubt(&s.now, &s.disk, NULL, &s.then, s.base), "no bitmap"));
    manifest_free(s.base);
}

/* A block of 4 KiB each, and more where that would be too many bits. */
static void
grains(void **state)
{
    (void)state;
    assert_int_equal(tracking_grain_bytes(0), 4096);
    assert_int_equal(tracking_grain_bytes(UINT64_C(512) << 30), 4096);
    assert_int_equal(tracking_grain_bytes((UINT64_C(512) << 30) + 4096), 8192);
    assert_int_equal(tracking_grain_bytes(UINT64_C(16) << 40), 128 << 10);
    assert_int_equal(tracking_grain_bytes(UINT64_C(1) << 51), 16 << 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(grains),
        cmocka_unit_test(doubts),
        cmocka_unit_test(no_bitmap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
