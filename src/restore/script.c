/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/script.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/machine.h"
#include "restore/remap.h"

/* One word of shell: everything quoted, the folder's place filled in. */
static void
put_word(struct buf *out, const char *arg)
{
    buf_u8(out, '\'');
    for (; *arg; arg++) {
        if (*arg == '\'')
            buf_printf(out, "'\\''");
        else if (*arg == REMAP_FOLDER)
            buf_printf(out, "'\"$images\"'");
        else
            buf_u8(out, (uint8_t)*arg);
    }
    buf_u8(out, '\'');
}

static void
put_comment(struct buf *out, const char *fmt, const char *text)
{
    CLEANUP(freep) char *quoted = text_quote(text, 200);
    const char *mark = strstr(fmt, "%s");

    buf_add(out, fmt, (size_t)(mark - fmt));
    buf_printf(out, "%s%s\n", quoted, mark + 2);
}

static void
put_head(struct buf *out, const struct script *s)
{
    static const char *const how[] = {
        [SCRIPT_LOADVM] = "# It continues from that instant.",
        [SCRIPT_INCOMING] =
            "# It continues from that instant, after `cont` at its monitor.",
        [SCRIPT_BOOT] = "# It starts cold, from its disks.",
    };
    char when[CLOCK_TEXT_LEN];

    clock_format_utc(s->time_ns, when);
    buf_printf(out, "#!/bin/sh\n");
    put_comment(out, "# Machine %s", s->machine->name);
    buf_printf(out, "# as of %s, restored by vmkeep %s.\n%s\n", when,
               VMKEEP_VERSION, how[s->start]);
    buf_printf(out, "# Arguments are handed on to QEMU.\n\n");
}

/* Other options may name files relative to the folder it ran in. */
static void
put_folders(struct buf *out, const struct machine *m)
{
    buf_printf(out, "here=$(cd \"$(dirname \"$0\")\" && pwd) || exit 1\n"
                    "images=$(printf %%s \"$here\" | sed 's/,/,,/g')\n");
    if (m->cwd) {
        buf_printf(out, "cd ");
        put_word(out, m->cwd);
        buf_printf(out, " 2>/dev/null || cd \"$here\" || exit 1\n");
    } else {
        buf_printf(out, "cd \"$here\" || exit 1\n");
    }
}

static void
put_command(struct buf *out, const struct script *s, const struct remap *r)
{
    const char *program = s->machine->argv && s->machine->argv[0]
                              ? s->machine->argv[0]
                              : "qemu-system-x86_64";

    buf_printf(out, "\nexec ");
    put_word(out, program);
    for (size_t i = 0; i < r->n; i++) {
        bool is_option = r->args[i][0] == '-';
        buf_printf(out, is_option ? " \\\n    " : " ");
        put_word(out, r->args[i]);
    }
    if (s->start == SCRIPT_LOADVM)
        buf_printf(out, " \\\n    -loadvm vmkeep");
    if (s->start == SCRIPT_INCOMING)
        buf_printf(out, " \\\n    -incoming \"exec:cat '$here/"
                        "vmkeep.vmstate'\"");
    buf_printf(out, " \"$@\"\n");
}

void
script_write(const struct script *s, struct buf *out, const char **unmapped)
{
    const struct remap_options o = {s->machine, s->format, s->ending};
    struct remap r = {0};

    *unmapped = NULL;
    remap_init(&r, &o);
    put_head(out, s);
    for (size_t i = 0; i < s->machine->n_disks; i++) {
        const struct disk *d = &s->machine->disks[i];
        if (d->read_only || r.mapped[i])
            continue;
        *unmapped = d->name;
        put_comment(out,
                    "# NOTE: disk %s was added at run time and is not on this "
                    "command line: add it.",
                    d->name);
    }
    for (size_t i = 0; s->excluded && s->excluded[i]; i++)
        put_comment(out,
                    s->start == SCRIPT_BOOT
                        ? "# NOTE: disk %s was left out of the backup: its "
                          "image is empty."
                        : "# NOTE: disk %s was left out of the backup: its "
                          "image is empty, but the\n# machine goes on with "
                          "what it knew of its contents.",
                    s->excluded[i]);
    put_folders(out, s->machine);
    put_command(out, s, &r);
    remap_done(&r);
}
