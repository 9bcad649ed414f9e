/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rescue: wake a guest that QEMU 6.0 to 8.0 left frozen.
 *
 * When a background-snapshot ends badly there, its RAM stays write-protected
 * and nobody answers the faults.  The protection is lifted from outside,
 * through a copy of QEMU's own userfaultfd.  Needs to be allowed to ptrace
 * QEMU.
 *
 * Source: ioctl_userfaultfd(2), pidfd_getfd(2), proc(5) VmFlags "uw".
 */
#ifndef CAPTURE_RESCUE_H
#define CAPTURE_RESCUE_H

#include <sys/types.h>

struct err;

/* The number of memory areas freed, 0 if nothing is protected, or -1. */
int rescue(pid_t qemu, struct err *e);

/* The same of a QEMU that is still at it: it will not notice, and goes on with
 * a stream that is worth nothing any more. */
int rescue_lift(pid_t qemu, struct err *e);

#endif
