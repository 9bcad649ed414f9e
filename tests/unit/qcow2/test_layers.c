/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/layers.h"

#include "imagetool.h"

#include "base/err.h"
#include "base/mem.h"
#include "qcow2/reader.h"

enum { NAMES_MAX = 70 };

/* Names in the scratch folder, as a list of paths. */
struct names {
    size_t n;
    char paths[NAMES_MAX][300];
    const char *list[NAMES_MAX];
};

static void
add_name(struct names *l, const char *name)
{
    (void)snprintf(l->paths[l->n], sizeof(l->paths[0]), "%s/%s", scratch, name);
    l->list[l->n] = l->paths[l->n];
    l->n++;
}

static struct qcow2_layer_files
files_of(const struct names *image, const struct names *backing,
         const struct names *data)
{
    return (struct qcow2_layer_files){.image = image->list[0],
                                      .backing = backing->list,
                                      .n_backing = backing->n,
                                      .data_files = data->list,
                                      .n_data_files = data->n};
}

/* top -> mid -> base (raw); mid keeps its data in mid.data. */
static void
make_chain(void)
{
    require_qemu_img();
    tool_must("rm -f base mid top mid.data && truncate -s 1M base && "
              "qemu-img create -q -f qcow2 -b base -F raw top 1M");
    tool_must("qemu-img create -q -f qcow2 -o data_file=mid.data mid 1M && "
              "qemu-io -f qcow2 -c 'write -P 7 0 64k' mid && "
              "qemu-img rebase -u -f qcow2 -b mid -F qcow2 top");
}

static void
test_lists_are_shared(void **state)
{
    struct names image = {0}, backing = {0}, data = {0};
    struct qcow2_layers *l = NULL;
    struct err e = {0};
    size_t n_backing = 9, n_data = 9;

    (void)state;
    make_chain();
    add_name(&image, "top");
    add_name(&backing, "mid");
    add_name(&backing, "of-another");
    add_name(&data, "mid.data");
    add_name(&data, "of-another");
    struct qcow2_layer_files f = files_of(&image, &backing, &data);
    assert_int_equal(qcow2_layers_open_first(&f, &n_backing, &n_data, &l, &e),
                     0);
    assert_int_equal(n_backing, 1);
    assert_int_equal(n_data, 1);
    qcow2_layers_close(l);

    /* One image alone must use all of them. */
    assert_int_equal(qcow2_layers_open(&f, &l, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.msg, "one too many"));
    f.n_backing = 1;
    err_clear(&e);
    assert_int_equal(qcow2_layers_open(&f, &l, &e), -1);
    assert_non_null(strstr(e.msg, "--data-file"));
    f.n_data_files = 1;
    err_clear(&e);
    assert_int_equal(qcow2_layers_open(&f, &l, &e), 0);
    qcow2_layers_close(l);
}

static void
test_too_deep(void **state)
{
    struct names image = {0}, backing = {0}, data = {0};
    struct qcow2_layers *l = NULL;
    struct err e = {0};
    size_t n_backing = 0, n_data = 0;

    (void)state;
    require_qemu_img();
    /* One that stands on itself. */
    tool_must("qemu-img create -q -f qcow2 loop 1M && "
              "qemu-img rebase -u -f qcow2 -b loop -F qcow2 loop");
    add_name(&image, "loop");
    for (size_t i = 0; i < QCOW2_LAYERS_MAX; i++)
        add_name(&backing, "loop");
    const struct qcow2_layer_files f = files_of(&image, &backing, &data);
    assert_int_equal(qcow2_layers_open_first(&f, &n_backing, &n_data, &l, &e),
                     -1);
    assert_int_equal(e.code, ERR_LIMIT);
}

/* What changes after it was opened is seen, and only what must not. */
static void
test_recheck(void **state)
{
    static const struct {
        const char *command;
        bool active, fine;
    } cases[] = {
        {"true", true, true},
        {"chmod 600 mid", true, true},
        {"cat mid mid.data top >/dev/null", true, true},
        {"touch top", true, false},
        {"touch top", false, true},
        {"truncate -s +512 top", true, false},
        {"touch mid", false, false},
        {"truncate -s +512 mid", false, false},
        {"touch mid.data", false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct names image = {0}, backing = {0}, data = {0};
        struct qcow2_layers *l = NULL;
        struct err e = {0};
        make_chain();
        tool_must("touch -d '2 hours ago' mid top mid.data");
        add_name(&image, "top");
        add_name(&backing, "mid");
        add_name(&data, "mid.data");
        const struct qcow2_layer_files f = files_of(&image, &backing, &data);
        assert_int_equal(qcow2_layers_open(&f, &l, &e), 0);
        tool_must("%s", cases[i].command);
        int r = qcow2_layers_recheck(l, cases[i].active, &e);
        if (r != (cases[i].fine ? 0 : -1))
            fail_msg("%s: %s", cases[i].command, e.msg);
        assert_int_equal(e.code, cases[i].fine ? ERR_OK : ERR_IO);
        qcow2_layers_close(l);
    }
}

/* A lock that was taken since is seen, too. */
static void
test_recheck_locks(void **state)
{
    struct names image = {0}, backing = {0}, data = {0};
    struct qcow2_layers *l = NULL;
    struct err e = {0};

    (void)state;
    make_chain();
    add_name(&image, "top");
    add_name(&backing, "mid");
    add_name(&data, "mid.data");
    const struct qcow2_layer_files f = files_of(&image, &backing, &data);
    assert_int_equal(qcow2_layers_open(&f, &l, &e), 0);
    struct flock lock = {.l_type = F_RDLCK, .l_start = 101, .l_len = 1};
    int fd = scratch_open("mid.data", O_RDWR);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(qcow2_layers_recheck(l, false, &e), -1);
    assert_non_null(strstr(e.msg, "data file"));
    err_clear(&e);
    (void)close(fd);
    assert_int_equal(qcow2_layers_recheck(l, true, &e), 0);
    qcow2_layers_close(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_are_shared),
        cmocka_unit_test(test_too_deep),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_recheck_locks),
    };

    return cmocka_run_group_tests_name("layers", tests, scratch_setup,
                                       scratch_teardown);
}
