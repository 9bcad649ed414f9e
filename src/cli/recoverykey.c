/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/recoverykey.h"

#include <string.h>

#include "cli/out.h"

enum { HALF = 4 * 9 - 1 /* four groups and the dashes between them */ };

void
recovery_key_print(struct out *o, const struct recovery_key *k)
{
    out_text(o,
             "\n"
             "Recovery key %.8s:\n"
             "\n"
             "    %.*s\n"
             "    %s\n"
             "\n"
             "It opens everything, wherever a password is asked for. Print it "
             "or write it\n"
             "down, all 64 characters, and keep the paper away from this "
             "host.\n",
             k->id, HALF, k->text, k->text + HALF + 1);
}

void
recovery_key_wipe(struct recovery_key *k)
{
    explicit_bzero(k, sizeof(*k));
}
