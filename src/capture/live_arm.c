/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter in front of a disk: what the guest overwrites is first copied to the
 * scratch node, and the access node shows the disk as it was when the filter
 * came.
 *
 * A filter that no device uses does nothing, writes go past it.  So it is made
 * before the pause: its bitmaps take QEMU a tenth of a second for a TiB.  With
 * disks in I/O threads QEMU before 9.0 aborts then, and all is done in the
 * pause.
 *
 * The access node is added before the guest runs again: QEMU waits then for all
 * that the filter is writing to the scratch folder, in its main loop.
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "qemu/disks.h"
#include "qemu/qmp.h"

/* Commands under way, to be redeemed in their order. */
struct under_way {
    struct live *live;
    struct ticket {
        uint64_t number;
        const struct live_disk *disk; /* or NULL: of all, and then */
        const char *what_fails;
    } * tickets;
    size_t n;
};

static struct under_way
begin(struct live *l)
{
    struct under_way u = {.live = l};

    u.tickets = xcalloc(3 * l->n_disks + 1, sizeof(u.tickets[0]));
    return u;
}

static void
note(struct under_way *u, uint64_t number, const struct live_disk *d,
     const char *what_fails)
{
    u->tickets[u->n++] = (struct ticket){number, d, what_fails};
}

static int
send(struct under_way *u, const struct live_disk *d, const char *command,
     json_t *args, struct err *e)
{
    uint64_t number = 0;

    if (qmp_send(u->live->qmp, command, args, &number, e) == -1)
        return -1;
    note(u, number, d, NULL);
    return 0;
}

/* All are redeemed, whatever they say; the first failure is kept, `rc` and *e
 * if there was one before. */
static int
end(struct under_way *u, int rc, struct err *e)
{
    for (size_t i = 0; i < u->n; i++) {
        const struct ticket *t = &u->tickets[i];
        struct err later = {0};
        struct err *its = rc == 0 ? e : &later;
        if (qmp_redeem(u->live->qmp, t->number, NULL, its) == 0)
            continue;
        rc = t->disk ? err_wrap(its, "cannot arm disk %s", t->disk->disk->name)
                     : err_wrap(its, "%s", t->what_fails);
    }
    free(u->tickets);
    return rc;
}

/* A copy that fails breaks the snapshot, never the guest's write. */
static int
send_filter(struct under_way *u, const struct live_disk *d, struct err *e)
{
    return send(u, d, "blockdev-add",
                json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "driver",
                          "copy-before-write", "node-name", d->filter, "file",
                          d->disk->node, "target", d->scratch, "on-cbw-error",
                          "break-snapshot", "cbw-timeout",
                          (int)u->live->cbw_timeout_s),
                e);
}

static int
send_insertion(struct under_way *u, const struct live_disk *d, struct err *e)
{
    return send(u, d, "qom-set",
                json_pack("{s:s, s:s, s:s}", "path", d->disk->qdev, "property",
                          "drive", "value", d->filter),
                e);
}

static int
send_access(struct under_way *u, const struct live_disk *d, struct err *e)
{
    return send(u, d, "blockdev-add",
                json_pack("{s:s, s:s, s:s}", "driver", "snapshot-access",
                          "node-name", d->access, "file", d->filter),
                e);
}

int
live_add_filters(struct live *l, struct err *e)
{
    struct under_way u = begin(l);
    int rc = 0;

    for (size_t i = 0; !l->arms_late && rc == 0 && i < l->n_disks; i++)
        rc = send_filter(&u, &l->disks[i], e);
    return end(&u, rc, e);
}

/* Without a RAM stream to wait for there is no better time. */
static bool
opens_early(const struct live *l)
{
    return l->arms_late || l->disks_only;
}

int
live_arm(struct live *l, struct err *e)
{
    struct under_way u = begin(l);
    int rc = 0;

    if (l->intent->bitmap[0] && l->n_disks > 0) {
        uint64_t number = 0;
        rc = live_send_tracking(l, &number, e);
        if (rc == 0)
            note(&u, number, NULL, "changes cannot be tracked");
    }
    for (size_t i = 0; rc == 0 && i < l->n_disks; i++) {
        const struct live_disk *d = &l->disks[i];
        if ((l->arms_late && send_filter(&u, d, e) == -1) ||
            send_insertion(&u, d, e) == -1 ||
            (opens_early(l) && send_access(&u, d, e) == -1))
            rc = -1;
    }
    return end(&u, rc, e);
}

int
live_start_stream(struct live *l, const char *uri, struct err *e)
{
    struct under_way u = begin(l);
    uint64_t number = 0;
    int rc =
        qmp_send(l->qmp, "migrate", json_pack("{s:s}", "uri", uri), &number, e);

    if (rc == 0)
        note(&u, number, NULL, "the RAM stream cannot be started");
    for (size_t i = 0; !opens_early(l) && rc == 0 && i < l->n_disks; i++)
        rc = send_access(&u, &l->disks[i], e);
    return end(&u, rc, e);
}
