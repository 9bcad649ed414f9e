/* SPDX-License-Identifier: Apache-2.0 */
/* rand: random bytes from the kernel, good enough for keys and names. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *out, size_t len);
uint64_t rand_u64(void);

#endif
