/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: the head that every stored structure begins with
 * (docs/format/repository.md, "Common head"), and the names of all structures.
 *
 *   magic[8]  version u16  domain u16  incompat u32        little-endian
 *
 * `version` changes when old readers would misread; a bit of `incompat` is set
 * when a structure uses something optional that they would.  Both are refused
 * with ERR_UNSUP when not known here, before anything else is looked at.
 */
#ifndef REPO_FORMAT_H
#define REPO_FORMAT_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct cursor;
struct err;

enum { FORMAT_MAGIC_BYTES = 8, FORMAT_HEAD_BYTES = 16 };

struct format {
    char magic[FORMAT_MAGIC_BYTES + 1];
    const char *what; /* for messages */
    uint16_t version;
    uint32_t known; /* bits of `incompat` that this vmkeep understands */
};

extern const struct format FORMAT_CONFIG;
extern const struct format FORMAT_BUNDLE;
extern const struct format FORMAT_PACK;
extern const struct format FORMAT_INDEX;   /* a segment as stored, sealed */
extern const struct format FORMAT_SEGMENT; /* a segment in the clear */
extern const struct format FORMAT_REF;
extern const struct format FORMAT_LOST;

void format_put_head(struct buf *b, const struct format *f, uint16_t domain);

/* ERR_CORRUPT for another magic, ERR_UNSUP for what is newer than we are. */
int format_get_head(struct cursor *c, const struct format *f,
                    uint16_t *out_domain, struct err *e);

#endif
