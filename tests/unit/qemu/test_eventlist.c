/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/eventlist.h"

#include <stdlib.h>

#include "base/mem.h"
#include "check.h"

static void
add(struct eventlist *l, const char *name, int64_t n, size_t bytes)
{
    struct qmp_event ev = {
        .name = xstrdup(name), .data = json_object(), .time_ns = n};

    eventlist_add(l, &ev, bytes);
    assert_null(ev.name); /* taken */
    assert_in_range(l->n, 1, EVENTLIST_MAX);
    assert_in_range(l->bytes, 1, EVENTLIST_BYTES);
}

/* The time of the oldest of that name, or -1. */
static int64_t
take(struct eventlist *l, const char *name)
{
    struct qmp_event ev = {0};

    if (!eventlist_take(l, name, &ev))
        return -1;
    int64_t n = ev.time_ns;
    qmp_event_done(&ev);
    return n;
}

static void
test_order(void **state)
{
    struct eventlist l;

    (void)state;
    eventlist_init(&l);
    assert_int_equal(take(&l, NULL), -1);
    add(&l, "A", 1, 10);
    add(&l, "B", 2, 10);
    add(&l, "A", 3, 10);
    add(&l, "B", 4, 10);
    assert_int_equal(take(&l, "B"), 2);
    assert_int_equal(take(&l, "C"), -1);
    assert_int_equal(take(&l, "B"), 4); /* the last one of the list */
    add(&l, "B", 5, 10);
    assert_int_equal(take(&l, NULL), 1);
    assert_int_equal(take(&l, NULL), 3);
    assert_int_equal(take(&l, NULL), 5);
    assert_int_equal(take(&l, NULL), -1);
    assert_int_equal(l.n, 0);
    assert_int_equal(l.bytes, 0);
    add(&l, "A", 6, 10);
    eventlist_clear(&l);
    assert_int_equal(take(&l, NULL), -1);
    add(&l, "A", 7, 10);
    assert_int_equal(take(&l, NULL), 7);
}

static void
test_flood_of_one_kind(void **state)
{
    struct eventlist l;

    (void)state;
    eventlist_init(&l);
    add(&l, "STOP", 1, 10);
    add(&l, "RTC_CHANGE", 2, 10);
    add(&l, "MIGRATION", 3, 10);
    for (int i = 0; i < 3 * EVENTLIST_MAX; i++)
        add(&l, "RTC_CHANGE", 100 + i, 10);
    add(&l, "MIGRATION", 4, 10);
    assert_int_equal(take(&l, "STOP"), 1);
    assert_int_equal(take(&l, "MIGRATION"), 3);
    assert_int_equal(take(&l, "MIGRATION"), 4);
    int64_t last = -1;
    size_t n = 0;
    for (int64_t t = 0; (t = take(&l, NULL)) != -1; n++) {
        assert_true(t > last); /* the oldest were forgotten, order is kept */
        last = t;
    }
    assert_int_equal(last, 99 + 3 * EVENTLIST_MAX);
    assert_true(n >= EVENTLIST_MAX / 2 - 4);
}

static void
test_flood_of_bytes(void **state)
{
    struct eventlist l;

    (void)state;
    eventlist_init(&l);
    add(&l, "STOP", 1, 100);
    for (int i = 0; i < 500; i++)
        add(&l, "BIG", 100 + i, EVENTLIST_EVENT_BYTES);
    assert_int_equal(take(&l, "STOP"), 1);
    assert_true(l.n >= EVENTLIST_BYTES / EVENTLIST_EVENT_BYTES / 2 - 1);
    eventlist_clear(&l);
}

/* No two of a kind: only a broken QEMU does that, but it must end. */
static void
test_flood_of_kinds(void **state)
{
    struct eventlist l;
    char name[32];

    (void)state;
    eventlist_init(&l);
    for (int i = 0; i < 2 * EVENTLIST_MAX; i++) {
        (void)snprintf(name, sizeof(name), "KIND_%d", i);
        add(&l, name, i, 10);
    }
    assert_int_equal(take(&l, name), 2 * EVENTLIST_MAX - 1);
    eventlist_clear(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_flood_of_one_kind),
        cmocka_unit_test(test_flood_of_bytes),
        cmocka_unit_test(test_flood_of_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
