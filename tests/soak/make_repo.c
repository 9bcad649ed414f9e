/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make_repo FOLDER LEASE VISIBILITY WINDOW GRACE AGE: makes a repository there
 * whose protocol has these times, in seconds, for tests that live through many
 * of them.  Its password, "correct horse", costs next to nothing to try.
 *
 * The times are in a config of the next generation, made as `vmkeep key add`
 * makes one; everybody goes by what the newest says.
 */
#include <stdio.h>

#include "../unit/repo/fixture.h"
#include "base/buf.h"
#include "base/text.h"

static int
read_times(char **argv, struct config *c)
{
    uint32_t *const out[] = {&c->lease_s, &c->visibility_s, &c->window_s,
                             &c->grace_s, &c->age_s};

    for (size_t i = 0; i < ARRAY_LEN(out); i++) {
        uint64_t n = 0;
        if (!text_parse_u64(argv[i], &n) || n > UINT32_MAX)
            return -1;
        *out[i] = (uint32_t)n;
    }
    return 0;
}

static int
amend(struct repo *r, char **times, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);
    struct config c = r->config; /* its arrays are borrowed */
    char name[NAME_MAX_LEN];

    memcpy(c.previous, r->config_sum, sizeof(c.previous));
    c.generation++;
    if (read_times(times, &c) == -1)
        return err_set(e, ERR_USAGE, "five times in seconds are needed");
    config_pack(&c, &r->keys, &bytes);
    name_config(c.generation, name);
    return store_put(r->store, name, bytes.p, bytes.len, e);
}

int
main(int argc, char **argv)
{
    CLEANUP(store_closep) struct store *st = NULL;
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct err e = {0};

    if (argc != 7) {
        (void)fprintf(stderr, "usage: make_repo FOLDER LEASE VISIBILITY WINDOW "
                              "GRACE AGE\n");
        return 2;
    }
    if (store_create(argv[1], &st, &e) == -1 || cheap_init(st, &e) == -1 ||
        repo_open(st, PASSWORD, &r, &e) == -1 || amend(r, argv + 2, &e) == -1) {
        (void)fprintf(stderr, "make_repo: %s\n", e.msg);
        return 1;
    }
    return 0;
}
