/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakes: what the model of the protocol does not depend on, made simple: jobs
 * run at once and on the caller's thread, public keys are their secrets, and
 * chance follows from a seed.  Included by one file only: it defines functions
 * of lower rooms in place of theirs.
 */
#ifndef TEST_REPO_FAKES_H
#define TEST_REPO_FAKES_H

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rand.h"
#include "check.h"
#include "crypto/box.h"
#include "crypto/sign.h"
#include "work/pool.h"

/* ---- what the protocol does not depend on: threads and public keys ----- */

struct thread {
    void (*fn)(void *);
    void *arg;
};

struct thread *
thread_start(void (*fn)(void *), void *arg)
{
    struct thread *t = xcalloc(1, sizeof(*t));

    *t = (struct thread){fn, arg};
    return t;
}

/* Its queue is closed: it does what is left and ends. */
void
thread_join(struct thread *t)
{
    if (t)
        t->fn(t->arg);
    free(t);
}

struct pool *
pool_new(unsigned n_threads)
{
    (void)n_threads;
    return xcalloc(1, 1);
}

void
pool_free(struct pool *p)
{
    free(p);
}

void
pool_freep(struct pool **p)
{
    pool_free(*p);
}

unsigned
pool_threads(const struct pool *p)
{
    (void)p;
    return 1;
}

struct group *
group_new(struct pool *p, size_t max_jobs)
{
    (void)p;
    (void)max_jobs;
    return xcalloc(1, 1);
}

void
group_run(struct group *g, pool_fn *fn, void *arg)
{
    struct err e = {0};

    (void)g;
    (void)fn(arg, 0, &e);
}

int
group_failed(struct group *g)
{
    (void)g;
    return 0;
}

int
group_wait(struct group *g, struct err *e)
{
    (void)g;
    (void)e;
    return 0;
}

void
group_free(struct group *g)
{
    free(g);
}

void
group_freep(struct group **g)
{
    group_free(*g);
}

void
sign_public(const uint8_t seed[SIGN_SEED_BYTES], uint8_t out[SIGN_PUBLIC_BYTES])
{
    memcpy(out, seed, SIGN_PUBLIC_BYTES);
}

void
sign_make(const uint8_t seed[SIGN_SEED_BYTES], const void *p, size_t len,
          uint8_t out[SIGN_BYTES])
{
    const uint8_t *bytes = p;
    uint64_t sum = get_le64(seed);

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < SIGN_BYTES; i += 8)
        put_le64(out + i, sum + i);
}

bool
sign_check(const uint8_t key[SIGN_PUBLIC_BYTES], const void *p, size_t len,
           const uint8_t signature[SIGN_BYTES])
{
    uint8_t own[SIGN_BYTES];

    sign_make(key, p, len, own);
    return memcmp(own, signature, sizeof(own)) == 0;
}

void
box_public(const uint8_t secret[BOX_SECRET_BYTES],
           uint8_t out[BOX_PUBLIC_BYTES])
{
    memcpy(out, secret, BOX_PUBLIC_BYTES);
}

bool
box_seal(const uint8_t key[BOX_PUBLIC_BYTES], const void *p, size_t len,
         uint8_t *out)
{
    memset(out, 0, BOX_OVERHEAD);
    memcpy(out, key, BOX_PUBLIC_BYTES);
    memcpy(out + BOX_OVERHEAD, p, len);
    return true;
}

bool
box_open(const uint8_t secret[BOX_SECRET_BYTES], const uint8_t *sealed,
         size_t sealed_len, uint8_t *out)
{
    if (memcmp(secret, sealed, BOX_SECRET_BYTES) != 0)
        return false;
    memcpy(out, sealed + BOX_OVERHEAD, sealed_len - BOX_OVERHEAD);
    return true;
}

/* ---- chance ----------------------------------------------------------- */

static uint64_t chance_state;

static uint64_t
chance(uint64_t below)
{
    uint64_t z = chance_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static uint64_t rand_state;

/* So that a seed says everything, names of packs included. */
void
rand_bytes(void *out, size_t len)
{
    uint8_t *p = out;

    for (size_t i = 0; i < len; i++) {
        uint64_t saved = chance_state;
        chance_state = rand_state;
        p[i] = (uint8_t)chance(256);
        rand_state = chance_state;
        chance_state = saved;
    }
}

uint64_t
rand_u64(void)
{
    uint8_t p[8];

    rand_bytes(p, sizeof(p));
    return get_le64(p);
}

#endif
