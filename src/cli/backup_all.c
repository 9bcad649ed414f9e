/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/backup_all.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/env.h"
#include "cli/print.h"
#include "cli/secret.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "cli/target.h"
#include "qemu/machine.h"
#include "qemu/process.h"
#include "repo/repo.h"
#include "store/store.h"
#include "work/cancel.h"
#include "work/rate.h"

enum {
    SAID_MAX_BYTES = 4 << 20,
    CHUNK = 16384,
    PASSWORD_FD = 3, /* of those whom we start; so are these: */
    UPLOAD_FD,
    DOWNLOAD_FD,
    THEIR_FDS /* one more than the last */
};

static const struct column columns[] = {{.title = "MACHINE", .shrinks = true},
                                        {.title = "RESULT"},
                                        {.title = "METHOD"},
                                        {.title = "PAUSE", .right = true},
                                        {.title = "READ", .right = true},
                                        {.title = "STORED", .right = true},
                                        {.title = "TIME", .right = true}};

/* One machine, and the process that saves it. */
struct job {
    const struct machine_found *found; /* borrowed */
    pid_t pid;                         /* 0: not started, or over */
    int out, err;                      /* our ends of its pipes, or -1 */
    struct buf said;                   /* all that came by `out` */
    struct buf complaints;
    json_t *summary; /* once it has saved the machine */
    bool is_over;
};

struct fleet {
    struct cli *cli;
    struct cancel *cancel;
    const char *address;
    struct secret password;
    int upload, download; /* the limits that all of them share, or -1 */
    struct job *jobs;
    size_t n, n_begun, n_running, n_saved, n_disks_only;
    bool interrupted, warned;
};

/* ---- the process ---- */

static bool
is_ours(const char *option)
{
    static const char *const ours[] = {
        "all",           "parallel",         "qmp",          "json",
        "quiet",         "verbose",          "no-progress",  "repo",
        "password-file", "password-command", "limit-upload", "limit-download"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(option, ours[i]) == 0)
            return true;
    return false;
}

/* The strings are borrowed, but for those that begin with dashes. */
static char **
make_argv(const struct fleet *f, const struct machine_found *m)
{
    const struct args *a = &f->cli->args;
    size_t n_sockets = 0, n = 0;

    while (m->sockets[n_sockets])
        n_sockets++;
    char **argv = xcalloc(16 + 2 * n_sockets + 2 * a->n_given, sizeof(char *));
    const char *const fixed[] = {
        "vmkeep",          "backup",    "--json", "--no-progress",
        "--password-file", "/dev/fd/3", "--repo", f->address};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        argv[n++] = xstrdup(fixed[i]);
    for (size_t i = 0; i < n_sockets; i++) {
        argv[n++] = xstrdup("--qmp");
        argv[n++] = xstrdup(m->sockets[i]);
    }
    if (f->upload != -1)
        argv[n++] =
            xasprintf("--limit-upload=%s%d", RATE_SHARED_PREFIX, UPLOAD_FD);
    if (f->download != -1)
        argv[n++] =
            xasprintf("--limit-download=%s%d", RATE_SHARED_PREFIX, DOWNLOAD_FD);
    for (size_t i = 0; i < a->n_given; i++) {
        if (is_ours(a->given[i].spec->name))
            continue;
        argv[n++] = xasprintf("--%s", a->given[i].spec->name);
        if (a->given[i].value)
            argv[n++] = xstrdup(a->given[i].value);
    }
    return argv;
}

static int
make_pipe(int out[2], struct err *e)
{
    return pipe2(out, O_CLOEXEC) == -1
               ? err_set_errno(e, ERR_IO, "cannot make a pipe")
               : 0;
}

static int
spawn(const struct fleet *f, char **argv, int password, int out, int err,
      pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;

    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null",
                                           O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, password, PASSWORD_FD);
    if (f->upload != -1)
        (void)posix_spawn_file_actions_adddup2(&files, f->upload, UPLOAD_FD);
    if (f->download != -1)
        (void)posix_spawn_file_actions_adddup2(&files, f->download,
                                               DOWNLOAD_FD);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    /* A Ctrl-C is handed on by us, once. */
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETPGROUP);
    int rc =
        posix_spawn(pid, "/proc/self/exe", &files, &attributes, argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    return rc;
}

/* The password fits into the pipe's buffer. */
static int
start(struct fleet *f, struct job *j, struct err *e)
{
    CLEANUP(fd_closep) int in_theirs = -1;
    CLEANUP(fd_closep) int in_ours = -1;
    CLEANUP(fd_closep) int out_theirs = -1;
    CLEANUP(fd_closep) int err_theirs = -1;
    int pair[2];

    if (make_pipe(pair, e) == -1)
        return -1;
    /* Above what the child is to have them as. */
    in_theirs = fcntl(pair[0], F_DUPFD_CLOEXEC, THEIR_FDS);
    (void)close(pair[0]);
    in_ours = pair[1];
    if (make_pipe(pair, e) == -1)
        return -1;
    j->out = pair[0];
    out_theirs = pair[1];
    if (make_pipe(pair, e) == -1)
        return -1;
    j->err = pair[0];
    err_theirs = pair[1];
    if (fd_write(in_ours, f->password.text, strlen(f->password.text),
                 "the password", e) == -1)
        return -1;
    char **argv = make_argv(f, j->found);
    errno = spawn(f, argv, in_theirs, out_theirs, err_theirs, &j->pid);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
    return errno ? err_set_errno(e, ERR_IO, "cannot start a process") : 0;
}

/* ---- what it says ---- */

/* The next line of what was said, as an object, or NULL at the end. */
static json_t *
next_line(const char **at)
{
    while (**at) {
        const char *end = strchrnul(*at, '\n');
        json_t *j = json_loadb(*at, (size_t)(end - *at), 0, NULL);
        *at = *end ? end + 1 : end;
        if (json_is_object(j))
            return j;
        json_decref(j);
    }
    return NULL;
}

static const char *
member(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static enum err_code
code_of(const char *name)
{
    for (int code = ERR_USAGE; code <= ERR_QEMU; code++)
        if (strcmp(err_code_name((enum err_code)code), name) == 0)
            return (enum err_code)code;
    return ERR_IO;
}

/* The error, if there is one; warnings are handed on. */
static void
read_complaints(struct fleet *f, struct job *j, struct err *e)
{
    const char *at = buf_text(&j->complaints);

    for (json_t *line = NULL; (line = next_line(&at)); json_decref(line)) {
        if (strcmp(member(line, "type"), "warning") == 0) {
            f->warned = true;
            out_warning(&f->cli->out, "%s", member(line, "message"));
        } else if (strcmp(member(line, "type"), "note") == 0) {
            out_note(&f->cli->out, "%s", member(line, "message"));
        } else if (strcmp(member(line, "type"), "error") == 0) {
            err_clear(e);
            (void)err_set(e, code_of(member(line, "code")), "%s",
                          member(line, "message"));
        }
    }
}

static void
report_saved(struct fleet *f, struct job *j)
{
    json_t *line = json_deep_copy(j->summary);

    f->n_saved++;
    f->n_disks_only += strcmp(member(line, "method"), "disk") == 0;
    (void)json_object_del(line, "type");
    if (f->cli->out.json) {
        out_line(&f->cli->out, "backup", line);
        return;
    }
    out_note(&f->cli->out, "saved %s: backup %.8s (%s)",
             member(line, "machine"), member(line, "backup_id"),
             member(line, "method"));
    json_decref(line);
}

static void
report_failed(struct fleet *f, const struct job *j, struct err *e)
{
    if (j->found->pid && process_is_stopped(j->found->pid))
        (void)err_hint(e,
                       "its process is stopped: `kill -CONT %d` lets it go on",
                       (int)j->found->pid);
    out_error(&f->cli->out, "backup", j->found->name, outcome_of(e->code), e);
}

static void
finish(struct fleet *f, struct job *j, int status)
{
    struct err e = {0};
    const char *at = buf_text(&j->said);

    for (json_t *line = NULL; (line = next_line(&at)); json_decref(line))
        if (strcmp(member(line, "type"), "summary") == 0 && !j->summary)
            j->summary = json_incref(line);
    if (WIFSIGNALED(status))
        (void)err_set(&e, ERR_IO, "its backup was killed by signal %d",
                      WTERMSIG(status));
    else
        (void)err_set(&e, ERR_IO, "its backup ended with exit code %d",
                      WEXITSTATUS(status));
    read_complaints(f, j, &e);
    if (j->summary)
        report_saved(f, j);
    else
        report_failed(f, j, &e);
    j->is_over = true;
}

/* ---- all of them ---- */

static void
begin_next(struct fleet *f)
{
    struct job *j = &f->jobs[f->n_begun++];
    struct err e = {0};

    if (!j->found->sockets[0]) {
        (void)err_set(&e, ERR_QEMU, "it has no QMP monitor on a UNIX socket");
        (void)target_unreachable(j->found, &e);
    } else if (start(f, j, &e) == 0) {
        f->n_running++;
        return;
    }
    report_failed(f, j, &e);
    j->is_over = true;
}

/* Some more of what it says; closed at its end. */
static void
hear(int *fd, struct buf *to)
{
    uint8_t chunk[CHUNK];
    ssize_t n = fd_read_some(*fd, chunk, sizeof(chunk));

    if (n <= 0)
        fd_close(fd);
    else
        buf_add(to, chunk, (size_t)n); /* too much of it is dropped */
}

static void
end_if_over(struct fleet *f, struct job *j)
{
    int status = 0;

    if (!j->pid || j->out != -1 || j->err != -1)
        return;
    while (waitpid(j->pid, &status, 0) == -1 && errno == EINTR)
        ;
    j->pid = 0;
    f->n_running--;
    finish(f, j, status);
}

static void
interrupt(struct fleet *f)
{
    f->interrupted = true;
    for (size_t i = 0; i < f->n_begun; i++)
        if (f->jobs[i].pid)
            (void)kill(f->jobs[i].pid, SIGINT);
}

static void
wait_for_some(struct fleet *f)
{
    CLEANUP(freep)
    struct pollfd *p = xcalloc(1 + 2 * f->n_begun, sizeof(*p));

    p[0] = (struct pollfd){.fd = f->interrupted ? -1 : cancel_fd(f->cancel),
                           .events = POLLIN};
    for (size_t i = 0; i < f->n_begun; i++) {
        p[1 + 2 * i] = (struct pollfd){.fd = f->jobs[i].out, .events = POLLIN};
        p[2 + 2 * i] = (struct pollfd){.fd = f->jobs[i].err, .events = POLLIN};
    }
    if (poll(p, 1 + 2 * f->n_begun, -1) == -1)
        return;
    if (p[0].revents)
        interrupt(f);
    for (size_t i = 0; i < f->n_begun; i++) {
        struct job *j = &f->jobs[i];
        if (p[1 + 2 * i].revents)
            hear(&j->out, &j->said);
        if (p[2 + 2 * i].revents)
            hear(&j->err, &j->complaints);
        end_if_over(f, j);
    }
}

static void
run_all(struct fleet *f, unsigned parallel)
{
    while (f->n_running > 0 || (f->n_begun < f->n && !f->interrupted)) {
        while (f->n_begun < f->n && f->n_running < parallel && !f->interrupted)
            begin_next(f);
        if (f->n_running > 0)
            wait_for_some(f);
    }
}

/* ---- the end ---- */

static void
add_row(struct table *t, const struct job *j)
{
    const json_t *s = j->summary;

    table_cell(t, j->found->name);
    table_cell(t, s ? "saved" : j->is_over ? "failed" : "not begun");
    if (!s) {
        for (size_t i = 2; i < ARRAY_LEN(columns); i++)
            table_cell(t, "");
        return;
    }
    const char *method = member(s, "method");
    CLEANUP(freep)
    char *both = xasprintf("%s (%s)", method, member(s, "consistency"));
    CLEANUP(freep)
    char *pause =
        xasprintf("%.1f ms", json_number_value(json_object_get(s, "pause_ms")));
    CLEANUP(freep)
    char *time =
        xasprintf("%.1f s", json_number_value(json_object_get(s, "seconds")));
    json_int_t read = json_integer_value(json_object_get(s, "read_bytes"));
    json_int_t stored = json_integer_value(json_object_get(s, "stored_bytes"));
    table_cell(t, strcmp(method, "disk") == 0 ? both : method);
    table_cell(t, pause);
    table_cell_size(t, (uint64_t)read);
    table_cell_size(t, (uint64_t)stored);
    table_cell(t, time);
}

static int
report_all(struct fleet *f)
{
    size_t failed = f->n - f->n_saved;
    int outcome = f->n_saved == 0           ? OUTCOME_FAILED
                  : failed > 0 || f->warned ? OUTCOME_PARTLY
                                            : OUTCOME_DONE;

    if (f->cli->out.json) {
        out_line(&f->cli->out, "summary",
                 json_pack("{s:I, s:I, s:I, s:I, s:i}", "machines",
                           (json_int_t)f->n, "saved", (json_int_t)f->n_saved,
                           "disks_only", (json_int_t)f->n_disks_only, "failed",
                           (json_int_t)failed, "exit", outcome));
        return outcome;
    }
    CLEANUP(table_freep)
    struct table *t = table_new(columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < f->n; i++)
        add_row(t, &f->jobs[i]);
    out_table(&f->cli->out, t);
    out_text(&f->cli->out, "%zu of %zu machines saved", f->n_saved, f->n);
    if (f->n_disks_only > 0)
        out_text(&f->cli->out, ", %zu of them without memory", f->n_disks_only);
    out_text(&f->cli->out, "\n");
    return outcome;
}

/* A wrong password is better found once than by each of them. */
static int
try_repository(struct fleet *f, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};

    f->address = session_address(f->cli, e);
    if (!f->address)
        return -1;
    int found = session_probe(f->address, &s, e);
    if (found == 0) {
        (void)err_set(e, ERR_NOREPO, "there is no repository at %s",
                      f->address);
        return err_hint(e, "`vmkeep init %s` makes one", f->address);
    }
    if (found == -1 ||
        session_ask(f->cli, f->address, false, &f->password, e) == -1)
        return -1;
    const char *key = args_value(&f->cli->args, "key");
    return repo_enter(s.door, f->password.text,
                      key && *key ? key : env_get("VMKEEP_KEY"), &s.repo, e);
}

/* The limit, where those whom we start don't have theirs; -1 if there is none.
 */
static int
share(struct rate *r, int *out_fd, struct err *e)
{
    int fd = -1;

    if (!r)
        return 0;
    if (rate_share(r, &fd, e) == -1)
        return -1;
    *out_fd = fcntl(fd, F_DUPFD_CLOEXEC, THEIR_FDS);
    return *out_fd == -1 ? err_set_errno(e, ERR_IO, "cannot share a limit") : 0;
}

int
backup_all(struct cli *c, const struct machine_found *const *list, size_t n,
           unsigned parallel, struct cancel *cancel, struct err *e)
{
    struct fleet f = {
        .cli = c, .cancel = cancel, .upload = -1, .download = -1, .n = n};
    int rc = -1;

    f.jobs = xcalloc(n, sizeof(f.jobs[0]));
    for (size_t i = 0; i < n; i++)
        f.jobs[i] = (struct job){.found = list[i],
                                 .out = -1,
                                 .err = -1,
                                 .said = buf_of(SAID_MAX_BYTES),
                                 .complaints = buf_of(SAID_MAX_BYTES)};
    if (share(c->upload, &f.upload, e) == 0 &&
        share(c->download, &f.download, e) == 0 && try_repository(&f, e) == 0) {
        signals_raise(cancel);
        run_all(&f, parallel);
        signals_raise(NULL);
        rc = report_all(&f);
        if (f.interrupted)
            rc = err_set(e, ERR_CANCELED, "interrupted");
    }
    for (size_t i = 0; i < n; i++) {
        fd_close(&f.jobs[i].out);
        fd_close(&f.jobs[i].err);
        buf_done(&f.jobs[i].said);
        buf_done(&f.jobs[i].complaints);
        json_decref(f.jobs[i].summary);
    }
    free(f.jobs);
    secret_wipe(&f.password);
    fd_close(&f.upload);
    fd_close(&f.download);
    return rc;
}
