/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/intent.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "qemu/machine.h"
#include "qemu/process.h"

enum { RECORD_MAX_BYTES = 1 << 20, RECORD_MAX_DISKS = 1024 };

struct intent *
intent_new(const struct machine *m)
{
    struct intent *in = xcalloc(1, sizeof(*in));
    uint8_t run[LABEL_RUN_LEN / 2];

    rand_bytes(run, sizeof(run));
    hex_encode(run, sizeof(run), in->run);
    in->machine = xstrdup(m->name);
    in->socket = xstrdup(m->socket);
    in->pid = m->pid;
    in->start_time = m->start_time;
    in->worker = getpid();
    in->worker_start_time = process_start_time(getpid());
    in->was_running = m->running;
    in->nbd_path = xstrdup("");
    in->snapshot = xstrdup("");
    in->agent = xstrdup("");
    in->bitmap = xstrdup("");
    in->scratch = xstrdup("");
    in->lock_fd = -1;
    in->hold_fd = -1;
    return in;
}

void
intent_free(struct intent *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->n_disks; i++) {
        free(in->disks[i].qdev);
        free(in->disks[i].node);
    }
    free(in->disks);
    free(in->machine);
    free(in->socket);
    free(in->nbd_path);
    free(in->snapshot);
    free(in->agent);
    free(in->bitmap);
    free(in->scratch);
    free(in->path);
    fd_close(&in->lock_fd);
    free(in);
}

void
intent_freep(struct intent **in)
{
    intent_free(*in);
}

void
intent_add_disk(struct intent *in, const char *qdev, const char *node)
{
    in->disks = xrealloc(in->disks, (in->n_disks + 1) * sizeof(in->disks[0]));
    in->disks[in->n_disks++] =
        (struct intent_disk){.qdev = xstrdup(qdev), .node = xstrdup(node)};
}

char *
intent_format(const struct intent *in)
{
    CLEANUP(json_decrefp) json_t *disks = json_array();

    for (size_t i = 0; i < in->n_disks; i++)
        json_array_append_new(disks,
                              json_pack("{s:s, s:s}", "qdev", in->disks[i].qdev,
                                        "node", in->disks[i].node));
    CLEANUP(json_decrefp)
    json_t *j = json_pack(
        "{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:s, "
        "s:s, "
        "s:s, s:s, s:s, s:O}",
        "version", 5, "run", in->run, "machine", in->machine, "socket",
        in->socket, "pid", (json_int_t)in->pid, "start_time",
        (json_int_t)in->start_time, "worker", (json_int_t)in->worker,
        "worker_start_time", (json_int_t)in->worker_start_time, "was_running",
        in->was_running, "window_open", in->window_open,
        "had_background_snapshot", in->had_background_snapshot, "had_events",
        in->had_events, "nbd_path", in->nbd_path, "snapshot", in->snapshot,
        "bitmap", in->bitmap, "agent", in->agent, "scratch", in->scratch,
        "disks", disks);
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    if (!text)
        abort(); /* only if memory is out or a name is not UTF-8 */
    return text;
}

static int
parse_disks(struct intent *in, const json_t *disks, struct err *e)
{
    size_t i = 0;
    json_t *d = NULL;

    if (json_array_size(disks) > RECORD_MAX_DISKS)
        return err_set(e, ERR_LIMIT, "the record has too many disks");
    json_array_foreach(disks, i, d)
    {
        const char *qdev = NULL, *node = NULL;
        if (json_unpack(d, "{s:s, s:s}", "qdev", &qdev, "node", &node) == -1)
            return err_set(e, ERR_CORRUPT, "disk %zu of the record is bad", i);
        intent_add_disk(in, qdev, node);
    }
    return 0;
}

int
intent_parse(const char *text, struct intent **out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *j = json_loads(text, 0, NULL);
    CLEANUP(intent_freep) struct intent *in = xcalloc(1, sizeof(*in));
    const char *run = NULL, *machine = NULL, *socket = NULL, *nbd = NULL;
    const char *snapshot = NULL, *bitmap = NULL, *agent = NULL, *scratch = NULL;
    json_int_t pid = 0, start = 0, worker = 0, worker_start = 0;
    int version = 0, was = 0, open = 0, bg = 0, ev = 0;
    json_t *disks = NULL;

    in->lock_fd = in->hold_fd = -1;
    if (!j || json_unpack(j,
                          "{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b, "
                          "s:b, s:b, s:s, s:s, s:s, s:s, s:s, s:o}",
                          "version", &version, "run", &run, "machine", &machine,
                          "socket", &socket, "pid", &pid, "start_time", &start,
                          "worker", &worker, "worker_start_time", &worker_start,
                          "was_running", &was, "window_open", &open,
                          "had_background_snapshot", &bg, "had_events", &ev,
                          "nbd_path", &nbd, "snapshot", &snapshot, "bitmap",
                          &bitmap, "agent", &agent, "scratch", &scratch,
                          "disks", &disks) == -1)
        return err_set(e, ERR_CORRUPT, "not an intent record");
    if (version != 5)
        return err_set(e, ERR_UNSUP, "intent record of version %d", version);
    if (strlen(run) != LABEL_RUN_LEN || !hex_is(run))
        return err_set(e, ERR_CORRUPT, "intent record with a bad run");
    memcpy(in->run, run, sizeof(in->run));
    in->machine = xstrdup(machine);
    in->socket = xstrdup(socket);
    in->nbd_path = xstrdup(nbd);
    in->snapshot = xstrdup(snapshot);
    in->bitmap = xstrdup(bitmap);
    in->agent = xstrdup(agent);
    in->scratch = xstrdup(scratch);
    in->worker = (pid_t)worker;
    in->worker_start_time = (uint64_t)worker_start;
    in->pid = (pid_t)pid;
    in->start_time = (uint64_t)start;
    in->was_running = was;
    in->window_open = open;
    in->had_background_snapshot = bg;
    in->had_events = ev;
    if (parse_disks(in, disks, e) == -1)
        return -1;
    *out = STEAL(in);
    return 0;
}

int
runtime_dir(char **out, struct err *e)
{
    const char *own = getenv("VMKEEP_RUNTIME_DIR");
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    CLEANUP(freep) char *dir = NULL;

    if (own && own[0])
        dir = xstrdup(own);
    else if (geteuid() == 0)
        dir = xstrdup("/run/vmkeep");
    else if (xdg && xdg[0])
        dir = path_join(xdg, "vmkeep");
    else
        dir = xasprintf("/tmp/vmkeep-%u", (unsigned)geteuid());
    if (dir_make(dir, e) == -1)
        return err_wrap(e, "runtime folder");

    struct stat st;
    if (stat(dir, &st) == -1 || st.st_uid != geteuid())
        return err_set(e, ERR_DENIED,
                       "the runtime folder %s belongs to another user; set "
                       "VMKEEP_RUNTIME_DIR to one of your own",
                       dir);
    *out = STEAL(dir);
    return 0;
}

/* A rewrite replaces the file, so the lock is on a file of its own. */
static int
lock(struct intent *in, struct err *e)
{
    CLEANUP(freep) char *path = xasprintf("%s.lock", in->path);
    CLEANUP(fd_closep)
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == -1)
        return err_set(e, ERR_EXISTS, "%s is held by another process", path);
    in->lock_fd = fd;
    fd = -1;
    return 0;
}

int
intent_save(struct intent *in, struct err *e)
{
    CLEANUP(freep) char *text = intent_format(in);

    if (!in->path) {
        CLEANUP(freep) char *dir = NULL;
        if (runtime_dir(&dir, e) == -1)
            return -1;
        in->path = xasprintf("%s/%s.intent", dir, in->run);
    }
    if (in->lock_fd == -1 && lock(in, e) == -1)
        return -1;
    return file_publish(in->path, text, strlen(text), e);
}

void
intent_note_failure(const struct intent *in, const char *why)
{
    CLEANUP(freep) char *path = xasprintf("%s.why", in->path);
    struct err ignored = {0}; /* nobody is left to be told */

    (void)file_publish(path, why, strlen(why), &ignored);
}

char *
intent_mount(const struct intent *in, size_t disk)
{
    return xasprintf("%s.disk%zu", in->path, disk);
}

void
intent_remove_mounts(const struct intent *in)
{
    for (size_t i = 0; in->path && i < in->n_disks; i++) {
        CLEANUP(freep) char *path = intent_mount(in, i);
        (void)unlink(path);
    }
}

static void
remove_beside(const struct intent *in, const char *ending)
{
    CLEANUP(freep) char *path = xasprintf("%s%s", in->path, ending);

    (void)unlink(path);
}

void
intent_remove(struct intent *in)
{
    if (!in->path)
        return;
    remove_beside(in, "");
    remove_beside(in, ".why");
    if (in->nbd_path[0])
        (void)unlink(in->nbd_path);
    remove_beside(in, ".lock");
}

int
intent_read(const char *path, struct intent **out, struct err *e)
{
    CLEANUP(buf_done) struct buf text = buf_of(RECORD_MAX_BYTES);
    struct intent *in = NULL;

    if (file_read(path, &text, e) == -1)
        return -1;
    if (intent_parse(buf_text(&text), &in, e) == -1)
        return err_wrap(e, "%s", path);
    in->path = xstrdup(path);
    *out = in;
    return 0;
}

int
intent_claim(const char *path, struct intent **out, struct err *e)
{
    CLEANUP(intent_freep) struct intent *in = NULL;
    struct intent holder = {.path = xstrdup(path), .lock_fd = -1};
    int rc = lock(&holder, e);

    free(holder.path);
    if (rc == -1) {
        if (e->code != ERR_EXISTS)
            return -1;
        err_clear(e);
        return 0;
    }
    if (intent_read(path, &in, e) == -1) {
        fd_close(&holder.lock_fd);
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e);
        return 0;
    }
    in->lock_fd = holder.lock_fd;
    *out = STEAL(in);
    return 1;
}

/* Does the process still run that started then? */
static bool
lives(pid_t pid, uint64_t start_time)
{
    struct buf text = buf_of(4096);
    CLEANUP(freep) char *path = xasprintf("/proc/%d/stat", (int)pid);
    struct err ignored = {0};
    unsigned long long start = 0;
    char state = 'X';

    if (file_read(path, &text, &ignored) == -1) {
        buf_done(&text);
        return false;
    }
    /* "PID (NAME) STATE ..."; the name may hold anything, so from its end. */
    const char *at = strrchr(buf_text(&text), ')');
    int n = at ? sscanf(at, /* NOLINT(cert-err34-c) */
                        ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
                        "%*d %*d %*d %*d %*d %*d %llu",
                        &state, &start)
               : 0;
    buf_done(&text);
    return n == 2 && state != 'Z' && state != 'X' && start == start_time;
}

bool
intent_machine_lives(const struct intent *in)
{
    /* If unknown, better look at its monitor. */
    return in->pid == 0 || lives(in->pid, in->start_time);
}

bool
intent_worker_lives(const struct intent *in)
{
    return in->worker > 0 && lives(in->worker, in->worker_start_time);
}
