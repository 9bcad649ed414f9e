/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: compressed clusters.
 *
 * Source:  qcow2.txt, "Compressed Clusters Descriptor": raw deflate, or zstd
 *          in one or more frames; data ends when the cluster is full.
 * Threads: one an unpacker.
 * Trust:   the data is hostile; memory is bounded (8 MiB for zstd).
 */
#ifndef QCOW2_UNPACK_H
#define QCOW2_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "qcow2/header.h"

struct err;
struct qcow2_unpacker;

/* Never NULL. */
struct qcow2_unpacker *qcow2_unpacker_new(enum qcow2_compression type);
void qcow2_unpacker_free(struct qcow2_unpacker *u); /* NULL is allowed */

/* Exactly out_len bytes, or ERR_CORRUPT and *out is undefined.  Bytes of
 * `in` behind the data are allowed. */
int qcow2_unpack(struct qcow2_unpacker *u, const uint8_t *in, size_t in_len,
                 uint8_t *out, size_t out_len, struct err *e);

#endif
