/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and refs, for checker.h. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "repo/bundle.h"
#include "repo/lost.h"
#include "repo/manifest_format.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "repo/sync.h"
#include "store/store.h"

/* ---- keys, and records of what is lost ------------------------------- */

static int
check_key(struct scan *s, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    struct bundle_info info = {0};
    uint8_t sum[HASH_BYTES];
    char own[NAME_MAX_LEN];

    if (store_get_all(s->repo->store, name, &bytes, e) == -1)
        return -1;
    hash_sha256(bytes.p, bytes.len, sum);
    name_key(sum, own);
    if (strcmp(own, name) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the key bundle's bytes are not those that it is named "
                       "by");
    return bundle_info(bytes.p, bytes.len, &info, e);
}

static int
check_record(struct scan *s, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(LOST_MAX_BYTES);
    CLEANUP(freep) struct lost_item *items = NULL;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;
    size_t n = 0;

    if (store_get_all(s->repo->store, name, &bytes, e) == -1)
        return -1;
    if (!name_parse_lost(name, &time_ns, id))
        return err_set(e, ERR_CORRUPT, "its name is none");
    if (lost_unpack(bytes.p, bytes.len, id, &s->repo->config, &items, &n, e) ==
        -1)
        return -1;
    s->result->quarantined += n;
    return 0;
}

static int
check_each(struct scan *s, const struct inventory_list *l, enum check_what what,
           int (*fn)(struct scan *s, const char *name, struct err *e),
           struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *name = l->objects[i].name;
        struct err why = {0};
        if (fn(s, name, &why) == -1 && why.code != ERR_NOENT) {
            scan_store_error(s, &why);
            scan_fault(s, &(struct check_fault){
                              .what = what, .name = name, .why = why.msg});
        }
        if (scan_tell(s, "keys", e) == -1)
            return -1;
    }
    return 0;
}

int
scan_keys(struct scan *s, struct err *e)
{
    if (check_each(s, &s->inventory.keys, CHECK_KEY, check_key, e) == -1)
        return -1;
    return check_each(s, &s->inventory.lost, CHECK_RECORD, check_record, e);
}

/* ---- refs ------------------------------------------------------------ */

/* What of a ref is needed for the chain, and to tell whose it is. */
struct link {
    struct ref_name name;
    uint8_t sum[HASH_BYTES], previous[HASH_BYTES];
    bool readable;
};

/* The roots that maintenance sees must be those of the volumes, or it would
 * collect what is needed. */
static int
compare_roots(const struct manifest *m, const struct ref_root *roots, size_t n,
              struct err *e)
{
    struct object_name name;
    size_t at = 0;

    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct volume_root *root = &m->volumes[i].root;
        if (bytes_are_zero(root->h, sizeof(root->h)))
            continue;
        object_name_of(root->h, &name);
        if (at == n || memcmp(roots[at].gid, name.id, GID_BYTES) != 0 ||
            roots[at].level != root->levels)
            return err_set(e, ERR_CORRUPT,
                           "its list of roots, which keeps it from being "
                           "collected, is not that of its volumes");
        at++;
    }
    return at == n ? 0
                   : err_set(e, ERR_CORRUPT,
                             "its list of roots has more than its volumes");
}

static void
keep_roots(struct scan_backup *b, const struct ref_root *roots, size_t n)
{
    b->roots = xcalloc(n, GID_BYTES);
    for (size_t i = 0; i < n; i++)
        memcpy(b->roots[i], roots[i].gid, GID_BYTES);
    b->n_roots = n;
}

/* The volumes and the machine, moved out of a manifest. */
static void
keep_volumes(struct scan_backup *b, struct manifest *m)
{
    b->volumes = STEAL(m->volumes);
    b->n_volumes = m->n_volumes;
    m->n_volumes = 0;
    b->machine = STEAL(m->machine);
}

static int
open_body(struct scan *s, const struct buf *bytes, const struct ref_name *name,
          const struct ref_root *roots, size_t n_roots, struct scan_backup *b,
          struct err *e)
{
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    uint8_t id[NAME_ID_BYTES];

    if (ref_open_body(bytes->p, bytes->len, &s->repo->keys, &body, e) == -1) {
        if (e->code != ERR_KEY)
            return -1;
        err_clear(e);
        keep_roots(b, roots, n_roots);
        s->result->backups_closed++;
        return 0;
    }
    if (manifest_unpack(body.p, body.len, &m, e) == -1)
        return -1;
    if (!hex_decode(m->id, id, sizeof(id)) ||
        memcmp(id, name->id, sizeof(id)) != 0 || m->time_ns != name->time_ns)
        return err_set(e, ERR_CORRUPT, "its manifest is of another backup");
    if (compare_roots(m, roots, n_roots, e) == -1)
        return -1;
    keep_volumes(b, m);
    return 0;
}

static int
read_ref(struct scan *s, const char *name, int64_t stored_ns, struct link *link,
         struct scan_backup *b, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(freep) struct ref_root *roots = NULL;
    struct ref_head head = {0};
    size_t n = 0;

    if (store_get_all(s->repo->store, name, &bytes, e) == -1)
        return -1;
    hash_sha256(bytes.p, bytes.len, link->sum);
    if (ref_open_head(bytes.p, bytes.len, name, &s->repo->config, &head, e) ==
        -1)
        return -1;
    memcpy(link->previous, head.previous, sizeof(link->previous));
    link->readable = b->readable = true;
    b->late = sync_is_late(&s->repo->config, head.sync_ns, stored_ns);
    b->retired_ns = scan_retired_ns(s, &link->name);
    if (ref_open_roots(bytes.p, bytes.len, &s->repo->keys, &roots, &n, e) == -1)
        return -1;
    return open_body(s, &bytes, &head.name, roots, n, b, e);
}

static bool
same_machine(const struct ref_name *a, const struct ref_name *b)
{
    return a->ns == b->ns &&
           memcmp(a->machine, b->machine, sizeof(a->machine)) == 0;
}

/*
 * Is the ref that `l` names as its previous there?  One that is damaged may be
 * it, and has been told already.
 */
static bool
has_previous(const struct link *links, size_t n, const struct link *l)
{
    if (!l->readable || bytes_are_zero(l->previous, HASH_BYTES))
        return true;
    for (size_t i = 0; i < n; i++)
        if (same_machine(&links[i].name, &l->name) &&
            (!links[i].readable ||
             memcmp(links[i].sum, l->previous, HASH_BYTES) == 0))
            return true;
    return false;
}

static void
tell_hidden(struct scan *s, size_t i, const struct link *l)
{
    const struct inventory_object *ref = &s->inventory.refs.objects[i];
    int retired = scan_was_retired(s, &l->name, ref->stored_ns);

    if (retired == 1)
        return;
    scan_fault(s, &(struct check_fault){
                      .what = CHECK_HIDDEN,
                      .name = ref->name,
                      .backup = s->backups[i].id,
                      .machine = s->backups[i].machine,
                      .is_note = retired == -1,
                      .why = retired == -1
                                 ? "the backup of this machine that was made "
                                   "before it is not there; maintenance may "
                                   "have removed it"
                                 : "the backup of this machine that was made "
                                   "before it is not there: the storage has "
                                   "lost it, hides it, or somebody removed "
                                   "it"});
}

/* Those of a machine are next to each other, as they are sorted by name. */
static void
check_chains(struct scan *s, const struct link *links, size_t n)
{
    for (size_t from = 0, to = 0; from < n; from = to) {
        while (to < n && same_machine(&links[from].name, &links[to].name))
            to++;
        for (size_t i = from; i < to; i++)
            if (!has_previous(links + from, to - from, &links[i]))
                tell_hidden(s, i, &links[i]);
    }
}

int
scan_refs(struct scan *s, struct err *e)
{
    const struct inventory_list *l = &s->inventory.refs;
    CLEANUP(freep) struct link *links = xcalloc(l->n, sizeof(links[0]));

    s->backups = xcalloc(l->n, sizeof(s->backups[0]));
    s->n_backups = l->n;
    s->broken_refs = xcalloc(l->n, NAME_ID_BYTES);
    for (size_t i = 0; i < l->n; i++) {
        struct scan_backup *b = &s->backups[i];
        const char *name = l->objects[i].name;
        struct err why = {0};
        (void)name_parse_ref(name, &links[i].name);
        hex_encode(links[i].name.id, NAME_ID_BYTES, b->id);
        memcpy(b->ref, name, sizeof(b->ref));
        if (lost_has(s->repo->lost, LOST_REF, links[i].name.id))
            continue;
        s->result->backups++;
        if (read_ref(s, name, l->objects[i].stored_ns, &links[i], b, &why) ==
                -1 &&
            why.code != ERR_NOENT) {
            scan_store_error(s, &why);
            scan_fault(s, &(struct check_fault){.what = CHECK_REF,
                                                .name = name,
                                                .backup = b->id,
                                                .why = why.msg});
            s->result->backups_damaged++;
            b->damaged = true;
            if (why.code == ERR_CORRUPT)
                memcpy(s->broken_refs[s->n_broken_refs++], links[i].name.id,
                       NAME_ID_BYTES);
        }
        if (scan_tell(s, "backups", e) == -1)
            return -1;
    }
    check_chains(s, links, l->n);
    return 0;
}

/* ---- what this host has seen ------------------------------------------ */

/* By its backups that are there; "" if none is that this key opens. */
static const char *
machine_of(const struct scan *s, const struct ref_name *gone)
{
    struct ref_name ref;

    for (size_t i = s->n_backups; i > 0; i--) {
        const struct scan_backup *b = &s->backups[i - 1];
        if (b->machine && name_parse_ref(b->ref, &ref) &&
            same_machine(&ref, gone))
            return b->machine;
    }
    return "";
}

static void
tell_vanished(struct scan *s, const struct vanished *v)
{
    char name[NAME_MAX_LEN], id[BACKUP_ID_LEN + 1];

    name_ref(&v->ref, name);
    hex_encode(v->ref.id, NAME_ID_BYTES, id);
    s->result->vanished++;
    scan_fault(
        s, &(struct check_fault){
               .what = CHECK_VANISHED,
               .name = name,
               .backup = id,
               .machine = machine_of(s, &v->ref),
               .time_ns = v->ref.time_ns,
               .seen_ns = v->seen_ns,
               .why = v->unlisted
                          ? "nobody forgot it, and the storage has it, but "
                            "does not list it: no command will find it; have "
                            "the storage mended, or copy what it has to "
                            "another one"
                          : "nobody forgot it, and it is gone: somebody with "
                            "access to the storage removed it, or the storage "
                            "was set back to an older state; bring back what "
                            "the storage had, from its own versions or "
                            "snapshots, and see who can write to it; what "
                            "cannot be brought back has to be backed up "
                            "again"});
}

void
scan_vanished(struct scan *s)
{
    CLEANUP(vanished_list_done) struct vanished_list gone = {0};
    struct ref_name ref;

    for (size_t i = 0; i < s->n_backups; i++) {
        const struct scan_backup *b = &s->backups[i];
        if (name_parse_ref(b->ref, &ref))
            seen_look_add(&s->look, &ref,
                          scan_retired_ns(s, &ref)  ? SEEN_RETIRED
                          : scan_is_marked(s, &ref) ? SEEN_LISTED
                          : b->readable             ? SEEN_READ
                                                    : SEEN_UNMARKED);
    }
    seen_compare(s->repo, &s->look, SEEN_MAX_REFS, &gone);
    for (size_t i = 0; i < gone.n; i++)
        tell_vanished(s, &gone.items[i]);
}
