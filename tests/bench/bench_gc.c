/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_gc: what maintenance costs on a big repository: usage
 *
 *   bench_gc fill DIR PERCENT    make one in DIR: PERCENT % of 10 TiB
 *   bench_gc prune DIR PERCENT   one run on it; prints time and memory
 *
 * 10 TiB are 240 million leaves of some 44 KiB, of 2,000 backups of 100
 * machines.  Index, nodes and refs are real and in DIR (16 GB for all of it);
 * the packs of leaves are names in listings only, as maintenance does not read
 * them.  A tenth of the backups is retired, so that there is something to
 * condemn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "bench.h"
#include "crypto/password.h"
#include "repo/index.h"
#include "repo/node.h"
#include "repo/notice.h"
#include "repo/packer.h"
#include "repo/prune.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "store/store_internal.h"
#include "work/cancel.h"

enum {
    MACHINES = 100,
    BACKUPS = 20,  /* of each machine */
    LEAVES = 190,  /* of a slot */
    SLOTS = 12600, /* of a machine, in all its backups, at 100 % */
    PACK_LEAVES = 740,
    RETIRED_EVERY = 10
};

#define NS_PER_S INT64_C(1000000000)
#define DAY_NS (24 * 3600 * NS_PER_S)

/* ---- the storage: a folder, and packs of leaves that only have names ---- */

static struct place {
    struct store base;
    struct store *dir;
    uint8_t (*packs)[PACK_NAME_BYTES];
    uint32_t *bytes;
    size_t n, room;
    bool swallow; /* packs of leaves that are put */
} place;

static int
place_put(struct store *st, const char *name, const void *p, size_t len,
          struct err *e)
{
    uint8_t sum[PACK_NAME_BYTES];
    enum pack_kind kind;

    (void)st;
    if (!place.swallow || !name_parse_pack(name, &kind, sum) ||
        kind != PACK_DATA)
        return store_put(place.dir, name, p, len, e);
    return 0;
}

static int
place_get(struct store *st, const char *name, uint64_t offset, void *out,
          size_t len, struct err *e)
{
    (void)st;
    return store_get(place.dir, name, offset, out, len, e);
}

static int
place_get_all(struct store *st, const char *name, struct buf *out,
              struct err *e)
{
    (void)st;
    return store_get_all(place.dir, name, out, e);
}

static int
place_stat(struct store *st, const char *name, struct store_stat *out,
           struct err *e)
{
    (void)st;
    return store_stat(place.dir, name, out, e);
}

/* All was stored long ago, but for what this run puts. */
struct listing {
    store_list_fn *fn;
    void *cookie;
};

static int
list_one(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct listing *l = cookie;
    struct store_stat old = *stat;

    if (strncmp(name, "sess/", 5) != 0)
        old.mtime_ns -= 30 * DAY_NS;
    return l->fn(l->cookie, name, &old, e);
}

static int
place_list(struct store *st, const char *prefix, store_list_fn *fn,
           void *cookie, struct err *e)
{
    struct listing l = {fn, cookie};
    char name[NAME_MAX_LEN];

    (void)st;
    if (store_list(place.dir, prefix, list_one, &l, e) == -1)
        return -1;
    for (size_t i = 0; strcmp(prefix, "packs/") == 0 && i < place.n; i++) {
        const struct store_stat stat = {.size_bytes = place.bytes[i],
                                        .mtime_ns =
                                            clock_wall_ns() - 30 * DAY_NS};
        name_pack(PACK_DATA, place.packs[i], name);
        if (fn(cookie, name, &stat, e) == -1)
            return -1;
    }
    return 0;
}

static int
place_remove(struct store *st, const char *name, struct err *e)
{
    (void)st;
    return store_remove(place.dir, name, e);
}

static void
place_close(struct store *st)
{
    (void)st;
}

static const struct store_ops place_ops = {.put = place_put,
                                           .get = place_get,
                                           .get_all = place_get_all,
                                           .stat = place_stat,
                                           .list = place_list,
                                           .remove = place_remove,
                                           .close = place_close};

static void
add_name(const uint8_t name[PACK_NAME_BYTES], uint32_t bytes)
{
    if (place.n == place.room) {
        place.room = place.room ? 2 * place.room : 1024;
        place.packs =
            xrealloc(place.packs, place.room * sizeof(place.packs[0]));
        place.bytes =
            xrealloc(place.bytes, place.room * sizeof(place.bytes[0]));
    }
    memcpy(place.packs[place.n], name, PACK_NAME_BYTES);
    place.bytes[place.n++] = bytes;
}

/* ---- fill --------------------------------------------------------------- */

struct fill {
    struct repo *r;
    struct packer *nodes;
    struct sealer *sealer;
    struct pack *leaves;
    struct segment_builder *delta;
    uint64_t next_leaf;
    FILE *names; /* of the packs of leaves */
};

static void
publish(struct fill *f)
{
    uint64_t bytes = 0;
    struct err e = {0};

    if (segment_builder_entries(f->delta) > 0)
        must(index_publish(f->r->index, f->delta, clock_wall_ns(), &bytes, &e),
             &e);
    segment_builder_free(f->delta);
    f->delta = segment_builder_new();
}

static void
close_leaves(struct fill *f)
{
    uint8_t bytes[4];

    if (f->leaves->n_entries == 0)
        return;
    pack_seal(f->leaves, &f->r->keys);
    segment_builder_add(f->delta, f->leaves);
    put_le32(bytes, (uint32_t)f->leaves->len);
    (void)fwrite(f->leaves->name, 1, PACK_NAME_BYTES, f->names);
    (void)fwrite(bytes, 1, sizeof(bytes), f->names);
    pack_reset(f->leaves, PACK_DATA);
    if (segment_builder_entries(f->delta) >= PACKER_DELTA_ENTRIES)
        publish(f);
}

static void
store_node(struct fill *f, struct node *n, uint8_t h[CAPABILITY_BYTES])
{
    CLEANUP(buf_done) struct buf entries = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    struct object_name name;
    struct err e = {0};
    size_t len = 0;

    node_pack(n, &entries);
    node_children_pack(n, &children);
    object_name(&f->r->keys, OBJECT_NODE, entries.p, entries.len, &name);
    memcpy(h, name.h, CAPABILITY_BYTES);
    const uint8_t *sealed =
        object_seal_node(f->sealer, &name, children.p, children.len, entries.p,
                         entries.len, &len);
    if (packer_claim(f->nodes, name.id))
        must(packer_add(f->nodes, PACK_META, OBJECT_NODE, name.id, entries.len,
                        sealed, len, &e),
             &e);
}

/* A slot of new leaves. */
static void
fill_slot(struct fill *f, uint8_t h[CAPABILITY_BYTES])
{
    CLEANUP(node_freep) struct node *n = node_new(0);
    uint8_t leaf[CAPABILITY_BYTES], sealed[44] = {0};
    struct object_name name;

    for (int i = 0; i < LEAVES; i++) {
        make_id(f->next_leaf++, leaf);
        object_name_of(leaf, &name);
        node_add_leaf(n, 10, leaf);
        pack_add(f->leaves, OBJECT_LEAF, name.id, 40960, sealed,
                 sizeof(sealed));
        if (f->leaves->n_entries == PACK_LEAVES)
            close_leaves(f);
    }
    store_node(f, n, h);
}

/* The tree above n slots; *levels and the root. */
static void
fill_tree(struct fill *f, uint8_t (*slots)[CAPABILITY_BYTES], size_t n,
          uint8_t *level, uint8_t root[CAPABILITY_BYTES])
{
    uint8_t(*below)[CAPABILITY_BYTES] = xmemdup(slots, n * CAPABILITY_BYTES);

    for (*level = 0; n > 1; n = (n + NODE_FANOUT - 1) / NODE_FANOUT) {
        ++*level;
        for (size_t i = 0; i < n; i += NODE_FANOUT) {
            CLEANUP(node_freep) struct node *node = node_new(*level);
            for (size_t k = i; k < n && k < i + NODE_FANOUT; k++)
                node_add_child(node, (uint32_t)(k - i), below[k]);
            store_node(f, node, below[i / NODE_FANOUT]);
        }
    }
    memcpy(root, below[0], CAPABILITY_BYTES);
    free(below);
}

static void
put_ref(struct fill *f, unsigned machine, unsigned number, uint8_t level,
        const uint8_t h[CAPABILITY_BYTES])
{
    CLEANUP(buf_done) struct buf ref = buf_of(REF_MAX_BYTES);
    CLEANUP(buf_done) struct buf mark = buf_of(RETIRED_MAX_BYTES);
    struct ref_head head = {.name = {.ns = f->r->keys.ns},
                            .writer = f->r->keys.writer};
    struct ref_root root = {.level = level};
    struct object_name name;
    char text[NAME_MAX_LEN];
    struct err e = {0};

    object_name_of(h, &name);
    memcpy(root.gid, name.id, GID_BYTES);
    head.name.time_ns = clock_wall_ns();
    /* Listings say that it was put thirty days ago. */
    head.sync_ns = head.name.time_ns - 30 * DAY_NS - 60 * NS_PER_S;
    rand_bytes(head.name.id, sizeof(head.name.id));
    put_le32(head.name.machine, machine + 1);
    must(ref_pack(&head, &root, 1, "{}", 2, &f->r->keys, &f->r->config, &ref,
                  &e),
         &e);
    name_ref(&head.name, text);
    must(store_put(f->r->store, text, ref.p, ref.len, &e), &e);
    if (number % RETIRED_EVERY != 0 || number == 0)
        return;
    must(retired_pack(&head.name, head.name.time_ns, &f->r->keys, &mark, &e),
         &e);
    name_retired(&head.name, text);
    must(store_put(f->r->store, text, mark.p, mark.len, &e), &e);
}

/* Half of its slots are in the first backup; each of the others changes some.
 */
static void
fill_machine(struct fill *f, unsigned machine, size_t n_slots)
{
    size_t first = n_slots / 2 + 1, changed = (n_slots - first) / (BACKUPS - 1);
    uint8_t(*slots)[CAPABILITY_BYTES] = xcalloc(first, CAPABILITY_BYTES);
    uint8_t root[CAPABILITY_BYTES], level = 0;

    for (size_t i = 0; i < first; i++)
        fill_slot(f, slots[i]);
    for (unsigned b = 0; b < BACKUPS; b++) {
        for (size_t i = 0; b > 0 && i < changed; i++)
            fill_slot(f, slots[rand_u64() % first]);
        fill_tree(f, slots, first, &level, root);
        put_ref(f, machine, b, level, root);
    }
    free(slots);
}

static void
fill(struct store *st, const char *dir, double percent)
{
    const struct password_cost cost = {.passes = 1,
                                       .memory_kib = PASSWORD_MIN_KIB};
    struct cancel *cancel = cancel_new();
    struct fill f = {0};
    struct err e = {0};

    must(repo_init(st, "bench", &cost, &e), &e);
    must(repo_open(st, "bench", &f.r, &e), &e);
    CLEANUP(freep) char *path = xasprintf("%s.names", dir);
    f.names = fopen(path, "we");
    if (!f.names)
        exit(1);
    f.nodes = packer_new(st, &f.r->keys, f.r->index, cancel);
    f.sealer = sealer_new(&f.r->keys, CODEC_LEVEL_DEFAULT);
    f.leaves = pack_new();
    pack_reset(f.leaves, PACK_DATA);
    f.delta = segment_builder_new();
    for (unsigned m = 0; m < MACHINES; m++)
        fill_machine(&f, m, (size_t)(SLOTS * percent / 100));
    close_leaves(&f);
    publish(&f);
    must(packer_finish(f.nodes, &e), &e);
    packer_free(f.nodes);
    sealer_free(f.sealer);
    pack_free(f.leaves);
    segment_builder_free(f.delta);
    (void)fclose(f.names);
    repo_close(f.r);
    cancel_free(cancel);
}

/* ---- prune --------------------------------------------------------------- */

static void
read_names(const char *dir)
{
    CLEANUP(freep) char *path = xasprintf("%s.names", dir);
    uint8_t one[PACK_NAME_BYTES + 4];
    FILE *in = fopen(path, "re");

    while (in && fread(one, sizeof(one), 1, in) == 1)
        add_name(one, get_le32(one + PACK_NAME_BYTES));
    if (in)
        (void)fclose(in);
}

static void
prune(struct store *st, const char *dir)
{
    const struct prune_options o = {0};
    struct cancel *cancel = cancel_new();
    struct prune_result r = {0};
    struct repo *repo = NULL;
    struct rusage usage;
    struct err e = {0};

    read_names(dir);
    must(repo_open(st, "bench", &repo, &e), &e);
    CLEANUP(freep) char *cache = xasprintf("%s.cache", dir);
    index_use_cache(repo->index, cache);
    uint64_t start = clock_mono_ns();
    must(repo_prune(repo, &o, cancel, &r, &e), &e);
    double seconds = (double)(clock_mono_ns() - start) / 1e9;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("backups %llu (%llu retired), packs %zu of leaves, %llu in "
                 "all, objects alive %llu; condemned %llu, segments merged "
                 "%llu\n"
                 "%.1f s, of the CPU %.1f s, %ld MiB at most\n",
                 (unsigned long long)r.backups, (unsigned long long)r.retired,
                 place.n, (unsigned long long)r.packs,
                 (unsigned long long)r.objects, (unsigned long long)r.condemned,
                 (unsigned long long)r.index_merged, seconds,
                 (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec,
                 usage.ru_maxrss >> 10);
    repo_close(repo);
    cancel_free(cancel);
}

int
main(int argc, char **argv)
{
    struct err e = {0};

    if (argc != 4 ||
        (strcmp(argv[1], "fill") != 0 && strcmp(argv[1], "prune") != 0)) {
        (void)fprintf(stderr, "usage: bench_gc fill|prune DIR PERCENT\n");
        return 2;
    }
    must(store_create(argv[2], &place.dir, &e), &e);
    place.base = (struct store){.ops = &place_ops};
    place.base.address = xstrdup(argv[2]);
    if (strcmp(argv[1], "fill") == 0)
        fill(&place.base, argv[2], strtod(argv[3], NULL));
    else
        prune(&place.base, argv[2]);
    store_close(place.dir);
    free(place.base.address);
    free(place.packs);
    free(place.bytes);
    return 0;
}
