/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/machine_pid.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "qemu/machine.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "qemu/unixpeer.h"

static bool
has_socket(const struct machine_found *f, const char *path)
{
    struct stat wanted, st;

    for (size_t i = 0; f->sockets[i]; i++) {
        if (stat(path, &wanted) == 0 && stat(f->sockets[i], &st) == 0 &&
            wanted.st_dev == st.st_dev && wanted.st_ino == st.st_ino)
            return true;
    }
    return false;
}

/* The QEMU that has the socket on its command line, or 0. */
static pid_t
find_by_socket(const struct machine_found *all, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (has_socket(&all[i], path))
            return all[i].pid;
    return 0;
}

/* The thread of its first processor, as QEMU numbers it; 0 if it tells none. */
static pid_t
ask_thread(struct qmp *q)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    struct err ignored = {0};

    if (qmp_run(q, "query-cpus-fast", NULL, &reply, &ignored) == -1)
        return 0;
    json_int_t id = json_integer_value(
        json_object_get(json_array_get(reply, 0), "thread-id"));
    return id > 0 && id <= INT32_MAX ? (pid_t)id : 0;
}

/* Does what its command line says fit to what QEMU says? */
static bool
agrees(const struct machine_found *f, const char *name, const char *uuid)
{
    if (name[0] && strcmp(f->name, name) != 0)
        return false;
    return f->uuid[0] == '\0' || strcmp(f->uuid, uuid) == 0;
}

/*
 * Behind a relay no socket leads to QEMU.  But it tells its threads, and one of
 * these numbers in a process that also has the name is no coincidence.
 */
static pid_t
find_by_thread(const struct machine_found *all, size_t n, struct qmp *q,
               const char *name, const char *uuid)
{
    pid_t thread = ask_thread(q);

    for (size_t i = 0; thread && i < n; i++)
        if (agrees(&all[i], name, uuid) &&
            process_has_thread(all[i].pid, thread))
            return all[i].pid;
    return 0;
}

/*
 * The process that listened on the monitor is QEMU's, unless somebody else
 * made the socket and gave it to QEMU, as libvirt does: then the one that
 * holds the other end now is, but only root may look.
 */
pid_t
machine_pid(struct qmp *q, const char *socket, const char *name,
            const char *uuid)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    struct machine_found *all = NULL;
    size_t n = 0;
    struct err ignored = {0};

    if (getsockopt(qmp_fd(q), SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
        peer.pid > 0 && process_is_qemu(peer.pid))
        return peer.pid;
    pid_t pid = unixpeer_of(qmp_fd(q));
    if (pid > 0 && process_is_qemu(pid))
        return pid;
    if (machines_find(&all, &n, &ignored) == -1)
        return 0;
    pid = find_by_socket(all, n, socket);
    if (pid == 0)
        pid = find_by_thread(all, n, q, name, uuid);
    machine_found_free(all, n);
    return pid;
}
