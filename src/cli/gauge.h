/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gauge: how fast something goes, and how long it will still take, from what is
 * done at points in time.  Pure arithmetic; the caller brings the clock.
 */
#ifndef CLI_GAUGE_H
#define CLI_GAUGE_H

#include <stddef.h>
#include <stdint.h>

struct buf;

enum { GAUGE_SAMPLES = 16, GAUGE_SPACING_MS = 500 };

/* The rate is that of the last samples, some 8 s, so that a change of speed
 * shows soon and a hiccup does not. */
struct gauge {
    struct {
        uint64_t at_ns, bytes;
    } samples[GAUGE_SAMPLES];
    size_t n;        /* of them in use */
    size_t next;     /* to be overwritten */
    uint64_t now_ns; /* of the newest call */
    uint64_t done_bytes, total_bytes;
};

/* `now_ns` never goes back.  If `done_bytes` does, something new has begun and
 * the rate starts afresh.  total_bytes 0: unknown. */
void gauge_update(struct gauge *g, uint64_t now_ns, uint64_t done_bytes,
                  uint64_t total_bytes);

uint64_t gauge_bytes_per_s(const struct gauge *g);

/* UINT64_MAX if nobody can tell. */
uint64_t gauge_eta_s(const struct gauge *g);

/* 0 to 100; 100 only if all is done. */
unsigned gauge_percent(const struct gauge *g);

/* Appends "0:41", "12:05", "3:00:10". */
void gauge_print_time(uint64_t seconds, struct buf *out);

#endif
