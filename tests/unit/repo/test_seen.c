/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/seen.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../folder.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hex.h"
#include "maintain.h"
#include "repo/checker.h"
#include "repo/lost.h"
#include "repo/notice.h"
#include "sly.h"
#include "store/store_fault.h"
#include "work/pool.h"

enum { BACKUPS = 3, SIZE = 8192 };

/* The times of a new repository: a ref stays so long after its mark, and a
 * mark so long after that; listings are late. */
#define REF_NS (102 * HOUR_NS + 600 * INT64_C(1000000000))
#define GRACE_NS (72 * HOUR_NS)
#define LATE_NS (300 * INT64_C(1000000000))
#define DOUBT_NS (SEEN_CLOCK_DOUBT_S * INT64_C(1000000000))
#define KEEP_NS (REF_NS + GRACE_NS - LATE_NS - DOUBT_NS)

struct world {
    struct fixture f;
    struct sly *sly;
    struct store *mem, *fault;
    char dir[64];
    uint8_t content[SIZE];
    char ids[BACKUPS][BACKUP_ID_LEN + 1];
    struct ref_name refs[BACKUPS];
};

/* ---- the host ------------------------------------------------------------ */

static void
reopen_in(struct world *w, const char *dir)
{
    fixture_reopen(&w->f);
    repo_use_cache(w->f.r, dir);
}

/* A new start of the program. */
static void
reopen(struct world *w)
{
    reopen_in(w, w->dir);
}

static void
back_up(struct world *w, int i)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    reopen(w);
    w->content[0] = (uint8_t)i;
    assert_ok(write_backup(w->f.r, w->f.cancel, "web", vclock.now_ns,
                           w->content, SIZE, &m, e));
    memcpy(w->ids[i], m->id, sizeof(w->ids[i]));
    w->refs[i] =
        (struct ref_name){.ns = w->f.r->keys.ns, .time_ns = m->time_ns};
    machine_tag(&w->f.r->keys, "web", w->refs[i].machine);
    assert_true(hex_decode(m->id, w->refs[i].id, NAME_ID_BYTES));
}

static int
count_one(void *cookie, const struct manifest *m, const struct backup_state *s,
          struct err *e)
{
    (void)m;
    (void)e;
    *(size_t *)cookie += s->retired_ns == 0;
    return 0;
}

/* A new start lists: so many are there, so many are missed. */
static void
assert_listing(struct world *w, size_t there, size_t missed)
{
    size_t n = 0;

    reopen(w);
    assert_ok(backup_survey(w->f.r, count_one, &n, e));
    assert_int_equal(n, there);
    assert_int_equal(repo_vanished(w->f.r), missed);
}

struct told {
    char ids[BACKUPS][BACKUP_ID_LEN + 1];
    char machine[16];
    int64_t seen_ns;
    size_t n;
    bool other; /* something else was told */
};

static void
note_fault(void *cookie, const struct check_fault *f)
{
    struct told *t = cookie;

    if (f->what != CHECK_VANISHED) {
        t->other = t->other || (!f->is_note && f->what != CHECK_HIDDEN);
        return;
    }
    assert_true(t->n < BACKUPS && !f->is_note && f->why[0]);
    (void)snprintf(t->ids[t->n++], sizeof(t->ids[0]), "%s", f->backup);
    (void)snprintf(t->machine, sizeof(t->machine), "%s", f->machine);
    t->seen_ns = f->seen_ns;
}

/* A new start checks. */
static struct told
check(struct world *w)
{
    struct told t = {0};
    const struct check_options o = {
        .threads = 1, .fault = note_fault, .fault_cookie = &t};
    struct check_result result = {0};

    reopen(w);
    assert_ok(check_repo(w->f.r, &o, w->f.cancel, &result, e));
    assert_int_equal(result.vanished, t.n);
    assert_true(result.faults >= t.n);
    assert_int_equal(repo_vanished(w->f.r), t.n);
    return t;
}

static bool
tells(const struct told *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->ids[i], id) == 0)
            return true;
    return false;
}

static void
remove_ref(struct world *w, int i)
{
    char name[NAME_MAX_LEN];

    name_ref(&w->refs[i], name);
    assert_ok(store_remove(w->mem, name, e));
}

static void
retire(struct world *w, int i)
{
    fixture_retire(&w->f, w->ids[i]);
}

/* ---- the file -------------------------------------------------------------
 */

static char *
find_file(struct world *w)
{
    CLEANUP(freep) char *dir = path_join(w->dir, repo_id(w->f.r));
    DIR *d = opendir(dir);
    char *found = NULL;

    for (const struct dirent *one = NULL; d && (one = readdir(d));)
        if (strncmp(one->d_name, "seen-", 5) == 0) {
            assert_null(found);
            found = path_join(dir, one->d_name);
        }
    if (d)
        (void)closedir(d);
    return found;
}

static void
overwrite(const char *path, const void *p, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd != -1);
    assert_int_equal(write(fd, p, len), len);
    (void)close(fd);
}

static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/vmkeep-seen-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    vclock.now_ns = VCLOCK_START;
    vclock_skew_ns = 0;
    w->mem = store_mem_new(&vclock);
    w->fault = store_fault_new(w->mem);
    w->sly = xcalloc(1, sizeof(*w->sly));
    w->sly->base = (struct store){.ops = &sly_ops, .address = xstrdup("sly")};
    w->sly->inner = w->fault;
    w->f = (struct fixture){.st = &w->sly->base, .cancel = cancel_new()};
    fill_random(w->content, SIZE, 1);
    assert_ok(cheap_init(w->mem, e));
    fixture_open(&w->f);
    for (int i = 0; i < BACKUPS; i++) {
        back_up(w, i);
        vclock_pass_hours(1);
    }
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    repo_close(w->f.r);
    cancel_free(w->f.cancel);
    free(w->sly->base.address);
    free(w->sly);
    store_close(w->fault);
    store_close(w->mem);
    folder_remove(w->dir);
    free(w);
    return 0;
}

/* ---- what is missed --------------------------------------------------------
 */

/* Any set of them, by all that lists; once they are back, no more. */
static void
each_omission_is_told(void **state)
{
    struct world *w = *state;
    struct snapshot *whole = take(w->mem);

    for (unsigned gone = 0; gone < 1U << BACKUPS; gone++) {
        size_t n = 0;
        assert_listing(w, BACKUPS, 0);
        vclock.now_ns += HOUR_NS;
        for (int i = 0; i < BACKUPS; i++)
            if (gone >> i & 1) {
                remove_ref(w, i);
                n++;
            }
        for (int again = 0; again < 2; again++) {
            struct told t = check(w);
            assert_int_equal(t.n, n);
            for (int i = 0; i < BACKUPS; i++)
                assert_int_equal(tells(&t, w->ids[i]), gone >> i & 1);
            assert_false(t.other);
            if (n > 0) {
                assert_int_equal(t.seen_ns, vclock.now_ns - HOUR_NS);
                assert_string_equal(t.machine, n < BACKUPS ? "web" : "");
            }
            assert_listing(w, BACKUPS - n, n);
        }
        set_back(whole);
    }
    assert_int_equal(check(w).n, 0);
    drop(whole);
}

/* What this host published it has seen, though it never listed anything; the
 * next backup of the machine, of this host, misses it. */
static void
what_was_published_is_missed(void **state)
{
    struct world *w = *state;
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    remove_ref(w, 2);
    reopen(w);
    assert_ok(write_backup(w->f.r, w->f.cancel, "db", vclock.now_ns, w->content,
                           SIZE, NULL, e));
    assert_int_equal(repo_vanished(w->f.r), 0); /* lists its own only */
    assert_ok(write_backup(w->f.r, w->f.cancel, "web", vclock.now_ns,
                           w->content, SIZE, NULL, e));
    assert_int_equal(repo_vanished(w->f.r), 1);
    reopen(w);
    assert_ok(backup_find(w->f.r, w->ids[1], &m, e));
    assert_int_equal(repo_vanished(w->f.r), 1);
    /* So does one that is made upon another. */
    reopen(w);
    const struct backup_options o = {.base = w->ids[1]};
    struct backup_writer *b = NULL;
    assert_ok(backup_begin(w->f.r, &o, w->f.cancel, &b, e));
    assert_int_equal(repo_vanished(w->f.r), 1);
    backup_abandonp(&b);
}

/* The storage as it was: told until it could have gone in good order. */
static void
a_storage_that_was_set_back_is_told(void **state)
{
    struct world *w = *state;
    struct snapshot *then = take(w->mem);

    assert_listing(w, BACKUPS, 0);
    back_up(w, 0);
    assert_listing(w, BACKUPS + 1, 0);
    int64_t seen_ns = vclock.now_ns;
    vclock_pass_hours(30);
    set_back(then);
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(w).n, 1);
    vclock.now_ns = seen_ns + KEEP_NS - 1;
    struct told t = check(w);
    assert_int_equal(t.n, 1);
    assert_true(tells(&t, w->ids[0]));
    assert_listing(w, BACKUPS, 1);
    vclock.now_ns = seen_ns + KEEP_NS;
    assert_int_equal(check(w).n, 0);
    assert_listing(w, BACKUPS, 0);
    drop(then);
}

/* It would give it by its name; but who looks for "the newest" misses it. */
static void
what_is_there_and_not_listed_is_told(void **state)
{
    struct world *w = *state;

    assert_listing(w, BACKUPS, 0);
    int64_t seen_ns = vclock.now_ns;
    name_ref(&w->refs[2], w->sly->hides);
    vclock.now_ns = seen_ns + LATE_NS + DOUBT_NS; /* a listing may be late */
    assert_listing(w, BACKUPS - 1, 0);
    vclock.now_ns++;
    assert_listing(w, BACKUPS - 1, 1);
    struct told t = check(w);
    assert_true(tells(&t, w->ids[2]));
    w->sly->hides[0] = '\0';
    assert_listing(w, BACKUPS, 0);
    assert_int_equal(check(w).n, 0);
}

/* ---- what is not -----------------------------------------------------------
 */

/* The life of a backup that is forgotten, at whose stations this host looks or
 * not, by each way of looking: and once it is gone, and its mark too. */
static void
what_was_forgotten_is_never_missed(void **state)
{
    struct world *w = *state;
    struct snapshot *whole = take(w->mem);
    enum { STATIONS = 5 };

    for (unsigned looks = 0; looks < 1U << STATIONS; looks++) {
        unsigned refs_gone = 0;
        folder_remove(w->dir);
        assert_listing(w, BACKUPS, 0);
        reopen_in(w, NULL); /* another host */
        retire(w, 0);
        for (int at = 0; at < STATIONS; at++) {
            if (looks >> at & 1) {
                assert_int_equal(check(w).n, 0);
                assert_listing(w, BACKUPS - 1, 0);
            }
            static const int64_t hours[STATIONS] = {60, 43, 40, 33, 20};
            vclock.now_ns += hours[at] * HOUR_NS;
            reopen_in(w, NULL);
            refs_gone += (unsigned)fixture_prune(&w->f).refs_deleted;
            if (looks >> at & 1)
                assert_listing(w, BACKUPS - 1, 0);
        }
        assert_int_equal(refs_gone, 1);
        assert_int_equal(usage_of(w->mem, "retired/").objects, 0);
        assert_int_equal(check(w).n, 0);
        assert_listing(w, BACKUPS - 1, 0);
        set_back(whole);
        vclock_pass_hours(1);
    }
    drop(whole);
}

/* All is as late as it may be: the mark was there when the host looked, but not
 * listed yet; maintenance removes both at the first moment; and then the host's
 * clock is set back. */
static void
not_a_moment_too_long(void **state)
{
    struct world *w = *state;

    vclock_pass_hours(1);
    reopen_in(w, NULL);
    retire(w, 0);
    int64_t marked_ns = vclock.now_ns;
    vclock.now_ns += LATE_NS - 1;
    name_retired(&w->refs[0], w->sly->hides);
    assert_listing(w, BACKUPS, 0);
    int64_t seen_ns = vclock.now_ns;
    w->sly->hides[0] = '\0';
    vclock.now_ns = marked_ns + REF_NS;
    reopen_in(w, NULL);
    assert_int_equal(fixture_prune(&w->f).refs_deleted, 1);
    vclock.now_ns += GRACE_NS;
    reopen_in(w, NULL);
    (void)fixture_prune(&w->f);
    assert_int_equal(usage_of(w->mem, "retired/").objects, 0);
    vclock_skew_ns = -DOUBT_NS;
    assert_true(vclock.now_ns - DOUBT_NS - seen_ns == KEEP_NS + 1);
    assert_listing(w, BACKUPS - 1, 0);
    vclock_skew_ns -= 2;
    assert_listing(w, BACKUPS - 1, 0); /* what was too old is forgotten */
}

/* The host asks in time, and the answer is late. */
static void
a_late_answer_says_nothing(void **state)
{
    struct world *w = *state;

    assert_listing(w, BACKUPS, 0);
    remove_ref(w, 0);
    vclock.now_ns += KEEP_NS - 2;
    assert_listing(w, BACKUPS - 1, 1);
    w->sly->slow_ns = 2;
    assert_listing(w, BACKUPS - 1, 0);
}

/* Its mark is asked for by name; only a right one counts. */
static void
only_a_right_mark_says_that_it_was_forgotten(void **state)
{
    struct world *w = *state;
    char mark[NAME_MAX_LEN];

    assert_listing(w, BACKUPS, 0);
    reopen_in(w, NULL);
    retire(w, 0);
    CLEANUP(buf_done) struct buf right = buf_of(RETIRED_MAX_BYTES);
    name_retired(&w->refs[0], mark);
    assert_ok(store_get_all(w->mem, mark, &right, e));
    remove_ref(w, 0);
    for (size_t i = 0; i < right.len; i++) {
        right.p[i] ^= 1;
        assert_int_equal(store_mem_replace(w->mem, mark, right.p, right.len),
                         1);
        size_t n = 0;
        reopen(w);
        assert_ok(backup_survey(w->f.r, count_one, &n, e));
        /* A newer version could have made it: nobody knows. */
        bool newer = i >= 8 && i < 16;
        if (!newer)
            assert_int_equal(repo_vanished(w->f.r), 1);
        right.p[i] ^= 1;
    }
    assert_int_equal(store_mem_replace(w->mem, mark, right.p, right.len), 1);
    assert_listing(w, BACKUPS - 1, 0);
    assert_ok(store_remove(w->mem, mark, e)); /* and now it is not known */
    assert_listing(w, BACKUPS - 1, 0);
}

/* A damaged mark may be one that maintenance acted upon: while there is one,
 * the ref is not seen. */
static void
a_ref_with_a_damaged_mark_is_not_seen(void **state)
{
    struct world *w = *state;
    char mark[NAME_MAX_LEN];

    assert_listing(w, BACKUPS, 0);
    int64_t seen_ns = vclock.now_ns;
    name_retired(&w->refs[0], mark);
    assert_ok(store_put(w->mem, mark, "x", 1, e));
    vclock_pass_hours(10);
    assert_listing(w, BACKUPS, 0);
    (void)check(w);
    remove_ref(w, 0);
    struct told t = check(w);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.seen_ns, seen_ns);
}

/* Nor while its mark goes: it was listed, but can't be read any more. */
static void
a_ref_whose_mark_just_went_is_not_seen(void **state)
{
    struct world *w = *state;
    struct told t = {0};

    reopen_in(w, NULL);
    retire(w, 0);
    name_retired(&w->refs[0], w->sly->lacks);
    vclock_pass_hours(10);
    assert_listing(w, BACKUPS, 0);
    remove_ref(w, 0);
    t = check(w); /* from when it was published */
    assert_int_equal(t.n, 1);
    assert_int_equal(t.seen_ns, VCLOCK_START);
    w->sly->lacks[0] = '\0';
    assert_int_equal(check(w).n, 0);
}

static void
what_repair_put_out_of_use_is_not_missed(void **state)
{
    struct world *w = *state;
    struct lost_item item = {.kind = LOST_REF};

    assert_listing(w, BACKUPS, 0);
    memcpy(item.name, w->refs[1].id, NAME_ID_BYTES);
    assert_ok(lost_publish(w->f.r->lost, &item, 1, &w->f.r->keys, e));
    remove_ref(w, 1);
    reopen(w);
    const struct backup_options o = {.base = w->ids[0]};
    struct backup_writer *b = NULL;
    assert_ok(backup_begin(w->f.r, &o, w->f.cancel, &b, e));
    assert_int_equal(repo_vanished(w->f.r), 0);
    backup_abandonp(&b);
    assert_int_equal(check(w).n, 0);
    assert_listing(w, BACKUPS - 1, 0);
}

/* Names that the storage made up are not remembered, nor missed. */
static void
false_refs_are_not_seen(void **state)
{
    struct world *w = *state;
    struct ref_name ref = w->refs[0];
    char name[NAME_MAX_LEN];
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct err why = {0};
    size_t n = 0;

    ref.id[0] ^= 1;
    name_ref(&ref, name);
    assert_ok(store_put(w->mem, name, "x", 1, e));
    reopen(w);
    assert_int_equal(backup_survey(w->f.r, count_one, &n, &why), -1);
    assert_ok(backup_find(w->f.r, w->ids[0], &m, e));
    (void)check(w);
    assert_ok(store_remove(w->mem, name, e));
    assert_int_equal(check(w).n, 0);
}

/* Nobody knows which of the clocks is right. */
static void
what_was_seen_in_the_future_does_not_count(void **state)
{
    struct world *w = *state;

    vclock_skew_ns = 30 * HOUR_NS;
    assert_listing(w, BACKUPS, 0);
    vclock_skew_ns = 0;
    remove_ref(w, 1);
    assert_listing(w, BACKUPS - 1, 0);
    vclock_pass_hours(40); /* and it was forgotten */
    assert_listing(w, BACKUPS - 1, 0);
}

/* Where the times are so short that clocks are not right enough. */
static void
short_times_say_nothing(void **state)
{
    struct world *w = *state;

    assert_listing(w, BACKUPS, 0);
    remove_ref(w, 0);
    for (int longer = 0; longer < 2; longer++) {
        size_t n = 0;
        reopen(w);
        struct config *c = &w->f.r->config;
        c->grace_s = c->lease_s = c->window_s = 0;
        c->visibility_s = longer ? 301 + 3600 : 300;
        assert_ok(backup_survey(w->f.r, count_one, &n, e));
        assert_int_equal(repo_vanished(w->f.r), longer);
    }
}

/* ---- the storage is asked for no more than before --------------------------
 */

static void
nothing_more_is_asked_for(void **state)
{
    struct world *w = *state;
    unsigned gets[2], stats[2], lists[2];

    for (int with = 0; with < 2; with++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        size_t n = 0;
        reopen_in(w, with ? w->dir : NULL);
        w->sly->gets = w->sly->stats = w->sly->lists = 0;
        assert_ok(backup_survey(w->f.r, count_one, &n, e));
        assert_ok(backup_find(w->f.r, "latest", &m, e));
        assert_ok(write_backup(w->f.r, w->f.cancel, with ? "a" : "b",
                               vclock.now_ns, w->content, SIZE, NULL, e));
        gets[with] = w->sly->gets - (unsigned)n;
        stats[with] = w->sly->stats;
        lists[with] = w->sly->lists;
    }
    assert_int_equal(gets[0], gets[1]);
    assert_int_equal(stats[0], stats[1]);
    assert_int_equal(lists[0], lists[1]);
}

/* It fails when it is asked for what is missing: then nothing is known. */
static void
a_storage_that_fails_says_nothing(void **state)
{
    struct world *w = *state;
    size_t n = 0;

    remove_ref(w, 0);
    for (int op = 0; op < 3; op++) {
        const struct store_fault fault = {.at = 1,
                                          .ops = op == 0   ? STORE_OP_STAT
                                                 : op == 1 ? STORE_OP_GET
                                                           : STORE_OP_LIST,
                                          .prefix = op == 0   ? "refs/"
                                                    : op == 1 ? "retired/"
                                                              : NULL,
                                          .what = STORE_FAULT_FAIL};
        reopen(w);
        if (op == 2)
            break;
        store_fault_set(w->fault, &fault);
        assert_ok(backup_survey(w->f.r, count_one, &n, e));
        assert_int_equal(store_fault_count(w->fault), 1);
        assert_int_equal(repo_vanished(w->f.r), 0);
        store_fault_set(w->fault, NULL);
    }
    assert_listing(w, BACKUPS - 1, 1);
}

static void
make_look(struct seen_look *l, uint32_t first, uint32_t n)
{
    seen_look_begin(l, "refs/");
    for (uint32_t i = first; i < first + n; i++) {
        struct ref_name ref = {.ns = 1, .time_ns = VCLOCK_START + i};
        put_le32(ref.id, i + 1);
        ref.id[15] = 1;
        seen_look_add(l, &ref, SEEN_READ);
    }
}

/* Of too many, those of the newest backups; a listing asks for some only. */
static void
what_is_remembered_is_bounded(void **state)
{
    struct world *w = *state;
    CLEANUP(seen_look_done) struct seen_look all = {0};
    CLEANUP(seen_look_done) struct seen_look none = {0};
    CLEANUP(vanished_list_done) struct vanished_list gone = {0};
    enum { MORE = 100 };

    folder_remove(w->dir);
    reopen(w);
    make_look(&all, 0, SEEN_MAX_REFS + MORE);
    seen_compare(w->f.r, &all, 0, NULL);
    vclock_pass_hours(1);
    seen_look_begin(&none, "refs/");
    seen_compare(w->f.r, &none, SEEN_MAX_ASKED, NULL);
    assert_int_equal(repo_vanished(w->f.r), SEEN_MAX_ASKED);
    seen_compare(w->f.r, &none, SEEN_MAX_REFS, &gone);
    assert_int_equal(gone.n, SEEN_MAX_REFS);
    for (size_t i = 0; i < gone.n; i++)
        assert_true(gone.items[i].ref.time_ns >= VCLOCK_START + MORE);
    /* Some have it, whatever the order: one that is back is not missed. */
    seen_look_add(&none, &gone.items[7].ref, SEEN_UNMARKED);
    CLEANUP(vanished_list_done) struct vanished_list less = {0};
    seen_compare(w->f.r, &none, SEEN_MAX_REFS, &less);
    assert_int_equal(less.n, SEEN_MAX_REFS - 1);
}

/* ---- two at once -----------------------------------------------------------
 */

/* Another command publishes between the listing of one and what it makes of
 * it. */
static void
what_another_saw_meanwhile_is_not_missed(void **state)
{
    struct world *w = *state;
    CLEANUP(seen_look_done) struct seen_look old = {0};
    CLEANUP(repo_closep) struct repo *r = NULL;

    assert_ok(repo_open(w->f.st, PASSWORD, &r, e));
    repo_use_cache(r, w->dir);
    seen_look_begin(&old, "refs/");
    for (int i = 0; i < BACKUPS; i++)
        seen_look_add(&old, &w->refs[i], SEEN_READ);
    vclock.now_ns++;
    back_up(w, 0);
    vclock_pass_hours(1);
    seen_compare(r, &old, SEEN_MAX_ASKED, NULL);
    assert_int_equal(repo_vanished(r), 0);
    assert_listing(w, BACKUPS + 1, 0);
    remove_ref(w, 0);
    assert_listing(w, BACKUPS, 1); /* it is remembered all the same */
}

struct job {
    struct world *w;
    struct repo *r;
    uint32_t number;
};

enum { JOBS = 4, TURNS = 25 };

static int
see_some(void *arg, int failed, struct err *e)
{
    const struct job *j = arg;

    (void)failed;
    (void)e;
    for (uint32_t i = 0; i < TURNS; i++) {
        CLEANUP(seen_look_done) struct seen_look l = {0};
        make_look(&l, j->number * TURNS + i, 1);
        seen_compare(j->r, &l, 0, NULL);
    }
    return 0;
}

static void
no_writer_loses_what_another_saw(void **state)
{
    struct world *w = *state;
    CLEANUP(pool_freep) struct pool *pool = pool_new(JOBS);
    CLEANUP(vanished_list_done) struct vanished_list gone = {0};
    CLEANUP(seen_look_done) struct seen_look none = {0};
    struct group *g = group_new(pool, JOBS);
    struct job jobs[JOBS] = {0};

    folder_remove(w->dir);
    for (uint32_t i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.w = w, .number = i};
        assert_ok(repo_open(w->f.st, PASSWORD, &jobs[i].r, e));
        repo_use_cache(jobs[i].r, w->dir);
        group_run(g, see_some, &jobs[i]);
    }
    assert_ok(group_wait(g, e));
    group_free(g);
    vclock_pass_hours(1);
    seen_look_begin(&none, "refs/");
    seen_compare(jobs[0].r, &none, SEEN_MAX_REFS, &gone);
    assert_int_equal(gone.n, JOBS * TURNS);
    for (uint32_t i = 0; i < JOBS; i++)
        repo_close(jobs[i].r);
}

/* ---- the file ---------------------------------------------------------------
 */

/* As it was, and damaged: known, and not known; never an error. */
static void
a_damaged_file_is_none(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_done) struct buf good = buf_of(1 << 20);
    struct snapshot *whole = take(w->mem);

    assert_listing(w, BACKUPS, 0);
    CLEANUP(freep) char *file = find_file(w);
    assert_ok(file_read(file, &good, e));
    assert_int_equal(good.len, 16 + 44 * BACKUPS + 32);
    remove_ref(w, 1);
    for (size_t i = 0; i < 2 * good.len; i++) {
        CLEANUP(buf_done) struct buf bad = buf_of(1 << 20);
        bool cut = i >= good.len;
        buf_add(&bad, good.p, cut ? i - good.len : good.len);
        if (!cut)
            bad.p[i] ^= (uint8_t)(1 << i % 8);
        else if (i % 2)
            buf_zero(&bad, 2 * good.len - i); /* a hole at its end */
        overwrite(file, bad.p, bad.len);
        assert_listing(w, BACKUPS - 1, 0);
        overwrite(file, good.p, good.len);
        assert_listing(w, BACKUPS - 1, 1);
    }
    buf_add(&good, "", 1);
    overwrite(file, good.p, good.len);
    assert_listing(w, BACKUPS - 1, 0);
    set_back(whole);
    assert_listing(w, BACKUPS, 0); /* and a new one was made */
    remove_ref(w, 1);
    assert_listing(w, BACKUPS - 1, 1);
    assert_int_equal(unlink(file), 0);
    assert_listing(w, BACKUPS - 1, 0);
    drop(whole);
}

/* Nor is one of another place, one that others can read, or what is no file. */
static void
a_foreign_file_is_none(void **state)
{
    struct world *w = *state;
    CLEANUP(buf_done) struct buf good = buf_of(1 << 20);
    size_t n = 0;

    assert_listing(w, BACKUPS, 0);
    CLEANUP(freep) char *file = find_file(w);
    CLEANUP(freep) char *aside = xasprintf("%s/aside", w->dir);
    assert_ok(file_read(file, &good, e));
    remove_ref(w, 1);
    assert_int_equal(chmod(file, 0640), 0);
    assert_listing(w, BACKUPS - 1, 0);
    overwrite(aside, good.p, good.len);
    (void)unlink(file);
    assert_int_equal(symlink(aside, file), 0);
    assert_listing(w, BACKUPS - 1, 0);
    (void)unlink(file);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_listing(w, BACKUPS - 1, 0);
    overwrite(file, good.p, good.len);
    assert_listing(w, BACKUPS - 1, 1);
    free(w->sly->base.address);
    w->sly->base.address = xstrdup("another place");
    reopen(w);
    assert_ok(backup_survey(w->f.r, count_one, &n, e));
    assert_int_equal(repo_vanished(w->f.r), 0);
}

/* A folder that can't be made, or that others may write to. */
static void
without_a_folder_nothing_is_known(void **state)
{
    struct world *w = *state;
    CLEANUP(freep) char *own = path_join(w->dir, repo_id(w->f.r));
    const char *const dirs[] = {NULL, "/dev/null/cache", w->dir};

    remove_ref(w, 1);
    assert_int_equal(chmod(own, 0770), 0);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        size_t n = 0;
        reopen_in(w, dirs[i]);
        assert_ok(backup_survey(w->f.r, count_one, &n, e));
        assert_ok(write_backup(w->f.r, w->f.cancel, "x", vclock.now_ns,
                               w->content, SIZE, NULL, e));
        assert_int_equal(repo_vanished(w->f.r), 0);
    }
    fixture_reopen(&w->f); /* and one that was never told of a cache */
    assert_int_equal(repo_vanished(w->f.r), 0);
    assert_int_equal(chmod(own, 0700), 0);
    assert_int_equal(check(w).n, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(each_omission_is_told),
        TEST(what_was_published_is_missed),
        TEST(a_storage_that_was_set_back_is_told),
        TEST(what_is_there_and_not_listed_is_told),
        TEST(what_was_forgotten_is_never_missed),
        TEST(not_a_moment_too_long),
        TEST(a_late_answer_says_nothing),
        TEST(only_a_right_mark_says_that_it_was_forgotten),
        TEST(a_ref_with_a_damaged_mark_is_not_seen),
        TEST(a_ref_whose_mark_just_went_is_not_seen),
        TEST(what_repair_put_out_of_use_is_not_missed),
        TEST(false_refs_are_not_seen),
        TEST(what_was_seen_in_the_future_does_not_count),
        TEST(short_times_say_nothing),
        TEST(nothing_more_is_asked_for),
        TEST(a_storage_that_fails_says_nothing),
        TEST(what_is_remembered_is_bounded),
        TEST(what_another_saw_meanwhile_is_not_missed),
        TEST(no_writer_loses_what_another_saw),
        TEST(a_damaged_file_is_none),
        TEST(a_foreign_file_is_none),
        TEST(without_a_folder_nothing_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
