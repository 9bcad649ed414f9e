/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume: the content of one disk, RAM block or device state, as a tree of
 * content-addressed objects (docs/format/tree.md).
 *
 * The unit of work is a slot: 8 MiB of the volume's address space.  A writer
 * hands out empty slots, the caller fills in what is data and submits them, in
 * any order; chunking, hashing, lookup, compression and sealing happen on the
 * repository's workers.  What is not filled in reads as zeros and costs
 * nothing.  A reader gives slots back, in any order, and can skip what is zero;
 * who wants all of them in order has them read ahead (repo/ahead.h).
 *
 * Threads:   a volume_writer belongs to one thread; different ones of the same
 *            backup may be used at once.  A volume_reader may be shared.
 * Trust:     what a reader returns has been verified down from the manifest.
 */
#ifndef REPO_VOLUME_H
#define REPO_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backup_writer;
struct err;
struct repo;

enum {
    VOLUME_SLOT_BYTES = 8 << 20,
    VOLUME_BLOCK_BYTES = 4096, /* the grain of what is data and what is not */
    VOLUME_SLOT_BLOCKS = VOLUME_SLOT_BYTES / VOLUME_BLOCK_BYTES,
    VOLUME_CAPABILITY_BYTES = 32
};

/* Larger volumes than this are refused (2 PiB). */
#define VOLUME_SIZE_MAX (UINT64_C(1) << 51)

/* What a manifest keeps of a volume: enough to read all of it. */
struct volume_root {
    uint64_t size_bytes;
    uint8_t levels; /* 0: the root is a slot node */
    uint8_t chunker;
    uint8_t h[VOLUME_CAPABILITY_BYTES]; /* all zero: nothing but zeros */
};

/* 8 MiB of a volume on its way in. */
struct slot {
    uint64_t index; /* covers [index * SLOT_BYTES, + len) of the volume */
    uint32_t len;   /* SLOT_BYTES, less at the volume's end */
    uint8_t *data;  /* SLOT_BYTES; undefined where not marked */
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];  /* one bit a block: filled in */
    uint64_t changed[VOLUME_SLOT_BLOCKS / 64]; /* only on a base: see below */
    struct volume_writer *owner;
    int (*fill)(void *cookie, struct slot *s, struct err *e); /* or NULL */
    void *fill_cookie;
};

/* [offset, offset + len) of slot->data has been filled in.  `offset` must be a
 * multiple of VOLUME_BLOCK_BYTES, and so must `len` but at the volume's end. */
void slot_mark(struct slot *s, uint32_t offset, uint32_t len);

struct volume_writer;

/*
 * Start a volume of the backup `b`.  `name` is unique in it, for instance
 * "disk/vda", "ram/pc.ram" (what starts with "ram/" is compressed better, as
 * that pays there: docs/design/speed.md).  ERR_LIMIT if it is too large.
 */
int volume_begin(struct backup_writer *b, const char *name, uint64_t size_bytes,
                 struct volume_writer **out, struct err *e);

/*
 * The same for a volume that mostly equals `base`, which is a volume of the
 * backup that this one was begun on (backup_options.base), of the same size.
 * Slots that are never submitted are the base's.  So are, in a submitted one,
 * the blocks that slot_change and slot_mark have not named; marked ones are
 * data, and those that are changed and not marked read as zeros.  Costs what
 * changed, in work and memory: blocks that did not change stay where they are,
 * in parts of the base's leaves, and of the base only nodes are read; but for
 * slots of which so much was overwritten that they are cut anew, by the base's
 * chunker (docs/design/chunking.md, "Parts of leaves").  If nothing changed,
 * the root is the base's, and if everything did, that of a volume without one.
 *
 * ERR_USAGE: `base` is not of that backup.  ERR_UNSUP: its chunker is not
 * known here.  ERR_CORRUPT, also later: the base is damaged or partly lost.
 * After any of these, read everything, in a backup without base.
 */
int volume_begin_on(struct backup_writer *b, const char *name,
                    const struct volume_root *base, struct volume_writer **out,
                    struct err *e);

/* [offset, offset + len) of the slot is no longer the base's, with `offset` and
 * `len` as for slot_mark, which says so too. */
void slot_change(struct slot *s, uint32_t offset, uint32_t len);

/* An empty slot, the caller's until submitted or dropped.  Waits while the
 * backup has as much in memory as it may (so who holds slots while he asks for
 * more must not hold that many, or use volume_try_slot).  Fails with the error
 * of an earlier slot of this backup, or ERR_CANCELED. */
int volume_slot(struct volume_writer *v, uint64_t index, struct slot **out,
                struct err *e);
/* The same without waiting: 1, or 0 if the caller must give slots back first,
 * or let the workers. */
int volume_try_slot(struct volume_writer *v, uint64_t index, struct slot **out,
                    struct err *e);
/* Takes the slot; errors surface at a later volume_slot or volume_end. */
void volume_submit(struct volume_writer *v, struct slot *s);
/* Takes the slot; nothing of it is stored. */
void volume_drop(struct volume_writer *v, struct slot *s);

/*
 * The same for a caller who can wait while he reads: have a worker fill slot
 * `index` by fn and store it, while what was read is still in the processor's
 * caches.  Waits while every worker has one to do.  `cookie` is in use until
 * volume_end; fn may be called by several workers at once.
 */
typedef int volume_fill_fn(void *cookie, struct slot *s, struct err *e);
int volume_fill(struct volume_writer *v, uint64_t index, volume_fill_fn *fn,
                void *cookie, struct err *e);

/* Wait for all slots and store the nodes above them.  *v is freed and NULL
 * afterwards, also on failure. */
int volume_end(struct volume_writer **v, struct volume_root *out,
               struct err *e);
/* The same without a result, for CLEANUP. */
void volume_abandonp(struct volume_writer **v);

struct volume_reader;

int volume_open(struct repo *r, const struct volume_root *root,
                struct volume_reader **out, struct err *e);
void volume_close(struct volume_reader *v);
void volume_closep(struct volume_reader **v);
uint64_t volume_size(const struct volume_reader *v); /* bytes */

/* The first slot at or after *index that is not all zeros, into *index: 1, or
 * 0 if there is none.  Costs no more than the nodes on the way. */
int volume_next_slot(struct volume_reader *v, uint64_t *index, struct err *e);

/* Slot `index` will be read later: from a distant storage begin to read what it
 * needs.  What fails shows then. */
void volume_expect_slot(struct volume_reader *v, uint64_t index);

/*
 * Read slot `index` into `out` (SLOT_BYTES of room; zero where the volume is
 * zero, also past its end), and set in `marked` the bits of the blocks that
 * are stored as data.  ERR_CORRUPT names the object, the pack and the extent.
 */
int volume_read_slot(struct volume_reader *v, uint64_t index, uint8_t *out,
                     uint64_t marked[VOLUME_SLOT_BLOCKS / 64], struct err *e);

#endif
