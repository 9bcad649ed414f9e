/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notice: the small objects by which writers and maintenance keep out of each
 * other's way without locks (docs/format/protocol.md; what they are for:
 * docs/design/repository.md, "The writer's protocol").
 *
 *   session     "I looked now": put for the time that the storage gives it
 *   condemned   what maintenance will remove when the grace time has passed
 *   retired     "this backup is no longer wanted"
 *
 * The last two let data be deleted: they count only if the maintenance key has
 * signed them.
 *
 * Trust:     *_unpack take any bytes, and the name that they were found under.
 */
#ifndef REPO_NOTICE_H
#define REPO_NOTICE_H

#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct buf;
struct config;
struct err;
struct keyring;

enum {
    SESSION_MAX_BYTES = 4096,
    RETIRED_MAX_BYTES = 4096,
    CONDEMNED_MAX_ENTRIES = 1 << 20,
    CONDEMNED_ENTRY_BYTES = 40,
    CONDEMNED_MAX_BYTES = (CONDEMNED_MAX_ENTRIES + 64) * CONDEMNED_ENTRY_BYTES
};

/* The "writer" of maintenance's own markers. */
#define SESSION_MAINTENANCE UINT32_MAX

struct session {
    uint32_t writer;
    int64_t time_ns; /* by the clock of who made it */
    uint8_t id[NAME_ID_BYTES];
};

/* Signed by k's writer key, or maintenance key.  Appends. */
int session_pack(const struct session *s, const struct keyring *k,
                 struct buf *out, struct err *e);
int session_unpack(const void *p, size_t len, const char *name,
                   const struct config *config, struct session *out,
                   struct err *e);

enum condemned_kind {
    CONDEMNED_DATA = 0, /* as enum pack_kind */
    CONDEMNED_META = 1,
    CONDEMNED_INDEX = 2, /* an index segment whose content is in others */
    CONDEMNED_DONE = 3   /* a list that has been carried out */
};

struct condemned_entry {
    uint8_t kind;
    uint8_t sum[32];           /* pack: its name */
    int64_t time_ns;           /* others: from their names */
    uint8_t id[NAME_ID_BYTES]; /* others */
};

struct condemned {
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns; /* by the clock of who made it; in its name */
    struct condemned_entry *entries; /* owned */
    size_t n;
};

void condemned_done(struct condemned *c);

/* The name of what an entry condemns, into NAME_MAX_LEN bytes. */
void condemned_object(const struct condemned_entry *entry, char *out);

/* Sealed for maintenance and writers, signed by k's maintenance key. */
int condemned_pack(const struct condemned *c, const struct keyring *k,
                   struct buf *out, struct err *e);
/* *out is to be condemned_done in any case. */
int condemned_unpack(const void *p, size_t len, const char *name,
                     const struct keyring *k, const struct config *config,
                     struct condemned *out, struct err *e);

/* `time_ns`: by the clock of who retires it. */
int retired_pack(const struct ref_name *ref, int64_t time_ns,
                 const struct keyring *k, struct buf *out, struct err *e);
int retired_unpack(const void *p, size_t len, const char *name,
                   const struct config *config, struct ref_name *out,
                   struct err *e);

#endif
