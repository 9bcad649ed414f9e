/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/unixpeer.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "check.h"

struct server {
    char dir[32], path[64];
    int listener;
};

static int
setup(void **state)
{
    struct server *s = xcalloc(1, sizeof(*s));
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    (void)snprintf(s->dir, sizeof(s->dir), "/tmp/unixpeer-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    (void)snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
    at = address_of(s->path);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *state = s;
    return bind(s->listener, (void *)&at, sizeof(at)) == 0 &&
                   listen(s->listener, 8) == 0
               ? 0
               : -1;
}

static int
teardown(void **state)
{
    struct server *s = *state;

    (void)close(s->listener);
    (void)unlink(s->path);
    (void)rmdir(s->dir);
    free(s);
    return 0;
}

static int
client(const struct server *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at = address_of(s->path);
    assert_int_equal(connect(fd, (void *)&at, sizeof(at)), 0);
    return fd;
}

static void
test_peer(void **state)
{
    const struct server *s = *state;
    int fd = client(s);
    int served = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

    assert_int_equal(unixpeer_of(fd), getpid());
    assert_int_equal(unixpeer_of(served), getpid());
    (void)close(served);
    assert_int_equal(unixpeer_of(fd), 0);
    assert_int_equal(unixpeer_of(0), 0); /* no socket */
    (void)close(fd);
    assert_int_equal(unixpeer_of(fd), 0);
}

/* A client that is served, and clients that wait. */
static void
test_client(void **state)
{
    const struct server *s = *state;
    int first = client(s), second = client(s), third = client(s);
    pid_t pid = 0;

    assert_false(unixpeer_client(s->path, second, &pid)); /* all wait */
    int served = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(unixpeer_client(s->path, second, &pid));
    assert_int_equal(pid, getpid());
    assert_false(unixpeer_client(s->path, first, &pid)); /* that is us */
    (void)close(served);
    (void)close(first);
    assert_false(unixpeer_client(s->path, second, &pid));
    (void)close(second);
    (void)close(third);
    assert_false(unixpeer_client("/nowhere/s", second, &pid));
}

/* The server bound the socket by another name than ours for it. */
static void
test_other_name(void **state)
{
    const struct server *s = *state;
    int first = client(s), second = client(s);
    int served = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    char other[80];
    pid_t pid = 0;

    (void)snprintf(other, sizeof(other), "%s/../%s/s", s->dir,
                   strrchr(s->dir, '/') + 1);
    assert_true(unixpeer_client(other, second, &pid));
    assert_int_equal(pid, getpid());
    (void)close(served);
    (void)close(first);
    (void)close(second);
}

#define PEER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        PEER_TEST(test_peer),
        PEER_TEST(test_client),
        PEER_TEST(test_other_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
