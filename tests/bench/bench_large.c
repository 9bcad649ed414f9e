/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_large: a backup with the objects of a large volume, and few of its
 * bytes: usage
 *
 *   bench_large REPO CACHE_DIR MACHINE
 *
 * MACHINE (whose password is "bench") has a backup of one empty disk.  It gets
 * one in which that disk has a leaf every 44 KiB, as leaves are on average, but
 * of one block only: what a command needs of memory depends on how many there
 * are, and the time to hash all of a large disk would say nothing about it. The
 * last slots are full of what does not compress, so that packs are as large as
 * they get when there is most beside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "bench.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "work/cancel.h"

enum {
    STEP_BLOCKS = 11,
    FULL_SLOTS = 40 /* more than there are packs in memory */
};

static int
fill(void *cookie, struct slot *s, struct err *e)
{
    (void)e;
    if (s->index >= *(const uint64_t *)cookie) {
        rand_bytes(s->data, s->len);
        slot_mark(s, 0, s->len);
        return 0;
    }
    for (uint32_t i = 0; i < VOLUME_SLOT_BLOCKS; i += STEP_BLOCKS) {
        uint8_t *p = s->data + (size_t)i * VOLUME_BLOCK_BYTES;
        memset(p, 0, VOLUME_BLOCK_BYTES);
        put_le64(p, s->index * VOLUME_SLOT_BLOCKS + i + 1);
        slot_mark(s, i * VOLUME_BLOCK_BYTES, VOLUME_BLOCK_BYTES);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    CLEANUP(manifest_freep) struct manifest *found = NULL;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct cancel *cancel = cancel_new();
    struct volume_root root = {0};
    struct backup_writer *b = NULL;
    struct volume_writer *v = NULL;
    struct store *st = NULL;
    struct repo *r = NULL;
    struct rusage u = {0};
    struct err e = {0};
    char name[256];

    mem_keep_little();
    if (argc != 4) {
        (void)fprintf(stderr, "usage: bench_large REPO CACHE_DIR MACHINE\n");
        return 2;
    }
    must(store_open(argv[1], &st, &e), &e);
    must(repo_open(st, "bench", &r, &e), &e);
    repo_use_cache(r, argv[2]);
    (void)snprintf(name, sizeof(name), "%s@latest", argv[3]);
    must(backup_find(r, name, &found, &e), &e);
    const struct manifest_volume *disk = &found->volumes[0];
    must(backup_begin(r, NULL, cancel, &b, &e), &e);
    must(volume_begin(b, disk->name, disk->root.size_bytes, &v, &e), &e);
    uint64_t slots = disk->root.size_bytes / VOLUME_SLOT_BYTES;
    uint64_t full = slots - u64_min(slots, FULL_SLOTS);
    for (uint64_t i = 0; i < slots; i++)
        must(volume_fill(v, i, fill, &full, &e), &e);
    must(volume_end(&v, &root, &e), &e);
    m->machine = xstrdup(argv[3]);
    m->detail = json_deep_copy(found->detail);
    manifest_add_volume(m, disk->name, &root);
    must(backup_commit(&b, m, &e), &e);
    repo_close(r);
    store_close(st);
    cancel_free(cancel);
    (void)getrusage(RUSAGE_SELF, &u);
    printf("%s %ld %ld\n", m->id, u.ru_maxrss / 1024,
           u.ru_utime.tv_sec + u.ru_stime.tv_sec);
    return 0;
}
