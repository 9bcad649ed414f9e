/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ending: was a stream cut short?  Looks at what its last bytes say.
 *
 * Device state does not say how long it is, so the only witness of a whole
 * stream is its end: EOF, VMDESCRIPTION, a length and as many bytes of JSON.
 * JSON has no NUL and the length has one, or else the EOF before it is one: the
 * last NUL of the stream shows where to look.  So a window of a few bytes
 * around the last NUL is enough, whatever the size.
 *
 * Source: QEMU migration/savevm.c (writer), scripts/analyze-migration.py (the
 * idea of searching from the end).
 */
#ifndef VMSTATE_ENDING_H
#define VMSTATE_ENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum {
    /* From the footer's type (type, id, EOF, VMDESCRIPTION, length) up to a
     * NUL as the last byte of the length. */
    ENDING_BEFORE = 10,
    /* From a NUL as EOF up to the brace. */
    ENDING_AFTER = 6
};

struct vmstate_ending {
    uint64_t total;  /* bytes seen */
    uint64_t nul_at; /* where the last NUL was */
    bool has_nul;
    size_t n_before, n_after;
    uint8_t before[ENDING_BEFORE]; /* of the last NUL, right-aligned */
    uint8_t after[ENDING_AFTER];
    uint8_t latest[ENDING_BEFORE]; /* of the stream, right-aligned */
};

/* Zeroed is empty. */
void vmstate_ending_add(struct vmstate_ending *g, const uint8_t *p, size_t len);

/* What a whole stream may end with. */
enum vmstate_ending_kind {
    ENDING_VMDESC, /* EOF and a description of just the length it says */
    ENDING_PLAIN,  /* or only EOF, as machines without a description do */
};

/* ERR_CORRUPT if it does not.  has_footers: a footer comes before EOF. */
int vmstate_ending_check(const struct vmstate_ending *g,
                         enum vmstate_ending_kind least, bool has_footers,
                         struct err *e);

#endif
