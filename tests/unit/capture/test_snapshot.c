/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/snapshot.h"

#include "../qemu/fake_qmp.h"

#include "capture/intent.h"
#include "qemu/machine.h"

/* A QEMU of which only snapshots are known. */
static struct {
    bool has_jobs;         /* the commands of 6.0 */
    const char *job_error; /* how a job ends; NULL: well */
    const char *hmp_error; /* what savevm and delvm print */
    unsigned rounds;       /* for which a job is under way */
    bool stuck;            /* stopped, after a job was cut off */
    char job[64];          /* "": there is none */
    unsigned left;         /* rounds of that job */
    bool on_node[2];       /* "q0", "#block1": do they have our snapshot? */
    char said[65536];      /* all commands */
} qemu;

static const char tag[] = "vmkeep-01234567-snap0";

static void
take_string(const char *line, const char *key, char *out, size_t room)
{
    const char *at = strstr(line, key);
    size_t n = 0;

    for (at = at ? at + strlen(key) : ""; at[n] && at[n] != '"'; n++)
        if (n + 1 < room)
            out[n] = at[n];
    out[n < room ? n : room - 1] = '\0';
}

static void
start_job(struct fake *f)
{
    bool save = strstr(f->line, "snapshot-save");

    take_string(f->line, "\"job-id\":\"", qemu.job, sizeof(qemu.job));
    qemu.left = qemu.rounds;
    if (!qemu.job_error) {
        if (strstr(f->line, "\"q0\""))
            qemu.on_node[0] = save;
        if (strstr(f->line, "\"#block1\""))
            qemu.on_node[1] = save;
    }
    fake_reply(f, "return", "{}");
}

static void
tell_jobs(struct fake *f)
{
    CLEANUP(freep)
    char *text = xasprintf(
        "[{\"id\": \"other\", \"status\": \"running\"}%s%s%s%s%s%s]",
        qemu.job[0] ? ", {\"id\": \"" : "", qemu.job,
        qemu.job[0] ? "\", \"status\": \"" : "",
        qemu.job[0] ? (qemu.left ? "running" : "concluded\", \"x\": \"") : "",
        qemu.job[0] && !qemu.left && qemu.job_error ? "\", \"error\": \"" : "",
        qemu.job[0] && !qemu.left && qemu.job_error ? qemu.job_error : "");
    CLEANUP(freep)
    char *all = xasprintf("%.*s%s]", (int)strlen(text) - 1, text,
                          qemu.job[0] ? "\"}" : "");

    qemu.left -= qemu.left > 0;
    fake_reply(f, "return", all);
}

static void
tell_block(struct fake *f)
{
    static const char *const mine =
        "{\"name\": \"mine\", \"id\": \"1\"}, "
        "{\"name\": \"vmkeep-01234567-snap00\", \"id\": \"2\"}";
    CLEANUP(freep)
    char *ours = xasprintf(", {\"name\": \"%s\", \"id\": \"7\"}", tag);
    CLEANUP(freep)
    char *all = xasprintf(
        "[{\"device\": \"cd\"}, {\"inserted\": {\"node-name\": \"q0\", "
        "\"image\": {\"snapshots\": [%s%s]}}}, {\"inserted\": {\"node-name\": "
        "\"#block1\", \"image\": {\"snapshots\": [%s%s]}}}, {\"inserted\": "
        "{\"node-name\": \"raw\", \"image\": {}}}]",
        mine, qemu.on_node[0] ? ours : "", mine, qemu.on_node[1] ? ours : "");

    fake_reply(f, "return", all);
}

static void
run_human(struct fake *f)
{
    CLEANUP(freep)
    char *reply = xasprintf("\"%s\"", qemu.hmp_error ? qemu.hmp_error : "");

    if (!qemu.hmp_error)
        qemu.on_node[0] = qemu.on_node[1] = strstr(f->line, "savevm") != NULL;
    fake_reply(f, "return", reply);
}

static void
take_last_id(struct fake *f)
{
    const char *at = f->line, *last = NULL;

    while ((at = strstr(at, "\"id\":\"")))
        last = at++;
    take_string(last ? last : "", "\"id\":\"", f->id, sizeof(f->id));
}

static void
play(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    while (fake_hear(f)) {
        size_t used = strlen(qemu.said);
        (void)snprintf(qemu.said + used, sizeof(qemu.said) - used, "%s\n",
                       f->line);
        if (strstr(f->line, "query-commands"))
            fake_reply(f, "return",
                       qemu.has_jobs ? "[{\"name\": \"snapshot-save\"}, "
                                       "{\"name\": \"snapshot-delete\"}]"
                                     : "[{\"name\": \"stop\"}]");
        else if (strstr(f->line, "\"snapshot-"))
            start_job(f);
        else if (strstr(f->line, "query-jobs"))
            tell_jobs(f);
        else if (strstr(f->line, "query-block"))
            tell_block(f);
        else if (strstr(f->line, "human-monitor-command"))
            run_human(f);
        else if (strstr(f->line, "query-status"))
            fake_reply(f, "return",
                       qemu.stuck ? "{\"status\": \"save-vm\"}"
                                  : "{\"status\": \"running\"}");
        else {
            if (strstr(f->line, "job-dismiss")) {
                qemu.job[0] = '\0';
                take_last_id(f); /* its argument is called so, too */
            }
            fake_reply(f, "return", "{}");
        }
    }
}

struct setting {
    struct fake *fake;
    struct qmp *q;
    struct intent *in;
};

static struct setting
start(void)
{
    const struct machine m = {.name = (char *)(uintptr_t) "web",
                              .socket = (char *)(uintptr_t) "/run/web.qmp",
                              .running = true};
    struct setting s = {.fake = fake_start(play), .in = intent_new(&m)};
    struct err e = {0};

    memcpy(s.in->run, "01234567", sizeof(s.in->run));
    free(s.in->snapshot);
    s.in->snapshot = xstrdup(tag);
    intent_add_disk(s.in, "/machine/a", "q0");
    intent_add_disk(s.in, "/machine/b", "#block1");
    assert_works(qmp_connect(s.fake->path, &s.q, &e), &e);
    return s;
}

static void
end(struct setting *s)
{
    qmp_close(s->q);
    fake_stop(s->fake);
    intent_free(s->in);
}

static void
reset(bool has_jobs)
{
    memset(&qemu, 0, sizeof(qemu));
    qemu.has_jobs = has_jobs;
    qemu.rounds = 3;
}

static void
taken_and_removed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct err e = {0};
        reset(i);
        struct setting s = start();
        assert_works(snapshot_take(s.q, s.in, 1, &e), &e);
        assert_true(qemu.on_node[0] && qemu.on_node[1]);
        assert_int_equal(!!strstr(qemu.said, "\"vmstate\":\"#block1\""), i);
        assert_int_equal(!!strstr(qemu.said, "savevm vmkeep-"), !i);
        assert_string_equal(qemu.job, "");
        assert_works(snapshot_remove(s.q, s.in, &e), &e);
        assert_false(qemu.on_node[0] || qemu.on_node[1]);
        assert_int_equal(!!strstr(qemu.said, "delvm vmkeep-"), !i);
        assert_string_equal(qemu.job, "");
        /* Again: there is nothing to do. */
        qemu.said[0] = '\0';
        assert_works(snapshot_remove(s.q, s.in, &e), &e);
        assert_null(strstr(qemu.said, "snapshot-delete"));
        assert_null(strstr(qemu.said, "delvm"));
        assert_null(strstr(qemu.said, "cont"));
        end(&s);
    }
}

/* Only where it is, and only ours: "mine" is never said. */
static void
one_disk_has_it(void **state)
{
    struct err e = {0};

    (void)state;
    reset(true);
    qemu.on_node[1] = true;
    struct setting s = start();
    assert_works(snapshot_remove(s.q, s.in, &e), &e);
    assert_false(qemu.on_node[1]);
    assert_non_null(strstr(qemu.said, "\"devices\":[\"#block1\"]"));
    assert_null(strstr(qemu.said, "mine"));
    end(&s);
}

static void
refused(void **state)
{
    struct err e = {0};

    (void)state;
    reset(true);
    qemu.job_error = "No space left";
    struct setting s = start();
    assert_fails(snapshot_take(s.q, s.in, 0, &e), &e, ERR_QEMU,
                 "snapshot-save: No space left");
    assert_string_equal(qemu.job, "");
    qemu.on_node[0] = true;
    assert_fails(snapshot_remove(s.q, s.in, &e), &e, ERR_QEMU, tag);
    end(&s);

    reset(false);
    qemu.hmp_error = "Error: \\u001b[1mno";
    s = start();
    assert_fails(snapshot_take(s.q, s.in, 0, &e), &e, ERR_QEMU,
                 "savevm: Error: \\x1b[1mno");
    qemu.on_node[0] = true;
    assert_fails(snapshot_remove(s.q, s.in, &e), &e, ERR_QEMU, "delvm: Error");
    end(&s);
}

/* The one who began it is gone, its job is still under way. */
static void
in_the_midst(void **state)
{
    struct err e = {0};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        reset(true);
        (void)snprintf(qemu.job, sizeof(qemu.job), "vmkeep-01234567-job%u", i);
        qemu.left = 5;
        qemu.on_node[0] = true;
        qemu.stuck = i;
        struct setting s = start();
        assert_works(snapshot_remove(s.q, s.in, &e), &e);
        assert_int_equal(qemu.left, 0);
        assert_string_equal(qemu.job, "");
        assert_false(qemu.on_node[0]);
        assert_int_equal(!!strstr(qemu.said, "\"cont\""), i);
        end(&s);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_and_removed),
        cmocka_unit_test(one_disk_has_it),
        cmocka_unit_test(refused),
        cmocka_unit_test(in_the_midst),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
