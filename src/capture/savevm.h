/* SPDX-License-Identifier: Apache-2.0 */
/*
 * savevm: save a machine by an internal snapshot of QEMU's, which is read out
 * of its image files while the guest runs again (docs/design/savevm.md).
 *
 * For machines that live.h cannot do: it needs no userfaultfd, and nothing but
 * disks that are qcow2 files which this process can read.  The guest stands
 * still while QEMU writes its RAM to the first of them that has room, which is
 * seconds to minutes, and nobody can end that once it has begun.  The backup is
 * the same as a live one in all that restoring looks at.  The snapshot is
 * deleted afterwards, by the guard if this process is killed; a user's own
 * snapshots are not touched.
 */
#ifndef CAPTURE_SAVEVM_H
#define CAPTURE_SAVEVM_H

#include "capture/live.h"

/* As capture_live; max_pause_ms and cbw_timeout_s mean nothing here. */
int capture_savevm(struct repo *r, const char *socket,
                   const struct capture_options *o, struct cancel *cancel,
                   struct capture_result *out, struct err *e);

#endif
