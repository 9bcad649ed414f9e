/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_connection: an ssh that runs, and whole packets to and from it, for
 * several streams of questions and answers at a time.
 *
 * Streams:  each of those who share a connection has one.  Whose a packet is,
 *           its request id says (draft-ietf-secsh-filexfer-02, section 3), so
 *           nobody's questions wait for the answers to another's.
 * Threads:  a stream is used by one at a time, different ones by different
 *           ones.  One of those who wait has the turn: it sends and receives
 *           for all.
 * Broken:   once it ended, stalled, was given up or made no sense, all of them
 *           fail with that (ERR_STORE): what is under way has no end then.
 * Bounds:   a packet SFTP_PACKET_MAX bytes, and one for each request that was
 *           sent.  A stream waits `stall_ms` for the connection to say
 *           anything, and ten times that for an answer of its own.
 */
#ifndef STORE_SFTP_CONNECTION_H
#define STORE_SFTP_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct cancel;
struct err;
struct sftp_address;
struct sftp_connection;
struct sftp_stream;

struct sftp_packet {
    struct sftp_packet *next;
    size_t len;
    uint8_t bytes[]; /* its type, its id, and what that type has */
};

/* Run ssh; `address` is for messages. */
int sftp_connection_open(const struct sftp_address *where, const char *address,
                         uint64_t stall_ms, struct sftp_connection **out,
                         struct err *e);

/* NULL if SFTP_STREAMS_MAX share it.  The first one gets the first packet,
 * which has no id. */
struct sftp_stream *sftp_stream_open(struct sftp_connection *c);
/* The last one ends the connection.  NULL is allowed. */
void sftp_stream_close(struct sftp_stream *t);
/* The connection ends soon: no packet is sent any more. */
void sftp_stream_hang_up(struct sftp_stream *t);
struct sftp_connection *sftp_stream_connection(struct sftp_stream *t);

/* A new operation: cut short so long after `cancel` was raised, which may be
 * NULL and is borrowed until the next. */
void sftp_stream_begin(struct sftp_stream *t, struct cancel *cancel,
                       uint64_t grace_ms);

/* Of the next packet. */
uint32_t sftp_stream_id(struct sftp_stream *t);

/* So many packets, to be sent soon: nobody waits for that.  The caller bounds
 * what it has under way. */
int sftp_stream_send(struct sftp_stream *t, const struct buf *packets,
                     unsigned n, struct err *e);
/* The next packet of this stream: the caller's, to be freed. */
int sftp_stream_next(struct sftp_stream *t, struct sftp_packet **out,
                     struct err *e);
/* What came makes no sense: -1, and the connection is of no more use. */
int sftp_stream_nonsense(struct sftp_stream *t, struct err *e);

#endif
