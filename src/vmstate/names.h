/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names: finds a RAM block by its name.
 *
 * A sorted table: the worst that a hostile stream gets out of it is ten
 * comparisons a page.
 */
#ifndef VMSTATE_NAMES_H
#define VMSTATE_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "vmstate/vmstate.h"

struct err;

struct vmstate_names {
    const struct vmstate_ram *ram; /* borrowed */
    uint16_t order[VMSTATE_MAX_BLOCKS];
    uint8_t len[VMSTATE_MAX_BLOCKS]; /* of the name at that place in `order` */
};

/* At most VMSTATE_MAX_BLOCKS blocks.  ERR_CORRUPT if two share a name. */
int vmstate_names_init(struct vmstate_names *x, const struct vmstate_ram *ram,
                       struct err *e);

/* 1 and the number of the block, or 0. */
int vmstate_names_find(const struct vmstate_names *x, const uint8_t *name,
                       size_t len, size_t *out);

#endif
