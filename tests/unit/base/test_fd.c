/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "dies.h"

/*
 * A kernel that is in a bad mood: while `moody`, every second call is
 * interrupted, and the others move a few bytes only.
 */
static bool moody;
static unsigned calls;
static size_t full_after = SIZE_MAX; /* write returns 0 from then on */

static bool
interrupted(size_t *n)
{
    if (!moody)
        return false;
    if (++calls % 2 == 1) {
        errno = EINTR;
        return true;
    }
    *n = *n > 3 ? 3 : *n;
    return false;
}

ssize_t
write(int fd, const void *p, size_t n)
{
    if (full_after == 0)
        return 0;
    if (interrupted(&n))
        return -1;
    if (n > full_after)
        n = full_after;
    ssize_t w = syscall(SYS_write, fd, p, n);
    if (w > 0 && full_after != SIZE_MAX)
        full_after -= (size_t)w;
    return w;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t offset)
{
    if (full_after == 0)
        return 0;
    return interrupted(&n) ? -1 : syscall(SYS_pwrite64, fd, p, n, offset);
}

ssize_t
pread(int fd, void *p, size_t n, off_t offset)
{
    return interrupted(&n) ? -1 : syscall(SYS_pread64, fd, p, n, offset);
}

ssize_t
read(int fd, void *p, size_t n)
{
    return interrupted(&n) ? -1 : syscall(SYS_read, fd, p, n);
}

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct msghdr m = *msg;
    struct iovec first = msg->msg_iov[0];

    if (interrupted(&first.iov_len))
        return -1;
    m.msg_iov = &first;
    m.msg_iovlen = 1;
    return syscall(SYS_sendmsg, fd, &m, flags);
}

static int
calm(void **state)
{
    (void)state;
    moody = false;
    full_after = SIZE_MAX;
    return 0;
}

/* A nameless file. */
static int
scratch(void)
{
    char name[] = "/tmp/vmkeep-test-fd.XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(unlink(name), 0);
    return fd;
}

static bool
is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void
closing_forgets_the_number(void **state)
{
    int fd = scratch(), was = fd;

    (void)state;
    fd_close(&fd);
    assert_int_equal(fd, -1);
    assert_false(is_open(was));
    fd_close(&fd); /* once more does nothing */
    assert_int_equal(fd, -1);
    {
        CLEANUP(fd_closep) int scoped = scratch();
        was = scoped;
        assert_true(is_open(was));
    }
    assert_false(is_open(was));
}

static void
all_is_written_in_pieces_and_interrupted(void **state)
{
    static const char text[] = "the whole of it, whatever happens on the way";
    char back[sizeof(text)] = "";
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    moody = true;
    assert_int_equal(fd_write(fd, text, sizeof(text), "f", &e), 0);
    assert_int_equal(fd_pread(fd, back, sizeof(back), 0, "f", &e), 0);
    assert_string_equal(back, text);
    assert_int_equal(fd_pwrite(fd, text, 9, 20, "f", &e), 0);
    assert_int_equal(fd_pread(fd, back, 11, 19, "f", &e), 0);
    assert_memory_equal(back, "athe wholep", 11);
}

static void
nothing_is_written_without_a_call(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(fd_write(-1, NULL, 0, "f", &e), 0);
    assert_int_equal(fd_pwrite(-1, NULL, 0, 0, "f", &e), 0);
    assert_int_equal(fd_pread(-1, NULL, 0, 0, "f", &e), 0);
}

static void
a_failed_write_names_the_file(void **state)
{
    struct err e = {0};
    CLEANUP(fd_closep) int full = open("/dev/full", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(full >= 0);
    assert_int_equal(fd_write(full, "x", 1, "/b/pack", &e), -1);
    assert_int_equal(e.code, ERR_NOSPACE);
    assert_string_equal(e.msg, "cannot write /b/pack: No space left on device");
    err_clear(&e);
    assert_int_equal(fd_pwrite(full, "x", 1, 0, "/b/pack", &e), -1);
    assert_int_equal(e.code, ERR_NOSPACE);
    err_clear(&e);
    assert_int_equal(fd_write(-1, "x", 1, "f", &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "cannot write f: Bad file descriptor");
}

static void
a_write_that_makes_no_progress_ends(void **state)
{
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    full_after = 4;
    assert_int_equal(fd_write(fd, "abcdefgh", 8, "f", &e), -1);
    assert_int_equal(e.code, ERR_NOSPACE);
    assert_string_equal(e.msg, "cannot write f: it is full");
    err_clear(&e);
    full_after = 0;
    assert_int_equal(fd_pwrite(fd, "abcdefgh", 8, 0, "f", &e), -1);
    assert_int_equal(e.code, ERR_NOSPACE);
}

static void
a_file_that_ends_early_is_corrupt(void **state)
{
    char back[8];
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    assert_int_equal(fd_write(fd, "abcdef", 6, "f", &e), 0);
    assert_int_equal(fd_pread(fd, back, 8, 1, "f", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "f ends 3 bytes too early");
    err_clear(&e);
    assert_int_equal(fd_pread(fd, back, 1, 6, "f", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
}

static void
an_offset_of_a_stranger_is_an_error(void **state)
{
    char back[8];
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    assert_int_equal(fd_pread(fd, back, 1, UINT64_MAX - 3, "f", &e), -1);
    assert_int_equal(e.code, ERR_IO);
    err_clear(&e);
    assert_int_equal(fd_pwrite(fd, back, 1, (uint64_t)1 << 63, "f", &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void
read_some_is_not_stopped_by_a_signal(void **state)
{
    char back[8];
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    assert_int_equal(fd_write(fd, "abcdef", 6, "f", &e), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    moody = true;
    assert_int_equal(fd_read_some(fd, back, 8), 3);
    assert_int_equal(fd_read_some(fd, back, 8), 3);
    assert_memory_equal(back, "def", 3);
    assert_int_equal(fd_read_some(fd, back, 8), 0);
    assert_int_equal(fd_read_some(-1, back, 8), -1);
    assert_int_equal(errno, EBADF);
}

static void
a_socketpair_is_connected_and_close_on_exec(void **state)
{
    int s[2] = {-1, -1};
    char back[8] = "";
    struct err e = {0};

    (void)state;
    assert_int_equal(fd_socketpair(s, &e), 0);
    assert_true(fcntl(s[0], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(s[1], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fd_write(s[0], "ping", 4, "s", &e), 0);
    assert_int_equal(fd_read_some(s[1], back, 8), 4);
    assert_string_equal(back, "ping");
    fd_close(&s[0]);
    assert_int_equal(fd_read_some(s[1], back, 8), 0);
    fd_close(&s[1]);
}

static void
no_socketpair_is_an_error(void **state)
{
    struct rlimit before, none;
    int s[2] = {-1, -1};
    struct err e = {0};

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = fd_socketpair(s, &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg,
                        "cannot make a socket pair: Too many open files");
}

/* Reads `n` bytes from `sock`; the number of descriptors that came with them,
 * the last one in *out. */
static int
receive(int sock, uint8_t *p, size_t n, int *out)
{
    int fds = 0;

    while (n > 0) {
        union {
            struct cmsghdr align;
            char room[CMSG_SPACE(4 * sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = p, .iov_len = n};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
        ssize_t r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        if (r <= 0)
            return -1;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
             c = CMSG_NXTHDR(&msg, c)) {
            memcpy(out, CMSG_DATA(c), sizeof(*out));
            fds += (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        }
        p += r;
        n -= (size_t)r;
    }
    return fds;
}

static void
a_descriptor_travels_once_with_all_the_bytes(void **state)
{
    static const uint8_t text[] = "{\"execute\": \"getfd\"}";
    uint8_t back[sizeof(text)];
    int s[2] = {-1, -1}, got = -1;
    char through[4] = "";
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    for (int round = 0; round < 2; round++) {
        moody = round == 1; /* in pieces of three bytes */
        assert_int_equal(fd_socketpair(s, &e), 0);
        assert_int_equal(fd_send_with_fd(s[0], text, sizeof(text), fd, &e), 0);
        moody = false;
        assert_int_equal(receive(s[1], back, sizeof(back), &got), 1);
        assert_memory_equal(back, text, sizeof(text));
        assert_int_not_equal(got, fd);
        assert_int_equal(fd_pwrite(got, "same", 4, 0, "f", &e), 0);
        assert_int_equal(fd_pread(fd, through, 4, 0, "f", &e), 0);
        assert_memory_equal(through, "same", 4);
        assert_int_equal(ftruncate(fd, 0), 0);
        fd_close(&got);
        fd_close(&s[0]);
        fd_close(&s[1]);
    }
}

/* More than a socket holds: sent while a child takes it out again. */
static void
a_long_message_waits_for_its_reader(void **state)
{
    enum { BIG = 3 << 20 };
    CLEANUP(freep) uint8_t *p = xmalloc(BIG);
    int s[2] = {-1, -1}, status = -1;
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    for (size_t i = 0; i < BIG; i++)
        p[i] = (uint8_t)(i % 251);
    assert_int_equal(fd_socketpair(s, &e), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int got = -1;
        CLEANUP(freep) uint8_t *back = xcalloc(1, BIG);
        _exit(!(receive(s[1], back, BIG, &got) == 1 &&
                memcmp(p, back, BIG) == 0));
    }
    fd_close(&s[1]);
    assert_int_equal(fd_send_with_fd(s[0], p, BIG, fd, &e), 0);
    fd_close(&s[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
a_peer_that_is_gone_is_an_error_not_a_signal(void **state)
{
    int s[2] = {-1, -1};
    struct err e = {0};
    CLEANUP(fd_closep) int fd = scratch();

    (void)state;
    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
    assert_int_equal(fd_socketpair(s, &e), 0);
    fd_close(&s[1]);
    assert_int_equal(fd_send_with_fd(s[0], "x", 1, fd, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "cannot pass a descriptor: Broken pipe");
    fd_close(&s[0]);
}

static void
send_nothing(void)
{
    int s[2] = {-1, -1};
    struct err e = {0};

    (void)fd_socketpair(s, &e);
    (void)fd_send_with_fd(s[0], "", 0, 0, &e);
}

static void
a_descriptor_cannot_travel_alone(void **state)
{
    (void)state;
    assert_int_equal(signal_of(send_nothing), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(closing_forgets_the_number, calm),
        cmocka_unit_test_teardown(all_is_written_in_pieces_and_interrupted,
                                  calm),
        cmocka_unit_test_teardown(nothing_is_written_without_a_call, calm),
        cmocka_unit_test_teardown(a_failed_write_names_the_file, calm),
        cmocka_unit_test_teardown(a_write_that_makes_no_progress_ends, calm),
        cmocka_unit_test_teardown(a_file_that_ends_early_is_corrupt, calm),
        cmocka_unit_test_teardown(an_offset_of_a_stranger_is_an_error, calm),
        cmocka_unit_test_teardown(read_some_is_not_stopped_by_a_signal, calm),
        cmocka_unit_test_teardown(a_socketpair_is_connected_and_close_on_exec,
                                  calm),
        cmocka_unit_test_teardown(no_socketpair_is_an_error, calm),
        cmocka_unit_test_teardown(a_descriptor_travels_once_with_all_the_bytes,
                                  calm),
        cmocka_unit_test_teardown(a_long_message_waits_for_its_reader, calm),
        cmocka_unit_test_teardown(a_peer_that_is_gone_is_an_error_not_a_signal,
                                  calm),
        cmocka_unit_test_teardown(a_descriptor_cannot_travel_alone, calm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
