/* SPDX-License-Identifier: Apache-2.0 */
/* machine_describe against real QEMUs of many shapes, and machines as JSON. */
#include "qemu/machine.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "qemu/process.h"
#include "real_qemu.h"

enum { ARGS_MAX = 24, SHAPE_DISKS_MAX = 6 };

static int
setup(void **state)
{
    *state = xcalloc(1, sizeof(struct real));
    return 0;
}

static int
teardown(void **state)
{
    real_stop(*state);
    free(*state);
    return 0;
}

static struct machine *
describe(const struct real *r)
{
    CLEANUP(qmp_closep) struct qmp *q = real_connect(r);
    struct machine *m = NULL;
    struct err e = {0};

    assert_works(machine_describe(q, r->socket, &m, &e), &e);
    return m;
}

static void
test_plain(void **state)
{
    struct real *r = *state;

    real_require();
    real_make_dir(r);
    real_start(r, (const char *const[]){
                      "-M", "q35", "-name", "guest=web 1,debug-threads=on",
                      "-uuid", "0A1B2C3D-0000-4000-8000-0123456789AB", NULL});
    CLEANUP(machine_freep) struct machine *m = describe(r);
    assert_string_equal(m->name, "web 1");
    assert_string_equal(m->uuid, "0a1b2c3d-0000-4000-8000-0123456789ab");
    assert_string_equal(m->socket, r->socket);
    assert_int_equal(m->pid, r->pid);
    assert_true(m->start_time > 0);
    assert_true(m->start_time == process_start_time(r->pid));
    assert_true(m->version.major >= 5);
    assert_true(strncmp(m->type, "pc-q35-", 7) == 0);
    assert_null(strstr(m->type, "-machine"));
    assert_string_equal(m->status, "prelaunch");
    assert_false(m->running);
    assert_true(m->ram_bytes == 64 << 20);
    assert_string_equal(m->argv[0], REAL_QEMU);
    assert_string_equal(m->cwd, r->dir);
    assert_int_equal(m->n_disks, 0);
    assert_null(m->blockers[0]);
}

/* Without names; running; RAM that was plugged later; a device that blocks. */
static void
test_other_states(void **state)
{
    struct real *r = *state;
    struct err e = {0};
    char name[32];

    real_require();
    real_make_dir(r);
    real_image(r, "shm", "raw", "1M");
    real_start(r, (const char *const[]){
                      "-M", "pc", "-m", "64,slots=2,maxmem=256M", "-object",
                      "memory-backend-ram,id=more,size=128M", "-device",
                      "pc-dimm,memdev=more", "-object",
                      "memory-backend-file,id=shm,size=1M,share=on,mem-path="
                      "shm",
                      "-device", "ivshmem-plain,memdev=shm", NULL});
    CLEANUP(qmp_closep) struct qmp *q = real_connect(r);
    assert_works(qmp_run(q, "cont", NULL, NULL, &e), &e);
    CLEANUP(machine_freep) struct machine *m = NULL;
    assert_works(machine_describe(q, "qmp", &m, &e), &e);
    (void)snprintf(name, sizeof(name), "qemu-%d", (int)r->pid);
    assert_string_equal(m->name, name);
    assert_string_equal(m->uuid, "");
    assert_true(m->running);
    assert_string_equal(m->status, "running");
    assert_true(strncmp(m->type, "pc-i440fx-", 10) == 0);
    assert_true(m->ram_bytes == 192 << 20);
    assert_non_null(m->blockers[0]);
    assert_non_null(strstr(m->blockers[0], "ivshmem"));
    assert_null(m->blockers[1]);
    assert_works(qmp_run(q, "stop", NULL, NULL, &e), &e);
    machine_free(m);
    m = NULL;
    assert_works(machine_describe(q, "qmp", &m, &e), &e);
    assert_string_equal(m->status, "paused");
    assert_false(m->running);
}

/* Only -uuid: it is the name too; and the SMBIOS way to give it. */
static void
test_named_by_uuid(void **state)
{
    struct real *r = *state;

    real_require();
    real_make_dir(r);
    real_start(r,
               (const char *const[]){
                   "-smbios",
                   "type=1,uuid=0a1b2c3d-0000-4000-8000-0123456789ab", NULL});
    CLEANUP(machine_freep) struct machine *m = describe(r);
    assert_string_equal(m->name, "0a1b2c3d-0000-4000-8000-0123456789ab");
    assert_string_equal(m->uuid, m->name);
}

/* The name in QEMU's own escaping is the name. */
static void
test_comma_in_name(void **state)
{
    struct real *r = *state;

    real_require();
    real_make_dir(r);
    real_start(r, (const char *const[]){"-name", "a,,b=c", NULL});
    CLEANUP(machine_freep) struct machine *m = describe(r);
    assert_string_equal(m->name, "a,b=c");
}

/* ---- disks ------------------------------------------------------------ */

struct shape {
    const char *args[ARGS_MAX];
    struct {
        const char *name, *device, *qdev, *node, *format, *filename;
        uint64_t size_bytes;
        bool read_only, removable;
    } disks[SHAPE_DISKS_MAX]; /* by name; qdev is its start; node "#": any */
};

#define MIB (1ULL << 20)
#define ANON "/machine/peripheral-anon/device["
#define BUILTIN "/machine/unattached/device["
#define PERIPHERAL "/machine/peripheral/"

static const struct shape shapes[] = {
    {{"-M", "pc", "-hda", "a.qcow2"},
     {{"ide0-hd0", "ide0-hd0", BUILTIN, "#", "qcow2", "a.qcow2", 64 * MIB,
       false, false}}},
    {{"-M", "pc", "-drive", "file=b.raw,format=raw,if=virtio", "-drive",
      "file=a.qcow2,index=2,media=disk"},
     {{"ide1-hd0", "ide1-hd0", BUILTIN, "#", "qcow2", "a.qcow2", 64 * MIB,
       false, false},
      {"virtio0", "virtio0", ANON, "#", "raw", "b.raw", 32 * MIB, false,
       false}}},
    {{"-M", "q35", "-drive", "file=b.raw,format=raw,if=none,id=dr", "-device",
      "virtio-blk-pci,drive=dr,id=vd0"},
     {{"vd0", "dr", PERIPHERAL "vd0/", "#", "raw", "b.raw", 32 * MIB, false,
       false}}},
    {{"-M", "q35", "-drive", "file=b.raw,format=raw,if=none,id=dr", "-device",
      "virtio-blk-pci,drive=dr"},
     {{"dr", "dr", ANON, "#", "raw", "b.raw", 32 * MIB, false, false}}},
    {{"-M", "q35", "-blockdev",
      "qcow2,node-name=n0,file.driver=file,file.filename=a.qcow2", "-device",
      "virtio-blk-pci,drive=n0"},
     {{"n0", "", ANON, "n0", "qcow2", "a.qcow2", 64 * MIB, false, false}}},
    {{"-M", "q35", "-blockdev",
      "{\"driver\":\"raw\",\"node-name\":\"j0\",\"read-only\":true,\"file\":{"
      "\"driver\":\"file\",\"filename\":\"b.raw\"}}",
      "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=j0"},
     {{"j0", "", ANON, "j0", "raw", "b.raw", 32 * MIB, true, false}}},
    {{"-M", "q35", "-blockdev", "file,node-name=f0,filename=b.raw", "-device",
      "virtio-scsi-pci", "-device", "scsi-hd,drive=f0,id=s1", "-device",
      "scsi-cd,id=empty"},
     {{"s1", "", PERIPHERAL "s1", "f0", "file", "b.raw", 32 * MIB, false,
       false}}},
    {{"-M", "q35", "-blockdev", "file,node-name=f0,filename=b.raw,read-only=on",
      "-device", "ide-cd,drive=f0,id=cd"},
     {{"cd", "", PERIPHERAL "cd", "f0", "file", "b.raw", 32 * MIB, true,
       true}}},
    {{"-M", "q35", "-cdrom", "b.raw"},
     {{"ide2-cd0", "ide2-cd0", BUILTIN, "#", "raw", "b.raw", 32 * MIB, true,
       true}}},
    {{"-M", "q35", "-device", "usb-ehci", "-object", "throttle-group,id=tg",
      "-blockdev", "file,node-name=f0,filename=b.raw", "-blockdev",
      "throttle,node-name=t0,throttle-group=tg,file=f0", "-device",
      "usb-storage,drive=t0,id=stick"},
     {{"stick", "", PERIPHERAL "stick/", "t0", "throttle", "json:", 32 * MIB,
       false, false}}},
    {{"-M", "pc", "-drive", "if=pflash,format=raw,file=p.raw", "-drive",
      "if=floppy,format=raw,file=f.raw"},
     {{"floppy0", "floppy0", BUILTIN, "#", "raw", "f.raw", 1474560, false,
       true},
      {"pflash0", "pflash0", "/machine/system.flash0", "#", "raw", "p.raw",
       4 * MIB, false, false}}},
    {{"-M", "q35", "-drive", "file=c.qcow2,if=none,id=un"},
     {{"un", "un", "", "#", "qcow2", "c.qcow2", 64 * MIB, false, true}}},
    {{"-M", "q35", "-drive", "file=c.qcow2,if=virtio,snapshot=on"},
     {{"virtio0", "virtio0", ANON, "#", "qcow2", "", 64 * MIB, false, false}}},
    {{"-M", "q35", "-blockdev", "null-co,node-name=z,size=1048576", "-device",
      "virtio-blk-pci,drive=z,id=x", "-blockdev",
      "null-co,node-name=y,size=2097152", "-device",
      "virtio-blk-pci,drive=y,id=z"},
     {{"x", "", PERIPHERAL "x/", "z", "null-co", "", MIB, false, false},
      {"z", "", PERIPHERAL "z/", "y", "null-co", "", 2 * MIB, false, false}}},
};

static const struct disk *
disk_named(const struct machine *m, const char *name)
{
    for (size_t i = 0; i < m->n_disks; i++) {
        if (strcmp(m->disks[i].name, name) == 0)
            return &m->disks[i];
    }
    for (size_t i = 0; i < m->n_disks; i++)
        print_error("there is %s\n", m->disks[i].name);
    fail_msg("no disk %s", name);
    return NULL;
}

static void
assert_starts(const char *s, const char *start)
{
    if (strncmp(s, start, strlen(start)) != 0)
        fail_msg("\"%s\" does not start with \"%s\"", s, start);
}

static void
check_shape(const struct shape *s, const struct machine *m)
{
    size_t n = 0;

    for (; n < SHAPE_DISKS_MAX && s->disks[n].name; n++) {
        const struct disk *d = disk_named(m, s->disks[n].name);
        assert_string_equal(d->device, s->disks[n].device);
        assert_starts(d->qdev, s->disks[n].qdev);
        assert_int_equal(d->qdev[0], s->disks[n].qdev[0]);
        assert_starts(d->node, s->disks[n].node);
        assert_string_equal(d->format, s->disks[n].format);
        assert_starts(d->filename, s->disks[n].filename);
        assert_true(d->size_bytes == s->disks[n].size_bytes);
        assert_int_equal(d->read_only, s->disks[n].read_only);
        assert_int_equal(d->removable, s->disks[n].removable);
    }
    assert_int_equal(m->n_disks, n);
}

static void
make_images(struct real *r)
{
    real_make_dir(r);
    real_image(r, "a.qcow2", "qcow2", "64M");
    real_image(r, "c.qcow2", "qcow2", "64M");
    real_image(r, "b.raw", "raw", "32M");
    real_image(r, "p.raw", "raw", "4M");
    real_image(r, "f.raw", "raw", "1440k");
}

static void
test_disks(void **state)
{
    struct real *r = *state;

    real_require();
    make_images(r);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        (void)unlink(r->socket);
        real_start(r, shapes[i].args);
        struct machine *m = describe(r);
        check_shape(&shapes[i], m);
        machine_free(m);
        real_kill(r);
    }
}

/* A medium that goes and comes. */
static void
test_eject(void **state)
{
    struct real *r = *state;
    struct err e = {0};

    real_require();
    make_images(r);
    real_start(r, (const char *const[]){
                      "-M", "q35", "-blockdev",
                      "file,node-name=f0,filename=b.raw,read-only=on",
                      "-device", "ide-cd,drive=f0,id=cd", NULL});
    CLEANUP(qmp_closep) struct qmp *q = real_connect(r);
    CLEANUP(machine_freep) struct machine *m = NULL;
    assert_works(machine_describe(q, "", &m, &e), &e);
    assert_int_equal(m->n_disks, 1);
    machine_free(m);
    m = NULL;
    assert_works(qmp_run(q, "eject",
                         json_pack("{s:s, s:b}", "id", "cd", "force", 1), NULL,
                         &e),
                 &e);
    assert_works(machine_describe(q, "", &m, &e), &e);
    assert_int_equal(m->n_disks, 0);
}

/* ---- its process ------------------------------------------------------ */

/* The pid of a QEMU that put itself into the background. */
static void
test_daemon(void **state)
{
    struct real *r = *state;
    char pidfile[64], text[32] = "";

    real_require();
    real_make_dir(r);
    real_start(r, (const char *const[]){"-daemonize", "-pidfile", "pid", NULL});
    real_wait_exit(r->pid); /* the parent */
    r->pid = 0;
    (void)snprintf(pidfile, sizeof(pidfile), "%s/pid", r->dir);
    FILE *f = fopen(pidfile, "re");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    (void)fclose(f);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    struct machine *m = describe(r);
    pid_t told = m->pid;
    machine_free(m);
    (void)kill(pid, SIGKILL);
    assert_true(pid > 1);
    assert_int_equal(told, pid);
}

/* A socket that somebody else made and listened on, as libvirt does. */
static void
test_inherited_socket(void **state)
{
    struct real *r = *state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    real_require();
    if (geteuid() != 0)
        skip();
    real_make_dir(r);
    at = address_of(r->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* QEMU is to have it */
    assert_int_equal(bind(fd, (void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    char chardev[64];
    (void)snprintf(chardev, sizeof(chardev),
                   "socket,id=m,fd=%d,server=on,wait=off", fd);
    real_start_args(r,
                    (const char *const[]){"-accel", "tcg", "-m", "64", "-S",
                                          "-nodefaults", "-display", "none",
                                          "-chardev", chardev, "-mon",
                                          "chardev=m,mode=control", NULL},
                    r->socket);
    (void)close(fd);
    CLEANUP(machine_freep) struct machine *m = describe(r);
    assert_int_equal(m->pid, r->pid);
}

/* Hands bytes on both ways between the sockets until one ends. */
static void
hand_on(int a, int b)
{
    struct pollfd p[] = {{.fd = a, .events = POLLIN},
                         {.fd = b, .events = POLLIN}};
    char bytes[4096];

    while (poll(p, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            if (!p[i].revents)
                continue;
            ssize_t n = read(p[i].fd, bytes, sizeof(bytes));
            if (n <= 0 || write(p[1 - i].fd, bytes, (size_t)n) != n)
                return;
        }
}

/* A process that listens at `path` for one client of the monitor. */
static pid_t
start_relay(const struct real *r, const char *path)
{
    struct sockaddr_un at = address_of(path), to = address_of(r->socket);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 1), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int server = socket(AF_UNIX, SOCK_STREAM, 0);
        int client = accept(listener, NULL, NULL);
        if (connect(server, (void *)&to, sizeof(to)) == 0)
            hand_on(client, server);
        _exit(0);
    }
    (void)close(listener);
    return pid;
}

/* Neither end of the connection is QEMU's: its threads tell. */
static void
check_behind_relay(struct real *r, const char *const args[])
{
    CLEANUP(machine_freep) struct machine *m = NULL;
    struct err e = {0};
    char path[64];

    real_require();
    real_make_dir(r);
    real_start(r, args);
    (void)snprintf(path, sizeof(path), "%s/relay", r->dir);
    pid_t relay = start_relay(r, path);
    struct qmp *q = NULL;
    assert_works(qmp_connect(path, &q, &e), &e);
    assert_works(machine_describe(q, path, &m, &e), &e);
    assert_int_equal(m->pid, r->pid);
    assert_true(m->start_time == process_start_time(r->pid));
    qmp_close(q);
    real_wait_exit(relay);
}

static void
test_behind_relay(void **state)
{
    check_behind_relay(*state,
                       (const char *const[]){"-name", "guest=web", "-uuid",
                                             "0a1b2c3d-0000-4000-8000-"
                                             "0123456789ab",
                                             NULL});
}

static void
test_nameless_behind_relay(void **state)
{
    check_behind_relay(*state, (const char *const[]){"-smp", "2", NULL});
}

/* ---- JSON ------------------------------------------------------------- */

static struct machine *
from_text(const char *text, struct err *e)
{
    CLEANUP(json_decrefp) json_t *j = json_loads(text, 0, NULL);
    struct machine *m = NULL;

    assert_non_null(j);
    return machine_from_json(j, &m, e) == -1 ? NULL : m;
}

static void
check_round_trip(const struct machine *m)
{
    CLEANUP(json_decrefp) json_t *before = machine_to_json(m);
    CLEANUP(freep) char *text = json_dumps(before, JSON_INDENT(1));
    struct err e = {0};
    CLEANUP(machine_freep) struct machine *again = from_text(text, &e);

    if (!again)
        fail_msg("%s", e.msg);
    CLEANUP(json_decrefp) json_t *after = machine_to_json(again);
    assert_true(json_equal(before, after));
    assert_int_equal(again->n_disks, m->n_disks);
    for (size_t i = 0; m->argv && m->argv[i]; i++)
        assert_string_equal(again->argv[i], m->argv[i]);
    if (m->cwd)
        assert_string_equal(again->cwd, m->cwd);
}

static void
test_json_of_real(void **state)
{
    struct real *r = *state;

    real_require();
    make_images(r);
    real_start(r, (const char *const[]){"-M", "pc", "-hda", "a.qcow2", "-drive",
                                        "file=b.raw,format=raw,if=virtio",
                                        "-name", "x\xff\xfey", NULL});
    CLEANUP(machine_freep) struct machine *m = describe(r);
    assert_int_equal(m->n_disks, 2);
    check_round_trip(m);
    free(m->cwd); /* what may be unknown */
    process_argv_free(m->argv);
    m->cwd = NULL;
    m->argv = NULL;
    m->pid = 0;
    check_round_trip(m);
}

static const char good[] =
    "{\"name\": \"n\", \"uuid\": \"\", \"socket\": \"/s\", \"pid\": 7,"
    " \"start_time\": 1, \"version\": {\"major\": 7, \"minor\": 2, \"micro\":"
    " 0, \"package\": \"\"}, \"type\": \"t\", \"status\": \"running\","
    " \"running\": true, \"ram_bytes\": 1, \"argv\": [\"q\", {\"hex\":"
    " \"ff41\"}], \"cwd\": \"/\", \"disks\": [{\"name\": \"a\", \"device\":"
    " \"\", \"qdev\": \"\", \"node\": \"n\", \"format\": \"raw\","
    " \"filename\": \"/i\", \"size_bytes\": 9, \"read_only\": false,"
    " \"removable\": true}], \"blockers\": [\"b\"], \"newer\": 1}";

static void
test_good_json(void **state)
{
    struct err e = {0};
    CLEANUP(machine_freep) struct machine *m = from_text(good, &e);

    (void)state;
    assert_non_null(m);
    assert_string_equal(m->argv[1], "\xff"
                                    "A");
    assert_null(m->argv[2]);
    assert_int_equal(m->pid, 7);
    assert_string_equal(m->disks[0].name, "a");
    assert_true(m->disks[0].removable);
    assert_string_equal(m->blockers[0], "b");
    check_round_trip(m);
}

/* Any member missing, or of any wrong kind, is refused. */
static void
test_json_without(void **state)
{
    CLEANUP(json_decrefp) json_t *j = json_loads(good, 0, NULL);
    const char *key = NULL;
    json_t *value = NULL;

    (void)state;
    json_object_foreach(j, key, value)
    {
        json_t *wrong[] = {NULL, json_real(1.5), json_integer(-1),
                           json_pack("[[]]"), json_pack("{s:s}", "hex", "0")};
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
            CLEANUP(json_decrefp) json_t *copy = json_copy(j);
            struct machine *m = NULL;
            struct err e = {0};
            (void)json_object_del(copy, key);
            if (wrong[i])
                (void)json_object_set_new(copy, key, wrong[i]);
            if (strcmp(key, "newer") == 0) {
                assert_works(machine_from_json(copy, &m, &e), &e);
                machine_free(m);
                continue;
            }
            assert_fails(machine_from_json(copy, &m, &e), &e, ERR_CORRUPT,
                         "no good");
            assert_null(m);
        }
    }
    assert_null(from_text("[]", &(struct err){0}));
}

/* `good` with the first `from` replaced. */
static void
check_bad(const char *from, const char *to, const char *part)
{
    char text[2048];
    const char *at = strstr(good, from);
    struct err e = {0};

    assert_non_null(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, to,
                   at + strlen(from));
    assert_null(from_text(text, &e));
    assert_int_equal(e.code, ERR_CORRUPT);
    if (!strstr(e.msg, part))
        fail_msg("\"%s\" does not hold \"%s\"", e.msg, part);
}

static void
test_bad_json(void **state)
{
    (void)state;
    check_bad("\"name\": \"n\"", "\"name\": \"\"", "\"name\"");
    check_bad("\"uuid\": \"\"", "\"uuid\": \"../../x\"", "\"uuid\"");
    check_bad("\"name\": \"a\"", "\"name\": \"../a\"", "\"name\"");
    check_bad("\"name\": \"a\"", "\"name\": \"\"", "\"name\"");
    check_bad("\"size_bytes\": 9", "\"size_bytes\": -9", "\"size_bytes\"");
    check_bad("\"pid\": 7", "\"pid\": 4294967296", "\"pid\"");
    check_bad("\"major\": 7", "\"major\": 4294967296", "\"major\"");
    check_bad("\"ff41\"", "\"ff4\"", "\"argv\"");
    check_bad("\"ff41\"", "\"ff00\"", "\"argv\"");
    check_bad("\"disks\": [",
              "\"disks\": [{\"name\": \"a\", \"device\": \"\", \"qdev\": \"\","
              " \"node\": \"\", \"format\": \"\", \"filename\": \"\","
              " \"size_bytes\": 0, \"read_only\": true, \"removable\":"
              " false}, ",
              "one name");
}

#define REAL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        REAL_TEST(test_plain),
        REAL_TEST(test_other_states),
        REAL_TEST(test_named_by_uuid),
        REAL_TEST(test_comma_in_name),
        REAL_TEST(test_disks),
        REAL_TEST(test_eject),
        REAL_TEST(test_daemon),
        REAL_TEST(test_inherited_socket),
        REAL_TEST(test_behind_relay),
        REAL_TEST(test_nameless_behind_relay),
        REAL_TEST(test_json_of_real),
        cmocka_unit_test(test_good_json),
        cmocka_unit_test(test_json_without),
        cmocka_unit_test(test_bad_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
