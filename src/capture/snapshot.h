/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: QEMU's internal snapshots of a machine: have one made, and have it
 * deleted.
 *
 * QEMU stops the guest while it writes the RAM, answers nobody meanwhile, and
 * resumes the guest itself, whatever happens.  With the commands snapshot-save
 * and snapshot-delete (QEMU 6.0) the disks are named; before, the human
 * monitor's savevm and delvm take all that are there.
 *
 * Source: QEMU qapi/migration.json, migration/savevm.c (save_snapshot).
 * Errors: ERR_QEMU with what QEMU said.
 */
#ifndef CAPTURE_SNAPSHOT_H
#define CAPTURE_SNAPSHOT_H

#include <stddef.h>

struct err;
struct intent;
struct qmp;

/* QEMU may write, or delete, RAM of a large machine on a slow disk: longer is
 * taken for a hang (half an hour). */
enum { SNAPSHOT_PATIENCE_MS = 1800000 };

/* One called in->snapshot, of all disks of the record; the machine state goes
 * to number vmstate_disk of them. */
int snapshot_take(struct qmp *q, const struct intent *in, size_t vmstate_disk,
                  struct err *e);

/*
 * Wait for jobs of the record's run to end and forget them, and delete the
 * snapshot in->snapshot wherever it is; no other one is ever touched.  May be
 * called at any moment after snapshot_take has begun, and again: 0 also if
 * there is none.  A guest that QEMU has left stopped in the midst of saving is
 * resumed.
 */
int snapshot_remove(struct qmp *q, const struct intent *in, struct err *e);

/* Delete all snapshots, of disks alone, whose names begin with `prefix` but not
 * with `keep` (NULL: no exception).  What fails is reported after all the rest
 * was tried. */
int snapshot_purge(struct qmp *q, const char *prefix, const char *keep,
                   struct err *e);

#endif
