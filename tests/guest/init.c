/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init: the guest's first process.  Loads the drivers and becomes the witness,
 * or with witness.shell on the kernel command line a shell on the console.
 *
 * It is no script because an emulated CPU needs long to start a program.  For
 * the same reason only drivers of devices that are there are loaded: each line
 * of /modules/order is a module and the PCI devices, as VENDOR:DEVICE, of which
 * one must be there; without any it is loaded always.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"

static void
complain(const char *what, const char *name)
{
    printf("IOERROR %s %s: %s\n", what, name, strerror(errno));
}

static void
mount_at(const char *type, const char *folder)
{
    if (mount(type, folder, type, 0, NULL) != 0)
        complain("mount", folder);
}

/* The file's beginning as a string, without a newline at its end. */
static char *
read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    if (n < 0)
        complain("read", path);
    text[n < 0 ? 0 : n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

/* " VENDOR:DEVICE VENDOR:DEVICE ... " */
static void
find_devices(char *found, size_t size)
{
    DIR *folder = opendir(DEVICES);
    size_t len = (size_t)snprintf(found, size, " ");

    if (folder == NULL) {
        complain("open", DEVICES);
        return;
    }
    for (struct dirent *d; (d = readdir(folder)) != NULL;) {
        char path[512], vendor[16], device[16];

        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), DEVICES "/%s/vendor", d->d_name);
        read_file(path, vendor, sizeof(vendor));
        snprintf(path, sizeof(path), DEVICES "/%s/device", d->d_name);
        read_file(path, device, sizeof(device));
        if (len < size) /* both begin with "0x" */
            len += (size_t)snprintf(found + len, size - len, "%s:%s ",
                                    vendor + 2, device + 2);
    }
    closedir(folder);
}

static bool
is_wanted(char *devices, const char *found)
{
    bool any = false;

    for (char *id; (id = strsep(&devices, " ")) != NULL;) {
        char word[32];

        snprintf(word, sizeof(word), " %s ", id);
        if (strstr(found, word) != NULL)
            return true;
        any = true;
    }
    return !any;
}

static void
load(const char *name)
{
    char path[512];
    int fd = -1;

    snprintf(path, sizeof(path), "/modules/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
        complain("no driver", name);
    if (fd >= 0)
        close(fd);
}

static void
load_all(void)
{
    static char found[8192];
    char line[512];
    FILE *order = fopen("/modules/order", "re");

    if (order == NULL) {
        complain("open", "/modules/order");
        return;
    }
    find_devices(found, sizeof(found));
    while (fgets(line, sizeof(line), order) != NULL) {
        char *devices = line;
        char *name = NULL;

        line[strcspn(line, "\n")] = '\0';
        name = strsep(&devices, " ");
        if (is_wanted(devices, found))
            load(name);
    }
    fclose(order);
}

int
main(void)
{
    static char words[4096] = " ";

    setvbuf(stdout, NULL, _IOLBF, 0);
    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("devtmpfs", "/dev");
    load_all();
    read_file("/proc/cmdline", words + 1, sizeof(words) - 2);
    strcat(words, " ");
    if (strstr(words, " witness.shell ") != NULL) {
        execl("/bin/sh", "sh", "/init-shell", NULL);
        complain("run", "/bin/sh");
    }
    execl("/witness", "witness", NULL);
    complain("run", "/witness");
    for (;;) /* as init we may not leave */
        pause();
}
