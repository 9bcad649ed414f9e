/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_sign: who asks, and that nobody changed what: AWS Signature Version 4.
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)" and "Signature
 * Calculations for the Authorization Header: Transferring Payload in a Single
 * Chunk", Amazon S3 API Reference.  The payload's SHA-256 is always signed, so
 * the server refuses a body that was damaged on the way.
 */
#ifndef STORE_S3_SIGN_H
#define STORE_S3_SIGN_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct store_account;

enum { S3_HASH_TEXT = 65, S3_DATE_TEXT = 17 };

struct s3_keys {
    char *id;
    char *secret;
    char *token; /* NULL: none */
    char *region;
};

/*
 * From AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; else
 * from the profile AWS_PROFILE ("default") of the shared credentials file
 * (AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials).  The region: AWS_REGION,
 * AWS_DEFAULT_REGION, the profile's in AWS_CONFIG_FILE (~/.aws/config), what
 * a host of Amazon's says, us-east-1.
 *
 * Of a second account (`who`): first its profile, then the same variables with
 * VMKEEP_TO_ in front, and only then those; a region that its own profile has
 * counts before AWS_REGION.  A profile that `who` names counts before any key
 * in a variable, also of the first.
 *
 * ERR_STORE if there is no key.  Not to be called while other threads change
 * the environment.
 */
int s3_keys_find(const char *host, const struct store_account *who,
                 struct s3_keys *out, struct err *e);
void s3_keys_done(struct s3_keys *k); /* wipes */

/* The value that [profile `section`] or [section] gives `name` in the text of
 * a shared file, or NULL.  The caller frees it. */
char *s3_keys_lookup(const char *text, const char *section, const char *name);

struct s3_header {
    const char *name; /* lower case */
    const char *value;
};

struct s3_unsigned {
    const char *method;
    const char *path;                /* percent-encoded */
    const char *query;               /* sorted and percent-encoded; "" */
    const struct s3_header *headers; /* sorted by name; all are signed */
    size_t n_headers;
    const char *payload_hash; /* 64 hexadecimal digits */
};

/* "20130524T000000Z", which is also what the header x-amz-date must say. */
void s3_sign_date(int64_t wall_ns, char out[S3_DATE_TEXT]);

/* SHA-256 in hexadecimal. */
void s3_sign_hash(const void *p, size_t len, char out[S3_HASH_TEXT]);

/* The Authorization header's value.  The caller frees it. */
char *s3_sign(const struct s3_keys *k, const char *date,
              const struct s3_unsigned *u);

#endif
