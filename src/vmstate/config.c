/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/config.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

/* The bytes of the caller, and how many of them a record wants. */
struct window {
    const uint8_t *p;
    size_t len;
    size_t need;
};

static bool
has(struct window *w, size_t n)
{
    w->need = n;
    return w->len >= n;
}

/* `len` bytes of name at `at`, fit for a message.  The caller frees it. */
static char *
show(const struct window *w, size_t at, size_t len)
{
    CLEANUP(freep) char *name = xstrndup((const char *)w->p + at, len);

    return text_quote(name, VMSTATE_NAME_MAX);
}

static int
read_machine(struct vmstate_config *c, struct window *w, struct err *e)
{
    enum { NAME_AT = 5 }; /* u8 type, u32 length of the name */

    if (!has(w, NAME_AT))
        return 0;
    uint32_t name_len = get_be32(w->p + 1);
    if (name_len > VMSTATE_NAME_MAX)
        return err_set(e, ERR_LIMIT, "the machine type's name has %u bytes",
                       name_len);
    if (!has(w, NAME_AT + name_len))
        return 0;
    memset(c->machine, 0, sizeof(c->machine));
    memcpy(c->machine, w->p + NAME_AT, name_len);
    return 1;
}

static int
read_page_bits(struct vmstate_config *c, struct window *w, size_t at,
               struct err *e)
{
    if (!has(w, at + 4))
        return 0;
    uint32_t bits = get_be32(w->p + at);
    uint64_t bytes = bits < 32 ? UINT64_C(1) << bits : 0;
    if (bytes < VMSTATE_PAGE_MIN_BYTES || bytes > VMSTATE_PAGE_MAX_BYTES)
        return err_set(e, ERR_UNSUP, "RAM pages of 2^%u bytes", bits);
    c->page_bytes = (uint32_t)bytes;
    return 1;
}

/* QEMU lists here just those capabilities that change how RAM is written, so
 * all there is to do is to name the first in a complaint. */
static int
read_capabilities(struct window *w, size_t at, struct err *e)
{
    if (!has(w, at + 4))
        return 0;
    uint32_t n = get_be32(w->p + at);
    if (n > CONFIG_CAPABILITIES_MAX)
        return err_set(e, ERR_LIMIT, "%u capabilities are listed", n);
    if (n == 0)
        return 1;
    at += 4;
    if (!has(w, at + 1) || !has(w, at + 1 + w->p[at]))
        return 0;
    CLEANUP(freep) char *name = show(w, at + 1, w->p[at]);
    return err_set(e, ERR_UNSUP,
                   "RAM is written the way of the capability \"%s\"; switch it "
                   "off for backups",
                   name);
}

static bool
is_named(const struct window *w, size_t at, const char *name)
{
    return w->p[at - 1] == strlen(name) &&
           memcmp(w->p + at, name, strlen(name)) == 0;
}

static int
read_sub(struct vmstate_config *c, struct window *w, struct err *e)
{
    enum { NAME_AT = 2, VERSION_BYTES = 4, UUID_BYTES = 16 };

    if (!has(w, NAME_AT) || !has(w, NAME_AT + (size_t)w->p[1] + VERSION_BYTES))
        return 0;
    size_t body = w->need;
    uint32_t version = get_be32(w->p + body - VERSION_BYTES);
    if (version == 1) {
        if (is_named(w, NAME_AT, "configuration/target-page-bits"))
            return read_page_bits(c, w, body, e);
        if (is_named(w, NAME_AT, "configuration/capabilities"))
            return read_capabilities(w, body, e);
        if (is_named(w, NAME_AT, "configuration/uuid"))
            return has(w, body + UUID_BYTES);
    }
    CLEANUP(freep) char *name = show(w, NAME_AT, w->p[1]);
    return err_set(e, ERR_UNSUP, "unknown subsection \"%s\" of version %u",
                   name, version);
}

int
vmstate_config_read(struct vmstate_config *c, const uint8_t *p, size_t len,
                    size_t *need, struct err *e)
{
    struct window w = {.p = p, .len = len};
    int r = read_machine(c, &w, e);

    *need = w.need;
    return r;
}

int
vmstate_config_read_sub(struct vmstate_config *c, const uint8_t *p, size_t len,
                        size_t *need, struct err *e)
{
    struct window w = {.p = p, .len = len};
    int r = read_sub(c, &w, e);

    *need = w.need;
    return r;
}
