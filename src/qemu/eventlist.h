/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eventlist: the events of a monitor that nobody has asked for yet, in order.
 *
 * A guest can make QEMU send some kinds of event as fast as it likes
 * (RTC_CHANGE, BALLOON_CHANGE, ...), so the list is bounded in number and in
 * bytes.  When it is full, the older half of the most frequent kind is
 * forgotten: a flood pushes out only itself.
 */
#ifndef QEMU_EVENTLIST_H
#define QEMU_EVENTLIST_H

#include <stddef.h>

#include "qemu/qmp.h"

enum {
    EVENTLIST_MAX = 4096,
    EVENTLIST_EVENT_BYTES = 256 << 10, /* of one event, as QEMU sent it */
    EVENTLIST_BYTES = 8 << 20          /* of all */
};

struct kept_event {
    struct kept_event *next;
    struct qmp_event ev;
    size_t bytes;
};

struct eventlist {
    struct kept_event *first;
    struct kept_event **last; /* where the next one goes */
    size_t n, bytes;
};

void eventlist_init(struct eventlist *l);
void eventlist_clear(struct eventlist *l);

/* Takes what `ev` holds; `bytes` is at most EVENTLIST_EVENT_BYTES. */
void eventlist_add(struct eventlist *l, struct qmp_event *ev, size_t bytes);

/* The oldest of that name (NULL: any), the caller's from then on; or false. */
bool eventlist_take(struct eventlist *l, const char *name,
                    struct qmp_event *out);

#endif
