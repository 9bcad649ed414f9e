/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: disk images that no machine is running on, as a backup
 * (docs/design/import.md).
 *
 * The backup has disks and no memory, and knows no command line: a machine of
 * its name, without a type, stands in its manifest.
 */
#ifndef CAPTURE_IMPORT_H
#define CAPTURE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "work/progress.h"

struct cancel;
struct capture_result;
struct err;
struct repo;

enum { IMPORT_MAX_IMAGES = 64, IMPORT_MAX_NAME = 255 };

struct import_options {
    const char *name; /* of the machine */
    char *const *images;
    size_t n_images;
    bool surely_raw; /* whatever they look like */
    progress_fn *progress;
    void *progress_cookie;
};

/*
 * The disks are named after their files.  On success *out is to be freed with
 * capture_result_done.  ERR_USAGE for a name that can't be; rawsource.h says
 * which images are refused.
 */
int import_images(struct repo *r, const struct import_options *o,
                  struct cancel *cancel, struct capture_result *out,
                  struct err *e);

#endif
