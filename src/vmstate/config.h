/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: the configuration at the start of a stream: CONFIGURATION with the
 * machine type, then subsections.
 *
 * A stream does not say how long they are, so each must be known to find the
 * end; and two of them change how RAM is written.
 *
 * Source: QEMU migration/savevm.c, vmstate_configuration and what it lists.
 */
#ifndef VMSTATE_CONFIG_H
#define VMSTATE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "vmstate/vmstate.h"

struct err;

enum {
    CONFIG_CAPABILITIES_MAX = 64,
    /* No record is longer: names of 255 bytes and what is around them. */
    CONFIG_RECORD_MAX_BYTES = 1024
};

struct vmstate_config {
    char machine[VMSTATE_NAME_MAX + 1]; /* type; "" if the stream has none */
    uint32_t page_bytes;                /* untouched if the stream has none */
};

/*
 * Reads CONFIGURATION, or a subsection, at the start of p.  Returns 1 if it is
 * whole: *need is its length.  0 if it is not: it has *need bytes at least, and
 * *c is as it was.  -1: ERR_UNSUP (unknown subsection, capability or page size)
 * or ERR_LIMIT.
 */
int vmstate_config_read(struct vmstate_config *c, const uint8_t *p, size_t len,
                        size_t *need, struct err *e);
int vmstate_config_read_sub(struct vmstate_config *c, const uint8_t *p,
                            size_t len, size_t *need, struct err *e);

#endif
