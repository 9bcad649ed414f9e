/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/packer.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/gidset.h"
#include "repo/index.h"
#include "repo/relied.h"
#include "repo/waiting.h"
#include "store/store.h"
#include "work/cancel.h"
#include "work/pool.h"
#include "work/queue.h"

struct packer {
    struct store *store;
    const struct keyring *keys;
    struct index *index;
    struct cancel *cancel;
    struct relied *relied; /* borrowed, or NULL */
    struct queue *full;    /* of struct pack; has room for all there are */
    struct thread *uploaders[PACKER_UPLOADERS];
    bool joined;

    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* a pack came back, or an upload failed */
    struct pack *open[PACK_KINDS];
    struct pack *idle[PACKER_MAX_PACKS];
    unsigned n_idle, n_packs;
    struct segment_builder *delta; /* the packs that are in the store */
    struct gidset recent;          /* claimed, not in the index yet */
    uint64_t stored_bytes;
    uint64_t sent_bytes, delta_bytes; /* packs in the store; in the delta */
    struct err err;                   /* the first failure */
};

static void
lock(struct packer *p)
{
    (void)pthread_mutex_lock(&p->lock);
}

static void
unlock(struct packer *p)
{
    (void)pthread_mutex_unlock(&p->lock);
}

static void
fail(struct packer *p, const struct err *e)
{
    lock(p);
    if (p->err.code == ERR_OK)
        p->err = *e;
    (void)pthread_cond_broadcast(&p->changed);
    unlock(p);
}

static int
publish(struct packer *p, struct segment_builder *delta, struct err *e)
{
    uint64_t bytes = 0;

    if (index_publish(p->index, delta, clock_wall_ns(), &bytes, e) == -1)
        return -1;
    lock(p);
    p->stored_bytes += bytes;
    for (size_t i = 0; i < segment_builder_entries(delta); i++)
        gidset_remove(&p->recent, segment_builder_gid(delta, i));
    unlock(p);
    return 0;
}

/* Is it time to publish what is in the delta? */
static bool
is_due_locked(const struct packer *p)
{
    return segment_builder_entries(p->delta) >= PACKER_DELTA_ENTRIES ||
           (p->delta_bytes >= PACKER_DELTA_BYTES &&
            p->delta_bytes >= p->sent_bytes / PACKER_DELTA_PART);
}

static int
upload(struct packer *p, struct pack *pack, struct err *e)
{
    CLEANUP(segment_builder_freep) struct segment_builder *delta = NULL;
    char name[NAME_MAX_LEN];

    lock(p);
    bool failed = p->err.code != ERR_OK;
    unlock(p);
    if (failed)
        return 0; /* nothing of this backup will be published */
    if (cancel_check(p->cancel, e) == -1)
        return -1;
    size_t objects_len = pack->objects_len;
    pack_seal(pack, p->keys);
    name_pack(pack->kind, pack->name, name);
    if (store_put_new(p->store, name, pack->bytes, pack->len, e) == -1)
        return err_wrap(e, "cannot store a pack");
    if (p->relied)
        relied_add_own(p->relied, pack);

    lock(p);
    p->stored_bytes += pack->len - objects_len;
    p->sent_bytes += pack->len;
    p->delta_bytes += pack->len;
    segment_builder_add(p->delta, pack);
    if (is_due_locked(p)) {
        delta = p->delta;
        p->delta_bytes = 0;
        p->delta = segment_builder_new();
    }
    unlock(p);
    return delta ? publish(p, delta, e) : 0;
}

static void
uploader(void *arg)
{
    struct packer *p = arg;
    struct pack *pack = NULL;

    while ((pack = queue_pop(p->full))) {
        struct err e = {0};
        if (upload(p, pack, &e) == -1)
            fail(p, &e);
        lock(p);
        p->idle[p->n_idle++] = pack;
        (void)pthread_cond_broadcast(&p->changed);
        unlock(p);
    }
}

struct packer *
packer_new(struct store *st, const struct keyring *k, struct index *x,
           struct cancel *cancel)
{
    struct packer *p = xcalloc(1, sizeof(*p));

    p->store = st;
    p->keys = k;
    p->index = x;
    p->cancel = cancel;
    p->full = queue_new(PACKER_MAX_PACKS);
    p->delta = segment_builder_new();
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    for (int i = 0; i < PACKER_UPLOADERS; i++)
        p->uploaders[i] = thread_start(uploader, p);
    return p;
}

void
packer_rely(struct packer *p, struct relied *r)
{
    p->relied = r;
}

static void
join(struct packer *p)
{
    if (p->joined)
        return;
    p->joined = true;
    queue_close(p->full);
    for (int i = 0; i < PACKER_UPLOADERS; i++)
        thread_join(p->uploaders[i]);
}

/* For those who come after one that gave up.  One more attempt at a storage
 * that has failed could take long; a raised cancel has cut that short. */
static void
publish_rest(struct packer *p)
{
    struct err ignored = {0};

    if (segment_builder_entries(p->delta) > 0 &&
        (p->err.code == ERR_CANCELED || cancel_raised(p->cancel)))
        (void)publish(p, p->delta, &ignored);
}

void
packer_free(struct packer *p)
{
    struct err given_up = {0};

    if (!p)
        return;
    (void)err_set(&given_up, ERR_CANCELED, "given up");
    fail(p, &given_up);
    join(p);
    publish_rest(p);
    for (int i = 0; i < PACK_KINDS; i++)
        pack_free(p->open[i]);
    for (unsigned i = 0; i < p->n_idle; i++)
        pack_free(p->idle[i]);
    segment_builder_free(p->delta);
    gidset_done(&p->recent);
    queue_free(p->full);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

bool
packer_has(struct packer *p, const uint8_t gid[GID_BYTES])
{
    lock(p);
    bool has = gidset_has(&p->recent, gid);
    unlock(p);
    return has;
}

bool
packer_claim(struct packer *p, const uint8_t gid[GID_BYTES])
{
    lock(p);
    bool first = gidset_add(&p->recent, gid);
    unlock(p);
    return first;
}

static void
close_locked(struct packer *p, enum pack_kind kind)
{
    struct pack *pack = STEAL(p->open[kind]);
    bool taken = queue_push(p->full, pack);

    assert(taken); /* closed only when nobody adds any more */
    (void)taken;
}

/* An open pack of this kind with room for `len` bytes. */
static int
open_locked(struct packer *p, enum pack_kind kind, size_t len, struct err *e)
{
    for (;;) {
        if (p->err.code != ERR_OK) {
            *e = p->err;
            return -1;
        }
        if (cancel_check(p->cancel, e) == -1)
            return -1;
        if (p->open[kind] && !pack_is_full(p->open[kind], len))
            return 0;
        if (p->open[kind])
            close_locked(p, kind);
        if (p->n_idle > 0)
            p->open[kind] = p->idle[--p->n_idle];
        else if (p->n_packs < PACKER_MAX_PACKS) {
            p->open[kind] = pack_new();
            p->n_packs++;
        } else {
            wait_a_while(&p->changed, &p->lock);
            continue;
        }
        pack_reset(p->open[kind], kind);
    }
}

int
packer_add(struct packer *p, enum pack_kind kind, enum object_type type,
           const uint8_t id[OBJECT_ID_BYTES], size_t plain_len,
           const uint8_t *sealed, size_t len, struct err *e)
{
    lock(p);
    int rc = open_locked(p, kind, len, e);
    uint64_t before = p->stored_bytes;
    if (rc == 0) {
        pack_add(p->open[kind], type, id, plain_len, sealed, len);
        p->stored_bytes += len;
    }
    unlock(p);
    if (rc == 0 && before < PACKER_EXPECT_BYTES &&
        before + len >= PACKER_EXPECT_BYTES)
        store_expect(p->store, PACKER_UPLOADERS);
    return rc;
}

int
packer_finish(struct packer *p, struct err *e)
{
    lock(p);
    for (int kind = 0; kind < PACK_KINDS; kind++)
        if (p->open[kind])
            close_locked(p, (enum pack_kind)kind);
    unlock(p);
    join(p);
    if (p->err.code != ERR_OK) { /* no other thread is left */
        *e = p->err;
        return -1;
    }
    if (cancel_check(p->cancel, e) == -1)
        return -1;
    if (segment_builder_entries(p->delta) > 0 &&
        publish(p, p->delta, e) == -1) {
        fail(p, e);
        return err_wrap(e, "cannot store the index");
    }
    segment_builder_free(p->delta);
    p->delta = segment_builder_new();
    return 0;
}

uint64_t
packer_stored_bytes(struct packer *p)
{
    lock(p);
    uint64_t bytes = p->stored_bytes;
    unlock(p);
    return bytes;
}
