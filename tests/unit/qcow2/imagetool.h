/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imagetool: what the tests of qcow2/ share: a scratch folder, QEMU's own
 * tools as the oracle, and random numbers that can be had again.
 *
 * QCOW2_SEED (default 1) seeds them, QCOW2_ROUNDS multiplies the work.
 */
#ifndef TEST_QCOW2_IMAGETOOL_H
#define TEST_QCOW2_IMAGETOOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOOL_OUT_BYTES = 65536 };

static char tool_out[TOOL_OUT_BYTES]; /* of the last tool_run */
static char scratch[256];
static uint64_t random_state;

static inline uint64_t
env_u64(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return s ? strtoull(s, NULL, 0) : otherwise;
}

static inline void
random_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
}

static inline uint64_t
random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1du;
}

static inline uint64_t
random_below(uint64_t n)
{
    return (random_u64() >> 11) % n;
}

/* Random bytes, none of them zero. */
static inline void
random_fill(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(1 + random_below(255));
}

__attribute__((format(printf, 1, 0))) static inline int
tool_vrun(const char *fmt, va_list ap)
{
    char command[8192];
    int n = snprintf(command, sizeof(command), "cd %s && exec 2>&1; ", scratch);

    (void)vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
    (void)fflush(stdout);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t len = fread(tool_out, 1, sizeof(tool_out) - 1, f);
    tool_out[len] = '\0';
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

/* Runs a shell command in the scratch folder; its exit code.  What it prints,
 * errors too, is in tool_out. */
__attribute__((format(printf, 1, 2))) static inline int
tool_run(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int r = tool_vrun(fmt, ap);
    va_end(ap);
    return r;
}

/* The same, and it must succeed. */
__attribute__((format(printf, 1, 2))) static inline void
tool_must(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int r = tool_vrun(fmt, ap);
    va_end(ap);
    if (r != 0)
        fail_msg("\"%s\" exits with %d: %s", fmt, r, tool_out);
}

static inline void
require_qemu_img(void)
{
    if (tool_run("command -v qemu-img && command -v qemu-io") != 0)
        skip();
}

static inline int
scratch_open(const char *name, int flags)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    return fd;
}

/* An empty file of that name. */
static inline int
scratch_create(const char *name)
{
    return scratch_open(name, O_RDWR | O_CREAT | O_TRUNC);
}

static inline void
scratch_write(const char *name, const void *p, size_t len)
{
    int fd = scratch_create(name);

    assert_int_equal(write(fd, p, len), (ssize_t)len);
    assert_int_equal(close(fd), 0);
}

/* The whole file, at most `room` bytes; its size. */
static inline size_t
scratch_read(const char *name, void *p, size_t room)
{
    int fd = scratch_open(name, O_RDONLY);
    size_t len = 0;
    ssize_t n = 0;

    while (len < room && (n = read(fd, (uint8_t *)p + len, room - len)) > 0)
        len += (size_t)n;
    assert_int_not_equal(n, -1);
    assert_int_equal(close(fd), 0);
    return len;
}

static inline int
scratch_setup(void **state)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */

    (void)state;
    (void)snprintf(scratch, sizeof(scratch), "%s/vmkeep-qcow2-XXXXXX",
                   tmp ? tmp : "/tmp");
    random_seed(env_u64("QCOW2_SEED", 1));
    printf("# QCOW2_SEED=%llu\n", (unsigned long long)env_u64("QCOW2_SEED", 1));
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int
scratch_teardown(void **state)
{
    (void)state;
    return tool_run("rm -rf -- %s", scratch);
}

#endif
