/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_session: one SFTP connection, spoken to by the user's own ssh.
 *
 * Source: draft-ietf-secsh-filexfer-02 (SFTP version 3), which is what OpenSSH
 * speaks, and PROTOCOL in OpenSSH for fsync@openssh.com and
 * statvfs@openssh.com.
 *
 * Results: a call returns a status of the protocol (enum sftp_status, never
 *          negative), or -1 with `e` (ERR_STORE) if the connection is of no
 *          more use: it ended, stalled, or made no sense.  It is to be closed
 *          then.
 * Bounds:  a packet SFTP_PACKET_MAX bytes; waits `stall_ms`.
 * Threads: one at a time.
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
    SFTP_WINDOW = 64       /* requests under way */
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

/* `address` is for messages.  The command is VMKEEP_SSH_COMMAND, to the shell,
 * or ssh.  `cancel` as in sftp_begin. */
int sftp_open(const struct sftp_address *where, const char *address,
              uint64_t stall_ms, struct cancel *cancel, struct sftp **out,
              struct err *e);
void sftp_close(struct sftp *s); /* NULL is allowed */

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
int sftp_open_folder(struct sftp *s, const char *path, struct sftp_handle *out,
                     struct err *e);
int sftp_stat_open(struct sftp *s, const struct sftp_handle *h,
                   struct sftp_attrs *out, struct err *e);
int sftp_close_handle(struct sftp *s, const struct sftp_handle *h,
                      struct err *e);
int sftp_make_folder(struct sftp *s, const char *path, struct err *e);
int sftp_remove(struct sftp *s, const char *path, struct err *e);
/* Never replaces what is there (draft, section 6.5). */
int sftp_rename(struct sftp *s, const char *from, const char *to,
                struct err *e);
/* SFTP_OK where the server does not offer it. */
int sftp_sync(struct sftp *s, const struct sftp_handle *h, struct err *e);
bool sftp_can_sync(const struct sftp *s);
/* The file system that `path` is on; SFTP_UNSUPPORTED where the server does not
 * offer it, or what it says cannot be. */
int sftp_space(struct sftp *s, const char *path, uint64_t *out_free,
               uint64_t *out_total, struct err *e);
/* The file's size; sets its time to the server's. */
int sftp_resize(struct sftp *s, const struct sftp_handle *h, uint64_t size,
                struct err *e);

/* All of it, with many requests under way. */
int sftp_write(struct sftp *s, const struct sftp_handle *h, uint64_t offset,
               const void *p, size_t len, struct err *e);
/* SFTP_EOF if the file ends before. */
int sftp_read(struct sftp *s, const struct sftp_handle *h, uint64_t offset,
              void *out, size_t len, struct err *e);

/* An entry of a folder; `name` is as the server says.  Another result than 0
 * ends the reading, with -1 and what was put into `e`. */
typedef int sftp_entry_fn(void *cookie, const char *name,
                          const struct sftp_attrs *attrs, struct err *e);
/* SFTP_OK at the folder's end. */
int sftp_read_folder(struct sftp *s, const struct sftp_handle *h,
                     sftp_entry_fn *fn, void *cookie, struct err *e);

#endif
