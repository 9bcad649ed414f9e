/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repair.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/packer.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "store/store.h"

struct repair {
    struct repo *repo;
    const struct repair_options *options;
    struct repair_result *result;
    struct scan *scan;
    struct segment_builder *index; /* of packs that are in the store */
    struct pack *pack;             /* of salvaged objects, being filled */
    struct lost_item *items;       /* to be put out of use */
    size_t n_items, room_items;
};

const char *
repair_did_name(enum repair_did did)
{
    static const char *const names[] = {
        [REPAIR_INDEXED] = "indexed",
        [REPAIR_SALVAGED] = "salvaged",
        [REPAIR_QUARANTINED] = "quarantined",
    };

    return names[did];
}

static void
tell(struct repair *r, enum repair_did did, const char *name, uint64_t objects,
     uint64_t lost_objects)
{
    if (r->options->act)
        r->options->act(r->options->cookie,
                        &(struct repair_act){did, name, objects, lost_objects});
}

/* ---- the index ------------------------------------------------------- */

static int
publish_index(struct repair *r, struct err *e)
{
    uint64_t bytes = 0;

    if (segment_builder_entries(r->index) == 0)
        return 0;
    if (!r->options->dry_run && index_publish(r->repo->index, r->index,
                                              clock_wall_ns(), &bytes, e) == -1)
        return err_wrap(e, "cannot store the index");
    r->result->stored_bytes += bytes;
    segment_builder_free(r->index);
    r->index = segment_builder_new();
    return 0;
}

static int
index_pack(struct repair *r, const struct pack *p, struct err *e)
{
    segment_builder_add(r->index, p);
    if (segment_builder_entries(r->index) < PACKER_DELTA_ENTRIES)
        return 0;
    return publish_index(r, e);
}

/* The packs that a segment which goes out of use names are in no index then. */
static int
uncover(struct repair *r, const char *name, const uint8_t id[NAME_ID_BYTES],
        struct err *e)
{
    CLEANUP(buf_done) struct buf sealed = buf_of(SEGMENT_MAX_BYTES + 4096);
    CLEANUP(buf_done) struct buf bytes = buf_of(SEGMENT_MAX_BYTES);
    struct segment seg = {0};
    struct err why = {0};

    if (store_get_all(r->repo->store, name, &sealed, &why) == -1 ||
        segment_unseal(&r->repo->keys, id, sealed.p, sealed.len, &bytes,
                       &why) == -1 ||
        segment_open(bytes.p, bytes.len, &seg, &why) == -1) {
        if (why.code != ERR_STORE)
            return 0; /* it has not been counted on either */
        *e = why;
        return -1;
    }
    for (uint32_t i = 0; i < seg.n_packs; i++) {
        enum pack_kind kind = PACK_DATA;
        uint32_t len = 0;
        struct inventory_pack *p = inventory_find(
            &r->scan->inventory, segment_pack(&seg, i, &kind, &len));
        if (p)
            p->all_covered = false;
    }
    return 0;
}

static int
reindex_pack(struct repair *r, struct inventory_pack *p, struct err *e)
{
    CLEANUP(pack_table_done) struct pack_table t = {0};
    char name[NAME_MAX_LEN];

    name_pack(p->kind, p->name, name);
    if (scan_read_table(r->scan, p, &t, e) == -1)
        return err_wrap(e, "%s", name);
    if (t.n == 0)
        return 0;
    struct pack pack = {.kind = p->kind,
                        .entries = t.entries,
                        .n_entries = t.n,
                        .len = (size_t)p->bytes};
    memcpy(pack.name, p->name, sizeof(pack.name));
    r->result->indexed_objects += t.n;
    tell(r, REPAIR_INDEXED, name, t.n, 0);
    return index_pack(r, &pack, e);
}

static int
reindex(struct repair *r, struct err *e)
{
    struct inventory *v = &r->scan->inventory;

    for (size_t i = 0; i < v->segments.n; i++)
        if (r->scan->segments[i].damaged &&
            uncover(r, v->segments.objects[i].name, r->scan->segments[i].id,
                    e) == -1)
            return -1;
    for (size_t i = 0; i < v->n_packs; i++) {
        struct inventory_pack *p = &v->packs[i];
        if (p->state != PACK_SOUND || p->all_covered ||
            scan_is_lost(r->scan, p))
            continue;
        if (reindex_pack(r, p, e) == -1 || scan_tell(r->scan, "index", e) == -1)
            return -1;
    }
    return 0;
}

/* ---- salvage --------------------------------------------------------- */

static int
flush_pack(struct repair *r, struct err *e)
{
    char name[NAME_MAX_LEN];

    if (!r->pack || r->pack->n_entries == 0)
        return 0;
    pack_seal(r->pack, &r->repo->keys);
    name_pack(r->pack->kind, r->pack->name, name);
    if (!r->options->dry_run &&
        store_put(r->repo->store, name, r->pack->bytes, r->pack->len, e) == -1)
        return err_wrap(e, "cannot store a pack");
    r->result->stored_bytes += r->options->dry_run ? 0 : r->pack->len;
    int rc = index_pack(r, r->pack, e);
    pack_reset(r->pack, r->pack->kind);
    return rc;
}

static int
salvage_object(struct repair *r, const struct pack_entry *entry,
               const uint8_t *sealed, struct err *e)
{
    if (entry->len > OBJECT_SEALED_MAX)
        return 0;
    if (pack_is_full(r->pack, entry->len) && flush_pack(r, e) == -1)
        return -1;
    pack_add(r->pack, (enum object_type)entry->type, entry->id,
             entry->plain_len, sealed, entry->len);
    r->result->salvaged_objects++;
    return 0;
}

/* Is it in another pack that is in use? */
static bool
is_elsewhere(struct repair *r, const struct inventory_pack *p,
             const uint8_t gid[GID_BYTES])
{
    struct location at[INDEX_MAX_LOCATIONS];
    size_t n = index_find(r->repo->index, gid, at);

    for (size_t i = 0; i < n; i++) {
        const struct inventory_pack *other =
            inventory_find(&r->scan->inventory, at[i].pack);
        uint8_t key[GID_BYTES];
        scan_bad_key(at[i].pack, gid, key);
        if (other && other != p &&
            (other->state == PACK_SOUND || other->state == PACK_DAMAGED) &&
            !gidset_has(&r->scan->bad, key))
            return true;
    }
    return false;
}

static int
salvage_by_table(struct repair *r, const struct inventory_pack *p,
                 const struct buf *bytes, const struct pack_table *t,
                 uint64_t *saved, uint64_t *gone, struct err *e)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct pack_entry *entry = &t->entries[i];
        const uint8_t *sealed = bytes->p + entry->offset;
        uint8_t key[GID_BYTES];
        scan_bad_key(p->name, entry->id, key);
        if (is_elsewhere(r, p, entry->id))
            continue;
        if (!pack_entry_intact(entry, sealed) ||
            gidset_has(&r->scan->bad, key) ||
            (entry->type != OBJECT_LEAF && entry->type != OBJECT_NODE)) {
            ++*gone;
            continue;
        }
        if (salvage_object(r, entry, sealed, e) == -1)
            return -1;
        ++*saved;
    }
    return 0;
}

/* Opens it at the place that the index gives: then it is what it must be. */
static bool
open_at(struct repair *r, struct sealer *s, const struct location *at,
        const struct buf *bytes, const struct scan_cap *cap,
        struct pack_entry *out)
{
    CLEANUP(freep) uint8_t *plain = xmalloc(OBJECT_PLAIN_MAX);
    struct object_name name;
    const uint8_t *entries = NULL;
    struct err ignored = {0};
    size_t n = cap->plain_len;

    (void)r;
    if (!range_inside(at->offset, at->len, bytes->len))
        return false;
    object_name_of(cap->h, &name);
    const uint8_t *sealed = bytes->p + at->offset;
    int rc =
        at->type == OBJECT_LEAF
            ? object_open_leaf(s, &name, sealed, at->len, plain, n, &ignored)
            : object_open_node(s, &name, sealed, at->len, &entries, &n,
                               &ignored);
    *out = (struct pack_entry){.offset = at->offset,
                               .len = at->len,
                               .type = at->type,
                               .plain_len = (uint32_t)n};
    memcpy(out->id, name.id, OBJECT_ID_BYTES);
    return rc == 0;
}

/* Its table is gone: what backups need of it is found by the index. */
static int
salvage_by_index(struct repair *r, struct inventory_pack *p,
                 const struct buf *bytes, uint64_t *saved, uint64_t *gone,
                 struct err *e)
{
    CLEANUP(sealer_freep)
    struct sealer *sealer = sealer_new(&r->repo->keys, CODEC_LEVEL_DEFAULT);
    struct scan *s = r->scan;

    p->chosen = true;
    s->batch_from = (size_t)(p - s->inventory.packs);
    s->batch_to = s->batch_from + 1;
    if (scan_collect(s, e) == -1)
        return -1;
    for (size_t i = 0; i < s->caps.room; i++) {
        struct location at[INDEX_MAX_LOCATIONS];
        struct pack_entry entry;
        void *cap = NULL;
        bool found = false;
        const uint8_t *gid = gidmap_at(&s->caps, i, &cap);
        size_t n = gid ? index_find(r->repo->index, gid, at) : 0;
        if (n == 0 || is_elsewhere(r, p, gid))
            continue;
        for (size_t k = 0; k < n && !found; k++)
            found = memcmp(at[k].pack, p->name, PACK_NAME_BYTES) == 0 &&
                    open_at(r, sealer, &at[k], bytes, cap, &entry);
        if (found &&
            salvage_object(r, &entry, bytes->p + entry.offset, e) == -1)
            return -1;
        *(found ? saved : gone) += 1;
    }
    return 0;
}

static int
salvage_pack(struct repair *r, struct inventory_pack *p, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(PACK_MAX_BYTES);
    CLEANUP(pack_table_done) struct pack_table t = {0};
    uint64_t saved = 0, gone = 0;
    char name[NAME_MAX_LEN];
    struct err why = {0};
    int rc = 0;

    name_pack(p->kind, p->name, name);
    if (store_get_all(r->repo->store, name, &bytes, &why) == -1) {
        if (why.code != ERR_STORE)
            return 0;
        *e = why;
        return -1;
    }
    if (!r->pack)
        r->pack = pack_new();
    pack_reset(r->pack, p->kind);
    if (pack_unpack_table(bytes.p, bytes.len, bytes.len, &r->repo->keys, &t,
                          &why) == 0)
        rc = salvage_by_table(r, p, &bytes, &t, &saved, &gone, e);
    else
        rc = salvage_by_index(r, p, &bytes, &saved, &gone, e);
    if (rc == 0)
        rc = flush_pack(r, e);
    if (rc == 0 && saved > 0)
        tell(r, REPAIR_SALVAGED, name, saved, gone);
    return rc;
}

/* Also of packs that are out of use: what was gone may have come back. */
static int
salvage(struct repair *r, struct err *e)
{
    struct inventory *v = &r->scan->inventory;

    for (size_t i = 0; i < v->n_packs; i++) {
        struct inventory_pack *p = &v->packs[i];
        if (p->state != PACK_DAMAGED && p->state != PACK_BROKEN &&
            !(scan_is_lost(r->scan, p) && !r->options->skip_data))
            continue;
        if (salvage_pack(r, p, e) == -1 ||
            scan_tell(r->scan, "salvage", e) == -1)
            return -1;
    }
    return 0;
}

/* ---- putting out of use ---------------------------------------------- */

static void
condemn(struct repair *r, enum lost_kind kind, const uint8_t *p, size_t len,
        const char *name)
{
    if (r->n_items == r->room_items) {
        r->room_items = r->room_items ? 2 * r->room_items : 16;
        r->items = xrealloc(r->items, r->room_items * sizeof(r->items[0]));
    }
    struct lost_item *item = &r->items[r->n_items++];
    *item = (struct lost_item){.kind = kind};
    memcpy(item->name, p, len);
    tell(r, REPAIR_QUARANTINED, name, 0, 0);
}

static void
condemn_packs(struct repair *r, const struct inventory_pack *packs, size_t n)
{
    char name[NAME_MAX_LEN];

    for (size_t i = 0; i < n; i++) {
        const struct inventory_pack *p = &packs[i];
        if ((p->state != PACK_DAMAGED && p->state != PACK_BROKEN &&
             p->state != PACK_MISSING) ||
            scan_is_lost(r->scan, p))
            continue;
        name_pack(p->kind, p->name, name);
        condemn(r, (enum lost_kind)p->kind, p->name, PACK_NAME_BYTES, name);
    }
}

static int
quarantine(struct repair *r, struct err *e)
{
    struct scan *s = r->scan;
    const struct inventory *v = &s->inventory;

    condemn_packs(r, v->packs, v->n_packs);
    condemn_packs(r, s->missing, s->n_missing);
    for (size_t i = 0; i < v->segments.n; i++)
        if (s->segments[i].damaged)
            condemn(r, LOST_SEGMENT, s->segments[i].id, NAME_ID_BYTES,
                    v->segments.objects[i].name);
    for (size_t i = 0; i < s->n_backups; i++)
        for (size_t k = 0; k < s->n_broken_refs; k++) {
            struct ref_name ref;
            if (name_parse_ref(s->backups[i].ref, &ref) &&
                memcmp(ref.id, s->broken_refs[k], NAME_ID_BYTES) == 0)
                condemn(r, LOST_REF, ref.id, NAME_ID_BYTES, s->backups[i].ref);
        }
    r->result->quarantined = r->n_items;
    if (r->n_items == 0 || r->options->dry_run)
        return 0;
    return lost_publish(r->repo->lost, r->items, r->n_items, &r->repo->keys, e);
}

/* ---- all of it ------------------------------------------------------- */

static int
mend(struct repair *r, struct err *e)
{
    r->index = segment_builder_new();
    int rc = reindex(r, e);
    if (rc == 0)
        rc = salvage(r, e);
    if (rc == 0)
        rc = publish_index(r, e);
    if (rc == 0)
        rc = quarantine(r, e);
    segment_builder_free(r->index);
    pack_free(r->pack);
    free(r->items);
    return rc;
}

static int
look(struct repair *r, bool first, struct cancel *cancel, struct err *e)
{
    const struct repair_options *o = r->options;
    struct check_options check = {
        .data.read = first && !o->skip_data ? CHECK_READ_ALL : CHECK_READ_NONE,
        .threads = o->threads,
        .fault = first ? o->found : o->left,
        .fault_cookie = o->cookie,
        .progress = o->progress,
        .progress_cookie = o->progress_cookie,
    };
    struct scan s;

    scan_init(&s, r->repo, &check, cancel,
              first ? &r->result->before : &r->result->after);
    r->scan = &s;
    int rc = scan_run(&s, e);
    if (rc == 0 && first)
        rc = mend(r, e);
    scan_done(&s);
    return rc;
}

int
repair_repo(struct repo *r, const struct repair_options *o,
            struct cancel *cancel, struct repair_result *out, struct err *e)
{
    struct repair repair = {.repo = r, .options = o, .result = out};

    *out = (struct repair_result){0};
    if (!(r->keys.has & KEY_MAINTENANCE) && !o->dry_run)
        return err_set(e, ERR_KEY,
                       "this key may not repair: that takes the maintenance "
                       "key");
    if (r->config.gc_compat != 0 || r->config.ro_compat != 0 ||
        r->config.min_writer > CONFIG_WRITER_LEVEL)
        return err_set(e, ERR_UNSUP,
                       "the repository has been changed so that this vmkeep "
                       "may not maintain it; use a newer vmkeep");
    if (look(&repair, true, cancel, e) == -1)
        return -1;
    return o->dry_run ? 0 : look(&repair, false, cancel, e);
}
