/* SPDX-License-Identifier: Apache-2.0 */
/* store_folders: the folders that a listing has still to look into, each "" or
 * "a/b/". */
#ifndef STORE_STORE_FOLDERS_H
#define STORE_STORE_FOLDERS_H

#include <stddef.h>

struct folders {
    char **names; /* owned; names[n - 1] may be taken, with n-- */
    size_t n, room;
};

void folders_add(struct folders *f, const char *name);
void folders_done(struct folders *f); /* for CLEANUP */

#endif
