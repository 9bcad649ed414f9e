/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_golden FOLDER: makes what is kept in tests/golden/repository-v1: a
 * repository of three small backups, the last an increment (password "correct
 * horse", cheap to try). It is run once a format; what it made is never edited.
 */
#include <stdio.h>

#include "fixture.h"
#include "golden.h"

static int
write_increment(struct repo *r, struct cancel *cancel,
                const struct manifest *base, struct err *e)
{
    const struct backup_options o = {.base = base->id};
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    CLEANUP(freep) uint8_t *p = golden_content(2);
    struct backup_writer *b = NULL;
    struct volume_root root = {0};

    free(m->machine);
    m->machine = xstrdup("golden");
    m->time_ns = golden_time(2);
    if (backup_begin(r, &o, cancel, &b, e) == -1 ||
        change_volume(b, "disk/vda", &base->volumes[0].root, p, GOLDEN_BLOCKS,
                      ARRAY_LEN(GOLDEN_BLOCKS), &root, e) == -1)
        return -1;
    manifest_add_volume(m, "disk/vda", &root);
    return backup_commit(&b, m, e);
}

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
    struct manifest *last = NULL;
    for (int i = 0; i < 2 && rc == 0; i++) {
        CLEANUP(freep) uint8_t *p = golden_content(i);
        manifest_freep(&last);
        last = NULL;
        rc = write_backup(r, cancel, "golden", golden_time(i), p, GOLDEN_BYTES,
                          &last, &e);
    }
    if (rc == 0)
        rc = write_increment(r, cancel, last, &e);
    manifest_free(last);
    if (rc == -1)
        (void)fprintf(stderr, "write_golden: %s\n", e.msg);
    repo_close(r);
    store_close(st);
    cancel_free(cancel);
    return rc == 0 ? 0 : 1;
}
