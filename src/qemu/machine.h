/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine: what one running QEMU is, as far as saving and continuing it needs.
 *
 * Ownership: a machine owns all that it points to.
 */
#ifndef QEMU_MACHINE_H
#define QEMU_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "qemu/qmp.h"

struct err;

/* A block device of the guest with a medium in it. */
struct disk {
    char *name;     /* unique in the machine and fit for a file name: the id of
                       the device or drive, else "diskN" */
    char *device;   /* name of its BlockBackend, "" if it has none */
    char *qdev;     /* QOM path of the device, "" if there is none */
    char *node;     /* node-name of the device's root node */
    char *format;   /* driver of that node: "qcow2", "raw", ... */
    char *filename; /* of the image, as QEMU tells it */
    uint64_t size_bytes;
    bool read_only; /* nothing in it can change: not part of the instant */
    bool removable;
    /* A dirty bitmap that QEMU keeps in its image tells of all writes to it: a
     * qcow2 image (version 3), all data in that one file, nothing below it, and
     * flushes reach it.  Only of a disk that QEMU was asked about. */
    bool keeps_bitmaps;
};

struct machine {
    char *name;          /* -name, else the UUID, else "qemu-PID" */
    char *uuid;          /* 8-4-4-4-12, or "" if it is all zeros */
    char *socket;        /* of the monitor it was described through */
    pid_t pid;           /* in our namespace; 0 if unknown */
    uint64_t start_time; /* of that process, clock ticks since boot: with the
                            pid it names one process for good; 0 if unknown */
    struct qmp_version version;
    char *type;   /* versioned, such as "pc-q35-7.2" */
    char *status; /* run state: "running", "paused", ... */
    bool running;
    uint64_t ram_bytes;
    char **argv; /* its command line, NULL-terminated; NULL if unreadable */
    char *cwd;   /* its working folder, or NULL */
    struct disk *disks; /* in the order in which QEMU lists them */
    size_t n_disks;
    char **blockers; /* why it cannot migrate, NULL-terminated; empty if it
                        can */
};

/* Ask QEMU (and /proc about its process).  `socket` is remembered. */
int machine_describe(struct qmp *q, const char *socket, struct machine **out,
                     struct err *e);
void machine_free(struct machine *m); /* NULL is allowed */
void machine_freep(struct machine **m);

/* For the detail of a manifest, and back: ERR_CORRUPT if it is not one. */
json_t *machine_to_json(const struct machine *m);
int machine_from_json(const json_t *j, struct machine **out, struct err *e);

/* ---- finding them ----------------------------------------------------- */

/* A QEMU process of this host, as /proc shows it. */
struct machine_found {
    pid_t pid;
    char *name;     /* as on its command line, or "qemu-PID" */
    char *uuid;     /* as on its command line, or "" */
    char **sockets; /* monitor (QMP) UNIX sockets on its command line, as seen
                       from this process, NULL-terminated; empty: none */
};

/* All QEMU system emulators that we may look at, by pid.  An array of *out_n
 * that is the caller's, to be freed with machine_found_free. */
int machines_find(struct machine_found **out, size_t *out_n, struct err *e);
void machine_found_free(struct machine_found *m, size_t n);

#endif
