/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/secret.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "cli/env.h"

static const char *const variables[] = {
    "VMKEEP_PASSWORD", "VMKEEP_PASSWORD_FILE", "VMKEEP_PASSWORD_COMMAND",
    "CREDENTIALS_DIRECTORY"};

static char folder[] = "/tmp/vmkeep-secret-XXXXXX";

static int
forget(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        (void)unsetenv(variables[i]);
    return 0;
}

/* A file of that name and content in the test's folder; to be freed. */
static char *
file(const char *name, const void *p, size_t len)
{
    char *path = xasprintf("%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd != -1);
    assert_int_equal(write(fd, p, len), len);
    fd_close(&fd);
    return path;
}

static void
gives(const struct secret_ways *w, const char *want)
{
    struct secret s = {0};
    struct err e = {0};

    assert_int_equal(secret_get(w, &s, &e), 0);
    assert_string_equal(s.text, want);
    secret_wipe(&s);
    assert_string_equal(s.text, "");
}

static void
fails(const struct secret_ways *w, enum err_code code, const char *part)
{
    struct secret s = {0};
    struct err e = {0};

    assert_int_equal(secret_get(w, &s, &e), -1);
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, part))
        fail_msg("%s", e.msg);
}

static void
at_hand(void **state)
{
    CLEANUP(freep) char *path = file("at-hand", "secret", 6);
    CLEANUP(freep) char *gone = xasprintf("%s/gone", folder);
    struct secret s = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(secret_at_hand(&(struct secret_ways){0}, &s, &e), 0);
    assert_int_equal(e.code, ERR_OK);
    assert_int_equal(
        secret_at_hand(&(struct secret_ways){.file = path}, &s, &e), 1);
    assert_string_equal(s.text, "secret");
    secret_wipe(&s);
    assert_int_equal(
        secret_at_hand(&(struct secret_ways){.file = gone}, &s, &e), -1);
    assert_non_null(strstr(e.msg, gone));
}

static void
from_a_file(void **state)
{
    CLEANUP(freep) char *plain = file("a", "se cret", 7);
    CLEANUP(freep) char *line = file("b", "se cret\n", 8);
    CLEANUP(freep) char *crlf = file("c", "se cret\r\n", 9);
    CLEANUP(freep) char *two = file("d", "secret\n\n", 8);

    (void)state;
    gives(&(struct secret_ways){.file = plain}, "se cret");
    gives(&(struct secret_ways){.file = line}, "se cret");
    gives(&(struct secret_ways){.file = crlf}, "se cret");
    gives(&(struct secret_ways){.file = two}, "secret\n");
}

static void
files_that_are_no_password(void **state)
{
    char much[SECRET_MAX + 2];
    memset(much, 'x', sizeof(much));
    CLEANUP(freep) char *most = file("a", much, SECRET_MAX);
    CLEANUP(freep) char *over = file("b", much, SECRET_MAX + 1);
    CLEANUP(freep) char *huge = file("c", much, SECRET_MAX + 2);
    CLEANUP(freep) char *empty = file("d", "\n", 1);
    CLEANUP(freep) char *nul = file("e", "a\0b", 3);
    CLEANUP(freep) char *none = xasprintf("%s/none", folder);

    (void)state;
    much[SECRET_MAX] = '\0';
    gives(&(struct secret_ways){.file = most}, much);
    fails(&(struct secret_ways){.file = over}, ERR_USAGE, "longer than");
    fails(&(struct secret_ways){.file = huge}, ERR_USAGE, "longer than");
    fails(&(struct secret_ways){.file = empty}, ERR_USAGE, "empty");
    fails(&(struct secret_ways){.file = nul}, ERR_USAGE, "NUL");
    fails(&(struct secret_ways){.file = none}, ERR_NOENT, none);
    fails(&(struct secret_ways){.file = folder}, ERR_IO, folder);
}

static void
from_a_command(void **state)
{
    (void)state;
    gives(&(struct secret_ways){.command = "printf 'a b\\n'"}, "a b");
    gives(&(struct secret_ways){.command = "echo a >/dev/null; echo b"}, "b");
    fails(&(struct secret_ways){.command = "echo x; exit 3"}, ERR_IO,
          "exit code 3");
    fails(&(struct secret_ways){.command = "kill -9 $$"}, ERR_IO, "signal 9");
    fails(&(struct secret_ways){.command = "true"}, ERR_USAGE, "empty");
    fails(&(struct secret_ways){.command = "/no/such/program 2>/dev/null"},
          ERR_IO, "exit code 127");
    /* One that never ends by itself is ended by its pipe. */
    fails(&(struct secret_ways){.command = "yes"}, ERR_USAGE, "longer than");
}

static void
from_the_environment(void **state)
{
    static const struct secret_ways none = {.subject = "/repo"};
    CLEANUP(freep) char *path = file("a", "from file\n", 10);

    (void)state;
    (void)setenv("VMKEEP_PASSWORD", "from variable", 1);
    gives(&none, "from variable");
    assert_null(env_get("VMKEEP_PASSWORD")); /* for nobody else */
    (void)setenv("VMKEEP_PASSWORD_FILE", path, 1);
    gives(&none, "from file");
    (void)setenv("VMKEEP_PASSWORD", "", 1); /* as if it were not there */
    gives(&none, "from file");
    (void)unsetenv("VMKEEP_PASSWORD_FILE");
    (void)setenv("VMKEEP_PASSWORD_COMMAND", "echo from command", 1);
    gives(&none, "from command");
}

static void
the_environment_block_is_wiped(void **state)
{
    char block[] = "VMKEEP_PASSWORD=hunter2";
    char *environment[] = {block, NULL};
    char **saved = environ;
    struct secret s = {0};
    struct err e = {0};

    (void)state;
    environ = environment;
    int r = secret_get(&(struct secret_ways){.subject = "/repo"}, &s, &e);
    environ = saved;
    assert_int_equal(r, 0);
    assert_string_equal(s.text, "hunter2");
    assert_string_equal(block, "VMKEEP_PASSWORD=");
}

static void
nobody_has_to_guess_which_counts(void **state)
{
    CLEANUP(freep) char *path = file("a", "from file\n", 10);
    struct secret_ways both = {.file = path, .command = "echo x"};
    struct secret_ways option = {.file = path};

    (void)state;
    fails(&both, ERR_USAGE, "exclude each other");
    (void)setenv("VMKEEP_PASSWORD", "x", 1);
    (void)setenv("VMKEEP_PASSWORD_COMMAND", "echo y", 1);
    gives(&option, "from file"); /* options come first */
    (void)setenv("VMKEEP_PASSWORD", "x", 1);
    fails(&(struct secret_ways){.subject = "/repo"}, ERR_USAGE,
          "more than one of");
}

static void
from_a_systemd_credential(void **state)
{
    static const struct secret_ways none = {.subject = "/repo"};
    CLEANUP(freep) char *path = file("vmkeep.password", "credential\n", 11);

    (void)state;
    (void)setenv("CREDENTIALS_DIRECTORY", folder, 1);
    gives(&none, "credential");
    (void)setenv("VMKEEP_PASSWORD", "variable", 1);
    gives(&none, "variable");
    assert_int_equal(unlink(path), 0);
}

/* A new password beside it has ways of its own, and takes none of the other. */
static void
a_second_one_has_its_own_ways(void **state)
{
    static const struct secret_ways none = {
        .subject = "/repo", .is_new = true, .which = SECRET_NEW};
    CLEANUP(freep)
    char *path = file("vmkeep.new-password", "new credential\n", 15);
    CLEANUP(freep) char *first = file("vmkeep.password", "old\n", 4);
    struct secret_ways both = {
        .file = path, .command = "echo x", .which = SECRET_NEW};

    (void)state;
    (void)setenv("VMKEEP_PASSWORD", "old", 1);
    fails(&none, ERR_USAGE, "no new password for /repo");
    fails(&none, ERR_USAGE, "VMKEEP_NEW_PASSWORD_FILE");
    fails(&both, ERR_USAGE, "--new-password-file and");
    assert_string_equal(env_get("VMKEEP_PASSWORD"), "old");
    (void)setenv("CREDENTIALS_DIRECTORY", folder, 1);
    gives(&none, "new credential");
    (void)setenv("VMKEEP_NEW_PASSWORD_COMMAND", "echo by command", 1);
    gives(&none, "by command");
    (void)setenv("VMKEEP_NEW_PASSWORD", "new", 1);
    fails(&none, ERR_USAGE, "more than one of VMKEEP_NEW_PASSWORD,");
    (void)unsetenv("VMKEEP_NEW_PASSWORD_COMMAND");
    (void)setenv("VMKEEP_NEW_PASSWORD", "new", 1);
    gives(&none, "new");
    assert_null(env_get("VMKEEP_NEW_PASSWORD"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(first), 0);
}

static void
without_any_the_ways_are_named(void **state)
{
    (void)state;
    (void)setenv("CREDENTIALS_DIRECTORY", folder, 1); /* with none in it */
    fails(&(struct secret_ways){.subject = "/repo"}, ERR_USAGE, "/repo");
    fails(&(struct secret_ways){.subject = "/repo"}, ERR_USAGE,
          "VMKEEP_PASSWORD_FILE");
}

static int
remove_folder(void **state)
{
    CLEANUP(freep) char *command = xasprintf("rm -r %s", folder);

    (void)state;
    return system(command);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(at_hand, forget),
        cmocka_unit_test_setup(from_a_file, forget),
        cmocka_unit_test_setup(files_that_are_no_password, forget),
        cmocka_unit_test_setup(from_a_command, forget),
        cmocka_unit_test_setup(from_the_environment, forget),
        cmocka_unit_test_setup(the_environment_block_is_wiped, forget),
        cmocka_unit_test_setup(nobody_has_to_guess_which_counts, forget),
        cmocka_unit_test_setup(from_a_systemd_credential, forget),
        cmocka_unit_test_setup(a_second_one_has_its_own_ways, forget),
        cmocka_unit_test_setup(without_any_the_ways_are_named, forget),
    };

    /* Without a terminal, whoever runs the test. */
    if (!mkdtemp(folder) || (setsid() == -1 && isatty(STDIN_FILENO)))
        return 77;
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
