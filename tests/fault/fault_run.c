/* SPDX-License-Identifier: Apache-2.0 */
#include "fault_run.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "shim.h"

enum { VARIABLES_MAX = 20 };

extern char **environ;

/* An environment: ours without earlier shims, and what was added. */
struct variables {
    char **list; /* NULL at the end */
    size_t n;
    char *added[VARIABLES_MAX];
    size_t n_added;
};

static void
variables_done(struct variables *v)
{
    for (size_t i = 0; i < v->n_added; i++)
        free(v->added[i]);
    free(v->list);
}

static bool
is_ours(const char *variable)
{
    return strncmp(variable, "SHIM_", 5) == 0 ||
           strncmp(variable, "LD_PRELOAD=", 11) == 0 ||
           strncmp(variable, "ASAN_OPTIONS=", 13) == 0;
}

static void
variables_init(struct variables *v)
{
    size_t n = 0;

    while (environ[n])
        n++;
    v->list = xcalloc(n + VARIABLES_MAX + 1, sizeof(*v->list));
    for (size_t i = 0; i < n; i++)
        if (!is_ours(environ[i]))
            v->list[v->n++] = environ[i];
}

static void
set(struct variables *v, const char *name, const char *value)
{
    if (!value || !value[0] || v->n_added == VARIABLES_MAX)
        return;
    v->list[v->n++] = v->added[v->n_added++] = xasprintf("%s=%s", name, value);
}

static void
set_number(struct variables *v, const char *name, uint64_t value)
{
    CLEANUP(freep) char *text = xasprintf("%llu", (unsigned long long)value);

    if (value)
        set(v, name, text);
}

static void
set_all(struct variables *v, const struct fault_run *r, int state_fd)
{
    const char *options = getenv("ASAN_OPTIONS"); /* NOLINT */
    CLEANUP(freep)
    char *asan = xasprintf("%s%sverify_asan_link_order=0",
                           options ? options : "", options ? ":" : "");
    CLEANUP(freep)
    char *state = xasprintf("/proc/%d/fd/%d", (int)getpid(), state_fd);

    set(v, "LD_PRELOAD", getenv("FAULT_SHIM")); /* NOLINT */
    set(v, "ASAN_OPTIONS", asan);
    set(v, "SHIM_STATE", state);
    set_number(v, "SHIM_AT", r->at);
    set(v, "SHIM_DO", r->what);
    set(v, "SHIM_ERRNO", r->error);
    set_number(v, "SHIM_FOREVER", r->forever);
    set(v, "SHIM_CALLS", r->calls);
    set(v, "SHIM_UNDER", r->under);
    set(v, "SHIM_PROGRAM", r->program);
    set_number(v, "SHIM_PROCESS", r->process);
    set(v, "SHIM_LACKS", r->lacks);
    set(v, "SHIM_TRACE", r->trace);
}

static int
start(const struct fault_run *r, int state_fd, int stdout_fd, pid_t *out,
      struct err *e)
{
    CLEANUP(variables_done) struct variables v = {0};
    posix_spawn_file_actions_t actions;
    char **argv = NULL;

    variables_init(&v);
    set_all(&v, r, state_fd);
    memcpy(&argv, &r->argv, sizeof(argv)); /* posix_spawn does not write it */
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, stdout_fd, 1);
    int no = posix_spawn(out, argv[0], &actions, NULL, argv, v.list);
    (void)posix_spawn_file_actions_destroy(&actions);
    errno = no;
    return no ? err_set_errno(e, ERR_IO, "cannot start %s", argv[0]) : 0;
}

static int
read_all(int fd, struct buf *out, struct err *e)
{
    for (;;) {
        char chunk[4096];
        ssize_t n = fd_read_some(fd, chunk, sizeof(chunk));
        if (n == -1)
            return err_set_errno(e, ERR_IO, "cannot read the output");
        if (n == 0)
            return buf_check(out, "the output", e);
        buf_add(out, chunk, (size_t)n);
    }
}

int
fault_run(const struct fault_run *r, struct fault_outcome *out,
          struct buf *output, struct err *e)
{
    CLEANUP(fd_closep) int state_fd = memfd_create("shim", MFD_CLOEXEC);
    int ends[2] = {-1, -1};
    struct shim_state state = {0};
    int status = 0;
    pid_t pid = -1;

    if (!getenv("FAULT_SHIM")) /* NOLINT */
        return err_set(e, ERR_USAGE, "FAULT_SHIM does not name the shim");
    if (state_fd == -1 || ftruncate(state_fd, SHIM_STATE_BYTES) == -1)
        return err_set_errno(e, ERR_IO, "cannot make the shim's state");
    if (pipe2(ends, O_CLOEXEC) == -1)
        return err_set_errno(e, ERR_IO, "cannot make a pipe");
    CLEANUP(fd_closep) int from = ends[0];
    CLEANUP(fd_closep) int to = ends[1];
    if (start(r, state_fd, to, &pid, e) == -1)
        return -1;
    fd_close(&to);
    int rc = read_all(from, output, e);
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        ;
    if (rc == -1 ||
        fd_pread(state_fd, &state, sizeof(state), 0, "state", e) == -1)
        return -1;
    *out = (struct fault_outcome){
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .calls = state.calls,
        .faults = state.faults,
        .processes = state.processes,
    };
    return 0;
}
