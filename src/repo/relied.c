/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/relied.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/gidnum.h"
#include "store/store.h"
#include "store/store_together.h"

/* More packs than that are looked for by one listing. */
enum { ASK_ONE_BY_ONE = 64 };

/* A Bloom filter that grows by pieces, each four times as big as the one
 * before: 12 bits an object, 6 of them set. */
enum {
    PIECE_MIN_BYTES = 32 << 10,
    PIECE_MAX_BYTES = 2 << 20,
    BLOCK_BYTES = 64,
    PROBES = 6
};

struct piece {
    struct piece *next; /* older, and full */
    size_t n, bytes;
    uint8_t bits[];
};

struct relied {
    pthread_mutex_t lock; /* guards all below */
    struct gidnum where;  /* in `packs`, by the front of their names */
    struct relied_pack *packs;
    size_t n, room;
    struct piece *pieces;
};

struct relied *
relied_new(void)
{
    struct relied *r = xcalloc(1, sizeof(*r));

    (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

void
relied_free(struct relied *r)
{
    if (!r)
        return;
    while (r->pieces) {
        struct piece *p = r->pieces;
        r->pieces = p->next;
        free(p);
    }
    gidnum_done(&r->where);
    free(r->packs);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- objects --------------------------------------------------------- */

static bool
piece_has(const struct piece *p, const uint8_t gid[GID_BYTES])
{
    const uint8_t *block = p->bits + get_le32(gid + 8) %
                                         (p->bytes / BLOCK_BYTES) *
                                         (size_t)BLOCK_BYTES;

    for (unsigned i = 0; i < PROBES; i++) {
        unsigned bit = get_le64(gid) >> (9 * i) & 511;
        if (!(block[bit / 8] >> (bit % 8) & 1))
            return false;
    }
    return true;
}

static bool
may_need_locked(const struct relied *r, const uint8_t gid[GID_BYTES])
{
    for (const struct piece *p = r->pieces; p; p = p->next)
        if (piece_has(p, gid))
            return true;
    return false;
}

static void
add_piece(struct relied *r)
{
    size_t bytes = r->pieces ? u64_min(4 * r->pieces->bytes, PIECE_MAX_BYTES)
                             : (size_t)PIECE_MIN_BYTES;
    struct piece *fresh = xcalloc(1, sizeof(*fresh) + bytes);

    fresh->bytes = bytes;
    fresh->next = r->pieces;
    r->pieces = fresh;
}

static void
note_object(struct relied *r, const uint8_t gid[GID_BYTES])
{
    if (may_need_locked(r, gid))
        return;
    if (!r->pieces || r->pieces->n == r->pieces->bytes / 12 * 8)
        add_piece(r);
    struct piece *p = r->pieces;
    uint8_t *block = p->bits + get_le32(gid + 8) % (p->bytes / BLOCK_BYTES) *
                                   (size_t)BLOCK_BYTES;
    for (unsigned i = 0; i < PROBES; i++) {
        unsigned bit = get_le64(gid) >> (9 * i) & 511;
        block[bit / 8] |= (uint8_t)(1U << (bit % 8));
    }
    p->n++;
}

bool
relied_may_need(struct relied *r, const uint8_t gid[GID_BYTES])
{
    (void)pthread_mutex_lock(&r->lock);
    bool may = may_need_locked(r, gid);
    (void)pthread_mutex_unlock(&r->lock);
    return may;
}

/* ---- packs ----------------------------------------------------------- */

static struct relied_pack *
note_pack(struct relied *r, const uint8_t name[PACK_NAME_BYTES],
          enum pack_kind kind, uint32_t bytes)
{
    if (gidnum_add(&r->where, name, (uint32_t)r->n)) {
        if (r->n == r->room) {
            r->room = r->room ? 2 * r->room : 64;
            r->packs = xrealloc(r->packs, r->room * sizeof(r->packs[0]));
        }
        struct relied_pack *p = &r->packs[r->n++];
        *p = (struct relied_pack){.kind = kind, .bytes = bytes};
        memcpy(p->name, name, PACK_NAME_BYTES);
    }
    struct relied_pack *p = &r->packs[*gidnum_find(&r->where, name)];
    p->given = false;
    return p;
}

void
relied_add(struct relied *r, const struct location *at,
           const uint8_t gid[GID_BYTES])
{
    (void)pthread_mutex_lock(&r->lock);
    (void)note_pack(r, at->pack, at->kind, at->pack_bytes);
    note_object(r, gid);
    (void)pthread_mutex_unlock(&r->lock);
}

void
relied_add_own(struct relied *r, const struct pack *pack)
{
    (void)pthread_mutex_lock(&r->lock);
    note_pack(r, pack->name, pack->kind, (uint32_t)pack->len)->own = true;
    (void)pthread_mutex_unlock(&r->lock);
}

size_t
relied_packs(struct relied *r)
{
    size_t n = 0;

    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n; i++)
        n += !r->packs[i].given;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}

int
relied_take(struct relied *r, relied_pick_fn *pick, void *cookie,
            struct relied_pack *out)
{
    int found = 0;

    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n && !found; i++)
        if (!r->packs[i].given && pick(cookie, r->packs[i].name)) {
            *out = r->packs[i];
            r->packs[i].given = true;
            found = 1;
        }
    (void)pthread_mutex_unlock(&r->lock);
    return found;
}

/* ---- are they still there? ------------------------------------------- */

static int
note_listed(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct relied *r = cookie;
    uint8_t sum[PACK_NAME_BYTES];
    enum pack_kind kind;

    (void)e;
    if (!name_parse_pack(name, &kind, sum))
        return 0;
    const uint32_t *at = gidnum_find(&r->where, sum);
    struct relied_pack *p = at ? &r->packs[*at] : NULL;
    if (p && memcmp(p->name, sum, sizeof(sum)) == 0 && p->kind == kind &&
        p->bytes == stat->size_bytes)
        p->found = true;
    return 0;
}

struct asked {
    struct store *store;
    struct relied_pack *pack;
};

/* ERR_NOENT if it is not there, and nobody need ask for others. */
static int
ask(void *arg, struct err *e)
{
    const struct asked *a = arg;
    struct relied_pack *p = a->pack;
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];

    if (p->found || p->given)
        return 0;
    name_pack(p->kind, p->name, name);
    int rc = store_stat(a->store, name, &stat, e);
    if (rc == -1)
        return -1;
    p->found = rc == 1 && stat.size_bytes == p->bytes;
    return p->found ? 0 : err_set(e, ERR_NOENT, "%s is gone", name);
}

static int
look(struct relied *r, struct store *st, struct err *e)
{
    struct store_job jobs[STORE_TOGETHER_MAX];
    struct asked asked[STORE_TOGETHER_MAX];
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        r->packs[i].found = false;
    if (r->n > ASK_ONE_BY_ONE &&
        store_list(st, "packs/", note_listed, r, e) == -1)
        return -1;
    /* What was stored just now may be in no listing yet. */
    for (size_t i = 0; i < r->n; i += n) {
        n = 0;
        for (; n < STORE_TOGETHER_MAX && i + n < r->n; n++) {
            asked[n] = (struct asked){st, &r->packs[i + n]};
            jobs[n] = (struct store_job){.fn = ask, .arg = &asked[n]};
        }
        if (store_together(st, jobs, n, e) == -1) {
            if (e->code != ERR_NOENT)
                return -1;
            err_clear(e); /* it is told with the others */
            return 0;
        }
    }
    return 0;
}

int
relied_check(struct relied *r, struct store *st, struct err *e)
{
    char name[NAME_MAX_LEN];

    (void)pthread_mutex_lock(&r->lock);
    int rc = look(r, st, e);
    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        if (r->packs[i].found || r->packs[i].given)
            continue;
        name_pack(r->packs[i].kind, r->packs[i].name, name);
        (void)err_set(e, ERR_STORE,
                      "%s, which holds data of this backup, is gone from the "
                      "storage",
                      name);
        rc = err_hint(e, "run the backup again, and if that fails as well "
                         "\"vmkeep repair\" before: then what was lost is "
                         "stored again");
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}
