/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_increment: what a backup costs that knows what has changed: usage
 *
 *   bench_increment base FOLDER GIB FILLED
 *   bench_increment blocks|runs FOLDER PERCENT
 *   bench_increment huge FOLDER
 *   bench_increment image FOLDER IMAGE TIMES
 *
 * "base" makes a repository in FOLDER and backs up a volume of GIB GiB, of
 * which one slot in FILLED holds data.  "blocks" and "runs" change so much of
 * it, in random blocks of 4 KiB or runs of 1 MiB, as a backup on that one.
 * "huge" changes 1000 blocks of an empty volume of 16 TiB.  "image" makes a
 * repository, backs an image of a disk up, and TIMES times rewrites one in a
 * hundred of its blocks that are not zero and backs up again.  Each in a
 * process of its own, so that its peak memory is its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "bench.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "work/cancel.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum { RUN_BYTES = 1 << 20 };

static uint64_t
next(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Like nothing else, and as compressible as files are: to about 40 %. */
static void
make(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i += 16) {
        put_le64(p + i, next(&seed) & UINT64_C(0xffffffffffff));
        put_le64(p + i + 8, 0);
    }
}

struct bench {
    struct store *st;
    struct repo *r;
    struct cancel *cancel;
    uint64_t start_ns;
};

static int
add_size(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    (void)name;
    (void)e;
    *(uint64_t *)cookie += stat->size_bytes;
    return 0;
}

static uint64_t
bytes_in(struct bench *b, const char *prefix)
{
    struct err e = {0};
    uint64_t n = 0;

    must(store_list(b->st, prefix, add_size, &n, &e), &e);
    return n;
}

static double
cpu_s(void)
{
    struct rusage u = {0};

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double
peak_mib(void)
{
    struct rusage u = {0};

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

struct change {
    uint64_t seed;
    uint8_t (*bits)[VOLUME_SLOT_BLOCKS / 8]; /* of each slot; NULL: all */
};

static int
fill(void *cookie, struct slot *s, struct err *e)
{
    const struct change *c = cookie;

    (void)e;
    for (uint32_t i = 0; i < VOLUME_SLOT_BLOCKS; i++) {
        if (c->bits && !(c->bits[s->index][i / 8] >> (i % 8) & 1))
            continue;
        make(s->data + (size_t)i * VOLUME_BLOCK_BYTES, VOLUME_BLOCK_BYTES,
             c->seed + s->index * VOLUME_SLOT_BLOCKS + i);
        slot_mark(s, i * VOLUME_BLOCK_BYTES, VOLUME_BLOCK_BYTES);
    }
    return 0;
}

static void
commit(struct bench *b, struct backup_writer *w, struct volume_writer *v,
       const char *machine)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct volume_root root = {0};
    struct err e = {0};

    must(volume_end(&v, &root, &e), &e);
    m->machine = xstrdup(machine);
    manifest_add_volume(m, "disk", &root);
    must(backup_commit(&w, m, &e), &e);
    printf("%7.1f s %7.1f s of CPU",
           (double)(clock_mono_ns() - b->start_ns) / 1e9, cpu_s());
}

static void
make_base(struct bench *b, uint64_t size, uint64_t filled)
{
    struct change all = {.seed = 0};
    struct backup_writer *w = NULL;
    struct volume_writer *v = NULL;
    struct err e = {0};

    must(backup_begin(b->r, NULL, b->cancel, &w, &e), &e);
    must(volume_begin(w, "disk", size, &v, &e), &e);
    for (uint64_t i = 0; filled > 0 && i < size / VOLUME_SLOT_BYTES;
         i += filled)
        must(volume_fill(v, i, fill, &all, &e), &e);
    commit(b, w, v, filled ? "base" : "huge");
    printf("  peak %.0f MiB\n", peak_mib());
}

/* Sets so many bits, in runs. */
static void
scatter(struct change *c, uint64_t blocks, uint64_t changes, uint64_t run)
{
    uint64_t seed = c->seed;

    for (uint64_t i = 0; i < changes; i++) {
        uint64_t at = next(&seed) % (blocks / run) * run;
        for (uint64_t k = at; k < at + run; k++)
            c->bits[k / VOLUME_SLOT_BLOCKS][k % VOLUME_SLOT_BLOCKS / 8] |=
                (uint8_t)(1U << (k % 8));
    }
}

static uint64_t
count(const struct change *c, uint64_t slots)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < slots; i++)
        for (size_t k = 0; k < sizeof(c->bits[0]); k++)
            n += (uint64_t)__builtin_popcount(c->bits[i][k]);
    return n;
}

static void
increment(struct bench *b, const char *machine, double percent, uint64_t run)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct backup_writer *w = NULL;
    struct volume_writer *v = NULL;
    struct change c = {.seed = clock_mono_ns()};
    struct err e = {0};
    char name[64];

    (void)snprintf(name, sizeof(name), "%s@latest", machine);
    must(backup_find(b->r, name, &m, &e), &e);
    const struct volume_root *root = &m->volumes[0].root;
    uint64_t blocks = root->size_bytes / VOLUME_BLOCK_BYTES;
    uint64_t slots = root->size_bytes / VOLUME_SLOT_BYTES;
    uint64_t data = bytes_in(b, "packs/d/"), meta = bytes_in(b, "packs/m/"),
             index = bytes_in(b, "index/");
    c.bits = xcalloc(slots, sizeof(c.bits[0]));
    scatter(&c, blocks,
            (uint64_t)((double)blocks * percent / 100 / (double)run), run);
    uint64_t changed = count(&c, slots) * VOLUME_BLOCK_BYTES;
    double before = peak_mib(), cpu = cpu_s();

    b->start_ns = clock_mono_ns();
    const struct backup_options o = {.base = m->id};
    must(backup_begin(b->r, &o, b->cancel, &w, &e), &e);
    must(volume_begin_on(w, "disk", root, &v, &e), &e);
    for (uint64_t i = 0; i < slots; i++)
        if (!bytes_are_zero(c.bits[i], sizeof(c.bits[i])))
            must(volume_fill(v, i, fill, &c, &e), &e);
    commit(b, w, v, "increment");
    data = bytes_in(b, "packs/d/") - data;
    meta = bytes_in(b, "packs/m/") - meta;
    index = bytes_in(b, "index/") - index;
    printf(" (%.1f before), peak %.0f MiB (%.0f before)\n", cpu, peak_mib(),
           before);
    printf("    changed %.1f MB, stored: data %.1f MB, nodes %.1f MB, index "
           "%.1f MB: metadata %.0f %%\n",
           (double)changed / 1e6, (double)data / 1e6, (double)meta / 1e6,
           (double)index / 1e6, 100 * (double)(meta + index) / (double)data);
    free(c.bits);
}

/* ---- an image of real files -------------------------------------------- */

struct image {
    uint8_t *p;
    uint64_t size;
    uint64_t round; /* 0: all of it */
};

/* A rewritten block is another one of the same slot: as compressible. */
static int
fill_image(void *cookie, struct slot *s, struct err *e)
{
    const struct image *m = cookie;
    uint8_t *p = m->p + s->index * VOLUME_SLOT_BYTES;
    uint64_t seed = m->round << 32 | s->index, blocks = s->len / 4096;

    (void)e;
    for (uint64_t i = 0; i < blocks; i++) {
        uint8_t *block = p + i * VOLUME_BLOCK_BYTES;
        uint64_t draw = next(&seed);
        if (bytes_are_zero(block, VOLUME_BLOCK_BYTES) ||
            (m->round > 0 && draw % 100 != 0))
            continue;
        if (m->round > 0) {
            memmove(block, p + (draw >> 32) % blocks * VOLUME_BLOCK_BYTES,
                    VOLUME_BLOCK_BYTES);
            put_le64(block + draw % (VOLUME_BLOCK_BYTES / 8) * 8, draw);
        }
        memcpy(s->data + i * VOLUME_BLOCK_BYTES, block, VOLUME_BLOCK_BYTES);
        slot_mark(s, (uint32_t)(i * VOLUME_BLOCK_BYTES), VOLUME_BLOCK_BYTES);
    }
    return 0;
}

static void
backup_image(struct bench *b, struct image *m)
{
    CLEANUP(manifest_freep) struct manifest *base = NULL;
    CLEANUP(manifest_freep) struct manifest *now = manifest_new();
    uint64_t data = bytes_in(b, "packs/d/"), meta = bytes_in(b, "packs/m/"),
             index = bytes_in(b, "index/");
    struct backup_writer *w = NULL;
    struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct err e = {0};

    if (m->round > 0)
        must(backup_find(b->r, "image@latest", &base, &e), &e);
    const struct backup_options o = {.base = base ? base->id : NULL};
    must(backup_begin(b->r, &o, b->cancel, &w, &e), &e);
    must(base ? volume_begin_on(w, "disk", &base->volumes[0].root, &v, &e)
              : volume_begin(w, "disk", m->size, &v, &e),
         &e);
    for (uint64_t i = 0; i < div_up(m->size, VOLUME_SLOT_BYTES); i++)
        must(volume_fill(v, i, fill_image, m, &e), &e);
    must(volume_end(&v, &root, &e), &e);
    now->machine = xstrdup("image");
    manifest_add_volume(now, "disk", &root);
    must(backup_commit(&w, now, &e), &e);
    printf("%3u  changed %7.1f MB, new %7.1f MB, stored: data %7.2f MB, nodes "
           "%6.2f MB, index %5.2f MB\n",
           (unsigned)m->round, (double)now->read_bytes / 1e6,
           (double)now->new_bytes / 1e6,
           (double)(bytes_in(b, "packs/d/") - data) / 1e6,
           (double)(bytes_in(b, "packs/m/") - meta) / 1e6,
           (double)(bytes_in(b, "index/") - index) / 1e6);
}

static void
bench_image(struct bench *b, const char *path, uint64_t times)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(SIZE_MAX / 2);
    struct err e = {0};

    must(file_read(path, &bytes, &e), &e);
    struct image m = {.p = bytes.p,
                      .size = bytes.len - bytes.len % VOLUME_BLOCK_BYTES};
    for (; m.round <= times; m.round++)
        backup_image(b, &m);
}

static void
open_bench(struct bench *b, const char *folder, bool create)
{
    struct err e = {0};

    must(create ? store_create(folder, &b->st, &e)
                : store_open(folder, &b->st, &e),
         &e);
    if (create)
        must(repo_init(b->st, "bench", NULL, &e), &e);
    must(repo_open(b->st, "bench", &b->r, &e), &e);
    b->cancel = cancel_new();
    b->start_ns = clock_mono_ns();
}

int
main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    struct bench b = {0};

    if (strcmp(what, "base") == 0 && argc == 5) {
        open_bench(&b, argv[2], true);
        make_base(&b, strtoull(argv[3], NULL, 10) * GIB,
                  strtoull(argv[4], NULL, 10));
        make_base(&b, 16384 * GIB, 0);
    } else if (strcmp(what, "image") == 0 && argc == 5) {
        open_bench(&b, argv[2], true);
        bench_image(&b, argv[3], strtoull(argv[4], NULL, 10));
    } else if (strcmp(what, "huge") == 0) {
        open_bench(&b, argv[2], false);
        increment(&b, "huge", 100.0 * 1000 / (4096.0 * 1024 * 1024), 1);
    } else if (argc == 4) {
        open_bench(&b, argv[2], false);
        increment(&b, "base", strtod(argv[3], NULL),
                  strcmp(what, "runs") == 0 ? RUN_BYTES / VOLUME_BLOCK_BYTES
                                            : 1);
    } else {
        (void)fprintf(stderr, "see the head of bench_increment.c\n");
        return 2;
    }
    repo_close(b.r);
    store_close(b.st);
    cancel_free(b.cancel);
    return 0;
}
