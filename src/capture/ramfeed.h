/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ramfeed: a migration stream into a ramspool: its pages, and the stream
 * without them.
 */
#ifndef CAPTURE_RAMFEED_H
#define CAPTURE_RAMFEED_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct ramfeed;
struct ramspool;

/* `first_page`, or NULL, is called when the first page has come.  The spool is
 * borrowed. */
struct ramfeed *ramfeed_new(struct ramspool *spool, void (*first_page)(void));
void ramfeed_free(struct ramfeed *f); /* NULL is allowed */
void ramfeed_freep(struct ramfeed **f);

/* The next bytes; errors as vmstate_decoder_push, and those of the spool. */
int ramfeed_push(struct ramfeed *f, const uint8_t *p, size_t len,
                 struct err *e);
/* The stream has ended: ERR_CORRUPT if not where it may; finishes the spool. */
int ramfeed_end(struct ramfeed *f, struct err *e);

#endif
