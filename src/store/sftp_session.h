/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_session: one who speaks SFTP with a host, by the user's own ssh.
 *
 * Source: draft-ietf-secsh-filexfer-02 (SFTP version 3), which is what OpenSSH
 * speaks, and PROTOCOL in OpenSSH for fsync@openssh.com.
 *
 * Results: a call returns a status of the protocol (enum sftp_status, never
 *          negative), or -1 with `e` (ERR_STORE) if the connection is of no
 *          more use: it ended, stalled, or made no sense.  It is to be closed
 *          then.
 * Bounds:  a packet SFTP_PACKET_MAX bytes; waits `stall_ms`.
 * Trips:   a distant server takes long to answer, so what does not depend on an
 *          answer is not kept until it is there.  A server must do requests of
 *          one file in the order that they come in (draft, section 6.1).
 * Sharing: several sessions speak over one connection at a time, and what
 *          breaks it breaks them all.
 * Threads: a session is used by one at a time.
 */
#ifndef STORE_SFTP_SESSION_H
#define STORE_SFTP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cancel;
struct err;
struct rate;
struct sftp;
struct sftp_address;

enum {
    SFTP_PACKET_MAX = 256 << 10,
    SFTP_HANDLE_MAX = 256, /* the draft's limit */
    SFTP_CHUNK = 32 << 10, /* of a read or write: any server takes it */
    SFTP_WINDOW = 64,      /* requests under way */
    SFTP_UNDER_WAY_MAX = SFTP_WINDOW * (SFTP_CHUNK + 1024), /* bytes of them */
    SFTP_STREAMS_MAX = 16, /* sessions that share a connection */
    SFTP_FOLDERS_MAX = 16  /* made at a time */
};

enum sftp_status {
    SFTP_OK = 0,
    SFTP_EOF = 1,
    SFTP_NO_SUCH_FILE = 2,
    SFTP_DENIED = 3,
    SFTP_FAILURE = 4,
    SFTP_UNSUPPORTED = 8
};

enum sftp_flags {
    SFTP_READ = 1,
    SFTP_WRITE = 2,
    SFTP_CREATE_NEW = 0x28 /* SSH_FXF_CREAT | SSH_FXF_EXCL */
};

struct sftp_attrs {
    bool has_size, has_mode, has_mtime;
    uint64_t size;
    uint32_t mode;
    uint32_t mtime; /* seconds since 1970 */
};

struct sftp_handle {
    uint8_t p[SFTP_HANDLE_MAX];
    uint32_t len;
};

/* With a connection of its own.  `address` is for messages; given up so long
 * after `cancel` was raised, which may be NULL. */
int sftp_open(const struct sftp_address *where, const char *address,
              uint64_t stall_ms, struct cancel *cancel, uint64_t grace_ms,
              struct sftp **out, struct err *e);
/* Another one on the connection of this one; NULL if it has as many as it may
 * have. */
struct sftp *sftp_join(struct sftp *other);
/* NULL is allowed.  The last one of a connection waits until it has ended. */
void sftp_close(struct sftp *s);
/* It will be closed: what can be done for that without waiting. */
void sftp_hang_up(struct sftp *s);

/* A new operation begins, to be cut short STORE_GRACE_MS after `cancel` was
 * raised; what it sends and receives keeps to these rates.  All are borrowed
 * until the next one and may be NULL. */
void sftp_begin(struct sftp *s, struct cancel *cancel, struct rate *up,
                struct rate *down);

/* What the last status that was not SFTP_OK came with: printable. */
const char *sftp_message(const struct sftp *s);

int sftp_lstat(struct sftp *s, const char *path, struct sftp_attrs *out,
               struct err *e);
int sftp_open_file(struct sftp *s, const char *path, unsigned flags,
                   struct sftp_handle *out, struct err *e);
/* The same for reading, and whether there is `place`, in one trip. */
int sftp_open_object(struct sftp *s, const char *path, struct sftp_handle *out,
                     const char *place, int *out_place, struct err *e);
int sftp_close_handle(struct sftp *s, const struct sftp_handle *h,
                      struct err *e);
/* Of what was only read: nobody waits for the answer.  -1 if it is broken. */
int sftp_close_later(struct sftp *s, const struct sftp_handle *h,
                     struct err *e);
int sftp_remove(struct sftp *s, const char *path, struct err *e);
/* Never replaces what is there (draft, section 6.5). */
int sftp_rename(struct sftp *s, const char *from, const char *to,
                struct err *e);
/* Does the server offer to make a file durable? */
bool sftp_can_sync(const struct sftp *s);
/* The file system that `path` is on; SFTP_UNSUPPORTED where the server does not
 * offer it, or what it says cannot be. */
int sftp_space(struct sftp *s, const char *path, uint64_t *out_free,
               uint64_t *out_total, struct err *e);

/* Look at `path`, and whether there is `place`, in one trip.  The status of the
 * first, or -1. */
int sftp_look(struct sftp *s, const char *path, struct sftp_attrs *out,
              const char *place, int *out_place, struct err *e);

/* Look at `path` as sftp_look does, and remove it, whatever it is but a folder:
 * the status of that in *out_removed.  The server looks first (draft, section
 * 6.1). */
int sftp_look_remove(struct sftp *s, const char *path, struct sftp_attrs *out,
                     const char *place, int *out_place, int *out_removed,
                     struct err *e);

/* Outer ones first; which of them could be made is not told.  0, or -1. */
int sftp_make_folders(struct sftp *s, char *const *paths, size_t n,
                      struct err *e);

/* What a new file needs, in one trip: look at the name that it will have, make
 * these folders, as far as they are missing, and create it under another name.
 * 0, or -1. */
struct sftp_new {
    const char *path, *temp;
    char *folders[SFTP_FOLDERS_MAX]; /* outer ones first; borrowed */
    size_t n_folders;
    /* The results: */
    int looked, opened; /* enum sftp_status */
    struct sftp_attrs attrs;
    struct sftp_handle handle;
};
int sftp_create(struct sftp *s, struct sftp_new *n, struct err *e);

/* All of it from the file's begin on, with many requests under way.  Then it
 * is given the server's time, which is what writing the last byte again does,
 * and made durable, where the server offers fsync@openssh.com. */
int sftp_write(struct sftp *s, const struct sftp_handle *h, const void *p,
               size_t len, struct err *e);

/* Of a file that has the `len` bytes at p already: the server's time, durable,
 * closed, in one trip. */
int sftp_finish(struct sftp *s, const struct sftp_handle *h, const void *p,
                size_t len, struct err *e);
/* The same behind a rename, whose own status is the result if it fails: then
 * the file is closed too.  Else that of the rest, and *out_renamed is set. */
int sftp_publish(struct sftp *s, const char *from, const char *to,
                 const struct sftp_handle *h, const void *p, size_t len,
                 bool *out_renamed, struct err *e);

/* With many requests under way; SFTP_EOF if the file ends before.  What the
 * file is, is asked for with the first of them unless `attrs` is NULL; its
 * status is *out_attrs. */
int sftp_read(struct sftp *s, const struct sftp_handle *h, uint64_t offset,
              void *out, size_t len, struct sftp_attrs *attrs, int *out_attrs,
              struct err *e);

/* What the file is, and the first SFTP_CHUNK bytes or less of it, in one trip.
 */
int sftp_read_first(struct sftp *s, const struct sftp_handle *h,
                    struct sftp_attrs *attrs, uint8_t out[SFTP_CHUNK],
                    size_t *out_len, struct err *e);

/* An entry of a folder; `name` is as the server says.  Another result than 0
 * ends the reading, with -1 and what was put into `e`. */
typedef int sftp_entry_fn(void *cookie, const char *name,
                          const struct sftp_attrs *attrs, struct err *e);

struct sftp_folder {
    const char *path;
    void *cookie; /* of fn */
    int status;   /* SFTP_OK: all of it was told */
    struct sftp_handle handle;
    bool ended;
    uint32_t end_id;
    unsigned empty;
};
/* Read up to SFTP_FOLDERS_MAX folders at a time, in two trips if they are
 * small.  *out_place as sftp_look.  0, or -1. */
int sftp_read_folders(struct sftp *s, struct sftp_folder *folders, size_t n,
                      sftp_entry_fn *fn, const char *place, int *out_place,
                      struct err *e);

#endif
