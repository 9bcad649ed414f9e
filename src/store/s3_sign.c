/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_sign.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crypto/hash.h"

enum { HMAC_BLOCK = 64, DAY_LEN = 8, MAX_TEXT = 1 << 16 };

void
s3_sign_date(int64_t wall_ns, char out[S3_DATE_TEXT])
{
    time_t now = (time_t)(wall_ns / 1000000000);
    struct tm tm = {0};

    (void)gmtime_r(&now, &tm);
    if (strftime(out, S3_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm) == 0)
        memcpy(out, "19700101T000000Z", S3_DATE_TEXT);
}

void
s3_sign_hash(const void *p, size_t len, char out[S3_HASH_TEXT])
{
    uint8_t hash[HASH_BYTES];

    hash_sha256(p, len, hash);
    hex_encode(hash, sizeof(hash), out);
}

/* RFC 2104, for keys and texts that are short. */
static void
hmac(const void *key, size_t key_len, const char *text, uint8_t out[HASH_BYTES])
{
    CLEANUP(buf_done) struct buf inner = buf_of(MAX_TEXT);
    uint8_t k[HMAC_BLOCK] = {0}, outer[HMAC_BLOCK + HASH_BYTES];

    if (key_len > HMAC_BLOCK)
        hash_sha256(key, key_len, k);
    else
        memcpy(k, key, key_len);
    for (size_t i = 0; i < HMAC_BLOCK; i++) {
        buf_u8(&inner, k[i] ^ 0x36);
        outer[i] = k[i] ^ 0x5c;
    }
    buf_add(&inner, text, strlen(text));
    hash_sha256(inner.p, inner.len, outer + HMAC_BLOCK);
    hash_sha256(outer, sizeof(outer), out);
    explicit_bzero(k, sizeof(k));
    explicit_bzero(outer, sizeof(outer));
    explicit_bzero(inner.p, HMAC_BLOCK);
}

/* The key of this day, region and service. */
static void
signing_key(const struct s3_keys *k, const char *day, uint8_t out[HASH_BYTES])
{
    char *start = xasprintf("AWS4%s", k->secret);

    hmac(start, strlen(start), day, out);
    explicit_bzero(start, strlen(start));
    freep(&start);
    hmac(out, HASH_BYTES, k->region, out);
    hmac(out, HASH_BYTES, "s3", out);
    hmac(out, HASH_BYTES, "aws4_request", out);
}

static void
add_names(struct buf *out, const struct s3_unsigned *u)
{
    for (size_t i = 0; i < u->n_headers; i++)
        buf_printf(out, "%s%s", i ? ";" : "", u->headers[i].name);
}

/* The hash of the "canonical request". */
static void
request_hash(const struct s3_unsigned *u, char out[S3_HASH_TEXT])
{
    CLEANUP(buf_done) struct buf text = buf_of(MAX_TEXT);

    buf_printf(&text, "%s\n%s\n%s\n", u->method, u->path, u->query);
    for (size_t i = 0; i < u->n_headers; i++)
        buf_printf(&text, "%s:%s\n", u->headers[i].name, u->headers[i].value);
    buf_printf(&text, "\n");
    add_names(&text, u);
    buf_printf(&text, "\n%s", u->payload_hash);
    s3_sign_hash(text.p, text.len, out);
}

char *
s3_sign(const struct s3_keys *k, const char *date, const struct s3_unsigned *u)
{
    CLEANUP(buf_done) struct buf names = buf_of(MAX_TEXT);
    char hash[S3_HASH_TEXT], signature[S3_HASH_TEXT], day[DAY_LEN + 1];
    uint8_t key[HASH_BYTES], mac[HASH_BYTES];

    (void)snprintf(day, sizeof(day), "%.8s", date);
    request_hash(u, hash);
    CLEANUP(freep)
    char *scope = xasprintf("%s/%s/s3/aws4_request", day, k->region);
    CLEANUP(freep)
    char *text = xasprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hash);
    signing_key(k, day, key);
    hmac(key, sizeof(key), text, mac);
    explicit_bzero(key, sizeof(key));
    hex_encode(mac, sizeof(mac), signature);
    add_names(&names, u);
    return xasprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, "
                     "Signature=%s",
                     k->id, scope, buf_text(&names), signature);
}
