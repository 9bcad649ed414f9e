/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files that make up copy.h share. */
#ifndef REPO_COPY_INTERNAL_H
#define REPO_COPY_INTERNAL_H

#include "repo/copy.h"

/* The id that a copy of the backup that was first made there has in `to`, in
 * hexadecimal: BACKUP_ID_LEN + 1 bytes. */
void copy_id(const struct repo *to, const struct manifest_origin *origin,
             char *out);

#endif
