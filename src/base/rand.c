/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void
rand_bytes(void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) { /* a kernel without it: no key is safe to make */
            perror("vmkeep: getrandom");
            abort();
        }
        at += n;
        len -= (size_t)n;
    }
}

uint64_t
rand_u64(void)
{
    uint64_t v = 0;

    rand_bytes(&v, sizeof(v));
    return v;
}
