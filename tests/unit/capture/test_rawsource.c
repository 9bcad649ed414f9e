/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/rawsource.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "store/store_mem.h"
#include "work/cancel.h"

/* A file, and a backup to read it into. */
struct box {
    char path[64];
    int fd;
    struct store *store;
    struct repo *repo;
    struct cancel *cancel;
    struct backup_writer *backup;
    uint64_t reached, calls;
};

static int
set_up(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));
    struct err e = {0};

    (void)snprintf(b->path, sizeof(b->path), "/tmp/vmkeep-raw-XXXXXX");
    b->fd = mkostemp(b->path, O_CLOEXEC);
    assert_int_not_equal(b->fd, -1);
    b->store = store_mem_new(NULL);
    b->cancel = cancel_new();
    assert_int_equal(repo_init(b->store, "x", NULL, &e), 0);
    assert_int_equal(repo_open(b->store, "x", &b->repo, &e), 0);
    assert_int_equal(backup_begin(b->repo, NULL, b->cancel, &b->backup, &e), 0);
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    struct box *b = *state;

    backup_abandonp(&b->backup);
    repo_close(b->repo);
    store_close(b->store);
    cancel_free(b->cancel);
    fd_close(&b->fd);
    (void)unlink(b->path);
    free(b);
    return 0;
}

static void
put(struct box *b, uint64_t offset, const void *p, size_t len)
{
    struct err e = {0};

    assert_int_equal(fd_pwrite(b->fd, p, len, offset, b->path, &e), 0);
}

static void
put_noise(struct box *b, uint64_t offset, size_t len, unsigned seed)
{
    CLEANUP(freep) uint8_t *p = xmalloc(len);
    uint32_t v = seed;

    for (size_t i = 0; i < len; i++) {
        v = v * 1664525 + 1013904223;
        p[i] = (uint8_t)(v >> 24) | 1;
    }
    put(b, offset, p, len);
}

static void
reached(void *cookie, uint64_t offset)
{
    struct box *b = cookie;

    assert_true(offset >= b->reached);
    b->reached = offset;
    b->calls++;
}

static int
copy(struct box *b, struct rawsource *s, struct volume_root *root,
     struct err *e)
{
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;

    assert_int_equal(
        volume_begin(b->backup, "disk/x", rawsource_size_bytes(s), &v, e), 0);
    return rawsource_copy(s, &v, root, reached, b, b->cancel, e);
}

static struct rawsource *
opened(struct box *b)
{
    struct rawsource *s = NULL;
    struct err e = {0};

    assert_int_equal(rawsource_open(b->path, false, &s, &e), 0);
    return s;
}

static void
holes_are_not_read(void **state)
{
    struct box *b = *state;
    CLEANUP(rawsource_closep) struct rawsource *s = NULL;
    struct volume_root root = {0};
    struct backup_stats stats = {0};
    struct err e = {0};

    put_noise(b, 0, 5000, 1);
    put_noise(b, 3 * (uint64_t)VOLUME_SLOT_BYTES - 4096, 8192, 2);
    put_noise(b, 90 * (uint64_t)VOLUME_SLOT_BYTES + 123, 1, 3);
    s = opened(b);
    assert_int_equal(rawsource_size_bytes(s),
                     90 * (uint64_t)VOLUME_SLOT_BYTES + 124);
    assert_int_equal(copy(b, s, &root, &e), 0);
    assert_int_equal(b->reached, rawsource_size_bytes(s));
    assert_true(b->calls <= 6);
    backup_get_stats(b->backup, &stats);
    /* 8192, 8192 and the last, short block, if holes have 4 KiB */
    assert_true(stats.read_bytes >= 16384 + 124);
    assert_true(stats.read_bytes <= 5 * 65536);
}

static void
changes_are_seen(void **state)
{
    struct box *b = *state;
    struct volume_root root = {0};
    const uint64_t size = 20 * (uint64_t)VOLUME_SLOT_BYTES;

    put_noise(b, 0, 4096, 1);
    assert_int_equal(ftruncate(b->fd, (off_t)size), 0);
    for (int how = 0; how < 4; how++) {
        struct err e = {0};
        struct rawsource *s = opened(b);
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                          {.tv_sec = 7}};
        b->reached = 0;
        if (how == 1)
            assert_int_equal(ftruncate(b->fd, (off_t)size + 4096), 0);
        if (how == 2)
            assert_int_equal(ftruncate(b->fd, 4096), 0);
        if (how == 3)
            assert_int_equal(futimens(b->fd, times), 0);
        assert_int_equal(copy(b, s, &root, &e), how == 0 ? 0 : -1);
        assert_int_equal(e.code, how == 0 ? ERR_OK : ERR_IO);
        if (how > 0)
            assert_non_null(strstr(e.msg, b->path));
        rawsource_close(s);
        assert_int_equal(ftruncate(b->fd, (off_t)size), 0);
    }
}

static void
cut_off_in_the_middle_of_data(void **state)
{
    struct box *b = *state;
    struct volume_root root = {0};
    struct err e = {0};

    for (unsigned i = 0; i < 10; i++)
        put_noise(b, i * (uint64_t)VOLUME_SLOT_BYTES, VOLUME_SLOT_BYTES, i);
    CLEANUP(rawsource_closep) struct rawsource *s = opened(b);
    assert_int_equal(ftruncate(b->fd, VOLUME_SLOT_BYTES + 1000), 0);
    assert_int_equal(copy(b, s, &root, &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void
a_cancel_ends_it(void **state)
{
    struct box *b = *state;
    struct volume_root root = {0};
    struct err e = {0};

    put_noise(b, 0, 100000, 1);
    CLEANUP(rawsource_closep) struct rawsource *s = opened(b);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    assert_int_equal(volume_begin(b->backup, "d", 100000, &v, &e), 0);
    cancel_raise(b->cancel);
    assert_int_equal(rawsource_copy(s, &v, &root, reached, b, b->cancel, &e),
                     -1);
    assert_int_equal(e.code, ERR_CANCELED);
}

static int
try(const char *path, bool surely_raw, enum err_code *code)
{
    struct rawsource *s = NULL;
    struct err e = {0};
    int rc = rawsource_open(path, surely_raw, &s, &e);

    *code = e.code;
    rawsource_close(s);
    return rc;
}

static void
what_is_refused(void **state)
{
    struct box *b = *state;
    enum err_code code = ERR_OK;
    struct flock l = {.l_type = F_RDLCK, .l_start = 101, .l_len = 1};

    assert_int_equal(try("/nonexistent/x", false, &code), -1);
    assert_int_equal(code, ERR_NOENT);
    assert_int_equal(try("/dev/zero", false, &code), -1);
    assert_int_equal(code, ERR_USAGE);
    assert_int_equal(try("/tmp", false, &code), -1);
    assert_int_equal(code, ERR_USAGE);

    assert_int_equal(try(b->path, false, &code), 0); /* empty */
    put(b, 0, "QFI\xfb", 4);
    assert_int_equal(try(b->path, false, &code), -1);
    assert_int_equal(code, ERR_UNSUP);
    assert_int_equal(try(b->path, true, &code), 0);
    put(b, 0, "QFI\xfa", 4);
    assert_int_equal(try(b->path, false, &code), 0);

    assert_int_equal(fcntl(b->fd, F_OFD_SETLK, &l), 0);
    assert_int_equal(try(b->path, true, &code), -1);
    assert_int_equal(code, ERR_QEMU);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(holes_are_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_are_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_off_in_the_middle_of_data, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_cancel_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("rawsource", tests, NULL, NULL);
}
