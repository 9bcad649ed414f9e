/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/header.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/imagefile.h"

enum { CLUSTER = 512, FILE_BYTES = 1024 };

/* A sound version 3 header of a 64 KiB disk with clusters of 512 bytes. */
static void
sound(uint8_t *p, uint32_t version)
{
    memset(p, 0, FILE_BYTES);
    put_be32(p, QCOW2_MAGIC);
    put_be32(p + QCOW2_AT_VERSION, version);
    put_be32(p + QCOW2_AT_CLUSTER_BITS, 9);
    put_be64(p + QCOW2_AT_SIZE, 65536);
    put_be32(p + QCOW2_AT_L1_SIZE, 2);
    put_be64(p + QCOW2_AT_L1_OFFSET, CLUSTER);
    put_be64(p + QCOW2_AT_REFTABLE_OFFSET, 2 << 20); /* for any cluster_bits */
    put_be32(p + QCOW2_AT_REFTABLE_CLUSTERS, 1);
    if (version == 3) {
        put_be32(p + QCOW2_AT_REFCOUNT_ORDER, 4);
        put_be32(p + QCOW2_AT_HEADER_LEN, QCOW2_HEADER_BYTES);
    }
}

static int
read_bytes(const uint8_t *p, size_t len, struct qcow2_header *h, struct err *e)
{
    struct qcow2_file f = {0};

    scratch_write("h", p, len);
    int fd = scratch_open("h", O_RDONLY);
    int r = qcow2_file_open(fd, &f, e);
    if (r == 0)
        r = qcow2_header_read(&f, h, e);
    (void)close(fd);
    return r;
}

/* The sound header with one field changed. */
struct patch {
    size_t at, width;
    uint64_t value;
    enum err_code code; /* ERR_OK: accepted */
};

static void
check_patch(const struct patch *t, uint32_t version)
{
    uint8_t p[FILE_BYTES];
    struct qcow2_header h = {0};
    struct err e = {0};

    sound(p, version);
    if (t->width == 8)
        put_be64(p + t->at, t->value);
    else if (t->width == 4)
        put_be32(p + t->at, (uint32_t)t->value);
    else
        p[t->at] = (uint8_t)t->value;
    int r = read_bytes(p, sizeof(p), &h, &e);
    if (r != (t->code == ERR_OK ? 0 : -1) || e.code != t->code)
        fail_msg("v%u, 0x%llx at %zu: %d, %s: %s", version,
                 (unsigned long long)t->value, t->at, r, err_code_name(e.code),
                 e.msg);
    if (r == -1)
        assert_int_equal(h.version, 0); /* untouched */
    qcow2_header_done(&h);
}

/* Field by field, with the values that have troubled other readers. */
static const struct patch patches[] = {
    {0, 4, 0, ERR_UNSUP},
    {0, 4, 0x514649fa, ERR_UNSUP},
    {QCOW2_AT_VERSION, 4, 0, ERR_UNSUP},
    {QCOW2_AT_VERSION, 4, 1, ERR_UNSUP},
    {QCOW2_AT_VERSION, 4, 4, ERR_UNSUP},
    {QCOW2_AT_VERSION, 4, UINT32_MAX, ERR_UNSUP},
    {QCOW2_AT_CLUSTER_BITS, 4, 0, ERR_CORRUPT},
    {QCOW2_AT_CLUSTER_BITS, 4, 8, ERR_CORRUPT},
    {QCOW2_AT_CLUSTER_BITS, 4, 10, ERR_OK},
    {QCOW2_AT_CLUSTER_BITS, 4, 21, ERR_OK},
    {QCOW2_AT_CLUSTER_BITS, 4, 22, ERR_CORRUPT},
    {QCOW2_AT_CLUSTER_BITS, 4, 63, ERR_CORRUPT},
    {QCOW2_AT_CLUSTER_BITS, 4, 64, ERR_CORRUPT},
    {QCOW2_AT_CLUSTER_BITS, 4, UINT32_MAX, ERR_CORRUPT},
    {QCOW2_AT_SIZE, 8, 0, ERR_OK},
    {QCOW2_AT_SIZE, 8, 65537, ERR_CORRUPT}, /* the L1 table is too short */
    {QCOW2_AT_SIZE, 8, UINT64_MAX, ERR_CORRUPT},
    {QCOW2_AT_REFTABLE_OFFSET, 8, 0x1234567890abcdef, ERR_CORRUPT},
    {QCOW2_AT_REFTABLE_OFFSET, 8, INT64_MAX - 511, ERR_CORRUPT},
    {QCOW2_AT_REFTABLE_OFFSET, 8, INT64_MAX - 1023, ERR_OK}, /* not needed */
    {QCOW2_AT_REFTABLE_CLUSTERS, 4, 0, ERR_CORRUPT},
    {QCOW2_AT_REFTABLE_CLUSTERS, 4, 16384, ERR_OK}, /* of 512 bytes: 8 MiB */
    {QCOW2_AT_REFTABLE_CLUSTERS, 4, 16385, ERR_LIMIT},
    {QCOW2_AT_REFTABLE_CLUSTERS, 4, UINT32_MAX, ERR_LIMIT},
    {QCOW2_AT_CRYPT_METHOD, 4, 1, ERR_OK},
    {QCOW2_AT_CRYPT_METHOD, 4, 2, ERR_OK},
    {QCOW2_AT_CRYPT_METHOD, 4, 3, ERR_UNSUP},
    {QCOW2_AT_L1_SIZE, 4, 1, ERR_CORRUPT},
    {QCOW2_AT_L1_SIZE, 4, UINT32_MAX, ERR_OK}, /* views look at that */
    {QCOW2_AT_BACKING_OFFSET, 8, 100, ERR_OK}, /* of length 0 */
    {QCOW2_AT_BACKING_OFFSET, 8, 512, ERR_OK},
    {QCOW2_AT_BACKING_OFFSET, 8, 513, ERR_CORRUPT},
    {QCOW2_AT_BACKING_OFFSET, 8, UINT64_MAX, ERR_CORRUPT},
    {QCOW2_AT_BACKING_LEN, 4, UINT32_MAX, ERR_OK}, /* no offset: none */
    {QCOW2_AT_SNAPSHOTS, 4, UINT32_MAX, ERR_OK},   /* snapshot.h's */
};

static const struct patch patches_v3[] = {
    {QCOW2_AT_INCOMPATIBLE, 8, QCOW2_INCOMPAT_DIRTY, ERR_OK},
    {QCOW2_AT_INCOMPATIBLE, 8, QCOW2_INCOMPAT_CORRUPT, ERR_OK},
    {QCOW2_AT_INCOMPATIBLE, 8, QCOW2_INCOMPAT_DATA_FILE, ERR_OK},
    {QCOW2_AT_INCOMPATIBLE, 8, QCOW2_INCOMPAT_COMPRESSION, ERR_CORRUPT},
    {QCOW2_AT_INCOMPATIBLE, 8, QCOW2_INCOMPAT_EXTENDED_L2, ERR_CORRUPT},
    {QCOW2_AT_INCOMPATIBLE, 8, 32, ERR_UNSUP},
    {QCOW2_AT_INCOMPATIBLE, 8, UINT64_C(1) << 63, ERR_UNSUP},
    {QCOW2_AT_COMPATIBLE, 8, UINT64_MAX, ERR_OK},
    {QCOW2_AT_AUTOCLEAR, 8, ~QCOW2_AUTOCLEAR_RAW_DATA_FILE, ERR_OK},
    {QCOW2_AT_AUTOCLEAR, 8, QCOW2_AUTOCLEAR_RAW_DATA_FILE, ERR_CORRUPT},
    {QCOW2_AT_REFCOUNT_ORDER, 4, 0, ERR_OK},
    {QCOW2_AT_REFCOUNT_ORDER, 4, 6, ERR_OK},
    {QCOW2_AT_REFCOUNT_ORDER, 4, 7, ERR_CORRUPT},
    {QCOW2_AT_REFCOUNT_ORDER, 4, UINT32_MAX, ERR_CORRUPT},
    {QCOW2_AT_HEADER_LEN, 4, 0, ERR_CORRUPT},
    {QCOW2_AT_HEADER_LEN, 4, 72, ERR_CORRUPT},
    {QCOW2_AT_HEADER_LEN, 4, 103, ERR_CORRUPT},
    {QCOW2_AT_HEADER_LEN, 4, 104, ERR_OK},
    {QCOW2_AT_HEADER_LEN, 4, 512, ERR_OK},
    {QCOW2_AT_HEADER_LEN, 4, 513, ERR_CORRUPT},
    {QCOW2_AT_HEADER_LEN, 4, UINT32_MAX, ERR_CORRUPT},
    {QCOW2_AT_COMPRESSION, 1, 1, ERR_CORRUPT}, /* without its feature bit */
    {QCOW2_AT_COMPRESSION + 1, 1, 1, ERR_OK},  /* padding, or the future */
    /* A header extension behind 112 bytes. */
    {112, 8, 0x1234567800000000, ERR_OK},
    {112, 8, 0x1234567800000188, ERR_OK}, /* to the end of the cluster */
    {112, 8, 0x1234567800000189, ERR_CORRUPT},
    {112, 8, 0x123456787fffffff, ERR_CORRUPT},
    {112, 8, 0x12345678ffffffff, ERR_CORRUPT},
    {112, 8, 0xe2792acaffffffff, ERR_CORRUPT},
    {112, 8, 0x44415441ffffffff, ERR_CORRUPT},
};

static void
test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
        check_patch(&patches[i], 2);
        check_patch(&patches[i], 3);
    }
    for (size_t i = 0; i < ARRAY_LEN(patches_v3); i++)
        check_patch(&patches_v3[i], 3);
}

static void
test_cut_short(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++)
        for (size_t len = 0; len <= 120; len++) {
            uint8_t p[FILE_BYTES];
            struct qcow2_header h = {0};
            struct err e = {0};
            size_t least = version == 2 ? 72 : 112;
            sound(p, version);
            assert_int_equal(read_bytes(p, len, &h, &e), len < least ? -1 : 0);
            assert_int_equal(e.code, len < least ? ERR_CORRUPT : ERR_OK);
            qcow2_header_done(&h);
        }
}

static void
test_values(void **state)
{
    uint8_t p[FILE_BYTES];
    struct qcow2_header h = {0};
    struct err e = {0};

    (void)state;
    sound(p, 3);
    put_be64(p + QCOW2_AT_INCOMPATIBLE,
             QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_DIRTY);
    p[QCOW2_AT_COMPRESSION] = 1;
    put_be32(p + QCOW2_AT_CRYPT_METHOD, 2);
    put_be32(p + QCOW2_AT_SNAPSHOTS, 7);
    put_be64(p + QCOW2_AT_SNAPSHOTS_OFFSET, 4096);
    assert_int_equal(read_bytes(p, sizeof(p), &h, &e), 0);
    assert_int_equal(h.version, 3);
    assert_int_equal(h.cluster_bits, 9);
    assert_int_equal(h.size_bytes, 65536);
    assert_int_equal(h.crypt, QCOW2_LUKS);
    assert_int_equal(h.compression, QCOW2_ZSTD);
    assert_int_equal(h.incompatible, 9);
    assert_int_equal(h.l1_len, 2);
    assert_int_equal(h.l1_offset, 512);
    assert_int_equal(h.n_snapshots, 7);
    assert_int_equal(h.snapshots_offset, 4096);
    assert_null(h.backing);
    assert_null(h.backing_format);
    assert_null(h.data_file);
    qcow2_header_done(&h);

    p[QCOW2_AT_COMPRESSION] = 2; /* newer than us */
    assert_int_equal(read_bytes(p, sizeof(p), &h, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
}

static size_t
put_extension(uint8_t *p, uint32_t type, const char *text)
{
    put_be32(p, type);
    put_be32(p + 4, (uint32_t)strlen(text));
    (void)snprintf((char *)p + 8, strlen(text) + 1, "%s", text);
    return 8 + round_up(strlen(text), 8);
}

static void
test_names(void **state)
{
    uint8_t p[FILE_BYTES];
    struct qcow2_header h = {0};
    struct err e = {0};
    size_t at = QCOW2_HEADER_BYTES;

    (void)state;
    sound(p, 3);
    at += put_extension(p + at, 0x12345678, "unknown");
    at += put_extension(p + at, QCOW2_EXT_BACKING_FORMAT, "first");
    at += put_extension(p + at, QCOW2_EXT_DATA_FILE, "json:{}");
    at += put_extension(p + at, QCOW2_EXT_BACKING_FORMAT, "raw");
    put_be64(p + QCOW2_AT_BACKING_OFFSET, 500);
    put_be32(p + QCOW2_AT_BACKING_LEN, 12);
    (void)snprintf((char *)p + 500, 13, "/etc/passwdX"); /* to the end */
    assert_int_equal(read_bytes(p, sizeof(p), &h, &e), 0);
    assert_string_equal(h.backing, "/etc/passwdX");
    assert_string_equal(h.backing_format, "raw");
    assert_string_equal(h.data_file, "json:{}");
    qcow2_header_done(&h);

    put_be32(p + QCOW2_AT_BACKING_LEN, 13);
    assert_int_equal(read_bytes(p, sizeof(p), &h, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    err_clear(&e);

    /* What follows the end of extensions is none. */
    put_be64(p + QCOW2_AT_BACKING_OFFSET, 0);
    put_be64(p + QCOW2_HEADER_BYTES, 0);
    assert_int_equal(read_bytes(p, sizeof(p), &h, &e), 0);
    assert_null(h.backing);
    assert_null(h.data_file);
    qcow2_header_done(&h);
}

/* Extensions need no end if the name of the backing file follows. */
static void
test_extensions_end_at_name(void **state)
{
    uint8_t p[FILE_BYTES];
    struct qcow2_header h = {0};
    struct err e = {0};

    (void)state;
    sound(p, 3);
    put_be32(p + QCOW2_HEADER_BYTES, 0x12345678);
    put_be32(p + QCOW2_HEADER_BYTES + 4, 80);
    put_be64(p + QCOW2_AT_BACKING_OFFSET, 200);
    put_be32(p + QCOW2_AT_BACKING_LEN, 8);
    memset(p + 200, 'b', 8);
    if (read_bytes(p, sizeof(p), &h, &e) == -1)
        fail_msg("%s", e.msg);
    assert_string_equal(h.backing, "bbbbbbbb");
    qcow2_header_done(&h);
}

/* Subclusters need clusters of 16 KiB, and make entries larger. */
static void
test_extended(void **state)
{
    static const struct {
        uint32_t bits, l1_len;
        uint64_t size;
        bool good;
    } cases[] = {
        {13, 1, 0, false},       {14, 1, 0, true},
        {14, 1, 16 << 20, true}, {14, 1, (16 << 20) + 512, false},
        {14, 2, 32 << 20, true}, {14, 1, 32 << 20, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t p[FILE_BYTES];
        struct qcow2_header h = {0};
        struct err e = {0};
        sound(p, 3);
        put_be64(p + QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPAT_EXTENDED_L2);
        put_be32(p + QCOW2_AT_CLUSTER_BITS, cases[i].bits);
        put_be32(p + QCOW2_AT_L1_SIZE, cases[i].l1_len);
        put_be64(p + QCOW2_AT_SIZE, cases[i].size);
        assert_int_equal(read_bytes(p, sizeof(p), &h, &e),
                         cases[i].good ? 0 : -1);
        qcow2_header_done(&h);
    }
}

/* 1024 bytes are one too many, whatever the cluster holds. */
static void
test_backing_name_limit(void **state)
{
    static uint8_t p[4096];

    (void)state;
    for (uint32_t len = 1023; len <= 1024; len++) {
        struct qcow2_header h = {0};
        struct err e = {0};
        sound(p, 3);
        put_be32(p + QCOW2_AT_CLUSTER_BITS, 12);
        put_be64(p + QCOW2_AT_BACKING_OFFSET, 200);
        put_be32(p + QCOW2_AT_BACKING_LEN, len);
        memset(p + 200, 'b', 3000);
        assert_int_equal(read_bytes(p, sizeof(p), &h, &e),
                         len == 1023 ? 0 : -1);
        if (len == 1023)
            assert_true(h.backing && strlen(h.backing) == 1023);
        qcow2_header_done(&h);
    }
}

/* What QEMU writes, in both versions. */
static void
test_qemu_images(void **state)
{
    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f raw base 1M");
    for (unsigned v = 2; v <= 3; v++) {
        struct qcow2_header h = {0};
        struct qcow2_file f = {0};
        struct err e = {0};
        tool_must("qemu-img create -q -f qcow2 -b base -F raw"
                  " -o compat=%s,cluster_size=2M q 5G",
                  v == 2 ? "0.10" : "1.1");
        int fd = scratch_open("q", O_RDONLY);
        assert_int_equal(qcow2_file_open(fd, &f, &e), 0);
        assert_int_equal(qcow2_header_read(&f, &h, &e), 0);
        assert_int_equal(h.version, v);
        assert_int_equal(h.cluster_bits, 21);
        assert_true(h.size_bytes == UINT64_C(5) << 30);
        assert_string_equal(h.backing, "base");
        assert_string_equal(h.backing_format, "raw");
        qcow2_header_done(&h);
        (void)close(fd);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_extensions_end_at_name),
        cmocka_unit_test(test_extended),
        cmocka_unit_test(test_backing_name_limit),
        cmocka_unit_test(test_qemu_images),
    };

    return cmocka_run_group_tests_name("header", tests, scratch_setup,
                                       scratch_teardown);
}
