/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU writes to us, in its monitor and on its command line.  The first
 * byte says which: JSON that arrives in pieces of a length that the second byte
 * says, or an option string.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qemu/jsonframe.h"
#include "qemu/optstr.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { FRAME_MAX = 4096 };

static void
must(int yes)
{
    if (!yes)
        abort();
}

/* How many objects there are; -1 if what comes is none. */
static int
frames(const uint8_t *p, size_t n, size_t piece, bool lenient)
{
    struct jsonframe f;
    int objects = 0, rc = 0;

    jsonframe_init(&f, FRAME_MAX);
    f.lenient = lenient;
    while (n > 0 && rc != -1) {
        size_t now = piece < n ? piece : n;
        jsonframe_add(&f, p, now);
        p += now;
        n -= now;
        for (;;) {
            struct err e = {0};
            json_t *object = NULL;
            size_t bytes = 0;
            rc = jsonframe_next(&f, &object, &bytes, &e);
            must((rc == -1) == (e.code != ERR_OK));
            if (rc != 1)
                break;
            must(json_is_object(object) && bytes > 0 && bytes <= FRAME_MAX);
            json_decref(object);
            objects++;
        }
    }
    jsonframe_done(&f);
    return rc == -1 ? -1 : objects;
}

/* However it is cut, it says the same. */
static void
parse_json(const uint8_t *p, size_t n)
{
    size_t piece = n > 0 ? 1 + p[0] : 1;

    if (n < 2 || n > JSONFRAME_CHUNK)
        return;
    for (int lenient = 0; lenient < 2; lenient++) {
        int whole = frames(p + 1, n - 1, n - 1, lenient);
        must(frames(p + 1, n - 1, piece, lenient) == whole);
        must(frames(p + 1, n - 1, 1, lenient) == whole);
    }
}

static void
must_be_same(const struct optstr *a, const struct optstr *b)
{
    must(a->n == b->n);
    for (size_t i = 0; i < a->n; i++)
        must(strcmp(a->items[i].key, b->items[i].key) == 0 &&
             strcmp(a->items[i].value, b->items[i].value) == 0);
}

static void
parse_options(const uint8_t *p, size_t n, const char *implied)
{
    CLEANUP(freep) char *text = xstrndup((const char *)p, n);
    CLEANUP(optstr_freep) struct optstr *o = NULL;
    CLEANUP(optstr_freep) struct optstr *twin = NULL;
    struct err e = {0};

    if (optstr_parse(text, implied, &o, &e) == -1) {
        must(e.code != ERR_OK && e.msg[0]);
        return;
    }
    CLEANUP(freep) char *again = optstr_format(o, implied);
    must(optstr_parse(again, implied, &twin, &e) == 0);
    must_be_same(o, twin);
    optstr_set(o, "id", "x,y=z");
    must(strcmp(optstr_get(o, "id"), "x,y=z") == 0);
    must(optstr_remove(o, "id") == 1 && !optstr_get(o, "id"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n == 0)
        return 0;
    if (p[0] % 4 < 2)
        parse_json(p + 1, n - 1);
    else
        parse_options(p + 1, n - 1, p[0] % 4 == 2 ? NULL : "driver");
    return 0;
}
