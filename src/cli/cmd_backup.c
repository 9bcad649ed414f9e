/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/disk.h"
#include "capture/intent.h"
#include "capture/live.h"
#include "capture/savevm.h"
#include "capture/underway.h"
#include "cli/backup_all.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/target.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "work/cancel.h"

enum { MAX_PAUSE_MS = 3600000, MAX_STALL_S = 3600 };

typedef int capture_fn(struct repo *r, const char *socket,
                       const struct capture_options *o, struct cancel *cancel,
                       struct capture_result *out, struct err *e);

/* The best first. */
static const struct method {
    const char *name;
    capture_fn *capture;
} methods[] = {
    {"live", capture_live}, {"savevm", capture_savevm}, {"disk", capture_disk}};

/* The machines to save, and how it went. */
struct batch {
    struct cli *cli;
    struct session session;
    struct cancel *cancel;
    const struct method *method;
    char *agent;          /* absolute path, or NULL */
    const char **exclude; /* borrowed names, NULL-terminated */
    struct capture_options options;
    unsigned parallel;
    bool single; /* one machine is meant */
    int outcome; /* the worst so far */
};

/* Is the word in the list "savevm,disk"? */
static bool
allows(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || !at[len]))
            return true;
    return false;
}

/* ---- what came out ----------------------------------------------------- */

/* Without memory it matters what the disks are like. */
static const char *
disks_are(const struct capture_result *r)
{
    if (strcmp(r->consistency, CAPTURE_FROZEN) == 0)
        return "  no memory; the file systems on the disks are clean: the "
               "guest agent had frozen them\n";
    if (strcmp(r->consistency, CAPTURE_CRASH) == 0)
        return "  no memory; the disks are as after a power cut "
               "(crash-consistent)\n";
    return "";
}

static void
print_result(struct cli *c, const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    const struct capture_pause *p = &r->pause;
    double seconds = (double)r->duration_ns / 1e9;
    char read[TEXT_SIZE_LEN], new[TEXT_SIZE_LEN], stored[TEXT_SIZE_LEN],
        rate[TEXT_SIZE_LEN], time[CLOCK_TEXT_LEN];

    text_size(m->read_bytes, read);
    text_size(m->new_bytes, new);
    text_size(m->stored_bytes, stored);
    text_size((uint64_t)((double)m->read_bytes / (seconds + 1e-9)), rate);
    clock_format_local(m->time_ns, time);
    CLEANUP(freep) char *name = print_fit(m->machine);
    out_text(
        &c->out,
        "saved %s as of %s: backup %.8s (%s)\n"
        "  pause %.1f ms: stop %.1f, disks %.1f, memory %.1f (populate %.1f, "
        "protect %.1f)\n"
        "%s"
        "  read %s, new %s, stored %s, in %.1f s (%s/s)\n",
        name, time, m->id, m->method, (double)p->total_us / 1e3,
        (double)p->stop_us / 1e3, (double)p->arm_us / 1e3,
        (double)p->ram_us / 1e3, (double)p->populate_us / 1e3,
        (double)p->protect_us / 1e3, disks_are(r), read, new, stored, seconds,
        rate);
}

static void
print_disk(struct cli *c, const struct capture_disk *d)
{
    CLEANUP(freep) char *name = print_fit(d->name);
    char read[TEXT_SIZE_LEN];

    text_size(d->read_bytes, read);
    if (d->excluded)
        out_text(&c->out, "  disk %s: left out\n", name);
    else if (d->why_full)
        out_text(&c->out, "  disk %s: read all of it, %s: %s\n", name, read,
                 d->why_full);
    else
        out_text(&c->out, "  disk %s: read what has changed, %s\n", name, read);
}

/* `why`: the method is another than was asked for; or NULL. */
static void
report(struct batch *b, const struct capture_result *r, const char *why)
{
    struct cli *c = b->cli;
    json_t *j = c->out.json ? saved_json(r) : NULL;

    if (j && why)
        (void)json_object_set_new(j, "fallback", print_json(why));
    if (why)
        out_note(&c->out,
                 "%s: saved by the method %s, which --allow permits: "
                 "%s",
                 r->manifest->machine, r->manifest->method, why);

    if (!c->out.json)
        print_result(c, r);
    for (size_t i = 0; !c->out.json && i < r->n_disks; i++)
        print_disk(c, &r->disks[i]);
    if (j)
        out_line(&c->out, "summary", j);
    for (size_t i = 0; i < r->n_warnings; i++)
        out_warning(&c->out, "%s: %s", r->manifest->machine, r->warnings[i]);
}

/* ---- one machine ------------------------------------------------------------
 */

/* The next method that the user allows, or NULL. */
static const struct method *
next_method(const struct batch *b, const struct method *after)
{
    const char *allowed = args_value(&b->cli->args, "allow");

    for (const struct method *m = after + 1;
         allowed && m < methods + ARRAY_LEN(methods); m++)
        if (allows(allowed, m->name))
            return m;
    return NULL;
}

/* By the method asked for, else by the next one that is allowed.  *out_why is
 * then why not by the first, to be freed. */
static int
capture(struct batch *b, const char *socket,
        const struct capture_options *options, struct capture_result *out,
        char **out_why, struct err *e)
{
    const struct method *m = b->method;

    for (;;) {
        if (m->capture(b->session.repo, socket, options, b->cancel, out, e) ==
            0)
            return 0;
        if (e->code != ERR_UNSUP)
            return -1;
        const struct method *next = next_method(b, m);
        if (!next) {
            e->code = ERR_QEMU; /* the machine's fault, not ours */
            return -1;
        }
        if (!*out_why)
            *out_why = xstrdup(e->msg);
        err_clear(e);
        m = next;
    }
}

static int
save(struct batch *b, const char *name, const char *socket, struct err *e)
{
    struct capture_result result = {0};
    struct meter *meter = meter_start(b->cli, name);
    struct capture_options options = b->options;
    CLEANUP(freep) char *why = NULL;

    options.progress = meter_progress;
    options.progress_cookie = meter;
    session_arm(&b->session, b->cancel);
    int r = capture(b, socket, &options, &result, &why, e);
    r = session_disarm(&b->session, b->cancel, r, e);
    meter_stop(meter);
    if (r == -1)
        return -1;
    if (result.n_warnings > 0)
        b->outcome = OUTCOME_PARTLY;
    report(b, &result, why);
    if (session_miss(b->cli, &b->session))
        b->outcome = OUTCOME_PARTLY;
    capture_result_done(&result);
    return 0;
}

/* As the machine is called in `vmkeep machines`, if it is called anything; to
 * be freed. */
static char *
ask_name(struct qmp *q, const char *otherwise)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    struct err ignored = {0}; /* whatever is wrong, the capture will say */

    if (qmp_run(q, "query-name", NULL, &reply, &ignored) == 0) {
        const char *name = json_string_value(json_object_get(reply, "name"));
        if (name && *name)
            return xstrdup(name);
    }
    return xstrdup(otherwise);
}

/* Two at once would be in each other's way, in QEMU. */
static int
check_not_under_way(const struct machine_found *f, struct err *e)
{
    struct intent **all = NULL;
    size_t n = 0;
    int rc = 0;

    if (underway_list(&all, &n, e) == -1)
        return -1;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool same = f->pid && all[i]->pid == f->pid;
        for (size_t k = 0; f->sockets[k]; k++)
            same = same || strcmp(f->sockets[k], all[i]->socket) == 0;
        if (!same || !intent_worker_lives(all[i]))
            continue;
        (void)err_set(e, ERR_QEMU,
                      "a backup of machine %s is under way already (process "
                      "%d)",
                      all[i]->machine, (int)all[i]->worker);
        rc = err_hint(e, "wait for it, or end it by `vmkeep abort %s`",
                      all[i]->machine);
    }
    underway_free(all, n);
    return rc;
}

/* By one of its monitors that nobody else uses. */
static int
save_found(struct batch *b, const struct machine_found *f, struct err *e)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;
    const char *socket = NULL;

    if (check_not_under_way(f, e) == -1)
        return -1;
    if (target_connect(f, &q, &socket, e) == -1)
        return target_unreachable(f, e);
    CLEANUP(freep) char *name = ask_name(q, f->name);
    qmp_close(STEAL(q)); /* the capture makes its own connection */
    return save(b, name, socket, e);
}

static void
choose_once(const struct machine_found *f, const struct machine_found **list,
            size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i] == f)
            return;
    list[(*n)++] = f;
}

/* The operands, each a machine; or all that were found. */
static int
choose(const struct cli *c, const struct machine_found *found, size_t n,
       const struct machine_found **list, size_t *out_n, struct err *e)
{
    const struct args *a = &c->args;

    for (size_t i = 0; args_has(a, "all") && i < n; i++)
        choose_once(&found[i], list, out_n);
    for (size_t i = 0; i < a->n_operands; i++) {
        const struct machine_found *f = NULL;
        if (target_pick(found, n, a->operands[i], &f, e) == -1)
            return -1;
        choose_once(f, list, out_n);
    }
    if (*out_n == 0)
        return err_set(e, ERR_NOENT, "no running QEMU machine was found");
    return 0;
}

static int
save_one(struct batch *b, const struct machine_found *f, struct err *e)
{
    if (session_open(b->cli, &b->session, e) == -1)
        return -1;
    return save_found(b, f, e) == -1 ? -1 : b->outcome;
}

static int
save_by_name(struct batch *b, struct err *e)
{
    struct machine_found *found = NULL;
    size_t n = 0, n_list = 0;

    if (machines_find(&found, &n, e) == -1)
        return -1;
    size_t room = n + b->cli->args.n_operands;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
    const struct machine_found **list = xcalloc(room, sizeof(list[0]));
    int r = choose(b->cli, found, n, list, &n_list, e);
    if (r == 0 && !b->single)
        r = backup_all(b->cli, list, n_list, b->parallel, b->cancel, e);
    else if (r == 0)
        r = save_one(b, list[0], e);
    free(list);
    machine_found_free(found, n);
    return r;
}

/* ---- the command ------------------------------------------------------- */

static int
find_method(const char *name, const struct method **out, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(name, methods[i].name) == 0) {
            *out = &methods[i];
            return 0;
        }
    return err_set(e, ERR_USAGE,
                   "there is no method %s; there are live, savevm and disk",
                   name);
}

/* The guard reads the path too, and maybe another run from another folder. */
static int
take_agent(struct batch *b, struct err *e)
{
    const char *path = args_value(&b->cli->args, "agent");

    if (!path)
        return 0;
    if (!b->single)
        return err_set(e, ERR_USAGE,
                       "--agent is for one machine, not for several");
    b->agent = realpath(path, NULL);
    if (!b->agent)
        return err_set_errno(e, ERR_QEMU, "guest agent %s", path);
    b->options.agent = b->agent;
    return 0;
}

/* Which disks it has, the capture will say. */
static int
take_excluded(struct batch *b, struct err *e)
{
    const struct args *a = &b->cli->args;
    size_t n = 0;

    if (!args_has(a, "exclude-disk"))
        return 0;
    if (!b->single)
        return err_set(e, ERR_USAGE,
                       "--exclude-disk is for one machine, not for several");
    /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
    b->exclude = xcalloc(a->n_given + 1, sizeof(b->exclude[0]));
    for (size_t i = 0; i < a->n_given; i++)
        if (strcmp(a->given[i].spec->name, "exclude-disk") == 0)
            b->exclude[n++] = a->given[i].value;
    b->options.exclude = b->exclude;
    return 0;
}

/* The value of a numeric option, which is not 0, into *out if it is there. */
static int
take_number(const struct args *a, const char *option, uint64_t max,
            const char *what, uint64_t *out, struct err *e)
{
    const char *text = args_value(a, option);
    uint64_t n = 0;

    if (!text)
        return 0;
    if (!text_parse_u64(text, &n) || n == 0 || n > max)
        return err_set(e, ERR_USAGE, "--%s %s is no number of %s (1 to %llu)",
                       option, text, what, (unsigned long long)max);
    *out = n;
    return 0;
}

static int
take_size(const struct args *a, const char *option, uint64_t *out,
          struct err *e)
{
    const char *text = args_value(a, option);

    if (text && (!text_parse_size(text, out) || *out == 0))
        return err_set(e, ERR_USAGE, "--%s %s is no size, such as 10G", option,
                       text);
    return 0;
}

static int
take_limits(struct batch *b, struct err *e)
{
    static const char *const of_live[] = {"max-pause", "write-stall",
                                          "scratch-size"};
    const struct args *a = &b->cli->args;
    struct capture_options *o = &b->options;
    uint64_t stall = 0;

    bool is_savevm = strcmp(b->method->name, "savevm") == 0;
    for (size_t i = 0; is_savevm && i < ARRAY_LEN(of_live); i++)
        if (args_has(a, of_live[i]))
            return err_set(e, ERR_USAGE,
                           "--%s is not for savevm: there QEMU itself stops "
                           "the machine, writes, and lets it go on",
                           of_live[i]);
    if (take_number(a, "max-pause", MAX_PAUSE_MS, "milliseconds",
                    &o->max_pause_ms, e) == -1 ||
        take_number(a, "write-stall", MAX_STALL_S, "seconds", &stall, e) ==
            -1 ||
        take_number(a, "freeze-timeout", MAX_PAUSE_MS, "milliseconds",
                    &o->freeze_ms, e) == -1 ||
        take_size(a, "scratch-size", &o->scratch_bytes, e) == -1 ||
        take_size(a, "min-free", &o->min_free_bytes, e) == -1)
        return -1;
    o->cbw_timeout_s = (unsigned)stall;
    o->no_tracking = args_has(a, "no-tracking");
    o->keep_bitmaps = args_has(a, "persistent-bitmaps");
    if (o->no_tracking && o->keep_bitmaps)
        return err_set(e, ERR_USAGE,
                       "--no-tracking and --persistent-bitmaps exclude each "
                       "other");
    o->scratch_dir = args_value(a, "scratch");
    return 0;
}

/* A list of methods with commas between them. */
static int
check_allowed(const struct args *a, struct err *e)
{
    const char *at = args_value(a, "allow");
    const struct method *m = NULL;

    while (at) {
        size_t len = strcspn(at, ",");
        CLEANUP(freep) char *word = xstrndup(at, len);
        if (find_method(word, &m, e) == -1)
            return err_wrap(e, "--allow");
        at = at[len] ? at + len + 1 : NULL;
    }
    return 0;
}

static int
take_options(struct batch *b, struct err *e)
{
    const struct args *a = &b->cli->args;
    int ways = args_has(a, "all") + args_has(a, "qmp") + (a->n_operands > 0);

    if (ways == 0) {
        (void)err_set(e, ERR_USAGE, "which machine? name it, or say --all");
        return err_hint(e, "`vmkeep machines` lists them");
    }
    if (ways > 1)
        return err_set(e, ERR_USAGE,
                       "MACHINE, --all and --qmp exclude each other");
    b->single = args_has(a, "qmp") || a->n_operands == 1;
    const char *method = args_value(a, "method");
    if (find_method(method ? method : "live", &b->method, e) == -1 ||
        take_limits(b, e) == -1 || check_allowed(a, e) == -1)
        return -1;
    uint64_t parallel = BACKUP_ALL_PARALLEL;
    if (take_number(a, "parallel", BACKUP_ALL_MAX_PARALLEL, "machines",
                    &parallel, e) == -1)
        return -1;
    b->parallel = (unsigned)parallel;
    if (take_excluded(b, e) == -1)
        return -1;
    return take_agent(b, e);
}

/* Its monitors; one that nobody else uses will do. */
static int
save_by_socket(struct batch *b, struct err *e)
{
    const struct args *a = &b->cli->args;
    char **sockets = xcalloc(a->n_given + 1, sizeof(*sockets));
    size_t n = 0;

    for (size_t i = 0; i < a->n_given; i++)
        if (strcmp(a->given[i].spec->name, "qmp") == 0)
            sockets[n++] = xstrdup(a->given[i].value);
    const struct machine_found found = {0, sockets[0], sockets[0], sockets};
    int r = save_one(b, &found, e);
    while (n > 0)
        free(sockets[--n]);
    free(sockets);
    return r;
}

static int
save_all(struct batch *b, struct err *e)
{
    bool reconciled = target_reconcile(&b->cli->out);

    if (!reconciled)
        b->outcome = OUTCOME_PARTLY;
    if (args_has(&b->cli->args, "qmp"))
        return save_by_socket(b, e);
    int r = save_by_name(b, e);
    return r == OUTCOME_DONE && !reconciled ? OUTCOME_PARTLY : r;
}

static int
run_backup(struct cli *c, struct err *e)
{
    struct batch b = {.cli = c};

    b.cancel = cancel_new();
    int r = take_options(&b, e);
    if (r == 0)
        r = save_all(&b, e);
    session_done(&b.session);
    cancel_free(b.cancel);
    free(b.agent);
    free(b.exclude);
    return r;
}

static const struct option_spec options[] = {
    {"all", 0, NULL, "every running machine of this host"},
    {"parallel", 0, "N", "so many machines at a time (default 2)"},
    {"qmp", 0, "SOCKET",
     "the machine behind this monitor socket; several: its monitors, of which "
     "one that is free is used"},
    {"method", 0, "METHOD",
     "live (the default): memory, devices and disks of one instant, while the "
     "machine runs; savevm: the same by QEMU's internal snapshots, for "
     "machines "
     "that live cannot do: all disks must be qcow2, and the machine stands "
     "still while its memory is written to one of them; disk: the disks of one "
     "instant, without memory, for any machine"},
    {"allow", 0, "METHODS",
     "what may be done instead for a machine that the method cannot do: disk, "
     "savevm or savevm,disk; without it such a machine is an error"},
    {"agent", 0, "SOCKET",
     "with the method disk: the guest agent that freezes the file systems "
     "(default: the machine's own, if it has one)"},
    {"freeze-timeout", 0, "MS",
     "with the method disk: how long the guest agent may take to freeze "
     "(default 10000); after that the disks are saved as after a power cut"},
    {"max-pause", 0, "MS",
     "give up, and let the machine go on, if it would stand still for longer "
     "than this (default 10000)"},
    {"scratch", 0, "DIR",
     "local folder for what the machine overwrites during the backup (default "
     "/var/tmp)"},
    {"write-stall", 0, "SECONDS",
     "the longest that a write of the machine may wait for the copy of what it "
     "overwrites; if it would be longer the backup fails (default 5)"},
    {"scratch-size", 0, "SIZE",
     "give up once the copies of what the machine overwrites take more than "
     "this (no limit)"},
    {"min-free", 0, "SIZE",
     "give up once the scratch folder has less than this left (default 256M)"},
    {"exclude-disk", 0, "NAME",
     "leave this disk out, as `vmkeep machines` calls it; several: all of "
     "them. "
     "A machine that is restored has an empty one of its size in its place"},
    {"no-tracking", 0, NULL,
     "read all of each disk, not only what has changed since the last backup, "
     "and take the marks out of the machine that the next one would need"},
    {"persistent-bitmaps", 0, NULL,
     "have QEMU keep the marks of what changes in the qcow2 images when it "
     "ends, "
     "so that the next backup after a restart need not read all either; read "
     "the manual first"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep backup web-01", "save one machine while it runs"},
    {"vmkeep backup --all --allow disk",
     "save them all, and of those that cannot be saved with their memory at "
     "least the disks"},
    {"vmkeep backup web-01 --exclude-disk swap", "all of it but that disk"},
    {"vmkeep backup --all --json", "save them all; a line of JSON for each"},
    {"vmkeep backup --qmp /run/web-01.qmp --max-pause 200",
     "by its monitor, and only if it stands still for 0.2 s at most"},
    {NULL, NULL}};

const struct command cmd_backup = {
    .name = "backup",
    .operands = "[MACHINE...]",
    .summary = "save machines, memory and disks, while they run",
    .text =
        "The machine stands still for some milliseconds; then it runs on "
        "while vmkeep reads what it was at that instant. Only what the "
        "repository does not have yet is stored. If anything fails, or at "
        "Ctrl-C, the backup is given up and the machine goes on as "
        "before.\n\n"
        "MACHINE is a name or a UUID, as `vmkeep machines` shows them. If "
        "some of several machines could not be saved the exit code is 3, if "
        "none could it is 1.",
    .options = options,
    .examples = examples,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_backup};
