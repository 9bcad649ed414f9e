/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/underway.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"

enum { LOOK_MS = 50, UNDERWAY_MAX = 4096 };

static void
dir_closep(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

int
underway_list(struct intent ***out, size_t *out_n, struct err *e)
{
    CLEANUP(freep) char *dir = NULL;
    const struct dirent *de = NULL;
    struct intent **all = NULL;
    size_t n = 0;

    if (runtime_dir(&dir, e) == -1)
        return -1;
    CLEANUP(dir_closep) DIR *d = opendir(dir);
    if (!d)
        return err_set_errno(e, ERR_IO, "cannot list %s", dir);
    while (n < UNDERWAY_MAX &&
           (de = readdir(d))) { /* NOLINT(concurrency-mt-unsafe) */
        struct intent *in = NULL;
        struct err ignored = {0}; /* it may have ended just now */
        if (!text_ends(de->d_name, ".intent"))
            continue;
        CLEANUP(freep) char *path = xasprintf("%s/%s", dir, de->d_name);
        if (intent_read(path, &in, &ignored) == -1)
            continue;
        /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
        all = xrealloc(all, (n + 1) * sizeof(all[0]));
        all[n++] = in;
    }
    *out = all;
    *out_n = n;
    return 0;
}

void
underway_free(struct intent **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        intent_free(list[i]);
    free(list);
}

/* Until the record is gone and, if there is one, the process has ended; or
 * `d`.  Did it end? */
static bool
await_end(const struct intent *in, int worker, struct deadline d)
{
    struct pollfd p = {.fd = worker, .events = POLLIN};

    while (!deadline_passed(d)) {
        bool gone = worker == -1 || poll(&p, 1, 0) == 1;
        if (gone && !file_exists(in->path))
            return true;
        /* When the record is gone the process is about to end by itself. */
        (void)poll(NULL, 0, LOOK_MS);
    }
    return false;
}

static int
tell(int worker, int signal_number, struct err *e)
{
    if (syscall(SYS_pidfd_send_signal, worker, signal_number, NULL, 0) == 0 ||
        errno == ESRCH)
        return 0;
    return err_set_errno(e, errno == EPERM ? ERR_DENIED : ERR_IO,
                         "cannot signal the process of the backup");
}

int
underway_abort(const struct intent *in, struct deadline patience,
               struct deadline end, bool *out_killed, struct err *e)
{
    CLEANUP(fd_closep)
    int worker = (int)syscall(SYS_pidfd_open, in->worker, 0);

    /* Looked at after it is held: it cannot become another one any more. */
    if (worker != -1 && !intent_worker_lives(in))
        fd_close(&worker);
    *out_killed = worker == -1;
    if (worker != -1) {
        if (tell(worker, SIGTERM, e) == -1)
            return -1;
        if (await_end(in, worker, patience))
            return 0;
        if (tell(worker, SIGKILL, e) == -1)
            return -1;
        *out_killed = true;
    }
    if (await_end(in, worker, end))
        return 0;
    (void)err_set(e, ERR_TIMEOUT,
                  "the backup of machine %s was ended, but the machine is not "
                  "as before yet",
                  in->machine);
    return err_hint(e, "`vmkeep machines` tries to put it right");
}
