/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blockgraph: a picture of all that a backup could leave behind in QEMU, to be
 * compared with one from before.
 *
 * It holds, by name and without what changes by itself (counters, allocated
 * sizes, tray and lock states, the outcome of the last migration):
 *
 *   nodes         driver, image, read-only, backing file, cache, limits and
 *                 internal snapshots of each block node
 *   edges         "PARENT --file--> CHILD" with the permissions taken and
 *                 shared, for each pair of nodes, devices and jobs
 *   backends      the root node and the size of each device's medium
 *   bitmaps       granularity and flags of each dirty bitmap, as NODE/BITMAP
 *   jobs, exports, fdsets, objects
 *   status        the run state
 *   capabilities, parameters    of migration
 *
 * QEMU does not tell whether its NBD server runs, nor which descriptors a
 * monitor was given by getfd: those are not in the picture.
 *
 * Source: QMP query-named-block-nodes, x-debug-query-block-graph (an unstable
 * command: its part stays empty where QEMU lacks it), query-block, query-jobs,
 * query-block-exports, query-fdsets, qom-list, query-status,
 * query-migrate-capabilities, query-migrate-parameters.
 */
#ifndef QEMU_BLOCKGRAPH_H
#define QEMU_BLOCKGRAPH_H

#include <jansson.h>

#include "qemu/qmp.h"

struct err;

enum { BLOCKGRAPH_DIFF_LINES = 1000 };

/* *out is the caller's. */
int blockgraph_snapshot(struct qmp *q, json_t **out, struct err *e);

/*
 * What differs, a line each, fit to print, at most BLOCKGRAPH_DIFF_LINES:
 *
 *   + nodes / scratch = {...}               is there now, and was not
 *   - jobs / backup = "backup"              was there, and is not now
 *   ~ status = "running", was "paused"
 *
 * "" if nothing does.  The caller frees it.  Both pictures stay as they are.
 */
char *blockgraph_diff(json_t *before, json_t *after);

#endif
