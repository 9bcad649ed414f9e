/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matrix: every field of the format with the values that it must not have, and
 * with the last that it may have: where the reader stops, and what it says.
 * Beside it what QEMU does: if it reads the image, and we do, both must have
 * read the same; and what it does not read, we do not.
 *
 * Which fields, and many of the values: QEMU's tests/qemu-iotests 060, 080,
 * 114, 214, 261, 271; and docs/interop/qcow2.txt.
 */
#include "qcow2/reader.h"

#include "imagetool.h"

#include "base/err.h"
#include "base/mem.h"
#include "soundimage.h"

/* What is done with each image, in order. */
enum stage {
    OPEN,      /* header and snapshot table */
    VIEW,      /* the active state's L1 table */
    READ,      /* all of its disk */
    CHECK,     /* all of its tables */
    SNAP,      /* the same of the snapshot */
    SNAP_READ, /* its disk */
    STATE,     /* its machine state */
    SNAP_CHECK,
    FINE
};
static const char *const stage_names[] = {"open",  "view",       "read",
                                          "check", "snap",       "snap_read",
                                          "state", "snap_check", "fine"};

enum oracle {
    REFUSES,  /* QEMU cannot read it */
    READS,    /* it can */
    OTHERWISE /* it was not asked: it would read, but something else */
};

enum { CUT_HERE = 9 };

struct poke {
    uint64_t at;
    unsigned width; /* in bytes; 0: no more; CUT_HERE: the file ends */
    uint64_t value;
};

struct row {
    const char *what;
    enum sound_kind kind;
    struct poke pokes[4];
    enum stage stage; /* that fails */
    enum err_code code;
    const char *says; /* a part of the message */
    enum oracle qemu;
};

#define BAD ERR_CORRUPT
#define TOP ((uint64_t)1 << 63)

/* clang-format off */
/* Fields of 1 to 8 bytes, and the end of the file. */
#define P1(at, value) {at, 1, value}
#define P2(at, value) {at, 2, value}
#define P4(at, value) {at, 4, value}
#define P8(at, value) {at, 8, value}
#define CUT(bytes) {bytes, CUT_HERE, 0}
#define POKES(...) {__VA_ARGS__}
#define ROW(what, kind, pokes, ...) {what, kind, pokes, __VA_ARGS__}
#define GOOD(what, kind, pokes, qemu) \
    {what, kind, pokes, FINE, ERR_OK, NULL, qemu}
/* clang-format on */

static const struct row header_rows[] = {
    ROW("magic", SOUND_V3, POKES(P4(0, 0x514649fa)), OPEN, ERR_UNSUP,
        "no qcow2", REFUSES),
    ROW("version 1", SOUND_V3, POKES(P4(QCOW2_AT_VERSION, 1)), OPEN, ERR_UNSUP,
        "version 1", REFUSES),
    ROW("version 4", SOUND_V3, POKES(P4(QCOW2_AT_VERSION, 4)), OPEN, ERR_UNSUP,
        "version 4", REFUSES),
    /* In version 2 there are extensions where version 3 has features. */
    ROW("version 2 with features", SOUND_V2,
        POKES(P8(QCOW2_AT_INCOMPATIBLE, ~0ull)), OPEN, BAD,
        "extension 0xffffffff", REFUSES),
    GOOD("version 2 with an extension", SOUND_V2,
         POKES(P8(QCOW2_HEADER_V2_BYTES, 0x1234567800000008), P8(80, ~0ull),
               P8(88, 0), P8(96, ~0ull)),
         READS),
    ROW("backing offset", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, ~0ull), P4(QCOW2_AT_BACKING_LEN, 1)),
        OPEN, BAD, "name of the backing file", REFUSES),
    ROW("backing offset behind the cluster", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, 16385), P4(QCOW2_AT_BACKING_LEN, 1)),
        OPEN, BAD, "name of the backing file", REFUSES),
    ROW("backing length", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, 4096), P4(QCOW2_AT_BACKING_LEN, ~0u)),
        OPEN, BAD, "name of the backing file", REFUSES),
    ROW("backing length 1024", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, 4096),
              P4(QCOW2_AT_BACKING_LEN, 1024)),
        OPEN, BAD, "name of the backing file", REFUSES),
    ROW("backing name over the end", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, 16380), P4(QCOW2_AT_BACKING_LEN, 5)),
        OPEN, BAD, "name of the backing file", REFUSES),
    ROW("backing name that is nowhere", SOUND_V3,
        POKES(P8(QCOW2_AT_BACKING_OFFSET, 4096), P4(QCOW2_AT_BACKING_LEN, 1),
              P1(4096, 'x')),
        READ, ERR_UNSUP, "backing file", REFUSES),
    ROW("cluster bits 8", SOUND_V3, POKES(P4(QCOW2_AT_CLUSTER_BITS, 8)), OPEN,
        BAD, "2^8", REFUSES),
    ROW("cluster bits 22", SOUND_V3, POKES(P4(QCOW2_AT_CLUSTER_BITS, 22)), OPEN,
        BAD, "2^22", REFUSES),
    ROW("cluster bits 64", SOUND_V3, POKES(P4(QCOW2_AT_CLUSTER_BITS, 64)), OPEN,
        BAD, "2^64", REFUSES),
    ROW("cluster bits of others", SOUND_V3,
        POKES(P4(QCOW2_AT_CLUSTER_BITS, 15)), OPEN, BAD, "refcount table",
        REFUSES),
    ROW("size too large for L1", SOUND_V3,
        POKES(P8(QCOW2_AT_SIZE, (32 << 20) + 1)), OPEN, BAD,
        "L1 table of 1 entries", REFUSES),
    ROW("size huge", SOUND_V3, POKES(P8(QCOW2_AT_SIZE, ~0ull)), OPEN, BAD,
        "L1 table", REFUSES),
    ROW("size 2^63", SOUND_V3, POKES(P8(QCOW2_AT_SIZE, TOP)), OPEN, BAD,
        "L1 table", REFUSES),
    GOOD("size not of sectors", SOUND_V3,
         POKES(P8(QCOW2_AT_SIZE, SOUND_DISK - 1)), READS),
    GOOD("size 0", SOUND_V3, POKES(P8(QCOW2_AT_SIZE, 0)), READS),
    ROW("encryption 3", SOUND_V3, POKES(P4(QCOW2_AT_CRYPT_METHOD, 3)), OPEN,
        ERR_UNSUP, "encryption method 3", REFUSES),
    ROW("AES", SOUND_V3, POKES(P4(QCOW2_AT_CRYPT_METHOD, 1)), VIEW, ERR_UNSUP,
        "AES", REFUSES),
    ROW("LUKS without its header", SOUND_V3,
        POKES(P4(QCOW2_AT_CRYPT_METHOD, 2)), VIEW, ERR_UNSUP, "LUKS", REFUSES),
    ROW("L1 of no entries", SOUND_V3, POKES(P4(QCOW2_AT_L1_SIZE, 0)), OPEN, BAD,
        "L1 table of 0", REFUSES),
    ROW("L1 huge", SOUND_V3, POKES(P4(QCOW2_AT_L1_SIZE, ~0u)), VIEW, ERR_LIMIT,
        "L1 table", REFUSES),
    ROW("L1 of 32 MiB and one", SOUND_V3,
        POKES(P4(QCOW2_AT_L1_SIZE, (4 << 20) + 1)), VIEW, ERR_LIMIT, "L1 table",
        REFUSES),
    /* QEMU reads zeros behind the end of the file. */
    ROW("L1 over the end", SOUND_V3, POKES(P4(QCOW2_AT_L1_SIZE, 4 << 20)), VIEW,
        BAD, "L1 table at", READS),
    ROW("L1 offset not of clusters", SOUND_V3,
        POKES(P8(QCOW2_AT_L1_OFFSET, AT_L1 + 512)), VIEW, BAD,
        "L1 table is not at the start", REFUSES),
    ROW("L1 offset past the end", SOUND_V3,
        POKES(P8(QCOW2_AT_L1_OFFSET, SOUND_BYTES)), VIEW, BAD, "L1 table at",
        READS),
    ROW("L1 offset that overflows", SOUND_V3,
        POKES(P8(QCOW2_AT_L1_OFFSET, ~0ull << 14)), VIEW, BAD, "L1 table at",
        REFUSES),
    ROW("L1 offset 2^63 - 1 cluster", SOUND_V3,
        POKES(P8(QCOW2_AT_L1_OFFSET, TOP - 16384)), VIEW, BAD, "L1 table at",
        REFUSES),
    ROW("refcount table offset", SOUND_V3,
        POKES(P8(QCOW2_AT_REFTABLE_OFFSET, AT_REFTABLE + 8)), OPEN, BAD,
        "refcount table", REFUSES),
    ROW("refcount table offset that overflows", SOUND_V3,
        POKES(P8(QCOW2_AT_REFTABLE_OFFSET, ~0ull << 14)), OPEN, BAD,
        "refcount table", REFUSES),
    ROW("no refcount table", SOUND_V3, POKES(P4(QCOW2_AT_REFTABLE_CLUSTERS, 0)),
        OPEN, BAD, "refcount table", REFUSES),
    ROW("refcount table huge", SOUND_V3,
        POKES(P4(QCOW2_AT_REFTABLE_CLUSTERS, ~0u)), OPEN, ERR_LIMIT,
        "refcount table", REFUSES),
    ROW("refcount table of 8 MiB and one cluster", SOUND_V3,
        POKES(P4(QCOW2_AT_REFTABLE_CLUSTERS, 513)), OPEN, ERR_LIMIT,
        "refcount table", REFUSES),
    GOOD("refcount table of 8 MiB", SOUND_V3,
         POKES(P4(QCOW2_AT_REFTABLE_CLUSTERS, 512)), READS),
    /* Nothing that is read needs it, and a torn copy may be without it. */
    GOOD("refcount table past the end", SOUND_V3,
         POKES(P8(QCOW2_AT_REFTABLE_OFFSET, 64 << 20)), READS),
    GOOD("refcount block not of clusters", SOUND_V3,
         POKES(P8(AT_REFTABLE, 777)), READS),
    GOOD("refcounts 0", SOUND_V3,
         POKES(P8(AT_REFBLOCK, 0), P8(AT_REFBLOCK + 8, 0)), READS),
    ROW("65537 snapshots", SOUND_V3, POKES(P4(QCOW2_AT_SNAPSHOTS, 65537)), OPEN,
        ERR_LIMIT, "65537 snapshots", REFUSES),
    ROW("snapshots huge", SOUND_V3, POKES(P4(QCOW2_AT_SNAPSHOTS, ~0u)), OPEN,
        ERR_LIMIT, "snapshots", REFUSES),
    ROW("one snapshot too many", SOUND_V3,
        POKES(P4(QCOW2_AT_SNAPSHOTS, 2), P4(AT_TABLE + 72 + 36, 1025)), OPEN,
        ERR_LIMIT, "snapshot 2 of 2", REFUSES),
    ROW("snapshot table offset", SOUND_V3,
        POKES(P8(QCOW2_AT_SNAPSHOTS_OFFSET, AT_TABLE + 8)), OPEN, BAD,
        "snapshot table", REFUSES),
    ROW("snapshot table offset, no snapshots", SOUND_V3,
        POKES(P4(QCOW2_AT_SNAPSHOTS, 0),
              P8(QCOW2_AT_SNAPSHOTS_OFFSET, 0x1234567890abcdef)),
        OPEN, BAD, "snapshot table", REFUSES),
    ROW("snapshot table past the end", SOUND_V3,
        POKES(P8(QCOW2_AT_SNAPSHOTS_OFFSET, SOUND_BYTES)), OPEN, BAD,
        "snapshot table", OTHERWISE),
    ROW("snapshot table offset that overflows", SOUND_V3,
        POKES(P8(QCOW2_AT_SNAPSHOTS_OFFSET, ~0ull << 14)), OPEN, BAD,
        "snapshot table", REFUSES),
    GOOD("dirty", SOUND_V3, POKES(P8(QCOW2_AT_INCOMPATIBLE, 1)), READS),
    GOOD("corrupt", SOUND_V3, POKES(P8(QCOW2_AT_INCOMPATIBLE, 2)), READS),
    ROW("unknown feature 5", SOUND_V3, POKES(P8(QCOW2_AT_INCOMPATIBLE, 32)),
        OPEN, ERR_UNSUP, "0x20", REFUSES),
    ROW("unknown feature 63", SOUND_V3, POKES(P8(QCOW2_AT_INCOMPATIBLE, TOP)),
        OPEN, ERR_UNSUP, "0x8000000000000000", REFUSES),
    GOOD("compatible features", SOUND_V3, POKES(P8(QCOW2_AT_COMPATIBLE, ~0ull)),
         READS),
    GOOD("autoclear features", SOUND_V3, POKES(P8(QCOW2_AT_AUTOCLEAR, ~2ull)),
         READS),
    ROW("a raw data file, and none", SOUND_V3, POKES(P8(QCOW2_AT_AUTOCLEAR, 2)),
        OPEN, BAD, "data file", REFUSES),
    GOOD("refcounts of 1 bit", SOUND_V3, POKES(P4(QCOW2_AT_REFCOUNT_ORDER, 0)),
         READS),
    ROW("refcounts of 128 bits", SOUND_V3,
        POKES(P4(QCOW2_AT_REFCOUNT_ORDER, 7)), OPEN, BAD, "refcounts of 2^7",
        REFUSES),
    ROW("refcount order huge", SOUND_V3,
        POKES(P4(QCOW2_AT_REFCOUNT_ORDER, ~0u)), OPEN, BAD, "refcounts of",
        REFUSES),
    ROW("header of 0 bytes", SOUND_V3, POKES(P4(QCOW2_AT_HEADER_LEN, 0)), OPEN,
        BAD, "header of 0", REFUSES),
    ROW("header of 103 bytes", SOUND_V3, POKES(P4(QCOW2_AT_HEADER_LEN, 103)),
        OPEN, BAD, "header of 103", REFUSES),
    GOOD("header of 104 bytes", SOUND_V3, POKES(P4(QCOW2_AT_HEADER_LEN, 104)),
         READS),
    GOOD("header of a cluster", SOUND_V3, POKES(P4(QCOW2_AT_HEADER_LEN, 16384)),
         READS),
    ROW("header of more", SOUND_V3, POKES(P4(QCOW2_AT_HEADER_LEN, 16392)), OPEN,
        BAD, "header of 16392", REFUSES),
    ROW("header length huge", SOUND_V3,
        POKES(P4(QCOW2_AT_HEADER_LEN, 0x7fffffff)), OPEN, BAD, "header of",
        REFUSES),
    ROW("compression without its feature", SOUND_V3,
        POKES(P1(QCOW2_AT_COMPRESSION, 1)), OPEN, BAD, "compression", REFUSES),
    ROW("its feature without compression", SOUND_V3,
        POKES(P8(QCOW2_AT_INCOMPATIBLE, 8)), OPEN, BAD, "compression", REFUSES),
    ROW("compression 2", SOUND_ZSTD, POKES(P1(QCOW2_AT_COMPRESSION, 2)), OPEN,
        ERR_UNSUP, "compression type 2", REFUSES),
    ROW("a header without room for compression", SOUND_ZSTD,
        POKES(P4(QCOW2_AT_HEADER_LEN, 104)), OPEN, BAD, "compression", REFUSES),
    ROW("subclusters in clusters of 8 KiB", SOUND_EXTENDED,
        POKES(P4(QCOW2_AT_CLUSTER_BITS, 13)), OPEN, BAD,
        "too small for subclusters", REFUSES),
    GOOD("an unknown extension", SOUND_V3,
         POKES(P8(QCOW2_HEADER_BYTES, 0x1234567800000009)), READS),
    GOOD("an extension to the end", SOUND_V3,
         POKES(P8(QCOW2_HEADER_BYTES, 0x1234567800003f88)), READS),
    ROW("an extension over the end", SOUND_V3,
        POKES(P8(QCOW2_HEADER_BYTES, 0x1234567800003f89)), OPEN, BAD,
        "extension 0x12345678", REFUSES),
    ROW("an extension of 2 GiB", SOUND_V3,
        POKES(P8(QCOW2_HEADER_BYTES, 0x123456787fffffff)), OPEN, BAD,
        "extension 0x12345678", REFUSES),
    ROW("an extension of 4 GiB", SOUND_V3,
        POKES(P8(QCOW2_HEADER_BYTES, 0x12345678ffffffff)), OPEN, BAD,
        "extension 0x12345678", REFUSES),
    GOOD("a backing format of 15 bytes", SOUND_V3,
         POKES(P8(QCOW2_HEADER_BYTES, 0xe2792aca0000000f)), READS),
    ROW("a backing format of 16 bytes", SOUND_V3,
        POKES(P8(QCOW2_HEADER_BYTES, 0xe2792aca00000010)), OPEN, BAD,
        "backing format", REFUSES),
    /* What we do not read may be what it wants. */
    GOOD("bitmaps of no sense", SOUND_V3,
         POKES(P8(QCOW2_AT_AUTOCLEAR, 1),
               P8(QCOW2_HEADER_BYTES, 0x2385287500000018)),
         OTHERWISE),
};

static const struct row snapshot_rows[] = {
    ROW("L1 offset not of clusters", SOUND_V3,
        POKES(P8(AT_SNAP_L1_OFFSET, AT_SNAP_L1 + 512)), SNAP, BAD,
        "L1 table is not at the start", REFUSES),
    ROW("L1 offset past the end", SOUND_V3,
        POKES(P8(AT_SNAP_L1_OFFSET, SOUND_BYTES)), SNAP, BAD, "L1 table at",
        READS),
    ROW("L1 offset that overflows", SOUND_V3,
        POKES(P8(AT_SNAP_L1_OFFSET, ~0ull << 14)), SNAP, BAD, "L1 table at",
        REFUSES),
    ROW("L1 too large", SOUND_V3, POKES(P4(AT_SNAP_L1_LEN, 0x10000000)), SNAP,
        ERR_LIMIT, "L1 table of 268435456", REFUSES),
    ROW("L1 of 32 MiB and one", SOUND_V3,
        POKES(P4(AT_SNAP_L1_LEN, (4 << 20) + 1)), SNAP, ERR_LIMIT, "L1 table",
        REFUSES),
    /* QEMU believes it, and reads zeros. */
    ROW("L1 without entries", SOUND_V3,
        POKES(P4(AT_SNAP_L1_LEN, 0), P8(AT_SNAP_VM_64, 0)), SNAP, BAD,
        "too small for a disk", READS),
    ROW("L1 without that of the state", SOUND_V3, POKES(P4(AT_SNAP_L1_LEN, 1)),
        SNAP, BAD, "machine state", READS),
    ROW("id over the end of the file", SOUND_V3,
        POKES(P2(AT_SNAP_ID_LEN, 65535), P2(AT_SNAP_NAME_LEN, 65535)), OPEN,
        BAD, "snapshot 1 of 1", OTHERWISE),
    GOOD("names of nothing", SOUND_V3,
         POKES(P2(AT_SNAP_ID_LEN, 0), P2(AT_SNAP_NAME_LEN, 0)), OTHERWISE),
    ROW("extra data of 1025 bytes", SOUND_V3,
        POKES(P4(AT_SNAP_EXTRA_LEN, 1025)), OPEN, ERR_LIMIT,
        "1025 bytes of extra data", REFUSES),
    ROW("extra data huge", SOUND_V3, POKES(P4(AT_SNAP_EXTRA_LEN, ~0u)), OPEN,
        ERR_LIMIT, "extra data", REFUSES),
    ROW("a disk of 2^63 bytes", SOUND_V3, POKES(P8(AT_SNAP_DISK, TOP)), SNAP,
        BAD, "disk", OTHERWISE),
    ROW("a disk that L1 is too small for", SOUND_V3,
        POKES(P8(AT_SNAP_DISK, (64 << 20) + 1)), SNAP, BAD,
        "too small for a disk", OTHERWISE),
    ROW("a state that L1 is too small for", SOUND_V3,
        POKES(P8(AT_SNAP_VM_64, (32 << 20) + 1)), SNAP, BAD, "machine state",
        OTHERWISE),
    ROW("a state that overflows", SOUND_V3, POKES(P8(AT_SNAP_VM_64, ~0ull)),
        SNAP, BAD, "machine state", OTHERWISE),
    ROW("a state with a hole", SOUND_V3,
        POKES(P8(AT_SNAP_VM_64, SOUND_CLUSTER + 1)), STATE, BAD, "hole",
        OTHERWISE),
    ROW("L1 entry, reserved bit", SOUND_V3,
        POKES(P8(AT_SNAP_L1, AT_SNAP_L2 | 2)), SNAP, BAD,
        "entry 0 of the L1 table", READS),
    ROW("L1 entry not of clusters", SOUND_V3,
        POKES(P8(AT_SNAP_L1, AT_SNAP_L2 + 1024)), SNAP, BAD,
        "entry 0 of the L1 table", REFUSES),
    ROW("L1 entry past the end", SOUND_V3, POKES(P8(AT_SNAP_L1, SOUND_BYTES)),
        SNAP, BAD, "entry 0 of the L1 table", READS),
    ROW("disk and state in one L2 table", SOUND_V3,
        POKES(P8(AT_SNAP_L1 + 8, AT_SNAP_L2)), SNAP, BAD, "two entries", READS),
    ROW("L2 entry not of clusters", SOUND_V3,
        POKES(P8(AT_SNAP_L2, AT_SNAP_DATA + 8192)), SNAP_READ, BAD,
        "start of a cluster", REFUSES),
    ROW("L2 entry past the end", SOUND_V3, POKES(P8(AT_SNAP_L2, SOUND_BYTES)),
        SNAP_READ, BAD, "disk offset 0 is missing", READS),
    ROW("L2 table over its L1 table", SOUND_V3,
        POKES(P8(AT_SNAP_L1, AT_SNAP_L1), P8(AT_SNAP_L1 + 8, AT_VM_L2)),
        SNAP_CHECK, BAD, "lies over", READS),
    ROW("a state past the end", SOUND_V3, POKES(P8(AT_VM_L2, SOUND_BYTES)),
        STATE, BAD, "machine state offset 0 is missing", OTHERWISE),
    ROW("a state that is nowhere", SOUND_V3, POKES(P8(AT_SNAP_L1 + 8, 0)),
        STATE, BAD, "hole", OTHERWISE),
    ROW("a table that is cut", SOUND_V3,
        POKES(P8(QCOW2_AT_SNAPSHOTS_OFFSET, AT_VM_DATA),
              P4(AT_VM_DATA + 36, 24), CUT(AT_VM_DATA + 63)),
        OPEN, BAD, "snapshot 1 of 1", OTHERWISE),
};

/* The active state's tables.  What lies behind the end of the file QEMU reads
 * as zeros, and it looks at few of the reserved bits. */
static const struct row entry_rows[] = {
    ROW("L1 entry, reserved bit 0", SOUND_V3, POKES(P8(AT_L1, AT_L2 | 1)), VIEW,
        BAD, "entry 0 of the L1 table", READS),
    ROW("L1 entry, reserved bit 62", SOUND_V3, POKES(P1(AT_L1, 0x40)), VIEW,
        BAD, "entry 0 of the L1 table", READS),
    ROW("L1 entry not of clusters", SOUND_V3, POKES(P8(AT_L1, AT_L2 + 512)),
        VIEW, BAD, "entry 0 of the L1 table", REFUSES),
    ROW("L1 entry past the end", SOUND_V3, POKES(P8(AT_L1, SOUND_BYTES)), VIEW,
        BAD, "entry 0 of the L1 table", READS),
    ROW("L1 entry far past the end", SOUND_V3,
        POKES(P8(AT_L1, 0x00ffffffffffc000)), VIEW, BAD,
        "entry 0 of the L1 table", READS),
    ROW("L1 entry to its table", SOUND_V3, POKES(P8(AT_L1, AT_L1)), CHECK, BAD,
        "lies over", READS),
    ROW("one L2 table twice", SOUND_V3,
        POKES(P4(QCOW2_AT_L1_SIZE, 2), P8(AT_L1 + 8, AT_L2)), VIEW, BAD,
        "two entries", READS),
    ROW("L2 table cut", SOUND_DATA_FILE, POKES(CUT(AT_DATA - 1)), VIEW, BAD,
        "entry 0 of the L1 table", READS),
    ROW("L2 entry, reserved bit 1", SOUND_V3, POKES(P8(AT_L2, AT_DATA | 2)),
        READ, BAD, "reserved", READS),
    ROW("L2 entry, reserved bit 61", SOUND_V3, POKES(P1(AT_L2, 0xa0)), READ,
        BAD, "reserved", READS),
    ROW("L2 entry not of clusters", SOUND_V3, POKES(P8(AT_L2, AT_DATA + 512)),
        READ, BAD, "start of a cluster", REFUSES),
    ROW("L2 entry past the end", SOUND_V3, POKES(P8(AT_L2, SOUND_BYTES)), READ,
        BAD, "disk offset 0 is missing", READS),
    ROW("L2 entry far past the end", SOUND_V3,
        POKES(P8(AT_L2, 0x00ffffffffffc000)), READ, BAD, "is missing", READS),
    /* No sound image has these, but there is no doubt what they say. */
    GOOD("L2 entry to the L2 table", SOUND_V3, POKES(P8(AT_L2, AT_L2)), READS),
    GOOD("L2 entries to one cluster", SOUND_V3, POKES(P8(AT_L2 + 8, AT_DATA)),
         READS),
    GOOD("a zero cluster with a place", SOUND_V3, POKES(P8(AT_L2, AT_DATA | 1)),
         READS),
    ROW("a zero cluster of no sense", SOUND_V3, POKES(P8(AT_L2 + 8, 512 | 1)),
        READ, BAD, "start of a cluster", REFUSES),
    ROW("a zero cluster in version 2", SOUND_V2, POKES(P8(AT_L2 + 8, 1)), READ,
        BAD, "reserved", REFUSES),
    ROW("compressed data past the end", SOUND_V3,
        POKES(P8(AT_L2 + 16, QCOW2_COMPRESSED | SOUND_BYTES)), READ, BAD,
        "disk offset 32768 is missing", REFUSES),
    ROW("compressed data far past the end", SOUND_V3,
        POKES(P8(AT_L2 + 16, QCOW2_COMPRESSED | UINT64_C(0xffffffffffff00))),
        READ, BAD, "disk offset 32768", REFUSES),
    ROW("compressed data of the header", SOUND_V3,
        POKES(P8(AT_L2 + 16, QCOW2_COMPRESSED)), READ, BAD, "compressed data",
        REFUSES),
    ROW("compressed data from its middle", SOUND_V3,
        POKES(P8(AT_L2 + 16, QCOW2_COMPRESSED | (AT_PACKED + 9))), READ, BAD,
        "compressed data", REFUSES),
    GOOD("compressed data, most sectors", SOUND_V3,
         POKES(
             P8(AT_L2 + 16, QCOW2_COMPRESSED | UINT64_C(63) << 56 | AT_PACKED)),
         READS),
    ROW("compressed data, fewer sectors than it has", SOUND_V3,
        POKES(P8(AT_L2 + 16, QCOW2_COMPRESSED | (AT_PACKED + 500)),
              P8(AT_PACKED + 500, 0xedc1310100000000 | 0xc2),
              P8(AT_PACKED + 508, 0xa0b0ebdfc1183e40), P1(AT_PACKED + 516, 1)),
        READ, BAD, "compressed data", REFUSES),
    ROW("compressed data in zstd's place", SOUND_ZSTD,
        POKES(P4(AT_PACKED, 0xedc13101)), READ, BAD, "zstd", REFUSES),
    ROW("compressed data, and an external file", SOUND_DATA_FILE,
        POKES(P8(AT_L2, QCOW2_COMPRESSED | AT_PACKED)), READ, BAD,
        "external file", REFUSES),
    ROW("another place in the external file", SOUND_DATA_FILE,
        POKES(P8(AT_L2, SOUND_CLUSTER | QCOW2_COPIED)), READ, BAD, "same place",
        REFUSES),
    ROW("subclusters, data and zeros", SOUND_EXTENDED,
        POKES(P8(AT_L2 + 8, UINT64_C(0x1ffffffff))), READ, BAD,
        "data and zeros at once", REFUSES),
    ROW("subclusters of data without a place", SOUND_EXTENDED,
        POKES(P8(AT_L2 + 24, 1)), READ, BAD, "no place", REFUSES),
    ROW("subclusters of compressed data", SOUND_EXTENDED,
        POKES(P8(AT_L2 + 40, 1)), READ, BAD, "compressed and has subclusters",
        READS),
    ROW("the zero bit beside subclusters", SOUND_EXTENDED,
        POKES(P8(AT_L2, AT_DATA | QCOW2_COPIED | 1)), READ, BAD, "reserved",
        READS),
};

static uint8_t image[SOUND_BYTES], got[SOUND_DISK], theirs[SOUND_DISK];

static void
poke(const struct poke *k)
{
    uint8_t *p = image + k->at;

    if (k->width == 8)
        put_be64(p, k->value);
    else if (k->width == 4)
        put_be32(p, (uint32_t)k->value);
    else if (k->width == 2)
        put_be16(p, (uint16_t)k->value);
    else
        *p = (uint8_t)k->value;
}

static void
build(const struct row *t)
{
    size_t len = SOUND_BYTES;

    sound_image(image, t->kind);
    for (size_t i = 0; i < ARRAY_LEN(t->pokes) && t->pokes[i].width; i++)
        if (t->pokes[i].width == CUT_HERE)
            len = t->pokes[i].at;
        else
            poke(&t->pokes[i]);
    scratch_write("m", image, len);
}

/* Opens one state, reads and checks it: the stage that failed, or FINE. */
static enum stage
use_view(const struct qcow2_image *m, const struct qcow2_snapshot *s,
         uint64_t *out_bytes, struct err *e)
{
    struct qcow2_view *v = NULL;
    struct qcow2_check c = {0};
    uint8_t state[2 * SOUND_CLUSTER];
    enum stage r = FINE;

    if (qcow2_view_open(m, s, &v, e) == -1)
        return s ? SNAP : VIEW;
    uint64_t bytes = u64_min(qcow2_view_bytes(v), SOUND_DISK);
    uint64_t vm = u64_min(qcow2_view_vmstate_bytes(v), sizeof(state));
    if (qcow2_view_read(v, 0, got, bytes, e) == -1)
        r = s ? SNAP_READ : READ;
    else if (qcow2_view_read_vmstate(v, 0, state, vm, e) == -1)
        r = STATE;
    else if (qcow2_view_check(v, &c, e) == -1)
        r = s ? SNAP_CHECK : CHECK;
    qcow2_view_close(v);
    *out_bytes = bytes;
    return r;
}

static enum stage
use_image(int fd, int data_fd, bool snapshot, uint64_t *out_bytes,
          struct err *e)
{
    struct qcow2_image *m = NULL;
    enum stage r = OPEN;

    if (qcow2_image_open(fd, data_fd, &m, e) == -1)
        return OPEN;
    const struct qcow2_snapshots *s = qcow2_image_snapshots(m);
    r = use_view(m, NULL, out_bytes, e);
    if (r == FINE && snapshot && s->n > 0)
        r = use_view(m, &s->list[0], out_bytes, e);
    qcow2_image_close(m);
    return r;
}

static enum stage
run_reader(const struct row *t, bool snapshot, uint64_t *out_bytes,
           struct err *e)
{
    int fd = scratch_open("m", O_RDONLY), data_fd = -1;

    if (t->kind == SOUND_DATA_FILE)
        data_fd = scratch_open("d", O_RDONLY);
    enum stage r = use_image(fd, data_fd, snapshot, out_bytes, e);
    (void)close(fd);
    if (data_fd != -1)
        (void)close(data_fd);
    return r;
}

/* QEMU's own way through the same state of the disk. */
static bool
qemu_reads(bool snapshot)
{
    return tool_run("timeout 60 qemu-img convert -q -f qcow2 -O raw %s m out",
                    snapshot ? "-l snapshot.name=s" : "") == 0;
}

/* All rows are looked at before the test fails. */
static unsigned n_wrong;

__attribute__((format(printf, 1, 2))) static void
wrong(const char *fmt, ...)
{
    va_list ap;

    n_wrong++;
    printf("# ");
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

static void
compare_with_qemu(const struct row *t, bool snapshot, bool read_by_us,
                  uint64_t bytes)
{
    bool reads = qemu_reads(snapshot);

    if (reads != (t->qemu == READS))
        wrong("%s: QEMU %s it: %s", t->what, reads ? "reads" : "refuses",
              tool_out);
    if (!reads && read_by_us)
        wrong("%s: QEMU refuses what we read", t->what);
    if (!reads || !read_by_us)
        return;
    size_t n = scratch_read("out", theirs, sizeof(theirs));
    if (n != bytes || memcmp(got, theirs, n) != 0)
        wrong("%s: QEMU reads %zu bytes, we %llu, or other ones", t->what, n,
              (unsigned long long)bytes);
}

static bool have_qemu;

static void
run_row(const struct row *t)
{
    bool snapshot = t->stage >= SNAP && t->stage != FINE;
    struct err e = {0};
    uint64_t bytes = 0;

    build(t);
    enum stage r = run_reader(t, true, &bytes, &e);
    if (r != t->stage || e.code != t->code ||
        (t->says && !strstr(e.msg, t->says)))
        wrong("%s: %s, not %s; %s: %s", t->what, stage_names[r],
              stage_names[t->stage], err_code_name(e.code), e.msg);
    if (!have_qemu || t->qemu == OTHERWISE)
        return;
    if (r == FINE) /* the active state is what QEMU is asked for */
        (void)run_reader(t, false, &bytes, &e);
    compare_with_qemu(t, snapshot, r == FINE, bytes);
}

static void
run_rows(const struct row *rows, size_t n)
{
    n_wrong = 0;
    for (size_t i = 0; i < n; i++)
        run_row(&rows[i]);
    printf("# %zu images%s\n", n, have_qemu ? ", read by QEMU, too" : "");
    assert_int_equal(n_wrong, 0);
}

static int
setup(void **state)
{
    if (scratch_setup(state) == -1)
        return -1;
    memset(got, 'x', sizeof(got));
    scratch_write("d", got, sizeof(got));
    have_qemu = tool_run("command -v qemu-img") == 0;
    return 0;
}

/* All the kinds, as they are. */
static void
test_sound(void **state)
{
    (void)state;
    for (unsigned k = SOUND_V3; k <= SOUND_DATA_FILE; k++) {
        struct row t = {"sound", k, {{0}}, FINE, ERR_OK, NULL, READS};
        run_rows(&t, 1);
        if (have_qemu)
            tool_must("qemu-img check -q -f qcow2 m");
        assert_int_equal(got[0], k == SOUND_DATA_FILE ? 'x' : 'd');
        assert_int_equal(got[SOUND_CLUSTER], 0);
        assert_int_equal(got[2 * SOUND_CLUSTER],
                         k == SOUND_DATA_FILE ? 0 : 'c');
        if (k == SOUND_DATA_FILE)
            continue;
        uint64_t bytes = 0;
        struct err e = {0};
        assert_int_equal(run_reader(&t, true, &bytes, &e), FINE);
        assert_int_equal(got[0], 's');
    }
}

static void
test_header(void **state)
{
    (void)state;
    run_rows(header_rows, ARRAY_LEN(header_rows));
}

static void
test_snapshot_table(void **state)
{
    (void)state;
    run_rows(snapshot_rows, ARRAY_LEN(snapshot_rows));
}

static void
test_entries(void **state)
{
    (void)state;
    run_rows(entry_rows, ARRAY_LEN(entry_rows));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_snapshot_table),
        cmocka_unit_test(test_entries),
    };

    return cmocka_run_group_tests_name("matrix", tests, setup,
                                       scratch_teardown);
}
