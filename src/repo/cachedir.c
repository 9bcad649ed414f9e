/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/cachedir.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/keyring.h"

int
cachedir_open(const char *dir, const struct keyring *k, bool make)
{
    char repo[2 * KEYRING_ID_BYTES + 1];
    struct err ignored = {0};
    struct stat st;

    if (!dir)
        return -1;
    hex_encode(k->repo_id, sizeof(k->repo_id), repo);
    CLEANUP(freep) char *path = path_join(dir, repo);
    if (make && dir_make(path, &ignored) == -1)
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd != -1 && (fstat(fd, &st) == -1 || st.st_uid != geteuid() ||
                     (st.st_mode & (S_IWGRP | S_IWOTH))))
        fd_close(&fd);
    return fd;
}

bool
cachedir_is_private(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
           (st->st_mode & (S_IRWXG | S_IRWXO)) == 0;
}
