/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "stream.h"

typedef int read_fn(struct vmstate_config *, const uint8_t *, size_t, size_t *,
                    struct err *);

/* With any fewer bytes it must ask for more, but never for more than it
 * needs; and what stands behind it is not its business. */
static void
must_read(read_fn *fn, struct buf *b, struct vmstate_config *c)
{
    struct err e = {0};
    size_t len = b->len, need = 0;

    for (size_t n = 1; n < len; n++) {
        struct vmstate_config untouched = *c;
        assert_int_equal(fn(c, b->p, n, &need, &e), 0);
        assert_true(need > n && need <= len);
        assert_memory_equal(c, &untouched, sizeof(untouched));
    }
    put_text(b, "more");
    struct vmstate_config before = *c;
    assert_int_equal(fn(c, b->p, b->len, &need, &e), 1);
    assert_int_equal(need, len);
    *c = before;
    assert_int_equal(fn(c, b->p, len, &need, &e), 1);
    assert_int_equal(need, len);
    assert_true(len <= CONFIG_RECORD_MAX_BYTES);
}

static void
must_fail(read_fn *fn, const struct buf *b, enum err_code code,
          const char *part)
{
    struct vmstate_config c = {.page_bytes = 4096};
    struct err e = {0};
    size_t need = 0;

    assert_int_equal(fn(&c, b->p, b->len, &need, &e), -1);
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.msg, part));
}

static void
the_machine_type_is_kept(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    struct vmstate_config c = {.machine = "something longer",
                               .page_bytes = 4096};

    (void)state;
    put_config(&b, "pc-q35-7.2");
    must_read(vmstate_config_read, &b, &c);
    assert_string_equal(c.machine, "pc-q35-7.2");
    assert_int_equal(c.page_bytes, 4096);
    buf_reset(&b);
    put_config(&b, "");
    must_read(vmstate_config_read, &b, &c);
    assert_string_equal(c.machine, "");
}

static void
names_of_machines_are_limited(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    struct vmstate_config c = {.page_bytes = 4096};
    char name[VMSTATE_NAME_MAX + 2] = "";

    (void)state;
    memset(name, 'm', VMSTATE_NAME_MAX + 1);
    put_config(&b, name);
    must_fail(vmstate_config_read, &b, ERR_LIMIT, "256 bytes");
    buf_reset(&b);
    put_config(&b, name + 1);
    must_read(vmstate_config_read, &b, &c);
    assert_string_equal(c.machine, name + 1);
}

static void
page_bits_change_the_page_size(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    struct vmstate_config c = {.machine = "virt-7.2", .page_bytes = 4096};

    (void)state;
    put_page_bits(&b, 14);
    must_read(vmstate_config_read_sub, &b, &c);
    assert_int_equal(c.page_bytes, 16384);
    assert_string_equal(c.machine, "virt-7.2");
    buf_reset(&b);
    put_page_bits(&b, 9);
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "2^9");
    buf_reset(&b);
    put_page_bits(&b, 44); /* 12 if cut to five bits */
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "2^44");
    buf_reset(&b);
    put_page_bits(&b, 74); /* 10 if cut to six */
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "2^74");
}

static void
a_uuid_changes_nothing(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    struct vmstate_config c = {.page_bytes = 4096};

    (void)state;
    put_sub(&b, "configuration/uuid");
    buf_zero(&b, 16);
    must_read(vmstate_config_read_sub, &b, &c);
    assert_int_equal(c.page_bytes, 4096);
}

static void
capabilities_that_change_the_stream_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    struct vmstate_config c = {.page_bytes = 4096};

    (void)state;
    put_sub(&b, "configuration/capabilities");
    size_t at = b.len;
    buf_be32(&b, 0);
    must_read(vmstate_config_read_sub, &b, &c);
    b.len = at;
    buf_be32(&b, 2);
    put_name(&b, "mapped-ram");
    put_name(&b, "x-ignore-shared");
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "\"mapped-ram\"");
    b.len = at;
    buf_be32(&b, 1);
    put_name(&b, "\x1b[2J");
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "\"\\x1b[2J\"");
    b.len = at;
    buf_be32(&b, CONFIG_CAPABILITIES_MAX + 1);
    must_fail(vmstate_config_read_sub, &b, ERR_LIMIT, "65 capabilities");
}

static void
unknown_subsections_are_refused(void **state)
{
    static const char *const names[] = {"", "configuration/uui",
                                        "configuration/uuidx", "ram",
                                        "configuration/target-page-bits\n"};
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        buf_reset(&b);
        put_sub(&b, names[i]);
        buf_zero(&b, 32);
        must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "unknown subsection");
    }
    buf_reset(&b);
    put_sub(&b, "configuration/uuid");
    b.p[b.len - 1] = 2; /* version */
    buf_zero(&b, 16);
    must_fail(vmstate_config_read_sub, &b, ERR_UNSUP, "of version 2");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_machine_type_is_kept),
        cmocka_unit_test(names_of_machines_are_limited),
        cmocka_unit_test(page_bits_change_the_page_size),
        cmocka_unit_test(a_uuid_changes_nothing),
        cmocka_unit_test(capabilities_that_change_the_stream_are_refused),
        cmocka_unit_test(unknown_subsections_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
