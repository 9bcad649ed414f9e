/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_golden FOLDER: makes what is kept in tests/golden/repository-v1: a
 * repository of two small backups (password "correct horse", cheap to try).
 * It is run once a format; what it made is never edited.
 */
#include <stdio.h>

#include "fixture.h"
#include "golden.h"

int
main(int argc, char **argv)
{
    struct err e = {0};
    struct store *st = NULL;
    struct repo *r = NULL;
    struct cancel *cancel = cancel_new();
    int rc = argc == 2 ? 0 : -1;

    if (rc == 0)
        rc = store_create(argv[1], &st, &e);
    if (rc == 0)
        rc = cheap_init(st, &e);
    if (rc == 0)
        rc = repo_open(st, PASSWORD, &r, &e);
    for (int i = 0; i < GOLDEN_BACKUPS && rc == 0; i++) {
        CLEANUP(freep) uint8_t *p = golden_content(i);
        rc = write_backup(r, cancel, "golden", golden_time(i), p, GOLDEN_BYTES,
                          NULL, &e);
    }
    if (rc == -1)
        (void)fprintf(stderr, "write_golden: %s\n", e.msg);
    repo_close(r);
    store_close(st);
    cancel_free(cancel);
    return rc == 0 ? 0 : 1;
}
