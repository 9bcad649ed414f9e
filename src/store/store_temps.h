/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_temps: what processes that died left in a local store's tmp/.
 *
 * A file there is published or removed by the process that made it.  One that
 * nobody has written to for STORE_TEMPS_AGE_S, by the storage's clock, has lost
 * its process; should that only have been stopped, its store_put fails.
 */
#ifndef STORE_STORE_TEMPS_H
#define STORE_STORE_TEMPS_H

struct err;
struct place;

enum { STORE_TEMPS_AGE_S = 24 * 3600 };

/* Remove them.  Links are not followed, folders are left alone. */
int store_temps_sweep(struct place *p, struct err *e);

#endif
