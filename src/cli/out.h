/* SPDX-License-Identifier: Apache-2.0 */
/*
 * out: what a command says, and where: the answer on stdout, all else on
 * stderr, as text for people or as JSON for programs.
 *
 * A failed write to stdout is remembered and makes the run fail at its end; a
 * backup under way is finished first.
 *
 * Threads: a line comes out whole, whoever prints it.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/outcome.h"

struct table;

struct out {
    bool json;
    bool quiet;
    bool bold;          /* stdout is a terminal and may be decorated */
    size_t width;       /* columns of the terminal on stdout; 0: it is none */
    atomic_int failure; /* errno of the first failed write to stdout, or 0 */
};

/* Also gives stdin, stdout and stderr something harmless where they were
 * closed, so that no file of ours ends up there. */
void out_init(struct out *o);

/* The answer, as text. */
void out_text(struct out *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void out_table(struct out *o, const struct table *t);

/* The answer to a question: one JSON document.  Takes `j`. */
void out_document(struct out *o, json_t *j);
/* One line of many, with the given "type" in front.  Takes `j`, an object. */
void out_line(struct out *o, const char *type, json_t *j);

/* On stderr, for people or as {"type":"note"|"warning","message":...}; notes
 * only without --quiet. */
void out_note(struct out *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void out_warning(struct out *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* On stderr: "vmkeep: COMMAND: message", or {"type":"error","code":...,
 * "exit":...,"message":...}.  `command` and `machine` may be NULL. */
void out_error(struct out *o, const char *command, const char *machine,
               enum outcome outcome, const struct err *e);

/* Everything must be out now: -1 and ERR_IO if some of it is not. */
int out_finish(struct out *o, struct err *e);

#endif
