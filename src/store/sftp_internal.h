/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of sftp_session.h share: sftp_session.c has the packets and
 * single requests, sftp_trips.c what has several under way.
 */
#ifndef STORE_SFTP_INTERNAL_H
#define STORE_SFTP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "store/sftp_connection.h"
#include "store/sftp_session.h"

enum packet {
    INIT = 1,
    VERSION = 2,
    OPEN = 3,
    CLOSE = 4,
    READ = 5,
    WRITE = 6,
    LSTAT = 7,
    FSTAT = 8,
    FSETSTAT = 10,
    OPENDIR = 11,
    READDIR = 12,
    REMOVE = 13,
    MKDIR = 14,
    RENAME = 18,
    STATUS = 101,
    HANDLE = 102,
    DATA = 103,
    NAME = 104,
    ATTRS = 105,
    EXTENDED = 200,
    EXTENDED_REPLY = 201
};

#define SFTP_FSYNC "fsync@openssh.com"
#define SFTP_STATVFS "statvfs@openssh.com"

enum {
    SFTP_ATTR_SIZE = 1,
    SFTP_ATTR_OWNER = 2,
    SFTP_ATTR_MODE = 4,
    SFTP_ATTR_TIMES = 8,
    SFTP_ATTR_EXTENDED = 1 << 31,
    SFTP_LATER_MAX = 16 /* answers that nobody waits for */
};

struct sftp {
    struct sftp_stream *stream;
    struct cancel *cancel;  /* borrowed, or NULL */
    struct rate *up, *down; /* borrowed, or NULL */
    uint32_t last_id;
    bool has_fsync, has_statvfs;
    struct buf out;   /* to be sent ... */
    unsigned packets; /* ... and how many that is */
    struct sftp_packet *in;
    char *message;
    uint32_t later[SFTP_LATER_MAX]; /* ids of what is closed without waiting */
    size_t n_later;
};

struct reply {
    uint8_t type;
    uint32_t id;
    struct cursor body;
};

/* A packet of this type, whose id is s->last_id: where it is in s->out.  Then
 * what it says, then sftp_packet_end, then sftp_flush. */
size_t sftp_packet(struct sftp *s, enum packet type);
/* With the path, or the handle. */
size_t sftp_packet_path(struct sftp *s, enum packet type, const char *path);
size_t sftp_packet_handle(struct sftp *s, enum packet type,
                          const struct sftp_handle *h);
size_t sftp_packet_open(struct sftp *s, const char *path, unsigned flags);
void sftp_add_bytes(struct sftp *s, const void *p, size_t len);
void sftp_add_text(struct sftp *s, const char *text);
void sftp_packet_end(struct sftp *s, size_t at);
int sftp_flush(struct sftp *s, struct err *e);

/* The next packet that somebody waits for; its bytes are good until the one
 * after. */
int sftp_next(struct sftp *s, struct reply *r, struct err *e);
/* Send what was begun at `at`, and wait for its answer. */
int sftp_ask_status(struct sftp *s, size_t at, struct err *e);
/* -1: what came is no SFTP. */
int sftp_nonsense(struct sftp *s, struct err *e);

/* What a reply is: a status, or -1. */
int sftp_status_of(struct sftp *s, struct reply *r, struct err *e);
int sftp_attrs_of(struct sftp *s, struct reply *r, struct sftp_attrs *out,
                  struct err *e);
int sftp_handle_of(struct sftp *s, struct reply *r, struct sftp_handle *out,
                   struct err *e);
const uint8_t *sftp_take_bytes(struct cursor *c, uint32_t *len);
int sftp_take_attrs(struct cursor *c, struct sftp_attrs *out);

#endif
