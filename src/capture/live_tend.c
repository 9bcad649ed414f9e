/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to be looked after while the guest runs and is being read: that
 * QEMU's migration is given back as soon as it is done, and that what the guest
 * overwrites does not take more room than it may.
 */
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/drainer.h"
#include "capture/live_internal.h"
#include "capture/ramspool.h"
#include "capture/undo.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"

enum { LOOK_MS = 200, STAT_BLOCK_BYTES = 512 };

/* With background-snapshot left on, a user's live migration would not move the
 * machine but save it. */
static int
give_migration_back(struct live *l, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (l->gave_migration_back || !l->drainer ||
        drainer_state(l->drainer) != DRAINER_DONE)
        return 0;
    if (qmp_run(l->qmp, "query-migrate", NULL, &reply, e) == -1)
        return -1;
    const char *status = json_string_value(json_object_get(reply, "status"));
    if (!status || strcmp(status, "completed") != 0)
        return 0; /* soon */
    l->gave_migration_back = true;
    return undo_capabilities(l->qmp, l->intent, e);
}

static uint64_t
scratch_bytes(const struct live *l)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < l->n_disks; i++) {
        struct stat st;
        if (l->disks[i].scratch_fd != -1 &&
            fstat(l->disks[i].scratch_fd, &st) == 0)
            sum += (uint64_t)st.st_blocks * STAT_BLOCK_BYTES;
    }
    return sum;
}

static int
check_scratch_size(const struct live *l, struct err *e)
{
    uint64_t limit = l->options->scratch_bytes, used = scratch_bytes(l);
    char have[TEXT_SIZE_LEN], most[TEXT_SIZE_LEN];

    if (limit == 0 || used <= limit)
        return 0;
    text_size(used, have);
    text_size(limit, most);
    (void)err_set(e, ERR_NOSPACE,
                  "machine %s overwrote so much of its disks meanwhile that "
                  "keeping it took %s; --scratch-size allows %s",
                  l->machine->name, have, most);
    return err_hint(e, "allow more, or save it when it writes less");
}

static int
check_free(const struct live *l, struct err *e)
{
    uint64_t free_bytes = 0;
    char have[TEXT_SIZE_LEN], least[TEXT_SIZE_LEN];

    if (dir_free_bytes(l->scratch_dir, &free_bytes, e) == -1)
        return err_wrap(e, "scratch folder");
    if (free_bytes >= l->min_free_bytes)
        return 0;
    text_size(free_bytes, have);
    text_size(l->min_free_bytes, least);
    (void)err_set(e, ERR_NOSPACE,
                  "the scratch folder %s has %s free, less than the %s that "
                  "are to be left",
                  l->scratch_dir, have, least);
    return err_hint(e, "free some, name another with --scratch, or leave less "
                       "with --min-free");
}

int
live_check_room(const struct live *l, struct err *e)
{
    return check_scratch_size(l, e) == -1 ? -1 : check_free(l, e);
}

int
live_tend(struct live *l, struct err *e)
{
    if (!deadline_passed(l->next_look))
        return 0;
    l->next_look = deadline_in_ms(LOOK_MS);
    if (l->drainer && drainer_state(l->drainer) == DRAINER_FAILED) {
        (void)ramspool_open_result(l->spool, e);
        return err_wrap(e, "machine %s", l->machine->name);
    }
    return give_migration_back(l, e) == -1 ? -1 : live_check_room(l, e);
}
