/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/format.h"

#include "base/buf.h"
#include "base/cursor.h"
#include "check.h"

static struct buf
head(void)
{
    struct buf b = buf_of(100);

    format_put_head(&b, &FORMAT_PACK, 0x1234);
    return b;
}

static int
get(const struct buf *b, size_t len, struct err *e)
{
    struct cursor c = cursor_of(b->p, len);
    uint16_t domain = 0;
    int rc = format_get_head(&c, &FORMAT_PACK, &domain, e);

    if (rc == 0) {
        assert_int_equal(domain, 0x1234);
        assert_int_equal(c.pos, FORMAT_HEAD_BYTES);
    }
    return rc;
}

static void
the_head_has_its_layout(void **state)
{
    CLEANUP(buf_done) struct buf b = head();

    (void)state;
    assert_int_equal(b.len, FORMAT_HEAD_BYTES);
    assert_memory_equal(b.p, "VMKPACK1\1\0\x34\x12\0\0\0\0", 16);
    assert_ok(get(&b, b.len, e));
}

static void
what_is_newer_is_refused_and_says_so(void **state)
{
    CLEANUP(buf_done) struct buf b = head();

    (void)state;
    b.p[8] = 2;
    assert_fails(get(&b, b.len, e), ERR_UNSUP, "newer vmkeep");
    b.p[8] = 1;
    for (int bit = 0; bit < 32; bit++) {
        b.p[12 + bit / 8] = (uint8_t)(1 << bit % 8);
        assert_fails(get(&b, b.len, e), ERR_UNSUP, "features");
        b.p[12 + bit / 8] = 0;
    }
}

static void
what_is_something_else_is_corrupt(void **state)
{
    CLEANUP(buf_done) struct buf b = head();

    (void)state;
    for (size_t n = 0; n < b.len; n++)
        assert_fails(get(&b, n, e), ERR_CORRUPT, "cut short");
    for (int i = 0; i < FORMAT_MAGIC_BYTES; i++) {
        b.p[i] ^= 1;
        assert_fails(get(&b, b.len, e), ERR_CORRUPT, "no pack");
        b.p[i] ^= 1;
    }
}

/* Two structures must not be taken for each other. */
static void
magics_differ(void **state)
{
    const struct format *all[] = {&FORMAT_CONFIG, &FORMAT_BUNDLE,  &FORMAT_PACK,
                                  &FORMAT_INDEX,  &FORMAT_SEGMENT, &FORMAT_REF};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(strlen(all[i]->magic), FORMAT_MAGIC_BYTES);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(all[i]->magic, all[k]->magic);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_has_its_layout),
        cmocka_unit_test(what_is_newer_is_refused_and_says_so),
        cmocka_unit_test(what_is_something_else_is_corrupt),
        cmocka_unit_test(magics_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
