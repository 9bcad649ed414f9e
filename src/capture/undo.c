/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/undo.h"

#include <jansson.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "capture/labels.h"
#include "capture/quiesce.h"
#include "capture/rescue.h"
#include "capture/scratchprobe.h"
#include "capture/snapshot.h"
#include "qemu/bitmaps.h"
#include "qemu/disks.h"
#include "qemu/qmp.h"

enum {
    MIGRATION_END_MS = 120000, /* draining 64 GiB of RAM takes a while */
    EXPORT_END_MS = 10000,
    POLL_MS = 20,
    SOCKETS_MAX_BYTES = 64 << 20
};

/* Keeps the first error of several things that are all to be tried. */
struct trying {
    struct err first;
};

static void
tried(struct trying *t, int rc, struct err *e)
{
    if (rc == -1 && t->first.code == ERR_OK)
        t->first = *e;
    err_clear(e);
}

static void
nap(void)
{
    (void)poll(NULL, 0, POLL_MS);
}

/* The string `key` of the reply to a command without arguments. */
static int
ask_word(struct qmp *q, const char *command, const char *key, char out[64],
         struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, command, NULL, &reply, e) == -1)
        return -1;
    const char *word = json_string_value(json_object_get(reply, key));
    (void)snprintf(out, 64, "%s", word ? word : "");
    return 0;
}

int
undo_pause(struct qmp *q, const struct intent *in, struct err *e)
{
    char status[64];

    if (!in->window_open)
        return 0;
    if (ask_word(q, "query-status", "status", status, e) == -1)
        return -1;
    if (in->was_running && strcmp(status, "running") != 0)
        return qmp_run(q, "cont", NULL, NULL, e);
    if (!in->was_running && strcmp(status, "running") == 0)
        return qmp_run(q, "stop", NULL, NULL, e);
    return 0;
}

/* ---- the migration ---------------------------------------------------- */

static bool
is_under_way(const char *status)
{
    static const char *const words[] = {
        "setup",      "active", "device",          "pre-switchover",
        "cancelling", "colo",   "postcopy-active", "wait-unplug"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(status, words[i]) == 0)
            return true;
    return false;
}

static int
capability(struct qmp *q, const char *name, bool *out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    json_t *c = NULL;
    size_t i = 0;

    *out = false;
    if (qmp_run(q, "query-migrate-capabilities", NULL, &reply, e) == -1)
        return -1;
    json_array_foreach(reply, i, c)
    {
        const char *word = json_string_value(json_object_get(c, "capability"));
        if (word && strcmp(word, name) == 0)
            *out = json_is_true(json_object_get(c, "state"));
    }
    return 0;
}

/* QEMU 6.0 to 8.0 leaves RAM write-protected when the stream ends badly. */
bool
undo_cancel_freezes(const struct qmp *q)
{
    const struct qmp_version *v = qmp_version(q);

    return v->major < 8 || (v->major == 8 && v->minor == 0);
}

static int
end_migration(struct qmp *q, const struct intent *in, struct err *e)
{
    struct deadline d = deadline_in_ms(MIGRATION_END_MS);
    bool ours = false;
    char status[64] = "";

    if (capability(q, "background-snapshot", &ours, e) == -1)
        return -1;
    if (!ours || in->had_background_snapshot)
        return 0;
    if (ask_word(q, "query-migrate", "status", status, e) == -1)
        return -1;
    if (is_under_way(status) && !undo_cancel_freezes(q)) {
        struct err ignored = {0}; /* it may have ended just now */
        (void)qmp_run(q, "migrate_cancel", NULL, NULL, &ignored);
    }
    while (is_under_way(status)) {
        if (deadline_passed(d))
            return err_set(e, ERR_TIMEOUT,
                           "the RAM stream does not end (status %s)", status);
        nap();
        if (ask_word(q, "query-migrate", "status", status, e) == -1)
            return -1;
    }
    bool bad =
        strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
    if (bad && undo_cancel_freezes(q) && in->pid)
        return rescue(in->pid, e) == -1 ? -1 : 0;
    return 0;
}

static int
set_capability(struct qmp *q, const char *name, bool state, struct err *e)
{
    return qmp_run(q, "migrate-set-capabilities",
                   json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability",
                             name, "state", state),
                   NULL, e);
}

int
undo_capabilities(struct qmp *q, const struct intent *in, struct err *e)
{
    bool now = false;

    if (capability(q, "background-snapshot", &now, e) == -1)
        return -1;
    if (now != in->had_background_snapshot &&
        set_capability(q, "background-snapshot", in->had_background_snapshot,
                       e) == -1)
        return -1;
    if (capability(q, "events", &now, e) == -1)
        return -1;
    if (now != in->had_events &&
        set_capability(q, "events", in->had_events, e) == -1)
        return -1;
    return 0;
}

/* ---- the exports and their server ------------------------------------- */

/* Calls fn with the string `key` of each object in the reply of `command` that
 * starts with `prefix`; *out_n says how many there were. */
typedef int each_fn(struct qmp *q, const json_t *item, const char *value,
                    struct err *e);

static int
each_of_ours(struct qmp *q, const char *command, json_t *args, const char *key,
             const char *prefix, each_fn *fn, size_t *out_n, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    struct trying t = {0};
    json_t *item = NULL;
    size_t i = 0;

    *out_n = 0;
    if (qmp_run(q, command, args, &reply, e) == -1)
        return -1;
    json_array_foreach(reply, i, item)
    {
        const char *value = json_string_value(json_object_get(item, key));
        if (!value || !text_starts(value, prefix))
            continue;
        (*out_n)++;
        tried(&t, fn(q, item, value, e), e);
    }
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

static int
delete_export(struct qmp *q, const json_t *item, const char *id, struct err *e)
{
    if (json_is_true(json_object_get(item, "shutting-down")))
        return 0;
    return qmp_run(q, "block-export-del",
                   json_pack("{s:s, s:s}", "id", id, "mode", "hard"), NULL, e);
}

static int
remove_exports(struct qmp *q, const char *prefix, struct err *e)
{
    struct deadline d = deadline_in_ms(EXPORT_END_MS);
    size_t n = 0;

    for (;;) {
        if (each_of_ours(q, "query-block-exports", NULL, "id", prefix,
                         delete_export, &n, e) == -1)
            return -1;
        if (n == 0)
            return 0;
        if (deadline_passed(d))
            return err_set(e, ERR_TIMEOUT, "%zu NBD exports do not end", n);
        nap();
    }
}

/* Is the socket that we made open somewhere?  We have closed it, so then QEMU's
 * NBD server is ours: nobody else was given it.  (To try by connecting would
 * make QEMU complain.) */
static int
socket_is_open(const char *path, bool *out, struct err *e)
{
    CLEANUP(buf_done) struct buf text = buf_of(SOCKETS_MAX_BYTES);

    if (file_read("/proc/net/unix", &text, e) == -1)
        return -1;
    CLEANUP(freep) char *line_end = xasprintf(" %s\n", path);
    *out = strstr(buf_text(&text), line_end) != NULL;
    return 0;
}

static int
stop_nbd_server(struct qmp *q, const struct intent *in, struct err *e)
{
    bool ours = false;

    if (in->nbd_path[0] == '\0')
        return 0;
    if (socket_is_open(in->nbd_path, &ours, e) == -1)
        return -1;
    return ours ? qmp_run(q, "nbd-server-stop", NULL, NULL, e) : 0;
}

/* ---- the block graph --------------------------------------------------- */

static int
delete_node(struct qmp *q, const json_t *item, const char *node, struct err *e)
{
    (void)item;
    return qmp_run(q, "blockdev-del", json_pack("{s:s}", "node-name", node),
                   NULL, e);
}

static int
delete_nodes(struct qmp *q, const char *prefix, const char *kind, struct err *e)
{
    char start[LABEL_MAX + 8];
    size_t n = 0;

    (void)snprintf(start, sizeof(start), "%s%s", prefix, kind);
    return each_of_ours(q, "query-named-block-nodes",
                        json_pack("{s:b}", "flat", 1), "node-name", start,
                        delete_node, &n, e);
}

/* Give each device its own node again where it uses a filter of ours. */
static int
put_drives_back(struct qmp *q, const struct intent *in, const char *prefix,
                struct err *e)
{
    CLEANUP(json_decrefp) json_t *blocks = NULL;
    struct trying t = {0};
    json_t *b = NULL;
    size_t i = 0;

    if (qmp_run(q, "query-block", NULL, &blocks, e) == -1)
        return -1;
    json_array_foreach(blocks, i, b)
    {
        const char *id = json_string_value(json_object_get(b, "qdev"));
        const char *node = json_string_value(
            json_object_get(json_object_get(b, "inserted"), "node-name"));
        if (!id || !node || !text_starts(node, prefix))
            continue;
        CLEANUP(freep) char *qdev = disk_qdev_path(id);
        for (size_t d = 0; d < in->n_disks; d++)
            if (strcmp(in->disks[d].qdev, qdev) == 0)
                tried(&t,
                      qmp_run(q, "qom-set",
                              json_pack("{s:s, s:s, s:s}", "path", qdev,
                                        "property", "drive", "value",
                                        in->disks[d].node),
                              NULL, e),
                      e);
    }
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

/* ---- bitmaps ------------------------------------------------------------ */

/* One that the run added, kept in the image (its name goes on) or not. */
static bool
is_tracking(const struct intent *in, const char *name)
{
    size_t len = strlen(in->bitmap);

    return len > 0 && strncmp(name, in->bitmap, len) == 0 &&
           (name[len] == '\0' || name[len] == ':');
}

static int
remove_bitmaps(struct qmp *q, const struct intent *in, const char *prefix,
               bool tracking, struct err *e)
{
    struct trying t = {0};
    struct bitmap *all = NULL;
    size_t n = 0;

    if (bitmaps_list(q, &all, &n, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (text_starts(all[i].name, prefix) ||
            (tracking && is_tracking(in, all[i].name)))
            tried(&t, bitmap_remove(q, all[i].node, all[i].name, e), e);
    bitmaps_free(all, n);
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

/* ---- descriptors that QEMU keeps for us -------------------------------- */

static int
remove_fdsets(struct qmp *q, const char *prefix, struct err *e)
{
    CLEANUP(json_decrefp) json_t *sets = NULL;
    struct trying t = {0};
    json_t *set = NULL;
    size_t i = 0;

    if (qmp_run(q, "query-fdsets", NULL, &sets, e) == -1)
        return -1;
    json_array_foreach(sets, i, set)
    {
        const json_t *fds = json_object_get(set, "fds");
        const char *note = json_string_value(
            json_object_get(json_array_get(fds, 0), "opaque"));
        if (!note || !text_starts(note, prefix))
            continue;
        json_int_t id = json_integer_value(json_object_get(set, "fdset-id"));
        tried(&t,
              qmp_run(q, "remove-fd", json_pack("{s:I}", "fdset-id", id), NULL,
                      e),
              e);
    }
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

static void
close_passed_fd(struct qmp *q, const char *run, const char *kind)
{
    char name[LABEL_MAX];
    struct err ignored = {
        0}; /* it is an error if it was used up: it mostly is */

    label_make(name, run, kind, 0);
    (void)qmp_run(q, "closefd", json_pack("{s:s}", "fdname", name), NULL,
                  &ignored);
}

static int
undo_snapshots(struct qmp *q, const struct intent *in, bool tracking,
               struct err *e)
{
    CLEANUP(freep) char *names = xasprintf("%s:", in->bitmap);
    struct trying t = {0};

    tried(&t, snapshot_remove(q, in, e), e);
    if (tracking && in->bitmap[0])
        tried(&t, snapshot_purge(q, names, NULL, e), e);
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

/*
 * When a filter or a scratch node goes QEMU waits for what it still writes
 * there, and so does QEMU before 9.1 when a migration ends (it looks after
 * "block migration" then, whether or not that was used); the guest waits with
 * it.  A filter whose scratch file hangs may stay: its snapshot is broken, and
 * what the guest writes passes through.
 */
static int
check_scratch(const struct intent *in, struct err *e)
{
    if (in->scratch[0] == '\0' ||
        scratch_answers(in->scratch, in->hold_fd, e) == 0)
        return 0;
    return err_hint(e, "the machine runs on; what it has of this backup can be "
                       "taken out once the folder answers");
}

/* The part that may wait for the scratch files. */
static int
undo_rest(struct qmp *q, const struct intent *in, const char *prefix,
          bool tracking, struct err *e)
{
    struct trying t = {0};

    if (check_scratch(in, e) == -1)
        return -1;
    tried(&t, end_migration(q, in, e), e);
    tried(&t, undo_pause(q, in, e), e); /* its end may have stopped the guest */
    tried(&t, remove_bitmaps(q, in, prefix, tracking, e), e);
    tried(&t, delete_nodes(q, prefix, LABEL_ACCESS, e), e);
    tried(&t, put_drives_back(q, in, prefix, e), e);
    tried(&t, delete_nodes(q, prefix, LABEL_FILTER, e), e);
    tried(&t, delete_nodes(q, prefix, LABEL_SCRATCH, e), e);
    tried(&t, delete_nodes(q, prefix, LABEL_ENDMARK, e), e);
    tried(&t, remove_fdsets(q, prefix, e), e);
    close_passed_fd(q, in->run, LABEL_STREAM_FD);
    tried(&t, undo_capabilities(q, in, e), e);
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

static int
undo_all(struct qmp *q, const struct intent *in, bool tracking, struct err *e)
{
    struct trying t = {0};
    char prefix[LABEL_MAX];

    label_prefix(prefix, in->run);
    if (in->snapshot[0])
        return undo_snapshots(q, in, tracking, e);
    tried(&t, undo_pause(q, in, e), e);
    tried(&t, quiesce_undo(q, in, e), e); /* which takes a running guest */
    tried(&t, remove_exports(q, prefix, e), e);
    intent_remove_mounts(in);
    /* First the socket that QEMU may keep without having made a server of it.
     */
    close_passed_fd(q, in->run, LABEL_NBD_FD);
    tried(&t, stop_nbd_server(q, in, e), e);
    tried(&t, undo_rest(q, in, prefix, tracking, e), e);
    *e = t.first;
    return e->code == ERR_OK ? 0 : -1;
}

int
undo(struct qmp *q, const struct intent *in, struct err *e)
{
    return undo_all(q, in, true, e);
}

int
undo_but_tracking(struct qmp *q, const struct intent *in, struct err *e)
{
    return undo_all(q, in, false, e);
}
