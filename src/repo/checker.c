/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/checker.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "repo/index.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "work/cancel.h"

enum { PROGRESS_NS = 100000000 };

const char *
check_what_name(enum check_what what)
{
    static const char *const names[] = {
        [CHECK_KEY] = "key",           [CHECK_RECORD] = "lost_record",
        [CHECK_NOTICE] = "notice",     [CHECK_SEGMENT] = "index",
        [CHECK_PACK] = "pack",         [CHECK_OBJECT] = "object",
        [CHECK_REF] = "backup",        [CHECK_HIDDEN] = "hidden",
        [CHECK_VANISHED] = "vanished", [CHECK_EXTENT] = "extent",
    };

    return names[what];
}

/* ---- which packs to read --------------------------------------------- */

static bool
parse_part(const char *text, const char *slash, struct check_subset *out)
{
    CLEANUP(freep) char *first = xstrndup(text, (size_t)(slash - text));

    return text_parse_u64(first, &out->parts) &&
           text_parse_u64(slash + 1, &out->of) && out->parts >= 1 &&
           out->parts <= out->of && out->of <= UINT32_MAX;
}

static bool
parse_percent(const char *text, struct check_subset *out)
{
    CLEANUP(freep) char *number = xstrndup(text, strlen(text) - 1);
    char *end = NULL;

    if (number[0] < '0' || number[0] > '9')
        return false;
    out->percent = strtod(number, &end);
    return *end == '\0' && out->percent > 0 && out->percent <= 100;
}

int
check_parse_subset(const char *text, struct check_subset *out, struct err *e)
{
    struct check_subset s = {.read = CHECK_READ_SOME};
    const char *slash = strchr(text, '/');
    bool ok = false;

    if (slash)
        ok = parse_part(text, slash, &s);
    else if (text_ends(text, "%"))
        ok = parse_percent(text, &s);
    else
        ok = text_parse_size(text, &s.bytes) && s.bytes > 0;
    if (!ok)
        return err_set(e, ERR_USAGE,
                       "\"%s\" is no part of the data; write it like 10%%, 1/7 "
                       "or 20G",
                       text);
    *out = s;
    return 0;
}

/* At random, until there are `bytes`. */
static void
choose_bytes(struct scan *s, uint64_t bytes)
{
    size_t n = s->inventory.n_packs;
    CLEANUP(freep) size_t *order = xcalloc(n, sizeof(order[0]));
    uint64_t chosen = 0;

    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = 0; i < n && chosen < bytes; i++) {
        size_t k = i + rand_u64() % (n - i);
        size_t pick = order[k];
        order[k] = order[i];
        s->inventory.packs[pick].chosen = true;
        chosen += s->inventory.packs[pick].bytes;
    }
}

static void
choose(struct scan *s)
{
    const struct check_subset *d = &s->options->data;
    struct inventory *v = &s->inventory;

    if (d->read == CHECK_READ_NONE)
        return;
    if (d->read == CHECK_READ_ALL || d->of > 0) {
        for (size_t i = 0; i < v->n_packs; i++)
            v->packs[i].chosen =
                d->read == CHECK_READ_ALL ||
                get_be32(v->packs[i].name) % d->of == d->parts - 1;
    } else if (d->bytes > 0) {
        choose_bytes(s, d->bytes);
    } else {
        choose_bytes(s, (uint64_t)((double)v->pack_bytes * d->percent / 100));
    }
    for (size_t i = 0; i < v->n_packs; i++)
        if (v->packs[i].chosen)
            s->progress.total_bytes += v->packs[i].bytes;
}

/* ---- faults ---------------------------------------------------------- */

static char *
copy(const char *text)
{
    return xstrdup(text ? text : "");
}

void
scan_fault(struct scan *s, const struct check_fault *f)
{
    struct scan_fault *kept = xcalloc(1, sizeof(*kept));

    kept->f = *f;
    kept->f.name = copy(f->name);
    kept->f.object = copy(f->object);
    kept->f.backup = copy(f->backup);
    kept->f.machine = copy(f->machine);
    kept->f.volume = copy(f->volume);
    kept->f.why = copy(f->why);
    (void)pthread_mutex_lock(&s->lock);
    *s->last_fault = kept;
    s->last_fault = &kept->next;
    if (f->is_note)
        s->result->notes++;
    else
        s->result->faults++;
    (void)pthread_mutex_unlock(&s->lock);
}

void
scan_store_error(struct scan *s, const struct err *e)
{
    if (e->code != ERR_STORE)
        return;
    (void)pthread_mutex_lock(&s->lock);
    if (s->store_errors++ == 0)
        s->store_error = *e;
    (void)pthread_mutex_unlock(&s->lock);
}

static void
free_text(const char *p)
{
    CLEANUP(freep) char *own = NULL;

    memcpy(&own, &p, sizeof(own)); /* it is ours, whatever it is said to be */
}

static void
fault_free(struct scan_fault *kept)
{
    free_text(kept->f.name);
    free_text(kept->f.object);
    free_text(kept->f.backup);
    free_text(kept->f.machine);
    free_text(kept->f.volume);
    free_text(kept->f.why);
    free(kept);
}

static struct scan_fault *
take_faults(struct scan *s)
{
    (void)pthread_mutex_lock(&s->lock);
    struct scan_fault *list = s->faults;
    s->faults = NULL;
    s->last_fault = &s->faults;
    (void)pthread_mutex_unlock(&s->lock);
    return list;
}

int
scan_tell(struct scan *s, const char *phase, struct err *e)
{
    struct scan_fault *list = take_faults(s);

    while (list) {
        struct scan_fault *next = list->next;
        if (s->options->fault)
            s->options->fault(s->options->fault_cookie, &list->f);
        fault_free(list);
        list = next;
    }
    uint64_t now_ns = clock_mono_ns();
    s->progress.phase = phase;
    s->progress.what = "";
    s->progress.done_bytes = s->done_bytes;
    if (s->options->progress && now_ns - s->shown_ns > PROGRESS_NS) {
        s->shown_ns = now_ns;
        s->options->progress(s->options->progress_cookie, &s->progress);
    }
    (void)pthread_mutex_lock(&s->lock);
    bool give_up = s->store_errors > CHECK_MAX_STORE_ERRORS;
    (void)pthread_mutex_unlock(&s->lock);
    if (give_up) {
        *e = s->store_error;
        return err_wrap(e, "the storage failed %d times, first so",
                        CHECK_MAX_STORE_ERRORS);
    }
    return cancel_check(s->cancel, e);
}

void
scan_bad_key(const uint8_t pack[PACK_NAME_BYTES], const uint8_t gid[GID_BYTES],
             uint8_t out[GID_BYTES])
{
    for (int i = 0; i < GID_BYTES; i++)
        out[i] = pack[i] ^ gid[i];
}

/* ---- all of it ------------------------------------------------------- */

void
scan_init(struct scan *s, struct repo *r, const struct check_options *o,
          struct cancel *cancel, struct check_result *out)
{
    *out = (struct check_result){0};
    *s = (struct scan){.repo = r,
                       .options = o,
                       .cancel = cancel,
                       .result = out,
                       .caps = gidmap_of(sizeof(struct scan_cap))};
    s->last_fault = &s->faults;
    (void)pthread_mutex_init(&s->lock, NULL);
    s->pool = pool_new(o->threads);
}

void
scan_done(struct scan *s)
{
    struct scan_fault *list = take_faults(s);

    while (list) {
        struct scan_fault *next = list->next;
        fault_free(list);
        list = next;
    }
    for (size_t i = 0; i < s->n_backups; i++) {
        struct scan_backup *b = &s->backups[i];
        for (size_t k = 0; k < b->n_volumes; k++)
            free(b->volumes[k].name);
        free(b->volumes);
        free(b->machine);
        free(b->roots);
    }
    free(s->backups);
    free(s->broken_refs);
    free(s->segments);
    free(s->missing);
    inventory_done(&s->inventory);
    gidmap_done(&s->caps);
    gidset_done(&s->visited);
    gidset_done(&s->clean);
    gidset_done(&s->bad);
    gidset_done(&s->unindexed);
    gidset_done(&s->condemned);
    free(s->marks);
    seen_look_done(&s->look);
    pool_free(s->pool);
    (void)pthread_mutex_destroy(&s->lock);
}

int
scan_run(struct scan *s, struct err *e)
{
    /* In this order: what a backup that is seen needs is in the index. */
    seen_look_begin(&s->look, "refs/");
    if (inventory_make(s->repo->store, &s->inventory, e) == -1 ||
        index_refresh(s->repo->index, e) == -1 || scan_notices(s, e) == -1)
        return -1;
    choose(s);
    if (scan_keys(s, e) == -1 || scan_refs(s, e) == -1)
        return -1;
    if (s->remembers)
        scan_vanished(s);
    if (scan_index(s, e) == -1 || scan_data(s, e) == -1 ||
        scan_missing(s, e) == -1 || scan_trees(s, e) == -1)
        return -1;
    return scan_tell(s, "done", e);
}

int
check_repo(struct repo *r, const struct check_options *o, struct cancel *cancel,
           struct check_result *out, struct err *e)
{
    struct scan s;

    scan_init(&s, r, o, cancel, out);
    s.remembers = true;
    int rc = scan_run(&s, e);
    scan_done(&s);
    return rc;
}
