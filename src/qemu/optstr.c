/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/optstr.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

void
optstr_free(struct optstr *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++) {
        free(o->items[i].key);
        free(o->items[i].value);
    }
    free(o->items);
    free(o);
}

void
optstr_freep(struct optstr **o)
{
    optstr_free(*o);
}

/* Both strings are taken. */
static void
append(struct optstr *o, char *key, char *value)
{
    if (o->n == o->room) {
        o->room = o->room ? o->room * 2 : 8;
        o->items = xrealloc(o->items, o->room * sizeof(*o->items));
    }
    o->items[o->n].key = key;
    o->items[o->n++].value = value;
}

/* The value at *at, up to a single comma, and *at behind that comma. */
static char *
take_value(const char **at)
{
    struct buf b = buf_of(SIZE_MAX / 4);
    const char *s = *at;

    for (; *s && (*s != ',' || s[1] == ','); s++) {
        if (*s == ',')
            s++;
        buf_u8(&b, (uint8_t)*s);
    }
    *at = *s ? s + 1 : s;
    (void)buf_text(&b);
    return (char *)b.p;
}

/* The next item at *at; the implied key is NULL except for the first. */
static int
take_item(struct optstr *o, const char **at, const char *implied, struct err *e)
{
    size_t len = strcspn(*at, "=,");

    if ((*at)[len] != '=' && implied) {
        append(o, xstrdup(implied), take_value(at));
        return 0;
    }
    if (len == 0)
        return err_set(e, ERR_USAGE, "an option without a name");
    char *key = xstrndup(*at, len);
    *at += len;
    if (**at == '=') {
        (*at)++;
        append(o, key, take_value(at));
        return 0;
    }
    *at += **at == ',';
    bool off = text_starts(key, "no");
    if (off)
        memmove(key, key + 2, strlen(key + 2) + 1);
    append(o, key, xstrdup(off ? "off" : "on"));
    if (key[0] == '\0')
        return err_set(e, ERR_USAGE, "an option without a name");
    return 0;
}

int
optstr_parse(const char *text, const char *implied, struct optstr **out,
             struct err *e)
{
    CLEANUP(optstr_freep) struct optstr *o = xcalloc(1, sizeof(*o));

    for (const char *at = text; *at; implied = NULL) {
        if (o->n == OPTSTR_ITEMS_MAX)
            return err_set(e, ERR_LIMIT, "an option string has over %d items",
                           OPTSTR_ITEMS_MAX);
        if (take_item(o, &at, implied, e) == -1) {
            CLEANUP(freep) char *shown = text_quote(text, 80);
            return err_wrap(e, "\"%s\"", shown);
        }
    }
    *out = STEAL(o);
    return 0;
}

static void
put_value(struct buf *b, const char *value)
{
    for (; *value; value++) {
        if (*value == ',')
            buf_u8(b, ',');
        buf_u8(b, (uint8_t)*value);
    }
}

char *
optstr_format(const struct optstr *o, const char *implied)
{
    struct buf b = buf_of(SIZE_MAX / 4);

    for (size_t i = 0; i < o->n; i++) {
        const struct optstr_item *it = &o->items[i];
        assert(!strpbrk(it->key, "=,"));
        if (i > 0)
            buf_u8(&b, ',');
        /* "a=b" alone would be read as key and value, "" as the end */
        bool bare = i == 0 && implied && strcmp(it->key, implied) == 0 &&
                    !strchr(it->value, '=') && it->value[0];
        if (!bare)
            buf_printf(&b, "%s=", it->key);
        put_value(&b, it->value);
    }
    (void)buf_text(&b);
    return (char *)b.p;
}

const char *
optstr_get(const struct optstr *o, const char *key)
{
    for (size_t i = o->n; i > 0; i--) {
        if (strcmp(o->items[i - 1].key, key) == 0)
            return o->items[i - 1].value;
    }
    return NULL;
}

bool
optstr_bool(const struct optstr *o, const char *key, bool otherwise)
{
    static const char *const words[2][4] = {{"off", "no", "false", "n"},
                                            {"on", "yes", "true", "y"}};
    const char *value = optstr_get(o, key);

    for (size_t i = 0; value && i < 8; i++) {
        if (strcmp(value, words[i / 4][i % 4]) == 0)
            return i / 4;
    }
    return otherwise;
}

void
optstr_set(struct optstr *o, const char *key, const char *value)
{
    char *k = xstrdup(key), *v = xstrdup(value);
    size_t at = 0;

    while (at < o->n && strcmp(o->items[at].key, key) != 0)
        at++;
    (void)optstr_remove(o, key);
    append(o, k, v);
    struct optstr_item new = o->items[o->n - 1];
    if (at >= o->n) /* it was not there */
        return;
    memmove(&o->items[at + 1], &o->items[at],
            (o->n - 1 - at) * sizeof(*o->items));
    o->items[at] = new;
}

size_t
optstr_remove(struct optstr *o, const char *key)
{
    size_t kept = 0, n = o->n;

    for (size_t i = 0; i < n; i++) {
        struct optstr_item it = o->items[i];
        if (strcmp(it.key, key) != 0) {
            o->items[kept++] = it;
            continue;
        }
        free(it.key);
        free(it.value);
    }
    o->n = kept;
    return n - kept;
}
