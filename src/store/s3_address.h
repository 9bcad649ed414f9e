/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_address: where a bucket is.
 *
 *     s3:https://HOST[:PORT]/BUCKET[/PREFIX]
 *     s3:http://HOST[:PORT]/BUCKET[/PREFIX]     without TLS
 *
 * Requests name the bucket in the path ("path style"), which works with every
 * server; with VMKEEP_S3_STYLE=virtual they name it in the host, which some
 * services demand.  The prefix is a folder for our objects in a bucket that
 * others may use too.
 */
#ifndef STORE_S3_ADDRESS_H
#define STORE_S3_ADDRESS_H

#include <stdbool.h>

struct err;

enum { S3_BUCKET_MAX = 255, S3_PREFIX_MAX = 512, S3_HOST_MAX = 300 };

struct s3_address {
    bool tls;
    bool virtual_style;
    char *host; /* lower case; with ":PORT" unless that is the usual one */
    char *bucket;
    char *prefix; /* "" or "a/b/" */
};

/* ERR_USAGE says what is wrong, but repeats nothing that may be a secret. */
int s3_address_parse(const char *text, struct s3_address *out, struct err *e);
void s3_address_done(struct s3_address *a);

/* Is it "s3:..." at all? */
bool s3_address_is(const char *text);

/* "https://HOST": what the paths of s3_address_path go behind; and the host
 * alone, as the Host header says it.  The caller frees them. */
char *s3_address_base(const struct s3_address *a);
char *s3_address_host(const struct s3_address *a);

/* The path of an object, or with NULL of the bucket; percent-encoded as the
 * signature wants it.  The caller frees it. */
char *s3_address_path(const struct s3_address *a, const char *name);

/* All but A-Z a-z 0-9 - . _ ~ as %XX; '/' too, but for `keep_slash`. */
char *s3_encode(const char *s, bool keep_slash);

#endif
