/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/process.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum {
    PROC_PATH_LEN = 64,    /* "/proc/PID/..." */
    CMDLINE_MAX = 8 << 20, /* the kernel's own limit is 6 MiB */
    STAT_MAX = 4096
};

static void
dir_closep(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

static const char *
next_name(DIR *d)
{
    const struct dirent *de = readdir(d); /* NOLINT(concurrency-mt-unsafe) */

    return de ? de->d_name : NULL;
}

static int
compare_pids(const void *a, const void *b)
{
    const pid_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

pid_t *
process_list(size_t *out_n)
{
    CLEANUP(dir_closep) DIR *d = opendir("/proc");
    pid_t *all = NULL;
    size_t n = 0, room = 0;
    uint64_t pid = 0;

    for (const char *name = NULL; d && (name = next_name(d));) {
        if (!text_parse_u64(name, &pid) || pid > INT_MAX)
            continue;
        if (n == room) {
            room = room ? room * 2 : 256;
            all = xrealloc(all, room * sizeof(*all));
        }
        all[n++] = (pid_t)pid;
    }
    if (n > 0)
        qsort(all, n, sizeof(*all), compare_pids);
    *out_n = n;
    return all;
}

/* What the symbolic link /proc/PID/WHAT points to, or NULL. */
static char *
read_link(pid_t pid, const char *what)
{
    char path[PROC_PATH_LEN], target[PATH_MAX];

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    ssize_t n = readlink(path, target, sizeof(target));
    if (n <= 0 || (size_t)n == sizeof(target))
        return NULL;
    return xstrndup(target, (size_t)n);
}

/* The content of /proc/PID/WHAT, or an empty buffer. */
static struct buf
read_file(pid_t pid, const char *what, size_t max_bytes)
{
    struct buf b = buf_of(max_bytes);
    char path[PROC_PATH_LEN];
    struct err e = {0};

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    if (file_read(path, &b, &e) == -1)
        buf_reset(&b);
    return b;
}

static bool
names_qemu(const char *name)
{
    return text_starts(name, "qemu-system-") || strcmp(name, "qemu-kvm") == 0 ||
           strcmp(name, "kvm") == 0;
}

bool
process_is_qemu(pid_t pid)
{
    CLEANUP(freep) char *exe = read_link(pid, "exe");

    if (exe) {
        const char *slash = strrchr(exe, '/');
        char *deleted = strstr(exe, " (deleted)"); /* upgraded meanwhile */
        if (deleted)
            *deleted = '\0';
        return names_qemu(slash ? slash + 1 : exe);
    }
    CLEANUP(freep) char *comm = process_comm(pid);
    return comm && names_qemu(comm);
}

char *
process_comm(pid_t pid)
{
    CLEANUP(buf_done) struct buf b = read_file(pid, "comm", STAT_MAX);
    const char *text = buf_text(&b);

    if (b.len == 0)
        return NULL;
    return xstrndup(text, strcspn(text, "\n"));
}

/* Strings with a NUL behind each; NULL for none. */
static char **
split_strings(struct buf *b)
{
    const char *text = buf_text(b);
    size_t n = 0;

    if (b->len == 0) /* a kernel thread, or gone */
        return NULL;
    for (size_t at = 0; at < b->len; at += strlen(text + at) + 1)
        n++;
    char **all = xcalloc(n + 1, sizeof(*all));
    n = 0;
    for (size_t at = 0; at < b->len; at += strlen(text + at) + 1)
        all[n++] = xstrdup(text + at);
    return all;
}

char **
process_argv(pid_t pid)
{
    CLEANUP(buf_done) struct buf b = read_file(pid, "cmdline", CMDLINE_MAX);

    return split_strings(&b);
}

void
process_argv_free(char **argv)
{
    for (size_t i = 0; argv && argv[i]; i++)
        free(argv[i]);
    free(argv);
}

char *
process_env(pid_t pid, const char *name)
{
    CLEANUP(buf_done) struct buf b = read_file(pid, "environ", CMDLINE_MAX);
    char **all = split_strings(&b);
    char *value = NULL;
    size_t len = strlen(name);

    for (size_t i = 0; all && all[i] && !value; i++) {
        if (text_starts(all[i], name) && all[i][len] == '=')
            value = xstrdup(all[i] + len + 1);
    }
    process_argv_free(all);
    return value;
}

char *
process_cwd(pid_t pid)
{
    return read_link(pid, "cwd");
}

bool
process_is_stopped(pid_t pid)
{
    CLEANUP(buf_done) struct buf b = read_file(pid, "stat", STAT_MAX);
    const char *at = strrchr(buf_text(&b), ')'); /* as below */

    return at && (text_starts(at, ") T") || text_starts(at, ") t"));
}

uint64_t
process_start_time(pid_t pid)
{
    CLEANUP(buf_done) struct buf b = read_file(pid, "stat", STAT_MAX);
    char *at = strrchr(buf_text(&b), ')'); /* the name may hold anything */
    uint64_t ticks = 0;

    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        if (at)
            at++;
    }
    if (!at)
        return 0;
    at[strcspn(at, " \n")] = '\0';
    return text_parse_u64(at, &ticks) ? ticks : 0;
}

/* The same root in the same mounts?  Also if we may not know. */
static bool
sees_our_files(pid_t pid)
{
    char root[PROC_PATH_LEN], mounts[PROC_PATH_LEN];
    struct stat ours, its;

    (void)snprintf(root, sizeof(root), "/proc/%d/root", (int)pid);
    (void)snprintf(mounts, sizeof(mounts), "/proc/%d/ns/mnt", (int)pid);
    if (stat("/", &ours) == 0 && stat(root, &its) == 0 &&
        (ours.st_dev != its.st_dev || ours.st_ino != its.st_ino))
        return false;
    return stat("/proc/self/ns/mnt", &ours) == -1 || stat(mounts, &its) == -1 ||
           ours.st_ino == its.st_ino;
}

char *
process_path(pid_t pid, const char *path)
{
    CLEANUP(freep) char *cwd = process_cwd(pid);
    bool ours = sees_our_files(pid);

    if (path[0] != '/' && ours)
        return path_join(cwd ? cwd : "/", path);
    if (path[0] != '/')
        return xasprintf("/proc/%d/cwd/%s", (int)pid, path);
    return ours ? xstrdup(path) : xasprintf("/proc/%d/root%s", (int)pid, path);
}

/* The number of a thread (a folder name in /proc/PID/task) in the innermost
 * namespace: the last of "NSpid:" in its status; 0 if unknown. */
static uint64_t
inner_number(pid_t pid, const char *thread)
{
    char name[PROC_PATH_LEN];
    uint64_t number = 0;

    (void)snprintf(name, sizeof(name), "task/%.20s/status", thread);
    CLEANUP(buf_done) struct buf b = read_file(pid, name, STAT_MAX);
    char *line = strstr(buf_text(&b), "\nNSpid:");
    if (!line)
        return 0;
    line[1 + strcspn(line + 1, "\n")] = '\0';
    const char *last = strrchr(line, '\t');
    return last && text_parse_u64(last + 1, &number) ? number : 0;
}

bool
process_has_thread(pid_t pid, pid_t thread)
{
    char path[PROC_PATH_LEN];

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    CLEANUP(dir_closep) DIR *d = opendir(path);
    for (const char *name = NULL; d && (name = next_name(d));)
        if (thread > 0 && inner_number(pid, name) == (uint64_t)thread)
            return true;
    return false;
}

bool
process_holds_socket(pid_t pid, uint64_t inode)
{
    char path[PROC_PATH_LEN], wanted[PROC_PATH_LEN], target[PROC_PATH_LEN];

    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    (void)snprintf(wanted, sizeof(wanted), "socket:[%llu]",
                   (unsigned long long)inode);
    CLEANUP(dir_closep) DIR *d = opendir(path);
    for (const char *name = NULL; d && (name = next_name(d));) {
        ssize_t n = readlinkat(dirfd(d), name, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (strcmp(target, wanted) == 0)
            return true;
    }
    return false;
}

pid_t
process_with_socket(uint64_t inode)
{
    size_t n = 0;
    CLEANUP(freep) pid_t *all = process_list(&n);

    for (size_t i = 0; i < n; i++) {
        if (process_holds_socket(all[i], inode))
            return all[i];
    }
    return 0;
}
