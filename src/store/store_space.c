/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_space.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { MOUNTINFO_MAX = 4 << 20 };

/* The kernel writes a space as \040, and three more characters likewise. */
static void
unescape(char *s)
{
    char *to = s;

    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' &&
            s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to++ =
                (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* 36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw,... */
static char *
describe(const char *line)
{
    CLEANUP(freep) char *folder = NULL;
    CLEANUP(freep) char *type = NULL;
    CLEANUP(freep) char *device = NULL;
    const char *dash = strstr(line, " - ");

    if (!dash || sscanf(line, "%*s %*s %*s %*s %ms", &folder) != 1 ||
        sscanf(dash, " - %ms %ms", &type, &device) != 2)
        return NULL;
    unescape(folder);
    unescape(device);
    return xasprintf("%s on %s (%s)", device, folder, type);
}

char *
store_space_mount(const char *text, unsigned long long id)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        CLEANUP(freep) char *line = xstrndup(text, n);
        unsigned long long this_id = 0;

        if (sscanf(line, "%llu ", &this_id) == 1 && this_id == id)
            return describe(line);
        text += n;
        if (*text)
            text++;
    }
    return NULL;
}

static char *
file_system_of(int fd)
{
    CLEANUP(buf_done) struct buf text = buf_of(MOUNTINFO_MAX);
    struct err ignored = {0};
    struct statx x;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &x) == -1 ||
        !(x.stx_mask & STATX_MNT_ID) ||
        file_read("/proc/self/mountinfo", &text, &ignored) == -1)
        return NULL;
    return store_space_mount(buf_text(&text), x.stx_mnt_id);
}

void
store_space_hint(int fd, struct err *e)
{
    CLEANUP(freep) char *where = file_system_of(fd);
    char space[TEXT_SIZE_LEN] = "?";
    const char *inodes = "";
    struct statvfs v;

    if (fstatvfs(fd, &v) == 0) {
        text_size((uint64_t)v.f_bavail * v.f_frsize, space);
        if (v.f_files && v.f_favail == 0)
            inodes = " but room for no more files";
    }
    (void)err_hint(e,
                   "%s has %s free%s: make room there (forget old backups and "
                   "'vmkeep prune', or raise the quota), then try again",
                   where ? where : "its file system", space, inodes);
}
