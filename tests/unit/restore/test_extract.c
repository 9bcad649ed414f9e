/* SPDX-License-Identifier: Apache-2.0 */
/* What the program extracts from images of QEMU's is tested in tests/cli; here
 * is what has to go wrong at the right moment. */
#include "restore/extract.h"

#include "../qcow2/imagetool.h"
#include "../vmstate/stream.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/reader.h"
#include "qcow2/writer.h"
#include "work/cancel.h"

/* The file layer, so that any operation can be made to fail.  The counter is
 * shared by threads. */
static atomic_long ops_until_failure = -1; /* negative: never */

static bool
failure_is_due(int error)
{
    long before = atomic_load(&ops_until_failure);

    if (before < 0 || atomic_fetch_sub(&ops_until_failure, 1) != 0)
        return false;
    errno = error;
    return true;
}

int fsync(int fd);
int
fsync(int fd)
{
    return failure_is_due(EIO) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset);
ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    if (failure_is_due(ENOSPC))
        return -1;
    return syscall(SYS_pwrite64, fd, buf, n, offset);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset);
ssize_t
pread64(int fd, void *buf, size_t n, off64_t offset)
{
    if (failure_is_due(EIO))
        return -1;
    return syscall(SYS_pread64, fd, buf, n, offset);
}

/* ---- the image ----------------------------------------------------------- */

enum { DISK = (9 << 20) + 512, CLUSTER = 65536 };

static uint8_t disk[DISK];
static struct buf vmstate;

/* About `bytes` of pages in a whole stream. */
static void
make_vmstate(size_t bytes)
{
    buf_done(&vmstate);
    vmstate = buf_of(64 << 20);
    put_begin(&vmstate);
    for (uint8_t i = 0; i == 0 || vmstate.len < bytes; i++) {
        put_short(&vmstate, 0x02, STREAM_RAM_ID);
        for (unsigned k = 0; k < 8; k++)
            put_page(&vmstate, k * PAGE, k ? NULL : "a", PAGE, i);
        put_eos(&vmstate);
        put_short(&vmstate, 0x7e, STREAM_RAM_ID);
    }
    put_tail(&vmstate);
}

static void
write_image(const char *name)
{
    struct qcow2_write_options o = {.size_bytes = DISK,
                                    .snapshot = "monday",
                                    .snapshot_id = "7",
                                    .time_ns = 1700000000123456789,
                                    .vm_clock_ns = 99};
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    int fd = scratch_create(name);

    assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), 0);
    assert_int_equal(qcow2_write_disk(w, 0, disk, DISK, &e), 0);
    assert_int_equal(qcow2_write_vmstate(w, vmstate.p, vmstate.len, &e), 0);
    assert_int_equal(qcow2_writer_commit(&w, &e), 0);
    (void)close(fd);
}

/* Random data with holes. */
static void
make_image(const char *name, size_t vmstate_bytes)
{
    tool_must("rm -f -- *");
    memset(disk, 0, sizeof(disk));
    for (size_t at = 0; at < DISK; at += CLUSTER)
        if (random_below(3))
            random_fill(disk + at, u64_min(CLUSTER, DISK - at));
    make_vmstate(vmstate_bytes);
    write_image(name);
}

static char image_path[512], target_path[512];

static struct extract_options
options(const char *image)
{
    (void)snprintf(image_path, sizeof(image_path), "%s/%s", scratch, image);
    (void)snprintf(target_path, sizeof(target_path), "%s/out", scratch);
    return (struct extract_options){.files = {.image = image_path},
                                    .snapshot = "monday",
                                    .target = target_path};
}

static int
run(const struct extract_options *o, struct cancel *cancel, struct err *e)
{
    CLEANUP(cancel_freep) struct cancel *own = cancel_new();
    struct extract_result r = {0};

    int rc = extract_snapshot(o, cancel ? cancel : own, &r, e);
    extract_result_done(&r);
    return rc;
}

/* The image alone is in the folder. */
static void
check_nothing_made(const char *image)
{
    tool_must("ls -A | tr '\\n' ' '");
    size_t n = strlen(tool_out);
    assert_true(n > 0);
    tool_out[n - 1] = '\0';
    assert_string_equal(tool_out, image);
}

/* Byte by byte, by our own reader. */
static void
check_target(void)
{
    struct qcow2_image *image = NULL;
    struct qcow2_view *view = NULL;
    struct err e = {0};
    uint8_t *p = xmalloc(u64_max(DISK, vmstate.len));
    int fd = scratch_open("out", O_RDONLY);

    assert_int_equal(qcow2_image_open(fd, -1, &image, &e), 0);
    const struct qcow2_snapshots *all = qcow2_image_snapshots(image);
    assert_int_equal(all->n, 1);
    const struct qcow2_snapshot *s = &all->list[0];
    assert_string_equal(s->name, "monday");
    assert_string_equal(s->id, "7");
    assert_int_equal(s->date_sec, 1700000000);
    assert_int_equal(s->date_nsec, 123456789);
    assert_int_equal(s->vm_clock_ns, 99);
    assert_true(s->icount == QCOW2_NO_ICOUNT);
    assert_int_equal(s->vmstate_bytes, vmstate.len);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(qcow2_view_open(image, i ? s : NULL, &view, &e), 0);
        assert_int_equal(qcow2_view_bytes(view), DISK);
        assert_int_equal(qcow2_view_read(view, 0, p, DISK, &e), 0);
        assert_memory_equal(p, disk, DISK);
        if (i)
            assert_int_equal(
                qcow2_view_read_vmstate(view, 0, p, vmstate.len, &e), 0);
        if (i)
            assert_memory_equal(p, vmstate.p, vmstate.len);
        qcow2_view_closep(&view);
    }
    qcow2_image_close(image);
    (void)close(fd);
    free(p);
}

/* ---- the tests ----------------------------------------------------------- */

static void
whole(void **state)
{
    static const size_t lens[] = {10, 70000, 3 << 20};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        make_image("a", lens[i]);
        const struct extract_options o = options("a");
        struct extract_result r = {0};
        struct err e = {0};
        if (extract_snapshot(&o, cancel, &r, &e) == -1)
            fail_msg("%s", e.msg);
        assert_string_equal(r.name, "monday");
        assert_string_equal(r.id, "7");
        assert_int_equal(r.disk_bytes, DISK);
        assert_int_equal(r.vmstate_bytes, vmstate.len);
        assert_in_range(r.written_bytes, vmstate.len, DISK + vmstate.len);
        assert_in_range(r.read_bytes, r.written_bytes, DISK + vmstate.len);
        assert_false(r.in_use);
        if (r.n_warnings > 0)
            fail_msg("%s", r.warnings[0]);
        extract_result_done(&r);
        check_target();
        if (tool_run("command -v qemu-img") == 0)
            tool_must("qemu-img check out");
    }
}

/* Any operation fails: an error, and nothing is left. */
static void
every_failure(void **state)
{
    long n = 0;

    (void)state;
    make_image("a", 300000);
    const struct extract_options o = options("a");
    for (;; n++) {
        struct err e = {0};
        atomic_store(&ops_until_failure, n);
        int rc = run(&o, NULL, &e);
        bool failed = atomic_exchange(&ops_until_failure, -1) < 0;
        if (rc == 0 && !failed)
            break;
        if (rc == 0)
            fail_msg("operation %ld failed and nobody cared", n);
        assert_true(e.code == ERR_IO || e.code == ERR_NOSPACE);
        check_nothing_made("a");
    }
    printf("# %ld operations failed in turn\n", n);
    assert_true(n > 40);
    check_target();
}

/* Every cut of the image: refused, named, nothing made; but for those that
 * only lose what the snapshot does not need. */
static void
every_cut(void **state)
{
    unsigned refused = 0;

    (void)state;
    make_image("a", 300000);
    tool_must("stat -c %%s a");
    uint64_t size = strtoull(tool_out, NULL, 10);
    for (uint64_t len = 0; len < size; len += 4096 + random_below(300000)) {
        struct err e = {0};
        tool_must("cp a b; truncate -s %llu b", (unsigned long long)len);
        const struct extract_options o = options("b");
        if (run(&o, NULL, &e) == 0) {
            check_target();
            tool_must("rm out");
            continue;
        }
        assert_true(e.code == ERR_CORRUPT ||
                    (len < 512 && e.code == ERR_UNSUP));
        tool_must("ls -A | tr '\\n' ' '");
        assert_string_equal(tool_out, "a b ");
        refused++;
    }
    assert_true(refused > 20);
}

/* What a test does to the image while it is read. */
struct meddler {
    struct cancel *cancel;
    uint64_t at_bytes;

    uint32_t n_snapshots;
    bool done;
};

static void
meddle(void *cookie, const struct progress *p)
{
    struct meddler *m = cookie;
    uint8_t n[4];

    if (m->done || p->done_bytes < m->at_bytes)
        return;
    m->done = true;
    if (m->cancel) {
        cancel_raise(m->cancel);
        return;
    }
    int fd = scratch_open("a", O_RDWR);
    put_be32(n, m->n_snapshots);
    assert_int_equal(pwrite(fd, n, 4, QCOW2_AT_SNAPSHOTS), 4);
    assert_int_equal(close(fd), 0);
}

/* Somebody deletes the snapshot while it is read. */
static void
deleted_meanwhile(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 8 << 20; at += 2 << 20) {
        struct meddler m = {.at_bytes = at};
        struct err e = {0};
        make_image("a", 300000);
        struct extract_options o = options("a");
        o.progress = meddle;
        o.progress_cookie = &m;
        if (!m.done && run(&o, NULL, &e) == 0) {
            assert_false(m.done); /* the disk has holes: it never came so far */
            continue;
        }
        assert_int_equal(e.code, ERR_NOENT);
        assert_non_null(strstr(e.msg, "void"));
        check_nothing_made("a");
    }
}

static void
canceled(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 4 << 20; at += 1 << 20) {
        CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
        struct meddler m = {.cancel = cancel, .at_bytes = at};
        struct err e = {0};
        make_image("a", 300000);
        struct extract_options o = options("a");
        o.progress = meddle;
        o.progress_cookie = &m;
        assert_int_equal(run(&o, cancel, &e), -1);
        assert_int_equal(e.code, ERR_CANCELED);
        check_nothing_made("a");
    }
}

/* A machine state that is not one. */
static void
damaged_vmstate(void **state)
{
    struct err e = {0};

    (void)state;
    make_image("a", 300000);
    tool_must("rm a");
    memset(vmstate.p + 150000, 0x5a, 70000);
    write_image("a");
    struct extract_options o = options("a");
    assert_int_equal(run(&o, NULL, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "machine state is damaged"));
    check_nothing_made("a");
    err_clear(&e);
    o.unchecked = true;
    assert_int_equal(run(&o, NULL, &e), 0);
    check_target();
}

static void
look(const char *image, struct extract_listing *out)
{
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    const struct extract_options o = options(image);
    struct err e = {0};

    if (extract_look(&o.files, NULL, NULL, cancel, out, &e) == -1)
        fail_msg("%s", e.msg);
}

static void
looked_at(void **state)
{
    struct extract_listing l = {0};

    (void)state;
    make_image("a", 300000);
    look("a", &l);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.list[0].state, EXTRACT_WHOLE);
    assert_int_equal(l.list[0].why.code, ERR_OK);
    assert_in_range(l.list[0].data_bytes, 1, DISK);
    assert_int_equal(l.list[0].overlaps, 0);
    assert_null(l.list[0].unknown);
    extract_listing_done(&l);

    tool_must("rm a");
    memset(vmstate.p + 150000, 0x5a, 70000);
    write_image("a");
    look("a", &l);
    assert_int_equal(l.list[0].state, EXTRACT_DAMAGED);
    assert_int_equal(l.list[0].why.code, ERR_CORRUPT);
    extract_listing_done(&l);
}

static void
gone_while_looking(void **state)
{
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct meddler m = {.n_snapshots = 0};
    struct extract_listing l = {0};
    struct err e = {0};

    (void)state;
    make_image("a", 300000);
    const struct extract_options o = options("a");
    assert_int_equal(extract_look(&o.files, meddle, &m, cancel, &l, &e), 0);
    assert_int_equal(l.list[0].state, EXTRACT_GONE);
    extract_listing_done(&l);
    cancel_raise(cancel);
    make_image("a", 300000);
    assert_int_equal(extract_look(&o.files, NULL, NULL, cancel, &l, &e), -1);
    assert_int_equal(e.code, ERR_CANCELED);
}

static int
teardown(void **state)
{
    buf_done(&vmstate);
    return scratch_teardown(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),     cmocka_unit_test(every_failure),
        cmocka_unit_test(every_cut), cmocka_unit_test(deleted_meanwhile),
        cmocka_unit_test(canceled),  cmocka_unit_test(damaged_vmstate),
        cmocka_unit_test(looked_at), cmocka_unit_test(gone_while_looking),
    };

    return cmocka_run_group_tests_name("extract", tests, scratch_setup,
                                       teardown);
}
