/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/disks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

enum { SUFFIX_MAX = 8 }; /* "-2" and so on, up to DISKS_MAX */

static const char peripheral[] = "/machine/peripheral/";

void
disks_free(struct disk *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(d[i].name);
        free(d[i].device);
        free(d[i].qdev);
        free(d[i].node);
        free(d[i].format);
        free(d[i].filename);
    }
    free(d);
}

static bool
is_fit(char c)
{
    return isalnum((unsigned char)c) || strchr("._-", c);
}

bool
disk_name_is_fit(const char *name)
{
    for (const char *c = name; *c; c++) {
        if (!is_fit(*c))
            return false;
    }
    return isalnum((unsigned char)name[0]) &&
           strlen(name) <= DISK_NAME_MAX + SUFFIX_MAX;
}

/* `text` made fit for a file name, or NULL if nothing is left of it. */
static char *
fit(const char *text, size_t len)
{
    while (len > 0 && !isalnum((unsigned char)*text)) {
        text++;
        len--;
    }
    if (len == 0)
        return NULL;
    char *name = xstrndup(text, len < DISK_NAME_MAX ? len : DISK_NAME_MAX);
    for (char *c = name; *c; c++) {
        if (!is_fit(*c))
            *c = '-';
    }
    return name;
}

/* The name that its owner gave it: of the device, the drive or the node. */
static char *
given_name(const struct disk *d)
{
    char *name = NULL;

    if (text_starts(d->qdev, peripheral)) {
        const char *id = d->qdev + strlen(peripheral);
        name = fit(id, strcspn(id, "/"));
    }
    if (!name)
        name = fit(d->device, strlen(d->device));
    if (!name && d->node[0] != '#') /* that is how QEMU makes up names */
        name = fit(d->node, strlen(d->node));
    return name;
}

static bool
is_taken(const struct disk *all, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0)
            return true;
    }
    return false;
}

/* A name for all[n] that none before it has. */
static char *
unique_name(const struct disk *all, size_t n)
{
    CLEANUP(freep) char *given = given_name(&all[n]);
    char *name = given ? xstrdup(given) : xasprintf("disk%zu", n);

    for (size_t k = 2; is_taken(all, n, name); k++) {
        free(name);
        name = xasprintf("%s-%zu", given ? given : "disk", k);
    }
    return name;
}

static const char *
string_or(const json_t *object, const char *key, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : otherwise;
}

char *
disk_qdev_path(const char *qdev)
{
    if (qdev[0] == '/' || qdev[0] == '\0')
        return xstrdup(qdev);
    return xasprintf("%s%s", peripheral, qdev);
}

/* An image below, or a data file, can be changed by what does not see the
 * bitmap.  Without flushes the mark "in use" may not be on the disk when the
 * host dies, but data that was written after it. */
static bool
keeps_bitmaps(const json_t *inserted, const json_t *image)
{
    const json_t *specific =
        json_object_get(json_object_get(image, "format-specific"), "data");
    const json_t *cache = json_object_get(inserted, "cache");
    const json_t *depth = json_object_get(inserted, "backing_file_depth");

    return strcmp(string_or(inserted, "drv", ""), "qcow2") == 0 &&
           strcmp(string_or(specific, "compat", ""), "1.1") == 0 &&
           !json_object_get(specific, "data-file") &&
           !json_object_get(image, "backing-filename") &&
           json_is_integer(depth) && json_integer_value(depth) == 0 &&
           json_is_false(json_object_get(cache, "no-flush"));
}

static int
read_one(const json_t *block, const json_t *inserted, struct disk *d,
         struct err *e)
{
    const json_t *image = json_object_get(inserted, "image");
    const json_t *size = json_object_get(image, "virtual-size");

    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return err_set(e, ERR_QEMU, "query-block: a medium without a size");
    d->device = xstrdup(string_or(block, "device", ""));
    d->qdev = disk_qdev_path(string_or(block, "qdev", ""));
    d->node = xstrdup(string_or(inserted, "node-name", ""));
    d->format = xstrdup(string_or(inserted, "drv", ""));
    d->filename = xstrdup(string_or(inserted, "file", ""));
    d->size_bytes = (uint64_t)json_integer_value(size);
    d->read_only = json_is_true(json_object_get(inserted, "ro"));
    d->removable = json_is_true(json_object_get(block, "removable"));
    d->keeps_bitmaps = keeps_bitmaps(inserted, image);
    if (!d->node[0] || !d->format[0])
        return err_set(e, ERR_QEMU, "query-block: a medium without a node");
    return 0;
}

int
disks_read(const json_t *blocks, struct disk **out, size_t *out_n,
           struct err *e)
{
    size_t room = json_array_size(blocks), n = 0, i = 0;
    const json_t *block = NULL;

    if (!json_is_array(blocks))
        return err_set(e, ERR_QEMU, "query-block: the reply is no list");
    if (room > DISKS_MAX)
        return err_set(e, ERR_LIMIT, "%zu block devices, the limit is %d", room,
                       DISKS_MAX);
    struct disk *all = xcalloc(room + 1, sizeof(*all));
    json_array_foreach(blocks, i, block)
    {
        const json_t *inserted = json_object_get(block, "inserted");
        if (!inserted)
            continue;
        if (read_one(block, inserted, &all[n], e) == -1) {
            disks_free(all, n + 1);
            return -1;
        }
        all[n].name = unique_name(all, n);
        n++;
    }
    *out = all;
    *out_n = n;
    return 0;
}
