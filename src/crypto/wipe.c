/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wipe.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto_internal.h"

enum { ALIGNMENT = 64 };

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

void *
secret_new(size_t len)
{
    size_t whole = (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    (void)library_get();
    void *p = sodium_malloc(whole); /* ends at the end of a page */
    library_must(p != NULL);
    memset(p, 0, whole);
    return p;
}

void
secret_free(void *p)
{
    sodium_free(p);
}

bool
wipe_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}
