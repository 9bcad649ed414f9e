/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_temps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/store_place.h"

static const char TEMPS[] = "tmp";

static void
dir_closep(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* What the storage says the time is: a new file has it. */
static int
storage_time(const struct place *p, int folder, struct timespec *out,
             struct err *e)
{
    char name[32];
    struct stat s;

    (void)snprintf(name, sizeof(name), "now-%016llx",
                   (unsigned long long)rand_u64());
    CLEANUP(fd_closep)
    int fd = openat(folder, name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1)
        return place_fail(p, "create a file in", TEMPS, e);
    int rc = fstat(fd, &s);
    int no = errno;
    (void)unlinkat(folder, name, 0);
    errno = no;
    if (rc == -1)
        return place_fail(p, "look at a file in", TEMPS, e);
    *out = s.st_mtim;
    return 0;
}

static bool
is_left_behind(int folder, const char *name, const struct timespec *now)
{
    struct stat s;

    return fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(s.st_mode) &&
           s.st_mtim.tv_sec < now->tv_sec - STORE_TEMPS_AGE_S;
}

int
store_temps_sweep(struct place *p, struct err *e)
{
    struct timespec now = {0};
    int fd = openat(p->fd, TEMPS, PLACE_FOLDER_FLAGS);

    if (fd == -1 && errno == ENOENT)
        return 0;
    if (fd == -1)
        return place_fail(p, "open the folder", TEMPS, e);
    CLEANUP(dir_closep) DIR *in = fdopendir(fd);
    if (!in) {
        fd_close(&fd);
        return place_fail(p, "list the folder", TEMPS, e);
    }
    if (storage_time(p, dirfd(in), &now, e) == -1)
        return -1;
    for (;;) {
        errno = 0;
        const struct dirent *de =
            readdir(in); /* NOLINT(concurrency-mt-unsafe) */
        if (!de)
            return errno ? place_fail(p, "list the folder", TEMPS, e) : 0;
        if (is_left_behind(dirfd(in), de->d_name, &now) &&
            unlinkat(dirfd(in), de->d_name, 0) == -1 && errno != ENOENT)
            return place_fail(p, "remove what was left in", TEMPS, e);
    }
}
