/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "capture/copied.h"
#include "capture/nbdsource.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "store/store_mem.h"
#include "work/cancel.h"

enum { SLOTS = 40, TOO_LONG_S = 60 };

/* A sparse image that qemu-nbd serves, and a backup with very few slots. */
struct box {
    char dir[64], image[96], socket[96];
    pid_t server;
    struct store *store;
    struct repo *repo;
    struct cancel *cancel;
    struct backup_writer *backup;
};

/* Something small in each slot: each of the reads under way is in another. */
static void
make_image(const char *path)
{
    CLEANUP(fd_closep)
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct err e = {0};

    assert_int_not_equal(fd, -1);
    assert_int_equal(ftruncate(fd, (off_t)SLOTS * VOLUME_SLOT_BYTES), 0);
    for (uint64_t i = 0; i < SLOTS; i++) {
        uint8_t block[VOLUME_BLOCK_BYTES];
        memset(block, (int)i + 1, sizeof(block));
        assert_int_equal(fd_pwrite(fd, block, sizeof(block),
                                   i * VOLUME_SLOT_BYTES + i * sizeof(block),
                                   path, &e),
                         0);
    }
}

/* False if there is no qemu-nbd. */
static bool
serve(struct box *b)
{
    const char *argv[] = {
        "qemu-nbd", "--read-only",   "--format", "raw",          "--socket",
        b->socket,  "--export-name", "disk",     "--persistent", "--shared",
        "0",        b->image,        NULL};
    char *args[ARRAY_LEN(argv)];

    memcpy(args, argv, sizeof(args));
    if (posix_spawnp(&b->server, args[0], NULL, NULL, args, environ) != 0) {
        b->server = 0;
        return false;
    }
    for (int i = 0; i < TOO_LONG_S * 100 && access(b->socket, F_OK); i++) {
        if (waitpid(b->server, NULL, WNOHANG) == b->server) {
            b->server = 0;
            return false;
        }
        (void)usleep(10000);
    }
    return access(b->socket, F_OK) == 0;
}

static int
set_up(void **state)
{
    const struct backup_options few = {.memory_bytes = 1};
    struct box *b = xcalloc(1, sizeof(*b));
    struct err e = {0};

    (void)snprintf(b->dir, sizeof(b->dir), "/tmp/vmkeep-nbd-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->image, sizeof(b->image), "%s/image", b->dir);
    (void)snprintf(b->socket, sizeof(b->socket), "%s/socket", b->dir);
    make_image(b->image);
    b->store = store_mem_new(NULL);
    b->cancel = cancel_new();
    assert_int_equal(repo_init(b->store, "x", NULL, &e), 0);
    assert_int_equal(repo_open(b->store, "x", &b->repo, &e), 0);
    assert_int_equal(backup_begin(b->repo, &few, b->cancel, &b->backup, &e), 0);
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    struct box *b = *state;

    backup_abandonp(&b->backup);
    if (b->server) {
        (void)kill(b->server, SIGTERM);
        (void)waitpid(b->server, NULL, 0);
    }
    repo_close(b->repo);
    store_close(b->store);
    cancel_free(b->cancel);
    (void)unlink(b->image);
    (void)unlink(b->socket);
    (void)rmdir(b->dir);
    free(b);
    return 0;
}

static int
go_on(void *cookie, uint64_t offset, struct err *e)
{
    uint64_t *reached = cookie;

    (void)e;
    assert_true(offset >= *reached);
    *reached = offset;
    return 0;
}

static void
few_slots_are_enough(void **state)
{
    struct box *b = *state;
    CLEANUP(nbdsource_closep) struct nbdsource *s = NULL;
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct backup_stats stats = {0};
    struct volume_root root = {0};
    uint64_t reached = 0;
    struct err e = {0};

    if (!serve(b)) {
        print_message("there is no qemu-nbd\n");
        skip();
    }
    (void)alarm(TOO_LONG_S); /* it stood still */
    assert_int_equal(nbdsource_open(b->socket, "disk", NULL, go_on, &reached,
                                    b->cancel, &s, &e),
                     0);
    assert_int_equal(
        volume_begin(b->backup, "disk", nbdsource_size_bytes(s), &v, &e), 0);
    assert_int_equal(nbdsource_copy(s, v, &e), 0);
    assert_int_equal(volume_end(&v, &root, &e), 0);
    (void)alarm(0);
    assert_int_equal(reached, (uint64_t)SLOTS * VOLUME_SLOT_BYTES);
    backup_get_stats(b->backup, &stats);
    assert_true(stats.new_bytes >= (uint64_t)SLOTS * VOLUME_BLOCK_BYTES);
}

/* What the server calls a hole is read where there are copies, and only there:
 * before data, behind it, next to it. */
static void
holes_are_doubted(void **state)
{
    static const uint64_t blocks[] = {1, 100, 101, 5000, 5119};
    struct box *b = *state;
    CLEANUP(nbdsource_closep) struct nbdsource *s = NULL;
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    CLEANUP(fd_closep) int fd = -1;
    uint8_t block[VOLUME_BLOCK_BYTES] = {1};
    uint64_t reached = 0, data = 0;
    struct err e = {0};

    if (!serve(b)) {
        print_message("there is no qemu-nbd\n");
        skip();
    }
    assert_int_equal(nbdsource_open(b->socket, "disk", NULL, go_on, &reached,
                                    b->cancel, &s, &e),
                     0);
    uint64_t size = nbdsource_size_bytes(s);
    assert_int_equal(file_nameless(b->dir, size, &fd, &e), 0);
    const struct copied c = {.fd = fd, .is_raw = true};
    for (int round = 0; round < 2; round++) {
        nbdsource_doubt_holes(s, &c);
        assert_int_equal(volume_begin(b->backup, "disk", size, &v, &e), 0);
        uint64_t before = nbdsource_read_bytes(s);
        reached = 0;
        assert_int_equal(nbdsource_copy(s, v, &e), 0);
        volume_abandonp(&v);
        v = NULL;
        uint64_t now = nbdsource_read_bytes(s) - before;
        if (round == 0)
            data = now;
        else
            assert_true(now == data + ARRAY_LEN(blocks) * sizeof(block));
        for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
            assert_int_equal(fd_pwrite(fd, block, sizeof(block),
                                       blocks[i] * sizeof(block), b->dir, &e),
                             0);
    }
}

static int
lose_patience(void *cookie, uint64_t offset, struct err *e)
{
    unsigned *ticks = cookie;

    (void)offset;
    return --*ticks > 0 ? 0 : err_set(e, ERR_CANCELED, "no patience");
}

/* A server that has stopped is waited for no longer than the caller likes:
 * while it is asked, as it is greeted, as it is left. */
static void
standstill_is_not_ours(void **state)
{
    struct box *b = *state;
    struct nbdsource *s = NULL;
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    unsigned ticks = 2;
    struct err e = {0};

    if (!serve(b)) {
        print_message("there is no qemu-nbd\n");
        skip();
    }
    (void)alarm(TOO_LONG_S);
    assert_int_equal(nbdsource_open(b->socket, "disk", NULL, lose_patience,
                                    &ticks, b->cancel, &s, &e),
                     0);
    assert_int_equal(
        volume_begin(b->backup, "disk", nbdsource_size_bytes(s), &v, &e), 0);
    assert_int_equal(kill(b->server, SIGSTOP), 0);
    ticks = 2;
    assert_int_equal(nbdsource_copy(s, v, &e), -1);
    assert_int_equal(e.code, ERR_CANCELED);
    nbdsource_close(STEAL(s));
    err_clear(&e);
    ticks = 2;
    assert_int_equal(nbdsource_open(b->socket, "disk", NULL, lose_patience,
                                    &ticks, b->cancel, &s, &e),
                     -1);
    assert_int_equal(e.code, ERR_CANCELED);
    assert_int_equal(kill(b->server, SIGCONT), 0);
    err_clear(&e);
    ticks = TOO_LONG_S;
    assert_int_equal(nbdsource_open(b->socket, "disk", NULL, lose_patience,
                                    &ticks, b->cancel, &s, &e),
                     0);
    assert_int_equal(kill(b->server, SIGSTOP), 0);
    nbdsource_close(s); /* says goodbye to nobody */
    assert_int_equal(kill(b->server, SIGCONT), 0);
    (void)alarm(0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(few_slots_are_enough, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(holes_are_doubted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(standstill_is_not_ours, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
