/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/endmark.h"

#include <assert.h>
#include <jansson.h>

#include "base/err.h"
#include "base/mem.h"
#include "qemu/bitmaps.h"
#include "qemu/qmp.h"

enum { SECTOR_BYTES = 512 };

uint64_t
endmark_offset(uint64_t disk_bytes, uint64_t grain_bytes)
{
    assert(disk_bytes > 0);
    return (disk_bytes - 1) / grain_bytes * grain_bytes;
}

/* What goes wrong QEMU tells its own standard output: then there is no mark,
 * and the next backup sees that.  (-q: what goes well it does not tell.) */
static int
write_end(struct qmp *q, const char *label, uint64_t offset, struct err *e)
{
    CLEANUP(freep)
    char *line = xasprintf("qemu-io %s \"write -q %llu %d\"", label,
                           (unsigned long long)offset, SECTOR_BYTES);
    CLEANUP(freep) char *said = NULL;

    return qmp_human(q, line, &said, e);
}

static int
mark(struct qmp *q, const char *node, const char *name, uint64_t disk_bytes,
     uint64_t grain_bytes, const char *label, struct err *e)
{
    uint64_t offset = endmark_offset(disk_bytes, grain_bytes);

    if (bitmap_add(q, label, label, grain_bytes, e) == -1 ||
        bitmap_enable(q, label, label, e) == -1 ||
        write_end(q, label, offset, e) == -1)
        return -1;
    return bitmap_merge(q, node, name, label, label, e);
}

int
endmark_set(struct qmp *q, const char *node, const char *name,
            uint64_t disk_bytes, uint64_t grain_bytes, const char *label,
            struct err *e)
{
    struct err later = {0};

    if (qmp_run(q, "blockdev-add",
                json_pack("{s:s, s:s, s:I}", "driver", "null-co", "node-name",
                          label, "size", (json_int_t)disk_bytes),
                NULL, e) == -1)
        return -1;
    int rc = mark(q, node, name, disk_bytes, grain_bytes, label, e);
    if (qmp_run(q, "blockdev-del", json_pack("{s:s}", "node-name", label), NULL,
                rc == 0 ? e : &later) == -1)
        rc = -1;
    return rc;
}
