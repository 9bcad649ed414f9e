/* SPDX-License-Identifier: Apache-2.0 */
/* One backup (copy.h). */
#include "repo/copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/copy_internal.h"
#include "repo/differ.h"
#include "repo/fetch.h"
#include "repo/lost.h"
#include "repo/repo_internal.h"
#include "repo/slotread.h"
#include "repo/tree.h"
#include "store/store.h"

/* A backup of the source and its copy in the target. */
struct pair {
    struct manifest *original, *copy; /* owned */
};

struct copying {
    struct repo *from, *to;
    const struct copy_options *options;
    struct cancel *cancel;
    const struct manifest *original;
    const struct pair *base; /* or NULL */
    struct backup_writer *backup;
    struct manifest *copy;
    struct progress progress;
    uint64_t before_bytes; /* of the volumes that are done */
    bool begins_anew;      /* the base turned out to be damaged */
};

static void
pair_done(struct pair *p)
{
    manifest_freep(&p->original);
    manifest_freep(&p->copy);
    *p = (struct pair){0};
}

/* ---- volumes --------------------------------------------------------- */

static void
reached(struct copying *c, uint64_t slot, uint64_t size_bytes)
{
    c->progress.done_bytes =
        c->before_bytes + u64_min(slot * VOLUME_SLOT_BYTES, size_bytes);
    if (c->options->progress)
        c->options->progress(c->options->progress_cookie, &c->progress);
}

/* Mark what is set in `blocks`, run by run. */
static void
mark_blocks(struct slot *s, const uint64_t blocks[VOLUME_SLOT_BLOCKS / 64])
{
    uint32_t end = (uint32_t)div_up(s->len, VOLUME_BLOCK_BYTES);

    for (uint32_t i = 0; i < end;) {
        uint32_t from = i;
        while (i < end && (blocks[i / 64] >> (i % 64) & 1))
            i++;
        if (i > from) {
            uint32_t offset = from * VOLUME_BLOCK_BYTES;
            slot_mark(
                s, offset,
                (uint32_t)u64_min(i * (uint64_t)VOLUME_BLOCK_BYTES, s->len) -
                    offset);
        }
        i++;
    }
}

/* A volume_fill_fn: all of a slot. */
static int
fill_all(void *cookie, struct slot *s, struct err *e)
{
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];

    if (volume_read_slot(cookie, s->index, s->data, marked, e) == -1)
        return -1;
    mark_blocks(s, marked);
    return 0;
}

static int
copy_all(struct copying *c, const struct manifest_volume *from,
         struct volume_root *out, struct err *e)
{
    CLEANUP(volume_closep) struct volume_reader *reader = NULL;
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    uint64_t slot = 0;
    int more = 0;

    if (volume_open(c->from, &from->root, &reader, e) == -1 ||
        volume_begin(c->backup, from->name, from->root.size_bytes, &v, e) == -1)
        return -1;
    while ((more = volume_next_slot(reader, &slot, e)) == 1) {
        if (volume_fill(v, slot, fill_all, reader, e) == -1)
            return -1;
        reached(c, ++slot, from->root.size_bytes);
    }
    return more == -1 ? -1 : volume_end(&v, out, e);
}

/* What the slots of a volume are compared with. */
struct against {
    struct fetch *fetch;
    const struct volume_root *before, *now;
};

/* What is to change, read to where it belongs; what was data and is no more is
 * named as changed, too. */
static int
read_changed(struct fetch *f, struct slot *s, const struct node *n,
             const uint64_t changed[VOLUME_SLOT_BLOCKS / 64], struct err *e)
{
    uint32_t end = (uint32_t)div_up(s->len, VOLUME_BLOCK_BYTES);
    uint64_t filled[VOLUME_SLOT_BLOCKS / 64];

    if (n && slotread(f, n, s->index * VOLUME_SLOT_BYTES, s->len, changed,
                      s->data, e) == -1)
        return -1;
    for (uint32_t b = 0; b < end; b++)
        if (changed[b / 64] >> (b % 64) & 1) {
            uint32_t offset = b * VOLUME_BLOCK_BYTES;
            slot_change(s, offset,
                        (uint32_t)u64_min(VOLUME_BLOCK_BYTES, s->len - offset));
        }
    slotread_data(n, filled);
    for (uint32_t i = 0; i < VOLUME_SLOT_BLOCKS / 64; i++)
        filled[i] &= changed[i];
    mark_blocks(s, filled);
    return 0;
}

static int
fetch_slot(struct fetch *f, const uint8_t h[CAPABILITY_BYTES],
           struct fetched_node **out, struct err *e)
{
    if (bytes_are_zero(h, CAPABILITY_BYTES))
        return 0;
    return fetch_node(f, h, 0, out, e);
}

/* A volume_fill_fn: of a slot only what is not as before. */
static int
fill_changed(void *cookie, struct slot *s, struct err *e)
{
    const struct against *a = cookie;
    uint64_t changed[VOLUME_SLOT_BLOCKS / 64];
    struct fetched_node *before = NULL, *now = NULL;
    struct differ_slot d = {0};

    int rc = differ_next(a->fetch, a->before, a->now, s->index, &d, e);
    if (rc == 1 && (fetch_slot(a->fetch, d.a, &before, e) == -1 ||
                    fetch_slot(a->fetch, d.b, &now, e) == -1))
        rc = -1;
    if (rc == 1) {
        const struct node *n = now ? fetched_node(now) : NULL;
        differ_blocks(before ? fetched_node(before) : NULL, n, changed);
        rc = read_changed(a->fetch, s, n, changed, e);
    }
    fetch_node_put(a->fetch, before);
    fetch_node_put(a->fetch, now);
    if (rc == -1)
        return err_wrap(e, "slot %llu of the source",
                        (unsigned long long)s->index);
    return 0;
}

/* On the copy of a volume as it was before. */
static int
copy_changed(struct copying *c, const struct manifest_volume *from,
             const struct volume_root *before, const struct volume_root *there,
             struct volume_root *out, struct err *e)
{
    struct against a = {c->from->fetch, before, &from->root};
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct differ_slot d = {0};
    uint64_t slot = 0;
    int more = 0;

    if (volume_begin_on(c->backup, from->name, there, &v, e) == -1)
        return -1;
    while ((more = differ_next(a.fetch, before, &from->root, slot, &d, e)) ==
           1) {
        if (volume_fill(v, d.index, fill_changed, &a, e) == -1)
            return -1;
        slot = d.index + 1;
        reached(c, slot, from->root.size_bytes);
    }
    return more == -1 ? -1 : volume_end(&v, out, e);
}

static int
copy_volume(struct copying *c, const struct manifest_volume *from,
            struct err *e)
{
    const struct manifest_volume *before = NULL, *there = NULL;
    struct volume_root root = {0};
    int rc = 0;

    c->progress.what = from->name;
    if (c->base) {
        before = manifest_volume(c->base->original, from->name);
        there = manifest_volume(c->base->copy, from->name);
    }
    if (before && there && before->root.size_bytes == from->root.size_bytes &&
        there->root.size_bytes == from->root.size_bytes)
        rc = copy_changed(c, from, &before->root, &there->root, &root, e);
    else
        rc = copy_all(c, from, &root, e);
    if (rc == -1)
        return err_wrap(e, "%s", from->name);
    manifest_add_volume(c->copy, from->name, &root);
    c->before_bytes += from->root.size_bytes;
    reached(c, 0, 0);
    return 0;
}

/* ---- the backup ------------------------------------------------------ */

static void
set_text(char **member, const char *text)
{
    free(*member);
    *member = xstrdup(text);
}

/* The id that follows from the origin, unless a ref of that id is or was there
 * (forgotten, late, damaged). */
static int
choose_id(struct repo *to, struct manifest *m, struct err *e)
{
    struct ref_name ref = {.ns = to->keys.ns, .time_ns = m->time_ns};
    struct store_stat stat;
    char id[BACKUP_ID_LEN + 1], name[NAME_MAX_LEN];

    copy_id(to, &m->origin, id);
    (void)hex_decode(id, ref.id, sizeof(ref.id));
    machine_tag(&to->keys, m->uuid[0] ? m->uuid : m->machine, ref.machine);
    if (lost_has(to->lost, LOST_REF, ref.id))
        return 0;
    name_ref(&ref, name);
    int found = store_stat(to->store, name, &stat, e);
    if (found == 0)
        memcpy(m->id, id, sizeof(m->id));
    return found == -1 ? -1 : 0;
}

/* All that is not a volume. */
static int
describe(struct copying *c, const struct copy_item *item, struct err *e)
{
    const struct manifest *from = c->original;
    struct manifest *m = c->copy;

    m->time_ns = from->time_ns;
    m->origin = item->origin;
    set_text(&m->machine, from->machine);
    set_text(&m->uuid, from->uuid);
    set_text(&m->host, from->host);
    set_text(&m->method, from->method);
    json_decref(m->detail);
    m->detail = json_incref(from->detail);
    return choose_id(c->to, m, e);
}

static int
write_copy(struct copying *c, const struct copy_item *item,
           struct copy_result *out, struct err *e)
{
    const struct backup_options options = {.base = c->base ? c->base->copy->id
                                                           : NULL,
                                           .nodes_anew = c->begins_anew};

    c->copy = manifest_new();
    c->before_bytes = 0;
    if (backup_begin(c->to, &options, c->cancel, &c->backup, e) == -1 ||
        describe(c, item, e) == -1)
        return -1;
    for (size_t i = 0; i < c->original->n_volumes; i++)
        if (copy_volume(c, &c->original->volumes[i], e) == -1)
            return -1;
    c->progress.phase = "publish";
    c->progress.what = "";
    if (backup_commit(&c->backup, c->copy, e) == -1)
        return -1;
    memcpy(out->id, c->copy->id, sizeof(out->id));
    if (c->base)
        memcpy(out->base, c->base->copy->id, sizeof(out->base));
    out->read_bytes = c->copy->read_bytes;
    out->new_bytes = c->copy->new_bytes;
    out->stored_bytes = c->copy->stored_bytes;
    return 0;
}

static int
try_copy(struct copying *c, const struct copy_item *item,
         struct copy_result *out, struct err *e)
{
    c->progress = (struct progress){
        .phase = "read", .what = "", .total_bytes = item->size_bytes};
    int rc = write_copy(c, item, out, e);
    backup_abandonp(&c->backup);
    manifest_free(STEAL(c->copy));
    return rc;
}

/* ---- what it is made against ----------------------------------------- */

/* The newest of the machine that is in both; of those that are not newer than
 * the one to copy, if there is any. */
static const struct copy_item *
find_base(const struct copy_plan *p, size_t of)
{
    const struct copy_item *wanted = &p->items[of], *best = NULL;

    for (size_t i = 0; i < p->n; i++) {
        const struct copy_item *item = &p->items[i];
        if (i == of || !item->there[0] || item->ns != wanted->ns ||
            memcmp(item->machine_tag, wanted->machine_tag,
                   sizeof(item->machine_tag)) != 0)
            continue;
        if (!best || item->time_ns <= wanted->time_ns)
            best = item;
    }
    return best;
}

/* 1, or 0 if there is none that can be had: all is read then. */
static int
get_base(struct copying *c, const struct copy_plan *p, size_t of,
         struct pair *out, struct err *e)
{
    const struct copy_item *base = find_base(p, of);

    if (!base)
        return 0;
    if (backup_find(c->from, base->id, &out->original, e) == 0 &&
        backup_find(c->to, base->there, &out->copy, e) == 0)
        return 1;
    pair_done(out);
    if (e->code != ERR_KEY && e->code != ERR_NOENT && e->code != ERR_CORRUPT)
        return -1;
    err_clear(e);
    return 0;
}

/* What may be the fault of the copy that another one is made against, or of
 * the original of that one. */
static bool
may_do_without(enum err_code code)
{
    return code == ERR_NOENT || code == ERR_CORRUPT || code == ERR_UNSUP ||
           code == ERR_USAGE;
}

int
copy_backup(struct repo *from, struct repo *to, struct copy_plan *p, size_t i,
            const struct copy_options *o, struct cancel *cancel,
            struct copy_result *out, struct err *e)
{
    CLEANUP(pair_done) struct pair base = {0};
    CLEANUP(manifest_freep) struct manifest *original = NULL;
    struct copying c = {.from = from, .to = to, .options = o, .cancel = cancel};
    struct copy_item *item = &p->items[i];
    struct copy_result result = {0};
    struct err damage = {0};

    if (backup_find(from, item->id, &original, e) == -1)
        return -1;
    c.original = original;
    int rc = get_base(&c, p, i, &base, e);
    if (rc == 1) {
        c.base = &base;
        rc = try_copy(&c, item, &result, e) == -1 ? -1 : 1;
        if (rc == -1 && may_do_without(e->code)) {
            if (e->code == ERR_CORRUPT)
                damage = *e;
            err_clear(e);
            rc = 0;
            c.begins_anew = true;
        }
    }
    if (rc == 0) {
        c.base = NULL;
        result = (struct copy_result){.damage = damage};
        rc = try_copy(&c, item, &result, e);
    }
    if (rc == -1)
        return -1;
    memcpy(item->there, result.id, sizeof(item->there));
    item->state = COPY_THERE;
    *out = result;
    return 0;
}
