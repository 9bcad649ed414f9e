/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_folders.h"

#include <stdlib.h>

#include "base/mem.h"

void
folders_add(struct folders *f, const char *name)
{
    if (f->n == f->room) {
        f->room = f->room ? f->room * 2 : 16;
        f->names = xrealloc(f->names, f->room * sizeof(*f->names));
    }
    f->names[f->n++] = xstrdup(name);
}

void
folders_done(struct folders *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->names[i]);
    free(f->names);
}
