/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_xml: the two kinds of document that S3 answers with: a page of a listing
 * and an error.
 *
 * Source: ListObjectsV2 and Error Responses, Amazon S3 API Reference.
 *
 * Trust: none.  A document type declaration (the way to entities that grow),
 * nesting and texts past a limit are refused; a page that is not whole and
 * consistent in itself is ERR_CORRUPT, never a shorter page.
 */
#ifndef STORE_S3_XML_H
#define STORE_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum {
    S3_PAGE_MAX_KEYS = 1000,     /* asked for, and the most that is taken */
    S3_PAGE_MAX_BYTES = 8 << 20, /* of a document */
    S3_TEXT_MAX = 4096,          /* of one element */
    S3_CODE_MAX = 64,
    S3_MESSAGE_MAX = 256
};

struct s3_entry {
    char *key; /* as the storage has it */
    uint64_t size_bytes;
    int64_t mtime_ns; /* whole seconds */
};

struct s3_page {
    struct s3_entry *entries;
    size_t n, room;
    bool truncated;
    char *token; /* to go on; NULL if it is not truncated */
};

/* `what` names the listing in errors. */
int s3_xml_page(const void *p, size_t len, const char *what,
                struct s3_page *out, struct err *e);
void s3_page_done(struct s3_page *page);

struct s3_error {
    char code[S3_CODE_MAX];       /* letters and digits; "" if unknown */
    char message[S3_MESSAGE_MAX]; /* printable; "" */
    char region[S3_CODE_MAX];     /* where the bucket is; "" */
};

/* True, and *out, if the document is an error. */
bool s3_xml_error(const void *p, size_t len, struct s3_error *out);

#endif
