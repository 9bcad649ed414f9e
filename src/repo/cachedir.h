/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cachedir: the folder in which a host keeps what it need not fetch, or could
 * not find out, again: CACHE/REPOSITORY, the repository's id in HEX.
 *
 * All of it may be lost, damaged or removed at any time, by anybody.
 *
 * Trust:     folders and files of other users, or that others may write to,
 *            are not used.
 */
#ifndef REPO_CACHEDIR_H
#define REPO_CACHEDIR_H

#include <stdbool.h>

struct keyring;
struct stat;

/* A descriptor of k's repository's folder in `dir`, which is made if it is
 * missing and `make` says so; -1 if there is none, or `dir` is NULL. */
int cachedir_open(const char *dir, const struct keyring *k, bool make);

/* Is it a file that only we can have written? */
bool cachedir_is_private(const struct stat *st);

#endif
