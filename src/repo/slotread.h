/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slotread: the data of a slot, out of the leaves that its node names.
 *
 * Each leaf is fetched and opened once, however many parts of it the slot uses;
 * one that is used whole goes right to where it belongs.
 *
 * Memory:    one leaf (256 KiB) beside the result; some 40 bytes an entry.
 */
#ifndef REPO_SLOTREAD_H
#define REPO_SLOTREAD_H

#include <stdint.h>

#include "repo/volume.h"

struct err;
struct fetch;
struct node;

/*
 * Into `out`, which has room for a slot, the blocks of the slot node `n` that
 * are data and, unless it is NULL, have a bit in `wanted` (one a block); what
 * is beside them stays as it is.  The slot is at byte `offset` of its volume
 * and has `len` bytes of it.  ERR_CORRUPT names the object and the extent, or
 * says that the node covers more than that.
 */
int slotread(struct fetch *f, const struct node *n, uint64_t offset,
             uint64_t len, const uint64_t *wanted, uint8_t *out, struct err *e);

/* It will be read later: as fetch_expect. */
void slotread_expect(struct fetch *f, const struct node *n);

/* Which blocks of the slot are data; n may be NULL: none. */
void slotread_data(const struct node *n, uint64_t out[VOLUME_SLOT_BLOCKS / 64]);

#endif
