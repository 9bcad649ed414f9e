/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "qemu/cmdline.h"
#include "qemu/machine.h"
#include "qemu/process.h"

static bool
is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/*
 * Where `path` of the command line is for us.  QEMU made the socket when it
 * started: before a -chroot of its own, and in the folder that it was started
 * in, which it leaves with -daemonize.
 */
static char *
locate(pid_t pid, const char *path)
{
    char *usual = process_path(pid, path);
    CLEANUP(freep) char *start = process_env(pid, "PWD");

    if (is_socket(usual))
        return usual;
    if (path[0] == '/' && is_socket(path)) {
        free(usual);
        return xstrdup(path);
    }
    if (path[0] != '/' && start) {
        CLEANUP(freep) char *there = path_join(start, path);
        char *again = process_path(pid, there);
        if (is_socket(again)) {
            free(usual);
            return again;
        }
        free(again);
    }
    return usual;
}

/* False if the process is gone, or shows nothing. */
static bool
look_at(pid_t pid, struct machine_found *out)
{
    struct cmdline c = {0};
    char **argv = process_argv(pid);

    if (!argv)
        return false;
    cmdline_read(argv, &c);
    process_argv_free(argv);
    for (size_t i = 0; c.sockets[i]; i++) {
        char *path = locate(pid, c.sockets[i]);
        free(c.sockets[i]);
        c.sockets[i] = path;
    }
    out->pid = pid;
    out->name = c.name ? STEAL(c.name) : xasprintf("qemu-%d", (int)pid);
    out->uuid = c.uuid ? STEAL(c.uuid) : xstrdup("");
    out->sockets = STEAL(c.sockets);
    cmdline_done(&c);
    return true;
}

int
machines_find(struct machine_found **out, size_t *out_n, struct err *e)
{
    size_t n_pids = 0, n = 0;
    CLEANUP(freep) pid_t *pids = process_list(&n_pids);
    struct machine_found *all = NULL;

    if (n_pids == 0)
        return err_set(e, ERR_IO,
                       "cannot list the processes: is /proc mounted?");
    for (size_t i = 0; i < n_pids; i++) {
        if (!process_is_qemu(pids[i]))
            continue;
        all = xrealloc(all, (n + 1) * sizeof(*all));
        if (look_at(pids[i], &all[n]))
            n++;
    }
    *out = all;
    *out_n = n;
    return 0;
}

void
machine_found_free(struct machine_found *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(m[i].name);
        free(m[i].uuid);
        for (size_t k = 0; m[i].sockets[k]; k++)
            free(m[i].sockets[k]);
        free(m[i].sockets);
    }
    free(m);
}
