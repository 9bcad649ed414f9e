/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_chunk: what each chunker finds in images: usage
 *
 *   bench_chunk FIRST [SECOND]
 *
 * FIRST is cut as the first backup; then how much of SECOND is in it already,
 * and how much has to be stored again of FIRST after 1 % of its blocks of 4 KiB
 * at random places, and after as many bytes in runs of 64 KiB, were rewritten.
 * Bytes are counted before compression.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "repo/chunker.h"
#include "repo/gidset.h"

enum { NODE_OVERHEAD_A_LEAF = 32 + 4 + 16 };

struct image {
    int fd;
    uint64_t size;
    const char *path;
};

struct sums {
    uint64_t leaves, bytes, new_leaves, new_bytes, slots, new_slots, scan_ns;
};

/* Which blocks are overwritten before they are cut. */
struct change {
    uint32_t one_in, run_blocks; /* 0: none */
    uint64_t state, blocks;
};

static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void
overwrite(struct change *c, struct slot *s)
{
    uint32_t blocks = s->len / VOLUME_BLOCK_BYTES;

    for (uint32_t i = 0; c->one_in && i < blocks; i += c->run_blocks) {
        uint8_t *p = s->data + (size_t)i * VOLUME_BLOCK_BYTES;
        uint64_t draw = next_random(&c->state); /* the same for every chunker */
        if (draw % c->one_in != 0 || bytes_are_zero(p, VOLUME_BLOCK_BYTES))
            continue;
        for (uint32_t k = 0; k < c->run_blocks && i + k < blocks; k++) {
            uint64_t seed = draw + k;
            for (size_t at = 0; at < VOLUME_BLOCK_BYTES; at += 8)
                put_le64(p + (size_t)k * VOLUME_BLOCK_BYTES + at,
                         next_random(&seed));
            c->blocks++;
        }
    }
}

static void
cut_slot(struct slot *s, uint8_t chunker, struct gidset *known,
         const struct hash_key *key, struct sums *sums)
{
    struct chunker_run run = {.chunker = chunker, .seed = 1};
    struct chunk chunk;
    uint8_t name[HASH_BYTES];
    uint64_t start = clock_mono_ns(), new_before = sums->new_leaves;
    uint64_t leaves_before = sums->leaves;

    while (chunker_next(&run, s, &chunk)) {
        sums->leaves++;
        sums->bytes += (uint64_t)chunk.blocks * VOLUME_BLOCK_BYTES;
    }
    sums->scan_ns += clock_mono_ns() - start;
    run.at = 0;
    while (chunker_next(&run, s, &chunk)) {
        size_t len = (size_t)chunk.blocks * VOLUME_BLOCK_BYTES;
        hash_keyed(key, 1, s->data + (size_t)chunk.first * VOLUME_BLOCK_BYTES,
                   len, name);
        if (!gidset_add(known, name))
            continue;
        sums->new_leaves++;
        sums->new_bytes += len;
    }
    sums->slots += sums->leaves > leaves_before;
    sums->new_slots += sums->new_leaves > new_before;
}

static struct sums
cut(const struct image *im, uint8_t chunker, struct change *c,
    struct gidset *known)
{
    static const uint8_t k_id[HASH_KEY_BYTES] = {1};
    struct hash_key *key = hash_key_new(k_id);
    struct slot *s = xcalloc(1, sizeof(*s));
    struct sums sums = {0};
    struct err e = {0};

    s->data = xmalloc(VOLUME_SLOT_BYTES);
    for (uint64_t at = 0; at < im->size; at += VOLUME_SLOT_BYTES) {
        s->len = (uint32_t)u64_min(VOLUME_SLOT_BYTES, im->size - at);
        memset(s->marked, 0, sizeof(s->marked));
        if (fd_pread(im->fd, s->data, s->len, at, im->path, &e) == -1) {
            (void)fprintf(stderr, "bench_chunk: %s\n", e.msg);
            exit(1);
        }
        slot_mark(s, 0, s->len);
        overwrite(c, s);
        cut_slot(s, chunker, known, key, &sums);
    }
    free(s->data);
    free(s);
    hash_key_free(key);
    return sums;
}

static struct image
open_image(const char *path)
{
    struct stat st;
    struct image im = {.fd = open(path, O_RDONLY | O_CLOEXEC), .path = path};

    if (im.fd == -1 || fstat(im.fd, &st) == -1) {
        (void)fprintf(stderr, "bench_chunk: cannot open %s\n", path);
        exit(1);
    }
    im.size = (uint64_t)st.st_size;
    return im;
}

/* New bytes, and those of the nodes above them, by dirty bytes. */
static double
amplification(const struct sums *s, const struct change *c)
{
    uint64_t nodes = 0;

    if (s->slots > 0)
        nodes = s->leaves / s->slots * s->new_slots * NODE_OVERHEAD_A_LEAF;
    return (double)(s->new_bytes + nodes) /
           (double)(c->blocks * VOLUME_BLOCK_BYTES);
}

static void
measure(const char *name, uint8_t chunker, const struct image *first,
        const struct image *second)
{
    struct gidset known = {0};
    struct change none = {0};
    struct change few = {.one_in = 100, .run_blocks = 1, .state = 7};
    struct change runs = {.one_in = 100, .run_blocks = 16, .state = 8};
    struct sums a = cut(first, chunker, &none, &known);
    struct sums b = {0};

    if (second)
        b = cut(second, chunker, &none, &known);
    struct sums c = cut(first, chunker, &few, &known);
    struct sums d = cut(first, chunker, &runs, &known);

    printf("%-10s %7.1f %9llu %7.1f %%", name,
           (double)a.bytes / (double)a.leaves / 1024,
           (unsigned long long)a.leaves,
           100 * (1 - (double)a.new_bytes / (double)a.bytes));
    if (second)
        printf(" %7.1f %%", 100 * (1 - (double)b.new_bytes / (double)b.bytes));
    else
        printf(" %9s", "-");
    printf(" %8.1fx %8.1fx %8.0f\n", amplification(&c, &few),
           amplification(&d, &runs),
           (double)first->size / (double)a.scan_ns * 1e3);
    gidset_done(&known);
}

int
main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: bench_chunk FIRST [SECOND]\n");
        return 2;
    }
    struct image first = open_image(argv[1]);
    struct image second = {0};
    if (argc > 2)
        second = open_image(argv[2]);
    printf("%-10s %7s %9s %9s %9s %9s %9s %8s\n", "chunker", "KiB", "leaves",
           "twice", "second", "1% 4K", "1% 64K", "MB/s");
    measure("fixed64k", CHUNKER_FIXED64K, &first, argc > 2 ? &second : NULL);
    measure("ba8", CHUNKER_BA8, &first, argc > 2 ? &second : NULL);
    return 0;
}
