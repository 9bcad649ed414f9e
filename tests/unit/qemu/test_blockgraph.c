/* SPDX-License-Identifier: Apache-2.0 */
/* blockgraph: what a real QEMU shows before, while and after it is used the
 * way a backup does; and differences of pictures made by hand. */
#include "qemu/blockgraph.h"

#include "base/fd.h"
#include "fake_qmp.h"
#include "real_qemu.h"

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

static void
check_diff(const char *before, const char *after, const char *wanted)
{
    CLEANUP(json_decrefp) json_t *a = json_loads(before, 0, NULL);
    CLEANUP(json_decrefp) json_t *b = json_loads(after, 0, NULL);

    assert_non_null(a);
    assert_non_null(b);
    CLEANUP(freep) char *diff = blockgraph_diff(a, b);
    assert_string_equal(diff, wanted);
}

static void
test_diff(void **state)
{
    (void)state;
    check_diff("{}", "{}", "");
    check_diff("{\"b\": {\"x\": 1}, \"a\": [\"p\"]}",
               "{\"a\": [\"p\"], \"b\": {\"x\": 1}}", "");
    check_diff("{\"status\": \"paused\"}", "{\"status\": \"running\"}",
               "~ status = \"running\", was \"paused\"\n");
    check_diff("{\"n\": {\"a\": {\"x\": 1}}}",
               "{\"n\": {\"b\": {\"y\": 2, \"x\": [1]}}}",
               "- n / a = {\"x\":1}\n+ n / b = {\"x\":[1],\"y\":2}\n");
    check_diff("{\"n\": {\"a\": {\"x\": 1, \"y\": 2}}}",
               "{\"n\": {\"a\": {\"x\": 1, \"y\": null}}}",
               "~ n / a / y = null, was 2\n");
    check_diff("{\"e\": [\"a\", \"b\", \"b\", \"d\"]}",
               "{\"e\": [\"b\", \"c\", \"d\", \"d\"]}",
               "- e = \"a\"\n- e = \"b\"\n+ e = \"c\"\n+ e = \"d\"\n");
    check_diff("{\"e\": [1]}", "{\"e\": [\"a\"]}", "~ e = [\"a\"], was [1]\n");
    check_diff("{\"e\": []}", "{\"e\": {}}", "~ e = {}, was []\n");
    check_diff("{\"\\u001b[1m\": 1}", "{\"\\u001b[1m\": \"\\u007f\"}",
               "~ \\x1b[1m = \"\\x7f\", was 1\n");
}

static void
test_long_diff(void **state)
{
    CLEANUP(json_decrefp) json_t *a = json_object();
    CLEANUP(json_decrefp) json_t *b = json_object();
    size_t lines = 0;

    (void)state;
    for (int i = 0; i < BLOCKGRAPH_DIFF_LINES + 7; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "%d", i);
        (void)json_object_set_new(b, key, json_integer(i));
    }
    CLEANUP(freep) char *diff = blockgraph_diff(a, b);
    for (const char *c = diff; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, BLOCKGRAPH_DIFF_LINES + 1);
    assert_non_null(strstr(diff, "and 7 more\n"));
}

/* ---- a real QEMU ------------------------------------------------------ */

static json_t *
picture_of(struct qmp *q)
{
    json_t *p = NULL;
    struct err e = {0};

    assert_works(blockgraph_snapshot(q, &p, &e), &e);
    return p;
}

static void
run(struct qmp *q, const char *command, const char *args)
{
    json_t *j = json_loads(args, 0, NULL);
    struct err e = {0};

    assert_non_null(j);
    assert_works(qmp_run(q, command, j, NULL, &e), &e);
}

/* Those of filters: how many, and of which node, differs between QEMUs. */
static bool
is_nameless_bitmap(const char *line)
{
    const char *sign = strstr(line, "/(nameless ");

    return strncmp(line, "+ bitmaps / ", 12) == 0 && sign &&
           sign < strchr(line, '\n');
}

/* What has changed since `before` holds these lines, and no others. */
static void
check_change(struct qmp *q, json_t *before, const char *const *parts)
{
    CLEANUP(json_decrefp) json_t *now = picture_of(q);
    CLEANUP(freep) char *diff = blockgraph_diff(before, now);
    size_t lines = 0, n = 0;

    for (const char *at = diff; *at; at = strchr(at, '\n') + 1)
        lines += !is_nameless_bitmap(at);
    for (; parts[n]; n++) {
        if (!strstr(diff, parts[n]))
            fail_msg("no \"%s\" in:\n%s", parts[n], diff);
    }
    if (lines != n)
        fail_msg("%zu lines, not %zu:\n%s", lines, n, diff);
}

#define NOTHING ((const char *const[]){NULL})

static struct qmp *
start(struct real *r)
{
    real_require();
    real_make_dir(r);
    real_image(r, "a.qcow2", "qcow2", "64M");
    real_image(r, "s.qcow2", "qcow2", "64M");
    real_image(r, "b.raw", "raw", "32M");
    real_start(r, (const char *const[]){
                      "-M", "q35", "-blockdev",
                      "qcow2,node-name=n0,file.driver=file,file.node-name=p0,"
                      "file.filename=a.qcow2",
                      "-device", "virtio-blk-pci,drive=n0,id=vd0", "-drive",
                      "file=b.raw,format=raw,if=virtio,id=vd1", NULL});
    return real_connect(r);
}

static void
test_picture(void **state)
{
    CLEANUP(qmp_closep) struct qmp *q = start(*state);
    CLEANUP(json_decrefp) json_t *p = picture_of(q);
    static const char *const parts[] = {
        "nodes",  "edges",   "backends", "bitmaps",      "jobs",      "exports",
        "fdsets", "objects", "status",   "capabilities", "parameters"};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_non_null(json_object_get(p, parts[i]));
    assert_int_equal(json_object_size(p), ARRAY_LEN(parts));
    const json_t *n0 = json_object_get(json_object_get(p, "nodes"), "n0");
    assert_string_equal(json_string_value(json_object_get(n0, "drv")), "qcow2");
    const json_t *vd0 =
        json_object_get(json_object_get(p, "backends"),
                        "/machine/peripheral/vd0/virtio-backend");
    assert_string_equal(json_string_value(json_object_get(vd0, "node")), "n0");
    assert_true(json_integer_value(json_object_get(vd0, "size")) == 64 << 20);
    const char *edge =
        json_string_value(json_array_get(json_object_get(p, "edges"), 1));
    assert_string_equal(edge,
                        "/machine/peripheral/vd0/virtio-backend --root--> n0 "
                        "(takes consistent-read,write; shares "
                        "consistent-read,resize,write-unchanged)");
    check_change(q, p, NOTHING);
}

/* Each trace that a backup could leave is seen, and that it is gone. */
static void
test_traces(void **state)
{
    struct real *r = *state;
    CLEANUP(qmp_closep) struct qmp *q = start(r);
    CLEANUP(json_decrefp) json_t *p = picture_of(q);
    char server[256];
    struct err e = {0};

    run(q, "block-dirty-bitmap-add", "{\"node\": \"n0\", \"name\": \"b\"}");
    check_change(
        q, p,
        (const char *const[]){
            "+ bitmaps / n0/b = {\"busy\":false,\"granularity\":65536", NULL});
    run(q, "block-dirty-bitmap-remove", "{\"node\": \"n0\", \"name\": \"b\"}");
    check_change(q, p, NOTHING);

    run(q, "migrate-set-capabilities",
        "{\"capabilities\": [{\"capability\": \"events\", \"state\": true}]}");
    run(q, "migrate-set-parameters", "{\"max-bandwidth\": 1000000}");
    check_change(q, p,
                 (const char *const[]){
                     "~ capabilities / events = true, was false\n",
                     "~ parameters / max-bandwidth = 1000000, was ", NULL});
    run(q, "migrate-set-capabilities",
        "{\"capabilities\": [{\"capability\": \"events\", \"state\": false}]}");
    run(q, "migrate-set-parameters", "{\"max-bandwidth\": 134217728}");

    (void)snprintf(server, sizeof(server),
                   "{\"addr\": {\"type\": \"unix\", \"data\": {\"path\": "
                   "\"%s/nbd\"}}}",
                   r->dir);
    run(q, "nbd-server-start", server);
    run(q, "block-export-add",
        "{\"id\": \"x\", \"type\": \"nbd\", \"node-name\": \"n0\"}");
    check_change(q, p,
                 (const char *const[]){"+ exports / x = {\"node-name\":\"n0\"",
                                       "+ edges = \"(nameless) --root--> n0 ",
                                       NULL});
    run(q, "block-export-del", "{\"id\": \"x\"}");
    run(q, "nbd-server-stop", "{}");

    run(q, "object-add", "{\"qom-type\": \"iothread\", \"id\": \"io\"}");
    check_change(
        q, p,
        (const char *const[]){"+ objects / io = \"child<iothread>\"\n", NULL});
    run(q, "object-del", "{\"id\": \"io\"}");
    check_change(q, p, NOTHING);

    run(q, "cont", "{}");
    check_change(q, p,
                 (const char *const[]){
                     "~ status = \"running\", was \"prelaunch\"\n", NULL});

    /* QEMU drops descriptors only while the machine runs */
    CLEANUP(json_decrefp) json_t *running = picture_of(q);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    json_t *fdset = json_pack("{s:i}", "fdset-id", 7);
    assert_works(qmp_run_fd(q, "add-fd", fdset, fd, NULL, &e), &e);
    (void)close(fd);
    check_change(q, running, (const char *const[]){"+ fdsets / 7 = 1\n", NULL});
    run(q, "remove-fd", "{\"fdset-id\": 7}");
    check_change(q, running, NOTHING);
}

/* The filter and the snapshot that fleecing puts in. */
static void
test_fleecing(void **state)
{
    CLEANUP(qmp_closep) struct qmp *q = start(*state);
    struct err e = {0};

    if (qmp_version(q)->major < 7 ||
        (qmp_version(q)->major == 7 && qmp_version(q)->minor < 1))
        skip();
    run(q, "cont", "{}");
    run(q, "stop", "{}");
    CLEANUP(json_decrefp) json_t *p = picture_of(q);
    run(q, "blockdev-add",
        "{\"driver\": \"qcow2\", \"node-name\": \"scr\", \"file\": {\"driver\":"
        " \"file\", \"node-name\": \"scrp\", \"filename\": \"s.qcow2\"}}");
    run(q, "blockdev-add",
        "{\"driver\": \"copy-before-write\", \"node-name\": \"cbw\", \"file\": "
        "\"n0\", \"target\": \"scr\"}");
    run(q, "qom-set",
        "{\"path\": \"/machine/peripheral/vd0/virtio-backend\", \"property\": "
        "\"drive\", \"value\": \"cbw\"}");
    run(q, "blockdev-add",
        "{\"driver\": \"snapshot-access\", \"node-name\": \"acc\", \"file\": "
        "\"cbw\"}");
    check_change(
        q, p,
        (const char *const[]){
            "+ nodes / scr = ", "+ nodes / scrp = ", "+ nodes / cbw = ",
            "+ nodes / acc = ",

            "~ backends / /machine/peripheral/vd0/virtio-backend / node = "
            "\"cbw\", was \"n0\"\n",
            "+ edges = \"/machine/peripheral/vd0/virtio-backend --root--> cbw",
            "- edges = \"/machine/peripheral/vd0/virtio-backend --root--> n0",
            "+ edges = \"cbw --file--> n0", "+ edges = \"cbw --target--> scr",
            "+ edges = \"acc --file--> cbw", "+ edges = \"scr --file--> scrp",
            NULL});
    run(q, "blockdev-del", "{\"node-name\": \"acc\"}");
    run(q, "qom-set",
        "{\"path\": \"/machine/peripheral/vd0/virtio-backend\", \"property\": "
        "\"drive\", \"value\": \"n0\"}");
    run(q, "blockdev-del", "{\"node-name\": \"cbw\"}");
    run(q, "blockdev-del", "{\"node-name\": \"scr\"}");
    check_change(q, p, NOTHING);
    assert_int_equal(e.code, ERR_OK);
}

/* A job, and the snapshot that one leaves in an image. */
static void
test_jobs(void **state)
{
    CLEANUP(qmp_closep) struct qmp *q = start(*state);
    CLEANUP(json_decrefp) json_t *p = picture_of(q);
    struct qmp_event ev = {0};
    struct err e = {0};

    run(q, "blockdev-add",
        "{\"driver\": \"null-co\", \"node-name\": \"z\", \"size\": 67108864}");
    run(q, "blockdev-backup",
        "{\"job-id\": \"j\", \"device\": \"n0\", \"target\": \"z\", \"sync\": "
        "\"none\"}");
    CLEANUP(json_decrefp) json_t *with = picture_of(q);
    CLEANUP(freep) char *diff = blockgraph_diff(p, with);
    assert_non_null(strstr(diff, "+ jobs / j = \"backup\"\n"));
    run(q, "block-job-cancel", "{\"device\": \"j\"}");
    assert_int_equal(
        qmp_event(q, "BLOCK_JOB_CANCELLED", deadline_in_ms(9000), &ev, &e), 1);
    qmp_event_done(&ev);
    while (qmp_event(q, "JOB_STATUS_CHANGE", deadline_in_ms(9000), &ev, &e) ==
           1) {
        bool gone =
            strcmp(json_string_value(json_object_get(ev.data, "status")),
                   "null") == 0;
        qmp_event_done(&ev);
        if (gone)
            break;
    }
    run(q, "blockdev-del", "{\"node-name\": \"z\"}");
    check_change(q, p, NOTHING);

    run(q, "blockdev-snapshot-internal-sync",
        "{\"device\": \"n0\", \"name\": \"s\"}");
    check_change(
        q, p,
        (const char *const[]){"+ nodes / n0 / snapshots / 1 = \"s\"\n", NULL});
}

/* ---- a QEMU that fails ------------------------------------------------ */

static void
play_old(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    while (fake_hear(f)) {
        if (strstr(f->line, "x-debug") || strstr(f->line, "block-exports"))
            fake_reply(f, "error",
                       "{\"class\": \"CommandNotFound\", \"desc\": \"no\"}");
        else if (strstr(f->line, "parameters"))
            fake_reply(f, "return", "{\"a\": 1}");
        else
            fake_reply(f, "return", "[{}, 7, {\"dirty-bitmaps\": [8]}]");
    }
}

static void
play_failing(struct fake *f)
{
    if (!fake_negotiate(f))
        return;
    while (fake_hear(f)) {
        bool fails = strstr(f->line, "query-jobs") != NULL;
        fake_reply(f, fails ? "error" : "return",
                   fails ? "{\"desc\": \"not now\"}" : "[]");
    }
}

static void
test_fake(void **state)
{
    struct fake *f = fake_start(play_old);
    struct qmp *q = NULL;
    json_t *p = NULL;
    struct err e = {0};

    (void)state;
    assert_works(qmp_connect(f->path, &q, &e), &e);
    assert_works(blockgraph_snapshot(q, &p, &e), &e);
    assert_int_equal(json_array_size(json_object_get(p, "edges")), 0);
    assert_int_equal(json_object_size(json_object_get(p, "exports")), 0);
    json_decref(p);
    qmp_close(q);
    fake_stop(f);

    f = fake_start(play_failing);
    p = NULL;
    assert_works(qmp_connect(f->path, &q, &e), &e);
    for (int i = 0; i < QMP_PENDING_MAX; i++) /* no reply stays unread */
        assert_fails(blockgraph_snapshot(q, &p, &e), &e, ERR_QEMU,
                     "query-jobs: not now");
    assert_null(p);
    assert_works(qmp_run(q, "x", NULL, NULL, &e), &e); /* still in step */
    qmp_close(q);
    fake_stop(f);
}

#define REAL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diff), cmocka_unit_test(test_long_diff),
        REAL_TEST(test_picture),     REAL_TEST(test_traces),
        REAL_TEST(test_fleecing),    REAL_TEST(test_jobs),
        cmocka_unit_test(test_fake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
