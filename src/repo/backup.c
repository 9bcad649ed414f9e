/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup being written: workers, memory, deduplication, and its publication
 * (docs/design/repository.md, "The way in").
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/chunker.h"
#include "repo/fetch.h"
#include "repo/gidset.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/packer.h"
#include "repo/relied.h"
#include "repo/repo_internal.h"
#include "repo/sync.h"
#include "repo/waiting.h"
#include "work/cancel.h"
#include "work/pool.h"

enum {
    MEMORY_DEFAULT_BYTES = 64 << 20,
    SLOTS_MIN = 2,
    SYNC_SECONDS = 3600,
    FRESH_SECONDS = 600, /* before a commit */
    COMMIT_TRIES = 5
};

#define NS_PER_S UINT64_C(1000000000)

/* A slot and its memory, between uses. */
struct idle_slot {
    struct slot slot; /* first: callers see only this */
    struct idle_slot *next;
    void (*fn)(struct slot *s);
    struct backup_writer *backup;
};

struct backup_writer {
    struct repo *repo;     /* borrowed */
    struct cancel *cancel; /* borrowed */
    bool verify, nodes_anew;
    int level;
    uint8_t chunker;
    size_t max_slots;
    struct pool *pool;
    struct group *group;
    struct packer *packer;
    struct relied *relied;
    struct sync *sync;
    bool walked; /* what was taken over is in `relied`, object by object */

    pthread_mutex_t lock;   /* guards all below; no other lock is taken in it */
    pthread_cond_t changed; /* a slot came back, or the backup failed */
    struct idle_slot *idle;
    size_t n_slots;
    struct seat *seats; /* idle ones */
    size_t open_volumes;
    struct gidset roots;   /* of the volumes that were written */
    uint64_t next_sync_ns; /* by the monotonic clock; UINT64_MAX: under way */
    struct backup_stats stats;
    struct err err; /* the first */
};

static void
lock(struct backup_writer *b)
{
    (void)pthread_mutex_lock(&b->lock);
}

static void
unlock(struct backup_writer *b)
{
    (void)pthread_mutex_unlock(&b->lock);
}

/* ---- begin, end ------------------------------------------------------ */

static int
check_writable(const struct repo *r, struct err *e)
{
    const unsigned needs = KEY_DOMAIN | KEY_WRITER;

    if ((r->keys.has & needs) != needs)
        return err_set(e, ERR_KEY, "this key may not write backups");
    if (r->config.ro_compat != 0 ||
        r->config.min_writer > CONFIG_WRITER_LEVEL ||
        !chunker_is_known(r->config.chunker))
        return err_set(e, ERR_UNSUP,
                       "the repository has been changed so that this vmkeep "
                       "may only read it; use a newer vmkeep");
    return 0;
}

static void
sync_freep(struct sync **s)
{
    sync_free(*s);
}

/* Often enough that a few failures in a row leave the backup valid. */
static uint64_t
sync_interval_ns(const struct config *c)
{
    return u64_min(SYNC_SECONDS, c->lease_s / 4) * NS_PER_S;
}

/* Is there so much left of the lease that the ref will be in time? */
static bool
is_fresh(const struct sync *s, const struct config *c)
{
    int64_t age = sync_age_ns(s);

    return age >= 0 &&
           (uint64_t)age < u64_min(FRESH_SECONDS, c->lease_s / 4) * NS_PER_S;
}

int
backup_begin(struct repo *r, const struct backup_options *o,
             struct cancel *cancel, struct backup_writer **out, struct err *e)
{
    int level = o && o->level ? o->level : CODEC_LEVEL_DEFAULT;
    uint64_t memory =
        o && o->memory_bytes ? o->memory_bytes : (uint64_t)MEMORY_DEFAULT_BYTES;
    uint8_t chunker = o && o->chunker ? o->chunker : r->config.chunker;

    if (level < 1 || level > CODEC_LEVEL_MAX)
        return err_set(e, ERR_USAGE, "the compression level is 1 to %d, not %d",
                       CODEC_LEVEL_MAX, level);
    if (check_writable(r, e) == -1)
        return -1;
    if (!chunker_is_known(chunker))
        return err_set(e, ERR_USAGE, "there is no chunker %u", chunker);
    CLEANUP(sync_freep) struct sync *sync = sync_new(r);
    if ((o && o->base && sync_set_base(sync, o->base, e) == -1) ||
        sync_now(sync, e) == -1)
        return -1;

    struct backup_writer *b = xcalloc(1, sizeof(*b));
    b->repo = r;
    b->cancel = cancel;
    b->level = level;
    b->chunker = chunker;
    b->verify = !(o && o->no_verify);
    b->nodes_anew = o && o->nodes_anew;
    b->max_slots = u64_max(memory / VOLUME_SLOT_BYTES, SLOTS_MIN);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->changed, NULL);
    b->pool = pool_new(o ? o->threads : 0);
    b->group = group_new(b->pool, b->max_slots);
    b->relied = relied_new();
    b->packer = packer_new(r->store, &r->keys, r->index, cancel);
    packer_rely(b->packer, b->relied);
    b->sync = STEAL(sync);
    b->next_sync_ns = clock_mono_ns() + sync_interval_ns(&r->config);
    *out = b;
    return 0;
}

static void
backup_free(struct backup_writer *b)
{
    assert(b->open_volumes == 0);
    group_free(b->group);
    pool_free(b->pool);
    packer_free(b->packer);
    while (b->idle) {
        struct idle_slot *s = b->idle;
        b->idle = s->next;
        free(s->slot.data);
        free(s);
        b->n_slots--;
    }
    assert(b->n_slots == 0);
    while (b->seats) {
        struct seat *s = b->seats;
        b->seats = s->next;
        sealer_free(s->sealer);
        free(s);
    }
    relied_free(b->relied);
    sync_free(b->sync);
    gidset_done(&b->roots);
    (void)pthread_cond_destroy(&b->changed);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

void
backup_abandonp(struct backup_writer **b)
{
    struct err e = {0};

    if (!*b)
        return;
    (void)err_set(&e, ERR_CANCELED, "the backup was given up");
    backup_fail(*b, &e);
    backup_free(*b);
    *b = NULL;
}

void
backup_get_stats(struct backup_writer *b, struct backup_stats *out)
{
    lock(b);
    *out = b->stats;
    unlock(b);
    out->stored_bytes = packer_stored_bytes(b->packer);
}

/* ---- for the volumes of the backup ----------------------------------- */

void
backup_volume_begun(struct backup_writer *b)
{
    lock(b);
    b->open_volumes++;
    unlock(b);
}

void
backup_volume_ended(struct backup_writer *b)
{
    lock(b);
    b->open_volumes--;
    unlock(b);
}

uint8_t
backup_chunker(const struct backup_writer *b, uint64_t *out_seed)
{
    *out_seed = chunker_seed(b->repo->keys.k_id);
    return b->chunker;
}

bool
backup_base_has(const struct backup_writer *b,
                const uint8_t h[CAPABILITY_BYTES])
{
    struct object_name name;

    object_name_of(h, &name);
    return sync_base_has(b->sync, name.id);
}

struct repo *
backup_repo(const struct backup_writer *b)
{
    return b->repo;
}

unsigned
backup_threads(const struct backup_writer *b)
{
    return pool_threads(b->pool);
}

void
backup_count_read(struct backup_writer *b, uint64_t bytes)
{
    lock(b);
    b->stats.read_bytes += bytes;
    unlock(b);
}

void
backup_fail(struct backup_writer *b, const struct err *e)
{
    lock(b);
    if (b->err.code == ERR_OK)
        b->err = *e;
    (void)pthread_cond_broadcast(&b->changed);
    unlock(b);
}

static int
check_locked(struct backup_writer *b, struct err *e)
{
    if (b->err.code == ERR_OK)
        return cancel_check(b->cancel, e);
    *e = b->err;
    return -1;
}

int
backup_check(struct backup_writer *b, struct err *e)
{
    lock(b);
    int rc = check_locked(b, e);
    unlock(b);
    return rc;
}

void
backup_note_root(struct backup_writer *b, const uint8_t h[CAPABILITY_BYTES])
{
    struct object_name name;

    if (bytes_are_zero(h, CAPABILITY_BYTES))
        return;
    object_name_of(h, &name);
    lock(b);
    (void)gidset_add(&b->roots, name.id);
    unlock(b);
}

/* A backup may take days: what it builds upon is looked at again meanwhile. */
static int
sync_if_due(struct backup_writer *b, struct err *e)
{
    lock(b);
    bool due = clock_mono_ns() >= b->next_sync_ns;
    if (due)
        b->next_sync_ns = UINT64_MAX;
    unlock(b);
    if (!due)
        return 0;
    int rc = sync_now(b->sync, e);
    if (rc == 0)
        rc = rescue_condemned(b->repo, b->relied, b->sync, b->cancel, e);
    if (rc == -1)
        backup_fail(b, e);
    lock(b);
    b->next_sync_ns = clock_mono_ns() + sync_interval_ns(&b->repo->config);
    unlock(b);
    return rc == -1 ? -1 : 0;
}

struct seat *
backup_take_seat(struct backup_writer *b)
{
    lock(b);
    struct seat *s = b->seats;
    if (s)
        b->seats = s->next;
    unlock(b);
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->sealer = sealer_new(&b->repo->keys, b->level);
    }
    return s;
}

void
backup_give_seat(struct backup_writer *b, struct seat *s)
{
    lock(b);
    s->next = b->seats;
    b->seats = s;
    unlock(b);
}

int
backup_take_slot(struct backup_writer *b, bool wait, struct slot **out,
                 struct err *e)
{
    struct idle_slot *s = NULL;
    bool may_make = false;

    if (sync_if_due(b, e) == -1)
        return -1;
    lock(b);
    int rc = check_locked(b, e);
    while (wait && rc == 0 && !b->idle && b->n_slots == b->max_slots) {
        wait_a_while(&b->changed, &b->lock);
        rc = check_locked(b, e);
    }
    if (rc == 0 && b->idle) {
        s = b->idle;
        b->idle = s->next;
    } else if (rc == 0 && b->n_slots < b->max_slots) {
        b->n_slots++;
        may_make = true;
    }
    unlock(b);
    if (may_make) {
        s = xcalloc(1, sizeof(*s));
        s->backup = b;
        s->slot.data = xmalloc(VOLUME_SLOT_BYTES);
    }
    if (rc == -1 || !s)
        return rc;
    *out = &s->slot;
    return 1;
}

void
backup_give_slot(struct backup_writer *b, struct slot *slot)
{
    struct idle_slot *s = (struct idle_slot *)slot;

    lock(b);
    s->next = b->idle;
    b->idle = s;
    (void)pthread_cond_broadcast(&b->changed);
    unlock(b);
}

static int
run_slot(void *arg, int failed, struct err *e)
{
    struct idle_slot *s = arg;

    (void)failed; /* errors travel by backup_fail */
    (void)e;
    s->fn(&s->slot);
    return 0;
}

void
backup_run(struct backup_writer *b, void (*fn)(struct slot *s),
           struct slot *slot)
{
    struct idle_slot *s = (struct idle_slot *)slot;

    s->fn = fn;
    group_run(b->group, run_slot, s);
}

/* ---- objects --------------------------------------------------------- */

/* Must this object be stored, and by us? */
static bool
is_ours_to_store(struct backup_writer *b, const uint8_t gid[GID_BYTES],
                 enum object_type type)
{
    struct location at[INDEX_MAX_LOCATIONS];

    if (packer_has(b->packer, gid))
        return false;
    bool anew = (type == OBJECT_NODE && b->nodes_anew) ||
                fetch_has_failed(b->repo->fetch, gid);
    size_t n = anew ? 0 : index_find(b->repo->index, gid, at);
    for (size_t i = 0; i < n; i++)
        if (at[i].type == type && !sync_condemned(b->sync, at[i].pack)) {
            relied_add(b->relied, &at[i], gid);
            return false;
        }
    return packer_claim(b->packer, gid);
}

int
backup_store_leaf(struct backup_writer *b, struct sealer *s, const void *p,
                  size_t len, uint8_t out_h[CAPABILITY_BYTES], struct err *e)
{
    struct object_name name;
    size_t sealed_len = 0;

    object_name(&b->repo->keys, OBJECT_LEAF, p, len, &name);
    memcpy(out_h, name.h, CAPABILITY_BYTES);
    if (!is_ours_to_store(b, name.id, OBJECT_LEAF))
        return 0;
    const uint8_t *sealed = object_seal_leaf(s, &name, p, len, &sealed_len);
    if (b->verify &&
        object_verify_leaf(s, &name, sealed, sealed_len, p, len, e) == -1)
        return -1;
    lock(b);
    b->stats.new_bytes += len;
    unlock(b);
    return packer_add(b->packer, PACK_DATA, OBJECT_LEAF, name.id, len, sealed,
                      sealed_len, e);
}

int
backup_store_node(struct backup_writer *b, struct sealer *s, struct node *n,
                  uint8_t out_h[CAPABILITY_BYTES], struct err *e)
{
    CLEANUP(buf_done) struct buf entries = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    struct object_name name;
    size_t sealed_len = 0;

    node_pack(n, &entries);
    if (buf_check(&entries, "a node", e) == -1)
        return -1;
    object_name(&b->repo->keys, OBJECT_NODE, entries.p, entries.len, &name);
    memcpy(out_h, name.h, CAPABILITY_BYTES);
    if (!is_ours_to_store(b, name.id, OBJECT_NODE))
        return 0;
    node_children_pack(n, &children);
    const uint8_t *sealed =
        object_seal_node(s, &name, children.p, children.len, entries.p,
                         entries.len, &sealed_len);
    if (b->verify && object_verify_node(s, &name, sealed, sealed_len,
                                        children.p, children.len, e) == -1)
        return -1;
    return packer_add(b->packer, PACK_META, OBJECT_NODE, name.id, entries.len,
                      sealed, sealed_len, e);
}

/* ---- commit ---------------------------------------------------------- */

/* Are there volumes in it that nothing vouches for? */
static bool
must_walk(struct backup_writer *b, const struct manifest *m)
{
    struct object_name name;

    if (b->walked)
        return false;
    if (sync_base_lost(b->sync))
        return true;
    if (sync_base(b->sync))
        return false;
    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct volume_root *root = &m->volumes[i].root;
        object_name_of(root->h, &name);
        if (!bytes_are_zero(root->h, sizeof(root->h)) &&
            !gidset_has(&b->roots, name.id))
            return true;
    }
    return false;
}

/* One attempt: 1 if the backup is published, 0 if all has to be looked at
 * again. */
static int
try_commit(struct backup_writer *b, struct manifest *m, struct err *e)
{
    uint8_t id[NAME_ID_BYTES];

    if (must_walk(b, m)) {
        if (rescue_rely_on_all(b->repo, m, b->relied, b->sync, b->cancel, e) ==
            -1)
            return -1;
        sync_drop_base(b->sync);
        b->walked = true;
    }
    int rescued = rescue_condemned(b->repo, b->relied, b->sync, b->cancel, e);
    if (rescued != 0)
        return rescued == 1 ? 0 : -1;
    int rc = publish_backup(b->repo, m, b->relied, b->sync, b->cancel, e);
    if (rc == 0) { /* what is there under the old id can't be relied on */
        rand_bytes(id, sizeof(id));
        hex_encode(id, sizeof(id), m->id);
    }
    return rc;
}

static int
commit(struct backup_writer *b, struct manifest *m, struct err *e)
{
    struct backup_stats stats = {0};

    if (backup_check(b, e) == -1 || packer_finish(b->packer, e) == -1)
        return -1;
    backup_get_stats(b, &stats);
    m->read_bytes = stats.read_bytes;
    m->new_bytes = stats.new_bytes;
    m->stored_bytes = stats.stored_bytes;
    for (int i = 0; i < COMMIT_TRIES; i++) {
        /* That is no rule: a short backup's S is as good as a new one. */
        if ((i > 0 || !is_fresh(b->sync, &b->repo->config)) &&
            sync_now(b->sync, e) == -1)
            return -1;
        int rc = try_commit(b, m, e);
        if (rc != 0)
            return rc == 1 ? 0 : -1;
    }
    (void)err_set(e, ERR_STORE,
                  "maintenance condemned what it builds upon, or this host "
                  "was suspended, in each of %d attempts",
                  COMMIT_TRIES);
    return err_hint(e, "run the backup again");
}

int
backup_commit(struct backup_writer **b, struct manifest *m, struct err *e)
{
    int rc = commit(*b, m, e);

    backup_free(*b);
    *b = NULL;
    return rc == 0 ? 0 : err_wrap(e, "cannot commit the backup");
}
