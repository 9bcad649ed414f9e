/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that fails while keys are added, removed, or get another password:
 * whatever operation fails, is cut, loses its reply or is the last before a
 * crash, the repository opens by the old password or the new one, what was
 * reported as done is done, and the same can be tried again.
 */
#include "base/buf.h"
#include "fixture.h"
#include "repo/keys.h"
#include "store/store_fault.h"
#include "store/store_sweep.h"

static const struct password_cost CHEAP = {.passes = 1,
                                           .memory_kib = PASSWORD_MIN_KIB};

/* What is tried on a repository with the keys PASSWORD, of the admin, and
 * "victim", of a host. */
struct change {
    const char *name;
    int (*run)(struct repo *r, struct err *e);
    const char *opens;  /* once it is done; NULL: no other password */
    const char *closed; /* opens no more then */
    bool may_close;     /* PASSWORD */
};

struct sweep {
    const struct change *change;
    struct store *template;
    uint8_t content[8192];
    unsigned done, not_done;
};

static int
add(struct repo *r, enum role role, const char *password, struct err *e)
{
    struct key_request q = {
        .role = role, .password = password, .label = "x", .cost = &CHEAP};
    char id[KEY_ID_LEN + 1];

    return repo_key_add(r, &q, id, e);
}

static int
add_admin(struct repo *r, struct err *e)
{
    return add(r, ROLE_OF_ADMIN, "new", e);
}

static int
add_host(struct repo *r, struct err *e)
{
    return add(r, ROLE_OF_HOST, "new", e);
}

static int
add_recovery(struct repo *r, struct err *e)
{
    char text[RECOVERY_TEXT_LEN], id[KEY_ID_LEN + 1];

    return repo_recovery_add(r, text, id, e);
}

static int
note_host(void *cookie, const struct key_info *info, struct err *e)
{
    (void)e;
    if (info->is_ours && info->role == ROLE_OF_HOST)
        memcpy(cookie, info->id, sizeof(info->id));
    return 0;
}

static int
remove_host(struct repo *r, struct err *e)
{
    char id[KEY_ID_LEN + 1] = "", out[KEY_ID_LEN + 1];

    if (repo_key_list(r, note_host, id, e) == -1)
        return -1;
    return id[0] ? repo_key_remove(r, id, out, e) : 0;
}

static int
change_password(struct repo *r, struct err *e)
{
    char id[KEY_ID_LEN + 1];
    struct err why = {0};
    int rc = repo_key_change_password(r, "new", &CHEAP, id, &why, e);

    if (rc == 0) { /* both open it: not all that was asked for */
        *e = why;
        return -1;
    }
    return rc == 1 ? 0 : -1;
}

static const struct change changes[] = {
    {"add an admin", add_admin, "new", NULL, false},
    {"add a host", add_host, "new", NULL, false},
    {"add a recovery key", add_recovery, NULL, NULL, false},
    {"remove a host", remove_host, NULL, "victim", false},
    {"change the password", change_password, "new", PASSWORD, true},
};

/* ---- a round ------------------------------------------------------------- */

/* The repository that all rounds start with: made once, then copied. */
static struct store *
make_template(struct sweep *s)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct cancel *cancel = cancel_new();
    struct store *st = store_mem_new(NULL);

    assert_ok(cheap_init(st, e));
    assert_ok(repo_open(st, PASSWORD, &r, e));
    assert_ok(add(r, ROLE_OF_HOST, "victim", e));
    assert_ok(write_backup(r, cancel, "web", 1, s->content, sizeof(s->content),
                           NULL, e));
    cancel_free(cancel);
    return st;
}

struct copy {
    struct store *from, *to;
};

static int
copy_object(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(1 << 20);
    const struct copy *c = cookie;

    (void)stat;
    if (store_get_all(c->from, name, &bytes, e) == -1)
        return -1;
    return store_put(c->to, name, bytes.p, bytes.len, e);
}

static int
prepare(void *cookie, struct store *inner, struct err *e)
{
    const struct sweep *s = cookie;
    struct copy c = {s->template, inner};

    return store_list(s->template, "", copy_object, &c, e);
}

static int
run(void *cookie, struct store *faulty, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct sweep *s = cookie;

    if (repo_open(faulty, PASSWORD, &r, e) == -1)
        return -1;
    return s->change->run(r, e);
}

/* 1 if the password opens it, 0 if not, -1 if something else is wrong. */
static int
opens(struct store *st, const char *password, struct repo **out, struct err *e)
{
    struct err why = {0};

    if (repo_open(st, password, out, &why) == 0)
        return 1;
    /* A bundle that was cut short is named, as it could be the one. */
    if (why.code == ERR_KEY || strstr(why.msg, "opens no key"))
        return 0;
    *e = why;
    return -1;
}

static int
read_backup(struct sweep *s, struct repo *r, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (backup_find(r, "web@latest", &m, e) == -1)
        return -1;
    int rc = compare_volume(r, &m->volumes[0].root, s->content, e);
    return rc == 1 ? err_set(e, ERR_CORRUPT, "wrong bytes") : rc;
}

static int
check(void *cookie, struct store *inner, const struct store_fault *f, int rc,
      struct err *e)
{
    CLEANUP(repo_closep)
    struct repo *before = NULL, *after = NULL, *closed = NULL;
    struct sweep *s = cookie;
    const struct change *c = s->change;
    int old = opens(inner, PASSWORD, &before, e);
    int new = c->opens ? opens(inner, c->opens, &after, e) : 0;
    int no = c->closed ? opens(inner, c->closed, &closed, e) : 0;

    (void)f;
    if (old == -1 || new == -1 || no == -1)
        return -1;
    if (!old && !(c->may_close && new))
        return err_set(e, ERR_KEY, "nothing opens the repository");
    if (rc == 0 && ((c->opens && !new) || no))
        return err_set(e, ERR_KEY, "it was reported as done and is not");
    s->done += rc == 0;
    s->not_done += rc == -1;
    struct repo *r = old ? before : after;
    if (read_backup(s, r, e) == -1)
        return err_wrap(e, "the backup can't be read");
    if (c->run(r, e) == -1)
        return err_wrap(e, "it can't be repeated");
    repo_closep(&after);
    if (c->opens && opens(inner, c->opens, &after, e) != 1)
        return err_set(e, ERR_KEY, "repeated, and the password does not open");
    return 0;
}

static void
any_operation_may_fail(void **state)
{
    struct sweep s = {0};

    (void)state;
    fill_random(s.content, sizeof(s.content), 3);
    s.template = make_template(&s);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct store_sweep sweep = {
            .prepare = prepare, .run = run, .check = check, .cookie = &s};
        uint64_t rounds = 0;
        struct err e = {0};
        s.change = &changes[i];
        s.done = s.not_done = 0;
        if (store_sweep(&sweep, &rounds, &e) == -1)
            fail_msg("%s: %s", changes[i].name, e.msg);
        print_message("# %s: %u rounds, %u done, %u not\n", changes[i].name,
                      (unsigned)rounds, s.done, s.not_done);
        assert_true(rounds > 40);
        assert_true(s.done > 0 && s.not_done > 20);
    }
    store_close(s.template);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_operation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
