/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soundimage: a small image laid out by hand, so that a test knows where every
 * field of it is.  `qemu-img check` finds nothing wrong in it.
 *
 * The disk has 1 MiB in clusters of 16 KiB: the first is data, the second
 * zeros, the third compressed data, the rest is not allocated.  In the snapshot
 * "s" the first has other data, and there is a machine state of one cluster.
 */
#ifndef TEST_QCOW2_SOUNDIMAGE_H
#define TEST_QCOW2_SOUNDIMAGE_H

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format.h"

enum {
    SOUND_BITS = 14,
    SOUND_CLUSTER = 1 << SOUND_BITS,
    SOUND_DISK = 1 << 20,

    /* Where things are. */
    AT_REFTABLE = 1 * SOUND_CLUSTER,
    AT_REFBLOCK = 2 * SOUND_CLUSTER,
    AT_L1 = 3 * SOUND_CLUSTER,
    AT_L2 = 4 * SOUND_CLUSTER,
    AT_DATA = 5 * SOUND_CLUSTER,
    AT_PACKED = 6 * SOUND_CLUSTER,
    AT_TABLE = 7 * SOUND_CLUSTER, /* of snapshots */
    AT_SNAP_L1 = 8 * SOUND_CLUSTER,
    AT_SNAP_L2 = 9 * SOUND_CLUSTER,
    AT_SNAP_DATA = 10 * SOUND_CLUSTER,
    AT_VM_L2 = 11 * SOUND_CLUSTER,
    AT_VM_DATA = 12 * SOUND_CLUSTER,
    SOUND_BYTES = 13 * SOUND_CLUSTER,

    /* Fields of the snapshot's entry. */
    AT_SNAP_L1_OFFSET = AT_TABLE,
    AT_SNAP_L1_LEN = AT_TABLE + 8,
    AT_SNAP_ID_LEN = AT_TABLE + 12,
    AT_SNAP_NAME_LEN = AT_TABLE + 14,
    AT_SNAP_VM_32 = AT_TABLE + 32,
    AT_SNAP_EXTRA_LEN = AT_TABLE + 36,
    AT_SNAP_VM_64 = AT_TABLE + 40,
    AT_SNAP_DISK = AT_TABLE + 48
};

enum sound_kind {
    SOUND_V3,
    SOUND_V2,
    SOUND_EXTENDED, /* with subclusters */
    SOUND_ZSTD,
    SOUND_DATA_FILE /* disk data in the file "d", no snapshot */
};

/* A cluster of 'c', by zlib (raw deflate, 4 KiB window) and by zstd. */
static const uint8_t sound_deflate[34] = {
    0xed, 0xc1, 0x31, 0x01, 0,    0, 0, 0xc2, 0xa0, 0xb0, 0xeb, 0xdf,
    0xc1, 0x18, 0x3e, 0x40, 0x01, 0, 0, 0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0, 0, 0,    0x6f, 0x03};
static const uint8_t sound_zstd[18] = {0x28, 0xb5, 0x2f, 0xfd, 0,    0x58,
                                       0x4d, 0,    0,    0x10, 0x63, 0x63,
                                       0x01, 0,    0xfb, 0x9f, 0x07, 0x58};

static inline void
sound_header(uint8_t *p, enum sound_kind kind)
{
    put_be32(p, QCOW2_MAGIC);
    put_be32(p + QCOW2_AT_VERSION, kind == SOUND_V2 ? 2 : 3);
    put_be32(p + QCOW2_AT_CLUSTER_BITS, SOUND_BITS);
    put_be64(p + QCOW2_AT_SIZE, SOUND_DISK);
    put_be32(p + QCOW2_AT_L1_SIZE, 1);
    put_be64(p + QCOW2_AT_L1_OFFSET, AT_L1);
    put_be64(p + QCOW2_AT_REFTABLE_OFFSET, AT_REFTABLE);
    put_be32(p + QCOW2_AT_REFTABLE_CLUSTERS, 1);
    if (kind != SOUND_DATA_FILE) {
        put_be32(p + QCOW2_AT_SNAPSHOTS, 1);
        put_be64(p + QCOW2_AT_SNAPSHOTS_OFFSET, AT_TABLE);
    }
    if (kind == SOUND_V2)
        return;
    put_be32(p + QCOW2_AT_REFCOUNT_ORDER, 4);
    put_be32(p + QCOW2_AT_HEADER_LEN, QCOW2_HEADER_BYTES);
    if (kind == SOUND_EXTENDED)
        put_be64(p + QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPAT_EXTENDED_L2);
    if (kind == SOUND_ZSTD) {
        put_be64(p + QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPAT_COMPRESSION);
        p[QCOW2_AT_COMPRESSION] = 1;
    }
    if (kind == SOUND_DATA_FILE) {
        put_be64(p + QCOW2_AT_INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE);
        put_be32(p + QCOW2_HEADER_BYTES, QCOW2_EXT_DATA_FILE);
        put_be32(p + QCOW2_HEADER_BYTES + 4, 1);
        p[QCOW2_HEADER_BYTES + 8] = 'd';
    }
}

/* Data, zeros, compressed data. */
static inline void
sound_l2(uint8_t *p, enum sound_kind kind, uint64_t data, bool packed)
{
    size_t step = kind == SOUND_EXTENDED ? 16 : 8;

    put_be64(p, data);
    if (kind == SOUND_EXTENDED) {
        put_be64(p + 8, UINT32_MAX);
        put_be64(p + step + 8, UINT64_C(0xffffffff) << 32);
    } else if (kind != SOUND_V2) {
        put_be64(p + step, QCOW2_ZERO);
    }
    if (packed)
        put_be64(p + 2 * step, QCOW2_COMPRESSED | AT_PACKED);
}

static inline void
sound_snapshot(uint8_t *p, enum sound_kind kind)
{
    put_be64(p + AT_SNAP_L1_OFFSET, AT_SNAP_L1);
    put_be32(p + AT_SNAP_L1_LEN, 2);
    put_be16(p + AT_SNAP_ID_LEN, 1);
    put_be16(p + AT_SNAP_NAME_LEN, 1);
    put_be32(p + AT_SNAP_VM_32, SOUND_CLUSTER);
    put_be32(p + AT_SNAP_EXTRA_LEN, QCOW2_SNAPSHOT_EXTRA_BYTES);
    put_be64(p + AT_SNAP_VM_64, SOUND_CLUSTER);
    put_be64(p + AT_SNAP_DISK, SOUND_DISK);
    put_be64(p + AT_TABLE + 56, UINT64_MAX);
    memcpy(p + AT_TABLE + 64, "1s", 2);

    put_be64(p + AT_SNAP_L1, AT_SNAP_L2);
    put_be64(p + AT_SNAP_L1 + 8, AT_VM_L2);
    sound_l2(p + AT_SNAP_L2, kind, AT_SNAP_DATA, false);
    memset(p + AT_SNAP_DATA, 's', SOUND_CLUSTER);
    put_be64(p + AT_VM_L2, AT_VM_DATA);
    if (kind == SOUND_EXTENDED)
        put_be64(p + AT_VM_L2 + 8, UINT32_MAX);
    memset(p + AT_VM_DATA, 'v', SOUND_CLUSTER);
}

/* The image, SOUND_BYTES of it. */
static inline void
sound_image(uint8_t *p, enum sound_kind kind)
{
    bool external = kind == SOUND_DATA_FILE;

    memset(p, 0, SOUND_BYTES);
    sound_header(p, kind);
    put_be64(p + AT_REFTABLE, AT_REFBLOCK);
    for (size_t i = 0; i < SOUND_BYTES / SOUND_CLUSTER; i++)
        if (!external || i * SOUND_CLUSTER < AT_DATA)
            p[AT_REFBLOCK + 2 * i + 1] = 1;
    put_be64(p + AT_L1, AT_L2 | QCOW2_COPIED);
    sound_l2(p + AT_L2, kind, (external ? 0 : AT_DATA) | QCOW2_COPIED,
             !external);
    memset(p + AT_DATA, 'd', SOUND_CLUSTER);
    if (kind == SOUND_ZSTD)
        memcpy(p + AT_PACKED, sound_zstd, sizeof(sound_zstd));
    else
        memcpy(p + AT_PACKED, sound_deflate, sizeof(sound_deflate));
    if (!external)
        sound_snapshot(p, kind);
}

#endif
