/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmstate: QEMU's migration stream taken apart and put together again.
 *
 * A stream is, in this order (docs/format/vmstate.md):
 *     head   everything before the section that starts "ram", opaque
 *     ram    the list of RAM blocks, then page records
 *     tail   everything from the first section after the RAM, opaque
 * Nothing of the device state needs to be understood: it is kept to the byte.
 *
 * Source:  QEMU migration/savevm.c, migration/ram.c, docs/devel/migration.
 * Threads: a decoder or encoder belongs to one thread; no I/O in here.
 * Trust:   a guest can shape the stream.  Every length is checked against a
 *          named limit, every page against the list of blocks; unknown flags
 *          and sections are errors, never guesses.
 */
#ifndef VMSTATE_VMSTATE_H
#define VMSTATE_VMSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VMSTATE_NAME_MAX = 255,
    VMSTATE_MAX_BLOCKS = 1024,
    VMSTATE_HEAD_MAX_BYTES = 1 << 20,
    VMSTATE_PAGE_MIN_BYTES = 1024, /* the flags of a record are below that */
    VMSTATE_PAGE_MAX_BYTES = 65536
};

/* Head and tail together may not be larger than this in a stream we accept. */
#define VMSTATE_TAIL_MAX_BYTES (UINT64_C(1) << 30)
/* All RAM blocks together (64 TiB). */
#define VMSTATE_RAM_MAX_BYTES (UINT64_C(1) << 46)

struct err;

struct vmstate_block {
    char name[VMSTATE_NAME_MAX + 1];
    uint64_t used_bytes; /* its length in the stream, whole pages, not 0 */
};

/* All that the RAM sections say besides the pages. */
struct vmstate_ram {
    uint32_t section_id;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t page_bytes; /* of the target: 4096 on x86 */
    bool has_switchover; /* SWITCHOVER_START before the end: savevm of 10.0 */
    bool has_end;        /* ended by SECTION_END, as savevm does */
    bool has_footers;    /* sections end with a footer: all but old machines */
    size_t n_blocks;
    struct vmstate_block *blocks; /* in the order of the stream */
};

/* For a `ram` that comes from elsewhere than a decoder: ERR_CORRUPT (name empty
 * or there twice, size not whole pages, ...), ERR_UNSUP (page size, version),
 * ERR_LIMIT (too many blocks, too much RAM). */
int vmstate_ram_check(const struct vmstate_ram *ram, struct err *e);

#endif
