/* SPDX-License-Identifier: Apache-2.0 */
#include "work/rate.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "work/cancel.h"

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

/* The clocks of this program are set by hand; whoever waits moves them. */
static uint64_t now_ns;
static int64_t wall_s;
static unsigned polls;
static struct cancel *raise_at_poll;

int
clock_gettime(clockid_t id, struct timespec *t)
{
    if (id == CLOCK_MONOTONIC)
        *t = (struct timespec){.tv_sec = (time_t)(now_ns / S),
                               .tv_nsec = (long)(now_ns % S)};
    else
        *t = (struct timespec){.tv_sec = wall_s};
    return 0;
}

int
poll(struct pollfd *p, nfds_t n, int ms)
{
    (void)p;
    (void)n;
    polls++;
    assert_true(ms >= 0);
    now_ns += (uint64_t)ms * MS;
    if (raise_at_poll)
        cancel_raise(raise_at_poll);
    return 0;
}

static int
setup(void **state)
{
    (void)state;
    now_ns = 1000 * S;
    wall_s = 0; /* midnight, UTC */
    polls = 0;
    raise_at_poll = NULL;
    return 0;
}

static struct rate *
rate_of(const char *text)
{
    struct rate *r = NULL;
    struct err e = {0};

    if (rate_parse(text, "--limit-upload", &r, &e) == -1)
        fail_msg("%s: %s", text, e.msg);
    return r;
}

static void
freep_rate(struct rate **r)
{
    rate_free(*r);
}

/* Move so much, in pieces, as those do who keep to it: the seconds it takes. */
static double
move(struct rate *r, uint64_t bytes, size_t piece)
{
    uint64_t start = now_ns;

    for (; bytes >= piece; bytes -= piece)
        rate_wait(r, piece, NULL);
    rate_wait(r, (size_t)bytes, NULL);
    return (double)(now_ns - start) / 1e9;
}

static void
so_many_bytes_a_second(void **state)
{
    CLEANUP(freep_rate) struct rate *r = rate_of("2M");
    uint64_t bytes = 0, waited = 0;

    (void)state;
    double s = move(r, 20 * MIB, rate_piece(r));
    assert_true(s > 9.7 && s < 10.2);
    rate_counts(r, &bytes, &waited);
    assert_true(bytes == 20 * MIB);
    assert_true(waited > 9 * S);
    /* A pause is not made up for, but for a moment's worth. */
    now_ns += 3600 * S;
    s = move(r, 2 * MIB, rate_piece(r));
    assert_true(s > 0.85 && s < 1.1);
}

/* Two who take turns get half each, together no more than one. */
static void
all_share_it(void **state)
{
    CLEANUP(freep_rate) struct rate *r = rate_of("1M");
    uint64_t until[2] = {0, 0}, sent[2] = {0, 0}, end = now_ns + 10 * S;

    (void)state;
    while (now_ns < end) {
        for (int who = 0; who < 2; who++)
            if (until[who] <= now_ns) {
                until[who] = rate_take(r, 16 << 10);
                sent[who] += 16 << 10;
            }
        uint64_t next = until[0] < until[1] ? until[0] : until[1];
        now_ns = next > now_ns ? next : now_ns + MS;
    }
    assert_true(sent[0] + sent[1] < 10 * MIB + MIB / 4);
    assert_true(sent[0] + sent[1] > 10 * MIB - MIB / 4);
    assert_true(sent[0] > 4 * MIB && sent[1] > 4 * MIB);
}

/* As another process would: by a descriptor of its own. */
static struct rate *
inherit(struct rate *r)
{
    char text[32];
    struct err e = {0};
    int fd = -1;

    if (rate_share(r, &fd, &e) == -1)
        fail_msg("%s", e.msg);
    (void)snprintf(text, sizeof(text), RATE_SHARED_PREFIX "%d", dup(fd));
    return rate_of(text);
}

static void
processes_share_it(void **state)
{
    CLEANUP(freep_rate) struct rate *first = rate_of("00:00-12:00=1M,2M");
    CLEANUP(freep_rate) struct rate *second = inherit(first);
    CLEANUP(freep_rate) struct rate *third = inherit(first);
    struct rate *all[] = {first, second, third};
    uint64_t until[3] = {0}, sent[3] = {0}, bytes = 0, waited = 0;

    (void)state;
    wall_s = 0;
    for (uint64_t end = now_ns + 9 * S; now_ns < end; now_ns += MS)
        for (int who = 0; who < 3; who++)
            if (until[who] <= now_ns) {
                until[who] = rate_take(all[who], 16 << 10);
                sent[who] += 16 << 10;
            }
    for (int who = 0; who < 3; who++) {
        assert_in_range(sent[who], 2 * MIB + MIB / 2, 3 * MIB + MIB / 2);
        rate_counts(all[who], &bytes, &waited); /* each its own */
        assert_int_equal(bytes, sent[who]);
    }
    assert_in_range(sent[0] + sent[1] + sent[2], 9 * MIB - MIB / 4,
                    9 * MIB + MIB / 4);
}

static void
at(unsigned hour, unsigned minute)
{
    wall_s = hour * 3600 + minute * 60;
}

static void
it_depends_on_the_time_of_day(void **state)
{
    CLEANUP(freep_rate)
    struct rate *r = rate_of("08:00-18:00=2M,22:00-06:30=unlimited,4M");

    (void)state;
    at(7, 59);
    assert_true(move(r, 8 * MIB, 64 << 10) > 1.8);
    at(8, 0);
    now_ns += S;
    assert_true(move(r, 8 * MIB, 64 << 10) > 3.8);
    at(17, 59);
    now_ns += S;
    assert_true(move(r, 8 * MIB, 64 << 10) > 3.8);
    at(18, 0);
    now_ns += S;
    assert_true(move(r, 8 * MIB, 64 << 10) < 2.1);
    for (unsigned hour = 22; hour != 7; hour = (hour + 1) % 24) {
        at(hour, 29);
        assert_true(rate_piece(r) == SIZE_MAX);
        assert_true(move(r, 1024 * MIB, MIB) == 0);
    }
    at(6, 30);
    assert_true(rate_piece(r) <= RATE_PIECE_MAX);
}

static void
without_a_rate_for_the_rest_there_is_none(void **state)
{
    CLEANUP(freep_rate) struct rate *r = rate_of("00:00-24:00=1M");
    CLEANUP(freep_rate) struct rate *day = rate_of("08:00-09:00=1M");

    (void)state;
    at(23, 59);
    assert_true(move(r, MIB, 4096) > 0.8);
    assert_true(move(day, 64 * MIB, 4096) == 0);
    assert_true(rate_piece(NULL) == SIZE_MAX);
    rate_wait(NULL, 1000, NULL);
}

static void
pieces_are_small(void **state)
{
    CLEANUP(freep_rate) struct rate *slow = rate_of("16k");
    CLEANUP(freep_rate) struct rate *fast = rate_of("1G");

    (void)state;
    assert_true(rate_piece(slow) == RATE_PIECE_MIN);
    assert_true(rate_piece(fast) == RATE_PIECE_MAX);
}

static void
a_cancel_ends_the_wait(void **state)
{
    CLEANUP(freep_rate) struct rate *r = rate_of("16k");
    struct cancel *c = cancel_new();

    (void)state;
    rate_wait(r, MIB, c); /* who comes first does not wait */
    assert_int_equal(polls, 0);
    raise_at_poll = c;
    rate_wait(r, MIB, c);
    assert_int_equal(polls, 1);
    for (int i = 0; i < 10; i++)
        rate_wait(r, MIB, c);
    assert_int_equal(polls, 1);
    cancel_free(c);
}

static void
what_makes_no_sense_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "fast",
                                      "2M,3M",
                                      "8:00-18:00=2M",
                                      "-1",
                                      "08:00=2M",
                                      "08:00-25:00=2M",
                                      "08:60-10:00=2M",
                                      "10k",
                                      "08:00-08:00=2M",
                                      "24:01-02:00=2M",
                                      "08:00-18:00=",
                                      "2M,",
                                      ",2M",
                                      "08:00-18:00=2M=3M",
                                      "0"};
    char many[2000] = "";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct rate *r = NULL;
        struct err e = {0};
        if (rate_parse(bad[i], "--limit-upload", &r, &e) != -1)
            fail_msg("%s", bad[i]);
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.msg, "--limit-upload"));
        assert_null(r);
    }
    for (int i = 0; i <= RATE_MAX_WINDOWS; i++)
        (void)strcat(many, i ? ",01:00-02:00=1M" : "01:00-02:00=1M");
    struct rate *r = NULL;
    struct err e = {0};
    assert_int_equal(rate_parse(many, "x", &r, &e), -1);
    assert_non_null(strstr(e.msg, "windows"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(so_many_bytes_a_second, setup),
        cmocka_unit_test_setup(all_share_it, setup),
        cmocka_unit_test_setup(processes_share_it, setup),
        cmocka_unit_test_setup(it_depends_on_the_time_of_day, setup),
        cmocka_unit_test_setup(without_a_rate_for_the_rest_there_is_none,
                               setup),
        cmocka_unit_test_setup(pieces_are_small, setup),
        cmocka_unit_test_setup(a_cancel_ends_the_wait, setup),
        cmocka_unit_test_setup(what_makes_no_sense_is_refused, setup),
    };

    (void)setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
