/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/copied.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static bool
image_is_empty(const struct copied *c)
{
    struct stat st;

    return fstat(c->fd, &st) == 0 && (uint64_t)st.st_size <= c->empty_bytes;
}

uint64_t
copied_next(const struct copied *c, uint64_t from, uint64_t to)
{
    if (!c->is_raw)
        return image_is_empty(c) ? to : from;
    off_t found = lseek(c->fd, (off_t)from, SEEK_DATA);
    if (found == -1)
        return errno == ENXIO ? to : from; /* else nobody knows */
    return u64_min(to, (uint64_t)found);
}

uint64_t
copied_end(const struct copied *c, uint64_t from, uint64_t to)
{
    off_t found = c->is_raw ? lseek(c->fd, (off_t)from, SEEK_HOLE) : -1;

    if (found == -1 || (uint64_t)found <= from)
        return to;
    return u64_min(to, (uint64_t)found);
}
