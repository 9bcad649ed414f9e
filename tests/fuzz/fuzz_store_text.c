/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every text that src/store reads: what S3 answers, addresses and the shared
 * credentials file.  The first byte says which the rest is taken for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/s3_address.h"
#include "store/s3_sign.h"
#include "store/s3_xml.h"
#include "store/sftp_address.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(int yes)
{
    if (!yes)
        abort();
}

static void
page(const uint8_t *p, size_t n)
{
    CLEANUP(s3_page_done) struct s3_page page = {0};
    struct err e = {0};

    int rc = s3_xml_page(p, n, "the page", &page, &e);
    must((rc == -1) == (e.code == ERR_CORRUPT));
    must(page.n <= S3_PAGE_MAX_KEYS && page.truncated == (page.token != NULL));
    for (size_t i = 0; i < page.n; i++)
        must(strlen(page.entries[i].key) < S3_TEXT_MAX);
}

static void
error(const uint8_t *p, size_t n)
{
    struct s3_error e = {0};

    if (!s3_xml_error(p, n, &e))
        return;
    must(e.code[0] && strlen(e.code) < sizeof(e.code));
    for (const char *s = e.message; *s; s++)
        must(*s >= 0x20 && *s < 0x7f);
}

static void
s3_address(const char *text)
{
    CLEANUP(s3_address_done) struct s3_address a = {0};
    struct err e = {0};

    if (!s3_address_is(text) || s3_address_parse(text, &a, &e) == -1)
        return;
    CLEANUP(freep) char *base = s3_address_base(&a);
    CLEANUP(freep) char *path = s3_address_path(&a, "x/y");
    must(!strpbrk(base, "?#@\r\n ") && !strpbrk(path, "?#@\r\n "));
    must(!strstr(path, "/../") && !strstr(path, "//"));
}

static void
sftp_address(const char *text)
{
    CLEANUP(sftp_address_done) struct sftp_address a = {0};
    struct err e = {0};

    if (!sftp_address_is(text) || sftp_address_parse(text, &a, &e) == -1)
        return;
    must(a.host[0] && a.host[0] != '-' && a.path[0]);
    must(!a.user || (a.user[0] && a.user[0] != '-'));
    must(!strpbrk(a.host, " '\"$`;|&\n"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n == 0)
        return 0;
    CLEANUP(freep) char *text = xstrndup((const char *)p + 1, n - 1);
    CLEANUP(freep) char *value = NULL;
    switch (p[0] % 5) {
    case 0:
        page(p + 1, n - 1);
        break;
    case 1:
        error(p + 1, n - 1);
        break;
    case 2:
        s3_address(text);
        break;
    case 3:
        sftp_address(text);
        break;
    default:
        value = s3_keys_lookup(text, "work", "aws_access_key_id");
        must(!value || (value[0] && !strchr(value, '\n')));
    }
    return 0;
}
