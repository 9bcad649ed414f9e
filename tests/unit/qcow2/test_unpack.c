/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/unpack.h"

#include "imagetool.h"

#include <zlib.h>
#include <zstd.h>

#include "base/err.h"
#include "base/mem.h"

enum { CLUSTER = 65536, ROOM = 2 * CLUSTER };

static uint8_t plain[CLUSTER], packed[ROOM], out[CLUSTER];

/* Words that repeat, so that there is something to compress. */
static void
fill_plain(void)
{
    uint8_t words[64][16];

    random_fill(&words[0][0], sizeof(words));
    for (size_t i = 0; i < CLUSTER; i += 16)
        memcpy(plain + i, words[random_below(64)], 16);
}

static size_t
deflate_plain(size_t len, int window_bits)
{
    z_stream z = {0};

    assert_int_equal(
        deflateInit2(&z, 6, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY),
        Z_OK);
    z.next_in = plain;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = ROOM;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = ROOM - z.avail_out;
    (void)deflateEnd(&z);
    return n;
}

static size_t
zstd_plain(size_t at, size_t from, size_t len)
{
    size_t n = ZSTD_compress(packed + at, ROOM - at, plain + from, len, 3);

    assert_false(ZSTD_isError(n));
    return n;
}

static void
must(struct qcow2_unpacker *u, size_t len)
{
    struct err e = {0};

    memset(out, 0xee, sizeof(out));
    uint8_t *exact =
        xmemdup(packed, len); /* so that one byte past it is seen */
    if (qcow2_unpack(u, exact, len, out, CLUSTER, &e) == -1)
        fail_msg("%s", e.msg);
    assert_memory_equal(out, plain, CLUSTER);
    free(exact);
}

static void
must_not(struct qcow2_unpacker *u, size_t len)
{
    struct err e = {0};
    uint8_t *exact = xmemdup(packed, len);

    assert_int_equal(qcow2_unpack(u, exact, len, out, CLUSTER, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    free(exact);
}

static void
test_deflate(void **state)
{
    struct qcow2_unpacker *u = qcow2_unpacker_new(QCOW2_ZLIB);

    (void)state;
    fill_plain();
    size_t len = deflate_plain(CLUSTER, -12);
    must(u, len);
    must(u, len + 300); /* the rest of the last sector */
    for (size_t i = 0; i < len; i += 1 + random_below(500))
        must_not(u, i); /* cut short */
    must(u, len);       /* an error leaves nothing behind */
    len = deflate_plain(CLUSTER - 1, -12);
    must_not(u, len);
    len = deflate_plain(CLUSTER, 12); /* with a zlib header */
    must_not(u, len);
    memset(packed, 0, ROOM);
    must_not(u, 512);
    memset(packed, 0xff, ROOM);
    must_not(u, 512);
    qcow2_unpacker_free(u);
}

static void
test_zstd(void **state)
{
    struct qcow2_unpacker *u = qcow2_unpacker_new(QCOW2_ZSTD);

    (void)state;
    fill_plain();
    size_t len = zstd_plain(0, 0, CLUSTER);
    must(u, len);
    must(u, len + 300);
    for (size_t i = 0; i < len; i += 1 + random_below(500))
        must_not(u, i);
    must(u, len);

    /* Two frames make one cluster; one and a half do not. */
    size_t first = zstd_plain(0, 0, 20000);
    size_t second = zstd_plain(first, 20000, CLUSTER - 20000);
    must(u, first + second);
    must_not(u, first + second - 1);
    must_not(u, first);
    qcow2_unpacker_free(u);
}

/* A frame that goes on behind the end of the cluster. */
static void
test_zstd_too_long(void **state)
{
    static uint8_t twice[2 * CLUSTER];
    struct qcow2_unpacker *u = qcow2_unpacker_new(QCOW2_ZSTD);

    (void)state;
    fill_plain();
    memcpy(twice, plain, CLUSTER);
    memcpy(twice + CLUSTER, plain, CLUSTER);
    size_t len = ZSTD_compress(packed, ROOM, twice, sizeof(twice), 3);
    must_not(u, len);
    qcow2_unpacker_free(u);
}

/* A few bytes that ask for a window of 1 GiB. */
static void
test_zstd_window(void **state)
{
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, /* magic */
                                    0x00, /* not a single segment */
                                    0xa0, /* 2^30 */
                                    0x01, 0x00, 0x00};
    struct qcow2_unpacker *u = qcow2_unpacker_new(QCOW2_ZSTD);
    struct err e = {0};

    (void)state;
    assert_int_equal(qcow2_unpack(u, frame, sizeof(frame), out, CLUSTER, &e),
                     -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "too much memory"));
    qcow2_unpacker_free(u);
}

static void
test_free_null(void **state)
{
    (void)state;
    qcow2_unpacker_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deflate),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_zstd_too_long),
        cmocka_unit_test(test_zstd_window),
        cmocka_unit_test(test_free_null),
    };

    return cmocka_run_group_tests_name("unpack", tests, scratch_setup,
                                       scratch_teardown);
}
