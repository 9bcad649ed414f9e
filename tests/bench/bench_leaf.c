/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_leaf: how large leaves should be, and what storing them as differences
 * would save: usage
 *
 *   bench_leaf FIRST [SECOND]
 *
 * FIRST (an image of a disk, or of memory) is cut and compressed as a first
 * backup, SECOND (the same some time later; without it, FIRST with one block of
 * 4 KiB in a hundred rewritten) as the next one.  Of what the second one has to
 * store it also says what it would take as a zstd frame that has the leaf at
 * the same place in the first as its prefix, and as a list of the blocks that
 * differ from it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "bench.h"
#include "crypto/hash.h"
#include "repo/chunker.h"
#include "repo/codec.h"
#include "repo/gidset.h"
#include "repo/object.h"

enum {
    BLOCK = VOLUME_BLOCK_BYTES,
    SEALED_BYTES = 12 + 16, /* nonce and tag, beside the codec's head */
    /* Of one leaf: its entry in a slot and in the list of children, in the
     * table of its pack, and in the index with its bits of the filter. */
    NODE_BYTES = 36 + 16,
    TABLE_BYTES = 48,
    INDEX_BYTES = 28 + 2
};

struct way {
    const char *name;
    uint32_t blocks; /* 0: ba8 */
};

static const struct way ways[] = {
    {"4k", 1}, {"8k", 2}, {"16k", 4}, {"64k", 16}, {"ba8", 0},
};

static uint64_t
cpu_ns(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct image {
    int fd;
    uint64_t size;
    const char *path;
};

static void
open_image(const char *path, struct image *im)
{
    struct stat st;

    *im = (struct image){.fd = open(path, O_RDONLY | O_CLOEXEC), .path = path};
    if (im->fd == -1 || fstat(im->fd, &st) == -1) {
        (void)fprintf(stderr, "bench_leaf: cannot open %s\n", path);
        exit(1);
    }
    im->size = (uint64_t)st.st_size / BLOCK * BLOCK;
}

static void
read_slot(const struct image *im, uint64_t index, struct slot *s)
{
    struct err e = {0};
    uint64_t at = index * VOLUME_SLOT_BYTES;

    s->index = index;
    s->len = (uint32_t)u64_min(VOLUME_SLOT_BYTES, im->size - at);
    memset(s->marked, 0, sizeof(s->marked));
    memset(s->data + s->len, 0, VOLUME_SLOT_BYTES - s->len);
    must(fd_pread(im->fd, s->data, s->len, at, im->path, &e), &e);
    slot_mark(s, 0, s->len);
}

/* A rewritten block is another one of the same image: as compressible. */
static void
rewrite(struct slot *s, uint64_t *seed)
{
    for (uint32_t i = 0; i < s->len / BLOCK; i++) {
        uint64_t draw = next_random(seed);
        uint8_t *p = s->data + (size_t)i * BLOCK;
        if (draw % 100 != 0 || bytes_are_zero(p, BLOCK))
            continue;
        memcpy(p, s->data + (draw >> 32) % (s->len / BLOCK) * BLOCK, BLOCK);
        put_le64(p + draw % (BLOCK / 8) * 8, draw);
    }
}

static bool
next_chunk(const struct way *w, struct chunker_run *run, struct slot *s,
           struct chunk *out)
{
    if (w->blocks == 0)
        return chunker_next(run, s, out);
    for (; run->at < VOLUME_SLOT_BLOCKS; run->at += w->blocks) {
        uint32_t first = run->at, end = run->at + w->blocks;
        while (first < end &&
               bytes_are_zero(s->data + (size_t)first * BLOCK, BLOCK))
            first++;
        while (end > first &&
               bytes_are_zero(s->data + (size_t)(end - 1) * BLOCK, BLOCK))
            end--;
        if (first == end)
            continue;
        run->at += w->blocks;
        *out = (struct chunk){first, end - first};
        return true;
    }
    return false;
}

struct sums {
    uint64_t leaves, bytes;           /* all */
    uint64_t noded;                   /* of slots where one is new */
    uint64_t new_leaves, new_bytes;   /* not known before */
    uint64_t stored;                  /* what they take, each compressed */
    uint64_t prefix, patch;           /* the same as differences, if better */
    uint64_t ns, prefix_ns, patch_ns; /* of processor time */
};

struct bench {
    const struct way *way;
    struct gidset known;
    struct hash_key *key;
    struct codec *codec;
    ZSTD_CCtx *prefix, *patch;
    struct slot *old, *now;
    uint8_t *out, *other;
};

/* Of the leaf's place in the first image, the leaf that has most of it.  That
 * is read, decrypted and decompressed: half as long as compressing it. */
static uint32_t
base_of(struct bench *b, const struct chunk *want, struct chunk *out)
{
    struct chunker_run run = {.chunker = CHUNKER_BA8, .seed = 1};
    struct chunk c = {0};
    uint32_t best = 0;

    while (next_chunk(b->way, &run, b->old, &c) &&
           c.first < want->first + want->blocks) {
        uint32_t from = (uint32_t)u64_max(c.first, want->first);
        uint32_t to =
            (uint32_t)u64_min(c.first + c.blocks, want->first + want->blocks);
        if (to > from && to - from > best) {
            best = to - from;
            *out = c;
        }
    }
    return best;
}

static size_t
with_prefix(struct bench *b, const uint8_t *p, size_t len, const uint8_t *base,
            size_t base_len)
{
    (void)ZSTD_CCtx_refPrefix(b->prefix, base, base_len);
    return ZSTD_compress2(b->prefix, b->out, ZSTD_compressBound(len), p, len) +
           CAPABILITY_BYTES + CODEC_HEAD_BYTES;
}

/* The blocks that differ from the base's at the same place, compressed. */
static size_t
as_patch(struct bench *b, const struct chunk *c, const struct chunk *base)
{
    size_t n = 0;

    for (uint32_t i = c->first; i < c->first + c->blocks; i++) {
        const uint8_t *p = b->now->data + (size_t)i * BLOCK;
        if (i >= base->first && i < base->first + base->blocks &&
            memcmp(p, b->old->data + (size_t)i * BLOCK, BLOCK) == 0)
            continue;
        memcpy(b->other + n, p, BLOCK);
        n += BLOCK;
    }
    return ZSTD_compress2(b->patch, b->out, ZSTD_compressBound(n), b->other,
                          n) +
           CAPABILITY_BYTES + CODEC_HEAD_BYTES + 8 + 8;
}

static void
differences(struct bench *b, const struct chunk *c, size_t full,
            struct sums *sums)
{
    const uint8_t *p = b->now->data + (size_t)c->first * BLOCK;
    struct chunk base = {0};
    size_t prefix = full, patch = full;

    if (base_of(b, c, &base) > 0) {
        uint64_t start = cpu_ns();
        prefix = with_prefix(b, p, (size_t)c->blocks * BLOCK,
                             b->old->data + (size_t)base.first * BLOCK,
                             (size_t)base.blocks * BLOCK);
        uint64_t then = cpu_ns();
        patch = as_patch(b, c, &base);
        sums->prefix_ns += then - start;
        sums->patch_ns += cpu_ns() - then;
    }
    sums->prefix += u64_min(prefix, full) + SEALED_BYTES;
    sums->patch += u64_min(patch, full) + SEALED_BYTES;
}

static void
cut_slot(struct bench *b, struct slot *s, struct sums *sums, bool second)
{
    struct chunker_run run = {.chunker = CHUNKER_BA8, .seed = 1};
    uint8_t name[HASH_BYTES];
    struct chunk c;
    uint64_t start = cpu_ns(), other_ns = 0;
    uint64_t leaves_before = sums->leaves, new_before = sums->new_leaves;

    while (next_chunk(b->way, &run, s, &c)) {
        const uint8_t *p = s->data + (size_t)c.first * BLOCK;
        size_t len = (size_t)c.blocks * BLOCK;
        hash_keyed(b->key, OBJECT_LEAF, p, len, name);
        sums->leaves++;
        sums->bytes += len;
        if (!gidset_add(&b->known, name))
            continue;
        size_t full = codec_pack(b->codec, p, len, b->out);
        sums->new_leaves++;
        sums->new_bytes += len;
        sums->stored += full + SEALED_BYTES;
        uint64_t before = cpu_ns();
        if (second)
            differences(b, &c, full, sums);
        other_ns += cpu_ns() - before;
    }
    if (sums->new_leaves > new_before)
        sums->noded += sums->leaves - leaves_before;
    sums->ns += cpu_ns() - start - other_ns;
}

static struct slot *
slot_new(void)
{
    struct slot *s = xcalloc(1, sizeof(*s));

    s->data = xmalloc(VOLUME_SLOT_BYTES);
    return s;
}

static void
start(struct bench *b, const struct way *w)
{
    static const uint8_t k_id[HASH_KEY_BYTES] = {1};

    *b = (struct bench){.way = w,
                        .key = hash_key_new(k_id),
                        .codec = codec_new(CODEC_LEVEL_DEFAULT),
                        .prefix = ZSTD_createCCtx(),
                        .patch = ZSTD_createCCtx(),
                        .old = slot_new(),
                        .now = slot_new(),
                        .out = xmalloc(codec_room(OBJECT_PLAIN_MAX)),
                        .other = xmalloc(OBJECT_PLAIN_MAX)};
    (void)ZSTD_CCtx_setParameter(b->prefix, ZSTD_c_compressionLevel, 1);
    (void)ZSTD_CCtx_setParameter(b->patch, ZSTD_c_compressionLevel, 1);
}

static void
finish(struct bench *b)
{
    gidset_done(&b->known);
    hash_key_free(b->key);
    codec_free(b->codec);
    (void)ZSTD_freeCCtx(b->prefix);
    (void)ZSTD_freeCCtx(b->patch);
    free(b->old->data);
    free(b->old);
    free(b->now->data);
    free(b->now);
    free(b->out);
    free(b->other);
}

static double
mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static double
speed(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes * 1000 / (double)ns : 0;
}

static void
measure(const struct way *w, const struct image *first,
        const struct image *second)
{
    uint64_t slots = div_up(first->size, VOLUME_SLOT_BYTES), seed = 5;
    struct sums a = {0}, z = {0};
    struct bench b;

    start(&b, w);
    for (uint64_t i = 0; i < slots; i++) {
        read_slot(first, i, b.old);
        cut_slot(&b, b.old, &a, false);
    }
    for (uint64_t i = 0; i < slots; i++) {
        read_slot(first, i, b.old);
        read_slot(second ? second : first, i, b.now);
        if (!second)
            rewrite(b.now, &seed);
        cut_slot(&b, b.now, &z, true);
    }
    printf(
        "%-4s %6.1fK %8llu %8.1f %7.2f %6.0f |", w->name,
        (double)a.bytes / 1024 / (double)u64_max(a.leaves, 1),
        (unsigned long long)a.new_leaves, mb(a.stored),
        mb(a.noded * NODE_BYTES + a.new_leaves * (TABLE_BYTES + INDEX_BYTES)),
        speed(a.bytes, a.ns));
    printf(
        " %8.1f %8.1f %7.2f | %8.1f %6.0f %8.1f %6.0f\n", mb(z.new_bytes),
        mb(z.stored),
        mb(z.noded * NODE_BYTES + z.new_leaves * (TABLE_BYTES + INDEX_BYTES)),
        mb(z.prefix), speed(z.new_bytes, z.prefix_ns), mb(z.patch),
        speed(z.new_bytes, z.patch_ns));
    finish(&b);
}

int
main(int argc, char **argv)
{
    struct image first, second;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_leaf FIRST [SECOND]\n");
        return 2;
    }
    open_image(argv[1], &first);
    if (argc > 2) {
        open_image(argv[2], &second);
        second.size = first.size = u64_min(first.size, second.size);
    }
    printf(
        "     first backup: mean, leaves, MB stored, MB of metadata, MB/s of "
        "a core |\n     second: MB new, MB stored, MB of metadata | with "
        "prefix: MB, MB/s, patch: MB, MB/s\n");
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        measure(&ways[i], &first, argc > 2 ? &second : NULL);
    return 0;
}
