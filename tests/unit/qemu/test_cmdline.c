/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/cmdline.h"

#include <stdlib.h>

#include "base/mem.h"
#include "check.h"

enum { ARGS_MAX = 24 };

struct expected {
    const char *argv[ARGS_MAX];
    const char *name, *uuid; /* NULL: none */
    const char *sockets;     /* each followed by a space */
};

static void
check(const struct expected *x)
{
    char *argv[ARGS_MAX] = {NULL};
    char sockets[256] = "";
    struct cmdline c;

    for (size_t i = 0; x->argv[i]; i++)
        argv[i] = xstrdup(x->argv[i]);
    cmdline_read(argv, &c);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    for (size_t i = 0; c.sockets[i]; i++) {
        size_t n = strlen(sockets);
        (void)snprintf(sockets + n, sizeof(sockets) - n, "%s ", c.sockets[i]);
    }
    assert_string_equal(c.name ? c.name : "-", x->name ? x->name : "-");
    assert_string_equal(c.uuid ? c.uuid : "-", x->uuid ? x->uuid : "-");
    assert_string_equal(sockets, x->sockets);
    cmdline_done(&c);
}

static void
test_monitors(void **state)
{
    static const struct expected all[] = {
        {{"qemu"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "unix:/run/a,server=on,wait=off"},
         NULL,
         NULL,
         "/run/a "},
        {{"qemu", "--qmp", "unix:/run/a,server,nowait"}, NULL, NULL, "/run/a "},
        {{"qemu", "-qmp-pretty", "unix:a,,b,server=on"}, NULL, NULL, "a,b "},
        {{"qemu", "-qmp", "unix:/run/a"}, NULL, NULL, ""}, /* QEMU connects */
        {{"qemu", "-qmp", "unix:/run/a,server=off"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "stdio"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "tcp:127.0.0.1:4444,server=on"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "unix:a,server=on,abstract=on"}, NULL, NULL, ""},
        {{"qemu", "-monitor", "unix:/run/h,server=on"}, NULL, NULL, ""},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on,wait=off",
          "-mon", "chardev=m,mode=control"},
         NULL,
         NULL,
         "/run/m "},
        {{"qemu", "-mon", "m,mode=control,pretty=on", "-chardev",
          "backend=socket,path=/run/m,server,id=m"},
         NULL,
         NULL,
         "/run/m "}, /* in any order */
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-mon",
          "chardev=m,mode=readline"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-mon",
          "chardev=m"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-mon",
          "chardev=other,mode=control"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "socket,id=m,fd=22,server=on", "-mon",
          "chardev=m,mode=control"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "pipe,id=m,path=/run/m,server=on", "-mon",
          "chardev=m,mode=control"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-qmp",
          "chardev:m"},
         NULL,
         NULL,
         "/run/m "},
        {{"qemu", "-qmp", "unix:/run/a,server=on", "-qmp",
          "unix:/run/a,server=on", "-qmp", "unix:/run/b,server=on"},
         NULL,
         NULL,
         "/run/a /run/b "},
        {{"qemu", "-chardev", "socket,id=qga,path=/run/qga,server=on",
          "-device", "virtserialport,chardev=qga"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-object",
          "monitor-qmp,id=x,chardev=m"},
         NULL,
         NULL,
         "/run/m "},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-object",
          "{\"qom-type\": \"monitor-qmp\", \"id\": \"x\", \"chardev\": \"m\"}"},
         NULL,
         NULL,
         "/run/m "},
        {{"qemu", "-chardev", "socket,id=m,path=/run/m,server=on", "-object",
          "monitor-hmp,id=x,chardev=m"},
         NULL,
         NULL,
         ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        check(&all[i]);
}

static void
test_names(void **state)
{
    static const char uuid[] = "0a1b2c3d-0000-4000-8000-0123456789ab";
    const struct expected all[] = {
        {{"qemu", "-name", "web"}, "web", NULL, ""},
        {{"qemu", "-name", "guest=web 1,debug-threads=on"}, "web 1", NULL, ""},
        {{"qemu", "-name", "debug-threads=on,guest=w,,x"}, "w,x", NULL, ""},
        {{"qemu", "-name", "debug-threads=on"}, NULL, NULL, ""},
        {{"qemu", "-name", ""}, NULL, NULL, ""},
        {{"qemu", "-name", "a", "-name", "b"}, "b", NULL, ""},
        {{"qemu", "-name"}, NULL, NULL, ""},
        {{"qemu", "name", "web"}, NULL, NULL, ""},
        {{"qemu", "-uuid", uuid}, NULL, uuid, ""},
        {{"qemu", "-uuid", "0A1B2C3D-0000-4000-8000-0123456789AB"},
         NULL,
         uuid,
         ""},
        {{"qemu", "-uuid", "00000000-0000-0000-0000-000000000000"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-uuid", "0a1b2c3d00004000-8000-0123456789ab--"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-uuid", "0a1b2c3d-0000-4000-8000-0123456789abc"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-smbios",
          "type=1,uuid=0a1b2c3d-0000-4000-8000-0123456789ab"},
         NULL,
         uuid,
         ""},
        {{"qemu", "-smbios",
          "type=2,uuid=0a1b2c3d-0000-4000-8000-0123456789ab"},
         NULL,
         NULL,
         ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        check(&all[i]);
}

/* Of a stranger: nothing here is an option string. */
static void
test_nonsense(void **state)
{
    static const struct expected all[] = {
        {{"qemu", "-qmp", ""}, NULL, NULL, ""},
        {{"qemu", "-qmp", "unix:"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "unix:,server=on"}, NULL, NULL, ""},
        {{"qemu", "-qmp", "unix:=,=,="}, NULL, NULL, ""},
        {{"qemu", "-mon", "=", "-mon", "", "-chardev", ",,,"}, NULL, NULL, ""},
        {{"qemu", "-mon", "chardev=m,mode=control", "-chardev"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-mon", "mode=control"}, NULL, NULL, ""},
        {{"", "-", "--", "---qmp", "unix:/a,server=on"}, NULL, NULL, ""},
        {{"qemu", "-name", "=x"}, NULL, NULL, ""},
        {{"qemu", "-object", "{", "-object", "[]", "-object", "{}", "-object",
          "", "-object", "{\"qom-type\": 1, \"chardev\": []}"},
         NULL,
         NULL,
         ""},
        {{"qemu", "-smbios", ",", "-smbios", "type=1"}, NULL, NULL, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        check(&all[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitors),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
