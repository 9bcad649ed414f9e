/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_index: how long it takes to open an index from its cache, and to look
 * objects up in it: usage
 *
 *   bench_index CACHE_DIR [OBJECTS]
 *
 * The objects, 5 million unless said otherwise, are in segments of as many as
 * one backup publishes at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "bench.h"
#include "repo/index.h"
#include "repo/keyring.h"
#include "repo/packer.h"
#include "store/store.h"
#include "store/store_mem.h"

enum { PACK_OBJECTS = 700, LOOKUPS = 2000000 };

static void
fill(struct store *st, const struct keyring *k, uint64_t objects)
{
    struct index *x = index_new(st, k);
    struct pack *p = pack_new();
    uint8_t id[OBJECT_ID_BYTES];
    struct err e = {0};
    uint64_t bytes = 0;

    for (uint64_t i = 0; i < objects;) {
        struct segment_builder *b = segment_builder_new();
        while (i < objects &&
               segment_builder_entries(b) < PACKER_DELTA_ENTRIES) {
            pack_reset(p, PACK_DATA);
            for (int n = 0; n < PACK_OBJECTS && i < objects; n++) {
                make_id(i++, id);
                pack_add(p, OBJECT_LEAF, id, 4096, id, 10);
            }
            pack_seal(p, k);
            segment_builder_add(b, p);
        }
        must(index_publish(x, b, (int64_t)i, &bytes, &e), &e);
        segment_builder_free(b);
    }
    pack_free(p);
    index_free(x);
}

static void
open_index(const char *what, struct store *st, const struct keyring *k,
           const char *dir, struct index **out)
{
    struct index *x = index_new(st, k);
    struct err e = {0};
    uint64_t start = clock_mono_ns();

    index_use_cache(x, dir);
    must(index_refresh(x, &e), &e);
    printf("%-32s %8.0f ms\n", what, (double)(clock_mono_ns() - start) / 1e6);
    *out = x;
}

static double
cpu_us(void)
{
    struct rusage u = {0};

    (void)getrusage(RUSAGE_THREAD, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void
look_up(const char *what, struct index *x, uint64_t first, uint64_t objects)
{
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];
    uint64_t found = 0, state = 1;
    double start = cpu_us();

    for (int i = 0; i < LOOKUPS; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        make_id(first + (state >> 20) % objects, id);
        found += index_find(x, id, at) > 0;
    }
    double us = (cpu_us() - start) / LOOKUPS;
    printf("%-32s %8.2f us of CPU a lookup, %.2f %% found\n", what, us,
           100.0 * (double)found / LOOKUPS);
}

int
main(int argc, char **argv)
{
    uint64_t objects = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000000;
    struct store *st = store_mem_new(NULL);
    struct keyring k;
    struct index *x = NULL;
    struct rusage u = {0};

    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_index CACHE_DIR [OBJECTS]\n");
        return 2;
    }
    keyring_make(&k);
    fill(st, &k, objects);
    open_index("open, from the store", st, &k, argv[1], &x);
    index_free(x);
    open_index("open, from the cache", st, &k, argv[1], &x);
    look_up("first pass, found", x, 0, objects);
    look_up("found", x, 0, objects);
    look_up("not found", x, objects, objects);
    index_free(x);
    (void)getrusage(RUSAGE_SELF, &u);
    printf("peak memory %.0f MB, with the store and what is mapped\n",
           (double)u.ru_maxrss / 1e3);
    keyring_done(&k);
    store_close(st);
    return 0;
}
