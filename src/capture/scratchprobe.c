/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/scratchprobe.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "capture/helper_internal.h"

enum { PATH_MAX_BYTES = 4096, WRITE_BYTES = 4096, REAP_MS = 1000 };

/* ---- who asks ----------------------------------------------------------- */

struct scratchprobe {
    int control;
    pid_t pid;
    bool answered;
};

static int
start(struct scratchprobe *p, const char *dir, int hold, struct err *e)
{
    int pair[2] = {-1, -1};

    if (strlen(dir) >= PATH_MAX_BYTES)
        return err_set(e, ERR_LIMIT,
                       "the path of the scratch folder is longer "
                       "than a path can be");
    if (fd_socketpair(pair, e) == -1)
        return -1;
    p->control = pair[0];
    const int fds[] = {pair[1], hold};
    int rc = helper_spawn("probe", fds, hold == -1 ? 1 : 2, &p->pid, e);
    fd_close(&pair[1]);
    return rc == -1
               ? -1
               : fd_write(p->control, dir, strlen(dir) + 1, "to the probe", e);
}

int
scratchprobe_start(const char *dir, int hold, struct scratchprobe **out,
                   struct err *e)
{
    CLEANUP(scratchprobe_freep)
    struct scratchprobe *p = xcalloc(1, sizeof(*p));

    p->control = -1;
    if (start(p, dir, hold, e) == -1)
        return -1;
    *out = STEAL(p);
    return 0;
}

bool
scratchprobe_wait(struct scratchprobe *p, struct deadline d)
{
    struct pollfd pfd = {.fd = p->control, .events = POLLIN};

    while (!p->answered) {
        int n = poll(&pfd, 1, deadline_poll_ms(d));
        if (n == 1) /* also if it died: then it does not hang */
            p->answered = true;
        else if (n == 0 && deadline_passed(d))
            return false;
    }
    return true;
}

void
scratchprobe_free(struct scratchprobe *p)
{
    struct deadline d = deadline_in_ms(REAP_MS);

    if (!p)
        return;
    fd_close(&p->control);
    while (p->pid > 0 && waitpid(p->pid, NULL, WNOHANG) == 0 && p->answered &&
           !deadline_passed(d))
        (void)poll(NULL, 0, 1);
    free(p);
}

void
scratchprobe_freep(struct scratchprobe **p)
{
    scratchprobe_free(*p);
}

int
scratch_answers(const char *dir, int hold, struct err *e)
{
    CLEANUP(scratchprobe_freep) struct scratchprobe *p = NULL;

    if (scratchprobe_start(dir, hold, &p, e) == -1)
        return -1;
    if (scratchprobe_wait(p, deadline_in_ms(SCRATCH_ANSWER_MS)))
        return 0;
    return err_set(e, ERR_TIMEOUT,
                   "the scratch folder %s does not answer: its disk hangs",
                   dir);
}

/* ---- the process ----------------------------------------------------------
 */

enum { CONTROL = HELPER_FIRST_FD };

static void
try_folder(const char *dir)
{
    static const uint8_t nothing[WRITE_BYTES];
    struct err ignored = {0}; /* an error is an answer */
    int fd = -1;

    if (file_nameless(dir, 0, &fd, &ignored) == -1)
        return;
    if (fd_pwrite(fd, nothing, sizeof(nothing), 0, dir, &ignored) == 0)
        (void)fdatasync(fd);
    /* Left open: closing it is for after the answer. */
}

int
probe_main(void)
{
    char dir[PATH_MAX_BYTES];
    size_t n = 0;

    (void)prctl(PR_SET_NAME, "vmkeep-probe");
    do
        if (n == sizeof(dir) || fd_read_some(CONTROL, &dir[n], 1) != 1)
            return 1;
    while (dir[n++] != '\0');
    try_folder(dir);
    (void)send(CONTROL, "", 1, MSG_NOSIGNAL);
    return 0;
}
