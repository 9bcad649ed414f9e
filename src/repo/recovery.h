/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recovery: a key that is written down on paper: 32 random bytes as 64 letters
 * and digits, in 8 groups of 8 (docs/format/keys.md, "Recovery keys").
 *
 *   7H2K90QX-...
 *
 * The alphabet is Crockford's base 32: no I, L, O, U, and whoever types I or L
 * means 1, O means 0; case, blanks and dashes do not count.  The last character
 * of each group checks the group and its place, so that an error is found where
 * it was made; a checksum over all is within.
 */
#ifndef REPO_RECOVERY_H
#define REPO_RECOVERY_H

#include <stddef.h>
#include <stdint.h>

enum {
    RECOVERY_BYTES = 32,
    RECOVERY_GROUPS = 8,
    RECOVERY_TEXT_LEN = 9 * RECOVERY_GROUPS /* with dashes and the NUL */
};

void recovery_format(const uint8_t code[RECOVERY_BYTES],
                     char out[RECOVERY_TEXT_LEN]);

/*
 * 1 and the code; 0 if the text is none.  Then *bad_group (may be NULL) is the
 * first group that was written wrongly, from 1, if the text is so like a
 * recovery key that it must be meant as one, else 0.
 */
int recovery_parse(const char *text, uint8_t out[RECOVERY_BYTES],
                   unsigned *bad_group);

#endif
