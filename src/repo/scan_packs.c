/* SPDX-License-Identifier: Apache-2.0 */
/* Index segments and packs, for checker.h. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "repo/fetch.h"
#include "repo/lost.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "store/store.h"
#include "work/cancel.h"

enum {
    FRONT_BYTES = 64 << 10,
    SEALED_SEGMENT_MAX = SEGMENT_MAX_BYTES + 4096,
    READ_PACKS = 4 /* in memory at a time, whatever the number of cores */
};

/* The table of one pack against what a segment says of it. */
struct table_job {
    struct scan *scan;
    struct inventory_pack *pack;
    const char *segment;       /* its name, borrowed; NULL: look for what none
                                * covers */
    const struct segment *seg; /* borrowed, as the next two */
    const uint32_t *claims;    /* the entries that are about this pack */
    size_t n_claims;
    atomic_bool *bad_segment;
};

bool
scan_is_lost(const struct scan *s, const struct inventory_pack *p)
{
    return lost_has(s->repo->lost, (enum lost_kind)p->kind, p->name);
}

/* ---- tables ---------------------------------------------------------- */

int
scan_read_table(struct scan *s, const struct inventory_pack *p,
                struct pack_table *out, struct err *e)
{
    size_t len = (size_t)u64_min(p->bytes, FRONT_BYTES), front = 0;
    char name[NAME_MAX_LEN];

    name_pack(p->kind, p->name, name);
    if (p->bytes < PACK_HEAD_BYTES || p->bytes > PACK_MAX_BYTES)
        return err_set(e, ERR_CORRUPT, "the pack has %llu bytes",
                       (unsigned long long)p->bytes);
    CLEANUP(freep) uint8_t *bytes = xmalloc(len);
    if (store_get(s->repo->store, name, 0, bytes, len, e) == -1 ||
        pack_front_bytes(bytes, len, &front, e) == -1)
        return -1;
    if (front > p->bytes)
        return err_set(e, ERR_CORRUPT, "the pack is cut short");
    if (front > len) {
        bytes = xrealloc(bytes, front);
        if (store_get(s->repo->store, name, len, bytes + len, front - len, e) ==
            -1)
            return -1;
    }
    if (pack_unpack_table(bytes, front, p->bytes, &s->repo->keys, out, e) == -1)
        return -1;
    if (out->kind != p->kind) {
        pack_table_done(out);
        return err_set(e, ERR_CORRUPT, "the pack is of the other kind");
    }
    return 0;
}

static void
pack_fault(struct scan *s, struct inventory_pack *p, const struct err *why)
{
    char name[NAME_MAX_LEN];

    name_pack(p->kind, p->name, name);
    scan_store_error(s, why);
    p->state = why->code == ERR_STORE || why->code == ERR_UNSUP ? PACK_UNREAD
               : why->code == ERR_NOENT                         ? PACK_MISSING
                                                                : PACK_BROKEN;
    if (p->state != PACK_MISSING) /* else maintenance may have removed it */
        scan_fault(s, &(struct check_fault){
                          .what = CHECK_PACK, .name = name, .why = why->msg});
}

static int
by_offset(const void *key, const void *entry)
{
    uint32_t offset = *(const uint32_t *)key;
    const struct pack_entry *x = entry;

    return (offset > x->offset) - (offset < x->offset);
}

static void
claim_fault(struct table_job *j, const uint8_t gid[GID_BYTES],
            const struct location *at)
{
    char hex[2 * GID_BYTES + 1], pack[NAME_MAX_LEN];

    hex_encode(gid, GID_BYTES, hex);
    name_pack(j->pack->kind, j->pack->name, pack);
    CLEANUP(freep)
    char *why = xasprintf("it says that object %s is in %s at %u, %u bytes "
                          "long, and the pack's own table does not",
                          hex, pack, at->offset, at->len);
    *j->bad_segment = true;
    scan_fault(j->scan, &(struct check_fault){.what = CHECK_SEGMENT,
                                              .name = j->segment,
                                              .object = hex,
                                              .why = why});
}

/* Compare, and note which entries the segment covers. */
static void
compare_table(struct table_job *j, const struct pack_table *t)
{
    CLEANUP(freep) uint8_t *covered = xcalloc(t->n / 8 + 1, 1);
    struct inventory_pack *p = j->pack;
    uint32_t n = 0;

    for (size_t i = 0; i < j->n_claims; i++) {
        struct location at;
        const uint8_t *gid = segment_entry(j->seg, j->claims[i], &at);
        const struct pack_entry *x = bsearch(&at.offset, t->entries, t->n,
                                             sizeof(t->entries[0]), by_offset);
        if (!x || memcmp(x->id, gid, GID_BYTES) != 0 || x->len != at.len ||
            x->type != at.type || at.kind != p->kind ||
            at.pack_bytes != p->bytes) {
            claim_fault(j, gid, &at);
            continue;
        }
        size_t bit = (size_t)(x - t->entries);
        n += !(covered[bit / 8] >> bit % 8 & 1);
        covered[bit / 8] |= (uint8_t)(1 << bit % 8);
    }
    if (n == t->n)
        p->all_covered = true;
    else if (!p->covered)
        p->covered = STEAL(covered);
    else
        for (uint32_t i = 0; i < t->n / 8 + 1; i++)
            p->covered[i] |= covered[i];
}

/* What no index has, so that its loss can be explained. */
static void
note_unindexed(struct scan *s, struct inventory_pack *p,
               const struct pack_table *t)
{
    uint32_t n = 0;

    (void)pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < t->n; i++) {
        if (p->covered && p->covered[i / 8] >> i % 8 & 1)
            continue;
        n++;
        if (s->unindexed.n < SCAN_UNINDEXED_MAX)
            (void)gidset_add(&s->unindexed, t->entries[i].id);
    }
    if (n == 0)
        p->all_covered = true;
    (void)pthread_mutex_unlock(&s->lock);
}

static void
count_table(struct scan *s, struct inventory_pack *p, uint32_t n)
{
    (void)pthread_mutex_lock(&s->lock);
    if (p->state == PACK_UNSEEN)
        s->result->objects += n;
    p->state = PACK_SOUND;
    p->entries = n;
    (void)pthread_mutex_unlock(&s->lock);
}

static int
table_job(void *arg, int failed, struct err *e)
{
    CLEANUP(freep) struct table_job *j = arg;
    CLEANUP(pack_table_done) struct pack_table t = {0};
    struct inventory_pack *p = j->pack;
    struct scan *s = j->scan;
    struct err why = {0};

    if (failed || cancel_check(s->cancel, e) == -1)
        return failed ? 0 : -1;
    if (p->state != PACK_UNSEEN && p->state != PACK_SOUND)
        return 0; /* told already */
    if (scan_read_table(s, p, &t, &why) == -1) {
        pack_fault(s, p, &why);
        return 0;
    }
    count_table(s, p, t.n);
    if (j->segment)
        compare_table(j, &t);
    else
        note_unindexed(s, p, &t);
    return 0;
}

/* ---- segments -------------------------------------------------------- */

/* The entries of a segment, those of a pack next to each other: 4 bytes each,
 * for there may be millions. */
struct claims {
    uint32_t *entries; /* owned, as the next */
    uint32_t *ends;    /* of each of n_packs, in `entries` */
    uint32_t n_packs;
};

static void
claims_done(struct claims *c)
{
    free(c->entries);
    free(c->ends);
}

struct named {
    const uint8_t *name; /* borrowed */
    uint32_t number;
};

static int
by_pack(const void *a, const void *b)
{
    const struct named *x = a, *y = b;

    return memcmp(x->name, y->name, PACK_NAME_BYTES);
}

/* For each pack of a segment a number by the order of names, the same for those
 * of the same name; how many there are. */
static uint32_t
rank_packs(const struct segment *seg, uint32_t *ranks)
{
    CLEANUP(freep)
    struct named *packs = xcalloc(seg->n_packs, sizeof(packs[0]));
    enum pack_kind kind = PACK_DATA;
    uint32_t n = 0, bytes = 0;

    for (uint32_t i = 0; i < seg->n_packs; i++)
        packs[i] = (struct named){segment_pack(seg, i, &kind, &bytes), i};
    qsort(packs, seg->n_packs, sizeof(packs[0]), by_pack);
    for (uint32_t i = 0; i < seg->n_packs; i++) {
        n += i == 0 || by_pack(&packs[i - 1], &packs[i]) != 0;
        ranks[packs[i].number] = n - 1;
    }
    return n;
}

static struct claims
claims_of(const struct segment *seg)
{
    CLEANUP(freep) uint32_t *ranks = xcalloc(seg->n_packs, sizeof(uint32_t));
    struct claims c = {.n_packs = rank_packs(seg, ranks)};
    uint32_t sum = 0;

    c.entries = xcalloc(seg->n_entries, sizeof(uint32_t));
    c.ends = xcalloc(c.n_packs, sizeof(uint32_t));
    for (uint32_t i = 0; i < seg->n_entries; i++)
        c.ends[ranks[segment_pack_of(seg, i)]]++;
    for (uint32_t i = 0; i < c.n_packs; i++) { /* where each begins, first */
        uint32_t n = c.ends[i];
        c.ends[i] = sum;
        sum += n;
    }
    for (uint32_t i = 0; i < seg->n_entries; i++)
        c.entries[c.ends[ranks[segment_pack_of(seg, i)]]++] = i;
    return c;
}

/* A pack that is not in the store: told once, by scan_missing. */
static void
note_missing(struct scan *s, const struct location *at)
{
    for (size_t i = 0; i < s->n_missing; i++)
        if (memcmp(s->missing[i].name, at->pack, PACK_NAME_BYTES) == 0)
            return;
    if (s->n_missing == s->room_missing) {
        s->room_missing = s->room_missing ? 2 * s->room_missing : 16;
        s->missing =
            xrealloc(s->missing, s->room_missing * sizeof(s->missing[0]));
    }
    s->missing[s->n_missing] = (struct inventory_pack){
        .kind = at->kind, .bytes = at->pack_bytes, .state = PACK_MISSING};
    memcpy(s->missing[s->n_missing++].name, at->pack, PACK_NAME_BYTES);
}

static void
run_table(struct group *g, const struct table_job *job)
{
    group_run(g, table_job, xmemdup(job, sizeof(*job)));
}

/* All packs of one segment. */
static int
compare_segment(struct scan *s, const char *name, const struct segment *seg,
                struct scan_segment *noted, struct err *e)
{
    CLEANUP(claims_done) struct claims claims = claims_of(seg);
    atomic_bool bad = false;
    CLEANUP(group_freep)
    struct group *g = group_new(s->pool, 2 * pool_threads(s->pool));

    for (uint32_t i = 0, from = 0; i < claims.n_packs;
         from = claims.ends[i++]) {
        struct location at;
        if (claims.ends[i] == from)
            continue;
        (void)segment_entry(seg, claims.entries[from], &at);
        struct inventory_pack *p = inventory_find(&s->inventory, at.pack);
        if (lost_has(s->repo->lost, (enum lost_kind)at.kind, at.pack))
            continue;
        if (!p)
            note_missing(s, &at);
        else {
            p->in_index = true;
            run_table(g, &(struct table_job){.scan = s,
                                             .pack = p,
                                             .segment = name,
                                             .seg = seg,
                                             .claims = claims.entries + from,
                                             .n_claims = claims.ends[i] - from,
                                             .bad_segment = &bad});
        }
        if (scan_tell(s, "index", e) == -1)
            return -1;
    }
    int rc = group_wait(g, e);
    noted->damaged = bad;
    return rc;
}

static int
read_segment(struct scan *s, const char *name, const uint8_t id[NAME_ID_BYTES],
             struct buf *out, struct segment *seg, struct err *e)
{
    CLEANUP(buf_done) struct buf sealed = buf_of(SEALED_SEGMENT_MAX);

    if (store_get_all(s->repo->store, name, &sealed, e) == -1 ||
        segment_unseal(&s->repo->keys, id, sealed.p, sealed.len, out, e) == -1)
        return -1;
    return segment_open(out->p, out->len, seg, e);
}

static int
check_segment(struct scan *s, const char *name, struct scan_segment *noted,
              struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(SEGMENT_MAX_BYTES);
    struct segment seg = {0};
    struct err why = {0};
    int64_t time_ns = 0;

    (void)name_parse_index_delta(name, &time_ns, noted->id);
    if (lost_has(s->repo->lost, LOST_SEGMENT, noted->id))
        return 0;
    s->result->segments++;
    if (read_segment(s, name, noted->id, &bytes, &seg, &why) == 0)
        return compare_segment(s, name, &seg, noted, e);
    if (why.code == ERR_NOENT)
        return 0;
    scan_store_error(s, &why);
    noted->damaged = why.code == ERR_CORRUPT || why.code == ERR_LIMIT;
    scan_fault(s, &(struct check_fault){
                      .what = CHECK_SEGMENT, .name = name, .why = why.msg});
    return 0;
}

/* Packs, or parts of them, that no segment names. */
static int
check_uncovered(struct scan *s, struct err *e)
{
    CLEANUP(group_freep)
    struct group *g = group_new(s->pool, 2 * pool_threads(s->pool));

    for (size_t i = 0; i < s->inventory.n_packs; i++) {
        struct inventory_pack *p = &s->inventory.packs[i];
        if (scan_is_lost(s, p))
            continue;
        s->result->packs++;
        s->result->pack_bytes += p->bytes;
        s->result->leftover_packs += !p->in_index;
        if (!p->all_covered)
            run_table(g, &(struct table_job){.scan = s, .pack = p});
        if (scan_tell(s, "packs", e) == -1)
            return -1;
    }
    return group_wait(g, e);
}

int
scan_index(struct scan *s, struct err *e)
{
    const struct inventory_list *l = &s->inventory.segments;

    s->segments = xcalloc(l->n, sizeof(s->segments[0]));
    for (size_t i = 0; i < l->n; i++)
        if (check_segment(s, l->objects[i].name, &s->segments[i], e) == -1 ||
            scan_tell(s, "index", e) == -1)
            return -1;
    return check_uncovered(s, e);
}

/* ---- data ------------------------------------------------------------ */

struct data_job {
    struct scan *scan;
    struct inventory_pack *pack;
};

/* Does it open to what its name says?  True also if nobody needs it: then
 * nobody here can tell. */
static bool
opens(struct scan *s, struct sealer *sealer, const struct pack_entry *entry,
      const uint8_t *sealed, struct err *e)
{
    const struct scan_cap *cap = gidmap_get(&s->caps, entry->id);
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(buf_done) struct buf want = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(node_freep) struct node *node = NULL;
    struct object_name name;
    const uint8_t *entries = NULL;
    size_t n = 0;

    if (!cap)
        return true;
    object_name_of(cap->h, &name);
    if (memcmp(name.id, entry->id, OBJECT_ID_BYTES) != 0)
        return err_set(e, ERR_CORRUPT, "the pack's table has another id"),
               false;
    (void)pthread_mutex_lock(&s->lock);
    s->result->opened_objects++;
    (void)pthread_mutex_unlock(&s->lock);
    if (entry->type == OBJECT_LEAF) {
        CLEANUP(freep) uint8_t *plain = xmalloc(OBJECT_PLAIN_MAX);
        if (cap->plain_len != entry->plain_len)
            return err_set(e, ERR_CORRUPT, "it has %u bytes, not %u",
                           entry->plain_len, cap->plain_len),
                   false;
        return object_open_leaf(sealer, &name, sealed, entry->len, plain,
                                cap->plain_len, e) == 0;
    }
    if (object_open_node(sealer, &name, sealed, entry->len, &entries, &n, e) ==
            -1 ||
        node_unpack(entries, n, &node, e) == -1 ||
        object_open_children(&s->repo->keys, name.id, sealed, entry->len,
                             &children, e) == -1)
        return false;
    node_children_pack(node, &want);
    if (want.len != children.len || memcmp(want.p, children.p, want.len) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the list of its children, which keeps them from being "
                       "collected, is not that of its entries"),
               false;
    return true;
}

static void
object_fault(struct scan *s, struct inventory_pack *p,
             const struct pack_entry *entry, const char *why)
{
    char hex[2 * GID_BYTES + 1], name[NAME_MAX_LEN];
    uint8_t key[GID_BYTES];

    scan_bad_key(p->name, entry->id, key);
    (void)pthread_mutex_lock(&s->lock);
    if (!bytes_are_zero(key, sizeof(key)))
        (void)gidset_add(&s->bad, key);
    p->state = PACK_DAMAGED;
    (void)pthread_mutex_unlock(&s->lock);
    hex_encode(entry->id, GID_BYTES, hex);
    name_pack(p->kind, p->name, name);
    scan_fault(
        s, &(struct check_fault){
               .what = CHECK_OBJECT, .name = name, .object = hex, .why = why});
}

static int
check_objects(struct scan *s, struct inventory_pack *p, const uint8_t *bytes,
              const struct pack_table *t, struct err *e)
{
    CLEANUP(sealer_freep)
    struct sealer *sealer = sealer_new(&s->repo->keys, CODEC_LEVEL_DEFAULT);

    for (uint32_t i = 0; i < t->n; i++) {
        const struct pack_entry *entry = &t->entries[i];
        const uint8_t *sealed = bytes + entry->offset;
        struct err why = {0};
        if (!pack_entry_intact(entry, sealed))
            object_fault(s, p, entry, "its bytes have changed");
        else if (!opens(s, sealer, entry, sealed, &why))
            object_fault(s, p, entry, why.msg);
        if (i % 256 == 0 && cancel_check(s->cancel, e) == -1)
            return -1;
    }
    return 0;
}

static int
data_job(void *arg, int failed, struct err *e)
{
    CLEANUP(freep) struct data_job *j = arg;
    CLEANUP(pack_table_done) struct pack_table t = {0};
    CLEANUP(buf_done) struct buf bytes = buf_of(PACK_MAX_BYTES);
    struct inventory_pack *p = j->pack;
    struct scan *s = j->scan;
    struct err why = {0};
    uint8_t sum[HASH_BYTES];
    char name[NAME_MAX_LEN];

    if (failed || cancel_check(s->cancel, e) == -1)
        return failed ? 0 : -1;
    name_pack(p->kind, p->name, name);
    if (store_get_all(s->repo->store, name, &bytes, &why) == -1) {
        pack_fault(s, p, &why);
        return 0;
    }
    s->done_bytes += bytes.len;
    hash_sha256(bytes.p, bytes.len, sum);
    if (memcmp(sum, p->name, sizeof(sum)) != 0) {
        p->state = PACK_DAMAGED;
        scan_fault(s, &(struct check_fault){
                          .what = CHECK_PACK,
                          .name = name,
                          .why = "its bytes are not those that it is named "
                                 "by"});
    }
    if (pack_unpack_table(bytes.p, bytes.len, bytes.len, &s->repo->keys, &t,
                          &why) == -1) {
        pack_fault(s, p, &why);
        return 0;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->result->read_packs++;
    s->result->read_bytes += bytes.len;
    (void)pthread_mutex_unlock(&s->lock);
    return check_objects(s, p, bytes.p, &t, e);
}

static bool
is_to_read(const struct scan *s, const struct inventory_pack *p)
{
    return p->chosen && (p->state == PACK_SOUND || p->state == PACK_UNSEEN) &&
           !scan_is_lost(s, p);
}

/* The packs [batch_from, batch_to), whose objects' capabilities are at hand. */
static int
read_batch(struct scan *s, struct err *e)
{
    CLEANUP(group_freep)
    struct group *g =
        group_new(s->pool, u64_min(pool_threads(s->pool) + 1, READ_PACKS));

    for (size_t i = s->batch_from; i < s->batch_to; i++) {
        if (!is_to_read(s, &s->inventory.packs[i]))
            continue;
        struct data_job *j = xcalloc(1, sizeof(*j));
        *j = (struct data_job){s, &s->inventory.packs[i]};
        group_run(g, data_job, j);
        if (scan_tell(s, "data", e) == -1)
            return -1;
    }
    return group_wait(g, e);
}

int
scan_data(struct scan *s, struct err *e)
{
    const struct inventory *v = &s->inventory;

    for (size_t i = 0; i < v->n_packs; i = s->batch_to) {
        uint64_t objects = 0;
        bool any = false;
        s->batch_from = s->batch_to = i;
        while (s->batch_to < v->n_packs &&
               (objects == 0 || objects < CHECK_ROUND_OBJECTS)) {
            const struct inventory_pack *p = &v->packs[s->batch_to++];
            any |= is_to_read(s, p);
            objects += is_to_read(s, p) ? p->entries : 0;
        }
        if (!any)
            continue;
        if (scan_collect(s, e) == -1)
            return -1;
        fetch_clear(s->repo->fetch); /* packs are read whole now */
        if (read_batch(s, e) == -1)
            return -1;
    }
    gidmap_done(&s->caps);
    return 0;
}

static void
tell_missing(struct scan *s, const struct inventory_pack *p)
{
    char name[NAME_MAX_LEN];

    /* Its list stays as long as an index names it. */
    if (p->state != PACK_MISSING || gidset_has(&s->condemned, p->name))
        return;
    name_pack(p->kind, p->name, name);
    scan_fault(
        s, &(struct check_fault){.what = CHECK_PACK,
                                 .name = name,
                                 .why = "the pack is gone from the storage"});
}

int
scan_missing(struct scan *s, struct err *e)
{
    if (scan_condemned(s, e) == -1)
        return -1;
    for (size_t i = 0; i < s->n_missing; i++)
        tell_missing(s, &s->missing[i]);
    for (size_t i = 0; i < s->inventory.n_packs; i++)
        tell_missing(s, &s->inventory.packs[i]);
    return scan_tell(s, "packs", e);
}
