/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"

enum { LARGE_BYTES = 1 << 20 };

static void *
or_abort(void *p)
{
    if (!p) {
        fputs("vmkeep: out of memory\n", stderr);
        abort();
    }
    return p;
}

void
mem_keep_little(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
}

void
mem_forget(void *p, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = round_up((uintptr_t)p, page);
    uintptr_t end = ((uintptr_t)p + len) / page * page;

    if (first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

void *
xmalloc(size_t len)
{
    return or_abort(malloc(len ? len : 1));
}

void *
xcalloc(size_t n, size_t len)
{
    return or_abort(calloc(n ? n : 1, len ? len : 1));
}

void *
xrealloc(void *p, size_t len)
{
    return or_abort(realloc(p, len ? len : 1));
}

char *
xstrdup(const char *s)
{
    return or_abort(strdup(s));
}

char *
xstrndup(const char *s, size_t max)
{
    return or_abort(strndup(s, max));
}

void *
xmemdup(const void *p, size_t len)
{
    void *copy = xmalloc(len);

    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *
xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return or_abort(n < 0 ? NULL : s);
}

int
mem_try(size_t len, const char *what, void **out, struct err *e)
{
    void *p = calloc(1, len ? len : 1);

    if (!p)
        return err_set(e, ERR_LIMIT, "no memory for %s (%zu bytes)", what, len);
    *out = p;
    return 0;
}

void
freep(void *pp)
{
    free(*(void **)pp);
}
