/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/names.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

/* Any total order will do: the shorter first, then by bytes. */
static int
compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

static int
compare_blocks(const void *a, const void *b, void *ram_)
{
    const struct vmstate_ram *ram = ram_;
    const char *x = ram->blocks[*(const uint16_t *)a].name;
    const char *y = ram->blocks[*(const uint16_t *)b].name;

    return compare(x, strlen(x), y, strlen(y));
}

int
vmstate_names_init(struct vmstate_names *x, const struct vmstate_ram *ram,
                   struct err *e)
{
    void *arg = NULL;

    assert(ram->n_blocks <= VMSTATE_MAX_BLOCKS);
    memcpy(&arg, &ram, sizeof(arg)); /* compare_blocks does not write there */
    x->ram = ram;
    for (size_t i = 0; i < ram->n_blocks; i++)
        x->order[i] = (uint16_t)i;
    qsort_r(x->order, ram->n_blocks, sizeof(x->order[0]), compare_blocks, arg);
    for (size_t i = 0; i < ram->n_blocks; i++) {
        const char *name = ram->blocks[x->order[i]].name;
        x->len[i] = (uint8_t)strlen(name);
        if (i > 0 && compare_blocks(&x->order[i - 1], &x->order[i], arg) == 0) {
            CLEANUP(freep) char *shown = text_quote(name, VMSTATE_NAME_MAX);
            return err_set(e, ERR_CORRUPT, "RAM block \"%s\" is listed twice",
                           shown);
        }
    }
    return 0;
}

int
vmstate_names_find(const struct vmstate_names *x, const uint8_t *name,
                   size_t len, size_t *out)
{
    size_t low = 0, high = x->ram->n_blocks;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c =
            compare(name, len, x->ram->blocks[x->order[mid]].name, x->len[mid]);
        if (c == 0) {
            *out = x->order[mid];
            return 1;
        }
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return 0;
}
