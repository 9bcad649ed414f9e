/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks: QEMU's list of block devices as struct disk.
 *
 * Source: QMP query-block.
 */
#ifndef QEMU_DISKS_H
#define QEMU_DISKS_H

#include "qemu/machine.h"

enum {
    DISKS_MAX = 1024,
    DISK_NAME_MAX = 64 /* characters of a disk's name, without a suffix */
};

/* The reply to query-block.  Drives without a medium are left out.  ERR_QEMU
 * if it is not what QEMU replies, ERR_LIMIT past DISKS_MAX. */
int disks_read(const json_t *blocks, struct disk **out, size_t *out_n,
               struct err *e);
void disks_free(struct disk *d, size_t n);

/* The QOM path of a device as query-block names it: its bare id where it has
 * one of its own.  "" for "".  To be freed. */
char *disk_qdev_path(const char *qdev);

/* Is it fit for a file name: letters, digits, "._-", a letter or digit first?
 */
bool disk_name_is_fit(const char *name);

#endif
