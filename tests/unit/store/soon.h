/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORE_SOON_H
#define TESTS_STORE_SOON_H

#include <poll.h>

#include "work/cancel.h"

/* A thread that raises a cancel once what it is to cut short is under way. */
static inline void
raise_soon(void *arg)
{
    (void)poll(NULL, 0, 300);
    cancel_raise(arg);
}

#endif
