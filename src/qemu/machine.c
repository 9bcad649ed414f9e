/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/cmdline.h"
#include "qemu/disks.h"
#include "qemu/machine_pid.h"
#include "qemu/process.h"

static const char type_suffix[] = "-machine"; /* of its QOM type */

void
machine_free(struct machine *m)
{
    if (!m)
        return;
    free(m->name);
    free(m->uuid);
    free(m->socket);
    free(m->type);
    free(m->status);
    process_argv_free(m->argv);
    free(m->cwd);
    disks_free(m->disks, m->n_disks);
    for (size_t i = 0; m->blockers && m->blockers[i]; i++)
        free(m->blockers[i]);
    free(m->blockers);
    free(m);
}

void
machine_freep(struct machine **m)
{
    machine_free(*m);
}

/* ---- its process ------------------------------------------------------ */

static void
read_process(struct machine *m, struct qmp *q, const char *name)
{
    m->pid = machine_pid(q, m->socket, name, m->uuid);
    if (m->pid == 0)
        return;
    m->start_time = process_start_time(m->pid);
    m->argv = process_argv(m->pid);
    m->cwd = process_cwd(m->pid);
}

/* ---- what QEMU says --------------------------------------------------- */

/* The string member `key` of a command's reply, "" if it has none. */
static int
ask_string(struct qmp *q, const char *command, const char *key, char **out,
           struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, command, NULL, &reply, e) == -1)
        return -1;
    const char *s = json_string_value(json_object_get(reply, key));
    *out = xstrdup(s ? s : "");
    return 0;
}

static int
ask_names(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *raw = NULL;

    if (ask_string(q, "query-name", "name", &name, e) == -1 ||
        ask_string(q, "query-uuid", "UUID", &raw, e) == -1)
        return -1;
    char *uuid = cmdline_uuid(raw);
    m->uuid = uuid ? uuid : xstrdup("");
    read_process(m, q, name);
    if (name[0])
        m->name = STEAL(name);
    else if (uuid)
        m->name = xstrdup(uuid);
    else
        m->name = xasprintf("qemu-%d", (int)m->pid);
    return 0;
}

static int
ask_state(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "query-status", NULL, &reply, e) == -1)
        return -1;
    const char *status = json_string_value(json_object_get(reply, "status"));
    m->running = json_is_true(json_object_get(reply, "running"));
    m->status = xstrdup(status ? status : "");
    if (!m->status[0])
        return err_set(e, ERR_QEMU, "query-status: QEMU tells no status");
    return 0;
}

static int
ask_type(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    json_t *args =
        json_pack("{s:s, s:s}", "path", "/machine", "property", "type");

    if (qmp_run(q, "qom-get", args, &reply, e) == -1)
        return -1;
    const char *type = json_string_value(reply);
    if (!type || !type[0])
        return err_set(e, ERR_QEMU, "qom-get: QEMU tells no machine type");
    size_t len = strlen(type);
    if (text_ends(type, type_suffix))
        len -= strlen(type_suffix);
    m->type = xstrndup(type, len);
    return 0;
}

static int
ask_ram(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "query-memory-size-summary", NULL, &reply, e) == -1)
        return -1;
    const json_t *field = json_object_get(reply, "base-memory");
    json_int_t base = json_is_integer(field) ? json_integer_value(field) : -1;
    json_int_t plugged = /* absent where RAM cannot be plugged */
        json_integer_value(json_object_get(reply, "plugged-memory"));
    if (base < 0 || plugged < 0 || base > INT64_MAX - plugged)
        return err_set(e, ERR_QEMU,
                       "query-memory-size-summary: not a size of RAM");
    m->ram_bytes = (uint64_t)(base + plugged);
    return 0;
}

static int
ask_blockers(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    const json_t *reason = NULL;
    size_t i = 0, n = 0;

    if (qmp_run(q, "query-migrate", NULL, &reply, e) == -1)
        return -1;
    const json_t *reasons = json_object_get(reply, "blocked-reasons");
    m->blockers = xcalloc(json_array_size(reasons) + 1, sizeof(char *));
    json_array_foreach(reasons, i, reason)
    {
        const char *text = json_string_value(reason);
        m->blockers[n++] = xstrdup(text ? text : "for a reason it keeps");
    }
    return 0;
}

static int
ask_disks(struct qmp *q, struct machine *m, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "query-block", NULL, &reply, e) == -1)
        return -1;
    return disks_read(reply, &m->disks, &m->n_disks, e);
}

int
machine_describe(struct qmp *q, const char *socket, struct machine **out,
                 struct err *e)
{
    CLEANUP(machine_freep) struct machine *m = xcalloc(1, sizeof(*m));

    m->socket = xstrdup(socket);
    m->version = *qmp_version(q);
    if (ask_names(q, m, e) == -1 || ask_state(q, m, e) == -1 ||
        ask_type(q, m, e) == -1 || ask_ram(q, m, e) == -1 ||
        ask_blockers(q, m, e) == -1 || ask_disks(q, m, e) == -1)
        return -1;
    *out = STEAL(m);
    return 0;
}
