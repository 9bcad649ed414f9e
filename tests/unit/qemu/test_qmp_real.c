/* SPDX-License-Identifier: Apache-2.0 */
/* qmp against a real QEMU. */
#include "qemu/qmp.h"

#include <sys/socket.h>

#include "base/fd.h"
#include "real_qemu.h"

static int
setup(void **state)
{
    struct real *r = xcalloc(1, sizeof(*r));

    *state = r;
    return 0;
}

static int
teardown(void **state)
{
    struct real *r = *state;

    real_stop(r);
    free(r);
    return 0;
}

static struct real *
start(void **state, const char *const *more)
{
    struct real *r = *state;

    real_require();
    real_make_dir(r);
    real_start(r, more);
    return r;
}

static void
test_commands(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct err e = {0};
    json_t *out = NULL;

    assert_true(qmp_version(q)->major >= 5);
    assert_works(qmp_run(q, "query-status", NULL, &out, &e), &e);
    assert_string_equal(json_string_value(json_object_get(out, "status")),
                        "prelaunch");
    json_decref(out);
    assert_fails(qmp_run(q, "frobnicate", NULL, NULL, &e), &e, ERR_UNSUP,
                 "frobnicate: The command frobnicate has not been found");
    assert_fails(
        qmp_run(q, "device_del", json_pack("{s:s}", "id", "x"), NULL, &e), &e,
        ERR_NOENT, "device_del: Device 'x' not found");
    assert_fails(qmp_run(q, "qom-get", NULL, NULL, &e), &e, ERR_QEMU,
                 "qom-get: Parameter 'path' is missing");
    assert_int_equal(qmp_has_command(q, "transaction", &e), 1);
    assert_int_equal(qmp_has_command(q, "transmogrify", &e), 0);
    qmp_close(q);
}

/* The largest reply that QEMU has. */
static void
test_large_reply(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct err e = {0};
    json_t *out = NULL;

    assert_works(qmp_run(q, "query-qmp-schema", NULL, &out, &e), &e);
    assert_true(json_array_size(out) > 500);
    json_decref(out);
    qmp_close(q);
}

static void
test_events(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct qmp_event stop = {0}, resume = {0};
    struct err e = {0};

    assert_works(qmp_run(q, "cont", NULL, NULL, &e), &e);
    assert_int_equal(qmp_event(q, "RESUME", deadline_in_ms(5000), &resume, &e),
                     1);
    assert_works(qmp_run(q, "stop", NULL, NULL, &e), &e);
    assert_int_equal(qmp_event(q, "STOP", deadline_in_ms(5000), &stop, &e), 1);
    assert_true(resume.time_ns > 0 && resume.time_ns <= stop.time_ns);
    assert_true(stop.time_ns <= clock_wall_ns());
    qmp_event_done(&stop);
    qmp_event_done(&resume);
    assert_int_equal(qmp_event(q, "STOP", deadline_in_ms(10), &stop, &e), 0);
    qmp_close(q);
}

static void
test_descriptors(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct err e = {0};
    int fds[2] = {-1, -1};
    char c = 0;

    assert_works(fd_socketpair(fds, &e), &e);
    assert_works(qmp_run_fd(q, "getfd", json_pack("{s:s}", "fdname", "a"),
                            fds[1], NULL, &e),
                 &e);
    fd_close(&fds[1]);
    assert_works(
        qmp_run(q, "closefd", json_pack("{s:s}", "fdname", "a"), NULL, &e), &e);
    assert_int_equal(fd_read_some(fds[0], &c, 1), 0); /* QEMU's was the last */
    assert_fails(
        qmp_run(q, "closefd", json_pack("{s:s}", "fdname", "a"), NULL, &e), &e,
        ERR_QEMU, "closefd: File descriptor named 'a' not found");
    assert_fails(
        qmp_run(q, "getfd", json_pack("{s:s}", "fdname", "a"), NULL, &e), &e,
        ERR_QEMU, "getfd: No file descriptor supplied via SCM_RIGHTS");
    fd_close(&fds[0]);
    qmp_close(q);
}

/* More at once than QEMU queues, and than a socket holds. */
static void
test_many_at_once(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct err e = {0};
    uint64_t tickets[600];

    for (size_t i = 0; i < ARRAY_LEN(tickets); i++)
        assert_works(qmp_send(q, i == 7 ? "frobnicate" : "query-version", NULL,
                              &tickets[i], &e),
                     &e);
    for (size_t i = 0; i < ARRAY_LEN(tickets); i++) {
        json_t *out = NULL;
        if (i == 7) {
            assert_fails(qmp_redeem(q, tickets[i], NULL, &e), &e, ERR_UNSUP,
                         "frobnicate");
            continue;
        }
        assert_works(qmp_redeem(q, tickets[i], &out, &e), &e);
        assert_non_null(json_object_get(out, "qemu"));
        json_decref(out);
    }
    qmp_close(q);
}

static void
test_busy(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r), *second = NULL;
    struct err e = {0};
    char who[64];

    (void)snprintf(who, sizeof(who), "process %d (", (int)getpid());
    if (geteuid() == 0) {
        assert_fails(qmp_connect(r->socket, &second, &e), &e, ERR_TIMEOUT, who);
    } else {
        assert_fails(qmp_connect(r->socket, &second, &e), &e, ERR_TIMEOUT,
                     "another client");
    }
    qmp_close(q);
    q = real_connect(r);
    qmp_close(q);
}

/* A QEMU that is stopped looks much the same, but nobody holds it. */
static void
test_stopped(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r), *second = NULL;
    struct err e = {0};

    qmp_set_timeout_ms(q, 200);
    (void)kill(r->pid, SIGSTOP);
    assert_fails(qmp_run(q, "query-status", NULL, NULL, &e), &e, ERR_TIMEOUT,
                 "query-status: monitor ");
    qmp_close(q);
    assert_fails(qmp_connect(r->socket, &second, &e), &e, ERR_TIMEOUT,
                 "or QEMU hangs");
    (void)kill(r->pid, SIGCONT);
    q = real_connect(r);
    assert_works(qmp_run(q, "query-status", NULL, NULL, &e), &e);
    qmp_close(q);
}

static void
test_killed(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct err e = {0};

    real_kill(r);
    assert_fails(qmp_run(q, "query-status", NULL, NULL, &e), &e, ERR_QEMU,
                 "closed the connection");
    qmp_close(q);
    assert_fails(qmp_connect(r->socket, &q, &e), &e, ERR_NOENT,
                 "nobody listens");
}

static void
test_pretty(void **state)
{
    struct real *r = start(
        state, (const char *const[]){"-qmp-pretty",
                                     "unix:pretty,server=on,wait=off", NULL});
    struct err e = {0};
    json_t *out = NULL;

    (void)snprintf(r->socket, sizeof(r->socket), "%s/pretty", r->dir);
    struct qmp *q = real_connect(r);
    assert_works(qmp_run(q, "query-block", NULL, &out, &e), &e);
    assert_true(json_is_array(out));
    json_decref(out);
    qmp_close(q);
}

static void
test_human_monitor(void **state)
{
    struct real *r = start(
        state,
        (const char *const[]){"-monitor", "unix:hmp,server=on,wait=off", NULL});
    struct qmp *q = NULL;
    struct err e = {0};
    char path[64];

    (void)snprintf(path, sizeof(path), "%s/hmp", r->dir);
    qmp_close(real_connect(r));
    assert_fails(qmp_connect(path, &q, &e), &e, ERR_QEMU, "is no QMP monitor");
}

/* ---- taking over ------------------------------------------------------ */

/* Puts bytes on the wire behind the back of the connection. */
static void
say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void
check_adopted(int fd)
{
    struct qmp *q = NULL;
    struct err e = {0};
    json_t *out = NULL;

    assert_works(qmp_adopt(fd, &q, &e), &e);
    assert_true(qmp_version(q)->major >= 5);
    for (int i = 0; i < 3; i++) {
        assert_works(qmp_run(q, "query-status", NULL, &out, &e), &e);
        assert_non_null(json_object_get(out, "running"));
        json_decref(out);
    }
    qmp_close(q);
}

/* The dead client had sent the first n bytes of a command, for every n. */
static void
test_adopt_half_sent(void **state)
{
    struct real *r = start(state, NULL);
    const char *command = "{\"execute\": \"qom-list\", \"arguments\": {\"path\""
                          ": \"/machine\\\"\"}, \"id\": [1, \"a\"]}\n";

    for (size_t n = 0; n <= strlen(command); n++) {
        struct qmp *q = real_connect(r);
        int fd = dup(qmp_fd(q));
        qmp_close(q); /* the connection lives on in fd */
        char *half = xstrndup(command, n);
        if (n > 0)
            say(fd, half);
        free(half);
        check_adopted(fd);
    }
}

/* The dead client had read the first n bytes of a reply. */
static void
test_adopt_half_read(void **state)
{
    struct real *r = start(state, NULL);

    for (size_t n = 1; n < 400; n += 7) {
        char bytes[400];
        struct qmp *q = real_connect(r);
        int fd = dup(qmp_fd(q));
        qmp_close(q);
        say(fd, "{\"execute\": \"query-commands\", \"id\": \"{\\\"\"}\n");
        assert_int_equal(
            poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000), 1);
        assert_true(recv(fd, bytes, n, 0) > 0);
        check_adopted(fd);
    }
}

static void
test_adopt_keeps_events(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    int fd = dup(qmp_fd(q));
    struct qmp_event ev = {0};
    struct err e = {0};

    qmp_close(q);
    say(fd, "{\"execute\": \"cont\"}{\"execute\": \"stop\"}{\"execute\": \"qu");
    q = NULL;
    assert_works(qmp_adopt(fd, &q, &e), &e);
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 1);
    assert_string_equal(ev.name, "RESUME");
    qmp_event_done(&ev);
    assert_int_equal(qmp_event(q, NULL, deadline_in_ms(0), &ev, &e), 1);
    assert_string_equal(ev.name, "STOP");
    qmp_event_done(&ev);
    qmp_close(q);
}

/* Before the dead client had negotiated. */
static void
test_adopt_before_negotiation(void **state)
{
    struct real *r = start(state, NULL);
    struct qmp *q = real_connect(r);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    qmp_close(q);
    at = address_of(r->socket);
    assert_int_equal(connect(fd, (void *)&at, sizeof(at)), 0);
    check_adopted(fd);
}

#define REAL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        REAL_TEST(test_commands),
        REAL_TEST(test_large_reply),
        REAL_TEST(test_events),
        REAL_TEST(test_descriptors),
        REAL_TEST(test_many_at_once),
        REAL_TEST(test_busy),
        REAL_TEST(test_stopped),
        REAL_TEST(test_killed),
        REAL_TEST(test_pretty),
        REAL_TEST(test_human_monitor),
        REAL_TEST(test_adopt_half_sent),
        REAL_TEST(test_adopt_half_read),
        REAL_TEST(test_adopt_keeps_events),
        REAL_TEST(test_adopt_before_negotiation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
