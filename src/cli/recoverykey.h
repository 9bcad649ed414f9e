/* SPDX-License-Identifier: Apache-2.0 */
/* recoverykey: a recovery key, as it is shown to people. */
#ifndef CLI_RECOVERYKEY_H
#define CLI_RECOVERYKEY_H

#include "repo/keys.h"

struct out;

struct recovery_key {
    char text[RECOVERY_TEXT_LEN];
    char id[KEY_ID_LEN + 1];
};

/* On stdout, for paper. */
void recovery_key_print(struct out *o, const struct recovery_key *k);
void recovery_key_wipe(struct recovery_key *k); /* for CLEANUP */

#endif
