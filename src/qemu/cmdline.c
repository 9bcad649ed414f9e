/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/cmdline.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/optstr.h"

void
cmdline_done(struct cmdline *c)
{
    for (size_t i = 0; c->sockets && c->sockets[i]; i++)
        free(c->sockets[i]);
    free(c->sockets);
    free(c->name);
    free(c->uuid);
    *c = (struct cmdline){0};
}

static bool
is_uuid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    size_t i = 0;

    for (; form[i]; i++) {
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return text[i] == '\0';
}

char *
cmdline_uuid(const char *text)
{
    if (!is_uuid(text) || strspn(text, "0-") == strlen(text))
        return NULL;
    char *uuid = xstrdup(text);
    for (char *c = uuid; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return uuid;
}

static struct optstr *
parse(const char *text, const char *implied)
{
    struct optstr *o = NULL;
    struct err e = {0};

    return optstr_parse(text, implied, &o, &e) == -1 ? NULL : o;
}

/* The value behind option `name` at argv[i], or NULL.  QEMU takes its options
 * with one dash or two. */
static const char *
value_of(char *const *argv, size_t i, const char *name)
{
    const char *s = argv[i];

    if (*s++ != '-')
        return NULL;
    if (*s == '-')
        s++;
    return strcmp(s, name) == 0 ? argv[i + 1] : NULL;
}

static void
add_socket(struct cmdline *c, const char *path)
{
    size_t n = 0;

    for (; c->sockets[n]; n++) {
        if (strcmp(c->sockets[n], path) == 0)
            return;
    }
    c->sockets = xrealloc(c->sockets, (n + 2) * sizeof(*c->sockets));
    c->sockets[n] = xstrdup(path);
    c->sockets[n + 1] = NULL;
}

/* The socket of a character device if QEMU listens on it by a path. */
static void
add_chardev(struct cmdline *c, const struct optstr *o)
{
    const char *path = optstr_get(o, "path");

    if (path && path[0] && optstr_bool(o, "server", false) &&
        !optstr_bool(o, "abstract", false))
        add_socket(c, path);
}

/* The monitor on the character device `id`. */
static void
add_monitor_on(struct cmdline *c, char *const *argv, const char *id)
{
    for (size_t i = 0; argv[i]; i++) {
        const char *text = value_of(argv, i, "chardev");
        CLEANUP(optstr_freep)
        struct optstr *o = text ? parse(text, "backend") : NULL;
        const char *backend = o ? optstr_get(o, "backend") : NULL;
        const char *its_id = o ? optstr_get(o, "id") : NULL;
        if (backend && strcmp(backend, "socket") == 0 && its_id &&
            strcmp(its_id, id) == 0)
            add_chardev(c, o);
    }
}

/* -qmp unix:PATH,server=on or -qmp chardev:ID */
static void
read_qmp(struct cmdline *c, char *const *argv, const char *text)
{
    if (text_starts(text, "chardev:")) {
        add_monitor_on(c, argv, text + strlen("chardev:"));
    } else if (text_starts(text, "unix:")) {
        CLEANUP(optstr_freep)
        struct optstr *o = parse(text + strlen("unix:"), "path");
        if (o)
            add_chardev(c, o);
    }
}

/* -mon [chardev=]ID,mode=control */
static void
read_mon(struct cmdline *c, char *const *argv, const char *text)
{
    CLEANUP(optstr_freep) struct optstr *o = parse(text, "chardev");
    const char *mode = o ? optstr_get(o, "mode") : NULL;
    const char *id = o ? optstr_get(o, "chardev") : NULL;

    if (mode && id && strcmp(mode, "control") == 0)
        add_monitor_on(c, argv, id);
}

/* -object monitor-qmp,chardev=ID (QEMU 11.1), or the same as JSON */
static void
read_object(struct cmdline *c, char *const *argv, const char *text)
{
    bool is_json = text[0] == '{';
    CLEANUP(json_decrefp)
    json_t *j = is_json ? json_loads(text, 0, NULL) : NULL;
    CLEANUP(optstr_freep)
    struct optstr *o = is_json ? NULL : parse(text, "qom-type");
    const char *type = o ? optstr_get(o, "qom-type")
                         : json_string_value(json_object_get(j, "qom-type"));
    const char *id = o ? optstr_get(o, "chardev")
                       : json_string_value(json_object_get(j, "chardev"));

    if (type && id && strcmp(type, "monitor-qmp") == 0)
        add_monitor_on(c, argv, id);
}

static void
read_name(struct cmdline *c, const char *text)
{
    CLEANUP(optstr_freep) struct optstr *o = parse(text, "guest");
    const char *name = o ? optstr_get(o, "guest") : NULL;

    if (name && name[0]) {
        free(c->name);
        c->name = xstrdup(name);
    }
}

static void
read_uuid(struct cmdline *c, const char *text)
{
    char *uuid = cmdline_uuid(text);

    if (uuid) {
        free(c->uuid);
        c->uuid = uuid;
    }
}

/* -smbios type=1,uuid=... sets the machine's UUID just like -uuid */
static void
read_smbios(struct cmdline *c, const char *text)
{
    CLEANUP(optstr_freep) struct optstr *o = parse(text, NULL);
    const char *type = o ? optstr_get(o, "type") : NULL;
    const char *uuid = o ? optstr_get(o, "uuid") : NULL;

    if (type && uuid && strcmp(type, "1") == 0)
        read_uuid(c, uuid);
}

void
cmdline_read(char *const *argv, struct cmdline *out)
{
    *out = (struct cmdline){.sockets = xcalloc(1, sizeof(char *))};
    for (size_t i = 0; argv[i]; i++) {
        const char *v = NULL;
        if ((v = value_of(argv, i, "name")))
            read_name(out, v);
        else if ((v = value_of(argv, i, "uuid")))
            read_uuid(out, v);
        else if ((v = value_of(argv, i, "smbios")))
            read_smbios(out, v);
        else if ((v = value_of(argv, i, "qmp")) ||
                 (v = value_of(argv, i, "qmp-pretty")))
            read_qmp(out, argv, v);
        else if ((v = value_of(argv, i, "mon")))
            read_mon(out, argv, v);
        else if ((v = value_of(argv, i, "object")))
            read_object(out, argv, v);
    }
}
