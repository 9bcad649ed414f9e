/* SPDX-License-Identifier: Apache-2.0 */
/* env: the environment.  Only to be used before there are threads. */
#ifndef CLI_ENV_H
#define CLI_ENV_H

/* Borrowed; NULL if it is not set, or empty. */
const char *env_get(const char *name);

/* Overwrite the variable's value, also as /proc shows it, and unset it. */
void env_wipe(const char *name);

#endif
