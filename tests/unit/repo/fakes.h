/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakes: what the model of the protocol does not depend on, made simple and
 * cheap: jobs run at once and on the caller's thread, public keys are their
 * secrets, what is sealed is only checked, nothing is compressed, and chance
 * follows from a seed.  Included by one file only: it defines functions
 * of lower rooms in place of theirs.
 */
#ifndef TEST_REPO_FAKES_H
#define TEST_REPO_FAKES_H

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rand.h"
#include "check.h"
#include "crypto/aead.h"
#include "crypto/box.h"
#include "crypto/password.h"
#include "crypto/sign.h"
#include "repo/codec.h"
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

/* Good enough against accidents. */
static uint64_t
sum_of(uint64_t sum, const void *p, size_t len)
{
    const uint8_t *bytes = p;

    for (; len >= 8; bytes += 8, len -= 8)
        sum =
            (sum ^ get_le64(bytes)) * UINT64_C(0x9e3779b97f4a7c15) ^ sum >> 29;
    for (; len > 0; bytes++, len--)
        sum = (sum ^ *bytes) * UINT64_C(0x100000001b3);
    return sum;
}

void
sign_make(const uint8_t seed[SIGN_SEED_BYTES], const void *p, size_t len,
          uint8_t out[SIGN_BYTES])
{
    uint64_t sum = sum_of(get_le64(seed), p, len);

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

/* ---- ciphers, compression, costly keys -------------------------------- */

void
aead_seal(const uint8_t key[AEAD_KEY_BYTES], const void *aad, size_t aad_len,
          const void *p, size_t len, uint8_t *out)
{
    uint64_t sum = sum_of(get_le64(key), aad, aad_len);

    rand_bytes(out, AEAD_NONCE_BYTES);
    memcpy(out + AEAD_NONCE_BYTES, p, len);
    memset(out + AEAD_NONCE_BYTES + len, 0, AEAD_TAG_BYTES);
    put_le64(out + AEAD_NONCE_BYTES + len,
             sum_of(sum, out, AEAD_NONCE_BYTES + len));
}

bool
aead_open(const uint8_t key[AEAD_KEY_BYTES], const void *aad, size_t aad_len,
          const uint8_t *sealed, size_t sealed_len, uint8_t *out)
{
    uint64_t sum = sum_of(get_le64(key), aad, aad_len);

    if (sealed_len < AEAD_OVERHEAD)
        return false;
    memcpy(out, sealed + AEAD_NONCE_BYTES, sealed_len - AEAD_OVERHEAD);
    return get_le64(sealed + sealed_len - AEAD_TAG_BYTES) ==
           sum_of(sum, sealed, sealed_len - AEAD_TAG_BYTES);
}

struct codec *
codec_new(int level)
{
    (void)level;
    return xcalloc(1, 1);
}

void
codec_free(struct codec *c)
{
    free(c);
}

void
codec_freep(struct codec **c)
{
    free(*c);
}

void
codec_set_dense(struct codec *c, bool dense)
{
    (void)c;
    (void)dense;
}

size_t
codec_room(size_t len)
{
    return len + CODEC_HEAD_BYTES;
}

size_t
codec_pack(struct codec *c, const void *p, size_t len, uint8_t *out)
{
    (void)c;
    memset(out, 0, CODEC_HEAD_BYTES);
    put_le32(out + 4, (uint32_t)len);
    memcpy(out + CODEC_HEAD_BYTES, p, len);
    return CODEC_HEAD_BYTES + len;
}

int
codec_unpack(struct codec *c, const uint8_t *p, size_t len, uint8_t *out,
             size_t room, size_t *out_len, struct err *e)
{
    (void)c;
    if (len < CODEC_HEAD_BYTES || len - CODEC_HEAD_BYTES > room ||
        get_le32(p + 4) != len - CODEC_HEAD_BYTES)
        return err_set(e, ERR_CORRUPT, "its length is wrong");
    memcpy(out, p + CODEC_HEAD_BYTES, len - CODEC_HEAD_BYTES);
    *out_len = len - CODEC_HEAD_BYTES;
    return 0;
}

struct password_cost
password_cost_new(void)
{
    return (struct password_cost){.passes = 1, .memory_kib = PASSWORD_MIN_KIB};
}

int
password_derive(const struct password_cost *cost, const char *password,
                uint8_t out[PASSWORD_KEY_BYTES], struct err *e)
{
    (void)e;
    memset(out, 0, PASSWORD_KEY_BYTES);
    put_le64(out, sum_of(get_le64(cost->salt), password, strlen(password)));
    return 0;
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
static bool rand_is_stuck; /* it says the same again and again */

/* So that a seed says everything, names of packs included. */
void
rand_bytes(void *out, size_t len)
{
    uint64_t saved = chance_state;
    uint8_t *p = out;

    chance_state = rand_is_stuck ? 0 : rand_state;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)chance(256);
    if (!rand_is_stuck)
        rand_state = chance_state;
    chance_state = saved;
}

uint64_t
rand_u64(void)
{
    uint8_t p[8];

    rand_bytes(p, sizeof(p));
    return get_le64(p);
}

#endif
