/* SPDX-License-Identifier: Apache-2.0 */
/* extract_look: which snapshots an image has, and are they whole (extract.h).
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "qcow2/reader.h"
#include "restore/extract.h"
#include "restore/statecheck.h"
#include "work/cancel.h"

enum { LOOK_BYTES = 1 << 20 };

/* What is being looked at. */
struct look {
    progress_fn *progress; /* or NULL */
    void *cookie;
    struct cancel *cancel;
    uint64_t done_bytes, total_bytes; /* of machine states */
    uint8_t *bytes;                   /* LOOK_BYTES */
};

static void
tell(const struct look *l, const char *what)
{
    const struct progress p = {"check", what, l->done_bytes, l->total_bytes};

    if (l->progress)
        l->progress(l->cookie, &p);
}

/* `e` is for being canceled, `why` for what is wrong with the state. */
static int
follow_vmstate(struct look *l, struct qcow2_view *view,
               struct extract_entry *en, struct err *why, struct err *e)
{
    CLEANUP(statecheck_freep) struct statecheck *check = statecheck_new();
    uint64_t bytes = qcow2_view_vmstate_bytes(view);

    for (uint64_t at = 0; at < bytes; at += LOOK_BYTES) {
        size_t n = u64_min(LOOK_BYTES, bytes - at);
        if (cancel_check(l->cancel, e) == -1)
            return -1;
        if (qcow2_view_read_vmstate(view, at, l->bytes, n, why) == -1 ||
            statecheck_push(check, l->bytes, n, why) == -1)
            return 0;
        l->done_bytes += n;
        tell(l, en->snapshot->name);
    }
    if (bytes > 0 && statecheck_end(check, why) == -1)
        return 0;
    if (statecheck_unknown(check))
        en->unknown = xstrdup(statecheck_unknown(check));
    return 0;
}

static int
look_at_view(struct look *l, struct qcow2_view *view, struct extract_entry *en,
             struct err *e)
{
    struct qcow2_check check = {0};
    struct err gone = {0};

    if (qcow2_view_check(view, &check, &en->why) == 0) {
        en->data_bytes = check.data_bytes;
        en->overlaps = check.overlaps;
        if (follow_vmstate(l, view, en, &en->why, e) == -1)
            return -1;
    }
    if (en->why.code != ERR_OK)
        en->state =
            en->why.code == ERR_CORRUPT ? EXTRACT_DAMAGED : EXTRACT_REFUSED;
    /* What looks like damage may only be what has been written since. */
    if (qcow2_view_recheck(view, &gone) == -1) {
        en->state = gone.code == ERR_NOENT ? EXTRACT_GONE : EXTRACT_DAMAGED;
        en->why = gone;
    }
    return 0;
}

static int
look_at(struct look *l, const struct qcow2_image *image,
        struct extract_entry *en, struct err *e)
{
    CLEANUP(qcow2_view_closep) struct qcow2_view *view = NULL;

    tell(l, en->snapshot->name);
    if (qcow2_view_open(image, en->snapshot, &view, &en->why) == 0)
        return look_at_view(l, view, en, e);
    en->state = en->why.code == ERR_CORRUPT ? EXTRACT_DAMAGED : EXTRACT_REFUSED;
    return cancel_check(l->cancel, e);
}

static int
look_at_all(struct look *l, struct extract_listing *out, struct err *e)
{
    const struct qcow2_image *image = qcow2_layers_image(out->layers);
    const struct qcow2_snapshots *all = qcow2_image_snapshots(image);

    out->list = xcalloc(all->n + 1, sizeof(out->list[0]));
    for (size_t i = 0; i < all->n; i++) {
        uint64_t bytes = all->list[i].vmstate_bytes;
        if (!u64_add(l->total_bytes, bytes, &l->total_bytes))
            l->total_bytes = UINT64_MAX;
    }
    for (; out->n < all->n; out->n++) {
        struct extract_entry *en = &out->list[out->n];
        en->snapshot = &all->list[out->n];
        if (look_at(l, image, en, e) == -1)
            return -1;
    }
    return 0;
}

int
extract_look(const struct qcow2_layer_files *files, progress_fn *progress,
             void *cookie, struct cancel *cancel, struct extract_listing *out,
             struct err *e)
{
    struct extract_listing listing = {0};
    CLEANUP(freep) uint8_t *bytes = xmalloc(LOOK_BYTES);
    struct look l = {.progress = progress,
                     .cookie = cookie,
                     .cancel = cancel,
                     .bytes = bytes};

    if (qcow2_layers_open(files, &listing.layers, e) == -1)
        return -1;
    listing.in_use = qcow2_layers_in_use(listing.layers);
    if (look_at_all(&l, &listing, e) == -1) {
        extract_listing_done(&listing);
        return -1;
    }
    *out = listing;
    return 0;
}

void
extract_listing_done(struct extract_listing *l)
{
    for (size_t i = 0; l->list && i < l->n; i++)
        free(l->list[i].unknown);
    free(l->list);
    qcow2_layers_close(l->layers);
    *l = (struct extract_listing){0};
}

const char *
extract_state_name(enum extract_state s)
{
    switch (s) {
    case EXTRACT_WHOLE:
        return "whole";
    case EXTRACT_DAMAGED:
        return "damaged";
    case EXTRACT_REFUSED:
        return "unreadable";
    case EXTRACT_GONE:
        return "deleted";
    }
    return "unknown";
}
