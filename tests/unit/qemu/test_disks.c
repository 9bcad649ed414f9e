/* SPDX-License-Identifier: Apache-2.0 */
/* disks from replies made by hand.  test_machine.c has those of QEMU. */
#include "qemu/disks.h"

#include "base/mem.h"
#include "check.h"

/* One block device of query-block. */
static json_t *
block(const char *device, const char *qdev, const char *node)
{
    json_t *b = json_pack("{s:s, s:b, s:{s:s, s:s, s:s, s:b, s:{s:i}}}",
                          "device", device, "removable", 0, "inserted",
                          "node-name", node, "drv", "raw", "file", "/img", "ro",
                          0, "image", "virtual-size", 4096);

    assert_non_null(b);
    if (qdev)
        (void)json_object_set_new(b, "qdev", json_string(qdev));
    return b;
}

static void
test_names(void **state)
{
    static const struct {
        const char *device, *qdev, *node, *name;
    } cases[] = {
        {"drive-a", "/machine/peripheral/vd0/virtio-backend", "n", "vd0"},
        {"", "sx", "n", "sx"},
        {"", "/machine/peripheral/us/us.0/legacy[0]", "n", "us"},
        {"ide0-hd0", "/machine/unattached/device[19]", "#block1", "ide0-hd0"},
        {"", "/machine/peripheral-anon/device[1]", "root", "root"},
        {"", "/machine/peripheral-anon/device[1]", "#block7", "disk5"},
        {"un", NULL, "#block8", "un"},
        {"un", NULL, "#block9", "un-2"},
        {"un", NULL, "#block10", "un-3"},
        {"un-2", NULL, "#block11", "un-2-2"},
        {"a/../b c\xc3\xa4", NULL, "#b", "a-..-b-c--"},
        {"..", NULL, "#b", "disk11"},
        {"-rf", NULL, "#b", "rf"},
        {".hidden", NULL, "#b", "hidden"},
        {"disk14", NULL, "#b", "disk14"},
        {"", NULL, "#b", "disk15"},
        {"disk17", NULL, "#b", "disk17"},
        {"", NULL, "#b", "disk-2"}, /* disk17 is taken */
    };
    json_t *list = json_array();
    struct disk *d = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        (void)json_array_append_new(
            list, block(cases[i].device, cases[i].qdev, cases[i].node));
    assert_works(disks_read(list, &d, &n, &e), &e);
    assert_int_equal(n, ARRAY_LEN(cases));
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(d[i].name, cases[i].name);
        assert_true(disk_name_is_fit(d[i].name));
    }
    assert_string_equal(d[1].qdev, "/machine/peripheral/sx");
    assert_string_equal(d[6].qdev, "");
    disks_free(d, n);
    json_decref(list);
}

/* Does a disk of which QEMU says this keep bitmaps? */
static bool
keeps(const char *drv, const char *image, const char *cache, int depth)
{
    json_t *list = json_pack("[o]", block("a", NULL, "n"));
    json_t *in = json_object_get(json_array_get(list, 0), "inserted");
    struct disk *d = NULL;
    size_t n = 0;
    struct err e = {0};

    json_t *more = json_loads(image, 0, NULL);
    assert_non_null(more);
    (void)json_object_update(json_object_get(in, "image"), more);
    json_decref(more);
    (void)json_object_set_new(in, "drv", json_string(drv));
    (void)json_object_set_new(in, "backing_file_depth", json_integer(depth));
    if (cache)
        (void)json_object_set_new(in, "cache", json_loads(cache, 0, NULL));
    assert_works(disks_read(list, &d, &n, &e), &e);
    bool answer = d[0].keeps_bitmaps;
    disks_free(d, n);
    json_decref(list);
    return answer;
}

#define SPECIFIC(more) "{\"format-specific\": {\"data\": {" more "}}}"

static void
test_keeps_bitmaps(void **state)
{
    static const char good[] = SPECIFIC("\"compat\": \"1.1\"");
    static const char flushed[] = "{\"no-flush\": false}";

    (void)state;
    assert_true(keeps("qcow2", good, flushed, 0));
    assert_false(keeps("raw", good, flushed, 0));
    assert_false(keeps("qcow2", SPECIFIC("\"compat\": \"0.10\""), flushed, 0));
    assert_false(keeps("qcow2",
                       SPECIFIC("\"compat\": \"1.1\", \"data-file\": \"x\""),
                       flushed, 0));
    assert_false(keeps("qcow2",
                       "{\"backing-filename\": \"b\", \"format-specific\": "
                       "{\"data\": {\"compat\": \"1.1\"}}}",
                       flushed, 0));
    assert_false(keeps("qcow2", good, flushed, 1));
    assert_false(keeps("qcow2", good, "{\"no-flush\": true}", 0));
    /* What QEMU does not say is no. */
    assert_false(keeps("qcow2", good, NULL, 0));
    assert_false(keeps("qcow2", "{}", flushed, 0));
}

static void
test_long_names(void **state)
{
    json_t *list = json_array();
    char name[4096] = "";
    struct disk *d = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    for (int i = 0; i < 12; i++)
        (void)json_array_append_new(list, block(name, NULL, "#b"));
    assert_works(disks_read(list, &d, &n, &e), &e);
    assert_int_equal(strlen(d[0].name), DISK_NAME_MAX);
    assert_true(disk_name_is_fit(d[11].name));
    disks_free(d, n);
    json_decref(list);
}

static void
test_fit(void **state)
{
    static const char *const bad[] = {"",    ".",   "..", "a/b",     "-a",
                                      "a b", "a\n", "_a", "\xc3\xa4"};
    static const char *const good[] = {"a", "0", "a.b-c_D", "vd0"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(disk_name_is_fit(bad[i]));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(disk_name_is_fit(good[i]));
}

static void
test_fields(void **state)
{
    json_t *b = block("d", "q", "n");
    json_t *list = json_pack("[o, {s:s}]", b, "device", "empty");
    struct disk *d = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    (void)json_object_set_new(json_object_get(b, "inserted"), "ro",
                              json_true());
    (void)json_object_set_new(b, "removable", json_true());
    assert_works(disks_read(list, &d, &n, &e), &e);
    assert_int_equal(n, 1); /* an empty drive is no disk */
    assert_true(d->read_only && d->removable);
    assert_int_equal(d->size_bytes, 4096);
    assert_string_equal(d->format, "raw");
    assert_string_equal(d->filename, "/img");
    assert_string_equal(d->node, "n");
    assert_string_equal(d->device, "d");
    disks_free(d, n);
    json_decref(list);
}

static void
test_bad(void **state)
{
    static const struct {
        const char *json;
        enum err_code code;
        const char *part;
    } cases[] = {
        {"{}", ERR_QEMU, "no list"},
        {"[{\"inserted\": 1}]", ERR_QEMU, "without a size"},
        {"[{\"inserted\": {\"image\": {\"virtual-size\": -1}}}]", ERR_QEMU,
         "without a size"},
        {"[{\"inserted\": {\"image\": {\"virtual-size\": 1}}}]", ERR_QEMU,
         "without a node"},
        {"[{\"inserted\": {\"node-name\": \"a\", \"image\": {\"virtual-size\": "
         "1}}}]",
         ERR_QEMU, "without a node"},
    };
    struct disk *d = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *j = json_loads(cases[i].json, 0, NULL);
        assert_non_null(j);
        assert_fails(disks_read(j, &d, &n, &e), &e, cases[i].code,
                     cases[i].part);
        json_decref(j);
    }
    json_t *many = json_array();
    for (size_t i = 0; i < DISKS_MAX; i++)
        (void)json_array_append_new(many, block("", NULL, "#b"));
    assert_works(disks_read(many, &d, &n, &e), &e);
    assert_int_equal(n, DISKS_MAX);
    disks_free(d, n);
    (void)json_array_append_new(many, json_object());
    assert_fails(disks_read(many, &d, &n, &e), &e, ERR_LIMIT, "the limit is");
    json_decref(many);
}

/* QEMU names a SCSI or IDE disk by its id, a virtio-blk one by its path. */
static void
devices_by_path(void **state)
{
    static const struct {
        const char *qdev, *path;
    } cases[] = {
        {"scsi0", "/machine/peripheral/scsi0"},
        {"/machine/peripheral/vd0/virtio-backend",
         "/machine/peripheral/vd0/virtio-backend"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *path = disk_qdev_path(cases[i].qdev);
        assert_string_equal(path, cases[i].path);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_keeps_bitmaps),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_fit),
        cmocka_unit_test(test_fields),     cmocka_unit_test(test_bad),
        cmocka_unit_test(devices_by_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
