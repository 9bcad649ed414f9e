/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imagesource: a qcow2 image, as it is now or as a snapshot in it keeps it,
 * into a backup: its disk, and the machine state that the snapshot has.
 *
 * A snapshot may be read while a QEMU has the image open, the active state not
 * (docs/design/savevm.md): then it is refused.
 *
 * Trust:  the image is hostile; no name in it is ever opened (qcow2/layers.h).
 * Errors: those of qcow2/reader.h and layers.h, and ERR_QEMU if a QEMU has the
 *         image open for writing.
 */
#ifndef CAPTURE_IMAGESOURCE_H
#define CAPTURE_IMAGESOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "capture/viewsource.h"

struct err;
struct imagesource;
struct qcow2_layer_files;
struct qcow2_snapshot;

enum { IMAGESOURCE_MAX_WARNINGS = 4 };

/*
 * `snapshot`: its name, else its id; NULL: the active state.  The lists of
 * `files` may be for more images: *out_backing, *out_data say how many of them
 * this one took.  All tables are walked, so that what is missing is known now.
 */
int imagesource_open(const struct qcow2_layer_files *files,
                     const char *snapshot, struct imagesource **out,
                     size_t *out_backing, size_t *out_data, struct err *e);
void imagesource_close(struct imagesource *s); /* NULL is allowed */
void imagesource_closep(struct imagesource **s);

uint64_t imagesource_size_bytes(const struct imagesource *s);
uint64_t imagesource_state_bytes(const struct imagesource *s); /* 0: none */
/* NULL: the active state. */
const struct qcow2_snapshot *imagesource_snapshot(const struct imagesource *s);
/* What is odd about it, or NULL behind the last one; borrowed. */
const char *imagesource_warning(const struct imagesource *s, size_t i);

int imagesource_copy_disk(struct imagesource *s, struct volume_writer *v,
                          viewsource_progress_fn *fn, void *cookie,
                          struct cancel *cancel, struct err *e);
int imagesource_copy_state(struct imagesource *s, struct ramspool *spool,
                           viewsource_progress_fn *fn, void *cookie,
                           struct cancel *cancel, struct err *e);

/* Is what was read still valid: is the snapshot there, has nobody written to
 * what must not change? */
int imagesource_recheck(struct imagesource *s, struct err *e);

#endif
