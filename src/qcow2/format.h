/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: the numbers of the qcow2 format, shared by reader and writer.
 *
 * Source: QEMU docs/interop/qcow2.txt; docs/format/qcow2.md says which part of
 * it we use.  All integers in a file are big-endian.
 */
#ifndef QCOW2_FORMAT_H
#define QCOW2_FORMAT_H

#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

enum {
    QCOW2_CLUSTER_BITS_MIN = 9,
    QCOW2_CLUSTER_BITS_MAX = 21, /* QEMU opens no larger ones */
    QCOW2_EXTENDED_CLUSTER_BITS_MIN = 14,
    QCOW2_SUBCLUSTERS = 32,   /* a cluster, with extended L2 entries */
    QCOW2_SECTOR_BYTES = 512, /* of compressed data, and of disks */
    QCOW2_REFCOUNT_ORDER_MAX = 6,
    QCOW2_ENTRY_BYTES = 8, /* of L1, L2 and refcount tables */
    QCOW2_HEADER_V2_BYTES = 72,
    QCOW2_HEADER_V3_BYTES = 104, /* at least */
    QCOW2_HEADER_BYTES = 112,    /* what QEMU and we write */
    QCOW2_SNAPSHOT_FIXED_BYTES = 40,
    QCOW2_SNAPSHOT_EXTRA_BYTES = 24, /* what QEMU and we write */

    /* Limits of QEMU's, so an image past them opens nowhere. */
    QCOW2_L1_BYTES_MAX = 32 << 20,
    QCOW2_REFTABLE_BYTES_MAX = 8 << 20,
    QCOW2_SNAPSHOTS_MAX = 65536,
    QCOW2_SNAPSHOT_TABLE_BYTES_MAX = 64 << 20,
    QCOW2_SNAPSHOT_EXTRA_MAX = 1024,
    QCOW2_SNAPSHOT_NAME_MAX = 255,
    QCOW2_SNAPSHOT_ID_MAX = 127,
    QCOW2_BACKING_NAME_MAX = 1023,
    QCOW2_BACKING_FORMAT_MAX = 15
};

/* Offsets of header fields. */
enum {
    QCOW2_AT_VERSION = 4,
    QCOW2_AT_BACKING_OFFSET = 8,
    QCOW2_AT_BACKING_LEN = 16,
    QCOW2_AT_CLUSTER_BITS = 20,
    QCOW2_AT_SIZE = 24,
    QCOW2_AT_CRYPT_METHOD = 32,
    QCOW2_AT_L1_SIZE = 36,
    QCOW2_AT_L1_OFFSET = 40,
    QCOW2_AT_REFTABLE_OFFSET = 48,
    QCOW2_AT_REFTABLE_CLUSTERS = 56,
    QCOW2_AT_SNAPSHOTS = 60,
    QCOW2_AT_SNAPSHOTS_OFFSET = 64,
    QCOW2_AT_INCOMPATIBLE = 72,
    QCOW2_AT_COMPATIBLE = 80,
    QCOW2_AT_AUTOCLEAR = 88,
    QCOW2_AT_REFCOUNT_ORDER = 96,
    QCOW2_AT_HEADER_LEN = 100,
    QCOW2_AT_COMPRESSION = 104
};

/* Header extensions. */
#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_DATA_FILE 0x44415441u

/* Incompatible features. */
#define QCOW2_INCOMPAT_DIRTY UINT64_C(1)
#define QCOW2_INCOMPAT_CORRUPT UINT64_C(2)
#define QCOW2_INCOMPAT_DATA_FILE UINT64_C(4)
#define QCOW2_INCOMPAT_COMPRESSION UINT64_C(8)
#define QCOW2_INCOMPAT_EXTENDED_L2 UINT64_C(16)
#define QCOW2_INCOMPAT_KNOWN UINT64_C(31)

/* Autoclear features. */
#define QCOW2_AUTOCLEAR_RAW_DATA_FILE UINT64_C(2)

/* L1 and L2 entries. */
#define QCOW2_COPIED (UINT64_C(1) << 63) /* refcount is exactly 1 */
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO UINT64_C(1)
#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_RESERVED UINT64_C(0x3f000000000001fe)

#endif
