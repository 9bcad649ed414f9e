/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock: monotonic time for waiting, wall time for people.
 *
 * A deadline is a point in monotonic time, so that a jump of the wall clock
 * neither ends a wait nor makes it endless.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLOCK_TEXT_LEN = 32 };

uint64_t clock_mono_ns(void);
/* Nanoseconds since 1970, UTC. */
int64_t clock_wall_ns(void);

struct deadline {
    uint64_t at_ns; /* UINT64_MAX: never */
};

/* One too far away to be said is never. */
struct deadline deadline_in_ms(uint64_t ms);
struct deadline deadline_never(void);
bool deadline_passed(struct deadline d);
/* For poll(2): milliseconds left, rounded up, -1 for never. */
int deadline_poll_ms(struct deadline d);

/* "2026-11-22T10:00:00Z" and back; out has CLOCK_TEXT_LEN bytes. */
void clock_format_utc(int64_t wall_ns, char *out);
/* Also takes less: "2026-11-22T10:00", "2026-11-22".  False, and *out
 * untouched, if it is no date or none that nanoseconds can say (1677-2262). */
bool clock_parse_utc(const char *text, int64_t *out_wall_ns);
/* In the local time zone, for people: "2026-11-22 11:00:00". */
void clock_format_local(int64_t wall_ns, char *out);

#endif
