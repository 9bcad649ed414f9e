/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/saved.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "capture/live.h"
#include "cli/print.h"
#include "repo/manifest.h"

/* How it was read, if that is known. */
static void
add_reading(json_t *j, const struct capture_result *r, const char *name)
{
    for (size_t i = 0; i < r->n_disks; i++) {
        const struct capture_disk *d = &r->disks[i];
        if (d->excluded || strcmp(d->name, name) != 0)
            continue;
        (void)json_object_set_new(
            j, "read", json_string(d->why_full ? "full" : "changed"));
        (void)json_object_set_new(j, "read_bytes",
                                  json_integer((json_int_t)d->read_bytes));
        if (d->why_full)
            (void)json_object_set_new(j, "reason", json_string(d->why_full));
    }
}

static json_t *
disks_json(const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    static const char prefix[] = "disk/";
    json_t *disks = json_array();

    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct manifest_volume *v = &m->volumes[i];
        if (!text_starts(v->name, prefix))
            continue;
        const char *name = v->name + strlen(prefix);
        json_t *j = json_pack("{s:o, s:I}", "name", print_json(name),
                              "size_bytes", (json_int_t)v->root.size_bytes);
        add_reading(j, r, name);
        (void)json_array_append_new(disks, j);
    }
    for (size_t i = 0; i < r->n_disks; i++) {
        const struct capture_disk *d = &r->disks[i];
        if (d->excluded)
            (void)json_array_append_new(
                disks, json_pack("{s:o, s:I, s:s}", "name", print_json(d->name),
                                 "size_bytes", (json_int_t)d->size_bytes,
                                 "read", "excluded"));
    }
    return disks;
}

static json_t *
pause_json(const struct capture_pause *p)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:[f, f]}", "stop_ms",
                     (double)p->stop_us / 1e3, "arm_ms",
                     (double)p->arm_us / 1e3, "ram_ms", (double)p->ram_us / 1e3,
                     "populate_ms", (double)p->populate_us / 1e3, "protect_ms",
                     (double)p->protect_us / 1e3, "expected_ms",
                     (double)p->least_us / 1e3, (double)p->most_us / 1e3);
}

json_t *
saved_json(const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    json_t *warnings = json_array();
    char time[CLOCK_TEXT_LEN];

    clock_format_utc(m->time_ns, time);
    for (size_t i = 0; i < r->n_warnings; i++)
        (void)json_array_append_new(warnings, print_json(r->warnings[i]));
    return json_pack(
        "{s:s, s:o, s:o, s:s, s:s*, s:s, s:f, s:f, s:o, s:I, s:I, s:I, s:f, "
        "s:f, s:f, s:o, s:o}",
        "backup_id", m->id, "machine", print_json(m->machine), "uuid",
        print_json(m->uuid), "method", m->method, "consistency", r->consistency,
        "time", time, "frozen_ms", (double)r->frozen_us / 1e3, "pause_ms",
        (double)r->pause.total_us / 1e3, "pause", pause_json(&r->pause),
        "read_bytes", (json_int_t)m->read_bytes, "new_bytes",
        (json_int_t)m->new_bytes, "stored_bytes", (json_int_t)m->stored_bytes,
        "seconds", (double)r->duration_ns / 1e9, "disks_seconds",
        (double)r->disks_ns / 1e9, "memory_seconds", (double)r->memory_ns / 1e9,
        "disks", disks_json(r), "warnings", warnings);
}
