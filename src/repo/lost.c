/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/lost.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/sign.h"
#include "repo/config.h"
#include "repo/format.h"
#include "repo/gidset.h"
#include "repo/keyring.h"
#include "store/store.h"

enum { ITEM_BYTES = 40 };

int
lost_pack(const struct lost_item *items, size_t n, int64_t now_ns,
          const uint8_t id[NAME_ID_BYTES], const struct keyring *k,
          struct buf *out, struct err *e)
{
    uint8_t signature[SIGN_BYTES];
    size_t start = out->len;

    assert(n > 0 && n <= LOST_MAX_ITEMS);
    if (!(k->has & KEY_MAINTENANCE))
        return err_set(e, ERR_KEY,
                       "this key may not put damaged objects out of use: that "
                       "takes the maintenance key");
    format_put_head(out, &FORMAT_LOST, k->domain);
    buf_add(out, id, NAME_ID_BYTES);
    buf_le64(out, (uint64_t)now_ns);
    buf_le32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        buf_u8(out, (uint8_t)items[i].kind);
        buf_zero(out, ITEM_BYTES - 1 - LOST_NAME_BYTES);
        buf_add(out, items[i].name, LOST_NAME_BYTES);
    }
    if (buf_check(out, "the record of what is lost", e) == -1)
        return -1;
    sign_make(k->maintenance_seed, out->p + start, out->len - start, signature);
    buf_add(out, signature, sizeof(signature));
    return buf_check(out, "the record of what is lost", e);
}

static int
get_items(struct cursor *c, struct lost_item *items, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t kind = cursor_u8(c);
        (void)cursor_bytes(c, ITEM_BYTES - 1 - LOST_NAME_BYTES);
        cursor_copy(c, items[i].name, LOST_NAME_BYTES);
        if (kind >= LOST_KINDS)
            return err_set(e, ERR_UNSUP,
                           "it names something of kind %u, which this vmkeep "
                           "does not know; use a newer vmkeep",
                           kind);
        if (bytes_are_zero(items[i].name, NAME_ID_BYTES))
            return err_set(e, ERR_CORRUPT, "it names nothing");
        items[i].kind = (enum lost_kind)kind;
    }
    return 0;
}

int
lost_unpack(const void *p, size_t len, const uint8_t id[NAME_ID_BYTES],
            const struct config *config, struct lost_item **out, size_t *out_n,
            struct err *e)
{
    const struct config_key *key = config_key(config, ROLE_MAINTENANCE, 0);
    struct cursor c = cursor_of(p, len);
    uint8_t own[NAME_ID_BYTES];
    uint16_t domain = 0;
    void *mem = NULL;

    if (format_get_head(&c, &FORMAT_LOST, &domain, e) == -1)
        return -1;
    cursor_copy(&c, own, sizeof(own));
    (void)cursor_le64(&c);
    uint32_t n = cursor_le32(&c);
    if (n == 0 || n > LOST_MAX_ITEMS ||
        cursor_left(&c) != (size_t)n * ITEM_BYTES + SIGN_BYTES)
        return err_set(e, ERR_CORRUPT, "it has %zu bytes for %u items", len, n);
    if (!key || !sign_check(key->public, p, len - SIGN_BYTES,
                            (const uint8_t *)p + len - SIGN_BYTES))
        return err_set(e, ERR_CORRUPT, "its signature is wrong");
    if (memcmp(own, id, sizeof(own)) != 0)
        return err_set(e, ERR_CORRUPT, "it is not the record of this name");
    if (mem_try(n * sizeof((*out)[0]), "a record of what is lost", &mem, e) ==
        -1)
        return -1;
    CLEANUP(freep) struct lost_item *items = mem;
    if (get_items(&c, items, n, e) == -1)
        return -1;
    *out = STEAL(items);
    *out_n = n;
    return 0;
}

/* ---- all of a repository --------------------------------------------- */

struct lost {
    struct store *store;
    const struct config *config;
    pthread_mutex_t refreshing;      /* taken before `lock` */
    pthread_mutex_t lock;            /* guards all below */
    struct gidset loaded;            /* records, by id */
    struct gidset items[LOST_KINDS]; /* by the front of their names */
};

struct lost *
lost_new(struct store *st, const struct config *config)
{
    struct lost *l = xcalloc(1, sizeof(*l));

    l->store = st;
    l->config = config;
    (void)pthread_mutex_init(&l->refreshing, NULL);
    (void)pthread_mutex_init(&l->lock, NULL);
    return l;
}

void
lost_free(struct lost *l)
{
    if (!l)
        return;
    gidset_done(&l->loaded);
    for (int i = 0; i < LOST_KINDS; i++)
        gidset_done(&l->items[i]);
    (void)pthread_mutex_destroy(&l->lock);
    (void)pthread_mutex_destroy(&l->refreshing);
    free(l);
}

static void
add(struct lost *l, const uint8_t id[NAME_ID_BYTES],
    const struct lost_item *items, size_t n)
{
    (void)pthread_mutex_lock(&l->lock);
    if (!bytes_are_zero(id, NAME_ID_BYTES))
        (void)gidset_add(&l->loaded, id);
    for (size_t i = 0; i < n; i++)
        (void)gidset_add(&l->items[items[i].kind], items[i].name);
    (void)pthread_mutex_unlock(&l->lock);
}

struct record_names {
    struct lost *lost;
    char (*names)[NAME_MAX_LEN];
    size_t n, room;
};

static void
record_names_done(struct record_names *r)
{
    free(r->names);
}

static int
note(void *cookie, const char *name, const struct store_stat *stat,
     struct err *e)
{
    struct record_names *r = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    (void)stat;
    (void)e;
    if (!name_parse_lost(name, &time_ns, id))
        return 0;
    (void)pthread_mutex_lock(&r->lost->lock);
    bool known = gidset_has(&r->lost->loaded, id);
    (void)pthread_mutex_unlock(&r->lost->lock);
    if (known)
        return 0;
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        r->names = xrealloc(r->names, r->room * sizeof(r->names[0]));
    }
    (void)snprintf(r->names[r->n++], sizeof(r->names[0]), "%s", name);
    return 0;
}

static int
load(struct lost *l, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(LOST_MAX_BYTES);
    CLEANUP(freep) struct lost_item *items = NULL;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;
    size_t n = 0;

    (void)name_parse_lost(name, &time_ns, id);
    if (store_get_all(l->store, name, &bytes, e) == 0 &&
        lost_unpack(bytes.p, bytes.len, id, l->config, &items, &n, e) == 0) {
        add(l, id, items, n);
        return 0;
    }
    (void)err_wrap(e, "%s", name);
    if (e->code != ERR_CORRUPT && e->code != ERR_LIMIT && e->code != ERR_NOENT)
        return -1;
    err_clear(e);
    return 0;
}

int
lost_refresh(struct lost *l, struct err *e)
{
    CLEANUP(record_names_done) struct record_names r = {.lost = l};

    (void)pthread_mutex_lock(&l->refreshing);
    int rc = store_list(l->store, "lost/", note, &r, e);
    if (rc == -1)
        (void)err_wrap(e, "cannot list what is lost");
    for (size_t i = 0; i < r.n && rc == 0; i++)
        rc = load(l, r.names[i], e);
    (void)pthread_mutex_unlock(&l->refreshing);
    return rc;
}

bool
lost_has(struct lost *l, enum lost_kind kind, const uint8_t *name)
{
    (void)pthread_mutex_lock(&l->lock);
    bool has = gidset_has(&l->items[kind], name);
    (void)pthread_mutex_unlock(&l->lock);
    return has;
}

bool
lost_any_pack(struct lost *l)
{
    (void)pthread_mutex_lock(&l->lock);
    bool any = l->items[LOST_DATA_PACK].n > 0 || l->items[LOST_META_PACK].n > 0;
    (void)pthread_mutex_unlock(&l->lock);
    return any;
}

static int
publish_one(struct lost *l, const struct lost_item *items, size_t n,
            const struct keyring *k, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(LOST_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES];
    char name[NAME_MAX_LEN];
    int64_t now_ns = clock_wall_ns();

    rand_bytes(id, sizeof(id));
    name_lost(now_ns, id, name);
    if (lost_pack(items, n, now_ns, id, k, &bytes, e) == -1 ||
        store_put(l->store, name, bytes.p, bytes.len, e) == -1)
        return err_wrap(e, "cannot record what is lost");
    add(l, id, items, n);
    return 0;
}

int
lost_publish(struct lost *l, const struct lost_item *items, size_t n,
             const struct keyring *k, struct err *e)
{
    for (size_t i = 0; i < n; i += LOST_MAX_ITEMS) {
        size_t some = u64_min(n - i, LOST_MAX_ITEMS);
        if (publish_one(l, items + i, some, k, e) == -1)
            return -1;
    }
    return 0;
}
