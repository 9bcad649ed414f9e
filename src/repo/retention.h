/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retention: which of a machine's backups a policy keeps.
 *
 * Pure arithmetic on times: those at which the storage took the backups, so
 * that no host's wrong clock makes backups look old.  Hours, days, weeks
 * (from Monday), months and years are those of UTC.
 */
#ifndef REPO_RETENTION_H
#define REPO_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "Daily n": the newest backup of each of the n latest days that have one. */
#define RETENTION_ALL UINT32_MAX

struct retention_policy {
    uint32_t last, hourly, daily, weekly, monthly,
        yearly; /* or RETENTION_ALL */
    /* Keep all that are at most so much older than the newest; 0: no such
     * rule.  Not than now: a machine that is backed up no more loses nothing,
     * and no clock of a host matters. */
    int64_t within_ns;
};

enum retention_reason {
    KEPT_LAST = 1 << 0,
    KEPT_HOURLY = 1 << 1,
    KEPT_DAILY = 1 << 2,
    KEPT_WEEKLY = 1 << 3,
    KEPT_MONTHLY = 1 << 4,
    KEPT_YEARLY = 1 << 5,
    KEPT_WITHIN = 1 << 6,
    KEPT_NEWEST = 1 << 7 /* of the machine: none goes without a backup */
};

/* Does it keep anything at all? */
bool retention_is_empty(const struct retention_policy *p);

/*
 * `times_ns` of one machine's backups, the newest first; out[i] is why the
 * i-th is kept (enum retention_reason), 0 if it isn't.
 */
void retention_apply(const struct retention_policy *p, const int64_t *times_ns,
                     size_t n, unsigned *out);

/* "daily", "last": for people; the reason is one bit. */
const char *retention_reason_name(enum retention_reason reason);

#endif
