/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance: what store.h promises, as tests that every backend must pass.
 *
 * A backend's test is one call of conformance_run with how to make an empty
 * store.  What a backend cannot do is its own skip, never a weaker test.
 */
#ifndef TESTS_STORE_CONFORMANCE_H
#define TESTS_STORE_CONFORMANCE_H

#include <stddef.h>

struct store;

struct conformance_backend {
    const char *name;
    /* A new and empty store, never NULL; *own is for the backend's use. */
    struct store *(*make)(void **own);
    /* Close it and open it again, as a new process would; NULL: it cannot. */
    struct store *(*reopen)(struct store *st, void *own);
    /* Close it and remove everything. */
    void (*destroy)(struct store *st, void *own);
};

/* Runs every test on every backend; the number of failures. */
int conformance_run(const struct conformance_backend *b, size_t n);

#endif
