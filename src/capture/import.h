/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: disk images that no machine is running on, as a backup
 * (docs/design/import.md).
 *
 * The backup knows no command line: a machine of its name, without a type,
 * stands in its manifest.  It has the disks; and the memory, if a snapshot of
 * qcow2 images is imported that has a machine state.
 */
#ifndef CAPTURE_IMPORT_H
#define CAPTURE_IMPORT_H

#include <stddef.h>

#include "work/progress.h"

struct cancel;
struct capture_result;
struct err;
struct repo;

enum { IMPORT_MAX_IMAGES = 64, IMPORT_MAX_NAME = 255 };

enum import_format {
    IMPORT_PROBED, /* qcow2 if a file begins so, else raw */
    IMPORT_RAW,    /* whatever they look like */
    IMPORT_QCOW2
};

struct import_options {
    const char *name; /* of the machine */
    char *const *images;
    size_t n_images;
    enum import_format format;
    const char *snapshot; /* which of the images' own; NULL: what they hold
                             now */
    /* See qcow2/layers.h; for all images, in their order. */
    const char *const *backing, *const *data_files;
    size_t n_backing, n_data_files;
    const char *backing_format;
    const char *scratch_dir; /* local, for memory on its way; NULL: /var/tmp */
    progress_fn *progress;
    void *progress_cookie;
};

/*
 * The disks are named after their files.  On success *out is to be freed with
 * capture_result_done; the manifest's detail says of each image, in "images",
 * what it was taken for.  ERR_USAGE for a name that can't be, and for snapshots
 * of different instants that would make one machine; rawsource.h and
 * imagesource.h say which images are refused.
 */
int import_images(struct repo *r, const struct import_options *o,
                  struct cancel *cancel, struct capture_result *out,
                  struct err *e);

#endif
