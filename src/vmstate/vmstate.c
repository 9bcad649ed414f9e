/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/vmstate.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "vmstate/format.h"
#include "vmstate/names.h"

static int
check_block(const struct vmstate_ram *ram, size_t i, uint64_t *total,
            struct err *e)
{
    const struct vmstate_block *b = &ram->blocks[i];

    if (b->name[0] == '\0' || !memchr(b->name, '\0', sizeof(b->name)))
        return err_set(e, ERR_CORRUPT, "RAM block number %zu has no name", i);
    CLEANUP(freep) char *shown = text_quote(b->name, VMSTATE_NAME_MAX);
    if (b->used_bytes == 0 || b->used_bytes % ram->page_bytes != 0)
        return err_set(e, ERR_CORRUPT,
                       "RAM block \"%s\" has %llu bytes, which is not a number "
                       "of pages of %u bytes",
                       shown, (unsigned long long)b->used_bytes,
                       ram->page_bytes);
    if (!u64_add(*total, b->used_bytes, total) ||
        *total > VMSTATE_RAM_MAX_BYTES)
        return err_set(e, ERR_LIMIT,
                       "more than %llu bytes of RAM up to block \"%s\"",
                       (unsigned long long)VMSTATE_RAM_MAX_BYTES, shown);
    return 0;
}

int
vmstate_ram_check(const struct vmstate_ram *ram, struct err *e)
{
    uint64_t total = 0;

    if (ram->version_id != RAM_VERSION)
        return err_set(e, ERR_UNSUP, "RAM section of version %u, not %d",
                       ram->version_id, RAM_VERSION);
    if (!is_power_of_2(ram->page_bytes) ||
        ram->page_bytes < VMSTATE_PAGE_MIN_BYTES ||
        ram->page_bytes > VMSTATE_PAGE_MAX_BYTES)
        return err_set(e, ERR_UNSUP, "RAM pages of %u bytes", ram->page_bytes);
    if (ram->n_blocks > VMSTATE_MAX_BLOCKS)
        return err_set(e, ERR_LIMIT, "%zu RAM blocks, over the limit of %d",
                       ram->n_blocks, VMSTATE_MAX_BLOCKS);
    for (size_t i = 0; i < ram->n_blocks; i++)
        if (check_block(ram, i, &total, e) == -1)
            return -1;

    struct vmstate_names names;
    return vmstate_names_init(&names, ram, e);
}
