/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey_view: what is said of a surveyed machine, as JSON and as text.
 *
 * `with_repo`: a repository was asked too, so the last backup is told.
 */
#ifndef CLI_SURVEY_VIEW_H
#define CLI_SURVEY_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct ability;
struct ability_disk;
struct cli;
struct disk;
struct survey_row;

/* How the next backup would read this disk, or NULL if that is not known. */
const struct ability_disk *survey_reading(const struct ability *a,
                                          const struct disk *d);
/* What it is doing, in a word or three. */
const char *survey_state(const struct survey_row *r);
/* The best method that there is now; "" if that is not known. */
const char *survey_method(const struct survey_row *r);

/* All that is known of it; the caller's. */
json_t *survey_json(const struct survey_row *r, bool with_repo);

/* A table with a line for each, and what keeps them from a better method. */
void survey_print_list(struct cli *c, const struct survey_row *rows, size_t n,
                       bool with_repo);
/* One with all details. */
void survey_print_machine(struct cli *c, const struct survey_row *r,
                          bool with_repo);

#endif
