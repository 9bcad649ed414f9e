/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/faults.h"

#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/out.h"
#include "cli/print.h"
#include "repo/checker.h"

enum { LINE_MAX_BYTES = 16 << 10 };

static void
add(json_t *j, const char *key, const char *text)
{
    if (*text)
        (void)json_object_set_new(j, key, print_json(text));
}

static void
add_time(json_t *j, const char *key, int64_t time_ns)
{
    char time[CLOCK_TEXT_LEN];

    clock_format_utc(time_ns, time);
    (void)json_object_set_new(j, key, json_string(time));
}

static void
print_as_json(struct out *o, const struct check_fault *f)
{
    json_t *j = json_pack("{s:s}", "what", check_what_name(f->what));

    add(j, "name", f->name);
    add(j, "object", f->object);
    add(j, "backup", f->backup);
    add(j, "machine", f->machine);
    add(j, "volume", f->volume);
    if (f->what == CHECK_EXTENT) {
        (void)json_object_set_new(j, "offset_bytes",
                                  json_integer((json_int_t)f->offset));
        (void)json_object_set_new(j, "length_bytes",
                                  json_integer((json_int_t)f->len));
    }
    if (f->what == CHECK_VANISHED) {
        add_time(j, "time", f->time_ns);
        add_time(j, "last_seen", f->seen_ns);
    }
    add(j, "message", f->why);
    out_line(o, f->is_note ? "note" : "fault", j);
}

static void
print_backup(struct buf *b, const struct check_fault *f)
{
    buf_printf(b, "backup %.8s", f->backup);
    if (*f->machine) {
        CLEANUP(freep) char *fit = print_fit(f->machine);
        buf_printf(b, " of %s", fit);
    }
}

static void
print_vanished(struct buf *b, const struct check_fault *f)
{
    char time[CLOCK_TEXT_LEN], seen[CLOCK_TEXT_LEN];

    clock_format_local(f->time_ns, time);
    clock_format_local(f->seen_ns, seen);
    print_backup(b, f);
    buf_printf(b, " as of %s, %s, last seen %s", time, f->name, seen);
}

static void
print_extent(struct buf *b, const struct check_fault *f)
{
    char size[TEXT_SIZE_LEN];

    text_size(f->len, size);
    print_backup(b, f);
    CLEANUP(freep) char *volume = print_fit(f->volume);
    buf_printf(b, ", %s, bytes %llu to %llu (%s)", volume,
               (unsigned long long)f->offset,
               (unsigned long long)(f->offset + f->len - 1), size);
}

void
faults_print(struct out *o, const struct check_fault *f)
{
    CLEANUP(buf_done) struct buf b = buf_of(LINE_MAX_BYTES);

    if (o->json) {
        print_as_json(o, f);
        return;
    }
    if (f->what == CHECK_EXTENT)
        print_extent(&b, f);
    else if (f->what == CHECK_VANISHED)
        print_vanished(&b, f);
    else
        buf_printf(&b, "%s", f->name);
    if (*f->object && f->what != CHECK_EXTENT)
        buf_printf(&b, ", object %s", f->object);
    CLEANUP(freep) char *why = print_fit(f->why);
    out_text(o, "%s%s: %s: %s\n", f->is_note ? "note: " : "",
             check_what_name(f->what), buf_text(&b), why);
}

json_t *
faults_result(const struct check_result *r)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"faults", r->faults},
        {"notes", r->notes},
        {"backups", r->backups},
        {"damaged_backups", r->backups_damaged},
        {"vanished_backups", r->vanished},
        {"closed_backups", r->backups_closed},
        {"lost_bytes", r->lost_bytes},
        {"index_segments", r->segments},
        {"packs", r->packs},
        {"pack_bytes", r->pack_bytes},
        {"objects", r->objects},
        {"nodes", r->nodes},
        {"read_packs", r->read_packs},
        {"read_bytes", r->read_bytes},
        {"opened_objects", r->opened_objects},
        {"quarantined", r->quarantined},
        {"leftover_packs", r->leftover_packs},
    };
    json_t *j = json_object();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        (void)json_object_set_new(j, rows[i].key,
                                  json_integer((json_int_t)rows[i].value));
    return j;
}
