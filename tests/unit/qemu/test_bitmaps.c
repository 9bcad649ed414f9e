/* SPDX-License-Identifier: Apache-2.0 */
/* bitmaps from replies made by hand, and in a real QEMU. */
#include "qemu/bitmaps.h"

#include "base/mem.h"
#include "check.h"
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
test_reply(void **state)
{
    struct bitmap *b = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    char text[] =
        "[{'node-name':'a','dirty-bitmaps':["
        "{'name':'x','granularity':65536,'recording':true,'busy':false,"
        "'persistent':false},"
        "{'granularity':65536,'recording':true},"
        "{'name':'y','granularity':4096,'recording':false,'busy':true,"
        "'persistent':true,'inconsistent':true}]},"
        "{'node-name':'b'},"
        "{'node-name':'c','dirty-bitmaps':[{'name':'x'}]}]";
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    CLEANUP(json_decrefp) json_t *nodes = json_loads(text, 0, NULL);
    assert_works(bitmaps_read(nodes, &b, &n, &e), &e);
    assert_int_equal(n, 3);
    const struct bitmap *x = bitmaps_find(b, n, "a", "x");
    assert_ptr_equal(x, &b[0]);
    assert_true(x->recording);
    assert_false(x->busy || x->persistent || x->inconsistent);
    assert_int_equal(x->granularity_bytes, 65536);
    const struct bitmap *y = bitmaps_find(b, n, "a", "y");
    assert_true(y->busy && y->persistent && y->inconsistent);
    assert_false(y->recording);
    assert_ptr_equal(bitmaps_find(b, n, "c", "x"), &b[2]);
    assert_null(bitmaps_find(b, n, "b", "x"));
    assert_null(bitmaps_find(b, n, "c", "y"));
    bitmaps_free(b, n);
}

static void
test_nonsense(void **state)
{
    static const char *const bad[] = {"{}", "[{\"drv\":\"raw\"}]", "[1]"};
    struct bitmap *b = NULL;
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(json_decrefp) json_t *j = json_loads(bad[i], 0, NULL);
        struct err e = {0};
        assert_fails(bitmaps_read(j, &b, &n, &e), &e, ERR_QEMU,
                     "query-named-block-nodes");
    }
    assert_null(b);
}

static void
test_too_many(void **state)
{
    CLEANUP(json_decrefp) json_t *all = json_array();
    json_t *list = json_array();
    struct bitmap *b = NULL;
    size_t n = 0;
    struct err e = {0};

    (void)state;
    for (int i = 0; i <= BITMAPS_MAX; i++)
        (void)json_array_append_new(list, json_pack("{s:s}", "name", "x"));
    (void)json_array_append_new(
        all, json_pack("{s:s, s:o}", "node-name", "a", "dirty-bitmaps", list));
    assert_fails(bitmaps_read(all, &b, &n, &e), &e, ERR_LIMIT, "bitmaps");
}

static void
test_real(void **state)
{
    struct real *r = *state;
    struct bitmap *b = NULL;
    size_t n = 0;
    struct err e = {0};

    real_require();
    real_make_dir(r);
    real_image(r, "a.qcow2", "qcow2", "16M");
    real_start(
        r, (const char *const[]){"-blockdev",
                                 "driver=qcow2,node-name=a,file.driver=file,"
                                 "file.filename=a.qcow2",
                                 "-device", "virtio-blk-pci,drive=a", NULL});
    CLEANUP(qmp_closep) struct qmp *q = real_connect(r);
    assert_works(bitmaps_list(q, &b, &n, &e), &e);
    assert_int_equal(n, 0);
    bitmaps_free(b, n);
    assert_works(bitmap_add(q, "a", "mine", 8192, &e), &e);
    assert_fails(bitmap_add(q, "a", "mine", 8192, &e), &e, ERR_QEMU, "mine");
    err_clear(&e);
    assert_works(bitmaps_list(q, &b, &n, &e), &e);
    const struct bitmap *mine = bitmaps_find(b, n, "a", "mine");
    assert_non_null(mine);
    assert_false(mine->recording || mine->busy || mine->persistent);
    bitmaps_free(b, n);
    assert_works(bitmap_add_kept(q, "a", "kept", 4096, &e), &e);
    assert_works(bitmaps_list(q, &b, &n, &e), &e);
    const struct bitmap *kept = bitmaps_find(b, n, "a", "kept");
    assert_non_null(kept);
    assert_true(kept->persistent && !kept->recording);
    bitmaps_free(b, n);
    assert_works(bitmap_remove(q, "a", "kept", &e), &e);
    assert_works(bitmap_remove(q, "a", "mine", &e), &e);
    assert_fails(bitmap_remove(q, "a", "mine", &e), &e, ERR_QEMU, "mine");
    err_clear(&e);
    assert_works(bitmaps_list(q, &b, &n, &e), &e);
    assert_int_equal(n, 0);
    bitmaps_free(b, n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test_setup_teardown(test_real, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
