/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/rescue.h"

#include <dirent.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

static void
dir_closep(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static void
file_closep(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

/* Our copy of QEMU's descriptor number `fd`. */
static int
copy_fd(pid_t qemu, int fd, int *out, struct err *e)
{
    CLEANUP(fd_closep) int pidfd = (int)syscall(SYS_pidfd_open, qemu, 0);

    if (pidfd == -1)
        return err_set_errno(e, ERR_IO, "cannot open process %d", (int)qemu);
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    if (copy == -1)
        return err_set_errno(e, ERR_IO, "cannot copy a descriptor of QEMU %d",
                             (int)qemu);
    *out = copy;
    return 0;
}

/* 1 and a copy of QEMU's userfaultfd, 0 if it has none. */
static int
find_uffd(pid_t qemu, int *out, struct err *e)
{
    CLEANUP(freep) char *path = xasprintf("/proc/%d/fd", (int)qemu);
    CLEANUP(dir_closep) DIR *d = opendir(path);
    const struct dirent *de = NULL;

    if (!d)
        return err_set_errno(e, ERR_IO, "cannot list %s", path);
    while ((de = readdir(d))) { /* NOLINT(concurrency-mt-unsafe) */
        char target[64] = "";
        if (readlinkat(dirfd(d), de->d_name, target, sizeof(target) - 1) < 0)
            continue;
        if (strcmp(target, "anon_inode:[userfaultfd]") == 0)
            return copy_fd(qemu, (int)strtoul(de->d_name, NULL, 10), out, e)
                       ? -1
                       : 1;
    }
    return 0;
}

static int
unprotect(int uffd, uint64_t start, uint64_t end, bool for_good, struct err *e)
{
    struct uffdio_writeprotect wp = {.range = {start, end - start}};
    struct uffdio_range range = {start, end - start};

    /* The first wakes those who wait, the second lets nobody wait again. */
    if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) == -1)
        return err_set_errno(e, ERR_IO, "cannot lift the write protection");
    if (for_good && ioctl(uffd, UFFDIO_UNREGISTER, &range) == -1)
        return err_set_errno(e, ERR_IO, "cannot unregister guest memory");
    return 0;
}

static int
free_all(pid_t qemu, bool for_good, struct err *e)
{
    CLEANUP(fd_closep) int uffd = -1;
    CLEANUP(freep) char *path = xasprintf("/proc/%d/smaps", (int)qemu);
    char line[512];
    unsigned long long start = 0, end = 0;
    int freed = 0;

    int found = find_uffd(qemu, &uffd, e);
    if (found != 1)
        return found;
    CLEANUP(file_closep) FILE *f = fopen(path, "re");
    if (!f)
        return err_set_errno(e, ERR_IO, "cannot open %s", path);
    while (fgets(line, sizeof(line), f)) {
        unsigned long long a = 0, b = 0;
        if (sscanf(line, "%llx-%llx ", &a, &b) ==
            2) { /* NOLINT(cert-err34-c) */
            start = a;
            end = b;
        }
        if (strncmp(line, "VmFlags:", 8) != 0 || !strstr(line, " uw"))
            continue;
        if (unprotect(uffd, start, end, for_good, e) == -1)
            return -1;
        freed++;
    }
    return freed;
}

int
rescue(pid_t qemu, struct err *e)
{
    return free_all(qemu, true, e);
}

int
rescue_lift(pid_t qemu, struct err *e)
{
    return free_all(qemu, false, e);
}
