/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header: what the header of a qcow2 image says, checked.
 *
 * Source: qcow2.txt, "Header" and "Header extensions".  Version 2 and 3.
 * Trust:  the file is hostile.  The names in it are words to show and compare;
 *         nothing here or anywhere in this room opens one.
 */
#ifndef QCOW2_HEADER_H
#define QCOW2_HEADER_H

#include <stdint.h>

struct err;
struct qcow2_file;

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };
enum qcow2_crypt { QCOW2_PLAIN = 0, QCOW2_AES = 1, QCOW2_LUKS = 2 };

struct qcow2_header {
    uint32_t version;      /* 2 or 3 */
    uint32_t cluster_bits; /* 9..21 */
    uint64_t size_bytes;   /* of the active disk, in whole sectors */
    enum qcow2_crypt crypt;
    enum qcow2_compression compression;
    uint64_t incompatible; /* QCOW2_INCOMPAT_... */
    uint32_t l1_len;       /* entries */
    uint64_t l1_offset;
    uint32_t n_snapshots;
    uint64_t snapshots_offset;
    /* As they stand in the file, cut at a NUL; owned; NULL if there are none */
    char *backing, *backing_format, *data_file;
};

/*
 * ERR_UNSUP if this is no qcow2 image or needs what we do not know, ERR_CORRUPT
 * if it contradicts itself, ERR_LIMIT past QEMU's limits.
 */
int qcow2_header_read(struct qcow2_file *f, struct qcow2_header *out,
                      struct err *e);
void qcow2_header_done(struct qcow2_header *h);

#endif
