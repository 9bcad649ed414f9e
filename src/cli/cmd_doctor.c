/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/checked.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "repo/doctor.h"
#include "repo/keys.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/role.h"
#include "work/cancel.h"

#define NS_PER_S INT64_C(1000000000)
#define SKEW_MAX_NS (60 * NS_PER_S)
#define SPACE_LOW_BYTES (UINT64_C(1) << 30)

enum { SPACE_LOW_PERCENT = 5, MACHINES_MAX = 4096 };

enum verdict { FINE, NOTE, WARNING, BAD };

static const char *const verdicts[] = {"ok", "-", "warning", "bad"};

/* The newest backup of a machine. */
struct last {
    char *machine, *uuid; /* owned */
    int64_t time_ns;
    char id[BACKUP_ID_LEN + 1];
};

struct report {
    struct cli *cli;
    struct table *table;
    json_t *checks;
    enum verdict worst;
    struct last *machines; /* owned */
    size_t n;
    uint64_t backups, sealed;
    struct checked checked;
};

static void
report_done(struct report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->machines[i].machine);
        free(r->machines[i].uuid);
    }
    free(r->machines);
    table_free(r->table);
    json_decref(r->checks);
}

__attribute__((format(printf, 4, 5))) static void
say(struct report *r, const char *check, enum verdict v, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) == -1)
        abort(); /* out of memory, as xasprintf does */
    va_end(ap);
    table_cell(r->table, check);
    table_cell(r->table, verdicts[v]);
    table_cell(r->table, text);
    (void)json_array_append_new(
        r->checks,
        json_pack("{s:s, s:s, s:o}", "check", check, "result",
                  v == NOTE ? "note" : verdicts[v], "text", print_json(text)));
    if (v > r->worst)
        r->worst = v;
}

static double
ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* ---- the storage ----------------------------------------------------- */

static void
say_writing(struct report *r, const struct doctor_result *d)
{
    say(r, "write", d->keeps ? FINE : BAD,
        d->keeps ? "a small object took %.1f ms to store"
                 : "what was stored in %.1f ms came back as something else",
        ms(d->put_ns));
    say(r, "read", FINE, "%.1f ms to read it, %.1f ms to ask for it",
        ms(d->get_ns), ms(d->stat_ns));
    say(r, "names", d->is_exclusive ? FINE : BAD,
        d->is_exclusive
            ? "an object cannot be replaced by another of its name"
            : "an object was replaced by another of its name: several hosts "
              "must not write here");
    if (d->is_listed)
        say(r, "listing", FINE, "new objects are listed, after %.1f ms",
            ms(d->listed_after_ns));
    else
        say(r, "listing", WARNING,
            "an object was not listed %.1f s after it was stored",
            (double)d->listed_after_ns / 1e9);
}

static void
say_clock(struct report *r, const struct doctor_result *d)
{
    double ahead = (double)d->ahead_ns / 1e9, by = (double)d->ahead_by_ns / 1e9;
    bool is_far = d->ahead_ns > SKEW_MAX_NS || d->ahead_ns < -SKEW_MAX_NS;

    say(r, "clock", is_far ? WARNING : FINE,
        "the storage's clock is %.0f s %s this host's, give or take %.0f%s",
        ahead < 0 ? -ahead : ahead, ahead < 0 ? "behind" : "ahead of", by,
        is_far ? ": set the one that is wrong" : "");
}

static bool
keeps_history(const struct store_traits *t)
{
    return t->versioned == STORE_YES || t->locked == STORE_YES;
}

static void
say_deleting(struct report *r, const struct doctor_result *d, unsigned role)
{
    bool cleans = role == ROLE_OF_ADMIN || role == ROLE_OF_RECOVERY ||
                  role == ROLE_OF_MAINTENANCE;

    if (d->may_write && !d->removed && d->refused.code == ERR_DENIED &&
        d->overwrites == STORE_YES && !keeps_history(&d->traits))
        say(r, "delete", cleans ? NOTE : WARNING,
            "the storage lets this host remove nothing, but write over "
            "objects: whoever takes it over can destroy backups that way; let "
            "the storage keep old versions, or take the files away from its "
            "account");
    else if (d->may_write && !d->removed && d->refused.code == ERR_DENIED)
        say(r, "delete", FINE, "the storage lets this host remove nothing%s",
            cleans ? ": `vmkeep prune` must run elsewhere" : "");
    else if (d->may_write && !d->removed)
        say(r, "delete", WARNING, "removing an object failed: %s",
            d->refused.msg);
    else if (d->may_write && keeps_history(&d->traits))
        say(r, "delete", FINE,
            "this host can remove objects; the bucket keeps what was removed");
    else if (d->may_write)
        say(r, "delete", cleans ? NOTE : WARNING,
            "this host can remove objects, so whoever takes it over can "
            "delete all backups%s",
            cleans ? "; `vmkeep prune` needs that"
                   : ": take that right from its account");
    else
        say(r, "delete", NOTE,
            "not tried: this key may not write, but its account may be able "
            "to delete");
    if (d->traits.versioned != STORE_UNKNOWN)
        say(r, "versions", NOTE,
            d->traits.versioned == STORE_YES
                ? "the bucket keeps old versions"
                : "the bucket keeps no old versions");
    if (d->traits.locked != STORE_UNKNOWN)
        say(r, "lock", NOTE,
            d->traits.locked == STORE_YES ? "the bucket has an object lock"
                                          : "the bucket has no object lock");
}

static void
say_place(struct report *r, const struct store_traits *t)
{
    char free_text[TEXT_SIZE_LEN], all[TEXT_SIZE_LEN];

    if (t->has_space) {
        bool low = t->free_bytes < SPACE_LOW_BYTES ||
                   t->free_bytes < t->total_bytes / 100 * SPACE_LOW_PERCENT;
        text_size(t->free_bytes, free_text);
        text_size(t->total_bytes, all);
        say(r, "space", low ? WARNING : FINE, "%s of %s are free", free_text,
            all);
    }
    if (t->syncs_files == STORE_NO)
        say(r, "durable", WARNING,
            "the server does not say when files are on its disk: a power cut "
            "there may cost the newest backups");
    else if (t->syncs_files == STORE_YES && t->syncs_folders == STORE_UNKNOWN)
        say(r, "durable", FINE,
            "files are synced; for folders the protocol has no word");
    if (t->syncs_folders != STORE_UNKNOWN)
        say(r, "durable", t->syncs_folders == STORE_YES ? FINE : NOTE,
            t->syncs_folders == STORE_YES
                ? "files and folders are synced"
                : "files are synced; folders of this file system cannot be");
}

/* ---- the repository -------------------------------------------------- */

static struct last *
last_of(struct report *r, const struct manifest *m)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->machines[i].machine, m->machine) == 0 &&
            strcmp(r->machines[i].uuid, m->uuid) == 0)
            return &r->machines[i];
    if (r->n == MACHINES_MAX)
        return NULL;
    r->machines = xrealloc(r->machines, (r->n + 1) * sizeof(r->machines[0]));
    r->machines[r->n] =
        (struct last){.machine = xstrdup(m->machine), .uuid = xstrdup(m->uuid)};
    return &r->machines[r->n++];
}

/* A backup_list_fn. */
static int
note_backup(void *cookie, const struct manifest *m, struct err *e)
{
    struct report *r = cookie;

    (void)e;
    r->backups++;
    if (m->sealed) {
        r->sealed++;
        return 0;
    }
    struct last *last = last_of(r, m);
    if (last) { /* they come by time */
        last->time_ns = m->time_ns;
        memcpy(last->id, m->id, sizeof(last->id));
    }
    return 0;
}

/* "2026-11-22 11:00:00 (3.5 h ago)" */
static char *
when(int64_t time_ns)
{
    char text[CLOCK_TEXT_LEN];
    int64_t ago = 0;

    clock_format_local(time_ns, text);
    if (__builtin_sub_overflow(clock_wall_ns(), time_ns, &ago) || ago < 0)
        return xstrdup(text);
    double hours = (double)ago / 3600e9;
    return hours < 48 ? xasprintf("%s (%.1f h ago)", text, hours)
                      : xasprintf("%s (%.0f days ago)", text, hours / 24);
}

static void
say_checked(struct report *r)
{
    static const char *const how[] = {"check", "check --read-data"};

    for (size_t i = 0; i < CHECKED_KINDS; i++) {
        const char *name = i == CHECKED_DATA ? "last full check" : "last check";
        if (r->checked.last[i].time_ns == 0) {
            say(r, name, NOTE,
                "none on this host that it knows of: `vmkeep %s`", how[i]);
            continue;
        }
        CLEANUP(freep) char *time = when(r->checked.last[i].time_ns);
        say(r, name, r->checked.last[i].faults > 0 ? WARNING : NOTE,
            "%s on this host, %llu faults", time,
            (unsigned long long)r->checked.last[i].faults);
    }
}

static json_t *
checked_json(const struct checked *c, enum checked_what what)
{
    char time[CLOCK_TEXT_LEN];

    if (c->last[what].time_ns == 0)
        return json_null();
    clock_format_utc(c->last[what].time_ns, time);
    return json_pack("{s:s, s:I}", "time", time, "faults",
                     (json_int_t)c->last[what].faults);
}

static void
say_history(struct report *r, const struct doctor_result *d)
{
    say(r, "backups", NOTE, "%llu%s, of %zu machines",
        (unsigned long long)r->backups,
        r->sealed > 0 ? ", some that this key does not open" : "", r->n);
    for (size_t i = 0; i < r->n; i++) {
        CLEANUP(freep) char *time = when(r->machines[i].time_ns);
        CLEANUP(freep) char *name = print_fit(r->machines[i].machine);
        say(r, "last backup", NOTE, "%s: %s", name, time);
    }
    if (d->last_writer_ns) {
        CLEANUP(freep) char *time = when(d->last_writer_ns);
        say(r, "other hosts", NOTE, "another key last wrote %s", time);
    }
    if (d->maintained_ns) {
        CLEANUP(freep) char *time = when(d->maintained_ns);
        say(r, "prune", NOTE, "last %s", time);
    } else {
        say(r, "prune", NOTE, "there is no trace of one");
    }
}

static json_t *
machines_json(const struct report *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->n; i++) {
        char time[CLOCK_TEXT_LEN];
        clock_format_utc(r->machines[i].time_ns, time);
        (void)json_array_append_new(
            list, json_pack("{s:o, s:o, s:s, s:s}", "machine",
                            print_json(r->machines[i].machine), "uuid",
                            print_json(r->machines[i].uuid), "backup_id",
                            r->machines[i].id, "time", time));
    }
    return list;
}

static json_t *
known_json(enum store_known k)
{
    return k == STORE_UNKNOWN ? json_null() : json_boolean(k == STORE_YES);
}

static json_t *
to_json(struct report *r, const struct session *s,
        const struct doctor_result *d)
{
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:O, s:o}", "result",
        r->worst == NOTE ? "ok" : verdicts[r->worst], "repository_id",
        repo_id(s->repo), "role", role_name(repo_role(s->repo)), "version",
        VMKEEP_VERSION, "may_write", (int)d->may_write, "can_delete",
        d->may_write ? json_boolean(d->removed) : json_null(), "versioned",
        known_json(d->traits.versioned), "locked", known_json(d->traits.locked),
        "checks", r->checks, "machines", machines_json(r));

    if (d->may_write)
        (void)json_object_update_new(
            j, json_pack("{s:f, s:f, s:f, s:f, s:b, s:f}", "put_ms",
                         ms(d->put_ns), "get_ms", ms(d->get_ns), "stat_ms",
                         ms(d->stat_ns), "list_ms", ms(d->list_ns), "exclusive",
                         (int)d->is_exclusive, "clock_ahead_s",
                         (double)d->ahead_ns / 1e9));
    (void)json_object_update_new(
        j,
        json_pack("{s:o, s:o, s:o, s:o}", "can_overwrite",
                  known_json(d->overwrites), "syncs_files",
                  known_json(d->traits.syncs_files), "last_check",
                  checked_json(&r->checked, CHECKED_STRUCTURE),
                  "last_full_check", checked_json(&r->checked, CHECKED_DATA)));
    if (d->traits.has_space)
        (void)json_object_set_new(
            j, "free_bytes", json_integer((json_int_t)d->traits.free_bytes));
    return j;
}

static const struct column columns[] = {{.title = "CHECK"},
                                        {.title = "RESULT"},
                                        {.title = "WHAT", .shrinks = true}};

static int
look(struct report *r, struct session *s, struct doctor_result *d,
     struct err *e)
{
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct err damage = {0};

    session_arm(s, cancel);
    int rc = doctor_look(s->repo, cancel, d, e);
    if (rc == 0 && backup_list(s->repo, note_backup, r, &damage) == -1 &&
        damage.code != ERR_CORRUPT) {
        *e = damage;
        rc = -1;
    }
    rc = session_disarm(s, cancel, rc, e);
    if (rc == 0 && damage.code != ERR_OK)
        say(r, "backups", WARNING, "%s; `vmkeep check` says more", damage.msg);
    return rc;
}

static int
run_doctor(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(report_done)
    struct report r = {.cli = c,
                       .table = table_new(columns, ARRAY_LEN(columns)),
                       .checks = json_array()};
    struct doctor_result d = {0};

    if (session_open(c, &s, e) == -1)
        return -1;
    unsigned role = repo_role(s.repo);
    say(&r, "repository", FINE, "%.8s, opened by a key of role %s",
        repo_id(s.repo), role_name(role));
    if (look(&r, &s, &d, e) == -1)
        return -1;
    CLEANUP(freep) char *cache = session_cache();
    checked_read(cache, repo_id(s.repo), &r.checked);
    if (d.may_write) {
        say_writing(&r, &d);
        say_clock(&r, &d);
    }
    say_deleting(&r, &d, role);
    say_place(&r, &d.traits);
    say_history(&r, &d);
    say_checked(&r);
    if (c->out.json)
        out_document(&c->out, to_json(&r, &s, &d));
    else
        out_table(&c->out, r.table);
    return r.worst == BAD       ? OUTCOME_FAILED
           : r.worst == WARNING ? OUTCOME_PARTLY
                                : OUTCOME_DONE;
}

static const struct option_spec options[] = {{NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep doctor", "is this repository fit to be used from this host?"},
    {"vmkeep doctor --json | jq .can_delete",
     "could somebody who took this host over delete the backups?"},
    {NULL, NULL}};

const struct command cmd_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "try what this host can do at the repository's storage",
    .text =
        "Stores a small object, reads it, tries to replace it, waits until it "
        "is listed, compares the storage's clock, and tries to remove it: a "
        "host that can remove an object could delete all backups. It is one of "
        "the markers that every backup leaves, no part of any history; where "
        "it cannot be removed, `vmkeep prune` does it with those. Whether the "
        "storage would let it write over objects is tried with the marker (S3) "
        "or by opening an old file. Of a bucket also whether it keeps old "
        "versions or has an object lock, of a folder how much space is left, "
        "and whether the server syncs files.\n\n"
        "Then the newest backup of each machine, when another host and "
        "maintenance were last there, and when this host last ran `vmkeep "
        "check` to its end (the cache has a note of it; other hosts' checks "
        "are not known here). The exit code is 3 if something is a "
        "warning, 1 if the storage is not fit to hold a repository.",
    .options = options,
    .examples = examples,
    .max_operands = 0,
    .run = run_doctor};
