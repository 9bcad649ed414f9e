/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest: what one backup is: which machine, when, how, and its volumes.
 *
 * The repository knows volumes; what they mean (which disk goes where, which
 * bytes of device state) is in `detail`, JSON that capture/ writes and restore/
 * reads.
 */
#ifndef REPO_MANIFEST_H
#define REPO_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/volume.h"

struct err;

enum { BACKUP_ID_LEN = 32, MANIFEST_MAX_VOLUMES = 4096 };

struct manifest_volume {
    char *name; /* "disk/vda", "ram/pc.ram", "state/tail" */
    struct volume_root root;
};

/* Where a backup was first made, if not in this repository: a copy says so. */
struct manifest_origin {
    char repository[BACKUP_ID_LEN + 1]; /* "": here */
    char backup[BACKUP_ID_LEN + 1];
};

struct manifest {
    char id[BACKUP_ID_LEN + 1]; /* random; hexadecimal */
    int64_t time_ns;            /* the instant t0, wall clock of the host */
    char *machine;              /* name */
    char *uuid;                 /* 8-4-4-4-12, or "" */
    char *host;                 /* of the hypervisor */
    char *method;               /* "live", "savevm", "disk", "import" */
    uint64_t read_bytes, new_bytes, stored_bytes;
    struct manifest_volume *volumes;
    size_t n_volumes;
    json_t *detail; /* an object */
    struct manifest_origin origin;

    /* The key that opened the repository can't open this backup: all that is
     * known are id, time, and these.  Only backup_list gives such. */
    bool sealed;
    uint32_t ns;            /* number of its namespace */
    uint8_t machine_tag[8]; /* the same for all backups of a machine */
};

/* With a new random id, the time now, and no text and volumes. */
struct manifest *manifest_new(void);
void manifest_free(struct manifest *m); /* NULL is allowed */
void manifest_freep(struct manifest **m);

/* Copies the name. */
void manifest_add_volume(struct manifest *m, const char *name,
                         const struct volume_root *root);
/* Borrowed; NULL if there is none of that name. */
const struct manifest_volume *manifest_volume(const struct manifest *m,
                                              const char *name);

/* The whole manifest but the ids of its objects, for --json and `show`. */
json_t *manifest_to_json(const struct manifest *m);

#endif
