/* SPDX-License-Identifier: Apache-2.0 */
/* qmp against a server that misbehaves.  test_qmp_real.c has the real one. */
#include "qemu/qmp.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "fake_qmp.h"

enum { SHORT_MS = 200 };

/* ---- connecting ------------------------------------------------------- */

static void
play_well(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    while (fake_hear(f))
        fake_reply(f, "return", "{\"heard\": true}");
}

/* QEMU sends events from when a client is there, and greets a little later. */
static void
play_early_event(struct fake *f)
{
    fake_say(f, "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
                "\"event\": \"RESUME\"}\r\n");
    play_well(f);
}

static void
test_greeting(void **state)
{
    struct fake *f = fake_start(play_early_event);
    struct qmp *q = NULL;
    struct err e = {0};

    (void)state;
    assert_works(qmp_connect(f->path, &q, &e), &e);
    assert_int_equal(qmp_version(q)->major, 7);
    assert_int_equal(qmp_version(q)->minor, 2);
    assert_int_equal(qmp_version(q)->micro, 22);
    assert_string_equal(qmp_version(q)->package, "Debian 1:7.2");
    qmp_close(q);
    qmp_close(NULL);
    fake_stop(f);
}

static void
test_nobody_there(void **state)
{
    struct fake *f = fake_start(NULL);
    struct qmp *q = NULL;
    struct err e = {0};
    char path[128];

    (void)state;
    fd_close(&f->listener);
    assert_fails(qmp_connect(f->path, &q, &e), &e, ERR_NOENT, "nobody listens");
    (void)snprintf(path, sizeof(path), "%s/none", f->dir);
    assert_fails(qmp_connect(path, &q, &e), &e, ERR_NOENT, path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    (void)close(fd);
    assert_fails(qmp_connect(path, &q, &e), &e, ERR_QEMU, "not a socket");
    (void)unlink(path);
    assert_null(q);
    fake_stop(f);
}

static void
play_hmp(struct fake *f)
{
    fake_say(f, "QEMU 7.2.22 monitor - type 'help' for more information\r\n"
                "(qemu) ");
    fake_wait_for_end(f);
}

static void
play_reply_first(struct fake *f)
{
    fake_say(f, "{\"return\": {}, \"id\": \"x\"}\r\n");
    fake_wait_for_end(f);
}

static void
play_no_version(struct fake *f)
{
    fake_say(f, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": -1}}}}\r\n");
    fake_wait_for_end(f);
}

static void
play_nothing_known(struct fake *f)
{
    fake_say(f, "{\"QGA\": 1}\r\n");
    fake_wait_for_end(f);
}

static void
play_hang_up(struct fake *f)
{
    (void)f;
}

static void
play_half_greeting(struct fake *f)
{
    fake_say(f, "{\"QMP\": {\"version\": {");
    fake_wait_for_end(f);
}

static void
play_half_greeting_and_end(struct fake *f)
{
    fake_say(f, "{\"QMP\": {\"version\": {");
}

static void
play_no_negotiation(struct fake *f)
{
    fake_say(f, FAKE_GREETING);
    if (fake_hear(f))
        fake_reply(f, "error",
                   "{\"class\": \"GenericError\", \"desc\": \"no way\"}");
}

static void
test_bad_greetings(void **state)
{
    static const struct {
        void (*play)(struct fake *);
        enum err_code code;
        const char *part;
    } cases[] = {
        {play_hmp, ERR_QEMU, "is no QMP monitor: not a JSON object: \"QEMU"},
        {play_reply_first, ERR_QEMU, "what nobody asked"},
        {play_no_version, ERR_QEMU, "no version"},
        {play_nothing_known, ERR_QEMU, "neither"},
        {play_hang_up, ERR_QEMU, "closed the connection"},
        {play_half_greeting_and_end, ERR_QEMU, "in the middle of a message"},
        {play_half_greeting, ERR_TIMEOUT, "half a greeting"},
        {play_no_negotiation, ERR_QEMU, "qmp_capabilities: no way"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake *f = fake_start(cases[i].play);
        struct qmp *q = NULL;
        struct err e = {0};
        assert_fails(qmp_connect(f->path, &q, &e), &e, cases[i].code,
                     cases[i].part);
        assert_null(q);
        fake_stop(f);
    }
}

/* The second client of a server that serves one: told who the first is. */
static void
test_busy(void **state)
{
    struct fake *f = fake_start(play_well);
    struct qmp *q = NULL, *second = NULL;
    struct err e = {0};
    char who[64];

    (void)state;
    assert_works(qmp_connect(f->path, &q, &e), &e);
    (void)snprintf(who, sizeof(who), "process %d (", (int)getpid());
    assert_fails(qmp_connect(f->path, &second, &e), &e, ERR_TIMEOUT,
                 "another client holds it");
    if (geteuid() == 0) {
        assert_fails(qmp_connect(f->path, &second, &e), &e, ERR_TIMEOUT, who);
    }
    assert_null(second);
    qmp_close(q);
    fake_stop(f);
}

/* So many wait already that the kernel queues no more. */
static void
test_queue_full(void **state)
{
    struct fake *f = fake_start(NULL);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct qmp *q = NULL;
    struct err e = {0};
    int fds[8];

    (void)state;
    at = address_of(f->path);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (void *)&at, sizeof(at));
    }
    assert_fails(qmp_connect(f->path, &q, &e), &e, ERR_TIMEOUT, "no greeting");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        (void)close(fds[i]);
    fake_stop(f);
}

/* A path that no socket address can hold. */
static void
test_long_path(void **state)
{
    struct fake *f = fake_start(play_well);
    struct qmp *q = NULL;
    struct err e = {0};
    char dir[200], path[256], moved[256];

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/%0120d", f->dir, 7);
    assert_int_equal(mkdir(dir, 0700), 0);
    (void)snprintf(moved, sizeof(moved), "%s/qmp", dir);
    assert_int_equal(rename(f->path, moved), 0);
    assert_works(qmp_connect(moved, &q, &e), &e);
    qmp_close(q);
    (void)snprintf(path, sizeof(path), "%s/none", dir);
    assert_fails(qmp_connect(path, &q, &e), &e, ERR_NOENT, path);
    (void)unlink(moved);
    (void)rmdir(dir);
    fake_stop(f);
}

/* ---- one command ------------------------------------------------------ */

static struct qmp *
connect_to(const struct fake *f)
{
    struct qmp *q = NULL;
    struct err e = {0};

    assert_works(qmp_connect(f->path, &q, &e), &e);
    return q;
}

static void
test_run(void **state)
{
    struct fake *f = fake_start(play_well);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    json_t *out = NULL;

    (void)state;
    assert_works(qmp_run(q, "query-x", json_pack("{s:i}", "a", 1), &out, &e),
                 &e);
    assert_true(json_is_true(json_object_get(out, "heard")));
    json_decref(out);
    assert_non_null(strstr(f->line, "{\"execute\":\"query-x\","
                                    "\"arguments\":{\"a\":1},\"id\":\"vk"));
    assert_works(qmp_run(q, "stop", NULL, NULL, &e), &e);
    assert_null(strstr(f->line, "arguments"));
    qmp_close(q);
    fake_stop(f);
}

/* Each command says in its name how it wants to be refused. */
static void
play_refuse(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    while (fake_hear(f)) {
        if (strstr(f->line, "\"unknown\""))
            fake_reply(f, "error",
                       "{\"class\": \"CommandNotFound\", \"desc\": \"The "
                       "command unknown has not been found\"}");
        else if (strstr(f->line, "\"no-device\""))
            fake_reply(f, "error",
                       "{\"class\": \"DeviceNotFound\", \"desc\": \"no\"}");
        else if (strstr(f->line, "\"new-class\""))
            fake_reply(f, "error", "{\"class\": \"Frobbed\", \"desc\": \"x\"}");
        else if (strstr(f->line, "\"no-desc\""))
            fake_reply(f, "error", "[1]");
        else if (strstr(f->line, "\"control\""))
            fake_reply(f, "error", "{\"desc\": \"a\\u001b[31m\\nb\"}");
        else
            fake_reply(f, "return", "{}");
    }
}

static void
test_refusals(void **state)
{
    struct fake *f = fake_start(play_refuse);
    struct qmp *q = connect_to(f);
    struct err e = {0};

    (void)state;
    assert_fails(qmp_run(q, "unknown", NULL, NULL, &e), &e, ERR_UNSUP,
                 "unknown: The command unknown has not been found");
    assert_fails(qmp_run(q, "no-device", NULL, NULL, &e), &e, ERR_NOENT,
                 "no-device: no");
    assert_fails(qmp_run(q, "new-class", NULL, NULL, &e), &e, ERR_QEMU,
                 "new-class: x");
    assert_fails(qmp_run(q, "no-desc", NULL, NULL, &e), &e, ERR_QEMU,
                 "no-desc: failed without a reason");
    assert_fails(qmp_run(q, "control", NULL, NULL, &e), &e, ERR_QEMU,
                 "control: a\\x1b[31m\\x0ab");
    assert_works(qmp_run(q, "fine", NULL, NULL, &e), &e);
    qmp_close(q);
    fake_stop(f);
}

/* ---- broken replies --------------------------------------------------- */

static void
say_after_command(struct fake *f, const char *text)
{
    if (fake_negotiate(f) && fake_hear(f))
        fake_say(f, text);
}

static void
play_wrong_id(struct fake *f)
{
    say_after_command(f, "{\"return\": {}, \"id\": \"vk0-1\"}\r\n");
    fake_wait_for_end(f);
}

static void
play_old_id(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", f->id);
    if (!fake_hear(f))
        return;
    (void)snprintf(f->id, sizeof(f->id), "%s", id);
    fake_reply(f, "return", "{}");
    fake_wait_for_end(f);
}

static void
play_number_id(struct fake *f)
{
    say_after_command(f, "{\"return\": {}, \"id\": 2}\r\n");
    fake_wait_for_end(f);
}

static void
play_no_id(struct fake *f)
{
    say_after_command(f, "{\"error\": {\"class\": \"GenericError\", "
                         "\"desc\": \"JSON parse error\"}}\r\n");
    fake_wait_for_end(f);
}

static void
play_garbage(struct fake *f)
{
    say_after_command(f, "{\"return\": {]}, \"id\": 2}\r\n");
    fake_wait_for_end(f);
}

static void
play_binary(struct fake *f)
{
    say_after_command(f, "\x01\xff\xfe");
    fake_wait_for_end(f);
}

static void
play_array(struct fake *f)
{
    say_after_command(f, "[1, 2, 3]\r\n");
    fake_wait_for_end(f);
}

static void
play_second_greeting(struct fake *f)
{
    say_after_command(f, FAKE_GREETING);
    fake_wait_for_end(f);
}

static void
play_bad_event(struct fake *f)
{
    say_after_command(f, "{\"event\": 7}\r\n");
    fake_wait_for_end(f);
}

static void
play_bad_event_data(struct fake *f)
{
    say_after_command(f, "{\"event\": \"STOP\", \"data\": [1]}\r\n");
    fake_wait_for_end(f);
}

static void
play_close(struct fake *f)
{
    say_after_command(f, "");
}

static void
play_close_inside(struct fake *f)
{
    say_after_command(f, "{\"return\": {\"a\": \"b");
}

static void
play_half(struct fake *f)
{
    say_after_command(f, "{\"return\": {\"a\": \"b");
    fake_wait_for_end(f);
}

static void
play_silence(struct fake *f)
{
    say_after_command(f, "");
    fake_wait_for_end(f);
}

/* A reply of 17 MiB that would be fine but for its length. */
static void
play_giant(struct fake *f)
{
    char *megabyte = xmalloc((1 << 20) + 1);

    memset(megabyte, 'x', 1 << 20);
    megabyte[1 << 20] = '\0';
    say_after_command(f, "{\"return\": \"");
    for (int i = 0; i < 17; i++)
        fake_say(f, megabyte);
    fake_say(f, "\"}\r\n");
    free(megabyte);
}

/* An event larger than any that QEMU has. */
static void
play_giant_event(struct fake *f)
{
    char *text = xmalloc((1 << 20) + 1);

    memset(text, 'x', 1 << 20);
    text[1 << 20] = '\0';
    say_after_command(f, "{\"event\": \"X\", \"data\": {\"a\": \"");
    fake_say(f, text);
    fake_say(f, "\"}}\r\n");
    free(text);
    fake_wait_for_end(f);
}

/* Depth that would end a recursive parser. */
static void
play_deep(struct fake *f)
{
    char *text = xmalloc(100001);

    memset(text, '[', 100000);
    text[100000] = '\0';
    say_after_command(f, "{\"return\": ");
    fake_say(f, text);
    memset(text, ']', 100000);
    fake_say(f, text);
    fake_say(f, "}\r\n");
    free(text);
    fake_wait_for_end(f);
}

/* Faster than anybody can read. */
static void
play_flood(struct fake *f)
{
    const char ev[] = "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 1}, "
                      "\"timestamp\": {\"seconds\": 1, "
                      "\"microseconds\": 2}}\r\n";
    struct buf b = buf_of(1 << 20);

    while (b.len < 500000)
        buf_add(&b, ev, sizeof(ev) - 1);
    if (fake_negotiate(f) && fake_hear(f)) {
        size_t at = 0;
        ssize_t n = 1;
        while (n > 0) {
            n = send(f->fd, b.p + at, b.len - at, MSG_NOSIGNAL);
            at = n > 0 ? (at + (size_t)n) % b.len : 0;
        }
    }
    buf_done(&b);
}

static void
test_broken_replies(void **state)
{
    static const struct {
        void (*play)(struct fake *);
        enum err_code code;
        const char *part;
    } cases[] = {
        {play_wrong_id, ERR_QEMU, "what nobody asked"},
        {play_old_id, ERR_QEMU, "what nobody asked"},
        {play_number_id, ERR_QEMU, "what nobody asked"},
        {play_no_id, ERR_QEMU, "JSON parse error"},
        {play_garbage, ERR_QEMU, "not JSON at byte"},
        {play_binary, ERR_QEMU, "not a JSON object: \"\\x01\\xff\\xfe\""},
        {play_array, ERR_QEMU, "not a JSON object: \"[1, 2"},
        {play_second_greeting, ERR_QEMU, "neither"},
        {play_bad_event, ERR_QEMU, "malformed event"},
        {play_bad_event_data, ERR_QEMU, "malformed event"},
        {play_close, ERR_QEMU, "closed the connection; is the machine"},
        {play_close_inside, ERR_QEMU, "in the middle of a message"},
        {play_half, ERR_TIMEOUT, "has not answered for 200 ms"},
        {play_silence, ERR_TIMEOUT, "has not answered for 200 ms"},
        {play_giant, ERR_LIMIT, "longer than the limit of 16777216 bytes"},
        {play_giant_event, ERR_LIMIT, "an event has"},
        {play_deep, ERR_QEMU, "not JSON at byte"},
        {play_flood, ERR_TIMEOUT, "has not answered for 200 ms"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake *f = fake_start(cases[i].play);
        struct qmp *q = connect_to(f);
        struct qmp_event ev = {0};
        struct err e = {0};
        if (cases[i].code == ERR_TIMEOUT)
            qmp_set_timeout_ms(q, SHORT_MS);
        assert_fails(qmp_run(q, "query-x", NULL, NULL, &e), &e, cases[i].code,
                     cases[i].part);
        /* and for good */
        assert_fails(qmp_run(q, "other", NULL, NULL, &e), &e, cases[i].code,
                     "other: the connection is lost: monitor");
        qmp_forget_events(q);
        assert_fails(qmp_event(q, NULL, deadline_never(), &ev, &e), &e,
                     cases[i].code, cases[i].part);
        qmp_close(q);
        fake_stop(f);
    }
}

/* ---- strange, but allowed --------------------------------------------- */

static void
play_strange(struct fake *f)
{
    char text[512];

    if (!fake_negotiate(f) || !fake_hear(f))
        return;
    (void)snprintf(text, sizeof(text),
                   "\r\n\r\n{\r\n    \"id\": \"%s\",\r\n    \"return\": {\r\n"
                   "        \"braces\": \"}\\\"{\\\\\",\r\n        \"big\": "
                   "18446744073709551615\r\n    }\r\n}\r\n",
                   f->id);
    for (size_t i = 0; text[i]; i++) /* byte by byte */
        fake_say(f, (char[]){text[i], '\0'});
    fake_wait_for_end(f);
}

static void
test_strange_reply(void **state)
{
    struct fake *f = fake_start(play_strange);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    json_t *out = NULL;

    (void)state;
    assert_works(qmp_run(q, "query-x", NULL, &out, &e), &e);
    assert_string_equal(json_string_value(json_object_get(out, "braces")),
                        "}\"{\\");
    assert_true(json_integer_value(json_object_get(out, "big")) == INT64_MAX);
    json_decref(out);
    qmp_close(q);
    fake_stop(f);
}

/* A server that reads nothing more. */
static void
play_deaf(struct fake *f)
{
    if (fake_negotiate(f))
        while (poll(&(struct pollfd){.fd = f->fd}, 1, 20) == 0)
            ;
}

static void
test_deaf(void **state)
{
    struct fake *f = fake_start(play_deaf);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    char *long_text = xcalloc(4 << 20, 1);

    (void)state;
    memset(long_text, 'x', (4 << 20) - 1);
    qmp_set_timeout_ms(q, SHORT_MS);
    assert_fails(
        qmp_run(q, "put", json_pack("{s:s}", "x", long_text), NULL, &e), &e,
        ERR_TIMEOUT, "put: monitor ");
    free(long_text);
    qmp_close(q);
    fake_stop(f);
}

/* A server that answers every byte before it reads the next. */
static void
play_talker(struct fake *f)
{
    char c[4096];

    if (!fake_negotiate(f))
        return;
    for (int i = 0; i < 4000; i++)
        fake_say(f, "{\"event\": \"A\", \"data\": {\"pad\": \"xxxxxxxxxxxxx"
                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""
                    "}}\r\n");
    while (recv(f->fd, c, sizeof(c), 0) > 0)
        ;
}

/* Neither side can write until the other reads: ours must. */
static void
test_both_write(void **state)
{
    struct fake *f = fake_start(play_talker);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    uint64_t ticket = 0;
    char *long_text = xcalloc(4 << 20, 1);

    (void)state;
    memset(long_text, 'x', (4 << 20) - 1);
    assert_works(
        qmp_send(q, "put", json_pack("{s:s}", "x", long_text), &ticket, &e),
        &e);
    free(long_text);
    qmp_close(q);
    fake_stop(f);
}

static void
play_take_fd(struct fake *f)
{
    play_well(f);
}

static void
test_pass_fd(void **state)
{
    struct fake *f = fake_start(play_take_fd);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    struct stat ours, theirs;
    int fd = open("/dev/null", O_RDONLY);

    (void)state;
    assert_works(
        qmp_run_fd(q, "getfd", json_pack("{s:s}", "fdname", "x"), fd, NULL, &e),
        &e);
    assert_int_not_equal(f->passed_fd, -1);
    assert_int_equal(fstat(fd, &ours), 0);
    assert_int_equal(fstat(f->passed_fd, &theirs), 0);
    assert_true(ours.st_rdev == theirs.st_rdev);
    assert_fails(qmp_run_fd(q, "getfd", NULL, 9999, NULL, &e), &e, ERR_QEMU,
                 "cannot pass a descriptor");
    (void)close(fd);
    qmp_close(q);
    fake_stop(f);
}

/* ---- many at once ----------------------------------------------------- */

/* Answers in order, the second with an error. */
static void
play_three(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    for (int i = 0; i < 3 && fake_hear(f); i++)
        fake_reply(f, i == 1 ? "error" : "return",
                   i == 1 ? "{\"desc\": \"no\"}" : "{}");
    fake_wait_for_end(f);
}

static void
test_tickets(void **state)
{
    struct fake *f = fake_start(play_three);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    uint64_t a = 0, b = 0, c = 0;

    (void)state;
    assert_works(qmp_send(q, "a", NULL, &a, &e), &e);
    assert_works(qmp_send(q, "b", NULL, &b, &e), &e);
    assert_works(qmp_send(q, "c", NULL, &c, &e), &e);
    assert_works(qmp_redeem(q, a, NULL, &e), &e);
    assert_fails(qmp_redeem(q, b, NULL, &e), &e, ERR_QEMU, "b: no");
    assert_works(qmp_redeem(q, c, NULL, &e), &e);
    qmp_close(q);
    fake_stop(f);
}

/* What came before the connection broke is still worth something. */
static void
play_one_and_close(struct fake *f)
{
    if (!fake_negotiate(f) || !fake_hear(f))
        return;
    fake_reply(f, "return", "{}");
    (void)fake_hear(f);
}

static void
test_tickets_of_a_lost_connection(void **state)
{
    struct fake *f = fake_start(play_one_and_close);
    struct qmp *q = connect_to(f);
    struct qmp_event ev = {0};
    struct err e = {0};
    uint64_t a = 0, b = 0;

    (void)state;
    assert_works(qmp_send(q, "a", NULL, &a, &e), &e);
    assert_works(qmp_send(q, "b", NULL, &b, &e), &e);
    assert_fails(qmp_event(q, NULL, deadline_never(), &ev, &e), &e, ERR_QEMU,
                 "closed the connection");
    assert_works(qmp_redeem(q, a, NULL, &e), &e);
    assert_fails(qmp_redeem(q, b, NULL, &e), &e, ERR_QEMU, "b: the connection");
    qmp_close(q);
    fake_stop(f);
}

static void
test_too_many_tickets(void **state)
{
    struct fake *f = fake_start(play_well);
    struct qmp *q = connect_to(f);
    struct err e = {0};
    uint64_t ticket[QMP_PENDING_MAX], more = 0;

    (void)state;
    for (size_t i = 0; i < QMP_PENDING_MAX; i++)
        assert_works(qmp_send(q, "x", NULL, &ticket[i], &e), &e);
    assert_fails(qmp_send(q, "x", NULL, &more, &e), &e, ERR_LIMIT, "await");
    for (size_t i = 0; i < QMP_PENDING_MAX; i++)
        assert_works(qmp_redeem(q, ticket[i], NULL, &e), &e);
    assert_works(qmp_run(q, "x", NULL, NULL, &e), &e);
    qmp_close(q);
    fake_stop(f);
}

/* ---- events ----------------------------------------------------------- */

static void
play_events(struct fake *f)
{
    if (!fake_negotiate(f) || !fake_hear(f))
        return;
    fake_say(f, "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": "
                "123456}, \"event\": \"STOP\"}\r\n"
                "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, "
                "\"event\": \"MIGRATION\", \"data\": {\"status\": "
                "\"setup\"}}\r\n");
    fake_reply(f, "return", "{}");
    fake_say(f, "{\"event\": \"RESUME\"}\r\n");
    if (fake_hear(f))
        fake_reply(f, "return", "{}");
    fake_wait_for_end(f);
}

static void
test_events(void **state)
{
    struct fake *f = fake_start(play_events);
    struct qmp *q = connect_to(f);
    struct qmp_event ev = {0};
    struct err e = {0};

    (void)state;
    assert_works(qmp_run(q, "stop", NULL, NULL, &e), &e);
    assert_int_equal(qmp_event(q, "RESUME", deadline_in_ms(5000), &ev, &e), 1);
    assert_string_equal(ev.name, "RESUME");
    assert_null(ev.data);
    assert_true(ev.time_ns == 0);
    qmp_event_done(&ev);
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 1);
    assert_string_equal(ev.name, "STOP");
    assert_true(ev.time_ns == 1700000000123456000);
    qmp_event_done(&ev);
    assert_int_equal(qmp_event(q, "STOP", deadline_in_ms(20), &ev, &e), 0);
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 1);
    assert_string_equal(ev.name, "MIGRATION");
    assert_string_equal(json_string_value(json_object_get(ev.data, "status")),
                        "setup");
    assert_true(ev.time_ns == 0);
    qmp_event_done(&ev);
    assert_works(qmp_run(q, "cont", NULL, NULL, &e), &e); /* still works */
    qmp_close(q);
    fake_stop(f);
}

/* A deadline that has passed does not hide what is in the socket. */
static void
test_event_without_waiting(void **state)
{
    struct fake *f = fake_start(play_events);
    struct qmp *q = connect_to(f);
    struct qmp_event ev = {0};
    struct err e = {0};
    uint64_t ticket = 0;

    (void)state;
    assert_works(qmp_send(q, "stop", NULL, &ticket, &e), &e);
    assert_int_equal(
        poll(&(struct pollfd){.fd = qmp_fd(q), .events = POLLIN}, 1, 5000), 1);
    assert_int_equal(qmp_event(q, "STOP", deadline_in_ms(0), &ev, &e), 1);
    qmp_event_done(&ev);
    assert_works(qmp_redeem(q, ticket, NULL, &e), &e);
    qmp_forget_events(q);
    qmp_close(q);
    fake_stop(f);
}

/* A flood of what the guest can cause does not push out what we wait for. */
static void
play_flood_and_reply(struct fake *f)
{
    if (!fake_negotiate(f) || !fake_hear(f))
        return;
    fake_say(f, "{\"event\": \"STOP\"}\r\n");
    for (int i = 0; i < 20000; i++)
        fake_say(f, "{\"event\": \"RTC_CHANGE\", \"data\": {\"n\": 1}}\r\n");
    fake_reply(f, "return", "{}");
    fake_wait_for_end(f);
}

static void
test_flood(void **state)
{
    struct fake *f = fake_start(play_flood_and_reply);
    struct qmp *q = connect_to(f);
    struct qmp_event ev = {0};
    struct err e = {0};
    size_t n = 0;

    (void)state;
    assert_works(qmp_run(q, "stop", NULL, NULL, &e), &e);
    assert_int_equal(qmp_event(q, "STOP", deadline_in_ms(0), &ev, &e), 1);
    qmp_event_done(&ev);
    while (qmp_event(q, NULL, deadline_in_ms(0), &ev, &e) == 1) {
        qmp_event_done(&ev);
        n++;
    }
    assert_in_range(n, 1000, 4096);
    qmp_close(q);
    fake_stop(f);
}

/* ---- taking over ------------------------------------------------------ */

/* The end of a message, replies to the dead client, an event in between. */
static void
play_orphan(struct fake *f)
{
    unsigned char c = 0;

    fake_say(f, "wn\\\"{\", {\"id\": [1, {\"x\": 2}]}, \"id\": 7}\r\n"
                "{\"return\": {\"running\": true}, \"id\": 8}\r\n"
                "{\"event\": \"RESUME\"}\r\n");
    while (recv(f->fd, &c, 1, 0) == 1 && c != 0xff)
        ;
    fake_say(f, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON "
                "parse error, stray '\\u00ff'\"}}\r\n");
    if (fake_hear(f) && strstr(f->line, "query-status"))
        fake_reply(f, "return", "{\"running\": true}");
    if (fake_hear(f) && strstr(f->line, "query-version"))
        fake_reply(f, "return",
                   "{\"qemu\": {\"micro\": 0, \"minor\": 1, \"major\": 8}, "
                   "\"package\": \" (Debian 8.1)\"}");
    while (fake_hear(f))
        fake_reply(f, "return", "{}");
}

static int
raw_connect(const struct fake *f)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at = address_of(f->path);
    assert_int_equal(connect(fd, (void *)&at, sizeof(at)), 0);
    return fd;
}

static void
test_adopt(void **state)
{
    struct fake *f = fake_start(play_orphan);
    struct qmp *q = NULL;
    struct qmp_event ev = {0};
    struct err e = {0};

    (void)state;
    assert_works(qmp_adopt(raw_connect(f), &q, &e), &e);
    assert_int_equal(qmp_version(q)->major, 8);
    assert_string_equal(qmp_version(q)->package, "Debian 8.1");
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 1);
    assert_string_equal(ev.name, "RESUME");
    qmp_event_done(&ev);
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 0);
    assert_works(qmp_run(q, "cont", NULL, NULL, &e), &e);
    qmp_close(q);
    fake_stop(f);
}

static void
test_adopt_dead(void **state)
{
    struct fake *f = fake_start(play_hang_up);
    struct qmp *q = NULL;
    struct err e = {0};

    (void)state;
    assert_fails(qmp_adopt(raw_connect(f), &q, &e), &e, ERR_QEMU,
                 "closed the connection");
    assert_null(q);
    fake_stop(f);
}

/* ---- features --------------------------------------------------------- */

static void
play_commands(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    if (fake_hear(f) && strstr(f->line, "query-commands"))
        fake_reply(f, "return",
                   "[{\"name\": \"stop\"}, {\"name\": 7}, 8, {\"name\": "
                   "\"cont\"}]");
}

static void
test_has_command(void **state)
{
    struct fake *f = fake_start(play_commands);
    struct qmp *q = connect_to(f);
    struct err e = {0};

    (void)state;
    assert_int_equal(qmp_has_command(q, "cont", &e), 1);
    assert_int_equal(qmp_has_command(q, "snapshot-save", &e), 0);
    assert_int_equal(qmp_has_command(q, "stop", &e), 1);
    qmp_close(q);
    fake_stop(f);

    f = fake_start(play_hang_up);
    assert_fails(qmp_connect(f->path, &q, &e), &e, ERR_QEMU, "closed");
    fake_stop(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_bad_greetings),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_long_path),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_broken_replies),
        cmocka_unit_test(test_strange_reply),
        cmocka_unit_test(test_deaf),
        cmocka_unit_test(test_both_write),
        cmocka_unit_test(test_pass_fd),
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(test_tickets_of_a_lost_connection),
        cmocka_unit_test(test_too_many_tickets),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_event_without_waiting),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_adopt_dead),
        cmocka_unit_test(test_has_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
