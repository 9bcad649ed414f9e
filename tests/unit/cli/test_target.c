/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"

#define UUID1 "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define UUID2 "6ba7b811-9dad-11d1-80b4-00c04fd430c8"

static char web[] = "web-01", db[] = "db", uuid1[] = UUID1, uuid2[] = UUID2;
static char nothing[] = "", nowhere[] = "/nowhere/a.qmp";
static char other[] = "/nowhere/b.qmp";
static char libvirt[] = "/var/lib/libvirt/qemu/domain-1-db/monitor.sock";
static char *no_socket[] = {NULL}, *sockets[] = {nowhere, other, NULL};
static char *of_libvirt[] = {libvirt, NULL};

static const struct machine_found all[] = {{11, web, uuid1, no_socket},
                                           {12, db, uuid2, sockets},
                                           {13, db, nothing, no_socket}};

static void
machines_are_found_by_name_and_uuid(void **state)
{
    const struct machine_found *f = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(target_pick(all, 3, "web-01", &f, &e), 0);
    assert_ptr_equal(f, &all[0]);
    assert_int_equal(target_pick(all, 3, UUID2, &f, &e), 0);
    assert_ptr_equal(f, &all[1]);
    assert_int_equal(
        target_pick(all, 3, "6BA7B811-9DAD-11D1-80B4-00C04FD430C8", &f, &e), 0);
    assert_ptr_equal(f, &all[1]);
}

static void
refused(size_t n, const char *word, enum err_code code, const char *message)
{
    const struct machine_found *f = NULL;
    struct err e = {0};

    assert_int_equal(target_pick(all, n, word, &f, &e), -1);
    assert_null(f);
    assert_int_equal(e.code, code);
    assert_string_equal(e.msg, message);
}

static void
what_is_not_there_is_guessed(void **state)
{
    (void)state;
    refused(3, "web01", ERR_NOENT,
            "no running machine is called web01; did you mean web-01?");
    refused(3, "something", ERR_NOENT,
            "no running machine is called something; `vmkeep machines` lists "
            "those of this host");
    refused(0, "", ERR_NOENT,
            "no running machine is called ; `vmkeep machines` lists those of "
            "this host");
}

static void
an_empty_uuid_names_nobody(void **state)
{
    struct err e = {0};
    const struct machine_found *f = NULL;

    (void)state;
    assert_int_equal(target_pick(all + 2, 1, "", &f, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
}

static void
two_of_one_name_are_not_chosen_from(void **state)
{
    (void)state;
    refused(3, "db", ERR_USAGE,
            "several running machines are called db (processes 12, 13); say "
            "which by its UUID or by --qmp SOCKET");
}

static void
the_first_failure_is_told(void **state)
{
    struct qmp *q = NULL;
    const char *socket = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(target_connect(&all[0], &q, &socket, &e), -1);
    assert_int_equal(e.code, ERR_QEMU);
    err_clear(&e);
    assert_int_equal(target_connect(&all[1], &q, &socket, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    assert_non_null(strstr(e.msg, nowhere));
    assert_null(strstr(e.msg, other));
    assert_null(q);
    assert_int_equal(target_unreachable(&all[1], &e), -1);
    assert_int_equal(e.code, ERR_QEMU); /* not just "not found" */
}

static void
fix_is(const struct machine_found *f, enum err_code why, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);

    target_print_fix(f, why, &b);
    assert_string_equal(buf_text(&b), want);
}

static void
each_problem_has_a_fix(void **state)
{
    char evil[] = "a b;rm";
    const struct machine_found strange = {14, evil, nothing, no_socket};
    const struct machine_found guarded = {15, db, nothing, of_libvirt};

    (void)state;
    fix_is(&all[0], ERR_QEMU,
           "start the machine with -qmp unix:/run/web-01.qmp,server=on,"
           "wait=off");
    fix_is(&all[1], ERR_TIMEOUT,
           "close what uses the monitor, or start the machine with one more: "
           "-qmp unix:/run/db.qmp,server=on,wait=off");
    fix_is(&all[1], ERR_DENIED,
           "run vmkeep as root, or as the user that owns /nowhere/a.qmp");
    fix_is(&strange, ERR_QEMU,
           "start the machine with -qmp unix:/run/machine.qmp,server=on,"
           "wait=off");
    fix_is(&guarded, ERR_TIMEOUT,
           "libvirt keeps its monitor to itself; add another by `virsh edit`, "
           "in <qemu:commandline>: -qmp unix:/run/db.qmp,server=on,wait=off");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_are_found_by_name_and_uuid),
        cmocka_unit_test(what_is_not_there_is_guessed),
        cmocka_unit_test(an_empty_uuid_names_nobody),
        cmocka_unit_test(two_of_one_name_are_not_chosen_from),
        cmocka_unit_test(the_first_failure_is_told),
        cmocka_unit_test(each_problem_has_a_fix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
