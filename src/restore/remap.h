/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remap: the recorded command line of a machine, fit to start it again: its
 * writable disks are the restored images, its machine type is the versioned
 * one that it had, and options of an earlier start (-incoming, -loadvm, -S) are
 * gone.
 *
 * Source: qemu(1), -blockdev, -drive, -hda, -machine.
 */
#ifndef RESTORE_REMAP_H
#define RESTORE_REMAP_H

#include <stdbool.h>
#include <stddef.h>

struct machine;

/* In an argument, stands for the folder of the images, commas doubled. */
#define REMAP_FOLDER '\001'

struct remap_options {
    const struct machine *machine; /* borrowed */
    const char *format;            /* of the images: "qcow2" or "raw" */
    const char *ending;            /* of their names: ".qcow2" or ".raw" */
};

struct remap {
    char **args; /* NULL-terminated; the program is not among them */
    size_t n;
    bool *mapped; /* for each disk of the machine: an option names its image */
};

void remap_init(struct remap *r, const struct remap_options *o);
void remap_done(struct remap *r);

#endif
