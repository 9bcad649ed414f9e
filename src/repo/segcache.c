/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segcache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/cachedir.h"
#include "repo/keyring.h"
#include "repo/segment.h"

enum {
    PROOF_BYTES = 32,
    FILE_NAME_LEN = 2 * NAME_ID_BYTES + 32,
    NAMELESS_MIN_BYTES = 1 << 20, /* smaller ones stay in memory */
    LEFT_OVER_S = 3600            /* nobody writes one for so long */
};

#define ENDING ".seg"
#define TEMP_ENDING ".tmp"
#define TEMP_DIR "/var/tmp"

static const char PROOF_LABEL[] = "segment cache";

struct segcache {
    const struct keyring *keys; /* borrowed */
    int dir;                    /* of this repository, or -1 */
};

struct segcache *
segcache_new(const char *dir, const struct keyring *k)
{
    struct segcache *c = xcalloc(1, sizeof(*c));

    c->keys = k;
    c->dir = cachedir_open(dir, k, true);
    return c;
}

void
segcache_free(struct segcache *c)
{
    if (c)
        fd_close(&c->dir);
    free(c);
}

void
mapped_done(struct mapped *m)
{
    if (m->map)
        (void)munmap(m->map, m->map_len);
    *m = (struct mapped){0};
}

void
mapped_rest(const struct mapped *m, const uint8_t *from, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (!m->map || len == 0)
        return;
    size_t first = round_up((size_t)(from - m->p), page);
    size_t end = ((size_t)(from - m->p) + len) / page * page;
    /* It is shared, and never written to: nothing is lost. */
    if (first < end)
        (void)madvise((uint8_t *)m->map + first, end - first, MADV_DONTNEED);
}

void
mapped_warm(const struct mapped *m)
{
    if (m->map)
        (void)madvise(m->map, m->map_len, MADV_WILLNEED);
}

void
mapped_cool(const struct mapped *m)
{
    mapped_rest(m, m->p, m->len);
}

static void
file_name(const uint8_t id[NAME_ID_BYTES], char out[FILE_NAME_LEN])
{
    hex_encode(id, NAME_ID_BYTES, out);
    memcpy(out + (size_t)2 * NAME_ID_BYTES, ENDING, sizeof(ENDING));
}

static bool
parse_file_name(const char *name, uint8_t out_id[NAME_ID_BYTES])
{
    char hex[2 * NAME_ID_BYTES + 1] = "";

    if (strlen(name) != sizeof(hex) - 1 + strlen(ENDING) ||
        !text_ends(name, ENDING))
        return false;
    memcpy(hex, name, sizeof(hex) - 1);
    return hex_is(hex) && hex_decode(hex, out_id, NAME_ID_BYTES);
}

/* What follows a segment in its file: p is the segment, which ends with its
 * sum. */
static void
proof_of(const struct segcache *c, const uint8_t id[NAME_ID_BYTES],
         const uint8_t *p, size_t len, uint8_t out[PROOF_BYTES])
{
    uint8_t context[NAME_ID_BYTES + HASH_BYTES], derived[HASH_DERIVED_BYTES];

    memcpy(context, id, NAME_ID_BYTES);
    memcpy(context + NAME_ID_BYTES, p + len - HASH_BYTES, HASH_BYTES);
    keyring_derive(c->keys, PROOF_LABEL, context, sizeof(context), derived);
    memcpy(out, derived, PROOF_BYTES);
}

static bool
map_file(int fd, size_t len, struct mapped *out)
{
    void *p = mmap(NULL, len + PROOF_BYTES, PROT_READ, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        return false;
    /* Ids are random: what is around one is of no use. */
    (void)madvise(p, len + PROOF_BYTES, MADV_RANDOM);
    *out = (struct mapped){
        .p = p, .len = len, .map = p, .map_len = len + PROOF_BYTES};
    return true;
}

bool
segcache_get(struct segcache *c, const uint8_t id[NAME_ID_BYTES],
             struct mapped *out)
{
    CLEANUP(mapped_done) struct mapped m = {0};
    char name[FILE_NAME_LEN];
    uint8_t proof[PROOF_BYTES];
    struct stat st;

    if (c->dir == -1)
        return false;
    file_name(id, name);
    CLEANUP(fd_closep)
    int fd =
        openat(c->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1)
        return false;
    if (fstat(fd, &st) == -1 || !cachedir_is_private(&st) ||
        st.st_size < HASH_BYTES + PROOF_BYTES ||
        (uint64_t)st.st_size > (uint64_t)SEGMENT_MAX_BYTES + PROOF_BYTES ||
        !map_file(fd, (size_t)st.st_size - PROOF_BYTES, &m)) {
        segcache_drop(c, id);
        return false;
    }
    proof_of(c, id, m.p, m.len, proof);
    if (!wipe_equal(proof, m.p + m.len, PROOF_BYTES)) {
        segcache_drop(c, id);
        return false;
    }
    *out = m;
    m = (struct mapped){0};
    return true;
}

static bool
write_file(int fd, const void *p, size_t len, const uint8_t *proof)
{
    struct err ignored = {0};

    return fd_pwrite(fd, p, len, 0, "the cache", &ignored) == 0 &&
           fd_pwrite(fd, proof, PROOF_BYTES, len, "the cache", &ignored) == 0;
}

static bool
put_nameless(const void *p, size_t len, const uint8_t *proof,
             struct mapped *out)
{
    CLEANUP(fd_closep) int fd = -1;
    struct err ignored = {0};

    return len >= NAMELESS_MIN_BYTES &&
           file_nameless(TEMP_DIR, len + PROOF_BYTES, &fd, &ignored) == 0 &&
           write_file(fd, p, len, proof) && map_file(fd, len, out);
}

/* No fsync: a file that a power cut left half does not prove itself. */
bool
segcache_put(struct segcache *c, const uint8_t id[NAME_ID_BYTES], const void *p,
             size_t len, struct mapped *out)
{
    char name[FILE_NAME_LEN], temp[FILE_NAME_LEN];
    uint8_t proof[PROOF_BYTES];

    proof_of(c, id, p, len, proof);
    if (c->dir == -1)
        return put_nameless(p, len, proof, out);
    file_name(id, name);
    (void)snprintf(temp, sizeof(temp), "%016llx" TEMP_ENDING,
                   (unsigned long long)rand_u64());
    CLEANUP(fd_closep)
    int fd = openat(c->dir, temp,
                    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1)
        return put_nameless(p, len, proof, out);
    if (write_file(fd, p, len, proof) &&
        renameat(c->dir, temp, c->dir, name) == 0)
        return map_file(fd, len, out);
    (void)unlinkat(c->dir, temp, 0);
    return put_nameless(p, len, proof, out);
}

void
segcache_drop(struct segcache *c, const uint8_t id[NAME_ID_BYTES])
{
    char name[FILE_NAME_LEN];

    file_name(id, name);
    if (c->dir != -1)
        (void)unlinkat(c->dir, name, 0);
}

static bool
is_left_over(int dir, const char *name)
{
    struct stat st;

    return text_ends(name, TEMP_ENDING) &&
           fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_mtime + LEFT_OVER_S < time(NULL);
}

void
segcache_sweep(struct segcache *c, segcache_keep_fn *keep, void *cookie)
{
    uint8_t id[NAME_ID_BYTES];
    const struct dirent *d = NULL;
    int fd = c->dir == -1 ? -1 : openat(c->dir, ".", O_RDONLY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);

    if (!dir) {
        fd_close(&fd);
        return;
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is our own */
    while ((d = readdir(dir))) {
        bool is_segment = parse_file_name(d->d_name, id);
        if (is_segment ? !keep(cookie, id) : is_left_over(c->dir, d->d_name))
            (void)unlinkat(c->dir, d->d_name, 0);
    }
    (void)closedir(dir);
}
