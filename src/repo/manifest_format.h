/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest as the body of a ref: JSON (docs/format/manifest.md). */
#ifndef REPO_MANIFEST_FORMAT_H
#define REPO_MANIFEST_FORMAT_H

#include <stddef.h>

struct buf;
struct err;
struct manifest;

/* Appends.  ERR_USAGE if a text in it is not UTF-8, ERR_LIMIT. */
int manifest_pack(const struct manifest *m, struct buf *out, struct err *e);
/* Into a new manifest. */
int manifest_unpack(const void *p, size_t len, struct manifest **out,
                    struct err *e);

#endif
