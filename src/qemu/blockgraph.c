/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/blockgraph.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

enum { PATH_SHOWN = 200, VALUE_SHOWN = 600 };

static void
put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static const char *
string_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

/* Those of the NULL-terminated `keys` that `from` has. */
static json_t *
pick(const json_t *from, const char *const *keys)
{
    json_t *to = json_object();

    for (; *keys; keys++) {
        json_t *v = json_object_get(from, *keys);
        if (v)
            (void)json_object_set(to, *keys, v);
    }
    return to;
}

/* ---- the parts -------------------------------------------------------- */

static json_t *
snapshots_of(const json_t *node)
{
    const json_t *list =
        json_object_get(json_object_get(node, "image"), "snapshots");
    const json_t *s = NULL;
    json_t *all = json_object();
    size_t i = 0;

    json_array_foreach(list, i, s)
        put(all, string_of(s, "id"), json_string(string_of(s, "name")));
    return all;
}

static void
take_bitmaps(json_t *picture, const char *node, const json_t *list)
{
    static const char *const keys[] = {
        "granularity", "recording", "persistent", "inconsistent", "busy", NULL};
    json_t *all = json_object_get(picture, "bitmaps");
    const json_t *b = NULL;
    size_t i = 0, nameless = 0; /* those of jobs and filters */

    json_array_foreach(list, i, b)
    {
        const char *given = string_of(b, "name");
        CLEANUP(freep)
        char *name = given[0]
                         ? xasprintf("%s/%s", node, given)
                         : xasprintf("%s/(nameless %zu)", node, ++nameless);
        put(all, name, pick(b, keys));
    }
}

static void
take_nodes(json_t *picture, const json_t *reply)
{
    static const char *const keys[] = {
        "drv",     "file",    "backing_file", "ro",
        "active",  "cache",   "encrypted",    "detect_zeroes",
        "bps",     "bps_rd",  "bps_wr",       "iops",
        "iops_rd", "iops_wr", "group",        "write_threshold",
        NULL};
    json_t *nodes = json_object();
    const json_t *n = NULL;
    size_t i = 0;

    put(picture, "nodes", nodes);
    put(picture, "bitmaps", json_object());
    json_array_foreach(reply, i, n)
    {
        json_t *node = pick(n, keys);
        put(node, "snapshots", snapshots_of(n));
        put(nodes, string_of(n, "node-name"), node);
        take_bitmaps(picture, string_of(n, "node-name"),
                     json_object_get(n, "dirty-bitmaps"));
    }
}

static int
compare_strings(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;

    return strcmp(json_string_value(*x), json_string_value(*y));
}

/* The same strings in order; takes `array`. */
static json_t *
sorted(json_t *array)
{
    size_t n = json_array_size(array);
    CLEANUP(freep) json_t **all = xcalloc(n + 1, sizeof(json_t *));
    json_t *out = json_array();

    for (size_t i = 0; i < n; i++)
        all[i] = json_array_get(array, i);
    qsort(all, n, sizeof(json_t *), compare_strings);
    for (size_t i = 0; i < n; i++)
        (void)json_array_append(out, all[i]);
    json_decref(array);
    return out;
}

/* A list of words as "a,b,c", in order. */
static char *
join(const json_t *list)
{
    struct buf b = buf_of(SIZE_MAX / 4);
    json_t *words = json_array();
    json_t *w = NULL;
    size_t i = 0;

    json_array_foreach(list, i, w)
    {
        if (json_is_string(w))
            (void)json_array_append(words, w);
    }
    words = sorted(words);
    json_array_foreach(words, i, w)
        buf_printf(&b, "%s%s", i ? "," : "", json_string_value(w));
    json_decref(words);
    (void)buf_text(&b);
    return (char *)b.p;
}

/* The name of a node of x-debug-query-block-graph, by its number. */
static const char *
name_of(const json_t *names, const json_t *id)
{
    CLEANUP(freep)
    char *key = xasprintf("%lld", (long long)json_integer_value(id));
    const char *name = string_of(names, key);

    return name[0] ? name : "(nameless)";
}

static void
take_edges(json_t *picture, const json_t *reply)
{
    CLEANUP(json_decrefp) json_t *names = json_object();
    json_t *all = json_array();
    const json_t *item = NULL;
    size_t i = 0;

    json_array_foreach(json_object_get(reply, "nodes"), i, item)
    {
        CLEANUP(freep)
        char *key = xasprintf(
            "%lld", (long long)json_integer_value(json_object_get(item, "id")));
        put(names, key, json_string(string_of(item, "name")));
    }
    json_array_foreach(json_object_get(reply, "edges"), i, item)
    {
        CLEANUP(freep) char *perm = join(json_object_get(item, "perm"));
        CLEANUP(freep)
        char *shared = join(json_object_get(item, "shared-perm"));
        CLEANUP(freep)
        char *text = xasprintf("%s --%s--> %s (takes %s; shares %s)",
                               name_of(names, json_object_get(item, "parent")),
                               string_of(item, "name"),
                               name_of(names, json_object_get(item, "child")),
                               perm, shared);
        (void)json_array_append_new(all, json_string(text));
    }
    put(picture, "edges", sorted(all));
}

static void
take_backends(json_t *picture, const json_t *reply)
{
    json_t *all = json_object();
    const json_t *b = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, b)
    {
        const json_t *inserted = json_object_get(b, "inserted");
        json_t *size =
            json_object_get(json_object_get(inserted, "image"), "virtual-size");
        const char *device = string_of(b, "device");
        const char *qdev = string_of(b, "qdev");
        json_t *one = json_object();
        put(one, "device", json_string(device));
        put(one, "node", json_string(string_of(inserted, "node-name")));
        if (size)
            (void)json_object_set(one, "size", size);
        put(all, qdev[0] ? qdev : device, one);
    }
    put(picture, "backends", all);
}

static void
take_jobs(json_t *picture, const json_t *reply)
{
    json_t *all = json_object();
    const json_t *j = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, j)
        put(all, string_of(j, "id"), json_string(string_of(j, "type")));
    put(picture, "jobs", all);
}

static void
take_exports(json_t *picture, const json_t *reply)
{
    static const char *const keys[] = {"type", "node-name", "shutting-down",
                                       NULL};
    json_t *all = json_object();
    const json_t *x = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, x) put(all, string_of(x, "id"), pick(x, keys));
    put(picture, "exports", all);
}

/* The numbers of descriptors say nothing; how many there are does. */
static void
take_fdsets(json_t *picture, const json_t *reply)
{
    json_t *all = json_object();
    const json_t *s = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, s)
    {
        CLEANUP(freep)
        char *id = xasprintf("%lld", (long long)json_integer_value(
                                         json_object_get(s, "fdset-id")));
        put(all, id,
            json_integer(
                (json_int_t)json_array_size(json_object_get(s, "fds"))));
    }
    put(picture, "fdsets", all);
}

static void
take_objects(json_t *picture, const json_t *reply)
{
    json_t *all = json_object();
    const json_t *o = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, o)
        put(all, string_of(o, "name"), json_string(string_of(o, "type")));
    put(picture, "objects", all);
}

static void
take_status(json_t *picture, const json_t *reply)
{
    put(picture, "status", json_string(string_of(reply, "status")));
}

static void
take_capabilities(json_t *picture, const json_t *reply)
{
    json_t *all = json_object();
    const json_t *c = NULL;
    size_t i = 0;

    json_array_foreach(reply, i, c)
        put(all, string_of(c, "capability"),
            json_boolean(json_is_true(json_object_get(c, "state"))));
    put(picture, "capabilities", all);
}

static void
take_parameters(json_t *picture, const json_t *reply)
{
    put(picture, "parameters",
        json_is_object(reply) ? json_deep_copy(reply) : json_object());
}

/* ---- the picture ------------------------------------------------------ */

static const struct part {
    const char *command;
    const char *key, *value; /* of its one argument, or NULL */
    bool may_lack;           /* QEMU need not have it */
    void (*take)(json_t *picture, const json_t *reply);
} parts[] = {
    {"query-named-block-nodes", "flat", NULL, false, take_nodes},
    {"x-debug-query-block-graph", NULL, NULL, true, take_edges},
    {"query-block", NULL, NULL, false, take_backends},
    {"query-jobs", NULL, NULL, false, take_jobs},
    {"query-block-exports", NULL, NULL, true, take_exports},
    {"query-fdsets", NULL, NULL, false, take_fdsets},
    {"qom-list", "path", "/objects", false, take_objects},
    {"query-status", NULL, NULL, false, take_status},
    {"query-migrate-capabilities", NULL, NULL, false, take_capabilities},
    {"query-migrate-parameters", NULL, NULL, false, take_parameters},
};

static json_t *
arguments(const struct part *p)
{
    json_t *args = p->key ? json_object() : NULL;

    if (args)
        put(args, p->key, p->value ? json_string(p->value) : json_true());
    return args;
}

/* The reply to one part, after an error only to have it read. */
static void
redeem(struct qmp *q, const struct part *p, uint64_t ticket, json_t *picture,
       struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    struct err own = {0};

    int rc = qmp_redeem(q, ticket, &reply, &own);
    if (rc == -1 && !(p->may_lack && own.code == ERR_UNSUP)) {
        if (e->code == ERR_OK)
            *e = own;
        return;
    }
    p->take(picture, reply);
}

/* All questions are asked before the first answer is read, so that little can
 * happen between them. */
int
blockgraph_snapshot(struct qmp *q, json_t **out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *picture = json_object();
    uint64_t tickets[ARRAY_LEN(parts)];
    struct err failed = {0};
    size_t n = 0;

    while (n < ARRAY_LEN(parts) &&
           qmp_send(q, parts[n].command, arguments(&parts[n]), &tickets[n],
                    &failed) == 0)
        n++;
    for (size_t i = 0; i < n; i++)
        redeem(q, &parts[i], tickets[i], picture, &failed);
    if (failed.code != ERR_OK) {
        *e = failed;
        return -1;
    }
    *out = STEAL(picture);
    return 0;
}

/* ---- differences ------------------------------------------------------ */

struct diff {
    struct buf text;
    size_t lines;
};

static void
put_value(struct buf *b, const json_t *v)
{
    CLEANUP(freep)
    char *raw = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    CLEANUP(freep) char *shown = text_quote(raw ? raw : "?", VALUE_SHOWN);

    buf_printf(b, "%s", shown);
}

/* Of `before` and `after`, one may be NULL. */
static void
report(struct diff *d, const char *path, const json_t *before,
       const json_t *after)
{
    CLEANUP(freep) char *shown = text_quote(path, PATH_SHOWN);

    if (++d->lines > BLOCKGRAPH_DIFF_LINES)
        return;
    buf_printf(&d->text, "%c %s = ", !before ? '+' : !after ? '-' : '~', shown);
    put_value(&d->text, after ? after : before);
    if (before && after) {
        buf_printf(&d->text, ", was ");
        put_value(&d->text, before);
    }
    buf_printf(&d->text, "\n");
}

static bool
all_strings(const json_t *array)
{
    const json_t *item = NULL;
    size_t i = 0;

    json_array_foreach(array, i, item)
    {
        if (!json_is_string(item))
            return false;
    }
    return true;
}

/* Strings in order, as in every picture: what only one side has. */
static void
compare_lists(struct diff *d, const char *path, const json_t *before,
              const json_t *after)
{
    size_t i = 0, k = 0;

    for (;;) {
        const json_t *old = json_array_get(before, i);
        const json_t *new = json_array_get(after, k);
        if (!old && !new)
            return;
        int order =
            !old   ? 1
            : !new ? -1
                   : strcmp(json_string_value(old), json_string_value(new));
        if (order < 0)
            report(d, path, old, NULL);
        else if (order > 0)
            report(d, path, NULL, new);
        i += order <= 0;
        k += order >= 0;
    }
}

static int
compare_keys(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* The keys of both, in order; the array is to be freed, the keys are not. */
static const char **
keys_of_both(json_t *a, json_t *b, size_t *out_n)
{
    const char **keys =
        xcalloc(json_object_size(a) + json_object_size(b) + 1, sizeof(char *));
    const char *key = NULL;
    json_t *value = NULL;
    size_t n = 0;

    json_object_foreach(a, key, value) keys[n++] = key;
    json_object_foreach(b, key, value)
    {
        if (!json_object_get(a, key))
            keys[n++] = key;
    }
    qsort(keys, n, sizeof(char *), compare_keys);
    *out_n = n;
    return keys;
}

/* NOLINTBEGIN(misc-no-recursion): only as deep as the parser let JSON be */
static void
compare(struct diff *d, const char *path, json_t *before, json_t *after)
{
    size_t n = 0;

    if (before && after && json_equal(before, after))
        return;
    if (json_is_array(before) && json_is_array(after) && all_strings(before) &&
        all_strings(after)) {
        compare_lists(d, path, before, after);
        return;
    }
    if (!json_is_object(before) || !json_is_object(after)) {
        report(d, path, before, after);
        return;
    }
    CLEANUP(freep) const char **keys = keys_of_both(before, after, &n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(freep)
        char *inner = xasprintf("%s%s%s", path, path[0] ? " / " : "", keys[i]);
        compare(d, inner, json_object_get(before, keys[i]),
                json_object_get(after, keys[i]));
    }
}
/* NOLINTEND(misc-no-recursion) */

char *
blockgraph_diff(json_t *before, json_t *after)
{
    struct diff d = {.text = buf_of(SIZE_MAX / 4)};

    compare(&d, "", before, after);
    if (d.lines > BLOCKGRAPH_DIFF_LINES)
        buf_printf(&d.text, "and %zu more\n", d.lines - BLOCKGRAPH_DIFF_LINES);
    (void)buf_text(&d.text);
    return (char *)d.text.p;
}
