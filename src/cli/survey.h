/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey: all that can be told of the machines of this host and of their
 * backups, without doing anything to them.
 *
 * The machines are asked all at once.  What is wrong with one is told in its
 * own row; what is wrong with the repository fails no row.
 */
#ifndef CLI_SURVEY_H
#define CLI_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "repo/manifest.h"

struct ability;
struct buf;
struct intent;
struct machine;
struct machine_found;
struct repo;

/* The newest backup of a machine in the repository. */
struct survey_last {
    char id[BACKUP_ID_LEN + 1];
    int64_t time_ns;
    char *method; /* NULL: there is no backup */
};

enum { SURVEY_FIX_MAX_BYTES = 1024 }; /* of survey_print_fix */

struct survey_row {
    const struct machine_found *found; /* borrowed */
    const struct intent *backup;       /* under way of it, borrowed, or NULL */
    struct machine *machine;           /* NULL if it could not be asked */
    struct err why;                    /* then */
    struct ability *ability; /* NULL then, and while a backup is under way */
    bool is_stopped;         /* its process does not run (SIGSTOP) */
    struct survey_last last;
};

/* Fill rows whose `found` and `backup` are set; `r` may be NULL. */
void survey_ask(struct survey_row *rows, size_t n, struct repo *r);

/* What to do about one that could not be asked: one line. */
void survey_print_fix(const struct survey_row *row, struct buf *out);

/* And `last` of all that were asked.  Also if it fails some may be filled. */
int survey_backups(struct survey_row *rows, size_t n, struct repo *r,
                   struct err *e);

/* What is in a row but the row; for one that is all zero too. */
void survey_row_done(struct survey_row *row);

#endif
