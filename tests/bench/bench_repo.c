/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_repo: the pipeline's speed without any disk: usage
 *
 *   bench_repo FILE [THREADS]
 *
 * FILE (a disk image, a tar) is read into memory and backed up into a store in
 * memory: first, again with nothing changed, then read back and compared.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "bench.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "store/store_mem.h"
#include "work/cancel.h"
#include "work/pool.h"

struct clocks {
    uint64_t wall_ns;
    double cpu_s;
};

static struct clocks
now(void)
{
    struct rusage u = {0};

    (void)getrusage(RUSAGE_SELF, &u);
    return (struct clocks){
        clock_mono_ns(),
        (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
            (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6};
}

static void
report(const char *what, uint64_t bytes, struct clocks start)
{
    struct clocks end = now();
    double s = (double)(end.wall_ns - start.wall_ns) / 1e9;

    printf("%-28s %7.0f MB/s  %6.2f s  %6.2f s of CPU", what,
           (double)bytes / 1e6 / s, s, end.cpu_s - start.cpu_s);
}

static void
back_up(struct repo *r, unsigned threads, int no_verify, const char *what,
        const uint8_t *p, uint64_t size, struct volume_root *root)
{
    struct err e = {0};
    struct cancel *cancel = cancel_new();
    struct backup_options o = {.threads = threads, .no_verify = no_verify};
    struct backup_writer *b = NULL;
    struct volume_writer *v = NULL;
    struct manifest *m = manifest_new();
    struct clocks start = now();

    must(backup_begin(r, &o, cancel, &b, &e), &e);
    must(volume_begin(b, "disk", size, &v, &e), &e);
    for (uint64_t at = 0; at < size; at += VOLUME_SLOT_BYTES) {
        struct slot *s = NULL;
        must(volume_slot(v, at / VOLUME_SLOT_BYTES, &s, &e), &e);
        memcpy(s->data, p + at, s->len);
        slot_mark(s, 0, s->len);
        volume_submit(v, s);
    }
    must(volume_end(&v, root, &e), &e);
    manifest_add_volume(m, "disk", root);
    must(backup_commit(&b, m, &e), &e);
    report(what, size, start);
    printf("  new %.0f MB, stored %.0f MB\n", (double)m->new_bytes / 1e6,
           (double)m->stored_bytes / 1e6);
    manifest_free(m);
    cancel_free(cancel);
}

struct reading {
    struct volume_reader *v;
    const uint8_t *p;
    uint64_t size, index;
};

static int
read_slot(void *arg, int failed, struct err *e)
{
    struct reading *r = arg;
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];
    uint64_t at = r->index * VOLUME_SLOT_BYTES;
    static _Thread_local uint8_t *out;
    int rc = 0;

    if (!out)
        out = xmalloc(VOLUME_SLOT_BYTES);
    if (!failed)
        rc = volume_read_slot(r->v, r->index, out, marked, e);
    if (!failed && rc == 0 &&
        memcmp(out, r->p + at, u64_min(VOLUME_SLOT_BYTES, r->size - at)) != 0)
        rc = err_set(e, ERR_CORRUPT, "slot %llu came back different",
                     (unsigned long long)r->index);
    free(r);
    return rc;
}

static void
read_back(struct repo *r, unsigned threads, const uint8_t *p, uint64_t size,
          const struct volume_root *root)
{
    struct err e = {0};
    struct volume_reader *v = NULL;
    struct pool *pool = pool_new(threads);
    struct group *g = group_new(pool, 8);
    struct clocks start = now();
    uint64_t index = 0;
    int more = 0;

    must(volume_open(r, root, &v, &e), &e);
    while ((more = volume_next_slot(v, &index, &e)) == 1) {
        struct reading *one = xcalloc(1, sizeof(*one));
        *one = (struct reading){.v = v, .p = p, .size = size, .index = index++};
        group_run(g, read_slot, one);
    }
    must(more, &e);
    must(group_wait(g, &e), &e);
    report("read back", size, start);
    printf("\n");
    group_free(g);
    pool_free(pool);
    volume_close(v);
}

int
main(int argc, char **argv)
{
    struct err e = {0};
    struct stat file;
    struct volume_root root = {0};
    struct rusage u = {0};
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

    if (fd == -1 || fstat(fd, &file) == -1) {
        (void)fprintf(stderr, "usage: bench_repo FILE [THREADS]\n");
        return 2;
    }
    uint64_t size = (uint64_t)file.st_size;
    uint8_t *p = xmalloc(size);
    must(fd_pread(fd, p, size, 0, argv[1], &e), &e);
    fd_close(&fd);

    for (int no_verify = 0; no_verify < 2; no_verify++) {
        struct store *st = store_mem_new(NULL);
        struct repo *r = NULL;
        must(repo_init(st, "bench", NULL, &e), &e);
        must(repo_open(st, "bench", &r, &e), &e);
        back_up(r, threads, no_verify,
                no_verify ? "first backup, no verify" : "first backup", p, size,
                &root);
        back_up(r, threads, no_verify, "second, nothing changed", p, size,
                &root);
        repo_close(r);
        must(repo_open(st, "bench", &r, &e), &e);
        read_back(r, threads, p, size, &root);
        repo_close(r);
        store_close(st);
    }
    (void)getrusage(RUSAGE_SELF, &u);
    printf("peak memory %.0f MB, of which the file is %.0f MB\n",
           (double)u.ru_maxrss / 1e3, (double)size / 1e6);
    free(p);
    return 0;
}
