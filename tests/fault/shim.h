/* SPDX-License-Identifier: Apache-2.0 */
/* shim: what the file layer of shim.c counted, in the file SHIM_STATE. */
#ifndef TESTS_FAULT_SHIM_H
#define TESTS_FAULT_SHIM_H

#include <stdint.h>

enum { SHIM_STATE_BYTES = 4096 };

struct shim_state {
    uint64_t calls;     /* counted */
    uint64_t faults;    /* of these, went wrong */
    uint64_t processes; /* that took part */
};

#endif
