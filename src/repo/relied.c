/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/relied.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "repo/gidset.h"
#include "store/store.h"

/* More packs than that are looked for by one listing. */
enum { ASK_ONE_BY_ONE = 64 };

struct relied_pack {
    uint8_t name[PACK_NAME_BYTES]; /* first: they are sorted by it */
    enum pack_kind kind;
    uint32_t bytes;
    bool found;
};

struct relied {
    pthread_mutex_t lock; /* guards all below */
    struct gidset seen;   /* by the front of their names */
    struct relied_pack *packs;
    size_t n, room;
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
    gidset_done(&r->seen);
    free(r->packs);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

void
relied_add(struct relied *r, const struct location *at)
{
    (void)pthread_mutex_lock(&r->lock);
    if (gidset_add(&r->seen, at->pack)) {
        if (r->n == r->room) {
            r->room = r->room ? 2 * r->room : 64;
            r->packs = xrealloc(r->packs, r->room * sizeof(r->packs[0]));
        }
        struct relied_pack *p = &r->packs[r->n++];
        *p = (struct relied_pack){.kind = at->kind, .bytes = at->pack_bytes};
        memcpy(p->name, at->pack, PACK_NAME_BYTES);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

size_t
relied_packs(struct relied *r)
{
    (void)pthread_mutex_lock(&r->lock);
    size_t n = r->n;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, PACK_NAME_BYTES);
}

static int
note_pack(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct relied *r = cookie;
    struct relied_pack key;

    (void)e;
    if (!name_parse_pack(name, &key.kind, key.name))
        return 0;
    struct relied_pack *p =
        bsearch(&key, r->packs, r->n, sizeof(r->packs[0]), by_name);
    if (p && p->kind == key.kind && p->bytes == stat->size_bytes)
        p->found = true;
    return 0;
}

static int
look(struct relied *r, struct store *st, struct err *e)
{
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];

    if (r->n > ASK_ONE_BY_ONE) {
        qsort(r->packs, r->n, sizeof(r->packs[0]), by_name);
        return store_list(st, "packs/", note_pack, r, e);
    }
    for (size_t i = 0; i < r->n; i++) {
        struct relied_pack *p = &r->packs[i];
        name_pack(p->kind, p->name, name);
        int rc = store_stat(st, name, &stat, e);
        if (rc == -1)
            return -1;
        p->found = rc == 1 && stat.size_bytes == p->bytes;
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
        if (r->packs[i].found)
            continue;
        name_pack(r->packs[i].kind, r->packs[i].name, name);
        (void)err_set(e, ERR_STORE,
                      "%s, which holds data of this backup, is gone from the "
                      "storage",
                      name);
        rc = err_hint(e, "run \"vmkeep check\", then the backup again");
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}
