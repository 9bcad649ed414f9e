/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: save the disks of a machine as they are at one instant, without its
 * RAM (docs/design/disk-method.md).
 *
 * For machines with a device that QEMU cannot migrate.  The guest is paused for
 * milliseconds; if an agent in it can be reached, its file systems are frozen
 * at that instant, else the disks are as after a power cut.  Which of the two
 * it was is told by capture_result.consistency.
 */
#ifndef CAPTURE_DISK_H
#define CAPTURE_DISK_H

#include "capture/live.h"

/* Like capture_live, with o->agent and o->freeze_ms. */
int capture_disk(struct repo *r, const char *socket,
                 const struct capture_options *o, struct cancel *cancel,
                 struct capture_result *out, struct err *e);

#endif
