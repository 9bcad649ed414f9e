/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/out.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/env.h"
#include "cli/print.h"
#include "cli/table.h"

enum { NOTE_MAX = 65536 };

static void
fill_closed(int fd, int flags)
{
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
        (void)open("/dev/null", flags); /* becomes fd: the lowest free one */
}

void
out_init(struct out *o)
{
    struct winsize w = {0};
    const char *term = env_get("TERM");

    *o = (struct out){0};
    fill_closed(STDIN_FILENO, O_RDONLY);
    /* The wrong way round: whoever writes an answer there is told. */
    fill_closed(STDOUT_FILENO, O_RDONLY);
    fill_closed(STDERR_FILENO, O_WRONLY);
    if (!isatty(STDOUT_FILENO))
        return;
    o->width = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        o->width = w.ws_col;
    o->bold = !env_get("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

static void
note_failure(struct out *o, int no)
{
    int none = 0;

    (void)atomic_compare_exchange_strong(&o->failure, &none, no ? no : EIO);
}

/* Lines go out one by one: who reads them acts on them. */
static void
write_out(struct out *o, const void *p, size_t len)
{
    errno = 0;
    if (fwrite(p, 1, len, stdout) != len || fflush(stdout) != 0)
        note_failure(o, errno);
}

void
out_text(struct out *o, const char *fmt, ...)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    write_out(o, b.p, b.len);
}

void
out_table(struct out *o, const struct table *t)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    table_print(t, o->width, o->bold, &b);
    write_out(o, b.p, b.len);
}

static void
write_json(struct out *o, json_t *j, size_t flags)
{
    char *text = j ? json_dumps(j, flags | JSON_ENCODE_ANY) : NULL;
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    if (!text)
        abort(); /* a json_pack that went wrong, or no memory */
    buf_printf(&b, "%s\n", text);
    free(text);
    json_decref(j);
    write_out(o, b.p, b.len);
}

void
out_document(struct out *o, json_t *j)
{
    write_json(o, j, JSON_INDENT(2));
}

void
out_line(struct out *o, const char *type, json_t *j)
{
    json_t *line = json_pack("{s:s}", "type", type);

    if (json_object_update(line, j) == -1)
        abort(); /* as in write_json */
    json_decref(j);
    write_json(o, line, JSON_COMPACT);
}

/* One line on stderr; takes `j`.  Nobody is left to be told if it fails. */
static void
say_json(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    if (!text)
        abort(); /* as in write_json */
    (void)fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(j);
}

static void __attribute__((format(printf, 3, 0)))
say(const struct out *o, const char *type, const char *fmt, va_list ap)
{
    CLEANUP(buf_done) struct buf b = buf_of(NOTE_MAX);

    buf_vprintf(&b, fmt, ap);
    if (o->json) {
        say_json(json_pack("{s:s, s:o}", "type", type, "message",
                           print_json(buf_text(&b))));
        return;
    }
    CLEANUP(freep) char *fit = print_fit(buf_text(&b));
    bool warning = strcmp(type, "warning") == 0;
    (void)fprintf(stderr, "vmkeep: %s%s\n", warning ? "warning: " : "", fit);
}

void
out_note(struct out *o, const char *fmt, ...)
{
    va_list ap;

    if (o->quiet)
        return;
    va_start(ap, fmt);
    say(o, "note", fmt, ap);
    va_end(ap);
}

void
out_warning(struct out *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(o, "warning", fmt, ap);
    va_end(ap);
}

void
out_error(struct out *o, const char *command, const char *machine,
          enum outcome outcome, const struct err *e)
{
    if (o->json) {
        json_t *j = json_pack("{s:s, s:s, s:i, s:o}", "type", "error", "code",
                              err_code_name(e->code), "exit", (int)outcome,
                              "message", print_json(e->msg));
        if (command)
            (void)json_object_set_new(j, "command", json_string(command));
        if (machine)
            (void)json_object_set_new(j, "machine", print_json(machine));
        say_json(j);
        return;
    }
    CLEANUP(freep) char *msg = print_fit(e->msg);
    CLEANUP(freep) char *who = print_fit(machine ? machine : "");
    (void)fprintf(stderr, "vmkeep: %s%s%s%s%s\n", command ? command : "",
                  command ? ": " : "", who, machine ? ": " : "", msg);
}

int
out_finish(struct out *o, struct err *e)
{
    errno = 0;
    if (fflush(stdout) != 0)
        note_failure(o, errno);
    if (o->failure == 0)
        return 0;
    errno = o->failure;
    return err_set_errno(e, ERR_IO, "cannot write the answer to stdout");
}
