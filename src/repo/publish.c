/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a backup one whose objects are all stored: the last step
 * (docs/design/repository.md, "The way in").
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/ref.h"
#include "repo/relied.h"
#include "repo/repo_internal.h"
#include "repo/sync.h"
#include "store/store.h"
#include "work/cancel.h"

/* The ids that keep the volumes' objects alive; all must be in the index, and
 * their packs in the store. */
static int
find_roots(struct repo *r, const struct manifest *m, struct relied *relied,
           struct ref_root *out, size_t *out_n, struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    struct object_name name;

    *out_n = 0;
    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct volume_root *root = &m->volumes[i].root;
        if (bytes_are_zero(root->h, sizeof(root->h)))
            continue;
        object_name_of(root->h, &name);
        if (index_find(r->index, name.id, at) == 0)
            return err_set(e, ERR_USAGE,
                           "volume \"%s\" is not in this repository",
                           m->volumes[i].name);
        if (!relied_may_need(relied, name.id))
            relied_add(relied, &at[0], name.id);
        struct ref_root *ref = &out[(*out_n)++];
        ref->level = root->levels;
        memcpy(ref->gid, name.id, GID_BYTES);
    }
    return 0;
}

struct newest {
    char name[NAME_MAX_LEN];
};

static int
note_newest(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct newest *n = cookie;
    struct ref_name parsed;

    (void)stat;
    (void)e;
    if (name_parse_ref(name, &parsed) && strcmp(name, n->name) > 0)
        memcpy(n->name, name, strlen(name) + 1);
    return 0;
}

/* The machine's last ref, so that one that the store hides is missed. */
static int
hash_previous(struct repo *r, struct ref_head *head, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    struct newest newest = {0};
    char prefix[NAME_MAX_LEN];

    name_ref(&head->name, prefix);
    strrchr(prefix, '/')[1] = '\0';
    if (store_list(r->store, prefix, note_newest, &newest, e) == -1)
        return -1;
    if (!newest.name[0])
        return 0;
    if (store_get_all(r->store, newest.name, &bytes, e) == -1)
        return -1;
    hash_sha256(bytes.p, bytes.len, head->previous);
    return 0;
}

int
publish_backup(struct repo *r, const struct manifest *m, struct relied *relied,
               const struct sync *sync, struct cancel *cancel, struct err *e)
{
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(buf_done) struct buf ref = buf_of(REF_MAX_BYTES);
    CLEANUP(freep)
    struct ref_root *roots = xcalloc(m->n_volumes, sizeof(roots[0]));
    struct ref_head head = {.name = {.ns = r->keys.ns, .time_ns = m->time_ns},
                            .writer = r->keys.writer,
                            .sync_ns = sync_time_ns(sync)};
    const uint8_t *base = sync_base(sync);
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];
    size_t n_roots = 0;

    if (!hex_decode(m->id, head.name.id, NAME_ID_BYTES) || m->time_ns < 0)
        return err_set(e, ERR_USAGE, "the backup has no proper id or time");
    if (base)
        memcpy(head.base, base, sizeof(head.base));
    machine_tag(&r->keys, m->uuid[0] ? m->uuid : m->machine, head.name.machine);
    if (manifest_pack(m, &body, e) == -1 ||
        find_roots(r, m, relied, roots, &n_roots, e) == -1 ||
        hash_previous(r, &head, e) == -1 ||
        ref_pack(&head, roots, n_roots, body.p, body.len, &r->keys, &r->config,
                 &ref, e) == -1 ||
        relied_check(relied, r->store, e) == -1 ||
        cancel_check(cancel, e) == -1)
        return -1;
    name_ref(&head.name, name);
    if (store_put(r->store, name, ref.p, ref.len, e) == -1)
        return -1;
    int there = store_stat(r->store, name, &stat, e);
    if (there == 0)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", name);
    if (there == -1)
        return -1;
    return !sync_is_late(&r->config, head.sync_ns, stat.mtime_ns);
}
