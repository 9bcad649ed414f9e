/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect: the structures of a repository (docs/format/) as JSON, for people
 * who look for a fault or learn the format.  No keys, no capabilities, no data.
 */
#ifndef REPO_INSPECT_H
#define REPO_INSPECT_H

#include <jansson.h>
#include <stdint.h>

struct err;
struct repo;

enum { INSPECT_MAX_ENTRIES = 1 << 20 };

json_t *inspect_config(struct repo *r);

/* `name` is an object's name in the store, or the start of the hexadecimal part
 * of it that is unique: of a pack's SHA-256, of the ID of a segment or ref.
 * ERR_NOENT, ERR_USAGE if it is not unique, ERR_CORRUPT. */
int inspect_pack(struct repo *r, const char *name, json_t **out, struct err *e);
int inspect_segment(struct repo *r, const char *name, json_t **out,
                    struct err *e);
int inspect_ref(struct repo *r, const char *name, json_t **out, struct err *e);

/* By the start of its id: where the indexes say it is, and if it is a node what
 * maintenance sees of it.  `id` has all 32 digits. */
int inspect_object(struct repo *r, const char *id, json_t **out, struct err *e);

/* The nodes and leaves of a volume of a backup (as backup_find takes it). */
int inspect_tree(struct repo *r, const char *backup, const char *volume,
                 json_t **out, struct err *e);

#endif
