/* SPDX-License-Identifier: Apache-2.0 */
/* folder: a new folder for a test, in $TMPDIR or /tmp, and its end. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static inline char *
folder_new(void)
{
    const char *base = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */
    char *path = NULL;

    if (asprintf(&path, "%s/vmkeep-test-XXXXXX", base ? base : "/tmp") == -1 ||
        !mkdtemp(path)) {
        perror("mkdtemp");
        abort();
    }
    return path;
}

static inline int
folder_remove_entry(const char *path, const struct stat *s, int type,
                    struct FTW *f)
{
    (void)s, (void)type, (void)f;
    return remove(path);
}

/* With all that is in it; no link is followed. */
static inline void
folder_remove(const char *path)
{
    const int how = FTW_DEPTH | FTW_PHYS;

    if (nftw(path, folder_remove_entry, 16, how) != 0) /* NOLINT */
        perror(path);
}

static inline void
folder_free(char *path)
{
    if (path)
        folder_remove(path);
    free(path);
}

static inline void
folder_freep(char **path)
{
    folder_free(*path);
}

#endif
