/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/reconcile.h"

#include <dirent.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "capture/rescue.h"
#include "capture/undo.h"
#include "qemu/qmp.h"

static void
dir_closep(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

/* A guest whose RAM was left protected may have frozen its monitor too. */
static int
connect_or_rescue(const struct intent *in, struct qmp **out, struct err *e)
{
    struct err ignored = {0};

    if (qmp_connect(in->socket, out, e) == 0)
        return 0;
    if (in->pid == 0 || rescue(in->pid, &ignored) < 1)
        return -1;
    err_clear(e);
    return qmp_connect(in->socket, out, e);
}

static int
put_right(struct intent *in, reconcile_fn *fn, void *cookie, struct err *e)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;

    if (!intent_machine_lives(in)) {
        intent_remove(in);
        fn(cookie, in->machine, "ended during a backup; nothing to clean up");
        return 0;
    }
    if (connect_or_rescue(in, &q, e) == -1 || undo(q, in, e) == -1)
        return err_wrap(e,
                        "machine %s was left in the middle of a backup and "
                        "cannot be put right now",
                        in->machine);
    intent_remove(in);
    fn(cookie, in->machine,
       "a backup had been killed; the guest is as it was before it");
    return 0;
}

int
reconcile(reconcile_fn *fn, void *cookie, struct err *e)
{
    CLEANUP(freep) char *dir = NULL;
    struct err first = {0};
    const struct dirent *de = NULL;

    if (runtime_dir(&dir, e) == -1)
        return -1;
    CLEANUP(dir_closep) DIR *d = opendir(dir);
    if (!d)
        return err_set_errno(e, ERR_IO, "cannot list %s", dir);
    while ((de = readdir(d))) { /* NOLINT(concurrency-mt-unsafe) */
        CLEANUP(intent_freep) struct intent *in = NULL;
        if (!text_ends(de->d_name, ".intent"))
            continue;
        CLEANUP(freep) char *path = xasprintf("%s/%s", dir, de->d_name);
        int rc = intent_claim(path, &in, e);
        if (rc == 1)
            rc = put_right(in, fn, cookie, e);
        if (rc == -1 && first.code == ERR_OK)
            first = *e;
        err_clear(e);
    }
    *e = first;
    return e->code == ERR_OK ? 0 : -1;
}
