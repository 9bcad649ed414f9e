/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/survey_view.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "capture/ability.h"
#include "capture/intent.h"
#include "cli/print.h"
#include "cli/survey.h"
#include "qemu/machine.h"

static json_t *
disk_json(const struct disk *d, const struct ability *a)
{
    const struct ability_disk *next = survey_reading(a, d);
    json_t *j = json_pack("{s:o, s:o, s:o, s:I, s:b, s:b}", "name",
                          print_json(d->name), "format", print_json(d->format),
                          "filename", print_json(d->filename), "size_bytes",
                          (json_int_t)d->size_bytes, "read_only",
                          (int)d->read_only, "removable", (int)d->removable);

    if (next)
        (void)json_object_set_new(
            j, "next_read", json_string(next->why_full ? "full" : "changed"));
    if (next && next->why_full)
        (void)json_object_set_new(j, "reason", json_string(next->why_full));
    return j;
}

static json_t *
disks_json(const struct survey_row *r)
{
    json_t *disks = json_array();

    for (size_t i = 0; i < r->machine->n_disks; i++)
        (void)json_array_append_new(
            disks, disk_json(&r->machine->disks[i], r->ability));
    return disks;
}

static json_t *
methods_json(const struct ability *a)
{
    json_t *methods = json_array();

    for (size_t i = 0; i < ABILITY_METHODS; i++) {
        const struct ability_method *m = &a->methods[i];
        json_t *j =
            json_pack("{s:s, s:b}", "name", m->name, "able", !m->why_not);
        if (m->why_not)
            (void)json_object_set_new(j, "reason", print_json(m->why_not));
        if (!m->why_not && strcmp(m->name, "live") == 0)
            (void)json_object_set_new(j, "expected_pause_ms",
                                      json_pack("[f, f]",
                                                (double)a->least_us / 1e3,
                                                (double)a->most_us / 1e3));
        (void)json_array_append_new(methods, j);
    }
    return methods;
}

static void
add_ability(json_t *j, const struct ability *a)
{
    (void)json_object_set_new(j, "method",
                              a->best ? json_string(a->best) : json_null());
    (void)json_object_set_new(j, "methods", methods_json(a));
    if (a->tracking_error)
        (void)json_object_set_new(j, "tracking_error",
                                  print_json(a->tracking_error));
}

static void
add_described(json_t *j, const struct survey_row *r)
{
    const struct machine *m = r->machine;
    CLEANUP(freep)
    char *version = xasprintf("%u.%u.%u", m->version.major, m->version.minor,
                              m->version.micro);
    json_t *blockers = json_array();

    for (size_t i = 0; m->blockers[i]; i++)
        (void)json_array_append_new(blockers, print_json(m->blockers[i]));
    (void)json_object_update_new(
        j, json_pack("{s:o, s:o, s:o, s:i, s:o, s:I, s:o, s:s, s:o, s:o, s:o}",
                     "name", print_json(m->name), "uuid", print_json(m->uuid),
                     "socket", print_json(m->socket), "pid", (int)m->pid,
                     "status", print_json(m->status), "ram_bytes",
                     (json_int_t)m->ram_bytes, "type", print_json(m->type),
                     "qemu", version, "package", print_json(m->version.package),
                     "live_blockers", blockers, "disks", disks_json(r)));
    if (r->ability)
        add_ability(j, r->ability);
}

static json_t *
last_json(const struct survey_last *last)
{
    char time[CLOCK_TEXT_LEN];

    if (!last->method)
        return json_null();
    clock_format_utc(last->time_ns, time);
    return json_pack("{s:s, s:s, s:o}", "backup_id", last->id, "time", time,
                     "method", print_json(last->method));
}

json_t *
survey_json(const struct survey_row *r, bool with_repo)
{
    json_t *j =
        json_pack("{s:o, s:o, s:i, s:b}", "name", print_json(r->found->name),
                  "uuid", print_json(r->found->uuid), "pid", (int)r->found->pid,
                  "reachable", r->machine != NULL);

    (void)json_object_set_new(j, "backup_pid",
                              r->backup ? json_integer(r->backup->worker)
                                        : json_null());
    if (with_repo)
        (void)json_object_set_new(j, "last_backup", last_json(&r->last));
    if (r->machine) {
        add_described(j, r);
        return j;
    }
    if (r->backup) /* and its monitor is in use for that */
        return j;
    CLEANUP(buf_done) struct buf fix = buf_of(SURVEY_FIX_MAX_BYTES);
    survey_print_fix(r, &fix);
    (void)json_object_set_new(j, "problem", print_json(r->why.msg));
    (void)json_object_set_new(j, "fix", print_json(buf_text(&fix)));
    return j;
}
