/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "qemu/machine.h"

#define STR(s) ((char *)(uintptr_t)(s))

/* Was the disk left out of the backup? */
static bool leaves_out;

static char *
script_of(char **argv, enum script_start start, const char **unmapped)
{
    struct disk disk = {.name = STR("vda"),
                        .device = STR("virtio0"),
                        .node = STR("#1"),
                        .filename = STR("/old/a.img")};
    struct machine m = {.name = STR("web \x1b[31m01"),
                        .type = STR("pc-q35-7.2"),
                        .argv = argv,
                        .disks = &disk,
                        .n_disks = 1};
    static const char *const excluded[] = {"vda", NULL};
    const struct script s = {.machine = &m,
                             .start = start,
                             .format = "qcow2",
                             .ending = ".qcow2",
                             .excluded = leaves_out ? excluded : NULL};
    struct buf text = buf_of(1 << 16);

    script_write(&s, &text, unmapped);
    (void)buf_text(&text);
    return (char *)text.p;
}

static void
file_closep(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

/*
 * The real thing: a shell runs the script from a folder with an awkward name;
 * "QEMU" is a script that prints each of its arguments on a line.
 */
static void
the_shell_hands_on_every_argument(void **state)
{
    char *argv[] = {STR("./printer"),
                    STR("-name"),
                    STR("it's $HOME `x` \"q\""),
                    STR("-drive"),
                    STR("file=/old/a.img,if=virtio"),
                    NULL};
    char dir[] = "/tmp/test_script.XXXXXX";
    const char *unmapped = NULL;
    char out[4096] = "";

    (void)state;
    assert_non_null(mkdtemp(dir));
    CLEANUP(freep) char *sub = xasprintf("%s/a,b 'c", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    CLEANUP(freep) char *run = xasprintf("%s/run", sub);
    CLEANUP(freep) char *printer = xasprintf("%s/printer", sub);
    CLEANUP(freep) char *text = script_of(argv, SCRIPT_LOADVM, &unmapped);
    assert_null(unmapped);
    {
        CLEANUP(file_closep) FILE *f = fopen(run, "w");
        assert_true(f && fputs(text, f) >= 0);
        CLEANUP(file_closep) FILE *p = fopen(printer, "w");
        assert_true(p && fputs("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", p) >= 0);
    }
    assert_int_equal(chmod(printer, 0700), 0);
    CLEANUP(freep) char *command = xasprintf("sh \"%s\" extra", run);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(out, 1, sizeof(out) - 1, p);
    assert_true(n > 0);
    assert_int_equal(pclose(p), 0);
    CLEANUP(freep)
    char *want = xasprintf(
        "-name\nit's $HOME `x` \"q\"\n-drive\nfile=%s/a,,b 'c/vda.qcow2,"
        "if=virtio,format=qcow2\n-machine\npc-q35-7.2\n-loadvm\nvmkeep\n"
        "extra\n",
        dir);
    assert_string_equal(out, want);
    (void)unlink(run);
    (void)unlink(printer);
    (void)rmdir(sub);
    (void)rmdir(dir);
}

static void
no_byte_of_a_name_reaches_the_comment_raw(void **state)
{
    char *argv[] = {STR("q"), NULL};
    const char *unmapped = NULL;
    CLEANUP(freep) char *text = script_of(argv, SCRIPT_BOOT, &unmapped);

    (void)state;
    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "# Machine web \\x1b[31m01\n"));
    assert_string_equal(unmapped, "vda");
    assert_non_null(strstr(text, "# NOTE: disk vda"));
    assert_null(strstr(text, "-loadvm"));
}

static void
what_was_left_out_is_told(void **state)
{
    static const char told[] =
        "\n# NOTE: disk vda was left out of the backup: its image is empty";
    char *argv[] = {STR("qemu"), STR("-hda"), STR("/old/a.img"), NULL};
    const char *unmapped = NULL;

    (void)state;
    CLEANUP(freep)
    char *before = script_of(argv, SCRIPT_LOADVM, &unmapped);
    assert_null(strstr(before, "left out"));
    leaves_out = true;
    CLEANUP(freep) char *on = script_of(argv, SCRIPT_LOADVM, &unmapped);
    CLEANUP(freep) char *cold = script_of(argv, SCRIPT_BOOT, &unmapped);
    leaves_out = false;
    assert_non_null(strstr(on, told));
    assert_non_null(strstr(on, "\n# machine goes on with what it knew"));
    assert_non_null(strstr(cold, told));
    assert_null(strstr(cold, "goes on with"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shell_hands_on_every_argument),
        cmocka_unit_test(what_was_left_out_is_told),
        cmocka_unit_test(no_byte_of_a_name_reaches_the_comment_raw),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
