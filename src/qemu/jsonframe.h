/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonframe: cuts a stranger's stream of bytes into JSON objects.
 *
 * Objects are told apart by their braces, so one may be spread over many lines
 * (a monitor with pretty=on) or arrive byte by byte.  Between objects only
 * white space is allowed.
 *
 * A lenient frame is for a stream that is joined in the middle of an object:
 * what is no object is dropped up to the end of its line.  It finds the next
 * whole object for sure, because JSON strings hold no raw line end: a line end
 * inside one means that the frame took the end of a string for its start.
 *
 * Integers above INT64_MAX, which QEMU can write and jansson cannot hold, are
 * read as INT64_MAX, those below INT64_MIN as INT64_MIN.
 */
#ifndef QEMU_JSONFRAME_H
#define QEMU_JSONFRAME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct err;

struct jsonframe {
    size_t max_bytes; /* of one object */
    bool lenient;
    struct buf in;  /* bytes that came in */
    size_t start;   /* where the object under way begins */
    size_t pos;     /* bytes before it have been looked at */
    unsigned depth; /* open braces and brackets; 0: between objects */
    bool in_string; /* of the object under way */
    bool escaped;   /* the byte before was a backslash */
    bool skipping;  /* to the end of this line */
};

void jsonframe_init(struct jsonframe *f, size_t max_bytes);
void jsonframe_done(struct jsonframe *f);

/* Bytes that arrived; at most JSONFRAME_CHUNK of them at a time. */
enum { JSONFRAME_CHUNK = 65536 };
void jsonframe_add(struct jsonframe *f, const void *p, size_t n);

/*
 * The next whole object, which is the caller's, and its length in bytes.  1; 0
 * if more bytes are needed; -1 ERR_CORRUPT if the bytes are no JSON objects,
 * ERR_LIMIT if one is longer than max_bytes.  To be called until it yields 0
 * before more bytes are added.
 */
int jsonframe_next(struct jsonframe *f, json_t **out, size_t *out_bytes,
                   struct err *e);

/* Has an object begun that is not yet whole? */
bool jsonframe_inside(const struct jsonframe *f);

#endif
