/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against tests/remote/sftpserver.py: the outcome of every operation on servers
 * that misbehave in one way each.
 */
#include <stdlib.h>

#include "base/buf.h"
#include "hostile.h"
#include "standin.h"
#include "store/sftp_address.h"

enum { ONE_BYTES = 100000, PUT_BYTES = 3000000 };

static int
open_server(const char *name, bool patiently, struct store **out, struct err *e)
{
    return standin_open(server.text, name, patiently, out, e);
}

static uint8_t
pattern(size_t i)
{
    return (uint8_t)(i * 7 + i / 256);
}

static int
check_get(struct store *st, bool all, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(ONE_BYTES);
    int rc = all ? store_get_all(st, "a/one", &b, e)
                 : store_get(st, "a/one", 0, buf_extend(&b, ONE_BYTES),
                             ONE_BYTES, e);

    for (size_t i = 0; rc == 0 && i < ONE_BYTES; i++)
        if (b.p[i] != pattern(i))
            fail_msg("byte %zu is wrong", i);
    return rc;
}

static int
check_put(struct store *st, struct err *e)
{
    CLEANUP(buf_done) struct buf back = buf_of(PUT_BYTES);
    CLEANUP(freep) uint8_t *p = xmalloc(PUT_BYTES);
    int n = 0;

    for (size_t i = 0; i < PUT_BYTES; i++)
        p[i] = pattern(i);
    if (store_put(st, "c/d/new", p, PUT_BYTES, e) == -1)
        return -1;
    assert_int_equal(store_get_all(st, "c/d/new", &back, e), 0);
    assert_int_equal(back.len, PUT_BYTES);
    assert_memory_equal(back.p, p, PUT_BYTES);
    assert_int_equal(store_list(st, "", count, &n, e), 0);
    assert_int_equal(n, 3);
    return 0;
}

static int
run(enum op op, struct store *st, struct err *e)
{
    int n = 0, rc = 0;

    switch (op) {
    case OPEN:
        return 0;
    case GET:
        return check_get(st, false, e);
    case ALL:
        return check_get(st, true, e);
    case STAT:
        return run_stat(st, ONE_BYTES, e);
    case PUT:
    case PUT_NEW:
        return check_put(st, e);
    case REMOVE:
        return run_remove(st, e);
    case LIST:
        rc = store_list(st, "a/", count, &n, e);
        if (rc == 0)
            assert_int_equal(n, 2);
        return rc;
    }
    return -1;
}

static const struct row rows[] = {
    {"fine", GET, ERR_OK, NULL},
    {"fine", ALL, ERR_OK, NULL},
    {"fine", LIST, ERR_OK, NULL},
    {"fine", PUT, ERR_OK, NULL},
    {"fine", PUT, ERR_EXISTS, "c/d/new"},
    {"fine", REMOVE, ERR_OK, NULL},
    /* connections */
    {"init-ends", OPEN, ERR_STORE, "ended"},
    {"init-stalls", OPEN, ERR_STORE, "stalled"},
    {"init-garbage", OPEN, ERR_STORE, "makes no sense"},
    {"init-huge", OPEN, ERR_STORE, "makes no sense"},
    {"init-tiny", OPEN, ERR_STORE, "makes no sense"},
    {"init-version-2", OPEN, ERR_STORE, "makes no sense"},
    {"init-version-6", OPEN, ERR_STORE, "makes no sense"},
    {"init-extension-cut", OPEN, ERR_STORE, "makes no sense"},
    {"open-ends", GET, ERR_STORE, "tried 5 times"},
    {"open-ends-x3", GET, ERR_OK, NULL},
    {"open-stalls-x1", GET, ERR_OK, NULL},
    {"open-other-id", GET, ERR_STORE, "makes no sense"},
    {"open-other-id-x2", GET, ERR_OK, NULL},
    {"open-twice", GET, ERR_STORE, "makes no sense"},
    {"open-denied", GET, ERR_STORE, "permission denied"},
    {"open-ok-without-handle", GET, ERR_STORE, "makes no sense"},
    {"open-long-handle", GET, ERR_STORE, "makes no sense"},
    {"open-handle-cut", GET, ERR_STORE, "makes no sense"},
    {"open-data", GET, ERR_STORE, "makes no sense"},
    {"open-status-cut", GET, ERR_STORE, "makes no sense"},
    {"open-status-huge", GET, ERR_STORE, "makes no sense"},
    {"open-escape", GET, ERR_STORE, "red"},
    /* reading */
    {"read-ends", GET, ERR_STORE, "ended"},
    {"read-ends-x2", GET, ERR_OK, NULL},
    {"read-short", GET, ERR_OK, NULL},
    {"read-short", ALL, ERR_OK, NULL},
    {"read-too-long", GET, ERR_STORE, "makes no sense"},
    {"read-empty", GET, ERR_STORE, "makes no sense"},
    {"read-cut", GET, ERR_STORE, "makes no sense"},
    {"read-early-end", GET, ERR_CORRUPT, "a/one"},
    {"read-fails", GET, ERR_STORE, "a/one"},
    {"read-other-id", GET, ERR_STORE, "makes no sense"},
    {"read-twice", GET, ERR_STORE, "makes no sense"},
    {"read-endless", GET, ERR_STORE, "makes no sense"},
    {"fstat-no-size", GET, ERR_STORE, "size"},
    {"fstat-huge", ALL, ERR_LIMIT, "a/one"},
    {"fstat-cut", ALL, ERR_STORE, "makes no sense"},
    {"fstat-extended", ALL, ERR_STORE, "makes no sense"},
    {"fstat-ends-x1", ALL, ERR_OK, NULL},
    {"lstat-bare", STAT, ERR_STORE, "does not tell"},
    {"lstat-fifo", STAT, ERR_STORE, "does not tell"},
    /* writing */
    {"write-fails", PUT, ERR_STORE, "room left"},
    {"write-ends", PUT, ERR_STORE, "ended"},
    {"write-ends-x2", PUT, ERR_OK, NULL},
    {"write-other-id", PUT, ERR_STORE, "makes no sense"},
    {"write-handle", PUT, ERR_STORE, "makes no sense"},
    {"sync-fails", PUT, ERR_STORE, "c/d/new"},
    {"sync-ends-x1", PUT, ERR_OK, NULL},
    {"sync-ends-x2", PUT, ERR_OK, NULL},
    {"rename-lost-x1", PUT, ERR_OK, NULL},
    {"rename-not-done-x1", PUT, ERR_OK, NULL},
    {"rename-not-done", PUT, ERR_STORE, "tried 5 times"},
    {"rename-fails", PUT, ERR_STORE, "publish object c/d/new"},
    {"rename-unsupported", PUT, ERR_STORE, "cannot do this"},
    {"rename-overtaken-x1", PUT, ERR_EXISTS, "c/d/new"},
    {"open-denied", PUT, ERR_STORE, "permission denied"},
    /* removing */
    {"remove-denied", REMOVE, ERR_DENIED, "a/one"},
    {"remove-lost-x1", REMOVE, ERR_OK, NULL},
    {"remove-fails", REMOVE, ERR_STORE, "a/one"},
    /* listing */
    {"list-ends", LIST, ERR_STORE, "ended"},
    {"list-ends-x2", LIST, ERR_OK, NULL},
    {"list-denied", LIST, ERR_STORE, "list the folder a/"},
    {"list-status-ok", LIST, ERR_STORE, "makes no sense"},
    {"list-huge-count", LIST, ERR_STORE, "makes no sense"},
    {"list-cut", LIST, ERR_STORE, "makes no sense"},
    {"list-empty-for-ever", LIST, ERR_STORE, "makes no sense"},
    {"list-not-ours", LIST, ERR_OK, NULL},
    {"list-without-attributes", LIST, ERR_OK, NULL},
};

/* ---- a cancel ------------------------------------------------------------ */

static void
a_cancel_cuts_a_stall_short(void **state)
{
    (void)state;
    is_cut_short("open-hangs", "given up: interrupted");
}

static void
a_cancel_cuts_a_wait_short(void **state)
{
    (void)state;
    is_cut_short("open-ends", "; interrupted");
}

/* ---- addresses --------------------------------------------------------- */

static void
addresses_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *user, *host, *port, *path;
    } good[] = {
        {"sftp:host:/a/b/", "-", "host", "-", "/a/b"},
        {"sftp:me@host:a", "me", "host", "-", "a"},
        {"sftp:host:/", "-", "host", "-", "/"},
        {"sftp:[::1]:/a:b", "-", "::1", "-", "/a:b"},
        {"sftp://host/a", "-", "host", "-", "/a"},
        {"sftp://a.b@host:2222/a b", "a.b", "host", "2222", "/a b"},
        {"sftp://[fe80::1%eth0]:22/a", "-", "fe80::1%eth0", "22", "/a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CLEANUP(sftp_address_done) struct sftp_address a = {0};
        struct err e = {0};
        if (sftp_address_parse(good[i].text, &a, &e) == -1)
            fail_msg("%s: %s", good[i].text, e.msg);
        assert_string_equal(a.user ? a.user : "-", good[i].user);
        assert_string_equal(a.host, good[i].host);
        assert_string_equal(a.port ? a.port : "-", good[i].port);
        assert_string_equal(a.path, good[i].path);
    }
}

static void
bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = {
        "sftp:",          "sftp:host",         "sftp:host:",
        "sftp::/a",       "sftp:-oX=y:/a",     "sftp:-l@host:/a",
        "sftp:@host:/a",  "sftp:u:pw@host:/a", "sftp://u:pw@host/a",
        "sftp://host",    "sftp://host:0/a",   "sftp://host:x/a",
        "sftp:h ost:/a",  "sftp:host:/a\nb",   "sftp:ho`id`st:/a",
        "sftp:[::1:/a",   "sftp:/a",           "sftp://host:70000/a",
        "sftp:$USER@h:/",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(sftp_address_done) struct sftp_address a = {0};
        struct err e = {0};
        if (sftp_address_parse(bad[i], &a, &e) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(e.code, ERR_USAGE);
        assert_null(strstr(e.msg, "pw"));
    }
}

int
main(int argc, char **argv)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(a_cancel_cuts_a_stall_short),
        cmocka_unit_test(a_cancel_cuts_a_wait_short),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(bad_addresses_are_refused),
    };
    char *script[] = {"sftpserver.py", NULL};

    (void)signal(SIGPIPE, SIG_IGN);
    if (argc > 3 && strcmp(argv[1], "--connect") == 0)
        return connect_to(argv[2], argv[3]);
    return test_hostile(script, rows, ARRAY_LEN(rows), others,
                        ARRAY_LEN(others));
}
