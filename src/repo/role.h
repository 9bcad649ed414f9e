/* SPDX-License-Identifier: Apache-2.0 */
/*
 * role: which keys somebody needs for what he does (docs/design/keys.md).
 *
 *   admin         everything; makes keys for the others
 *   restore       opens backups, all or those of one namespace
 *   host          writes the backups of one namespace, and reads them if it is
 *                 told so
 *   maintenance   forgets, collects garbage, checks structure; opens nothing
 *   recovery      everything, opened by a code on paper
 */
#ifndef REPO_ROLE_H
#define REPO_ROLE_H

#include <stdbool.h>

enum role {
    ROLE_OF_ADMIN = 1,
    ROLE_OF_RESTORE = 2,
    ROLE_OF_HOST = 3,
    ROLE_OF_MAINTENANCE = 4,
    ROLE_OF_RECOVERY = 5
};

/* "admin"; "unknown" for a number that is none. */
const char *role_name(unsigned role);
bool role_parse(const char *name, enum role *out);

/* The keys (enum keyring_has) of a role.  `confined`: of a restore role to one
 * namespace; of a host: it may also read its own. */
unsigned role_keys(enum role role, bool confined);

#endif
