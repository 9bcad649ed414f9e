/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "qemu/cmdline.h"
#include "qemu/disks.h"
#include "qemu/machine.h"

enum { STRINGS_MAX = 65536 }; /* of a command line, or reasons */

/* ---- writing ---------------------------------------------------------- */

/* Paths and arguments may be no UTF-8, which JSON cannot hold: {"hex": ...}
 * then; NULL is null. */
static json_t *
from_text(const char *s)
{
    if (!s)
        return json_null();
    json_t *j = json_string(s);
    if (j)
        return j;
    CLEANUP(freep) char *hex = xcalloc(strlen(s) * 2 + 1, 1);
    hex_encode(s, strlen(s), hex);
    return json_pack("{s:s}", "hex", hex);
}

static json_t *
from_texts(char *const *all)
{
    if (!all)
        return json_null();
    json_t *j = json_array();
    for (size_t i = 0; all[i]; i++)
        (void)json_array_append_new(j, from_text(all[i]));
    return j;
}

static void
put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static void
put_number(json_t *object, const char *key, uint64_t v)
{
    put(object, key, json_integer((json_int_t)v));
}

static json_t *
from_version(const struct qmp_version *v)
{
    json_t *j = json_object();

    put_number(j, "major", v->major);
    put_number(j, "minor", v->minor);
    put_number(j, "micro", v->micro);
    put(j, "package", from_text(v->package));
    return j;
}

static json_t *
from_disk(const struct disk *d)
{
    json_t *j = json_object();

    put(j, "name", from_text(d->name));
    put(j, "device", from_text(d->device));
    put(j, "qdev", from_text(d->qdev));
    put(j, "node", from_text(d->node));
    put(j, "format", from_text(d->format));
    put(j, "filename", from_text(d->filename));
    put_number(j, "size_bytes", d->size_bytes);
    put(j, "read_only", json_boolean(d->read_only));
    put(j, "removable", json_boolean(d->removable));
    return j;
}

json_t *
machine_to_json(const struct machine *m)
{
    json_t *j = json_object();
    json_t *disks = json_array();

    for (size_t i = 0; i < m->n_disks; i++)
        (void)json_array_append_new(disks, from_disk(&m->disks[i]));
    put(j, "name", from_text(m->name));
    put(j, "uuid", from_text(m->uuid));
    put(j, "socket", from_text(m->socket));
    put_number(j, "pid", (uint64_t)m->pid);
    put_number(j, "start_time", m->start_time);
    put(j, "version", from_version(&m->version));
    put(j, "type", from_text(m->type));
    put(j, "status", from_text(m->status));
    put(j, "running", json_boolean(m->running));
    put_number(j, "ram_bytes", m->ram_bytes);
    put(j, "argv", from_texts(m->argv));
    put(j, "cwd", from_text(m->cwd));
    put(j, "disks", disks);
    put(j, "blockers", from_texts(m->blockers));
    return j;
}

/* ---- reading ---------------------------------------------------------- */

static int
bad(const char *key, struct err *e)
{
    return err_set(e, ERR_CORRUPT,
                   "the description of a machine has no good \"%s\"", key);
}

/* A string written by from_text, or NULL if it is none. */
static char *
to_text(const json_t *j)
{
    const char *hex = json_string_value(json_object_get(j, "hex"));

    if (json_is_string(j))
        return xstrdup(json_string_value(j));
    if (!hex)
        return NULL;
    size_t len = strlen(hex) / 2;
    char *s = xcalloc(len + 1, 1);
    if (hex_decode(hex, s, len) && strlen(s) == len)
        return s;
    free(s);
    return NULL;
}

static int
get_text(const json_t *object, const char *key, char **out, struct err *e)
{
    *out = to_text(json_object_get(object, key));
    return *out ? 0 : bad(key, e);
}

static int
get_number(const json_t *object, const char *key, uint64_t max, uint64_t *out,
           struct err *e)
{
    const json_t *j = json_object_get(object, key);

    if (!json_is_integer(j) || json_integer_value(j) < 0 ||
        (uint64_t)json_integer_value(j) > max)
        return bad(key, e);
    *out = (uint64_t)json_integer_value(j);
    return 0;
}

static int
get_bool(const json_t *object, const char *key, bool *out, struct err *e)
{
    const json_t *j = json_object_get(object, key);

    if (!json_is_boolean(j))
        return bad(key, e);
    *out = json_is_true(j);
    return 0;
}

static int
get_texts(const json_t *object, const char *key, char ***out, struct err *e)
{
    const json_t *list = json_object_get(object, key), *item = NULL;
    size_t i = 0;

    if (!json_is_array(list) || json_array_size(list) > STRINGS_MAX)
        return bad(key, e);
    *out = xcalloc(json_array_size(list) + 1, sizeof(char *));
    json_array_foreach(list, i, item)
    {
        (*out)[i] = to_text(item);
        if (!(*out)[i])
            return bad(key, e);
    }
    return 0;
}

static int
get_version(const json_t *machine, struct qmp_version *out, struct err *e)
{
    const json_t *j = json_object_get(machine, "version");
    CLEANUP(freep) char *package = NULL;
    uint64_t major = 0, minor = 0, micro = 0;

    if (get_number(j, "major", INT32_MAX, &major, e) == -1 ||
        get_number(j, "minor", INT32_MAX, &minor, e) == -1 ||
        get_number(j, "micro", INT32_MAX, &micro, e) == -1 ||
        get_text(j, "package", &package, e) == -1)
        return -1;
    *out = (struct qmp_version){(unsigned)major, (unsigned)minor,
                                (unsigned)micro, ""};
    (void)snprintf(out->package, sizeof(out->package), "%s", package);
    return 0;
}

/* Files will be named after disks: their names are checked. */
static int
get_disk(const json_t *j, struct disk *d, struct err *e)
{
    if (get_text(j, "name", &d->name, e) == -1 ||
        get_text(j, "device", &d->device, e) == -1 ||
        get_text(j, "qdev", &d->qdev, e) == -1 ||
        get_text(j, "node", &d->node, e) == -1 ||
        get_text(j, "format", &d->format, e) == -1 ||
        get_text(j, "filename", &d->filename, e) == -1 ||
        get_number(j, "size_bytes", INT64_MAX, &d->size_bytes, e) == -1 ||
        get_bool(j, "read_only", &d->read_only, e) == -1 ||
        get_bool(j, "removable", &d->removable, e) == -1)
        return -1;
    return disk_name_is_fit(d->name) ? 0 : bad("name", e);
}

static int
get_disks(const json_t *machine, struct machine *m, struct err *e)
{
    const json_t *list = json_object_get(machine, "disks"), *item = NULL;
    size_t i = 0;

    if (!json_is_array(list) || json_array_size(list) > DISKS_MAX)
        return bad("disks", e);
    m->n_disks = json_array_size(list);
    m->disks = xcalloc(m->n_disks + 1, sizeof(*m->disks));
    json_array_foreach(list, i, item)
    {
        if (get_disk(item, &m->disks[i], e) == -1)
            return -1;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(m->disks[k].name, m->disks[i].name) == 0)
                return err_set(e, ERR_CORRUPT,
                               "two disks of a machine have one name");
        }
    }
    return 0;
}

/* What may be unknown is null, or 0. */
static int
get_process(const json_t *j, struct machine *m, struct err *e)
{
    uint64_t pid = 0;

    if (get_number(j, "pid", INT32_MAX, &pid, e) == -1 ||
        get_number(j, "start_time", INT64_MAX, &m->start_time, e) == -1)
        return -1;
    m->pid = (pid_t)pid;
    if (!json_is_null(json_object_get(j, "argv")) &&
        get_texts(j, "argv", &m->argv, e) == -1)
        return -1;
    if (!json_is_null(json_object_get(j, "cwd")) &&
        get_text(j, "cwd", &m->cwd, e) == -1)
        return -1;
    return 0;
}

int
machine_from_json(const json_t *j, struct machine **out, struct err *e)
{
    CLEANUP(machine_freep) struct machine *m = xcalloc(1, sizeof(*m));

    if (get_text(j, "name", &m->name, e) == -1 ||
        get_text(j, "uuid", &m->uuid, e) == -1 ||
        get_text(j, "socket", &m->socket, e) == -1 ||
        get_text(j, "type", &m->type, e) == -1 ||
        get_text(j, "status", &m->status, e) == -1 ||
        get_bool(j, "running", &m->running, e) == -1 ||
        get_number(j, "ram_bytes", INT64_MAX, &m->ram_bytes, e) == -1 ||
        get_version(j, &m->version, e) == -1 || get_process(j, m, e) == -1 ||
        get_disks(j, m, e) == -1 ||
        get_texts(j, "blockers", &m->blockers, e) == -1)
        return -1;
    CLEANUP(freep) char *uuid = cmdline_uuid(m->uuid);
    if (m->name[0] == '\0')
        return bad("name", e);
    if (m->uuid[0] && !uuid)
        return bad("uuid", e);
    *out = STEAL(m);
    return 0;
}
