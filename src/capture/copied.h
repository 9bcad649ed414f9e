/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copied: which parts of a disk have been copied to its scratch file, because
 * the guest has overwritten them since the instant.
 *
 * QEMU 7.2 says of such a part what it is now, when asked whether there are
 * zeros from there on into one that was not copied: a part that the guest has
 * discarded or zeroed looks as if it had been a hole all the time
 * (docs/design/versions.md).  But QEMU writes the copy before it lets the guest
 * write.  So of a hole, if it is looked for here after it was reported, all is
 * found that is none.
 */
#ifndef CAPTURE_COPIED_H
#define CAPTURE_COPIED_H

#include <stdbool.h>
#include <stdint.h>

struct copied {
    int fd;      /* of the scratch file; borrowed */
    bool is_raw; /* else an image, in which nobody but QEMU finds its way */
    uint64_t empty_bytes; /* length of that image when nothing was in it */
};

/* The first place in [from, to) that has been copied, or may have been; `to` if
 * there is none.  A copy of zeros may count as none. */
uint64_t copied_next(const struct copied *c, uint64_t from, uint64_t to);

/* The end, at most `to`, of what has been copied from `from` on. */
uint64_t copied_end(const struct copied *c, uint64_t from, uint64_t to);

#endif
