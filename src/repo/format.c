/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/format.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"

const struct format FORMAT_CONFIG = {"VMKCONFG", "repository config", 1, 0};
const struct format FORMAT_BUNDLE = {"VMKKEYS1", "key bundle", 1, 0};
const struct format FORMAT_PACK = {"VMKPACK1", "pack", 1, 0};
const struct format FORMAT_INDEX = {"VMKINDEX", "index segment", 1, 0};
const struct format FORMAT_SEGMENT = {"VMKSEGMT", "index segment", 1, 0};
const struct format FORMAT_REF = {"VMKREF01", "backup ref", 1, 0};
const struct format FORMAT_LOST = {"VMKLOST1", "record of what is lost", 1, 0};

void
format_put_head(struct buf *b, const struct format *f, uint16_t domain)
{
    buf_add(b, f->magic, FORMAT_MAGIC_BYTES);
    buf_le16(b, f->version);
    buf_le16(b, domain);
    buf_le32(b, 0);
}

int
format_get_head(struct cursor *c, const struct format *f, uint16_t *out_domain,
                struct err *e)
{
    uint8_t magic[FORMAT_MAGIC_BYTES];

    cursor_copy(c, magic, sizeof(magic));
    uint16_t version = cursor_le16(c);
    uint16_t domain = cursor_le16(c);
    uint32_t incompat = cursor_le32(c);

    if (cursor_check(c, f->what, e) == -1)
        return -1;
    if (memcmp(magic, f->magic, sizeof(magic)) != 0)
        return err_set(e, ERR_CORRUPT, "this is no %s", f->what);
    if (version != f->version)
        return err_set(e, ERR_UNSUP,
                       "%s has version %u, this vmkeep knows %u; use a newer "
                       "vmkeep",
                       f->what, version, f->version);
    if (incompat & ~f->known)
        return err_set(e, ERR_UNSUP,
                       "%s uses features 0x%x that this vmkeep does not know; "
                       "use a newer vmkeep",
                       f->what, incompat & ~f->known);
    *out_domain = domain;
    return 0;
}
