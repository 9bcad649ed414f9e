/* SPDX-License-Identifier: Apache-2.0 */
/* keyfixture: a repository in memory with keys of several roles. */
#ifndef TEST_REPO_KEYFIXTURE_H
#define TEST_REPO_KEYFIXTURE_H

#include "fixture.h"
#include "repo/keys.h"

static const struct password_cost CHEAP = {.passes = 1,
                                           .memory_kib = PASSWORD_MIN_KIB};

enum { SIZE = 3 << 20 };

/* A key whose password is its label. */
static inline int
add(struct repo *r, enum role role, const char *ns, bool reads,
    const char *label, struct err *e)
{
    struct key_request q = {.role = role,
                            .ns = ns,
                            .reads = reads,
                            .label = label,
                            .password = label,
                            .cost = &CHEAP};
    char id[KEY_ID_LEN + 1];

    return repo_key_add(r, &q, id, e);
}

static inline struct repo *
open_as(struct fixture *f, const char *password)
{
    struct repo *r = NULL;

    assert_ok(repo_open(f->st, password, &r, e));
    return r;
}

static inline int
try_open(struct fixture *f, const char *password, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    return repo_open(f->st, password, &r, e);
}

/* SIZE bytes of their own for each seed. */
static inline uint8_t *
content(uint64_t seed)
{
    uint8_t *p = xmalloc(SIZE);

    fill_random(p, SIZE, seed);
    return p;
}

static inline struct manifest *
back_up(struct fixture *f, struct repo *r, const char *machine, int64_t time,
        uint64_t seed)
{
    CLEANUP(freep) uint8_t *p = content(seed);
    struct manifest *m = NULL;

    assert_ok(write_backup(r, f->cancel, machine, time, p, SIZE, &m, e));
    return m;
}

static inline int
find(struct repo *r, const char *name, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    return backup_find(r, name, &m, e);
}

static inline void
assert_reads(struct repo *r, const char *id, uint64_t seed)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(freep) uint8_t *p = content(seed);

    assert_ok(backup_find(r, id, &m, e));
    assert_volume(r, &m->volumes[0].root, p);
}

struct listed {
    unsigned open, sealed;
    uint32_t sealed_ns;
};

static inline int
note_backup(void *cookie, const struct manifest *m, struct err *e)
{
    struct listed *l = cookie;

    (void)e;
    if (m->sealed) {
        assert_string_equal(m->machine, "");
        assert_int_equal(m->n_volumes, 0);
        assert_true(m->time_ns > 0);
        assert_false(bytes_are_zero(m->machine_tag, 8));
        l->sealed_ns = m->ns;
    }
    l->open += !m->sealed;
    l->sealed += m->sealed;
    return 0;
}

static inline struct listed
list(struct repo *r)
{
    struct listed l = {0};

    assert_ok(backup_list(r, note_backup, &l, e));
    return l;
}

#endif
