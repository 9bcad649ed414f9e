/* SPDX-License-Identifier: Apache-2.0 */
/*
 * undo: take everything of a capture out of a guest again.
 *
 * The one way out, whoever takes it: the worker at the end of every run, good
 * or bad, the guard when the worker is gone, reconcile.h when both are.  It
 * looks at what is there and so may be called at any moment, and again.
 */
#ifndef CAPTURE_UNDO_H
#define CAPTURE_UNDO_H

#include <stdbool.h>

struct err;
struct intent;
struct qmp;

/*
 * A capture by an internal snapshot (in->snapshot): see snapshot_remove.  Any
 * other: resume the guest if it ran before and in->window_open, and thaw it;
 * end our migration (somebody must be draining its stream); remove our exports,
 * NBD server, bitmaps, filters, nodes and descriptors; set the capabilities
 * back. 0 if the guest is as it was.  What cannot be done is reported after all
 * the rest was tried.
 */
int undo(struct qmp *q, const struct intent *in, struct err *e);

/* The same, but the tracking bitmaps of the record stay: the backup may yet be
 * published. */
int undo_but_tracking(struct qmp *q, const struct intent *in, struct err *e);

/* Does this QEMU leave RAM write-protected when the stream ends badly (6.0 to
 * 8.0)? */
bool undo_cancel_freezes(const struct qmp *q);

/* Set the migration capabilities back. */
int undo_capabilities(struct qmp *q, const struct intent *in, struct err *e);

/* Make the guest run again if we stopped it: the first and most urgent part. */
int undo_pause(struct qmp *q, const struct intent *in, struct err *e);

#endif
