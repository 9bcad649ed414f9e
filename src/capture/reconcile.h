/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reconcile: put guests right that a killed vmkeep left in the middle.
 *
 * Each capture keeps an intent record in the runtime folder while it has
 * anything in a guest.  A record that nobody holds any more is carried out:
 * the guest resumes if it was running, and nothing of ours stays in it.  To be
 * called at the start of every command that deals with machines.
 */
#ifndef CAPTURE_RECONCILE_H
#define CAPTURE_RECONCILE_H

struct err;

/* Called for each record: what was found and done, in words for a person. */
typedef void reconcile_fn(void *cookie, const char *machine, const char *what);

/* 0 also if there was nothing to do; -1 if a guest could not be put right (the
 * others have been tried all the same). */
int reconcile(reconcile_fn *fn, void *cookie, struct err *e);

#endif
