/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forget: backups are retired: by a policy, or by name.
 *
 * A retired backup is in no listing and never "the latest"; by its id it can
 * be restored until maintenance removes it, the grace time of the config
 * later.  What happened when is said by the storage's clock.
 */
#ifndef REPO_FORGET_H
#define REPO_FORGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/manifest.h"
#include "repo/name.h"
#include "repo/retention.h"

struct cancel;
struct err;
struct repo;

struct forget_item {
    struct ref_name ref;
    char id[BACKUP_ID_LEN + 1];
    char *machine;     /* owned: its name */
    char *uuid;        /* owned: or "" */
    int64_t stored_ns; /* by the storage's clock */
    unsigned reasons;  /* to keep it (enum retention_reason); 0: retire it */
};

struct forget_plan {
    struct forget_item *items; /* owned; by machine, the newest first */
    size_t n, room;
};

void forget_plan_done(struct forget_plan *p);

/*
 * What the policy says of all backups, or of those of these machines (names
 * or UUIDs).  ERR_USAGE if it would keep nothing; ERR_NOENT for a machine
 * that has none; ERR_CORRUPT if there are backups that can't be read: they
 * could be the ones to keep; ERR_STORE if one is from the future.  *out is to
 * be forget_plan_done in any case.
 */
int forget_by_policy(struct repo *r, const struct retention_policy *policy,
                     const char *const *machines, size_t n_machines,
                     struct forget_plan *out, struct err *e);

/* These backups, as backup_find names them. */
int forget_by_name(struct repo *r, const char *const *names, size_t n_names,
                   struct forget_plan *out, struct err *e);

/* Retire those of the plan that are not kept.  ERR_KEY without the
 * maintenance key.  *out_n: how many were. */
int forget_carry_out(struct repo *r, const struct forget_plan *p,
                     struct cancel *cancel, size_t *out_n, struct err *e);

#endif
