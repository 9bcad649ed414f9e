/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/statecheck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../vmstate/stream.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

static struct buf
whole(void)
{
    struct buf b = buf_of(1 << 20);

    put_whole(&b);
    return b;
}

/* In pieces; 0, or -1 from where it was first seen. */
static int
follow(const uint8_t *p, size_t len, size_t piece, char **out_unknown,
       struct err *e)
{
    CLEANUP(statecheck_freep) struct statecheck *s = statecheck_new();

    for (size_t at = 0; at < len; at += piece)
        if (statecheck_push(s, p + at, u64_min(piece, len - at), e) == -1)
            return -1;
    int rc = statecheck_end(s, e);
    if (statecheck_unknown(s))
        *out_unknown = xstrdup(statecheck_unknown(s));
    return rc;
}

static void
a_whole_one(void **state)
{
    CLEANUP(buf_done) struct buf b = whole();
    static const size_t pieces[] = {1, 7, 4096, 1 << 20};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        CLEANUP(freep) char *unknown = NULL;
        struct err e = {0};
        assert_int_equal(follow(b.p, b.len, pieces[i], &unknown, &e), 0);
        assert_null(unknown);
    }
}

/* Cut short anywhere, it is seen. */
static void
cut_short(void **state)
{
    CLEANUP(buf_done) struct buf b = whole();

    (void)state;
    for (size_t len = 0; len < b.len; len += 1 + (len > 200) * 37) {
        CLEANUP(freep) char *unknown = NULL;
        struct err e = {0};
        if (follow(b.p, len, 4096, &unknown, &e) == 0)
            fail_msg("cut at %zu of %zu and not seen", len, b.len);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "the machine state is damaged"));
    }
}

static void
not_a_stream(void **state)
{
    uint8_t p[4096] = {0};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(freep) char *unknown = NULL;
        struct err e = {0};
        assert_int_equal(follow(p, sizeof(p), sizeof(p), &unknown, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        memset(p, 0x5a, sizeof(p));
    }
}

/* A page where no RAM is: what another machine's cluster would look like. */
static void
damage_inside(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    CLEANUP(freep) char *unknown = NULL;
    struct err e = {0};

    (void)state;
    put_begin(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    put_page(&b, 900 * PAGE, "a", PAGE, 1);
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_tail(&b);
    assert_int_equal(follow(b.p, b.len, 100, &unknown, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
}

/* What we do not know is no damage; and then nothing is. */
static void
unknown_kind(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    CLEANUP(freep) char *unknown = NULL;
    struct err e = {0};

    (void)state;
    put_begin(&b);
    put_section(&b, 0x01, 9, "never-heard-of", 1);
    buf_be64(&b, 1);
    put_tail(&b);
    assert_int_equal(follow(b.p, b.len, 100, &unknown, &e), 0);
    assert_non_null(unknown);
    assert_non_null(strstr(unknown, "never-heard-of"));
}

/* Where plain pages came before, it is. */
static void
garbage_behind_pages(void **state)
{
    CLEANUP(buf_done) struct buf b = whole();
    CLEANUP(freep) char *unknown = NULL;
    struct err e = {0};

    (void)state;
    memset(b.p + b.len / 2, 0x5a, b.len / 4);
    assert_int_equal(follow(b.p, b.len, 100, &unknown, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_null(unknown);
}

/* A machine with suppress-vmdesc ends with the end of its devices. */
static void
no_description(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    CLEANUP(freep) char *unknown = NULL;
    struct err e = {0};

    (void)state;
    put_begin(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    put_page(&b, 0, "a", PAGE, 1);
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_section(&b, 0x04, 7, "timer", 2);
    buf_be64(&b, 0x0102030405060708);
    put_short(&b, 0x7e, 7);
    buf_u8(&b, 0x00);
    assert_int_equal(follow(b.p, b.len, 100, &unknown, &e), 0);
    assert_null(unknown);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_one),
        cmocka_unit_test(cut_short),
        cmocka_unit_test(not_a_stream),
        cmocka_unit_test(damage_inside),
        cmocka_unit_test(unknown_kind),
        cmocka_unit_test(garbage_behind_pages),
        cmocka_unit_test(no_description),
    };

    return cmocka_run_group_tests_name("statecheck", tests, NULL, NULL);
}
