/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stolen key opens: by the keys of a host, of maintenance, and all that
 * the store shows, not a chunk of another machine is read.
 */
#include <stdio.h>

#include "base/buf.h"
#include "keyfixture.h"
#include "repo/pack.h"
#include "repo/ref.h"

struct seen_object {
    char pack[NAME_MAX_LEN];
    struct pack_entry entry;
};

struct objects {
    struct fixture *f;
    const struct keyring *keys;
    struct seen_object *all;
    size_t n;
};

/* What anybody with K_meta sees of a pack: its table. */
static int
note_pack(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct objects *o = cookie;
    CLEANUP(buf_done) struct buf bytes = buf_of(PACK_MAX_BYTES);
    struct pack_table t = {0};

    if (store_get_all(o->f->st, name, &bytes, e) == -1 ||
        pack_unpack_table(bytes.p, bytes.len, stat->size_bytes, o->keys, &t,
                          e) == -1)
        return -1;
    o->all = xrealloc(o->all, (o->n + t.n) * sizeof(o->all[0]));
    for (uint32_t i = 0; i < t.n; i++) {
        struct seen_object *s = &o->all[o->n++];
        s->entry = t.entries[i];
        (void)snprintf(s->pack, sizeof(s->pack), "%s", name);
    }
    pack_table_done(&t);
    return 0;
}

static struct objects
see_objects(struct fixture *f, const struct keyring *k)
{
    struct objects o = {.f = f, .keys = k};

    assert_ok(store_list(f->st, "packs/", note_pack, &o, e));
    return o;
}

static void
read_object(struct objects *o, size_t i, uint8_t *out)
{
    const struct seen_object *s = &o->all[i];

    assert_ok(
        store_get(o->f->st, s->pack, s->entry.offset, out, s->entry.len, e));
}

/* Everything that these keys and the store have, tried as the capability. */
static int
try_object(struct objects *o, size_t i, const uint8_t h[32], struct err *e)
{
    CLEANUP(sealer_freep) struct sealer *s = sealer_new(o->keys, 1);
    CLEANUP(freep) uint8_t *sealed = xmalloc(o->all[i].entry.len);
    CLEANUP(freep) uint8_t *out = xmalloc(OBJECT_PLAIN_MAX);
    const struct pack_entry *entry = &o->all[i].entry;
    struct object_name name;
    const uint8_t *node = NULL;
    size_t len = 0;

    object_name_of(h, &name);
    memcpy(name.id, entry->id, sizeof(name.id));
    read_object(o, i, sealed);
    if (entry->type == OBJECT_LEAF)
        return object_open_leaf(s, &name, sealed, entry->len, out,
                                entry->plain_len, e);
    return object_open_node(s, &name, sealed, entry->len, &node, &len, e);
}

static void
assert_opens_nothing(struct objects *o)
{
    uint8_t tries[5][32];

    for (size_t i = 0; i < o->n; i++) {
        memcpy(tries[0], o->all[i].entry.id, 32);
        memcpy(tries[1], o->keys->k_id, 32);
        memcpy(tries[2], o->keys->k_meta, 32);
        memcpy(tries[3], o->keys->writer_seed, 32);
        memcpy(tries[4], o->keys->ns_secret, 32);
        for (size_t t = 0; t < ARRAY_LEN(tries); t++) {
            struct err e = {0};
            assert_int_equal(try_object(o, i, tries[t], &e), -1);
        }
    }
}

/* The keys of a host, in memory and as they were stored, hold no secret that
 * opens backups of others. */
static void
assert_holds_none_of(const struct repo *r, const struct keyring *all)
{
    CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
    uint8_t other_ns[KEY_BYTES];

    keyring_pack(&r->keys, &b);
    keyring_namespace(all, 1, other_ns);
    const uint8_t *secrets[] = {all->restore_secret, all->admin_seed,
                                all->maintenance_seed, other_ns,
                                all->writer_seed};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        bool own = (r->keys.has & KEY_MAINTENANCE) != 0 && i == 2;
        assert_int_equal(memmem(b.p, b.len, secrets[i], KEY_BYTES) != NULL,
                         own);
        assert_int_equal(memmem(r, sizeof(*r), secrets[i], KEY_BYTES) != NULL,
                         own);
    }
}

static void
a_stolen_host_opens_no_other_machine(void **state)
{
    struct fixture *f = *state;

    assert_ok(add(f->r, ROLE_OF_HOST, "a", true, "host", e));
    CLEANUP(manifest_freep) struct manifest *m = back_up(f, f->r, "db", 1, 1);
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    struct objects o = see_objects(f, &host->keys);

    assert_holds_none_of(host, &f->r->keys);
    assert_fails(find(host, m->id, e), ERR_KEY, "this key cannot open");
    assert_true(o.n > 40);
    assert_opens_nothing(&o);
    free(o.all);
    /* The test can fail: who has a capability opens what it names. */
    o = see_objects(f, &f->r->keys);
    size_t opened = 0;
    for (size_t i = 0; i < o.n; i++) {
        struct err e = {0};
        opened += try_object(&o, i, m->volumes[0].root.h, &e) == 0;
    }
    assert_int_equal(opened, 1);
    free(o.all);
}

/* From the roots in the refs to all that lives: by the first parts of nodes,
 * and in the end by nothing else than ids. */
static size_t
walk(struct objects *o, const uint8_t gid[GID_BYTES], unsigned level,
     size_t *leaves)
{
    CLEANUP(buf_done) struct buf part = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(freep) uint8_t *sealed = xmalloc(OBJECT_SEALED_MAX);
    struct node_children c;
    size_t i = 0, n = 1;

    while (i < o->n && memcmp(o->all[i].entry.id, gid, GID_BYTES) != 0)
        i++;
    assert_true(i < o->n);
    assert_int_equal(o->all[i].entry.type, OBJECT_NODE);
    read_object(o, i, sealed);
    assert_ok(object_open_children(o->keys, o->all[i].entry.id, sealed,
                                   o->all[i].entry.len, &part, e));
    assert_ok(node_children_unpack(part.p, part.len, &c, e));
    assert_int_equal(c.level, level);
    for (uint32_t k = 0; k < c.n; k++) {
        const uint8_t *child = c.gids + (size_t)k * GID_BYTES;
        if (level == 0)
            ++*leaves;
        else
            n += walk(o, child, level - 1, leaves);
    }
    return n;
}

static int
walk_ref(void *cookie, const char *name, const struct store_stat *stat,
         struct err *unused)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    struct objects *o = cookie;
    struct ref_root *roots = NULL;
    size_t n = 0, nodes = 0, leaves = 0;

    (void)stat;
    (void)unused;
    assert_ok(store_get_all(o->f->st, name, &bytes, e));
    assert_ok(ref_open_roots(bytes.p, bytes.len, o->keys, &roots, &n, e));
    for (size_t i = 0; i < n; i++)
        nodes += walk(o, roots[i].gid, roots[i].level, &leaves);
    free(roots);
    assert_int_equal(n, 1);
    assert_int_equal(nodes, 1);
    assert_in_range(leaves, SIZE / (256 << 10), SIZE / (16 << 10));
    assert_fails(ref_open_body(bytes.p, bytes.len, o->keys, &body, e), ERR_KEY,
                 "this key cannot open");
    return 0;
}

static void
maintenance_walks_all_and_opens_nothing(void **state)
{
    struct fixture *f = *state;

    assert_ok(add(f->r, ROLE_OF_MAINTENANCE, NULL, false, "m", e));
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "host", e));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    manifest_free(back_up(f, f->r, "db", 1, 1));
    manifest_free(back_up(f, host, "web", 2, 2));
    CLEANUP(repo_closep) struct repo *m = open_as(f, "m");
    assert_holds_none_of(m, &f->r->keys);
    assert_null(memmem(m, sizeof(*m), f->r->keys.k_id, KEY_BYTES));
    assert_null(m->keys.id_key);

    struct objects o = see_objects(f, &m->keys);
    assert_ok(store_list(f->st, "refs/", walk_ref, &o, e));
    assert_opens_nothing(&o);
    free(o.all);

    assert_int_equal(list(m).sealed, 2);
    assert_fails(
        write_backup(m, f->cancel, "x", 9, (uint8_t[1]){1}, 1, NULL, e),
        ERR_KEY, "may not write");
    /* Even with a capability in hand, it does not pretend to check it. */
    CLEANUP(manifest_freep) struct manifest *db = NULL;
    CLEANUP(freep) uint8_t *p = content(1);
    assert_ok(backup_find(f->r, "db@latest", &db, e));
    assert_fails(compare_volume(m, &db->volumes[0].root, p, e), ERR_KEY,
                 "cannot open");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_stolen_host_opens_no_other_machine),
        FIXTURE_TEST(maintenance_walks_all_and_opens_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
