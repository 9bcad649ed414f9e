/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/viewsource.h"

#include "../qcow2/imagetool.h"
#include "../repo/fixture.h"
#include "../vmstate/stream.h"

#include "base/buf.h"
#include "capture/ramspool.h"
#include "qcow2/reader.h"
#include "qcow2/writer.h"

enum { DISK_MAX = 40 << 20 };

static struct fixture fixture;
static uint8_t *disk; /* DISK_MAX */

struct source {
    int fd;
    struct qcow2_image *image;
    struct qcow2_view *view;
};

static struct source
open_source(const char *name)
{
    struct source s = {.fd = scratch_open(name, O_RDONLY)};

    assert_ok(qcow2_image_open(s.fd, -1, &s.image, e));
    assert_ok(qcow2_view_open(s.image, &qcow2_image_snapshots(s.image)->list[0],
                              &s.view, e));
    return s;
}

static void
close_source(struct source *s)
{
    qcow2_view_close(s->view);
    qcow2_image_close(s->image);
    (void)close(s->fd);
}

static uint64_t reached;

static void
note(void *cookie, uint64_t offset)
{
    (void)cookie;
    assert_true(offset >= reached);
    reached = offset;
}

static int
copy(struct source *s, bool backed, struct volume_root *out, struct err *e)
{
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct backup_writer *b = NULL;

    reached = 0;
    if (backup_begin(fixture.r, NULL, fixture.cancel, &b, e) == -1)
        return -1;
    int rc = volume_begin(b, "disk/a", qcow2_view_bytes(s->view), &v, e);
    if (rc == 0)
        rc = viewsource_copy_disk(s->view, backed, v, note, NULL,
                                  fixture.cancel, e);
    if (rc == 0)
        rc = volume_end(&v, out, e);
    volume_abandonp(&v);
    if (rc == 0) {
        CLEANUP(manifest_freep) struct manifest *m = manifest_new();
        free(m->machine);
        m->machine = xstrdup("web");
        manifest_add_volume(m, "disk/a", out);
        rc = backup_commit(&b, m, e);
    }
    backup_abandonp(&b);
    return rc;
}

/* A disk of runs of data and holes, of lengths around those that matter. */
static void
make_disk(const char *name, uint64_t size, uint32_t cluster_bits)
{
    static const uint64_t lens[] = {512,     4096,    65536,
                                    1 << 20, 8 << 20, 9 << 20};
    struct qcow2_write_options o = {
        .size_bytes = size, .cluster_bits = cluster_bits, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    uint64_t cluster = UINT64_C(1) << cluster_bits;
    int fd = scratch_create(name);

    memset(disk, 0, size);
    for (uint64_t at = 0; at < size;) {
        uint64_t n = lens[random_below(ARRAY_LEN(lens))];
        n = u64_min(size - at, round_up(n * (1 + random_below(3)), cluster));
        if (random_below(2))
            random_fill(disk + at, n);
        at += n;
    }
    assert_ok(qcow2_writer_open(fd, &o, &w, e));
    assert_ok(qcow2_write_disk(w, 0, disk, size, e));
    assert_ok(qcow2_writer_commit(&w, e));
    (void)close(fd);
}

static void
disks(void **state)
{
    static const uint64_t sizes[] = {
        512, 4096, 8 << 20, (8 << 20) + 512, (20 << 20) + 1024, DISK_MAX};
    static const uint32_t bits[] = {9, 12, 16, 21};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(bits); i++) {
        struct volume_root root = {0};
        make_disk("a", sizes[i / ARRAY_LEN(bits)], bits[i % ARRAY_LEN(bits)]);
        struct source s = open_source("a");
        assert_ok(copy(&s, i % 2, &root, e));
        assert_volume(fixture.r, &root, disk);
        assert_int_equal(root.size_bytes, sizes[i / ARRAY_LEN(bits)]);
        close_source(&s);
    }
}

/* A hole of a TiB is not read. */
static void
far_away(void **state)
{
    static uint8_t p[65536];
    struct qcow2_write_options o = {.size_bytes = 4 * TIB, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    struct volume_root root = {0};
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64], slot = 0;
    CLEANUP(volume_closep) struct volume_reader *v = NULL;
    CLEANUP(freep) uint8_t *got = xmalloc(VOLUME_SLOT_BYTES);
    int fd = scratch_create("a");

    (void)state;
    random_fill(p, sizeof(p));
    assert_ok(qcow2_writer_open(fd, &o, &w, e));
    assert_ok(qcow2_write_disk(w, 3 * TIB, p, sizeof(p), e));
    assert_ok(qcow2_writer_commit(&w, e));
    (void)close(fd);
    struct source s = open_source("a");
    assert_ok(copy(&s, false, &root, e));
    assert_true(reached == 4 * TIB);
    assert_ok(volume_open(fixture.r, &root, &v, e));
    struct err err = {0};
    assert_int_equal(volume_next_slot(v, &slot, &err), 1);
    assert_true(slot == 3 * TIB / VOLUME_SLOT_BYTES);
    assert_ok(volume_read_slot(v, slot, got, marked, e));
    assert_memory_equal(got, p, sizeof(p));
    slot++;
    assert_int_equal(volume_next_slot(v, &slot, &err), 0);
    close_source(&s);
}

static void
damaged_or_canceled(void **state)
{
    struct volume_root root = {0};

    (void)state;
    make_disk("b", DISK_MAX, 16);
    struct source s = open_source("b");
    tool_must("truncate -s 1M b");
    assert_fails(copy(&s, false, &root, e), ERR_CORRUPT, "disk data");
    close_source(&s);

    make_disk("c", DISK_MAX, 16);
    s = open_source("c");
    cancel_raise(fixture.cancel);
    assert_fails(copy(&s, false, &root, e), ERR_CANCELED, "interrupted");
    close_source(&s);
}

/* ---- the machine state --------------------------------------------------- */

static void
write_state(const char *name, const struct buf *b)
{
    struct qcow2_write_options o = {.size_bytes = 1 << 20, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    int fd = scratch_create(name);

    assert_ok(qcow2_writer_open(fd, &o, &w, e));
    assert_ok(qcow2_write_vmstate(w, b->p, b->len, e));
    assert_ok(qcow2_writer_commit(&w, e));
    (void)close(fd);
}

/* Pages of 4 KiB: the spool has no smaller ones. */
static void
put_state(struct buf *b, unsigned parts)
{
    put_header(b);
    put_config(b, "pc-q35-7.2");
    put_ram_start(b, PAGE_4K);
    for (unsigned i = 0; i < parts; i++) {
        put_short(b, 0x02, STREAM_RAM_ID);
        for (unsigned k = 0; k < 8; k++)
            put_page(b, k * PAGE_4K, k ? NULL : "a", PAGE_4K, (uint8_t)(i + k));
        put_zero_page(b, PAGE_4K, "bb");
        put_eos(b);
        put_short(b, 0x7e, STREAM_RAM_ID);
    }
    put_tail(b);
}

static void
states(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(32 << 20);
    CLEANUP(ramspool_freep) struct ramspool *spool = NULL;
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    uint8_t got[PAGE_4K];

    (void)state;
    put_state(&b, 100); /* each page 100 times, the last one counts */
    write_state("a", &b);
    struct source s = open_source("a");
    reached = 0;
    assert_ok(ramspool_create(scratch, &spool, e));
    assert_ok(viewsource_copy_state(s.view, spool, note, NULL, cancel, e));
    assert_int_equal(reached, b.len);
    assert_int_equal(ramspool_blocks(spool), 2);
    assert_string_equal(ramspool_block_name(spool, 1), "bb");
    assert_int_equal(ramspool_next_data(spool, 1, 0), 4 * PAGE_4K);
    for (unsigned k = 0; k < 8; k++) {
        assert_ok(ramspool_read(spool, 0, k * PAGE_4K, got, sizeof(got), e));
        assert_int_equal(got[0], (uint8_t)(99 + k));
        assert_int_equal(got[1], (uint8_t)(99 + k + 7));
    }
    assert_in_range(ramspool_state_bytes(spool), 50, 1000);
    close_source(&s);
}

static void
damaged_state(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(32 << 20);
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();

    (void)state;
    put_state(&b, 10);
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(ramspool_freep) struct ramspool *spool = NULL;
        if (i == 0)
            b.len -= 20; /* cut short */
        else
            memset(b.p + b.len / 2, 0xff, 9000);
        write_state("a", &b);
        struct source s = open_source("a");
        struct err err = {0};
        reached = 0;
        assert_ok(ramspool_create(scratch, &spool, e));
        assert_int_equal(
            viewsource_copy_state(s.view, spool, note, NULL, cancel, &err), -1);
        assert_true(err.code == ERR_CORRUPT || err.code == ERR_UNSUP);
        close_source(&s);
    }
}

static int
setup(void **state)
{
    fixture_start(&fixture);
    disk = xmalloc(DISK_MAX);
    return scratch_setup(state);
}

static int
teardown(void **state)
{
    fixture_end(&fixture);
    free(disk);
    return scratch_teardown(state);
}

/* ---- what has changed ---------------------------------------------------- */

static void
write_randomly(const char *options)
{
    static const char *const verbs[] = {"write -P 7", "write -P 9", "write -z",
                                        "discard"};
    struct buf commands = buf_of(1 << 16);

    for (unsigned i = 0; i < 12; i++) {
        uint64_t at = random_below(DISK_MAX / 512) * 512;
        uint64_t len = (1 + random_below(random_below(4) ? 100 : 4000)) * 512;
        buf_printf(&commands, " -c '%s %llu %llu'", verbs[random_below(4)],
                   (unsigned long long)at,
                   (unsigned long long)u64_min(len, DISK_MAX - at));
    }
    tool_must("qemu-io -f qcow2 %s %s two >/dev/null", options,
              buf_text(&commands));
    buf_done(&commands);
}

static struct qcow2_view *
view_of(struct source *s, const char *name)
{
    struct qcow2_view *v = NULL;

    assert_ok(qcow2_view_open(
        s->image, qcow2_snapshot_find(qcow2_image_snapshots(s->image), name),
        &v, e));
    return v;
}

/* A backup of the disk as this view shows it; its id. */
static char *
save(struct qcow2_view *view, struct volume_root *out)
{
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;

    reached = 0;
    assert_ok(backup_begin(fixture.r, NULL, fixture.cancel, &b, e));
    assert_ok(volume_begin(b, "disk/a", qcow2_view_bytes(view), &v, e));
    assert_ok(
        viewsource_copy_disk(view, false, v, note, NULL, fixture.cancel, e));
    assert_ok(volume_end(&v, out, e));
    free(m->machine);
    m->machine = xstrdup("web");
    manifest_add_volume(m, "disk/a", out);
    assert_ok(backup_commit(&b, m, e));
    return xstrdup(m->id);
}

/* Bytes that it read. */
static uint64_t
save_changes(struct source *s, const char *base, const struct volume_root *root,
             struct volume_root *out)
{
    const struct backup_options o = {.base = base};
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    CLEANUP(qcow2_view_closep) struct qcow2_view *older = view_of(s, "one");
    CLEANUP(qcow2_view_closep) struct qcow2_view *newer = view_of(s, "two");
    struct backup_writer *b = NULL;

    reached = 0;
    assert_ok(backup_begin(fixture.r, &o, fixture.cancel, &b, e));
    assert_ok(volume_begin_on(b, "disk/a", root, &v, e));
    assert_ok(viewsource_copy_changes(older, newer, v, note, NULL,
                                      fixture.cancel, e));
    assert_true(reached == DISK_MAX);
    assert_ok(volume_end(&v, out, e));
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    manifest_add_volume(m, "disk/a", out);
    assert_ok(backup_commit(&b, m, e));
    return qcow2_view_read_bytes(older) + qcow2_view_read_bytes(newer);
}

static void
assert_same_content(const struct volume_root *a, const struct volume_root *b)
{
    CLEANUP(volume_closep) struct volume_reader *x = NULL;
    CLEANUP(volume_closep) struct volume_reader *y = NULL;
    CLEANUP(freep) uint8_t *p = xmalloc(VOLUME_SLOT_BYTES);
    CLEANUP(freep) uint8_t *q = xmalloc(VOLUME_SLOT_BYTES);
    uint64_t marks[VOLUME_SLOT_BLOCKS / 64];

    assert_true(a->size_bytes == b->size_bytes);
    assert_ok(volume_open(fixture.r, a, &x, e));
    assert_ok(volume_open(fixture.r, b, &y, e));
    for (uint64_t i = 0; i * VOLUME_SLOT_BYTES < a->size_bytes; i++) {
        assert_ok(volume_read_slot(x, i, p, marks, e));
        assert_ok(volume_read_slot(y, i, q, marks, e));
        assert_memory_equal(p, q, VOLUME_SLOT_BYTES);
    }
}

/* What is built on the snapshot before holds the same as all of it. */
static void
only_changes(void **state)
{
    static const char *const kinds[] = {
        "cluster_size=512", "cluster_size=4k",
        "cluster_size=64k", "cluster_size=2M",
        "compat=0.10",      "extended_l2=on,cluster_size=128k"};

    (void)state;
    require_qemu_img();
    for (size_t i = 0; i < 3 * ARRAY_LEN(kinds); i++) {
        struct volume_root one = {0}, two = {0}, built = {0};
        tool_must("rm -f two; qemu-img create -q -f qcow2 -o %s two %d",
                  kinds[i % ARRAY_LEN(kinds)], DISK_MAX);
        write_randomly("");
        tool_must("qemu-img snapshot -c one two");
        if (i / ARRAY_LEN(kinds) != 2) /* else nothing has changed */
            write_randomly("-d unmap");
        tool_must("qemu-img snapshot -c two two");

        struct source s = open_source("two");
        CLEANUP(qcow2_view_closep)
        struct qcow2_view *older = view_of(&s, "one");
        CLEANUP(qcow2_view_closep)
        struct qcow2_view *newer = view_of(&s, "two");
        CLEANUP(freep) char *base = save(older, &one);
        CLEANUP(freep) char *whole = save(newer, &two);
        uint64_t read = save_changes(&s, base, &one, &built);
        assert_same_content(&built, &two);
        if (i / ARRAY_LEN(kinds) == 2) {
            assert_memory_equal(one.h, two.h, sizeof(two.h));
            assert_memory_equal(built.h, two.h, sizeof(two.h));
            assert_true(read < 2 << 20); /* tables */
        }
        qcow2_view_closep(&older);
        qcow2_view_closep(&newer);
        close_source(&s);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_changes),
        cmocka_unit_test(disks),
        cmocka_unit_test(far_away),
        cmocka_unit_test(states),
        cmocka_unit_test(damaged_state),
        cmocka_unit_test(damaged_or_canceled), /* raises the cancel: the last */
    };

    return cmocka_run_group_tests_name("viewsource", tests, setup, teardown);
}
