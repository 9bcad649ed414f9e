/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The repositories of tests/golden (GOLDEN_DIR), made once for each format,
 * are read by every build.
 */
#include "golden.h"

#include "fixture.h"
#include "repo/checker.h"

static struct repo *
open_golden(struct store **st)
{
    const char *dir = getenv("GOLDEN_DIR"); /* NOLINT(concurrency-mt-unsafe) */
    struct repo *r = NULL;

    if (!dir)
        fail_msg("GOLDEN_DIR is not set");
    CLEANUP(freep) char *path = xasprintf("%s/repository-v1", dir);
    assert_ok(store_open(path, st, e));
    assert_ok(repo_open(*st, PASSWORD, &r, e));
    return r;
}

struct seen {
    struct repo *r;
    unsigned n;
};

static int
compare(void *cookie, const struct manifest *m, struct err *e)
{
    struct seen *s = cookie;
    CLEANUP(freep) uint8_t *p = golden_content((int)s->n);

    (void)e;
    assert_string_equal(m->machine, "golden");
    assert_int_equal(m->time_ns, golden_time((int)s->n));
    assert_int_equal(m->volumes[0].root.size_bytes, GOLDEN_BYTES);
    assert_volume(s->r, &m->volumes[0].root, p);
    s->n++;
    return 0;
}

static void
every_backup_is_read(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    CLEANUP(repo_closep) struct repo *r = open_golden(&st);
    struct seen s = {.r = r};

    (void)state;
    assert_ok(backup_list(r, compare, &s, e));
    assert_int_equal(s.n, GOLDEN_BACKUPS);
}

static void
it_is_sound(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    CLEANUP(repo_closep) struct repo *r = open_golden(&st);
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    const struct check_options o = {.data.read = CHECK_READ_ALL, .threads = 1};
    struct check_result result;

    (void)state;
    assert_ok(check_repo(r, &o, cancel, &result, e));
    assert_int_equal(result.faults, 0);
    assert_int_equal(result.backups, GOLDEN_BACKUPS);
    assert_int_equal(result.opened_objects, result.objects);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_backup_is_read),
        cmocka_unit_test(it_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
