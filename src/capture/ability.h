/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ability: how a machine could be saved now: by which methods, why not by the
 * others, and what the next backup would have to read.
 *
 * It asks the methods' own preflights, which look only: nothing changes in the
 * machine or in the repository.
 */
#ifndef CAPTURE_ABILITY_H
#define CAPTURE_ABILITY_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct machine;
struct qmp;
struct repo;

enum { ABILITY_METHODS = 3 };

struct ability_method {
    const char *name;
    char *why_not; /* NULL: it can */
};

struct ability_disk {
    const char *name;     /* of the machine; borrowed */
    const char *why_full; /* all of it will be read, because; NULL: what has
                             changed */
};

struct ability {
    struct ability_method methods[ABILITY_METHODS]; /* the best first */
    const char *best;           /* the first of those that it can, or NULL */
    uint64_t least_us, most_us; /* of the pause, by the method live; else 0 */

    /* How the best method would read the writable disks; none where no
     * repository was given, or that could not be asked. */
    struct ability_disk *disks;
    size_t n_disks;
    char *tracking_error; /* why it could not, or NULL */
};

/*
 * For the machine `m`, which `q` is connected to, and which must outlive *out.
 * `r` may be NULL.  *out is to be freed with ability_free.  -1 if QEMU does not
 * answer any more.
 */
int ability_look(struct qmp *q, struct machine *m, struct repo *r,
                 struct ability **out, struct err *e);
void ability_free(struct ability *a); /* NULL is allowed */
void ability_freep(struct ability **a);

#endif
