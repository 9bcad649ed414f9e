/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/inventory.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "repo/lost.h"
#include "store/store.h"

static void
add_object(struct inventory_list *l, const char *name,
           const struct store_stat *stat)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->objects = xrealloc(l->objects, l->room * sizeof(l->objects[0]));
    }
    l->objects[l->n].bytes = stat->size_bytes;
    l->objects[l->n].stored_ns = stat->mtime_ns;
    memcpy(l->objects[l->n++].name, name, strlen(name) + 1);
}

static void
add_pack(struct inventory *v, const struct inventory_pack *p)
{
    if (v->n_packs == v->room_packs) {
        v->room_packs = v->room_packs ? 2 * v->room_packs : 64;
        v->packs = xrealloc(v->packs, v->room_packs * sizeof(v->packs[0]));
    }
    v->packs[v->n_packs++] = *p;
    v->pack_bytes += p->bytes;
}

static int
note(void *cookie, const char *name, const struct store_stat *stat,
     struct err *e)
{
    struct inventory *v = cookie;
    struct inventory_pack pack = {.bytes = stat->size_bytes};
    struct ref_name ref;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;
    uint32_t generation = 0;

    (void)e;
    if (name_parse_pack(name, &pack.kind, pack.name))
        add_pack(v, &pack);
    else if (name_parse_index_delta(name, &time_ns, id) ||
             name_parse_ref(name, &ref))
        return 0; /* listed before */
    else if (name_parse_lost(name, &time_ns, id))
        add_object(&v->lost, name, stat);
    else if (name_parse_key(name, id))
        add_object(&v->keys, name, stat);
    else if (strcmp(name, NAME_CONFIG) != 0 &&
             !name_parse_config(name, &generation))
        v->other_objects++;
    return 0;
}

static int
note_ref(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct inventory *v = cookie;
    struct ref_name ref;

    (void)e;
    if (name_parse_ref(name, &ref))
        add_object(&v->refs, name, stat);
    return 0;
}

static int
note_segment(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct inventory *v = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    (void)e;
    if (name_parse_index_delta(name, &time_ns, id))
        add_object(&v->segments, name, stat);
    return 0;
}

static int
by_pack(const void *a, const void *b)
{
    return memcmp(a, b, PACK_NAME_BYTES);
}

static int
by_name(const void *a, const void *b)
{
    const struct inventory_object *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void
sort(struct inventory_list *l)
{
    if (l->n > 0)
        qsort(l->objects, l->n, sizeof(l->objects[0]), by_name);
}

int
inventory_make(struct store *st, struct inventory *out, struct err *e)
{
    /* Backwards through what a backup does: what is below the ones that are
     * seen is there to be seen next. */
    if (store_list(st, "refs/", note_ref, out, e) == -1 ||
        store_list(st, "index/", note_segment, out, e) == -1 ||
        store_list(st, "", note, out, e) == -1)
        return err_wrap(e, "cannot list the repository");
    if (out->n_packs > 0)
        qsort(out->packs, out->n_packs, sizeof(out->packs[0]), by_pack);
    sort(&out->segments);
    sort(&out->refs);
    sort(&out->keys);
    sort(&out->lost);
    return 0;
}

void
inventory_done(struct inventory *v)
{
    for (size_t i = 0; i < v->n_packs; i++)
        free(v->packs[i].covered);
    free(v->packs);
    free(v->segments.objects);
    free(v->refs.objects);
    free(v->keys.objects);
    free(v->lost.objects);
    *v = (struct inventory){0};
}

struct inventory_pack *
inventory_find(const struct inventory *v, const uint8_t name[PACK_NAME_BYTES])
{
    if (v->n_packs == 0)
        return NULL;
    return bsearch(name, v->packs, v->n_packs, sizeof(v->packs[0]), by_pack);
}
