/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem: allocation and ownership.
 *
 * Sizes that we choose come from the x functions, which abort when memory is
 * out: nothing of ours is half-written then that a later start cannot mend.
 * Sizes that a guest, a disk, a file or a network chooses are first checked
 * against a named limit and then allocated by mem_try, which can fail.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

struct err;

/* Run fn(&variable) when the variable's scope ends, on every path. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* The value of p, which is NULL from then on: hands an object over. */
#define STEAL(p)                    \
    __extension__({                 \
        __typeof__(p) steal_ = (p); \
        (p) = NULL;                 \
        steal_;                     \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/*
 * At the start of a program: what is freed of 1 MiB and more goes back to the
 * kernel at once.  By itself the C library keeps blocks of up to 32 MiB once
 * it has seen one, for each thread.
 */
void mem_keep_little(void);

/* Its content is of no use any more, and what it takes goes back to the kernel
 * until it is written to again: for large blocks only. */
void mem_forget(void *p, size_t len);

void *xmalloc(size_t len);
void *xcalloc(size_t n, size_t len);
void *xrealloc(void *p, size_t len);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t max);
void *xmemdup(const void *p, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * `len` zeroed bytes for something that a stranger sized; `what` names it in
 * the message.  Fails with ERR_LIMIT.
 */
int mem_try(size_t len, const char *what, void **out, struct err *e);

/* For CLEANUP: free() what the variable points to. */
void freep(void *pp);

#endif
