/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statecheck: is a machine state whole?  Follows the stream through its
 * records (vmstate/decoder.h) and keeps nothing of it.
 */
#ifndef RESTORE_STATECHECK_H
#define RESTORE_STATECHECK_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct statecheck;

struct statecheck *statecheck_new(void);
void statecheck_free(struct statecheck *s); /* NULL is allowed */
void statecheck_freep(struct statecheck **s);

/* The next bytes.  ERR_CORRUPT if they are none that QEMU writes there. */
int statecheck_push(struct statecheck *s, const uint8_t *p, size_t len,
                    struct err *e);
/* There are no more.  ERR_CORRUPT if it is cut short. */
int statecheck_end(struct statecheck *s, struct err *e);

/* NULL; or why it could not be followed to its end, being of a kind that we do
 * not know: nothing is said about it then. */
const char *statecheck_unknown(const struct statecheck *s);

#endif
