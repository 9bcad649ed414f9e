/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_internal: what a kind of store has to bring along.
 *
 * store.c checks names and ranges of arguments once, for all; a backend may
 * rely on them.  A backend embeds `struct store` as its first member.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"

/* The calls of store.h; the manual is there. */
struct store_ops {
    int (*put)(struct store *st, const char *name, const void *p, size_t len,
               struct err *e);
    /* NULL: as put */
    int (*put_new)(struct store *st, const char *name, const void *p,
                   size_t len, struct err *e);
    int (*get)(struct store *st, const char *name, uint64_t offset, void *out,
               size_t len, struct err *e);
    int (*get_all)(struct store *st, const char *name, struct buf *out,
                   struct err *e);
    int (*stat)(struct store *st, const char *name, struct store_stat *out,
                struct err *e);
    int (*list)(struct store *st, const char *prefix, store_list_fn *fn,
                void *cookie, struct err *e);
    int (*remove)(struct store *st, const char *name, struct err *e);
    int (*tidy)(struct store *st, struct err *e); /* NULL: nothing to do */
    /* NULL: it waits for nobody */
    void (*set_cancel)(struct store *st, struct cancel *c);
    /* NULL: it moves nothing */
    void (*set_rates)(struct store *st, struct rate *up, struct rate *down);
    /* NULL: it is ready */
    void (*expect)(struct store *st, unsigned calls);
    /* NULL: unknown */
    enum store_known (*try_overwrite)(struct store *st, const char *own,
                                      const void *p, size_t len,
                                      const char *old);
    /* Into zeroed *out.  NULL: nothing is known */
    void (*traits)(struct store *st, struct store_traits *out);
    /* NULL: it is, or it would not have been opened */
    int (*there)(struct store *st, struct err *e);
    unsigned width;                  /* of store/store_together.h; 0: 1 */
    void (*close)(struct store *st); /* frees what the backend added and st */
};

struct store {
    const struct store_ops *ops;
    char *address; /* owned; freed by store_close */
};

/* Is this one component of a name? */
bool store_component_ok(const char *s, size_t len);
/* Is this a name that an object may have? */
bool store_name_ok(const char *name);
/* Is it "", or a folder's name with '/' behind it? */
bool store_prefix_ok(const char *prefix);

/* Room at the end of `out` for a whole object of `size` bytes, or NULL with
 * ERR_LIMIT.  store_get_all takes it back if the backend then fails. */
uint8_t *store_room_for(struct buf *out, uint64_t size, const char *name,
                        struct err *e);

/* The errors that all stores word alike. */
int store_fail_noent(const struct store *st, const char *name, struct err *e);
int store_fail_exists(const struct store *st, const char *name, struct err *e);
int store_fail_short(const struct store *st, const char *name, uint64_t size,
                     uint64_t offset, size_t len, struct err *e);

/* A folder of the local file system (store_dir.c). */
int store_dir_open(const char *address, const char *path, bool create,
                   struct store **out, struct err *e);

/* A bucket of an S3 service (store_s3.c). */
struct s3_patience;
int store_s3_open(const char *address, bool create,
                  const struct store_account *who, struct store **out,
                  struct err *e);
/* The same for tests that cannot wait. */
int store_s3_open_patient(const char *address, bool create,
                          const struct store_account *who,
                          const struct s3_patience *patience,
                          struct store **out, struct err *e);

/* A folder that ssh reaches (store_sftp.c). */
struct sftp_patience {
    uint64_t stall_ms;   /* of an answer */
    uint64_t backoff_ms; /* before the second try; then twice as long */
};
extern const struct sftp_patience sftp_patience_usual;
int store_sftp_open(const char *address, bool create,
                    const struct store_account *who, struct store **out,
                    struct err *e);
int store_sftp_open_patient(const char *address, bool create,
                            const struct store_account *who,
                            const struct sftp_patience *patience,
                            struct store **out, struct err *e);

#endif
