/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_refusal: what a server's "no" means, in words that help, and whether
 * asking again may.
 *
 * Source: Error Responses, Amazon S3 API Reference; RFC 9110 section 15.
 */
#ifndef STORE_S3_REFUSAL_H
#define STORE_S3_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct s3_address;
struct s3_reply;

struct s3_refusal {
    const char *what, *address;
    const struct s3_address *where;
    const char *region;
    bool about_object;
    int64_t server_ns; /* 0: unknown */
};

/* Sets r->transient; 0 for what the operations tell apart. */
int s3_refusal(const struct s3_refusal *w, struct s3_reply *r, struct err *e);

/* May a CURLcode be another one the next time? */
bool s3_refusal_passes(int curl_code);

/* What to do about it, if we know.  -1. */
int s3_refusal_hint(int curl_code, const struct s3_address *where,
                    struct err *e);

#endif
