/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segcache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../folder.h"
#include "base/buf.h"
#include "base/hex.h"
#include "packs.h"
#include "repo/index.h"
#include "repo/segment.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

struct box {
    char dir[64]; /* of the cache */
    struct keyring keys;
    struct store *mem, *st; /* st counts what goes to mem */
    struct buf bytes;       /* of a segment */
    uint8_t id[NAME_ID_BYTES];
};

static int
setup(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));

    (void)snprintf(b->dir, sizeof(b->dir), "/tmp/vmkeep-cache-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    keyring_make(&b->keys);
    b->mem = store_mem_new(NULL);
    b->st = store_fault_new(b->mem);
    b->bytes = buf_of(1 << 20);
    memset(b->id, 0x5a, sizeof(b->id));

    struct pack *p = make_pack(&b->keys, PACK_DATA, 0, 1000);
    struct segment_builder *s = segment_builder_new();
    segment_builder_add(s, p);
    assert_ok(segment_builder_pack(s, 1, &b->bytes, e));
    segment_builder_free(s);
    pack_free(p);
    *state = b;
    return 0;
}

static int
teardown(void **state)
{
    struct box *b = *state;
    buf_done(&b->bytes);
    store_close(b->st);
    store_close(b->mem);
    keyring_done(&b->keys);
    folder_remove(b->dir);
    free(b);
    return 0;
}

/* The folder of the repository, and the segment's file in it. */
static char *
repo_dir(const struct box *b)
{
    char hex[2 * KEYRING_ID_BYTES + 1];

    hex_encode(b->keys.repo_id, KEYRING_ID_BYTES, hex);
    return xasprintf("%s/%s", b->dir, hex);
}

static char *
file_of(const struct box *b)
{
    CLEANUP(freep) char *dir = repo_dir(b);
    char hex[2 * NAME_ID_BYTES + 1];

    hex_encode(b->id, NAME_ID_BYTES, hex);
    return xasprintf("%s/%s.seg", dir, hex);
}

static unsigned
files_in(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    if (!d)
        return 0;
    for (const struct dirent *one = NULL; (one = readdir(d));)
        n += one->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static bool
get(struct box *b, struct segcache *c)
{
    CLEANUP(mapped_done) struct mapped m = {0};

    if (!segcache_get(c, b->id, &m))
        return false;
    assert_int_equal(m.len, b->bytes.len);
    assert_memory_equal(m.p, b->bytes.p, m.len);
    return true;
}

static void
put(struct box *b, struct segcache *c)
{
    CLEANUP(mapped_done) struct mapped m = {0};

    assert_true(segcache_put(c, b->id, b->bytes.p, b->bytes.len, &m));
    assert_int_equal(m.len, b->bytes.len);
    assert_memory_equal(m.p, b->bytes.p, m.len);
}

static void
what_is_put_is_there_for_the_next(void **state)
{
    struct box *b = *state;
    struct segcache *c = segcache_new(b->dir, &b->keys);
    CLEANUP(freep) char *file = file_of(b);
    struct stat st;

    assert_false(get(b, c));
    put(b, c);
    assert_true(get(b, c));
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    segcache_free(c);

    c = segcache_new(b->dir, &b->keys);
    assert_true(get(b, c));
    b->id[0] ^= 1; /* another one's */
    assert_false(get(b, c));
    b->id[0] ^= 1;
    segcache_drop(c, b->id);
    assert_false(get(b, c));
    segcache_drop(c, b->id);
    segcache_free(c);
    segcache_free(NULL);
}

/* Any byte of the proof or of the sum, and any length, makes it another file;
 * what is between is the sum's business. */
static void
damage_is_seen(void **state)
{
    struct box *b = *state;
    struct segcache *c = segcache_new(b->dir, &b->keys);
    CLEANUP(freep) char *file = file_of(b);

    for (off_t i = 0; i < 64; i += 7) {
        uint8_t byte = 0;
        put(b, c);
        int fd = open(file, O_RDWR | O_CLOEXEC);
        off_t at = (off_t)b->bytes.len + 31 - i;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        assert_false(get(b, c));
        assert_int_equal(access(file, F_OK), -1); /* it is gone */
    }
    for (off_t len = 0; len < (off_t)b->bytes.len + 32; len += 97) {
        put(b, c);
        assert_int_equal(truncate(file, len), 0);
        assert_false(get(b, c));
    }
    segcache_free(c);
}

static void
files_that_others_could_have_made_are_not_used(void **state)
{
    struct box *b = *state;
    struct segcache *c = segcache_new(b->dir, &b->keys);
    CLEANUP(freep) char *file = file_of(b);
    CLEANUP(freep) char *other = xasprintf("%s/other", b->dir);

    put(b, c);
    assert_int_equal(chmod(file, 0620), 0);
    assert_false(get(b, c));
    put(b, c);
    assert_int_equal(rename(file, other), 0);
    assert_int_equal(symlink(other, file), 0);
    assert_false(get(b, c));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_false(get(b, c));
    segcache_free(c);

    /* Of another repository, which has other keys. */
    put(b, c = segcache_new(b->dir, &b->keys));
    segcache_free(c);
    b->keys.k_meta[0] ^= 1;
    c = segcache_new(b->dir, &b->keys);
    assert_false(get(b, c));
    segcache_free(c);
}

static bool
keep_none(void *cookie, const uint8_t id[NAME_ID_BYTES])
{
    (void)id;
    return *(bool *)cookie;
}

static void
sweeping(void **state)
{
    struct box *b = *state;
    struct segcache *c = segcache_new(b->dir, &b->keys);
    CLEANUP(freep) char *dir = repo_dir(b);
    CLEANUP(freep) char *old = xasprintf("%s/old.tmp", dir);
    CLEANUP(freep) char *new = xasprintf("%s/new.tmp", dir);
    const struct timespec long_ago[2] = {{.tv_sec = 5}, {.tv_sec = 5}};
    bool keep = true;

    put(b, c);
    (void)close(open(old, O_CREAT | O_CLOEXEC, 0600));
    (void)close(open(new, O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
    assert_int_equal(files_in(dir), 3);
    segcache_sweep(c, keep_none, &keep);
    assert_int_equal(files_in(dir), 2);
    assert_int_equal(access(new, F_OK), 0);
    assert_true(get(b, c));
    keep = false;
    segcache_sweep(c, keep_none, &keep);
    assert_int_equal(files_in(dir), 1);
    assert_false(get(b, c));
    segcache_free(c);
}

/* Small ones stay with the caller, large ones go to a nameless file. */
static void
without_a_folder(void **state)
{
    struct box *b = *state;
    CLEANUP(freep) char *bad = xasprintf("%s/file/below", b->dir);
    CLEANUP(freep) char *file = xasprintf("%s/file", b->dir);
    CLEANUP(freep) uint8_t *large = xcalloc(1, 2 << 20);

    (void)close(open(file, O_CREAT | O_CLOEXEC, 0600));
    for (int i = 0; i < 2; i++) {
        struct segcache *c = segcache_new(i ? bad : NULL, &b->keys);
        struct mapped m = {0};
        bool keep = false;
        assert_false(segcache_put(c, b->id, b->bytes.p, b->bytes.len, &m));
        assert_true(segcache_put(c, b->id, large, 2 << 20, &m));
        assert_int_equal(m.len, 2 << 20);
        assert_memory_equal(m.p, large, 2 << 20);
        assert_false(get(b, c));
        segcache_sweep(c, keep_none, &keep);
        segcache_drop(c, b->id);
        mapped_done(&m);
        segcache_free(c);
    }
}

/* ---- under an index ----------------------------------------------------- */

static struct index *
index_with_cache(struct box *b)
{
    struct index *x = index_new(b->st, &b->keys);

    index_use_cache(x, b->dir);
    return x;
}

static void
publish(struct box *b, struct index *x, uint64_t first)
{
    struct pack *p = make_pack(&b->keys, PACK_DATA, first, 50);
    struct segment_builder *s = segment_builder_new();
    uint64_t bytes = 0;

    segment_builder_add(s, p);
    assert_ok(index_publish(x, s, (int64_t)first, &bytes, e));
    segment_builder_free(s);
    pack_free(p);
}

static bool
finds(struct index *x, uint64_t i)
{
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];

    make_id(i, id);
    return index_find(x, id, at) == 1 && at[0].len == 10;
}

/* A new index finds all; how many segments it got from the store. */
static uint64_t
fetched_by_a_new_index(struct box *b, uint64_t objects)
{
    struct index *x = index_with_cache(b);

    store_fault_set(b->st,
                    &(struct store_fault){.at = 1U << 30, .ops = STORE_OP_GET});
    assert_ok(index_refresh(x, e));
    for (uint64_t i = 0; i < objects; i++)
        assert_true(finds(x, i));
    assert_false(finds(x, objects));
    index_free(x);
    return store_fault_count(b->st);
}

static void
each_segment_is_fetched_once(void **state)
{
    struct box *b = *state;
    CLEANUP(freep) char *dir = repo_dir(b);
    struct index *other = index_new(b->st, &b->keys); /* has no cache */
    struct index *x = index_with_cache(b);

    for (uint64_t i = 0; i < 3; i++)
        publish(b, other, 50 * i);
    publish(b, x, 150); /* is in the cache from the start */
    assert_true(finds(x, 160));
    index_free(x);
    index_free(other);
    assert_int_equal(fetched_by_a_new_index(b, 200), 3);
    assert_int_equal(files_in(dir), 4);
    assert_int_equal(fetched_by_a_new_index(b, 200), 0);
}

static int
remove_first(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    char *first = cookie;

    (void)stat;
    (void)e;
    if (!*first || strcmp(name, first) > 0)
        (void)snprintf(first, NAME_MAX_LEN, "%s", name);
    return 0;
}

static void
the_cache_may_be_lost_or_damaged(void **state)
{
    struct box *b = *state;
    CLEANUP(freep) char *dir = repo_dir(b);
    struct index *x = index_with_cache(b);
    struct dirent *one = NULL;

    publish(b, x, 0);
    publish(b, x, 50);
    index_free(x);
    assert_int_equal(fetched_by_a_new_index(b, 100), 0);

    /* A byte in the middle, of what only the segment's own sum covers. */
    DIR *d = opendir(dir);
    while ((one = readdir(d))) {
        if (one->d_name[0] == '.')
            continue;
        int fd = openat(dirfd(d), one->d_name, O_RDWR | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "\x55\xaa", 2, 300), 2);
        (void)close(fd);
    }
    (void)closedir(d);
    assert_int_equal(fetched_by_a_new_index(b, 100), 2);
    assert_int_equal(fetched_by_a_new_index(b, 100), 0);

    struct segcache *c = segcache_new(b->dir, &b->keys);
    bool keep = false;
    segcache_sweep(c, keep_none, &keep); /* all of it is gone */
    segcache_free(c);
    assert_int_equal(fetched_by_a_new_index(b, 100), 2);
    assert_int_equal(files_in(dir), 2);
}

static void
what_the_store_has_no_more_goes(void **state)
{
    struct box *b = *state;
    CLEANUP(freep) char *dir = repo_dir(b);
    struct index *x = index_with_cache(b);
    char last[NAME_MAX_LEN] = "";

    publish(b, x, 0);
    publish(b, x, 50);
    index_free(x);
    assert_ok(store_list(b->mem, "index/d/", remove_first, last, e));
    assert_ok(store_remove(b->mem, last, e));
    assert_int_equal(fetched_by_a_new_index(b, 50), 0);
    assert_int_equal(files_in(dir), 1);
}

/* Of mapped files, as the kernel counts it. */
static uint64_t
mapped_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %*u %llu", &pages), 1);
    (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* More entries than are to be in memory at a time. */
static uint64_t
publish_many(struct box *b)
{
    struct index *x = index_with_cache(b);
    struct segment_builder *s = segment_builder_new();
    uint64_t n = 0, bytes = 0;

    while (n * 28 <= INDEX_RESIDENT_BYTES) {
        struct pack *p = make_pack(&b->keys, PACK_DATA, n, PACK_MAX_ENTRIES);
        segment_builder_add(s, p);
        pack_free(p);
        n += PACK_MAX_ENTRIES;
    }
    assert_ok(index_publish(x, s, 1, &bytes, e));
    segment_builder_free(s);
    assert_true(finds(x, n - 1));
    index_free(x);
    return n;
}

static void
entries_do_not_stay_in_memory(void **state)
{
    struct box *b = *state;
    uint64_t n = publish_many(b), before = mapped_bytes(), most = before;
    struct index *x = index_with_cache(b);
    unsigned drops = 0;

    assert_ok(index_refresh(x, e)); /* which reads all of it */
    assert_true(mapped_bytes() < before + INDEX_RESIDENT_BYTES / 4);
    for (unsigned i = 0; i < 4 * INDEX_LOOKS; i++) {
        assert_true(finds(x, i * UINT64_C(7919) % n));
        uint64_t now = mapped_bytes();
        if (most > now + INDEX_RESIDENT_BYTES / 4) {
            drops++;
            most = now;
        }
        most = now > most ? now : most;
    }
    assert_true(drops >= 3);
    index_free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_is_put_is_there_for_the_next),
        TEST(damage_is_seen),
        TEST(files_that_others_could_have_made_are_not_used),
        TEST(sweeping),
        TEST(without_a_folder),
        TEST(each_segment_is_fetched_once),
        TEST(the_cache_may_be_lost_or_damaged),
        TEST(entries_do_not_stay_in_memory),
        TEST(what_the_store_has_no_more_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
