/* SPDX-License-Identifier: Apache-2.0 */
/* Against tests/remote/s3server.py, each of whose buckets misbehaves in its own
 * way: the outcome of every operation on them. */
#include <stdlib.h>

#include "base/buf.h"
#include "hostile.h"
#include "store/s3_http.h"
#include "store/store_internal.h"

enum { READ_BYTES = 100, ALL_MAX = 4096 };

static const struct store_account who = {0};
static const struct s3_patience hasty = {.connect_ms = 5000,
                                         .stall_ms = 1000,
                                         .backoff_ms = 2,
                                         .backoff_max_ms = 20,
                                         .patience_ms = 60000,
                                         .first_patience_ms = 60000,
                                         .max_tries = 4};

static const struct s3_patience patient = {.connect_ms = 5000,
                                           .stall_ms = HOUR_MS,
                                           .backoff_ms = HOUR_MS,
                                           .backoff_max_ms = HOUR_MS,
                                           .patience_ms = 5 * HOUR_MS,
                                           .first_patience_ms = 5 * HOUR_MS};

static int
open_server(const char *name, bool patiently, struct store **out, struct err *e)
{
    CLEANUP(freep)
    char *address = xasprintf("s3:http://127.0.0.1:%s/%s", server.text, name);

    return store_s3_open_patient(address, false, &who,
                                 patiently ? &patient : &hasty, out, e);
}

static int
run(enum op op, struct store *st, struct err *e)
{
    uint8_t bytes[READ_BYTES];
    CLEANUP(buf_done) struct buf all = buf_of(ALL_MAX);
    int n = 0, rc = 0;

    switch (op) {
    case OPEN:
        return 0;
    case GET:
        rc = store_get(st, "a/one", 0, bytes, sizeof(bytes), e);
        for (size_t i = 0; rc == 0 && i < sizeof(bytes); i++)
            assert_int_equal(bytes[i], (uint8_t)(i * 7));
        return rc;
    case ALL:
        rc = store_get_all(st, "a/one", &all, e);
        assert_int_equal(all.len, rc == 0 ? 1000 : 0);
        return rc;
    case STAT:
        return run_stat(st, 1000, e);
    case PUT:
    case PUT_NEW:
        rc =
            (op == PUT ? store_put : store_put_new)(st, "c/new", "hello", 5, e);
        if (rc == 0) {
            assert_int_equal(store_get_all(st, "c/new", &all, e), 0);
            assert_string_equal(buf_text(&all), "hello");
        }
        return rc;
    case REMOVE:
        return run_remove(st, e);
    case LIST:
        rc = store_list(st, "a/", count, &n, e);
        if (rc == 0 && n != 2)
            return err_set(e, ERR_CORRUPT, "%d objects are listed", n);
        return rc;
    }
    return -1;
}

static const struct row rows[] = {
    /* connections */
    {"get-closes", GET, ERR_STORE, "read object a/one"},
    {"get-closes-x2", GET, ERR_OK, NULL},
    {"get-resets", GET, ERR_STORE, "tried 4 times"},
    {"get-resets-x3", GET, ERR_OK, NULL},
    {"get-stalls-x1", GET, ERR_OK, NULL},
    {"get-half-then-close", GET, ERR_STORE, "a/one"},
    {"get-half-then-close-x3", GET, ERR_OK, NULL},
    {"get-half-then-stall-x1", GET, ERR_OK, NULL},
    {"get-drips-x1", GET, ERR_OK, NULL},
    /* statuses */
    {"get-500", GET, ERR_STORE, "500 InternalError"},
    {"get-500-x2", GET, ERR_OK, NULL},
    {"get-502-html", GET, ERR_STORE, "502"},
    {"get-502-html-x1", GET, ERR_OK, NULL},
    {"get-503-x3", GET, ERR_OK, NULL},
    {"get-429-x1", GET, ERR_OK, NULL},
    {"get-retry-after-silly", GET, ERR_STORE, "503"},
    {"get-403", GET, ERR_STORE, "lacks the right"},
    {"get-418", GET, ERR_STORE, "418"},
    {"get-bucket-gone", GET, ERR_STORE, "there is no bucket"},
    {"get-200-error", GET, ERR_STORE, "a/one"},
    {"get-200-error-x1", GET, ERR_OK, NULL},
    {"get-200-html", GET, ERR_STORE, "part of an object"},
    {"get-204", GET, ERR_STORE, "which part"},
    {"get-redirect", GET, ERR_STORE, "AWS_REGION=eu-west-3"},
    {"get-redirect-file", GET, ERR_STORE, "301"},
    {"get-unknown-status", GET, ERR_STORE, "a/one"},
    /* what is no HTTP */
    {"get-garbage", GET, ERR_STORE, "a/one"},
    {"get-http09", GET, ERR_STORE, "a/one"},
    {"get-head-endless", GET, ERR_STORE, "head of its answer is too long"},
    {"get-head-line-endless", GET, ERR_STORE, "a/one"},
    {"get-continue-endless", GET, ERR_STORE, "head of its answer is too long"},
    /* lengths and ranges */
    {"get-body-endless", GET, ERR_STORE, "longer than what was asked"},
    {"get-too-long", GET, ERR_STORE, "longer than what was asked"},
    {"get-too-short", GET, ERR_STORE, "shorter than what was asked"},
    {"get-too-short-x2", GET, ERR_OK, NULL},
    {"get-other-part", GET, ERR_STORE, "another part"},
    {"get-lies-about-length", GET, ERR_STORE, "another length"},
    {"get-range-overflow", GET, ERR_STORE, "which part"},
    {"get-range-backwards", GET, ERR_STORE, "which part"},
    {"get-range-behind-size", GET, ERR_STORE, "another part"},
    {"get-no-range", GET, ERR_STORE, "which part"},
    {"get-ignores-range", GET, ERR_STORE, "longer"},
    {"get-416", GET, ERR_STORE, "it is not"},
    {"get-416-x1", GET, ERR_OK, NULL},
    {"get-negative-length", GET, ERR_STORE, "a/one"},
    {"get-huge-length", GET, ERR_STORE, "a/one"},
    {"all-huge", ALL, ERR_LIMIT, "a/one"},
    {"all-chunked", ALL, ERR_STORE, "how long it is"},
    {"all-chunk-cut", ALL, ERR_STORE, "how long it is"},
    {"all-206", ALL, ERR_STORE, "not the whole object"},
    {"get-half-then-close", ALL, ERR_STORE, "a/one"},
    {"get-half-then-close-x1", ALL, ERR_OK, NULL},
    {"get-body-endless", ALL, ERR_STORE, "how long it is"},
    {"get-500-x1", ALL, ERR_OK, NULL},
    {"get-403", ALL, ERR_STORE, "lacks the right"},
    /* heads */
    {"head-no-length", STAT, ERR_STORE, "lacks"},
    {"head-no-time", STAT, ERR_STORE, "lacks"},
    {"head-no-time-x1", STAT, ERR_OK, NULL},
    {"head-bad-time", STAT, ERR_STORE, "lacks"},
    {"head-403", STAT, ERR_STORE, "lacks the right"},
    {"head-500-x2", STAT, ERR_OK, NULL},
    {"head-500", STAT, ERR_STORE, "500"},
    {"head-301", STAT, ERR_STORE, "eu-west-3"},
    {"head-500", PUT, ERR_STORE, "500"},
    {"head-500", REMOVE, ERR_STORE, "500"},
    /* writing */
    {"put-500", PUT, ERR_STORE, "500 InternalError"},
    {"put-500-x3", PUT, ERR_OK, NULL},
    {"put-503-x1", PUT, ERR_OK, NULL},
    {"put-lost-reply", PUT, ERR_OK, NULL},
    {"put-lost-half", PUT, ERR_EXISTS, "c/new"},
    {"put-overtaken", PUT, ERR_EXISTS, "c/new"},
    {"put-unconditional", PUT, ERR_OK, NULL},
    {"put-409-x2", PUT, ERR_OK, NULL},
    {"put-409", PUT, ERR_STORE, "409"},
    {"put-412-for-ever", PUT, ERR_STORE, "412"},
    {"put-denied", PUT, ERR_STORE, "lacks the right"},
    {"put-quota", PUT, ERR_STORE, "vmkeep prune"},
    {"put-200-error-x1", PUT, ERR_OK, NULL},
    {"put-200-error", PUT, ERR_STORE, "InternalError"},
    {"put-bad-digest-x1", PUT, ERR_OK, NULL},
    {"put-closes-x2", PUT, ERR_OK, NULL},
    {"put-closes", PUT, ERR_STORE, "c/new"},
    /* ... without a look before */
    {"head-500", PUT_NEW, ERR_OK, NULL},
    {"put-500-x2", PUT_NEW, ERR_OK, NULL},
    {"put-lost-reply-x1", PUT_NEW, ERR_OK, NULL},
    {"put-lost-half", PUT_NEW, ERR_EXISTS, "c/new"},
    {"put-overtaken", PUT_NEW, ERR_EXISTS, "c/new"},
    {"put-unconditional-x9", PUT_NEW, ERR_OK, NULL},
    {"put-409-x1", PUT_NEW, ERR_OK, NULL},
    {"put-412-for-ever", PUT_NEW, ERR_STORE, "412"},
    {"put-200-error-x2", PUT_NEW, ERR_OK, NULL},
    {"put-closes", PUT_NEW, ERR_STORE, "c/new"},
    /* removing */
    {"delete-denied", REMOVE, ERR_DENIED, "a/one"},
    {"delete-500-x2", REMOVE, ERR_OK, NULL},
    {"delete-500", REMOVE, ERR_STORE, "500"},
    /* listing */
    {"list-pages-of-one", LIST, ERR_OK, NULL},
    {"list-circles", LIST, ERR_STORE, "in circles"},
    {"list-empty-pages", LIST, ERR_STORE, "no end"},
    {"list-no-token", LIST, ERR_STORE, "how to go on"},
    {"list-no-truncated", LIST, ERR_STORE, "whether it is the last"},
    {"list-cut", LIST, ERR_STORE, "makes no sense"},
    {"list-cut-x2", LIST, ERR_OK, NULL},
    {"list-empty-body", LIST, ERR_STORE, "makes no sense"},
    {"list-html", LIST, ERR_STORE, "no listing"},
    {"list-html-x1", LIST, ERR_OK, NULL},
    {"list-json", LIST, ERR_STORE, "makes no sense"},
    {"list-200-error", LIST, ERR_STORE, "InternalError"},
    {"list-200-error-x3", LIST, ERR_OK, NULL},
    {"list-bomb", LIST, ERR_STORE, "document type"},
    {"list-outside-entity", LIST, ERR_STORE, "document type"},
    {"list-nested", LIST, ERR_STORE, "nested"},
    {"list-endless", LIST, ERR_STORE, "too long"},
    {"list-wrong-count", LIST, ERR_STORE, "another number"},
    {"list-too-many", LIST, ERR_STORE, "more objects"},
    {"list-other-prefix", LIST, ERR_STORE, "not asked for"},
    {"list-backwards", LIST, ERR_STORE, "no order"},
    {"list-twice", LIST, ERR_STORE, "no order"},
    {"list-bad-size", LIST, ERR_STORE, "size"},
    {"list-huge-size", LIST, ERR_STORE, "size"},
    {"list-bad-time", LIST, ERR_STORE, "time"},
    {"list-no-key", LIST, ERR_STORE, "key"},
    {"list-long-key", LIST, ERR_STORE, "too long"},
    {"list-bad-utf8", LIST, ERR_STORE, "makes no sense"},
    {"list-folders", LIST, ERR_STORE, "folders"},
    {"list-denied", LIST, ERR_STORE, "lacks the right"},
    {"list-500", LIST, ERR_STORE, "500"},
    {"list-500-x3", LIST, ERR_OK, NULL},
    /* opening */
    {"open-skew", OPEN, ERR_STORE, "the storage's 2020-11-23T10:00:00Z"},
    {"open-expired-token", OPEN, ERR_STORE, "expired"},
    {"open-region", OPEN, ERR_STORE, "AWS_REGION=eu-west-3"},
    {"open-redirect", OPEN, ERR_STORE, "eu-west-3"},
    {"open-denied", OPEN, ERR_STORE, "lacks the right"},
    {"open-500", OPEN, ERR_STORE, "500"},
    {"open-500-x2", OPEN, ERR_OK, NULL},
    {"open-website", OPEN, ERR_STORE, "document type"},
    {"open-control-characters", OPEN, ERR_STORE, "bell"},
    {"none-there", OPEN, ERR_NOENT, "no bucket none-there"},
};

/* Whatever a listing of the store holds, other names are not told. */
static void
keys_that_are_not_ours_are_skipped(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};
    int n = 0;

    (void)state;
    assert_int_equal(open_server("list-not-ours", false, &st, &e), 0);
    if (store_list(st, "a/", count, &n, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(n, 1);
}

/* An error says of which bucket, whatever was asked of it. */
static void
the_place_is_named(void **state)
{
    static const enum op ops[] = {GET, ALL, STAT, PUT, REMOVE, LIST};
    static const char *const names[] = {"get-403",  "get-403",
                                        "head-403", "put-denied",
                                        "head-500", "list-denied"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        CLEANUP(store_closep) struct store *st = NULL;
        struct err e = {0};
        assert_int_equal(open_server(names[i], false, &st, &e), 0);
        assert_int_equal(run(ops[i], st, &e), -1);
        assert_non_null(strstr(e.msg, names[i]));
    }
}

static void
a_wrong_key_is_told(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "planted", 1), 0);
    assert_int_equal(open_server("fine", false, &st, &e), -1);
    assert_int_equal(e.code, ERR_STORE);
    assert_non_null(strstr(e.msg, "check AWS_SECRET_ACCESS_KEY"));
    assert_null(strstr(e.msg, "planted"));
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "SKTEST", 1), 0);
    e = (struct err){0};
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "AKOTHER", 1), 0);
    assert_int_equal(open_server("fine", false, &st, &e), -1);
    assert_non_null(strstr(e.msg, "check AWS_ACCESS_KEY_ID"));
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1), 0);
}

/* Who opens it unseen is told by what he asks for, and why by store_there. */
static void
an_unseen_bucket_is_asked_later(void **state)
{
    static const struct {
        const char *bucket;
        int there;
        const char *about;
    } cases[] = {{"fine", 1, ""},
                 {"none-there", 0, ""},
                 {"open-region", -1, "AWS_REGION=eu-west-3"}};
    const struct store_account unseen = {.unseen = true};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(store_closep) struct store *st = NULL;
        CLEANUP(freep)
        char *address = xasprintf("s3:http://127.0.0.1:%s/%s", server.text,
                                  cases[i].bucket);
        CLEANUP(buf_done) struct buf all = buf_of(ALL_MAX);
        struct err e = {0};
        assert_int_equal(
            store_s3_open_patient(address, false, &unseen, &hasty, &st, &e), 0);
        assert_int_equal(store_get_all(st, "a/none", &all, &e), -1);
        assert_int_equal(e.code, cases[i].there == 0 ? ERR_STORE : ERR_NOENT);
        err_clear(&e);
        assert_int_equal(store_there(st, &e), cases[i].there);
        assert_non_null(strstr(e.msg, cases[i].about));
    }
}

static void
nobody_listens(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(store_s3_open_patient("s3:http://127.0.0.1:1/bucket",
                                           false, &who, &hasty, &st, &e),
                     -1);
    assert_int_equal(e.code, ERR_STORE);
    assert_non_null(strstr(e.msg, "is the server up"));
}

static void
a_bucket_is_made_once(void **state)
{
    CLEANUP(freep)
    char *address =
        xasprintf("s3:http://127.0.0.1:%s/none-yet/some/where", server.text);
    struct err e = {0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        CLEANUP(store_closep) struct store *st = NULL;
        if (store_create(address, &st, &e) == -1)
            fail_msg("%s", e.msg);
        assert_string_equal(store_address(st), address);
        assert_int_equal(store_put(st, i ? "b" : "a", "x", 1, &e), 0);
    }
}

/* A prefix is a world of its own. */
static void
prefixes_do_not_see_each_other(void **state)
{
    static const char *const prefixes[] = {"", "/p", "/p/q", "/p+=@"};
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        CLEANUP(freep) char *bucket = xasprintf("fine%s", prefixes[i]);
        CLEANUP(store_closep) struct store *st = NULL;
        if (open_server(bucket, false, &st, &e) == -1 ||
            store_put(st, "world/x", "x", 1, &e) == -1)
            fail_msg("%s", e.msg);
        int n = 0;
        assert_int_equal(store_list(st, "world/", count, &n, &e), 0);
        assert_int_equal(n, 1);
    }
}

/* ---- a cancel ------------------------------------------------------------ */

static void
a_cancel_cuts_a_stall_short(void **state)
{
    (void)state;
    is_cut_short("get-stalls", ": interrupted");
}

static void
a_cancel_cuts_a_wait_short(void **state)
{
    (void)state;
    is_cut_short("get-503", "; interrupted");
}

int
main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(keys_that_are_not_ours_are_skipped),
        cmocka_unit_test(the_place_is_named),
        cmocka_unit_test(a_wrong_key_is_told),
        cmocka_unit_test(an_unseen_bucket_is_asked_later),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_bucket_is_made_once),
        cmocka_unit_test(prefixes_do_not_see_each_other),
        cmocka_unit_test(a_cancel_cuts_a_stall_short),
        cmocka_unit_test(a_cancel_cuts_a_wait_short),
    };
    char *script[] = {"s3server.py", NULL};

    (void)signal(SIGPIPE, SIG_IGN);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "SKTEST", 1);
    return test_hostile(script, rows, ARRAY_LEN(rows), others,
                        ARRAY_LEN(others));
}
