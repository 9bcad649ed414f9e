/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/agent.h"

#include "fake_agent.h"

enum { PATIENT_MS = 60000, BRIEF_MS = 150 };

static struct agent *
opened(struct fake_agent *f)
{
    struct agent *a = NULL;
    struct err e = {0};

    assert_works(agent_open(f->path, PATIENT_MS, &a, &e), &e);
    return a;
}

static void
freezes_and_thaws(void **state)
{
    struct fake_agent *f = fake_start(NULL);
    struct agent *a = opened(f);
    struct err e = {0};
    bool frozen = true;
    uint64_t n = 0;

    (void)state;
    assert_works(agent_status(a, PATIENT_MS, &frozen, &e), &e);
    assert_false(frozen);
    assert_works(agent_freeze(a, PATIENT_MS, &n, &e), &e);
    assert_int_equal(n, 2);
    assert_true(f->frozen);
    assert_works(agent_status(a, PATIENT_MS, &frozen, &e), &e);
    assert_true(frozen);
    n = 0;
    assert_works(agent_thaw(a, PATIENT_MS, &n, &e), &e);
    assert_int_equal(n, 2);
    assert_false(f->frozen);
    agent_close(a);
    fake_stop(f);
}

/* What the client before us had asked for, and noise, before our answer. */
static bool
leftovers(struct fake_agent *f)
{
    if (!fake_is(f, SYNC))
        return false;
    fake_say(f, "{\"return\": 4}\n noise }{ \"");
    fake_sync(f, fake_id(f) + 1);
    fake_say(f, "{\"return\": \"frozen\"}\n");
    fake_say(f, "\xff{\"return\": tru");
    (void)usleep(20000); /* so that it comes in two pieces */
    fake_say(f, "\xff\xff{\"retu");
    (void)usleep(20000);
    char text[64];
    (void)snprintf(text, sizeof(text), "rn\": %lld}\n", fake_id(f));
    fake_say(f, text);
    return true;
}

static void
an_answer_of_another_is_dropped(void **state)
{
    struct fake_agent *f = fake_start(leftovers);
    struct agent *a = opened(f);
    struct err e = {0};
    bool frozen = true;

    (void)state;
    assert_works(agent_status(a, PATIENT_MS, &frozen, &e), &e);
    assert_false(frozen);
    agent_close(a);
    fake_stop(f);
}

static bool
says_nothing(struct fake_agent *f)
{
    (void)f;
    return true;
}

static bool
wrong_id(struct fake_agent *f)
{
    fake_sync(f, fake_id(f) ^ 1);
    return true;
}

static bool
hangs_up(struct fake_agent *f)
{
    (void)shutdown(f->fd, SHUT_RDWR);
    return true;
}

static bool
babbles(struct fake_agent *f)
{
    static char waste[65536];

    memset(waste, '{', sizeof(waste) - 1);
    for (int i = 0; i < 32; i++)
        fake_say(f, waste);
    return true;
}

static bool
babbles_behind_a_delimiter(struct fake_agent *f)
{
    fake_say(f, "\xff");
    return babbles(f);
}

static void
one_that_does_not_sync(void **state)
{
    static const struct {
        bool (*odd)(struct fake_agent *);
        enum err_code code;
        const char *part;
    } cases[] = {
        {says_nothing, ERR_TIMEOUT, "does not run, hangs"},
        {wrong_id, ERR_TIMEOUT, "does not answer"},
        {hangs_up, ERR_QEMU, "closed the connection"},
        {babbles, ERR_LIMIT, "without answering"},
        {babbles_behind_a_delimiter, ERR_LIMIT, "without answering"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_agent *f = fake_start(cases[i].odd);
        struct agent *a = NULL;
        struct err e = {0};
        bool waits = cases[i].code == ERR_TIMEOUT;
        assert_fails(agent_open(f->path, waits ? BRIEF_MS : PATIENT_MS, &a, &e),
                     &e, cases[i].code, cases[i].part);
        assert_null(a);
        fake_stop(f);
    }
}

static void
nobody_there(void **state)
{
    struct agent *a = NULL;
    struct err e = {0};

    (void)state;
    assert_fails(agent_open("/nowhere/ga", BRIEF_MS, &a, &e), &e, ERR_NOENT,
                 "/nowhere/ga");
}

/* The socket serves one client at a time. */
static void
a_second_client_waits_in_vain(void **state)
{
    struct fake_agent *f = fake_start(NULL);
    struct agent *first = opened(f), *second = NULL;
    struct err e = {0};

    (void)state;
    assert_fails(agent_open(f->path, BRIEF_MS, &second, &e), &e, ERR_TIMEOUT,
                 "serves another client");
    agent_close(first);
    second = opened(f);
    agent_close(second);
    fake_stop(f);
}

/* ---- odd answers ----------------------------------------------------------
 */

static const char *answer;

static bool
answers_so(struct fake_agent *f)
{
    if (fake_is(f, SYNC))
        return false;
    fake_say(f, answer);
    return true;
}

static int
ask(struct agent *a, enum fake_word w, struct err *e)
{
    bool frozen = false;
    uint64_t n = 0;

    if (w == STATUS)
        return agent_status(a, PATIENT_MS, &frozen, e);
    return (w == FREEZE ? agent_freeze : agent_thaw)(a, PATIENT_MS, &n, e);
}

static void
odd_answers(void **state)
{
    static const struct {
        enum fake_word ask;
        const char *answer;
        enum err_code code;
        const char *part;
    } cases[] = {
        {STATUS, "{\"return\": \"maybe\"}", ERR_CORRUPT, "neither frozen nor"},
        {STATUS, "{\"return\": 1}", ERR_CORRUPT, "neither frozen nor"},
        {STATUS, "{\"nothing\": 1}", ERR_CORRUPT, "answer is none"},
        {STATUS, "thawed\n", ERR_CORRUPT, "guest-fsfreeze-status"},
        {FREEZE, "{\"return\": -1}", ERR_CORRUPT, "not a number"},
        {FREEZE, "{\"return\": \"2\"}", ERR_CORRUPT, "not a number"},
        {THAW, "{\"return\": {}}", ERR_CORRUPT, "not a number"},
        {FREEZE,
         "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no \\u001b[2J"
         "hook\"}}",
         ERR_QEMU, "refuses guest-fsfreeze-freeze: no \\x1b[2Jhook"},
        {FREEZE,
         "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"gone\"}}",
         ERR_UNSUP, "gone"},
        {THAW, "{\"error\": 3}", ERR_QEMU, "no reason"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_agent *f = fake_start(answers_so);
        struct agent *a = opened(f);
        struct err e = {0};
        answer = cases[i].answer;
        assert_fails(ask(a, cases[i].ask, &e), &e, cases[i].code,
                     cases[i].part);
        /* and it can be talked to again */
        assert_works(agent_sync(a, PATIENT_MS, &e), &e);
        answer = "{\"return\": 0}\n";
        assert_works(ask(a, FREEZE, &e), &e);
        agent_close(a);
        fake_stop(f);
    }
}

static bool
answers_at_length(struct fake_agent *f)
{
    static char text[2 * AGENT_REPLY_MAX];

    if (fake_is(f, SYNC))
        return false;
    memset(text, ' ', sizeof(text) - 1);
    memcpy(text, "{\"return\":", strlen("{\"return\":"));
    fake_say(f, text);
    return true;
}

static void
an_answer_has_an_end(void **state)
{
    struct fake_agent *f = fake_start(answers_at_length);
    struct agent *a = opened(f);
    struct err e = {0};

    (void)state;
    assert_fails(ask(a, STATUS, &e), &e, ERR_LIMIT, "");
    assert_works(agent_sync(a, PATIENT_MS, &e), &e);
    agent_close(a);
    fake_stop(f);
}

/* It freezes, but answers only when we have given up. */
static bool
freezes_late(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    f->frozen = true;
    while (f->left == 0)
        (void)usleep(1000);
    fake_say(f, "{\"return\": 2}\n");
    return true;
}

static void
a_late_answer_is_dropped(void **state)
{
    struct fake_agent *f = fake_start(freezes_late);
    struct agent *a = opened(f);
    struct err e = {0};
    bool frozen = false;

    (void)state;
    uint64_t n = 0;
    assert_fails(agent_freeze(a, BRIEF_MS, &n, &e), &e, ERR_TIMEOUT,
                 "guest-fsfreeze-freeze: the guest agent does not answer");
    f->left = 1;
    assert_works(agent_sync(a, PATIENT_MS, &e), &e);
    assert_works(agent_status(a, PATIENT_MS, &frozen, &e), &e);
    assert_true(frozen);
    agent_close(a);
    fake_stop(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freezes_and_thaws),
        cmocka_unit_test(an_answer_of_another_is_dropped),
        cmocka_unit_test(one_that_does_not_sync),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(a_second_client_waits_in_vain),
        cmocka_unit_test(odd_answers),
        cmocka_unit_test(an_answer_has_an_end),
        cmocka_unit_test(a_late_answer_is_dropped),
    };

    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
