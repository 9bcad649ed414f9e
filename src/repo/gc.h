/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gc: what the parts of a maintenance run share: what it has listed, what is
 * alive, and what is to be done about the rest (docs/design/repository.md,
 * "Maintenance").  prune.h is the way in.
 *
 *   gcview.c   g1: the marker, the listings
 *   gcmark.c   what is alive
 *   gcdelete.c g2: carry out the lists whose grace is over
 *   gccond.c   g3: repack, merge the index, condemn
 *
 * Memory:    a bit for each entry of the index, which itself is mapped where it
 *            is cached, one segment at a time; 128 to 384 MiB of ids of leaves
 *            that wait to be marked; some 130 bytes for each node, 25 to 50 for
 *            each object that is in more than one pack, some 170 a pack.
 * Threads:   one.
 */
#ifndef REPO_GC_H
#define REPO_GC_H

#include <stdbool.h>

#include "base/buf.h"
#include "repo/gidlist.h"
#include "repo/gidnum.h"
#include "repo/notice.h"
#include "repo/prune.h"
#include "repo/segment.h"

struct repo;

#define GC_NS_PER_S INT64_C(1000000000)

enum {
    GC_CLOCK_DOUBT_S = 300, /* our clock and the storage's differ by more */
    GC_NO_KEEPER = 0        /* values of `shared`; others are a pack's number */
};

struct gc_pack {
    uint8_t name[PACK_NAME_BYTES];
    enum pack_kind kind;
    uint64_t bytes;
    int64_t stored_ns;
    bool listed;         /* it was there when we looked, and we left it there */
    bool lost;           /* it was there, but repair put it out of use */
    bool condemned;      /* on some list */
    bool going;          /* this run condemns it */
    bool pardoned;       /* a list's time came, but it is needed */
    bool only_copy;      /* it is alive, and no copy elsewhere is to stay */
    bool in_index;       /* some segment that we don't replace names it */
    uint32_t owner;      /* the newest segment: its entries count for it */
    uint32_t named;      /* by so many segments that are there, */
    uint32_t named_well; /* and are on no list */
    uint64_t live;       /* bytes of objects that are alive */
    uint64_t needed;     /* of these, those of which this is the copy to keep */
    uint32_t n_needed;   /* how many */
};

struct gc_segment {
    char name[NAME_MAX_LEN];
    int64_t time_ns, stored_ns;
    uint8_t id[NAME_ID_BYTES];
    struct buf bytes;       /* if the index does not lend it */
    struct segment segment; /* zero if it is gone */
    uint32_t *packs;        /* owned: our numbers of its packs */
    uint64_t *live;         /* owned: a bit for each entry */
    bool condemned, gone, pardoned, replaced;
    bool owns; /* a pack that is there; else others say all that it says */
};

struct gc_list {
    char name[NAME_MAX_LEN];
    int64_t stored_ns;
    struct condemned list;
    bool handled;  /* nothing of it is left to do */
    bool gone;     /* removed */
    bool finished; /* another list says that it was carried out */
};

struct gc_ref {
    char name[NAME_MAX_LEN];
    struct ref_name ref;
    int64_t stored_ns;
    int64_t retired_ns; /* 0: it is not */
};

struct gc {
    struct repo *repo;
    const struct prune_options *options;
    struct cancel *cancel;
    struct prune_result *result;
    int64_t t0_ns;   /* the storage's time of our marker */
    int64_t wall_ns; /* ours then */
    uint64_t mono_ns;

    struct gc_pack *packs; /* the first is none, so that numbers are not 0 */
    size_t n_packs, room_packs;
    struct gidnum pack_numbers; /* by the front of their names */
    struct gc_segment *segments;
    size_t n_segments, room_segments;
    uint64_t n_entries; /* of all of them */
    struct gc_list *lists;
    size_t n_lists, room_lists;
    struct gc_ref *refs;
    size_t n_refs, room_refs;
    struct gc_ref *retired; /* the marks; `name` is the mark's */
    size_t n_retired, room_retired;
    struct gidnum segment_numbers; /* by their ids */
    uint64_t n_live;
    struct gidlist leaves; /* found, not marked yet */
    struct gidnum shared;  /* alive and in several packs; value: the pack whose
                            * copy is kept */
    struct condemned next; /* what this run condemns */
    size_t room_next;
};

/* gcview.c */
int gc_look(struct gc *g, struct err *e);
void gc_done(struct gc *g);
/* What packs and segments there are by now, besides those that are known. */
int gc_look_at_packs(struct gc *g, struct err *e);
/* Notes what the lists name, among what there is. */
void gc_mark_condemned(struct gc *g);
/* Nanoseconds since the marker, by whichever of our clocks says more. */
int64_t gc_elapsed_ns(const struct gc *g);
/* The number of the pack, 0 if it is not known. */
uint32_t gc_pack_number(const struct gc *g, const uint8_t sum[PACK_NAME_BYTES]);
/* The segment of that id, or NULL. */
struct gc_segment *gc_find_segment(const struct gc *g,
                                   const uint8_t id[NAME_ID_BYTES]);
/* It was removed, by us or by others. */
void gc_segment_gone(struct gc *g, struct gc_segment *s);
/* Room for one more in a growing array of `each` bytes. */
void *gc_grow(void **array, size_t *n, size_t *room, size_t each);
int64_t gc_seconds(uint32_t s);
/* A ref is a root for that long after it was retired, and is removed after
 * that long. */
int64_t gc_root_ns(const struct gc *g);
int64_t gc_ref_ns(const struct gc *g);

/* gcmark.c */
/* Marks what is alive, and counts it for each pack. */
int gc_mark(struct gc *g, struct err *e);
/* Is the object alive?  1, and *out is the pack whose copy is kept, or
 * GC_NO_KEEPER if no copy counts; 0 if not. */
int gc_keeper(const struct gc *g, const uint8_t gid[GID_BYTES], uint32_t *out);
/* Is the i-th entry of a segment an object that is alive? */
bool gc_is_live(const struct gc_segment *s, uint32_t i);
/* gcdelete.c */
int gc_delete(struct gc *g, struct err *e);

/* gccond.c */
int gc_condemn(struct gc *g, struct err *e);
void gc_add(struct gc *g, const struct condemned_entry *entry);

#endif
