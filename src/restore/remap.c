/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/remap.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/machine.h"
#include "qemu/optstr.h"

struct work {
    const struct remap_options *o;
    struct remap *r;
    char **dropped; /* node names of -blockdev options that must go */
    size_t n_dropped;
    bool typed; /* a -machine option has been given the type */
};

static void
put(struct work *w, char *arg)
{
    w->r->args = xrealloc(w->r->args, (w->r->n + 2) * sizeof(char *));
    w->r->args[w->r->n++] = arg;
    w->r->args[w->r->n] = NULL;
}

/* "-drive" and "--drive" are the same option; NULL if it is none. */
static const char *
option_name(const char *arg)
{
    if (arg[0] != '-' || arg[1] == '\0')
        return NULL;
    return arg + (arg[1] == '-' ? 2 : 1);
}

static char *
image_of(const struct work *w, size_t disk)
{
    return xasprintf("%c/%s%s", REMAP_FOLDER, w->o->machine->disks[disk].name,
                     w->o->ending);
}

/* The number of the writable disk that fits, or n_disks. */
static size_t
find_disk(const struct work *w, const char *node, const char *filename,
          const char *device)
{
    const struct machine *m = w->o->machine;

    for (size_t i = 0; i < m->n_disks; i++) {
        const struct disk *d = &m->disks[i];
        if (d->read_only)
            continue;
        if ((node && strcmp(node, d->node) == 0) ||
            (filename && strcmp(filename, d->filename) == 0) ||
            (device && device[0] && strcmp(device, d->device) == 0))
            return i;
    }
    return m->n_disks;
}

/* ---- -blockdev
 * --------------------------------------------------------------- */

/* Both forms of -blockdev as a flat list of keys. */
static int
parse_blockdev(const char *text, struct optstr **out)
{
    struct err ignored = {0};
    CLEANUP(json_decrefp) json_t *j = NULL;
    CLEANUP(optstr_freep) struct optstr *o = NULL;
    const char *key = NULL;
    json_t *v = NULL;

    if (text[0] != '{')
        return optstr_parse(text, NULL, out, &ignored);
    j = json_loads(text, 0, NULL);
    if (!j || optstr_parse("", NULL, &o, &ignored) == -1)
        return -1;
    json_object_foreach(j, key, v)
    {
        if (json_is_string(v))
            optstr_set(o, key, json_string_value(v));
        else if (json_is_boolean(v))
            optstr_set(o, key, json_is_true(v) ? "on" : "off");
    }
    *out = STEAL(o);
    return 0;
}

static bool
is_dropped(const struct work *w, const char *node)
{
    for (size_t i = 0; node && i < w->n_dropped; i++)
        if (strcmp(w->dropped[i], node) == 0)
            return true;
    return false;
}

static bool
drop(struct work *w, const char *node)
{
    if (!node || is_dropped(w, node))
        return false;
    w->dropped = xrealloc(w->dropped, (w->n_dropped + 1) * sizeof(char *));
    w->dropped[w->n_dropped++] = xstrdup(node);
    return true;
}

/* One pass over the -blockdev options: what a disk's node, or one that goes,
 * is made of, goes too.  True if anything new was found. */
static bool
collect_dropped(struct work *w)
{
    static const char *const children[] = {"file", "backing", "data-file",
                                           "image"};
    char *const *argv = w->o->machine->argv;
    bool news = false;

    for (size_t i = 1; argv[i] && argv[i + 1]; i++) {
        const char *name = option_name(argv[i]);
        CLEANUP(optstr_freep) struct optstr *o = NULL;
        if (!name || strcmp(name, "blockdev") != 0 ||
            parse_blockdev(argv[i + 1], &o) == -1)
            continue;
        const char *node = optstr_get(o, "node-name");
        if (find_disk(w, node, NULL, NULL) == w->o->machine->n_disks &&
            !is_dropped(w, node))
            continue;
        for (size_t c = 0; c < ARRAY_LEN(children); c++)
            news |= drop(w, optstr_get(o, children[c]));
    }
    return news;
}

static void
put_blockdev(struct work *w, const char *option, const char *value)
{
    static const char *const kept[] = {"discard", "detect-zeroes",
                                       "cache.direct", "cache.no-flush"};
    CLEANUP(optstr_freep) struct optstr *o = NULL;
    CLEANUP(freep) char *image = NULL;

    if (parse_blockdev(value, &o) == -1) {
        put(w, xstrdup(option));
        put(w, xstrdup(value));
        return;
    }
    const char *node = optstr_get(o, "node-name");
    size_t disk = find_disk(w, node, NULL, NULL);
    if (is_dropped(w, node))
        return;
    put(w, xstrdup(option));
    if (disk == w->o->machine->n_disks) {
        put(w, xstrdup(value));
        return;
    }
    image = image_of(w, disk);
    char *arg = xasprintf("driver=%s,node-name=%s,file.driver=file,"
                          "file.filename=%s",
                          w->o->format, node, image);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const char *v = optstr_get(o, kept[i]);
        if (!v)
            continue;
        char *longer = xasprintf("%s,%s=%s", arg, kept[i], v);
        free(arg);
        arg = longer;
    }
    put(w, arg);
    w->r->mapped[disk] = true;
}

/* ---- -drive and its short forms
 * ----------------------------------------------- */

/* Options of the image that was, not of the drive. */
static void
remove_image_keys(struct optstr *o)
{
    static const char *const gone[] = {"driver",     "snapshot", "filename",
                                       "key-secret", "offset",   "size"};
    static const char *const families[] = {"file.", "backing", "encrypt.",
                                           "data-file"};

    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        (void)optstr_remove(o, gone[i]);
    for (size_t i = 0; i < o->n;) {
        const char *key = o->items[i].key;
        bool goes = false;
        for (size_t f = 0; f < ARRAY_LEN(families); f++)
            goes = goes || text_starts(key, families[f]);
        if (goes) {
            CLEANUP(freep) char *copy = xstrdup(key);
            (void)optstr_remove(o, copy);
        } else {
            i++;
        }
    }
}

static void
put_drive(struct work *w, const char *option, const char *value)
{
    CLEANUP(optstr_freep) struct optstr *o = NULL;
    struct err ignored = {0};
    size_t disk = w->o->machine->n_disks;

    if (optstr_parse(value, NULL, &o, &ignored) == 0) {
        const char *file = optstr_get(o, "file");
        if (!file)
            file = optstr_get(o, "file.filename");
        if (file && text_starts(file, "file:"))
            file += strlen("file:");
        disk =
            find_disk(w, optstr_get(o, "node-name"), file, optstr_get(o, "id"));
    }
    put(w, xstrdup(option));
    if (disk == w->o->machine->n_disks) {
        put(w, xstrdup(value));
        return;
    }
    CLEANUP(freep) char *image = image_of(w, disk);
    remove_image_keys(o);
    optstr_set(o, "file", image);
    optstr_set(o, "format", w->o->format);
    put(w, optstr_format(o, NULL));
    w->r->mapped[disk] = true;
}

/* -hda FILE and the like, or FILE alone.  False if it is no disk of ours. */
static bool
put_short_drive(struct work *w, const char *file, const char *rest)
{
    size_t disk = find_disk(w, NULL, file, NULL);

    if (disk == w->o->machine->n_disks)
        return false;
    CLEANUP(freep) char *image = image_of(w, disk);
    put(w, xstrdup("-drive"));
    put(w, xasprintf("file=%s,format=%s,%s", image, w->o->format, rest));
    w->r->mapped[disk] = true;
    return true;
}

static const struct {
    const char *option, *rest;
} short_drives[] = {
    {"hda", "index=0,media=disk"}, {"hdb", "index=1,media=disk"},
    {"hdc", "index=2,media=disk"}, {"hdd", "index=3,media=disk"},
    {"pflash", "if=pflash"},       {"sd", "if=sd"},
    {"fda", "if=floppy,index=0"},  {"fdb", "if=floppy,index=1"},
    {"mtdblock", "if=mtd"},
};

/* ---- the rest
 * ------------------------------------------------------------------ */

/* Aliases such as "pc" mean another machine in another QEMU. */
static void
put_machine(struct work *w, const char *option, const char *value)
{
    CLEANUP(optstr_freep) struct optstr *o = NULL;
    struct err ignored = {0};

    put(w, xstrdup(option));
    if (optstr_parse(value, "type", &o, &ignored) == -1) {
        put(w, xstrdup(value));
        return;
    }
    if (w->typed)
        (void)optstr_remove(o, "type");
    else
        optstr_set(o, "type", w->o->machine->type);
    w->typed = true;
    put(w, optstr_format(o, "type"));
}

/* How many arguments at argv[i] were dealt with; 0: none of ours. */
static size_t
put_known(struct work *w, const char *name, const char *arg, const char *value)
{
    if (strcmp(name, "S") == 0)
        return 1;
    if (!value)
        return 0;
    if (strcmp(name, "incoming") == 0 || strcmp(name, "loadvm") == 0)
        return 2;
    if (strcmp(name, "blockdev") == 0)
        put_blockdev(w, arg, value);
    else if (strcmp(name, "drive") == 0)
        put_drive(w, arg, value);
    else if (strcmp(name, "machine") == 0 || strcmp(name, "M") == 0)
        put_machine(w, arg, value);
    else {
        for (size_t i = 0; i < ARRAY_LEN(short_drives); i++)
            if (strcmp(name, short_drives[i].option) == 0 &&
                put_short_drive(w, value, short_drives[i].rest))
                return 2;
        return 0;
    }
    return 2;
}

void
remap_init(struct remap *r, const struct remap_options *o)
{
    char *const *argv = o->machine->argv;
    struct work w = {.o = o, .r = r};

    *r = (struct remap){0};
    r->mapped = xcalloc(o->machine->n_disks, sizeof(bool));
    while (argv && argv[0] && collect_dropped(&w))
        ;
    for (size_t i = 1; argv && argv[0] && argv[i];) {
        const char *name = option_name(argv[i]);
        size_t used = name ? put_known(&w, name, argv[i], argv[i + 1])
                           : put_short_drive(&w, argv[i], "index=0,media=disk");
        if (used == 0)
            put(&w, xstrdup(argv[i]));
        i += used ? used : 1;
    }
    if (!w.typed) {
        put(&w, xstrdup("-machine"));
        put(&w, xstrdup(o->machine->type));
    }
    for (size_t i = 0; i < w.n_dropped; i++)
        free(w.dropped[i]);
    free(w.dropped);
}

void
remap_done(struct remap *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->args[i]);
    free(r->args);
    free(r->mapped);
    *r = (struct remap){0};
}
