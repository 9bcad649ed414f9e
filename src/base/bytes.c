/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

bool
bytes_are_zero(const void *p, size_t len)
{
    const uint8_t *b = p;

    /* Zero iff the first 16 are and each byte equals the one 16 before it:
     * memcmp runs at memory speed and stops at the first difference. */
    size_t head = len < 16 ? len : 16;
    for (size_t i = 0; i < head; i++)
        if (b[i])
            return false;
    return len <= 16 || memcmp(b, b + 16, len - 16) == 0;
}
