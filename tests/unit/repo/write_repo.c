/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_repo FOLDER: makes a repository there (password "correct horse") with
 * two backups, for readers that are not ours, and prints what is in it:
 *
 *   BACKUP-ID VOLUME SIZE SHA256
 */
#include <stdio.h>

#include "base/hex.h"
#include "crypto/hash.h"
#include "fixture.h"

static void
must(int rc, const struct err *e)
{
    if (rc == -1) {
        (void)fprintf(stderr, "write_repo: %s\n", e->msg);
        exit(1);
    }
}

static void
add_volume(struct backup_writer *b, struct manifest *m, const char *name,
           const uint8_t *p, uint64_t size)
{
    struct volume_root root;
    struct err e = {0};
    uint8_t sum[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];

    must(write_volume(b, name, p, size, &root, &e), &e);
    manifest_add_volume(m, name, &root);
    hash_sha256(p, size, sum);
    hex_encode(sum, sizeof(sum), hex);
    printf("%s %s %llu %s\n", m->id, name, (unsigned long long)size, hex);
}

int
main(int argc, char **argv)
{
    enum { DISK = (1100 << 20) + 5000, RAM = 3 << 20 };
    struct err e = {0};
    struct store *st = NULL;
    struct repo *r = NULL;
    struct cancel *cancel = cancel_new();
    uint8_t *p = xcalloc(1, DISK);

    if (argc != 2)
        return 2;
    must(store_create(argv[1], &st, &e), &e);
    must(repo_init(st, PASSWORD, &e), &e);
    must(repo_open(st, PASSWORD, &r, &e), &e);
    fill_random(p, 9 * MIB, 1);
    fill_random(p + 20 * MIB + 8 * KIB, 100 * KIB, 2);
    fill_random(p + 600 * MIB, 5, 3);
    fill_random(p + DISK - 77, 77, 4); /* levels: 2, as it is over 1 GiB */
    for (int i = 0; i < 2; i++) {
        struct manifest *m = manifest_new();
        struct backup_writer *b = NULL;
        must(backup_begin(r, NULL, cancel, &b, &e), &e);
        add_volume(b, m, "disk/vda", p, DISK);
        add_volume(b, m, "ram/pc.ram", p + 8 * MIB, RAM);
        add_volume(b, m, "state/empty", p, 0);
        must(backup_commit(&b, m, &e), &e);
        manifest_free(m);
        p[4 * MIB] ^= 1;
    }
    repo_close(r);
    store_close(st);
    cancel_free(cancel);
    free(p);
    return 0;
}
