/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of volume.h. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/chunker.h"
#include "repo/descend.h"
#include "repo/fetch.h"
#include "repo/repo_internal.h"
#include "repo/slotread.h"
#include "repo/splice.h"
#include "repo/tree.h"

struct volume_writer {
    struct backup_writer *backup;
    char *name; /* for messages */
    uint64_t size_bytes;
    bool dense; /* memory: gains most by better compression */
    bool based;
    struct volume_root base; /* if so */
    uint8_t chunker;
    uint64_t chunker_seed;
    pthread_mutex_t lock; /* guards the two below */
    pthread_cond_t done;  /* no job is left */
    size_t jobs;
    struct tree_list slots; /* those that are not what they are by default:
                             * all zero, or as in the base */
};

static int
begin(struct backup_writer *b, const char *name, uint64_t size_bytes,
      struct volume_writer **out, struct err *e)
{
    if (size_bytes > VOLUME_SIZE_MAX)
        return err_set(e, ERR_LIMIT,
                       "volume \"%s\" has %llu bytes, more than the %llu that "
                       "a repository takes",
                       name, (unsigned long long)size_bytes,
                       (unsigned long long)VOLUME_SIZE_MAX);
    if (backup_check(b, e) == -1)
        return -1;
    struct volume_writer *v = xcalloc(1, sizeof(*v));
    v->backup = b;
    v->name = xstrdup(name);
    v->size_bytes = size_bytes;
    v->dense = text_starts(name, "ram/");
    v->chunker = backup_chunker(b, &v->chunker_seed);
    (void)pthread_mutex_init(&v->lock, NULL);
    (void)pthread_cond_init(&v->done, NULL);
    backup_volume_begun(b);
    *out = v;
    return 0;
}

int
volume_begin(struct backup_writer *b, const char *name, uint64_t size_bytes,
             struct volume_writer **out, struct err *e)
{
    return begin(b, name, size_bytes, out, e);
}

static int
check_base(struct backup_writer *b, const struct volume_root *base,
           struct err *e)
{
    if (base->size_bytes <= VOLUME_SIZE_MAX &&
        base->levels != tree_levels(base->size_bytes))
        return err_set(e, ERR_CORRUPT,
                       "a volume of %llu bytes does not have %u levels",
                       (unsigned long long)base->size_bytes, base->levels);
    if (!chunker_is_known(base->chunker))
        return err_set(e, ERR_UNSUP,
                       "what it is based on was cut in a way (%u) that this "
                       "vmkeep does not know; use a newer one, or read all",
                       base->chunker);
    if (!bytes_are_zero(base->h, sizeof(base->h)) &&
        !backup_base_has(b, base->h))
        return err_set(e, ERR_USAGE,
                       "what it is based on is no volume of the backup that "
                       "this one was begun on");
    return base_check_lost(backup_repo(b), base, e);
}

int
volume_begin_on(struct backup_writer *b, const char *name,
                const struct volume_root *base, struct volume_writer **out,
                struct err *e)
{
    struct volume_writer *v = NULL;

    if (check_base(b, base, e) == -1)
        return err_wrap(e, "volume \"%s\"", name);
    if (begin(b, name, base->size_bytes, &v, e) == -1)
        return -1;
    v->based = true;
    v->base = *base;
    v->chunker = base->chunker;
    *out = v;
    return 0;
}

static int
take_slot(struct volume_writer *v, uint64_t index, bool wait, struct slot **out,
          struct err *e)
{
    struct slot *s = NULL;

    if (index >= tree_slots(v->size_bytes))
        return err_set(e, ERR_USAGE, "volume \"%s\" has no slot %llu", v->name,
                       (unsigned long long)index);
    int rc = backup_take_slot(v->backup, wait, &s, e);
    if (rc != 1)
        return rc;
    s->index = index;
    s->len = (uint32_t)u64_min(VOLUME_SLOT_BYTES,
                               v->size_bytes - index * VOLUME_SLOT_BYTES);
    memset(s->marked, 0, sizeof(s->marked));
    memset(s->changed, 0, sizeof(s->changed));
    s->owner = v;
    s->fill = NULL;
    *out = s;
    return 1;
}

int
volume_slot(struct volume_writer *v, uint64_t index, struct slot **out,
            struct err *e)
{
    return take_slot(v, index, true, out, e) == 1 ? 0 : -1;
}

int
volume_try_slot(struct volume_writer *v, uint64_t index, struct slot **out,
                struct err *e)
{
    return take_slot(v, index, false, out, e);
}

static void
set_blocks(uint64_t *bits, uint32_t offset, uint32_t len)
{
    uint32_t last = (offset + len - 1) / VOLUME_BLOCK_BYTES;

    for (uint32_t i = offset / VOLUME_BLOCK_BYTES; i <= last; i++)
        bits[i / 64] |= UINT64_C(1) << (i % 64);
}

void
slot_change(struct slot *s, uint32_t offset, uint32_t len)
{
    assert(offset % VOLUME_BLOCK_BYTES == 0 &&
           range_inside(offset, len, s->len));
    assert((offset + len) % VOLUME_BLOCK_BYTES == 0 || offset + len == s->len);
    if (len > 0)
        set_blocks(s->changed, offset, len);
}

void
slot_mark(struct slot *s, uint32_t offset, uint32_t len)
{
    uint32_t end = offset + len;

    slot_change(s, offset, len);
    if (len == 0)
        return;
    /* The last block of a volume may be short; all of a block is stored. */
    if (end % VOLUME_BLOCK_BYTES != 0)
        memset(s->data + end, 0, VOLUME_BLOCK_BYTES - end % VOLUME_BLOCK_BYTES);
    set_blocks(s->marked, offset, len);
}

static uint64_t
marked_bytes(const struct slot *s)
{
    uint64_t blocks = 0;

    for (size_t i = 0; i < ARRAY_LEN(s->marked); i++)
        blocks += (uint64_t)__builtin_popcountll(s->marked[i]);
    return u64_min(blocks * VOLUME_BLOCK_BYTES, s->len);
}

/* Little of it was written to, but here and there, and elsewhere the next time:
 * soon all the memory of all slots would be in use. */
static void
forget_scattered(const struct volume_writer *v, struct slot *s)
{
    if (v->based && marked_bytes(s) < VOLUME_SLOT_BYTES / 8)
        mem_forget(s->data, VOLUME_SLOT_BYTES);
}

/* The base's node of this slot: 1 and both, 0 if it is null. */
static int
get_base(struct volume_writer *v, uint64_t index, uint8_t h[CAPABILITY_BYTES],
         struct fetched_node **out, struct err *e)
{
    struct fetch *f = backup_repo(v->backup)->fetch;
    uint64_t next = 0;

    memset(h, 0, CAPABILITY_BYTES);
    int rc = v->based ? descend(f, &v->base, 0, index, h, &next, e) : 0;
    if (rc == 1 && fetch_node(f, h, 0, out, e) == -1)
        rc = -1;
    return rc;
}

/* Read these blocks from the base: they are now as good as changed. */
static int
take_in(struct volume_writer *v, struct slot *s, const struct node *base,
        const uint64_t *wanted, struct err *e)
{
    if (slotread(backup_repo(v->backup)->fetch, base,
                 s->index * VOLUME_SLOT_BYTES, s->len, wanted, s->data,
                 e) == -1)
        return err_wrap(e, "what it is based on");
    for (size_t i = 0; i < ARRAY_LEN(s->marked); i++) {
        s->changed[i] |= wanted[i];
        s->marked[i] |= wanted[i];
    }
    return 0;
}

/* Which leaves the slot is to have.  What is taken in is never wanted again:
 * at most first the tiny ones, then the others. */
static int
splice(struct volume_writer *v, struct slot *s, const struct node *base,
       struct splice *out, struct err *e)
{
    uint64_t wanted[VOLUME_SLOT_BLOCKS / 64];

    if (!base) {
        splice_all(out, s, v->chunker, v->chunker_seed);
        return 0;
    }
    while (splice_keep(out, base, s, v->chunker, v->chunker_seed, e) == 0) {
        if (splice_judge(out, wanted) == SPLICE_GOOD)
            return 0;
        splice_done(out);
        if (take_in(v, s, base, wanted, e) == -1)
            return -1;
    }
    return -1;
}

/* Its new leaves, and the node of all. */
static int
store_splice(struct volume_writer *v, struct splice *c, struct sealer *sealer,
             uint8_t out_h[CAPABILITY_BYTES], struct err *e)
{
    CLEANUP(node_freep) struct node *n = NULL;
    CLEANUP(freep) uint8_t *room = xmalloc(OBJECT_PLAIN_MAX);

    memset(out_h, 0, CAPABILITY_BYTES);
    for (size_t i = c->first_new; i < c->n; i++)
        if (backup_store_leaf(v->backup, sealer, splice_data(c, i, room),
                              (size_t)c->leaves[i].blocks * VOLUME_BLOCK_BYTES,
                              c->leaves[i].h, e) == -1)
            return -1;
    if (splice_node(c, &n, e) == -1)
        return -1;
    return n->n_leaves == 0 ? 0
                            : backup_store_node(v->backup, sealer, n, out_h, e);
}

/* The leaves of a slot, and the node above them. */
static int
store_slot(struct volume_writer *v, struct slot *s, struct sealer *sealer,
           struct err *e)
{
    CLEANUP(splice_done) struct splice c = {0};
    uint8_t base_h[CAPABILITY_BYTES], h[CAPABILITY_BYTES];
    struct fetched_node *base = NULL;

    int rc = get_base(v, s->index, base_h, &base, e);
    if (rc != -1)
        rc = splice(v, s, base ? fetched_node(base) : NULL, &c, e);
    fetch_node_put(backup_repo(v->backup)->fetch, base);
    if (rc == 0)
        rc = store_splice(v, &c, sealer, h, e);
    if (rc == -1)
        return v->based ? err_wrap(e, "slot %llu", (unsigned long long)s->index)
                        : -1;
    if (memcmp(h, base_h, sizeof(h)) == 0)
        return 0;
    (void)pthread_mutex_lock(&v->lock);
    tree_list_add(&v->slots, s->index, h);
    (void)pthread_mutex_unlock(&v->lock);
    return 0;
}

static void
slot_job(struct slot *s)
{
    struct volume_writer *v = s->owner;
    struct backup_writer *b = v->backup;
    struct err e = {0};

    if (backup_check(b, &e) == 0) {
        struct seat *seat = backup_take_seat(b);
        sealer_set_dense(seat->sealer, v->dense);
        int rc = s->fill ? s->fill(s->fill_cookie, s, &e) : 0;
        if (rc == 0) {
            backup_count_read(b, marked_bytes(s));
            rc = store_slot(v, s, seat->sealer, &e);
        }
        if (rc == -1)
            (void)err_wrap(&e, "volume \"%s\"", v->name);
        backup_give_seat(b, seat);
    }
    if (e.code != ERR_OK)
        backup_fail(b, &e);
    forget_scattered(v, s);
    backup_give_slot(b, s);

    (void)pthread_mutex_lock(&v->lock);
    v->jobs--;
    (void)pthread_cond_broadcast(&v->done);
    (void)pthread_mutex_unlock(&v->lock);
}

void
volume_submit(struct volume_writer *v, struct slot *s)
{
    (void)pthread_mutex_lock(&v->lock);
    v->jobs++;
    (void)pthread_mutex_unlock(&v->lock);
    backup_run(v->backup, slot_job, s);
}

/* One slot a worker, and one for whoever is done first: more would only push
 * each other out of the caches. */
int
volume_fill(struct volume_writer *v, uint64_t index, volume_fill_fn *fn,
            void *cookie, struct err *e)
{
    struct slot *s = NULL;

    (void)pthread_mutex_lock(&v->lock);
    while (v->jobs > backup_threads(v->backup))
        (void)pthread_cond_wait(&v->done, &v->lock);
    (void)pthread_mutex_unlock(&v->lock);
    if (volume_slot(v, index, &s, e) == -1)
        return -1;
    s->fill = fn;
    s->fill_cookie = cookie;
    volume_submit(v, s);
    return 0;
}

void
volume_drop(struct volume_writer *v, struct slot *s)
{
    backup_give_slot(v->backup, s);
}

static void
wait_for_jobs(struct volume_writer *v)
{
    (void)pthread_mutex_lock(&v->lock);
    while (v->jobs > 0)
        (void)pthread_cond_wait(&v->done, &v->lock);
    (void)pthread_mutex_unlock(&v->lock);
}

struct storing {
    struct volume_writer *volume;
    struct sealer *sealer;
};

static int
store_node(void *cookie, struct node *n, uint8_t out_h[CAPABILITY_BYTES],
           struct err *e)
{
    struct storing *s = cookie;

    if (backup_check(s->volume->backup, e) == -1)
        return -1;
    return backup_store_node(s->volume->backup, s->sealer, n, out_h, e);
}

static int
base_children(void *cookie, uint8_t level, uint64_t index,
              uint8_t out[NODE_FANOUT][CAPABILITY_BYTES], struct err *e)
{
    struct volume_writer *v = ((struct storing *)cookie)->volume;
    struct fetch *f = backup_repo(v->backup)->fetch;
    struct fetched_node *fetched = NULL;
    uint8_t h[CAPABILITY_BYTES];
    uint64_t next = 0;

    int rc = descend(f, &v->base, level, index, h, &next, e);
    if (rc != 1)
        return rc;
    if (fetch_node(f, h, level, &fetched, e) == -1)
        return -1;
    const struct node *n = fetched_node(fetched);
    for (uint32_t i = 0; i < n->n; i++)
        memcpy(out[i], n->entries[i].h, CAPABILITY_BYTES);
    fetch_node_put(f, fetched);
    return 0;
}

static int
build(struct volume_writer *v, struct volume_root *out, struct err *e)
{
    struct volume_root root = {.size_bytes = v->size_bytes,
                               .levels = tree_levels(v->size_bytes),
                               .chunker = v->chunker};

    if (backup_check(v->backup, e) == -1)
        return -1;
    if (v->based && v->slots.n == 0) { /* nothing has changed */
        *out = v->base;
        return 0;
    }
    struct seat *seat = backup_take_seat(v->backup);
    struct storing s = {.volume = v, .sealer = seat->sealer};
    int rc = tree_build(&v->slots, root.levels, v->based ? base_children : NULL,
                        store_node, &s, root.h, e);
    backup_give_seat(v->backup, seat);
    if (rc == -1) {
        (void)err_wrap(e, "volume \"%s\"", v->name);
        backup_fail(v->backup, e);
        return -1;
    }
    backup_note_root(v->backup, root.h);
    *out = root;
    return 0;
}

void
volume_abandonp(struct volume_writer **vp)
{
    struct volume_writer *v = STEAL(*vp);

    if (!v)
        return;
    wait_for_jobs(v);
    backup_volume_ended(v->backup);
    tree_list_done(&v->slots);
    (void)pthread_cond_destroy(&v->done);
    (void)pthread_mutex_destroy(&v->lock);
    free(v->name);
    free(v);
}

int
volume_end(struct volume_writer **vp, struct volume_root *out, struct err *e)
{
    wait_for_jobs(*vp);
    int rc = build(*vp, out, e);
    volume_abandonp(vp);
    return rc;
}
