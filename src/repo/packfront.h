/* SPDX-License-Identifier: Apache-2.0 */
/* packfront: the table of a pack that is in the store, and objects copied out
 * of such a pack as they are sealed, by those who can't open them. */
#ifndef REPO_PACKFRONT_H
#define REPO_PACKFRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "repo/pack.h"

struct err;
struct keyring;
struct packer;
struct store;

/* Read the table of the pack `name` of `bytes` bytes; *out is to be
 * pack_table_done.  ERR_NOENT, ERR_CORRUPT. */
int packfront_read(struct store *st, const char *name, uint64_t bytes,
                   const struct keyring *k, struct pack_table *out,
                   struct err *e);

/* The entry of the object at that offset; NULL if none begins there. */
const struct pack_entry *packfront_entry(const struct pack_table *t,
                                         uint32_t offset);

/* Is this object to be copied? */
typedef bool packfront_wants_fn(void *cookie, const struct pack_entry *entry);

/* Add all objects of a pack that are wanted to `p`.  Each is held against its
 * check in the table before, so that damage is not carried along. */
int packfront_copy(struct store *st, enum pack_kind kind,
                   const uint8_t sum[PACK_NAME_BYTES], uint64_t bytes,
                   const struct keyring *k, packfront_wants_fn *wants,
                   void *cookie, struct packer *p, uint64_t *out_bytes,
                   struct err *e);

#endif
