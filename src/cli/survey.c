/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/survey.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "capture/ability.h"
#include "capture/intent.h"
#include "cli/target.h"
#include "qemu/machine.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "repo/repo.h"
#include "work/pool.h"

enum {
    REPLY_MS = 3000, /* a machine that is slower than that has a problem */
    ASK_AT_ONCE = 16 /* threads that only wait */
};

struct question {
    struct survey_row *row;
    struct repo *repo;
};

/* The monitor that the backup uses serves nobody else meanwhile.  To be freed;
 * the names in it are borrowed. */
static char **
sockets_but(const struct machine_found *f, const struct intent *backup)
{
    size_t n = 0, all = 0;

    while (f->sockets[all])
        all++;
    char **list = xcalloc(all + 1, sizeof(list[0]));
    for (size_t i = 0; i < all; i++)
        if (!backup || strcmp(backup->socket, f->sockets[i]) != 0)
            list[n++] = f->sockets[i];
    return list;
}

static int
describe(struct survey_row *row, struct repo *r, struct err *e)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;
    CLEANUP(freep) char **others = sockets_but(row->found, row->backup);
    struct machine_found found = *row->found;
    const char *socket = NULL;

    found.sockets = others;
    if (target_connect(&found, &q, &socket, e) == -1)
        return -1;
    qmp_set_timeout_ms(q, REPLY_MS);
    if (machine_describe(q, socket, &row->machine, e) == -1)
        return -1;
    /* The one under way is in the way of every method. */
    if (row->backup)
        return 0;
    if (ability_look(q, row->machine, r, &row->ability, e) == 0)
        return 0;
    machine_free(STEAL(row->machine));
    return -1;
}

/* A pool_fn; what fails concerns one machine, never the others. */
static int
describe_job(void *arg, int failed, struct err *e)
{
    CLEANUP(freep) struct question *ask = arg;
    struct survey_row *row = ask->row;
    pid_t pid = row->found->pid;

    (void)failed;
    (void)e;
    if (describe(row, ask->repo, &row->why) == 0 ||
        row->why.code != ERR_TIMEOUT || !pid || !process_is_stopped(pid))
        return 0;
    row->is_stopped = true;
    err_clear(&row->why);
    (void)err_set(&row->why, ERR_TIMEOUT,
                  "it does not answer: its process %d is stopped (SIGSTOP, or "
                  "a debugger)",
                  (int)pid);
    return 0;
}

void
survey_ask(struct survey_row *rows, size_t n, struct repo *r)
{
    CLEANUP(pool_freep) struct pool *pool = pool_new(ASK_AT_ONCE);
    CLEANUP(group_freep) struct group *group = group_new(pool, ASK_AT_ONCE);

    for (size_t i = 0; i < n; i++) {
        const struct question ask = {&rows[i], r};
        group_run(group, describe_job, xmemdup(&ask, sizeof(ask)));
    }
}

void
survey_print_fix(const struct survey_row *row, struct buf *out)
{
    if (row->is_stopped)
        buf_printf(out, "let it go on: kill -CONT %d", (int)row->found->pid);
    else
        target_print_fix(row->found, row->why.code, out);
}

/* ---- their backups ----------------------------------------------------- */

struct search {
    struct survey_row *rows;
    size_t n;
};

/* By its UUID if both have one, else by its name. */
static bool
is_of(const struct manifest *m, const struct survey_row *row)
{
    const char *uuid = row->machine ? row->machine->uuid : row->found->uuid;
    const char *name = row->machine ? row->machine->name : row->found->name;

    if (*uuid && *m->uuid)
        return strcasecmp(uuid, m->uuid) == 0;
    return strcmp(name, m->machine) == 0;
}

/* A backup_list_fn. */
static int
look_at(void *cookie, const struct manifest *m, struct err *e)
{
    const struct search *s = cookie;

    (void)e;
    if (m->sealed)
        return 0;
    for (size_t i = 0; i < s->n; i++) {
        struct survey_last *last = &s->rows[i].last;
        if (!is_of(m, &s->rows[i]) ||
            (last->method && last->time_ns > m->time_ns))
            continue;
        free(last->method);
        last->method = xstrdup(m->method);
        last->time_ns = m->time_ns;
        memcpy(last->id, m->id, sizeof(last->id));
    }
    return 0;
}

int
survey_backups(struct survey_row *rows, size_t n, struct repo *r, struct err *e)
{
    struct search s = {rows, n};

    return backup_list(r, look_at, &s, e);
}

void
survey_row_done(struct survey_row *row)
{
    ability_free(STEAL(row->ability));
    machine_free(STEAL(row->machine));
    free(STEAL(row->last.method));
}
