/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/header.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/imagefile.h"

/* The first cluster of the file, or what there is of it. */
struct first_cluster {
    const uint8_t *p;
    size_t len;
};

static int
check_version(const uint8_t *p, struct err *e)
{
    uint32_t version = get_be32(p + QCOW2_AT_VERSION);

    if (get_be32(p) != QCOW2_MAGIC)
        return err_set(e, ERR_UNSUP, "this is no qcow2 image");
    if (version != 2 && version != 3)
        return err_set(e, ERR_UNSUP,
                       "qcow2 version %u is unknown; vmkeep reads 2 and 3",
                       version);
    return 0;
}

static int
check_cluster_bits(uint32_t bits, uint64_t incompatible, struct err *e)
{
    if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
        return err_set(e, ERR_CORRUPT,
                       "the header says clusters of 2^%u bytes; 2^%d to 2^%d "
                       "are possible",
                       bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
    if ((incompatible & QCOW2_INCOMPAT_EXTENDED_L2) &&
        bits < QCOW2_EXTENDED_CLUSTER_BITS_MIN)
        return err_set(e, ERR_CORRUPT,
                       "clusters of 2^%u bytes are too small for subclusters",
                       bits);
    return 0;
}

/* The fields that only version 3 has. */
static int
parse_v3(const uint8_t *p, size_t len, struct qcow2_header *h,
         uint32_t *out_header_len, struct err *e)
{
    if (len < QCOW2_HEADER_V3_BYTES)
        return err_set(e, ERR_CORRUPT, "the header is cut short");
    uint32_t header_len = get_be32(p + QCOW2_AT_HEADER_LEN);
    uint32_t order = get_be32(p + QCOW2_AT_REFCOUNT_ORDER);

    h->incompatible = get_be64(p + QCOW2_AT_INCOMPATIBLE);
    if (h->incompatible & ~QCOW2_INCOMPAT_KNOWN)
        return err_set(e, ERR_UNSUP,
                       "the image needs features that are unknown here "
                       "(incompatible features 0x%llx); a newer QEMU made it",
                       (unsigned long long)h->incompatible);
    if ((get_be64(p + QCOW2_AT_AUTOCLEAR) & QCOW2_AUTOCLEAR_RAW_DATA_FILE) &&
        !(h->incompatible & QCOW2_INCOMPAT_DATA_FILE))
        return err_set(e, ERR_CORRUPT,
                       "the header says that its data file is raw, but not "
                       "that it has a data file");
    if (order > QCOW2_REFCOUNT_ORDER_MAX)
        return err_set(e, ERR_CORRUPT, "refcounts of 2^%u bits are impossible",
                       order);
    if (header_len < QCOW2_HEADER_V3_BYTES || header_len > len)
        return err_set(e, ERR_CORRUPT, "a header of %u bytes is impossible",
                       header_len);
    uint32_t compression = header_len > QCOW2_AT_COMPRESSION
                               ? p[QCOW2_AT_COMPRESSION]
                               : QCOW2_ZLIB;
    bool said = h->incompatible & QCOW2_INCOMPAT_COMPRESSION;
    if (said != (compression != QCOW2_ZLIB))
        return err_set(e, ERR_CORRUPT,
                       "the header contradicts itself about compression");
    if (compression > QCOW2_ZSTD)
        return err_set(e, ERR_UNSUP, "compression type %u is unknown",
                       compression);
    h->compression = (enum qcow2_compression)compression;
    *out_header_len = header_len;
    return 0;
}

static int
parse_crypt(uint32_t method, struct qcow2_header *h, struct err *e)
{
    if (method > QCOW2_LUKS)
        return err_set(e, ERR_UNSUP, "encryption method %u is unknown", method);
    h->crypt = (enum qcow2_crypt)method;
    return 0;
}

static int
parse_backing(struct first_cluster c, struct qcow2_header *h, size_t *out_end,
              struct err *e)
{
    uint64_t at = get_be64(c.p + QCOW2_AT_BACKING_OFFSET);
    uint32_t len = get_be32(c.p + QCOW2_AT_BACKING_LEN);

    if (at == 0)
        return 0;
    if (len > QCOW2_BACKING_NAME_MAX || !range_inside(at, len, c.len))
        return err_set(e, ERR_CORRUPT,
                       "the name of the backing file is not in the header "
                       "cluster (%u bytes at %llu)",
                       len, (unsigned long long)at);
    h->backing = xstrndup((const char *)c.p + at, len);
    *out_end = at;
    return 0;
}

/* Extensions fill [at, end), until one says so. */
static int
parse_extensions(struct first_cluster c, size_t at, size_t end,
                 struct qcow2_header *h, struct err *e)
{
    while (at + 8 <= end) {
        uint32_t type = get_be32(c.p + at), len = get_be32(c.p + at + 4);
        char **name = type == QCOW2_EXT_BACKING_FORMAT ? &h->backing_format
                      : type == QCOW2_EXT_DATA_FILE    ? &h->data_file
                                                       : NULL;

        if (type == QCOW2_EXT_END)
            return 0;
        at += 8;
        if (len > end - at)
            return err_set(e, ERR_CORRUPT,
                           "header extension 0x%08x of %u bytes does not fit "
                           "into the header",
                           type, len);
        if (type == QCOW2_EXT_BACKING_FORMAT && len > QCOW2_BACKING_FORMAT_MAX)
            return err_set(e, ERR_CORRUPT,
                           "no backing format has a name of %u bytes", len);
        if (name) {
            free(*name);
            *name = xstrndup((const char *)c.p + at, len);
        }
        at += u64_min(round_up(len, 8), end - at);
    }
    return 0;
}

/*
 * Nothing here needs refcounts, and a torn copy may have any.  But a place that
 * no refcount table can be at says that the header is not what it was.
 */
static int
check_reftable(const uint8_t *p, uint32_t cluster_bits, struct err *e)
{
    uint64_t at = get_be64(p + QCOW2_AT_REFTABLE_OFFSET), end = 0;
    uint64_t bytes = (uint64_t)get_be32(p + QCOW2_AT_REFTABLE_CLUSTERS)
                     << cluster_bits;

    if (bytes == 0)
        return err_set(e, ERR_CORRUPT,
                       "the header says that there is no refcount table");
    if (bytes > QCOW2_REFTABLE_BYTES_MAX)
        return err_set(e, ERR_LIMIT,
                       "a refcount table of %llu bytes is too large",
                       (unsigned long long)bytes);
    if (at % (UINT64_C(1) << cluster_bits) != 0 || !u64_add(at, bytes, &end) ||
        end > INT64_MAX)
        return err_set(e, ERR_CORRUPT,
                       "the header says that the refcount table is at %llu, "
                       "which is impossible",
                       (unsigned long long)at);
    return 0;
}

static int
parse_l1(const uint8_t *p, struct qcow2_header *h, struct err *e)
{
    /* How much of the disk one L2 table describes. */
    unsigned extended = !!(h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2);
    unsigned span_bits = 2 * h->cluster_bits - 3 - extended;

    h->l1_len = get_be32(p + QCOW2_AT_L1_SIZE);
    h->l1_offset = get_be64(p + QCOW2_AT_L1_OFFSET);
    if (div_up(h->size_bytes, UINT64_C(1) << span_bits) > h->l1_len)
        return err_set(e, ERR_CORRUPT,
                       "an L1 table of %u entries is too small for a disk of "
                       "%llu bytes",
                       h->l1_len, (unsigned long long)h->size_bytes);
    /* QEMU shows no guest the rest. */
    h->size_bytes -= h->size_bytes % QCOW2_SECTOR_BYTES;
    return 0;
}

static int
parse(struct first_cluster c, struct qcow2_header *h, struct err *e)
{
    uint32_t header_len = QCOW2_HEADER_V2_BYTES;
    size_t end = c.len;

    h->version = get_be32(c.p + QCOW2_AT_VERSION);
    if (h->version == 3 && parse_v3(c.p, c.len, h, &header_len, e) == -1)
        return -1;
    h->cluster_bits = get_be32(c.p + QCOW2_AT_CLUSTER_BITS);
    if (check_cluster_bits(h->cluster_bits, h->incompatible, e) == -1)
        return -1;
    h->size_bytes = get_be64(c.p + QCOW2_AT_SIZE);
    h->n_snapshots = get_be32(c.p + QCOW2_AT_SNAPSHOTS);
    h->snapshots_offset = get_be64(c.p + QCOW2_AT_SNAPSHOTS_OFFSET);
    if (parse_crypt(get_be32(c.p + QCOW2_AT_CRYPT_METHOD), h, e) == -1 ||
        check_reftable(c.p, h->cluster_bits, e) == -1 ||
        parse_l1(c.p, h, e) == -1 || parse_backing(c, h, &end, e) == -1)
        return -1;
    return parse_extensions(c, header_len, end, h, e);
}

int
qcow2_header_read(struct qcow2_file *f, struct qcow2_header *out, struct err *e)
{
    uint8_t start[QCOW2_HEADER_V2_BYTES];
    CLEANUP(freep) uint8_t *p = NULL;

    /* A version 2 header may be all there is of a file. */
    if (qcow2_file_read(f, 0, start, sizeof(start), "the header", e) == -1)
        return -1;
    if (check_version(start, e) == -1)
        return -1;
    uint32_t bits = get_be32(start + QCOW2_AT_CLUSTER_BITS);
    if (check_cluster_bits(bits, 0, e) == -1)
        return -1;
    size_t len = u64_min(UINT64_C(1) << bits, f->bytes);
    p = xmalloc(len);
    if (qcow2_file_read(f, 0, p, len, "the header", e) == -1)
        return -1;

    struct qcow2_header h = {0};
    if (check_version(p, e) == -1 ||
        parse((struct first_cluster){p, len}, &h, e) == -1) {
        qcow2_header_done(&h);
        return -1;
    }
    *out = h;
    return 0;
}

void
qcow2_header_done(struct qcow2_header *h)
{
    free(h->backing);
    free(h->backing_format);
    free(h->data_file);
    *h = (struct qcow2_header){0};
}
