/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ramspool: a machine's RAM and device state on their way from QEMU to the
 * repository.
 *
 * The drainer (a process of its own) writes it at the speed of QEMU's stream;
 * the worker reads it afterwards, in order of address, at the speed of the
 * pipeline.  It is a nameless file encrypted with a key that only these two
 * know: RAM holds secrets.  Pages of zeros take no room.
 *
 * State:   the stream without its pages, as vmstate/encoder writes it: head,
 *          list of RAM blocks, tail.
 * Shared:  the key, the list of blocks and the outcome are in shared memory;
 *          which pages are data, in another.
 */
#ifndef CAPTURE_RAMSPOOL_H
#define CAPTURE_RAMSPOOL_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct ramspool;
struct vmstate_ram;

enum { RAMSPOOL_FDS = 3, RAMSPOOL_UNIT_BYTES = 4096 };

/* Make one in the folder `dir` / take over one by its descriptors, which are
 * the spool's from then on. */
int ramspool_create(const char *dir, struct ramspool **out, struct err *e);
int ramspool_attach(const int fds[RAMSPOOL_FDS], struct ramspool **out,
                    struct err *e);
void ramspool_free(struct ramspool *s); /* NULL is allowed */
void ramspool_freep(struct ramspool **s);
void ramspool_fds(const struct ramspool *s, int out[RAMSPOOL_FDS]);

/* ---- the drainer's side ----------------------------------------------- */

int ramspool_set_blocks(struct ramspool *s, const struct vmstate_ram *ram,
                        struct err *e);
/* One page of the target; `data` NULL: zeros. */
int ramspool_put_page(struct ramspool *s, size_t block, uint64_t offset,
                      const uint8_t *data, struct err *e);
int ramspool_put_state(struct ramspool *s, const uint8_t *p, size_t len,
                       struct err *e);
/* Everything is in the file. */
int ramspool_finish(struct ramspool *s, struct err *e);
/* Leave the reason for a failure where the worker finds it. */
void ramspool_fail(struct ramspool *s, const struct err *why);
void ramspool_count(struct ramspool *s, uint64_t stream_bytes);

/* ---- the worker's side ------------------------------------------------ */

/* Bytes of the stream that have arrived so far; at any time. */
uint64_t ramspool_stream_bytes(const struct ramspool *s);

/* After the drainer has ended: 0 if all arrived, else -1 with its reason. */
int ramspool_open_result(struct ramspool *s, struct err *e);

size_t ramspool_blocks(const struct ramspool *s);
const char *ramspool_block_name(const struct ramspool *s, size_t block);
uint64_t ramspool_block_bytes(const struct ramspool *s, size_t block);

/* The first unit at or after `from` (a byte offset in the block, a multiple of
 * the unit) that is data, or the block's length. */
uint64_t ramspool_next_data(const struct ramspool *s, size_t block,
                            uint64_t from);
/* The end of the run of data that starts at `from`. */
uint64_t ramspool_data_end(const struct ramspool *s, size_t block,
                           uint64_t from);

/* Whole units of data of the block. */
int ramspool_read(struct ramspool *s, size_t block, uint64_t offset,
                  uint8_t *out, size_t len, struct err *e);

uint64_t ramspool_state_bytes(const struct ramspool *s);
/* `len` bytes of the state; whole units but at its end. */
int ramspool_read_state(struct ramspool *s, uint64_t offset, uint8_t *out,
                        size_t len, struct err *e);

#endif
