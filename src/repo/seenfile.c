/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/seenfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/cachedir.h"
#include "repo/keyring.h"
#include "repo/seen.h"

enum {
    HEAD_BYTES = 16,
    ENTRY_BYTES = 44,
    PROOF_BYTES = 32,
    FILE_MAX_BYTES = HEAD_BYTES + SEEN_MAX_REFS * ENTRY_BYTES + PROOF_BYTES,
    ADDRESS_BYTES = 8,
    LOCK_TRIES = 50,
    LOCK_WAIT_NS = 10000000
};

static const uint8_t MAGIC[8] = {'V', 'M', 'K', 'S', 'E', 'E', 'N', '1'};
static const char PROOF_LABEL[] = "seen refs";
static const char ADDRESS_LABEL[] = "seen address";

void
seenfile_init(struct seenfile *f, const char *address, const struct keyring *k)
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];
    char hex[2 * ADDRESS_BYTES + 1];

    f->keys = k;
    hash_sha256(address, strlen(address), sum);
    keyring_derive(k, ADDRESS_LABEL, sum, sizeof(sum), derived);
    hex_encode(derived, ADDRESS_BYTES, hex);
    (void)snprintf(f->name, sizeof(f->name), "seen-%s", hex);
}

/* ---- what it holds ------------------------------------------------------- */

static int
compare_refs(const struct ref_name *a, const struct ref_name *b)
{
    int order = memcmp(a->id, b->id, NAME_ID_BYTES);

    if (order == 0)
        order = memcmp(a->machine, b->machine, NAME_TAG_BYTES);
    if (order == 0)
        order = (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
    return order ? order : (a->ns > b->ns) - (a->ns < b->ns);
}

int
seen_by_ref(const void *a, const void *b)
{
    return compare_refs(a, b);
}

void
seen_memory_done(struct seen_memory *m)
{
    free(m->refs);
    *m = (struct seen_memory){0};
}

void
seen_memory_add(struct seen_memory *m, const struct ref_name *ref,
                int64_t last_ns)
{
    if (m->n == m->room) {
        m->room = m->room ? 2 * m->room : 64;
        m->refs = xrealloc(m->refs, m->room * sizeof(m->refs[0]));
    }
    m->refs[m->n++] = (struct seen_known){*ref, last_ns};
}

static void
sort(struct seen_memory *m)
{
    if (m->n > 0)
        qsort(m->refs, m->n, sizeof(m->refs[0]), seen_by_ref);
}

static void
proof_of(const struct seenfile *f, const uint8_t *p, size_t len,
         uint8_t out[PROOF_BYTES])
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];

    hash_sha256(p, len, sum);
    keyring_derive(f->keys, PROOF_LABEL, sum, sizeof(sum), derived);
    memcpy(out, derived, PROOF_BYTES);
}

/* False, and nothing is known, if these are not the bytes that were put. */
static bool
parse(const struct seenfile *f, const uint8_t *p, size_t len,
      struct seen_memory *out)
{
    struct cursor c = cursor_of(p, len);
    uint8_t proof[PROOF_BYTES];

    if (len < HEAD_BYTES + PROOF_BYTES)
        return false;
    proof_of(f, p, len - PROOF_BYTES, proof);
    const uint8_t *magic = cursor_bytes(&c, sizeof(MAGIC));
    uint32_t n = cursor_le32(&c);
    if (!wipe_equal(proof, p + len - PROOF_BYTES, PROOF_BYTES) ||
        memcmp(magic, MAGIC, sizeof(MAGIC)) != 0 || cursor_le32(&c) != 0 ||
        n > SEEN_MAX_REFS ||
        cursor_left(&c) != (size_t)n * ENTRY_BYTES + PROOF_BYTES)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct ref_name ref = {.ns = cursor_le32(&c)};
        cursor_copy(&c, ref.machine, sizeof(ref.machine));
        ref.time_ns = (int64_t)cursor_le64(&c);
        cursor_copy(&c, ref.id, sizeof(ref.id));
        int64_t last_ns = (int64_t)cursor_le64(&c);
        if (last_ns > 0)
            seen_memory_add(out, &ref, last_ns);
    }
    sort(out);
    return true;
}

void
seenfile_load(const struct seenfile *f, int dir, struct seen_memory *out)
{
    struct err ignored = {0};
    struct stat st;

    *out = (struct seen_memory){0};
    CLEANUP(fd_closep)
    int fd =
        openat(dir, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1 || !cachedir_is_private(&st) ||
        st.st_size <= 0 || st.st_size > FILE_MAX_BYTES)
        return;
    size_t len = (size_t)st.st_size;
    CLEANUP(freep) uint8_t *p = xmalloc(len);
    if (fd_pread(fd, p, len, 0, f->name, &ignored) == 0)
        (void)parse(f, p, len, out);
}

static void
pack(const struct seenfile *f, const struct seen_memory *m, struct buf *out)
{
    uint8_t proof[PROOF_BYTES];

    buf_add(out, MAGIC, sizeof(MAGIC));
    buf_le32(out, (uint32_t)m->n);
    buf_le32(out, 0);
    for (size_t i = 0; i < m->n; i++) {
        const struct seen_known *k = &m->refs[i];
        buf_le32(out, k->ref.ns);
        buf_add(out, k->ref.machine, sizeof(k->ref.machine));
        buf_le64(out, (uint64_t)k->ref.time_ns);
        buf_add(out, k->ref.id, sizeof(k->ref.id));
        buf_le64(out, (uint64_t)k->last_ns);
    }
    proof_of(f, out->p, out->len, proof);
    buf_add(out, proof, sizeof(proof));
}

/* No fsync: a file that a power cut left half does not prove itself. */
void
seenfile_save(const struct seenfile *f, int dir, const struct seen_memory *m)
{
    CLEANUP(buf_done) struct buf b = buf_of(FILE_MAX_BYTES);
    char temp[SEENFILE_NAME_LEN];
    struct err ignored = {0};

    pack(f, m, &b);
    (void)snprintf(temp, sizeof(temp), "%016llx.tmp",
                   (unsigned long long)rand_u64());
    CLEANUP(fd_closep)
    int fd = openat(dir, temp,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1)
        return;
    if (fd_pwrite(fd, b.p, b.len, 0, temp, &ignored) == -1 ||
        renameat(dir, temp, dir, f->name) == -1)
        (void)unlinkat(dir, temp, 0);
}

bool
seenfile_lock(int dir)
{
    const struct timespec wait = {.tv_nsec = LOCK_WAIT_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return true; /* this file system has no locks: the last wins */
        (void)nanosleep(&wait, NULL);
    }
    return false;
}
