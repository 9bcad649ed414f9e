/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that can be done before the guest is stopped is done here, so
 * that the pause is short.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "capture/drainer.h"
#include "capture/guard.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/ramspool.h"
#include "qcow2/writer.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/cancel.h"

/* Scratch files of larger disks are qcow2. */
#define SCRATCH_RAW_MAX_BYTES (UINT64_C(1) << 40)

/* A filter has three bitmaps with a bit for each part that it copies, and sets
 * all of two of them as it is made, while QEMU does nothing else: 2^26 take
 * half a second.  Parts are as large as a cluster of the scratch image. */
#define FILTER_PARTS (UINT64_C(1) << 26)
enum { SCRATCH_CLUSTER_BITS = 16, SCRATCH_CLUSTER_BITS_MAX = 21 };

static int
note_capabilities(struct live *l, struct err *e)
{
    CLEANUP(json_decrefp) json_t *list = NULL;
    json_t *c = NULL;
    size_t i = 0;

    if (qmp_run(l->qmp, "query-migrate-capabilities", NULL, &list, e) == -1)
        return -1;
    json_array_foreach(list, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "capability"));
        bool on = json_is_true(json_object_get(c, "state"));
        if (name && strcmp(name, "background-snapshot") == 0)
            l->intent->had_background_snapshot = on;
        if (name && strcmp(name, "events") == 0)
            l->intent->had_events = on;
    }
    if (l->intent->had_background_snapshot)
        return err_set(e, ERR_QEMU,
                       "machine %s has the migration capability "
                       "background-snapshot on: another tool is at work there",
                       l->machine->name);
    return 0;
}

/* The record first: from here on there is something to undo. */
static int
write_intent(struct live *l, struct err *e)
{
    CLEANUP(freep) char *dir = NULL;
    struct intent *in = intent_new(l->machine);

    l->intent = in;
    if (l->agent) {
        free(in->agent);
        in->agent = xstrdup(l->agent);
    }
    free(in->scratch);
    in->scratch = realpath(l->scratch_dir, NULL); /* for the next vmkeep */
    if (!in->scratch)
        in->scratch = xstrdup(l->scratch_dir);
    if (runtime_dir(&dir, e) == -1 || note_capabilities(l, e) == -1)
        return -1;
    free(in->nbd_path);
    in->nbd_path =
        l->by_fuse ? xstrdup("") : xasprintf("%s/%s.nbd", dir, in->run);
    for (size_t i = 0; i < l->n_disks; i++) {
        struct live_disk *d = &l->disks[i];
        label_make(d->scratch, in->run, LABEL_SCRATCH, i);
        label_make(d->filter, in->run, LABEL_FILTER, i);
        label_make(d->access, in->run, LABEL_ACCESS, i);
        label_make(d->export, in->run, LABEL_EXPORT, i);
        intent_add_disk(in, d->disk->qdev, d->disk->node);
    }
    live_name_tracking(l);
    /* On disk the window counts as open until it has been closed: should both
     * processes die in it, there was no time to write. */
    in->window_open = true;
    int rc = intent_save(in, e);
    in->window_open = false;
    return rc;
}

static int
start_processes(struct live *l, struct err *e)
{
    int spool[RAMSPOOL_FDS];

    if (fd_socketpair(l->stream, e) == -1 ||
        guard_start(l->intent, qmp_fd(l->qmp), l->stream[0], &l->guard, e) ==
            -1)
        return -1;
    if (l->disks_only) { /* a stream that ends at once */
        fd_close(&l->stream[0]);
        fd_close(&l->stream[1]);
        return 0;
    }
    if (ramspool_create(l->scratch_dir, &l->spool, e) == -1 ||
        drainer_start(l->spool, l->stream[0], l->cbw_timeout_s * 1000,
                      l->machine->pid, &l->drainer, e) == -1)
        return -1;
    ramspool_fds(l->spool, spool);
    l->intent->hold_fd = spool[0]; /* its file */
    fd_close(&l->stream[0]);
    return 0;
}

/* ---- the RAM stream ---------------------------------------------------- */

static int
enable(struct live *l, const char *capability, struct err *e)
{
    return qmp_run(l->qmp, "migrate-set-capabilities",
                   json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability",
                             capability, "state", 1),
                   NULL, e);
}

static int
prepare_stream(struct live *l, struct err *e)
{
    char name[LABEL_MAX];

    if (enable(l, "events", e) == -1)
        return -1;
    if (enable(l, "background-snapshot", e) == -1) {
        (void)err_wrap(e, "machine %s cannot be captured live",
                       l->machine->name);
        if (e->code == ERR_QEMU)
            e->code = ERR_UNSUP;
        if (strstr(e->msg, "memory configuration"))
            return err_hint(e, "some of its RAM cannot be write-protected: "
                               "RAM in a file must be in /dev/shm or huge "
                               "pages");
        if (strstr(e->msg, "host kernel"))
            return err_hint(e, "QEMU is not allowed to use userfaultfd: set "
                               "the sysctl vm.unprivileged_userfaultfd=1, or "
                               "give it access to /dev/userfaultfd");
        return -1;
    }
    label_make(name, l->intent->run, LABEL_STREAM_FD, 0);
    if (qmp_run_fd(l->qmp, "getfd", json_pack("{s:s}", "fdname", name),
                   l->stream[1], NULL, e) == -1)
        return -1;
    fd_close(&l->stream[1]);
    return 0;
}

/* ---- the disks --------------------------------------------------------- */

/* Pass `fd` to QEMU for good; *out_path is the name it goes by there. */
static int
pass_file(struct live *l, int fd, const char *note, char **out_path,
          struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run_fd(l->qmp, "add-fd", json_pack("{s:s}", "opaque", note), fd,
                   &reply, e) == -1)
        return -1;
    *out_path = xasprintf(
        "/dev/fdset/%lld",
        (long long)json_integer_value(json_object_get(reply, "fdset-id")));
    return 0;
}

static uint32_t
cluster_bits(uint64_t size_bytes)
{
    uint32_t bits = SCRATCH_CLUSTER_BITS;

    while (bits < SCRATCH_CLUSTER_BITS_MAX && size_bytes >> bits > FILTER_PARTS)
        bits++;
    return bits;
}

/* File systems have a limit to the length of a file, ext4 one of 4 or 16 TiB.
 * An image as large as a vast disk is a small file. */
static int
make_image(int fd, uint64_t size_bytes, struct err *e)
{
    CLEANUP(qcow2_writer_abandonp) struct qcow2_writer *w = NULL;
    const struct qcow2_write_options o = {
        .size_bytes = round_up(size_bytes, 512),
        .cluster_bits = cluster_bits(size_bytes)};

    if (qcow2_writer_open(fd, &o, &w, e) == -1)
        return -1;
    return qcow2_writer_commit(&w, e);
}

/* 0 if unknown: then nothing in it is taken for empty. */
static uint64_t
file_length(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A nameless, sparse file as large as the disk: worst case, all of it. */
static int
add_scratch(struct live *l, struct live_disk *d, struct err *e)
{
    CLEANUP(freep) char *path = NULL;
    bool vast = d->disk->size_bytes > SCRATCH_RAW_MAX_BYTES;

    if (file_nameless(l->scratch_dir, vast ? 0 : d->disk->size_bytes,
                      &d->scratch_fd, e) == -1 ||
        (vast && make_image(d->scratch_fd, d->disk->size_bytes, e) == -1))
        return err_wrap(e, "scratch file for disk %s", d->disk->name);
    d->copied = (struct copied){.fd = d->scratch_fd, .is_raw = !vast};
    d->copied.empty_bytes = vast ? file_length(d->scratch_fd) : 0;
    if (pass_file(l, d->scratch_fd, d->scratch, &path, e) == -1)
        return -1;
    return qmp_run(l->qmp, "blockdev-add",
                   json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:s}}", "driver",
                             vast ? "qcow2" : "raw", "node-name", d->scratch,
                             "read-only", 0, "file", "driver", "file",
                             "filename", path, "locking", "off"),
                   NULL, e);
}

/* `stop` flushes the disks while the guest waits: let little be left. */
static void
flush_image(const struct disk *d)
{
    CLEANUP(fd_closep) int fd = open(d->filename, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd != -1 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        (void)fdatasync(fd); /* only to be quicker later */
}

static int
listen_at(const char *path, int *out, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(a.sun_path))
        return err_set(e, ERR_LIMIT,
                       "the path %s is too long for a socket; set "
                       "VMKEEP_RUNTIME_DIR to a shorter one",
                       path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    CLEANUP(fd_closep) int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s == -1 || bind(s, (struct sockaddr *)&a, sizeof(a)) == -1 ||
        listen(s, 16) == -1)
        return err_set_errno(e, ERR_IO, "cannot listen at %s", path);
    *out = s;
    s = -1;
    return 0;
}

static int
start_nbd_server(struct live *l, struct err *e)
{
    CLEANUP(fd_closep) int s = -1;
    char name[LABEL_MAX];

    if (listen_at(l->intent->nbd_path, &s, e) == -1)
        return -1;
    label_make(name, l->intent->run, LABEL_NBD_FD, 0);
    if (qmp_run_fd(l->qmp, "getfd", json_pack("{s:s}", "fdname", name), s, NULL,
                   e) == -1)
        return -1;
    if (qmp_run(l->qmp, "nbd-server-start",
                json_pack("{s:{s:s, s:{s:s}}}", "addr", "type", "fd", "data",
                          "str", name),
                NULL, e) == 0)
        return 0;
    (void)err_wrap(e, "machine %s", l->machine->name);
    if (strstr(e->msg, "already running"))
        return err_hint(e, "QEMU has one NBD server, and another tool (a "
                           "backup or a storage migration) is using it");
    return -1;
}

static int
prepare_disks(struct live *l, struct err *e)
{
    for (size_t i = 0; i < l->n_disks; i++)
        if (add_scratch(l, &l->disks[i], e) == -1 ||
            cancel_check(l->cancel, e) == -1)
            return -1;
    if (live_add_filters(l, e) == -1 || live_prepare_tracking(l, e) == -1)
        return -1;
    if (l->by_fuse ? live_try_fuse(l, e) == -1
                   : l->n_disks > 0 && start_nbd_server(l, e) == -1)
        return -1;
    for (size_t i = 0; i < l->n_disks; i++)
        flush_image(l->disks[i].disk);
    return cancel_check(l->cancel, e);
}

int
live_prepare(struct live *l, struct err *e)
{
    live_progress(l, "prepare", "");
    if (write_intent(l, e) == -1 || start_processes(l, e) == -1 ||
        (!l->disks_only && prepare_stream(l, e) == -1))
        return -1;
    return prepare_disks(l, e);
}
