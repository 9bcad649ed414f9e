/* SPDX-License-Identifier: Apache-2.0 */
/*
 * viewsource: a snapshot's disk and machine state, as a qcow2 view shows them,
 * into a backup.
 *
 * Holes and zeros are not read.
 */
#ifndef CAPTURE_VIEWSOURCE_H
#define CAPTURE_VIEWSOURCE_H

#include <stdbool.h>
#include <stdint.h>

struct cancel;
struct err;
struct qcow2_view;
struct ramspool;
struct volume_writer;

/* Called now and then with how far it is. */
typedef void viewsource_progress_fn(void *cookie, uint64_t offset);

/* All of the disk.  `backed`: unallocated parts are not zeros but read from
 * below. */
int viewsource_copy_disk(struct qcow2_view *view, bool backed,
                         struct volume_writer *v, viewsource_progress_fn *fn,
                         void *cookie, struct cancel *cancel, struct err *e);

/*
 * The blocks in which the disk as `older` shows it differs from what `newer`
 * shows, two views of one image and of the same size, into a volume that was
 * begun on what `older` shows.  Of both, only the clusters are read that are
 * not the same place of the file.  For images without a backing file.
 */
int viewsource_copy_changes(struct qcow2_view *older, struct qcow2_view *newer,
                            struct volume_writer *v, viewsource_progress_fn *fn,
                            void *cookie, struct cancel *cancel, struct err *e);

/* All of the machine state, taken apart, into the spool, which is finished and
 * open for reading then. */
int viewsource_copy_state(struct qcow2_view *view, struct ramspool *spool,
                          viewsource_progress_fn *fn, void *cookie,
                          struct cancel *cancel, struct err *e);

#endif
