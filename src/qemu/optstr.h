/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optstr: the option strings of QEMU's command line, "raw,file=a,,b,ro=on".
 *
 * A string is a list of KEY=VALUE joined by commas.  A comma in a value is
 * written twice.  The first item may be a value alone where the option has an
 * implied first key ("socket" of -chardev is "backend=socket").  Any other
 * item without "=" is a flag: "server" is "server=on", "nowait" is "wait=off".
 * Where a key comes twice, the last one counts.
 *
 * Some options (-blockdev, -device, -object, ...) also take JSON, which begins
 * with a brace and is not for this parser.
 *
 * Source: QEMU util/qemu-option.c and util/keyval.c, which agree on this much.
 */
#ifndef QEMU_OPTSTR_H
#define QEMU_OPTSTR_H

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { OPTSTR_ITEMS_MAX = 4096 };

struct optstr_item {
    char *key; /* without "=" and "," */
    char *value;
};

struct optstr {
    struct optstr_item *items; /* owned, in the order of the string */
    size_t n, room;
};

/* `implied`: the first key, or NULL.  ERR_USAGE for a key that is empty,
 * ERR_LIMIT for too many items. */
int optstr_parse(const char *text, const char *implied, struct optstr **out,
                 struct err *e);
void optstr_free(struct optstr *o); /* NULL is allowed */
void optstr_freep(struct optstr **o);

/* The string again, with every flag spelled out; parsing it with the same
 * `implied` yields the same items.  The caller frees it. */
char *optstr_format(const struct optstr *o, const char *implied);

/* The value that counts, borrowed, or NULL. */
const char *optstr_get(const struct optstr *o, const char *key);
/* The same read as on/off; `otherwise` if it is absent or neither. */
bool optstr_bool(const struct optstr *o, const char *key, bool otherwise);

/* Makes it the only item of that key, in the place of the first, else at the
 * end. */
void optstr_set(struct optstr *o, const char *key, const char *value);
/* Takes out all items of that key.  How many there were. */
size_t optstr_remove(struct optstr *o, const char *key);

#endif
