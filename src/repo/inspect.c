/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/inspect.h"

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/inventory.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/tree.h"
#include "store/store.h"

/* ---- pieces ---------------------------------------------------------- */

static json_t *
hex(const void *p, size_t len)
{
    char text[2 * 64 + 1];

    hex_encode(p, len, text);
    return json_string(text);
}

static json_t *
number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *
wall_time(int64_t time_ns)
{
    char text[CLOCK_TEXT_LEN];

    clock_format_utc(time_ns, text);
    return json_string(text);
}

static const char *
type_name(uint8_t type)
{
    return type == OBJECT_LEAF ? "leaf" : type == OBJECT_NODE ? "node" : "?";
}

static json_t *
location(const struct location *at)
{
    char pack[NAME_MAX_LEN];

    name_pack(at->kind, at->pack, pack);
    return json_pack("{s:s, s:s, s:o, s:o}", "pack", pack, "type",
                     type_name(at->type), "offset", number(at->offset),
                     "stored_bytes", number(at->len));
}

/* Does `name` mean the object called `whole`, whose hexadecimal part is at
 * `part`? */
static bool
is_meant(const char *name, const char *whole, const char *part)
{
    return strcmp(name, whole) == 0 ||
           (hex_is(name) && text_starts(part, name));
}

/* Which of the list is meant. */
static int
pick(const struct inventory_list *l, const char *name, const char **out,
     struct err *e)
{
    *out = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const char *whole = l->objects[i].name;
        const char *id = strrchr(whole, '-');
        if (!is_meant(name, whole, id ? id + 1 : whole))
            continue;
        if (*out)
            return err_set(e, ERR_USAGE, "\"%s\" is the start of more than one",
                           name);
        *out = whole;
    }
    return *out ? 0 : err_set(e, ERR_NOENT, "there is no \"%s\"", name);
}

/* ---- config, ref ----------------------------------------------------- */

json_t *
inspect_config(struct repo *r)
{
    const struct config *c = &r->config;
    json_t *keys = json_array();

    for (size_t i = 0; i < c->n_keys; i++)
        (void)json_array_append_new(
            keys, json_pack("{s:i, s:i, s:o, s:o, s:o}", "role",
                            c->keys[i].role, "domain", c->keys[i].domain,
                            "number", number(c->keys[i].number), "namespace",
                            number(c->keys[i].ns), "public",
                            hex(c->keys[i].public, KEY_BYTES)));
    return json_pack(
        "{s:o, s:i, s:o, s:o, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o}",
        "repository_id", hex(c->repo_id, sizeof(c->repo_id)), "domain",
        c->domain, "created", wall_time(c->created_ns), "ro_compat",
        number(c->ro_compat), "gc_compat", number(c->gc_compat), "hash",
        c->hash, "chunker", c->chunker, "min_writer", number(c->min_writer),
        "lease_s", number(c->lease_s), "visibility_s", number(c->visibility_s),
        "window_s", number(c->window_s), "grace_s", number(c->grace_s), "age_s",
        number(c->age_s), "admin_public", hex(c->admin_public, KEY_BYTES),
        "keys", keys);
}

static json_t *
root_list(const struct ref_root *roots, size_t n)
{
    json_t *j = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(j, json_pack("{s:o, s:i}", "object",
                                                 hex(roots[i].gid, GID_BYTES),
                                                 "level", roots[i].level));
    return j;
}

static int
ref_to_json(struct repo *r, const char *name, json_t **out, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(freep) struct ref_root *roots = NULL;
    struct ref_head head = {0};
    struct err why = {0};
    size_t n = 0;

    if (store_get_all(r->store, name, &bytes, e) == -1 ||
        ref_open_head(bytes.p, bytes.len, name, &r->config, &head, e) == -1 ||
        ref_open_roots(bytes.p, bytes.len, &r->keys, &roots, &n, e) == -1)
        return err_wrap(e, "%s", name);
    json_t *j =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", name,
                  "bytes", number(bytes.len), "namespace", number(head.name.ns),
                  "machine_tag", hex(head.name.machine, NAME_TAG_BYTES), "time",
                  wall_time(head.name.time_ns), "writer", number(head.writer),
                  "base", hex(head.base, NAME_ID_BYTES), "previous",
                  hex(head.previous, sizeof(head.previous)), "roots",
                  root_list(roots, n));
    if (ref_open_body(bytes.p, bytes.len, &r->keys, &body, &why) == 0 &&
        manifest_unpack(body.p, body.len, &m, &why) == 0)
        (void)json_object_set_new(j, "manifest", manifest_to_json(m));
    else
        (void)json_object_set_new(j, "manifest_error", json_string(why.msg));
    *out = j;
    return 0;
}

int
inspect_ref(struct repo *r, const char *name, json_t **out, struct err *e)
{
    CLEANUP(inventory_done) struct inventory v = {0};
    const char *whole = NULL;

    if (inventory_make(r->store, &v, e) == -1 ||
        pick(&v.refs, name, &whole, e) == -1)
        return -1;
    return ref_to_json(r, whole, out, e);
}

/* ---- pack, segment --------------------------------------------------- */

static int
pick_pack(const struct inventory *v, const char *name,
          const struct inventory_pack **out, struct err *e)
{
    *out = NULL;
    for (size_t i = 0; i < v->n_packs; i++) {
        char whole[NAME_MAX_LEN];
        name_pack(v->packs[i].kind, v->packs[i].name, whole);
        if (!is_meant(name, whole, strrchr(whole, '/') + 1))
            continue;
        if (*out)
            return err_set(e, ERR_USAGE,
                           "\"%s\" is the start of more than one pack", name);
        *out = &v->packs[i];
    }
    return *out ? 0 : err_set(e, ERR_NOENT, "there is no pack \"%s\"", name);
}

static json_t *
table_to_json(const struct pack_table *t)
{
    json_t *j = json_array();

    for (uint32_t i = 0; i < t->n; i++) {
        const struct pack_entry *x = &t->entries[i];
        (void)json_array_append_new(
            j, json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "object",
                         hex(x->id, OBJECT_ID_BYTES), "type",
                         type_name(x->type), "offset", number(x->offset),
                         "stored_bytes", number(x->len), "plain_bytes",
                         number(x->plain_len), "check", number(x->check)));
    }
    return j;
}

static int
read_pack(struct repo *r, const struct inventory_pack *p, struct buf *bytes,
          struct pack_table *t, struct err *e)
{
    char name[NAME_MAX_LEN];

    name_pack(p->kind, p->name, name);
    if (store_get_all(r->store, name, bytes, e) == -1)
        return -1;
    if (pack_unpack_table(bytes->p, bytes->len, bytes->len, &r->keys, t, e) ==
        -1)
        return err_wrap(e, "%s", name);
    return 0;
}

int
inspect_pack(struct repo *r, const char *name, json_t **out, struct err *e)
{
    CLEANUP(inventory_done) struct inventory v = {0};
    CLEANUP(buf_done) struct buf bytes = buf_of(PACK_MAX_BYTES);
    CLEANUP(pack_table_done) struct pack_table t = {0};
    const struct inventory_pack *p = NULL;
    char whole[NAME_MAX_LEN];
    struct err why = {0};

    if (inventory_make(r->store, &v, e) == -1 ||
        pick_pack(&v, name, &p, e) == -1 ||
        read_pack(r, p, &bytes, &t, e) == -1)
        return -1;
    name_pack(p->kind, p->name, whole);
    bool sound = pack_check(bytes.p, bytes.len, p->name, &r->keys, &why) == 0;
    *out = json_pack("{s:s, s:s, s:o, s:b, s:s, s:o}", "name", whole, "kind",
                     t.kind == PACK_DATA ? "data" : "metadata", "bytes",
                     number(bytes.len), "is_sound", sound, "error", why.msg,
                     "objects", table_to_json(&t));
    return 0;
}

static json_t *
segment_to_json(const struct segment *s, const char *name)
{
    json_t *packs = json_array(), *entries = json_array();

    for (uint32_t i = 0; i < s->n_packs; i++) {
        enum pack_kind kind = PACK_DATA;
        uint32_t bytes = 0;
        char pack[NAME_MAX_LEN];
        const uint8_t *sum = segment_pack(s, i, &kind, &bytes);
        name_pack(kind, sum, pack);
        (void)json_array_append_new(packs, json_pack("{s:s, s:o}", "pack", pack,
                                                     "bytes", number(bytes)));
    }
    for (uint32_t i = 0; i < s->n_entries && i < INSPECT_MAX_ENTRIES; i++) {
        struct location at;
        const uint8_t *gid = segment_entry(s, i, &at);
        json_t *j = location(&at);
        (void)json_object_set_new(j, "object", hex(gid, GID_BYTES));
        (void)json_array_append_new(entries, j);
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:i, s:o, s:o}", "name", name,
                     "bytes", number(s->len), "entries_in_all",
                     number(s->n_entries), "bloom_blocks", number(s->n_blooms),
                     "fanout_bits", s->fanout_bits, "packs", packs, "entries",
                     entries);
}

int
inspect_segment(struct repo *r, const char *name, json_t **out, struct err *e)
{
    CLEANUP(inventory_done) struct inventory v = {0};
    CLEANUP(buf_done) struct buf sealed = buf_of(SEGMENT_MAX_BYTES + 4096);
    CLEANUP(buf_done) struct buf bytes = buf_of(SEGMENT_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES];
    const char *whole = NULL;
    struct segment s;
    int64_t time_ns = 0;

    if (inventory_make(r->store, &v, e) == -1 ||
        pick(&v.segments, name, &whole, e) == -1)
        return -1;
    (void)name_parse_index_delta(whole, &time_ns, id);
    if (store_get_all(r->store, whole, &sealed, e) == -1 ||
        segment_unseal(&r->keys, id, sealed.p, sealed.len, &bytes, e) == -1 ||
        segment_open(bytes.p, bytes.len, &s, e) == -1)
        return err_wrap(e, "%s", whole);
    *out = segment_to_json(&s, whole);
    return 0;
}

/* ---- object ---------------------------------------------------------- */

/* What maintenance sees of a node. */
static int
children_to_json(struct repo *r, const struct location *at,
                 const uint8_t gid[GID_BYTES], json_t *out, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(PACK_MAX_BYTES);
    CLEANUP(buf_done) struct buf clear = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(pack_table_done) struct pack_table t = {0};
    struct inventory_pack p = {.kind = at->kind};
    struct node_children children;
    const struct pack_entry *x = NULL;

    memcpy(p.name, at->pack, sizeof(p.name));
    if (read_pack(r, &p, &bytes, &t, e) == -1)
        return -1;
    for (uint32_t i = 0; i < t.n && !x; i++)
        if (memcmp(t.entries[i].id, gid, GID_BYTES) == 0)
            x = &t.entries[i];
    if (!x)
        return err_set(e, ERR_CORRUPT, "the pack's table does not name it");
    if (object_open_children(&r->keys, x->id, bytes.p + x->offset, x->len,
                             &clear, e) == -1 ||
        node_children_unpack(clear.p, clear.len, &children, e) == -1)
        return -1;
    json_t *list = json_array();
    for (uint32_t i = 0; i < children.n; i++)
        (void)json_array_append_new(
            list, hex(children.gids + (size_t)i * GID_BYTES, GID_BYTES));
    (void)json_object_set_new(out, "level", json_integer(children.level));
    (void)json_object_set_new(out, "children", list);
    return 0;
}

int
inspect_object(struct repo *r, const char *id, json_t **out, struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS], lost;
    uint8_t gid[GID_BYTES];
    json_t *places = NULL;

    if (!hex_decode(id, gid, sizeof(gid)))
        return err_set(e, ERR_USAGE,
                       "\"%s\" is no id of an object: that has %d digits", id,
                       2 * GID_BYTES);
    if (index_refresh(r->index, e) == -1)
        return -1;
    size_t n = index_find(r->index, gid, at);
    if (n == 0 && index_find_lost(r->index, gid, &lost) == 0)
        return err_set(e, ERR_NOENT, "object %s is in no index", id);
    places = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(places, location(&at[i]));
    json_t *j = json_pack("{s:s, s:b, s:o}", "object", id, "is_lost", n == 0,
                          "places", places);
    if (n > 0 && at[0].type == OBJECT_NODE &&
        children_to_json(r, &at[0], gid, j, e) == -1) {
        json_decref(j);
        return -1;
    }
    *out = j;
    return 0;
}

/* ---- tree ------------------------------------------------------------ */

struct drawing {
    struct repo *repo;
    json_t *lines;
    size_t n;
};

static void
draw(struct drawing *d, const char *what, uint64_t offset, uint64_t len,
     const struct node_entry *entry)
{
    struct object_name name;

    if (d->n++ >= INSPECT_MAX_ENTRIES)
        return;
    object_name_of(entry->h, &name);
    json_t *j = json_pack("{s:s, s:o, s:o, s:o}", "what", what, "offset",
                          number(offset), "bytes", number(len), "object",
                          hex(name.id, GID_BYTES));
    if (entry->blocks < entry->leaf_blocks) {
        (void)json_object_set_new(
            j, "leaf_offset",
            number((uint64_t)entry->first * NODE_BLOCK_BYTES));
        (void)json_object_set_new(
            j, "leaf_bytes",
            number((uint64_t)entry->leaf_blocks * NODE_BLOCK_BYTES));
    }
    (void)json_array_append_new(d->lines, j);
}

static int
draw_node(struct drawing *d, const struct node_entry *node, uint8_t level,
          uint64_t base, struct err *e)
{
    struct fetched_node *fetched = NULL;
    uint64_t span = tree_slots_below(level) * VOLUME_SLOT_BYTES, at = base;
    int rc = 0;

    draw(d, level > 0 ? "node" : "slot", base, span, node);
    if (fetch_node(d->repo->fetch, node->h, level, &fetched, e) == -1)
        return -1;
    const struct node *n = fetched_node(fetched);
    for (uint32_t i = 0; i < n->n && rc == 0; i++) {
        const struct node_entry *entry = &n->entries[i];
        uint64_t len = level > 0 ? span / NODE_FANOUT
                                 : (uint64_t)entry->blocks * NODE_BLOCK_BYTES;
        if (!node_is_hole(entry) && level > 0)
            rc = draw_node(d, entry, level - 1, at, e);
        else if (!node_is_hole(entry))
            draw(d, node_is_whole(entry) ? "leaf" : "part", at, len, entry);
        at += len;
    }
    fetch_node_put(d->repo->fetch, fetched);
    return rc;
}

int
inspect_tree(struct repo *r, const char *backup, const char *volume,
             json_t **out, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (backup_find(r, backup, &m, e) == -1)
        return -1;
    const struct manifest_volume *v = manifest_volume(m, volume);
    if (!v)
        return err_set(e, ERR_NOENT,
                       "backup %.8s has no volume \"%s\"; \"vmkeep show\" "
                       "lists them",
                       m->id, volume);
    if (v->root.size_bytes > VOLUME_SIZE_MAX ||
        v->root.levels != tree_levels(v->root.size_bytes))
        return err_set(e, ERR_CORRUPT,
                       "its size and its tree's height don't agree");
    struct drawing d = {.repo = r, .lines = json_array()};
    struct node_entry root = {.blocks = 0};
    memcpy(root.h, v->root.h, sizeof(root.h));
    if (!bytes_are_zero(v->root.h, sizeof(v->root.h)) &&
        draw_node(&d, &root, v->root.levels, 0, e) == -1) {
        json_decref(d.lines);
        return -1;
    }
    *out = json_pack("{s:s, s:s, s:o, s:i, s:i, s:o, s:o}", "backup", m->id,
                     "volume", volume, "bytes", number(v->root.size_bytes),
                     "levels", v->root.levels, "chunker", v->root.chunker,
                     "objects", number(d.n), "tree", d.lines);
    return 0;
}
