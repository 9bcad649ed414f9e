/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

enum { DEPTH_MAX = 8, NAME_MAX_LEN = 64 };

/* An element at depth 2 or 3 with its text, given when it ends. */
struct reader {
    XML_Parser xml;
    unsigned depth;
    char names[DEPTH_MAX][NAME_MAX_LEN];
    struct buf text;
    const char *bad; /* why it was given up */
    void (*start)(struct reader *r);
    void (*end)(struct reader *r);
    void *cookie;
};

static void
give_up(struct reader *r, const char *why)
{
    if (!r->bad)
        r->bad = why;
    (void)XML_StopParser(r->xml, XML_FALSE);
}

static const char *
name_at(const struct reader *r, unsigned depth)
{
    return r->depth >= depth ? r->names[depth - 1] : "";
}

static void XMLCALL
on_start(void *cookie, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = cookie;
    /* "s3:Key" would be the same as "Key" */
    const char *colon = strrchr(name, ':');
    const char *local = colon ? colon + 1 : name;

    (void)attributes;
    if (r->bad)
        return;
    if (r->depth == DEPTH_MAX || strlen(local) >= NAME_MAX_LEN) {
        give_up(r, "it is nested too deep");
        return;
    }
    memcpy(r->names[r->depth++], local, strlen(local) + 1);
    buf_reset(&r->text);
    r->start(r);
}

static void XMLCALL
on_end(void *cookie, const XML_Char *name)
{
    struct reader *r = cookie;

    (void)name;
    if (r->bad)
        return;
    r->end(r);
    r->depth--;
    buf_reset(&r->text);
}

static void XMLCALL
on_text(void *cookie, const XML_Char *s, int len)
{
    struct reader *r = cookie;

    buf_add(&r->text, s, (size_t)len);
    if (r->text.overflow)
        give_up(r, "one of its values is too long");
}

static void XMLCALL
on_doctype(void *cookie, const XML_Char *name, const XML_Char *system,
           const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    give_up(cookie, "it declares a document type");
}

/* True if all of it was a document. */
static bool
read_xml(struct reader *r, const void *p, size_t len)
{
    bool whole = false;

    r->text = buf_of(S3_TEXT_MAX);
    r->xml = XML_ParserCreate(NULL);
    if (!r->xml)
        abort(); /* out of memory, as xmalloc does */
    XML_SetUserData(r->xml, r);
    XML_SetElementHandler(r->xml, on_start, on_end);
    XML_SetCharacterDataHandler(r->xml, on_text);
    XML_SetStartDoctypeDeclHandler(r->xml, on_doctype);
    if (len <= S3_PAGE_MAX_BYTES)
        whole = XML_Parse(r->xml, p, (int)len, 1) == XML_STATUS_OK;
    else
        r->bad = "it is too long";
    if (!whole && !r->bad)
        r->bad = XML_ErrorString(XML_GetErrorCode(r->xml));
    XML_ParserFree(r->xml);
    buf_done(&r->text);
    return whole && !r->bad;
}

/* ---- a page ------------------------------------------------------------ */

struct page_reader {
    struct s3_page page;
    struct s3_entry entry;
    bool root_ok, has_key, has_size, has_time, has_truncated, is_url;
    bool has_count;
    uint64_t count, folders;
};

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; what is no code stays: such a key is not one of ours. */
static void
url_decode(char *s)
{
    char *to = s;

    while (*s) {
        int high = *s == '%' ? hex_digit(s[1]) : -1;
        int low = high >= 0 ? hex_digit(s[2]) : -1;
        if (low >= 0 && high + low > 0) {
            *to++ = (char)(high << 4 | low);
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* "2026-11-22T10:00:00.123Z", of which we keep the seconds: that is all that
 * other replies tell. */
static bool
parse_time(const char *text, int64_t *out)
{
    size_t n = strcspn(text, ".");
    CLEANUP(freep)
    char *whole = xasprintf("%.*s%s", (int)n, text, text[n] ? "Z" : "");

    if (text[n] && text[n + 1 + strspn(text + n + 1, "0123456789")] != 'Z')
        return false;
    return clock_parse_utc(whole, out);
}

static void
page_start(struct reader *r)
{
    struct page_reader *p = r->cookie;

    if (r->depth == 1) {
        p->root_ok = strcmp(name_at(r, 1), "ListBucketResult") == 0;
        if (!p->root_ok)
            give_up(r, "it is no listing");
    }
    if (r->depth == 2 && strcmp(name_at(r, 2), "Contents") == 0) {
        p->has_key = p->has_size = p->has_time = false;
        free(STEAL(p->entry.key));
    }
}

static void
entry_value(struct reader *r, struct page_reader *p)
{
    const char *name = name_at(r, 3), *text = buf_text(&r->text);

    if (strcmp(name, "Key") == 0) {
        if (p->has_key || !*text || strlen(text) != r->text.len)
            give_up(r, "an object has no key, or two");
        free(p->entry.key);
        p->entry.key = xstrdup(text);
        p->has_key = true;
    } else if (strcmp(name, "Size") == 0) {
        p->has_size = text_parse_u64(text, &p->entry.size_bytes);
        if (!p->has_size)
            give_up(r, "the size of an object is no number");
    } else if (strcmp(name, "LastModified") == 0) {
        p->has_time = parse_time(text, &p->entry.mtime_ns);
        if (!p->has_time)
            give_up(r, "the time of an object is none");
    }
}

static void
add_entry(struct reader *r, struct page_reader *p)
{
    struct s3_page *page = &p->page;

    if (!p->has_key || !p->has_size || !p->has_time) {
        give_up(r, "an object has no key, size or time");
        return;
    }
    if (page->n == S3_PAGE_MAX_KEYS) {
        give_up(r, "it has more objects than were asked for");
        return;
    }
    if (page->n == page->room) {
        page->room = page->room ? page->room * 2 : 64;
        page->entries =
            xrealloc(page->entries, page->room * sizeof(*page->entries));
    }
    page->entries[page->n++] =
        (struct s3_entry){.key = STEAL(p->entry.key),
                          .size_bytes = p->entry.size_bytes,
                          .mtime_ns = p->entry.mtime_ns};
    p->has_key = false;
}

static void
page_value(struct reader *r, struct page_reader *p)
{
    const char *name = name_at(r, 2), *text = buf_text(&r->text);

    if (strcmp(name, "Contents") == 0) {
        add_entry(r, p);
    } else if (strcmp(name, "IsTruncated") == 0) {
        p->page.truncated = strcmp(text, "true") == 0;
        p->has_truncated = p->page.truncated || strcmp(text, "false") == 0;
    } else if (strcmp(name, "NextContinuationToken") == 0 && *text) {
        free(p->page.token);
        p->page.token = xstrdup(text);
    } else if (strcmp(name, "KeyCount") == 0) {
        p->has_count = text_parse_u64(text, &p->count);
    } else if (strcmp(name, "EncodingType") == 0) {
        p->is_url = strcmp(text, "url") == 0;
    } else if (strcmp(name, "CommonPrefixes") == 0) {
        p->folders++;
    }
}

static void
page_end(struct reader *r)
{
    if (r->depth == 3 && strcmp(name_at(r, 2), "Contents") == 0)
        entry_value(r, r->cookie);
    else if (r->depth == 2)
        page_value(r, r->cookie);
}

/* Why the page cannot be what the storage has, or NULL. */
static const char *
inconsistent(const struct page_reader *p)
{
    if (!p->has_truncated)
        return "it does not say whether it is the last";
    if (p->page.truncated && !p->page.token)
        return "it does not say how to go on";
    if (p->folders > 0)
        return "it has folders, which were not asked for";
    if (p->has_count && p->count != p->page.n)
        return "it has another number of objects than it says";
    return NULL;
}

void
s3_page_done(struct s3_page *page)
{
    for (size_t i = 0; i < page->n; i++)
        free(page->entries[i].key);
    free(page->entries);
    free(page->token);
    *page = (struct s3_page){0};
}

int
s3_xml_page(const void *p, size_t len, const char *what, struct s3_page *out,
            struct err *e)
{
    struct page_reader pr = {0};
    struct reader r = {.start = page_start, .end = page_end, .cookie = &pr};
    const char *bad = read_xml(&r, p, len) ? inconsistent(&pr) : r.bad;

    free(pr.entry.key);
    if (bad) {
        s3_page_done(&pr.page);
        return err_set(e, ERR_CORRUPT, "%s makes no sense: %s", what, bad);
    }
    for (size_t i = 0; pr.is_url && i < pr.page.n; i++)
        url_decode(pr.page.entries[i].key);
    if (!pr.page.truncated)
        free(STEAL(pr.page.token));
    *out = pr.page;
    return 0;
}

/* ---- an error ---------------------------------------------------------- */

static void
take(const struct reader *r, char *out, size_t room)
{
    CLEANUP(freep) char *text = xstrndup((const char *)r->text.p, r->text.len);
    CLEANUP(freep) char *quoted = text_quote(text, room);

    (void)snprintf(out, room, "%s", quoted);
}

static void
error_start(struct reader *r)
{
    if (r->depth == 1 && strcmp(name_at(r, 1), "Error") != 0)
        give_up(r, "it is no error");
}

static void
error_end(struct reader *r)
{
    struct s3_error *out = r->cookie;

    if (r->depth != 2 || r->text.len == 0)
        return;
    if (strcmp(name_at(r, 2), "Code") == 0)
        take(r, out->code, sizeof(out->code));
    else if (strcmp(name_at(r, 2), "Message") == 0)
        take(r, out->message, sizeof(out->message));
    else if (strcmp(name_at(r, 2), "Region") == 0)
        take(r, out->region, sizeof(out->region));
}

bool
s3_xml_error(const void *p, size_t len, struct s3_error *out)
{
    struct s3_error found = {0};
    struct reader r = {
        .start = error_start, .end = error_end, .cookie = &found};

    if (!read_xml(&r, p, len) || !found.code[0])
        return false;
    if (found.code[strspn(found.code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "abcdefghijklmnopqrstuvwxyz"
                                      "0123456789.")])
        return false;
    *out = found;
    return true;
}
