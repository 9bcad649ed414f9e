/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wipe.h"

#include <sodium.h>
#include <stdlib.h>

void
wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

void
wipe_free(void *p, size_t len)
{
    if (p)
        sodium_memzero(p, len);
    free(p);
}

bool
wipe_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}
