/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_example FOLDER: makes the repository of docs/format/example.md there,
 * the same in every run: its clocks are made up, and whatever should be random
 * is the bytes 00 01 02 and so on.  (But for the sealed boxes of a ref, whose
 * randomness is the library's own.)
 */
#include <stdio.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/rand.h"
#include "fixture.h"

enum { SIZE = 8 << 10 };
#define START_NS INT64_C(1700000000000000000)

static struct store_clock storage = {.now_ns = START_NS};
static struct store *example;

void
rand_bytes(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)i;
}

uint64_t
rand_u64(void)
{
    return UINT64_C(0x0706050403020100);
}

/* In the place of clock_wall_ns, by the linker: waits must not move this clock.
 * Names of one kind are told apart by their time. */
int64_t __wrap_clock_wall_ns(void); /* NOLINT: the linker says how */

int64_t
__wrap_clock_wall_ns(void) /* NOLINT */
{
    storage.now_ns += 1000000000;
    return storage.now_ns;
}

static int
save(void *cookie, const char *name, const struct store_stat *stat,
     struct err *e)
{
    CLEANUP(freep) char *path = path_join(cookie, name);
    CLEANUP(buf_done) struct buf b = buf_of(64 * MIB);
    CLEANUP(freep) char *folder = xstrdup(path);

    (void)stat;
    *strrchr(folder, '/') = '\0';
    if (store_get_all(example, name, &b, e) == -1 || dir_make(folder, e) == -1)
        return -1;
    return file_publish(path, b.p, b.len, e);
}

int
main(int argc, char **argv)
{
    CLEANUP(freep) uint8_t *p = xcalloc(1, SIZE);
    struct cancel *cancel = cancel_new();
    struct repo *r = NULL;
    struct err e = {0};
    uint64_t s = 1;

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < SIZE / 2; i += 8) { /* a block that is like none */
        s = s * UINT64_C(6364136223846793005) + 1442695040888963407U;
        put_le64(p + SIZE / 2 + i, s ^ s >> 29);
    }
    example = store_mem_new(&storage);
    int rc = cheap_init(example, &e);
    if (rc == 0)
        rc = repo_open(example, PASSWORD, &r, &e);
    if (rc == 0)
        rc = write_backup(r, cancel, "web", START_NS, p, SIZE, NULL, &e);
    if (rc == 0)
        rc = store_list(example, "", save, argv[1], &e);
    if (rc == -1)
        (void)fprintf(stderr, "write_example: %s\n", e.msg);
    repo_close(r);
    store_close(example);
    cancel_free(cancel);
    return rc == 0 ? 0 : 1;
}
