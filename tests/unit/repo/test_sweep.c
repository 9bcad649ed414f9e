/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One byte in SOME of a small repository with one bit flipped, every object cut
 * at one length in SOME, every pair of objects swapped, every object gone: a
 * check finds it, and nobody ever reads wrong bytes.  With VMKEEP_ALL_BITS=1
 * every bit of every byte, and every length.  Bytes, bits and lengths are
 * chosen by VMKEEP_SEED, else at random; it is printed.
 */
#include "base/rand.h"
#include "base/text.h"
#include "damaged.h"
#include "repo/repo_internal.h"

enum { SOME = 5 };

static bool
is_all(void)
{
    return getenv("VMKEEP_ALL_BITS") != NULL; /* NOLINT(concurrency-*) */
}

static uint64_t
next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Compresses to next to nothing: every byte costs a check of its own. */
static void
fill(uint8_t *p, int i)
{
    memset(p, 'a' + i, 4096);
    memset(p + 8192, 'x', 4096);
}

static int
setup(void **state)
{
    struct damaged *d = damaged_new(16 * KIB, fill);

    damaged_notices(d);
    *state = d;
    return 0;
}

static int
teardown(void **state)
{
    damaged_free(*state);
    return 0;
}

/* Object i is damaged: found, and never wrong bytes. */
static void
assert_detected(struct damaged *d, size_t i, const char *how, size_t at)
{
    struct err e = {0};

    if (damaged_check(d, true, &e) == 0 && d->result.faults == 0)
        fail_msg("%s: %s %zu was not detected", d->names[i], how, at);
    damaged_read(d);
}

static uint64_t
seed_of_run(void)
{
    const char *given = getenv("VMKEEP_SEED"); /* NOLINT(concurrency-*) */
    uint64_t seed = rand_u64() >> 16;

    if (given && !text_parse_u64(given, &seed))
        fail_msg("VMKEEP_SEED is no number");
    print_message("# seed %llu\n", (unsigned long long)seed);
    return seed | 1;
}

static void
every_byte(void **state)
{
    struct damaged *d = *state;
    bool all = is_all();
    uint64_t seed = seed_of_run(), points = 0;

    for (size_t i = 0; i < d->n; i++) {
        CLEANUP(freep) uint8_t *copy = xmemdup(d->bytes[i].p, d->bytes[i].len);
        for (size_t at = 0; at < d->bytes[i].len; at++) {
            uint64_t chosen = next_random(&seed) >> 8;
            for (unsigned bit = 0; bit < 8; bit++) {
                if (!all && (chosen % SOME != 0 || bit != chosen / SOME % 8))
                    continue;
                copy[at] ^= (uint8_t)(1U << bit);
                damaged_put(d, i, copy, d->bytes[i].len);
                assert_detected(d, i, "a flipped bit of byte", at);
                copy[at] ^= (uint8_t)(1U << bit);
                points++;
            }
        }
        damaged_undo(d, i);
    }
    print_message("# %llu flipped bits in %zu objects, all detected\n",
                  (unsigned long long)points, d->n);
    assert_clean(d, true);
}

static void
every_cut(void **state)
{
    struct damaged *d = *state;
    uint64_t seed = seed_of_run(), points = 0;

    for (size_t i = 0; i < d->n; i++) {
        for (size_t len = 0; len < d->bytes[i].len; len++) {
            if (!is_all() && (next_random(&seed) >> 8) % SOME != 0)
                continue;
            points++;
            damaged_put(d, i, d->bytes[i].p, len);
            assert_detected(d, i, "a cut at", len);
        }
        damaged_undo(d, i);
    }
    print_message("# %llu cuts, all detected\n", (unsigned long long)points);
}

static void
every_pair(void **state)
{
    struct damaged *d = *state;
    unsigned points = 0;

    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < i; k++, points++) {
            damaged_put(d, i, d->bytes[k].p, d->bytes[k].len);
            damaged_put(d, k, d->bytes[i].p, d->bytes[i].len);
            assert_detected(d, i, "a swap with", k);
            damaged_undo(d, i);
            damaged_undo(d, k);
        }
    print_message("# %u swapped pairs, all detected\n", points);
}

/*
 * Nothing in the store tells if the loss of these was meant, and nothing worse
 * comes of it: the last ref of a machine (it can't be listed), a key that is
 * not the one at hand (nor used), a mark (the backup is there again), a list of
 * what is condemned (it is not deleted), a record of what is lost (what it
 * names is met again, and found).
 */
static bool
is_missed(const struct damaged *d, size_t i)
{
    const char *name = d->names[i];

    return !(
        i == damaged_find(d, "refs/", 1) ||
        (text_starts(name, "keys/") && strcmp(name, d->f.r->key_name) != 0) ||
        text_starts(name, "retired/") || text_starts(name, "cond/") ||
        text_starts(name, "lost/"));
}

static void
every_loss(void **state)
{
    struct damaged *d = *state;
    size_t harmless = 0;

    for (size_t i = 0; i < d->n; i++) {
        assert_ok(store_remove(d->f.st, d->names[i], e));
        if (is_missed(d, i))
            assert_detected(d, i, "its loss", 0);
        else
            damaged_read(d), harmless++;
        assert_ok(
            store_put(d->f.st, d->names[i], d->bytes[i].p, d->bytes[i].len, e));
    }
    print_message("# %zu losses, %zu of them harmless, the others detected\n",
                  d->n, harmless);
    assert_clean(d, true);
}

static void
every_addition(void **state)
{
    struct damaged *d = *state;

    for (size_t i = 0; i < d->n; i++) {
        CLEANUP(freep) uint8_t *more = xcalloc(1, d->bytes[i].len + 1);
        memcpy(more, d->bytes[i].p, d->bytes[i].len);
        damaged_put(d, i, more, d->bytes[i].len + 1);
        assert_detected(d, i, "one byte more", 0);
        damaged_undo(d, i);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(every_byte), TEST(every_cut),      TEST(every_pair),
        TEST(every_loss), TEST(every_addition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
