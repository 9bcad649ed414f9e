/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../folder.h"
#include "base/err.h"
#include "base/mem.h"
#include "conformance.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

static struct store *
mem_make(void **own)
{
    (void)own;
    return store_mem_new(NULL);
}

static void
mem_destroy(struct store *st, void *own)
{
    (void)own;
    store_close(st);
}

static struct store *
dir_make_store(void **own)
{
    struct store *st = NULL;
    struct err e = {0};

    *own = folder_new();
    if (store_create(*own, &st, &e) == -1)
        fail_msg("%s", e.msg);
    return st;
}

static struct store *
dir_reopen(struct store *st, void *own)
{
    struct store *again = NULL;
    struct err e = {0};

    store_close(st);
    if (store_open(own, &again, &e) == -1)
        fail_msg("%s", e.msg);
    return again;
}

static void
dir_destroy(struct store *st, void *own)
{
    store_close(st);
    folder_free(own);
}

static struct store *
fault_make(void **own)
{
    *own = store_mem_new(NULL);
    return store_fault_new(*own);
}

static struct store *
fault_reopen(struct store *st, void *own)
{
    store_close(st);
    return store_fault_new(own);
}

static void
fault_destroy(struct store *st, void *own)
{
    store_close(st);
    store_close(own);
}

int
main(void)
{
    static const struct conformance_backend backends[] = {
        {.name = "mem", .make = mem_make, .destroy = mem_destroy},
        {.name = "dir",
         .make = dir_make_store,
         .reopen = dir_reopen,
         .destroy = dir_destroy},
        {.name = "fault",
         .make = fault_make,
         .reopen = fault_reopen,
         .destroy = fault_destroy},
    };

    return conformance_run(backends, ARRAY_LEN(backends));
}
