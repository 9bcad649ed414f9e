/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_repo FOLDER: makes a repository there (password "correct horse") with
 * three backups, for readers that are not ours, and prints what is in it:
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
note_volume(struct manifest *m, const char *name,
            const struct volume_root *root, const uint8_t *p)
{
    uint8_t sum[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];

    manifest_add_volume(m, name, root);
    hash_sha256(p, root->size_bytes, sum);
    hex_encode(sum, sizeof(sum), hex);
    printf("%s %s %llu %s\n", m->id, name, (unsigned long long)root->size_bytes,
           hex);
}

static void
add_volume(struct backup_writer *b, struct manifest *m, const char *name,
           const uint8_t *p, uint64_t size)
{
    struct volume_root root;
    struct err e = {0};

    must(write_volume(b, name, p, size, &root, &e), &e);
    note_volume(m, name, &root, p);
}

/* Blocks that come apart, one at the end, and one that is zero now. */
static void
add_increment(struct repo *r, struct cancel *cancel, const char *base,
              const struct volume_root *root, uint8_t *p)
{
    static const uint32_t blocks[] = {3, 4, 100, 777, 1111, 5122};
    struct manifest *m = manifest_new();
    const struct backup_options o = {.base = base};
    struct backup_writer *b = NULL;
    struct volume_root out = {0};
    struct err e = {0};

    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        fill_random(p + (uint64_t)blocks[i] * 4 * KIB, 4 * KIB, 50 + i);
    memset(p + 777 * 4 * KIB, 0, 4 * KIB);
    must(backup_begin(r, &o, cancel, &b, &e), &e);
    must(change_volume(b, "disk/vda", root, p, blocks, ARRAY_LEN(blocks), &out,
                       &e),
         &e);
    note_volume(m, "disk/vda", &out, p);
    must(backup_commit(&b, m, &e), &e);
    manifest_free(m);
}

int
main(int argc, char **argv)
{
    enum { DISK = (1100 << 20) + 5000, RAM = 3 << 20 };
    struct password_cost cost = password_cost_new();
    struct err e = {0};
    struct store *st = NULL;
    struct repo *r = NULL;
    struct cancel *cancel = cancel_new();
    uint8_t *p = xcalloc(1, DISK);

    if (argc != 2)
        return 2;
    must(store_create(argv[1], &st, &e), &e);
    cost.memory_kib = 1 << 10;
    must(repo_init(st, PASSWORD, &cost, &e), &e);
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
        if (i == 1)
            add_increment(r, cancel, m->id, &m->volumes[0].root, p);
        manifest_free(m);
        p[4 * MIB] ^= 1;
    }
    repo_close(r);
    store_close(st);
    cancel_free(cancel);
    free(p);
    return 0;
}
