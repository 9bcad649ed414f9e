/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping what a backup builds upon when maintenance has condemned it: it is
 * still there, so it is copied as it is, sealed, to packs of the backup's own
 * (docs/design/repository.md, "The writer's protocol").
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/packer.h"
#include "repo/packfront.h"
#include "repo/relied.h"
#include "repo/repo_internal.h"
#include "repo/sync.h"
#include "repo/walk.h"

struct rescue {
    struct repo *repo;
    struct relied *relied;
    struct sync *sync;
    struct packer *packer;
    bool all; /* of the pack at hand */
};

static void
packer_freep(struct packer **p)
{
    packer_free(*p);
}

static bool
is_condemned(void *cookie, const uint8_t name[PACK_NAME_BYTES])
{
    struct rescue *r = cookie;

    return sync_condemned(r->sync, name);
}

/* Relies on another place of the object, if there is a good one. */
static bool
is_elsewhere(struct rescue *r, const uint8_t gid[GID_BYTES])
{
    CLEANUP(freep) struct location *at = NULL;
    size_t n = index_find_all(r->repo->index, gid, &at);

    for (size_t i = 0; i < n; i++)
        if (!sync_condemned(r->sync, at[i].pack)) {
            relied_add(r->relied, &at[i], gid);
            return true;
        }
    return false;
}

static bool
wants(void *cookie, const struct pack_entry *entry)
{
    struct rescue *r = cookie;

    if (!r->all && !relied_may_need(r->relied, entry->id))
        return false;
    return !is_elsewhere(r, entry->id) && packer_claim(r->packer, entry->id);
}

int
rescue_condemned(struct repo *repo, struct relied *relied, struct sync *sync,
                 struct cancel *cancel, struct err *e)
{
    struct rescue r = {.repo = repo, .relied = relied, .sync = sync};
    CLEANUP(packer_freep) struct packer *packer = NULL;
    struct relied_pack pack;
    uint64_t copied = 0;

    while (relied_take(relied, is_condemned, &r, &pack) == 1) {
        if (!packer) {
            packer = packer_new(repo->store, &repo->keys, repo->index, cancel);
            packer_rely(packer, relied);
            r.packer = packer;
        }
        r.all = pack.own;
        if (packfront_copy(repo->store, pack.kind, pack.name, pack.bytes,
                           &repo->keys, wants, &r, packer, &copied, e) == -1) {
            if (e->code == ERR_NOENT)
                e->code = ERR_STORE;
            (void)err_wrap(e, "cannot save what is condemned");
            return err_hint(e, "run the backup again");
        }
    }
    if (!packer)
        return 0;
    return packer_finish(packer, e) == -1 ? -1 : copied > 0;
}

/* ---- what was taken over --------------------------------------------- */

static int
locate(void *cookie, const uint8_t gid[GID_BYTES],
       struct location out[INDEX_MAX_LOCATIONS], struct err *e)
{
    struct rescue *r = cookie;
    CLEANUP(freep) struct location *all = NULL;
    size_t found = index_find_all(r->repo->index, gid, &all), n = 0;

    (void)e;
    /* What is condemned may be gone: last. */
    for (int condemned = 0; condemned < 2; condemned++)
        for (size_t i = 0; i < found && n < INDEX_MAX_LOCATIONS; i++)
            if (sync_condemned(r->sync, all[i].pack) == (condemned == 1))
                out[n++] = all[i];
    return (int)n;
}

static int
rely_on(struct rescue *r, const uint8_t gid[GID_BYTES], struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    char hex[2 * GID_BYTES + 1];

    if (is_elsewhere(r, gid))
        return 0;
    if (index_find(r->repo->index, gid, at) > 0) {
        relied_add(r->relied, &at[0], gid); /* condemned: to be rescued */
        return 0;
    }
    hex_encode(gid, GID_BYTES, hex);
    (void)err_set(e, ERR_STORE, "object %s, which it takes over, is gone", hex);
    return err_hint(e, "run the backup again, reading everything");
}

static int
add_root(void *cookie, uint8_t level, const uint8_t gid[GID_BYTES],
         const struct location *at, struct err *e)
{
    (void)at;
    return walk_add_root(cookie, level, gid, e);
}

int
rescue_rely_on_all(struct repo *repo, const struct manifest *m,
                   struct relied *relied, struct sync *sync,
                   struct cancel *cancel, struct err *e)
{
    struct rescue r = {.repo = repo, .relied = relied, .sync = sync};
    CLEANUP(walk_freep)
    struct walk *w = walk_new(repo->store, &repo->keys, locate, &r, cancel);

    if (publish_each_root(repo, m, add_root, w, e) == -1)
        return -1;
    if (walk_run(w, e) == -1)
        return err_wrap(e, "cannot look at the volumes that it takes over");
    struct gidnum *found = walk_found(w);
    for (size_t i = 0; i < found->room; i++)
        if (!bytes_are_zero(found->slots[i], GID_BYTES) &&
            rely_on(&r, found->slots[i], e) == -1)
            return -1;
    return 0;
}
