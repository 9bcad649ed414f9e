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

static void
kept_names(void **state)
{
    static const char *const not_ours[] = {
        "",
        "vmkeep:" REPO ":" BACKUP ":",
        "vmkeep:" REPO ":" BACKUP "0vda",
        "vmkeep:" REPO ":" BACKUP ":vd/a",
        "vmkeep:" REPO ":" BACKUP ":-vda",
        "vmkeep:" BACKUP ":" BACKUP ":vda",
        "vmkeep:" REPO ":fedcba9876543210fedcba98765432:vda",
    };
    char name[TRACKING_NAME_MAX], id[BACKUP_ID_LEN + 1] = "";

    (void)state;
    tracking_kept_name(name, REPO, BACKUP, "vda-2");
    assert_string_equal(name, "vmkeep:" REPO ":" BACKUP ":vda-2");
    assert_true(tracking_parse(name, REPO, id));
    assert_string_equal(id, BACKUP);
    assert_null(tracking_backup(name, REPO));
    memset(id, 0, sizeof(id));
    assert_true(tracking_parse("vmkeep:" REPO ":" BACKUP, REPO, id));
    assert_string_equal(id, BACKUP);
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
        assert_false(tracking_parse(not_ours[i], REPO, id));
}

/* The longest there is fits. */
static void
long_name(void **state)
{
    char disk[73], name[TRACKING_NAME_MAX], id[BACKUP_ID_LEN + 1];

    (void)state;
    memset(disk, 'd', 72);
    disk[72] = '\0';
    tracking_kept_name(name, REPO, BACKUP, disk);
    assert_true(strlen(name) > 72 + 64);
    assert_string_equal(name + strlen(name) - 72, disk);
    assert_true(tracking_parse(name, REPO, id));
}

/* A disk whose bitmap can be believed, for each test to spoil. */
struct scene {
    struct disk disk, before;
    struct machine now, then;
    struct bitmap bitmap;
    bool kept;
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

    s.now = s.then = (struct machine){
        .pid = 5, .start_time = 77, .name = text("web"), .uuid = text("")};
    manifest_add_volume(s.base, "disk/vda", &root);
    return s;
}

static const char *
doubt(struct scene *s)
{
    s->then.disks = &s->before;
    s->then.n_disks = 1;
    return tracking_doubt(&s->now, &s->disk, &s->bitmap, s->kept, &s->then,
                          s->base);
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

/* One that came out of the image, in another process. */
static struct scene
kept_scene(void)
{
    struct scene s = good_scene();

    s.kept = s.bitmap.persistent = s.disk.keeps_bitmaps = true;
    s.now.pid = 6;
    s.now.start_time = 900;
    return s;
}

#define assert_kept_doubts(part, spoil)           \
    do {                                          \
        struct scene s = kept_scene();            \
        assert_null(doubt(&s));                   \
        spoil;                                    \
        assert_non_null(doubt(&s));               \
        assert_non_null(strstr(doubt(&s), part)); \
        manifest_free(s.base);                    \
    } while (0)

static void
doubts_of_kept(void **state)
{
    (void)state;
    assert_kept_doubts("restarted", s.kept = false);
    assert_kept_doubts("not kept", s.bitmap.persistent = false);
    assert_kept_doubts("not all writes", s.disk.keeps_bitmaps = false);
    assert_kept_doubts("killed", s.bitmap.inconsistent = true);
    assert_kept_doubts("in use", s.bitmap.busy = true);
    assert_kept_doubts("disabled", s.bitmap.recording = false);
    assert_kept_doubts("another name", s.now.name = text("clone"));
    assert_kept_doubts("another name", s.now.uuid = text("1"));
    assert_kept_doubts("another image", s.before.filename = text("/img/b"));
    assert_kept_doubts("another image", s.before.format = text("raw"));
    assert_kept_doubts("size", s.disk.size_bytes = 8192);
    assert_kept_doubts("does not have it", s.before.name = text("vdb"));
}

/* QEMU makes up names of nodes: in another process it is another one. */
static void
another_node(void **state)
{
    struct scene s = kept_scene();

    (void)state;
    s.before.node = text("#block123");
    assert_null(doubt(&s));
    s.now = s.then; /* but not in the same */
    assert_non_null(strstr(doubt(&s), "another image"));
    manifest_free(s.base);
}

static void
no_bitmap(void **state)
{
    struct scene s = good_scene();

    (void)state;
    s.then.disks = &s.before;
    s.then.n_disks = 1;
    assert_non_null(
        strstr(tracking_doubt(&s.now, &s.disk, NULL, false, &s.then, s.base),
               "no bitmap"));
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
        cmocka_unit_test(names),        cmocka_unit_test(grains),
        cmocka_unit_test(kept_names),   cmocka_unit_test(long_name),
        cmocka_unit_test(doubts),       cmocka_unit_test(doubts_of_kept),
        cmocka_unit_test(another_node), cmocka_unit_test(no_bitmap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
