/* SPDX-License-Identifier: Apache-2.0 */
/* check: what the tests of this room share: cmocka, and looking at errors. */
#ifndef TEST_QEMU_CHECK_H
#define TEST_QEMU_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/err.h"

/* The call failed with this code and a message that holds `part`. */
#define assert_fails(call, err, wanted, part)                          \
    do {                                                               \
        err_clear(err);                                                \
        assert_int_equal(call, -1);                                    \
        if ((err)->code != (wanted) || !strstr((err)->msg, part)) {    \
            print_error("got %s: %s\n", err_code_name((err)->code),    \
                        (err)->msg);                                   \
            fail_msg("wanted %s: ...%s", err_code_name(wanted), part); \
        }                                                              \
        err_clear(err);                                                \
    } while (0)

#define assert_works(call, err)                                         \
    do {                                                                \
        if ((call) == -1)                                               \
            fail_msg("%s: %s", err_code_name((err)->code), (err)->msg); \
    } while (0)

/* The address of a socket with a short path. */
static inline struct sockaddr_un
address_of(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    assert_in_range(strlen(path), 1, sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, strlen(path));
    return at;
}

#endif
