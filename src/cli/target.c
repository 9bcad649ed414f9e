/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/reconcile.h"
#include "cli/out.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"

enum { NAMES_MAX_BYTES = 300, FIX_MAX_BYTES = 600, NAME_IN_PATH_MAX = 64 };

static bool
is_called(const struct machine_found *f, const char *word)
{
    return strcmp(f->name, word) == 0 ||
           (*f->uuid && strcasecmp(f->uuid, word) == 0);
}

static void
add_name(struct buf *names, const char *name)
{
    buf_printf(names, "%s%s", names->len > 0 ? ", " : "", name);
}

static int
not_there(const struct machine_found *all, size_t n, const char *word,
          struct err *e)
{
    CLEANUP(buf_done) struct buf near = buf_of(NAMES_MAX_BYTES);

    (void)err_set(e, ERR_NOENT, "no running machine is called %s", word);
    for (size_t i = 0; i < n; i++)
        if (text_distance(word, all[i].name) <= strlen(word) / 3 + 1)
            add_name(&near, all[i].name);
    if (near.len > 0)
        return err_hint(e, "did you mean %s?", buf_text(&near));
    return err_hint(e, "`vmkeep machines` lists those of this host");
}

static int
several(const struct machine_found *all, size_t n, const char *word,
        struct err *e)
{
    CLEANUP(buf_done) struct buf pids = buf_of(NAMES_MAX_BYTES);

    for (size_t i = 0; i < n; i++)
        if (is_called(&all[i], word))
            buf_printf(&pids, "%s%d", pids.len > 0 ? ", " : "",
                       (int)all[i].pid);
    return err_set(e, ERR_USAGE,
                   "several running machines are called %s (processes %s); "
                   "say which by its UUID or by --qmp SOCKET",
                   word, buf_text(&pids));
}

int
target_pick(const struct machine_found *all, size_t n, const char *word,
            const struct machine_found **out, struct err *e)
{
    const struct machine_found *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_called(&all[i], word))
            continue;
        if (found)
            return several(all, n, word, e);
        found = &all[i];
    }
    if (!found)
        return not_there(all, n, word, e);
    *out = found;
    return 0;
}

int
target_connect(const struct machine_found *f, struct qmp **out,
               const char **out_socket, struct err *e)
{
    if (!f->sockets[0])
        return err_set(e, ERR_QEMU, "it has no QMP monitor on a UNIX socket");
    for (size_t i = 0; f->sockets[i]; i++) {
        struct err failed = {0};
        if (qmp_connect(f->sockets[i], out, &failed) == 0) {
            *out_socket = f->sockets[i];
            err_clear(e);
            return 0;
        }
        if (e->code == ERR_OK)
            *e = failed;
    }
    return -1;
}

/* May the name be part of a path without a second thought? */
static bool
is_plain(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

    return n > 0 && n <= NAME_IN_PATH_MAX && name[n] == '\0';
}

static void
print_option(const struct machine_found *f, struct buf *out)
{
    buf_printf(out, "-qmp unix:/run/%s.qmp,server=on,wait=off",
               is_plain(f->name) ? f->name : "machine");
}

static bool
is_of_libvirt(const struct machine_found *f)
{
    for (size_t i = 0; f->sockets[i]; i++)
        if (strstr(f->sockets[i], "/libvirt/"))
            return true;
    return false;
}

void
target_print_fix(const struct machine_found *f, enum err_code why,
                 struct buf *out)
{
    if (why == ERR_DENIED) {
        buf_printf(out, "run vmkeep as root, or as the user that owns %s",
                   f->sockets[0] ? f->sockets[0] : "the machine");
        return;
    }
    if (is_of_libvirt(f)) {
        buf_printf(out, "libvirt keeps its monitor to itself; add another by "
                        "`virsh edit`, in <qemu:commandline>: ");
        print_option(f, out);
        return;
    }
    if (why == ERR_TIMEOUT)
        buf_printf(out, "close what uses the monitor, or start the machine "
                        "with one more: ");
    else
        buf_printf(out, "start the machine with ");
    print_option(f, out);
}

int
target_unreachable(const struct machine_found *f, struct err *e)
{
    CLEANUP(buf_done) struct buf fix = buf_of(FIX_MAX_BYTES);

    target_print_fix(f, e->code, &fix);
    if (e->code == ERR_NOENT || e->code == ERR_TIMEOUT)
        e->code = ERR_QEMU;
    return err_hint(e, "%s", buf_text(&fix));
}

static void
on_reconciled(void *cookie, const char *machine, const char *what)
{
    struct out *o = cookie;

    out_note(o, "%s: %s", machine, what);
}

bool
target_reconcile(struct out *o)
{
    struct err e = {0};

    if (reconcile(on_reconciled, o, &e) == 0)
        return true;
    out_warning(o, "%s", e.msg);
    return false;
}
