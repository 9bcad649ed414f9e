/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/meter.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/env.h"
#include "cli/print.h"
#include "cli/signals.h"
#include "work/pool.h"

enum { LINE_MAX_BYTES = 4096, NAME_MAX_BYTES = 80 };
enum {
    TERMINAL_MS = 200,
    JSON_MS = 1000,
    TEXT_MS = 60000 /* a log file is read by the minute */
};

enum meter_style { SILENT, TERMINAL, TEXT, JSON };

struct meter {
    struct out *out;
    char *subject; /* fit to print */
    enum meter_style style;
    uint64_t started_ns;
    int stop, asked; /* eventfds: the end; SIGUSR1 */
    struct thread *thread;

    pthread_mutex_t lock; /* guards all below */
    char phase[NAME_MAX_BYTES], what[NAME_MAX_BYTES];
    struct gauge gauge;
    bool begun; /* there was a first call */
};

void
meter_print(const struct meter_view *v, size_t width, struct buf *out)
{
    CLEANUP(buf_done) struct buf line = buf_of(LINE_MAX_BYTES);
    const struct gauge *g = &v->gauge;
    char done[TEXT_SIZE_LEN], total[TEXT_SIZE_LEN], rate[TEXT_SIZE_LEN];

    text_size(g->done_bytes, done);
    text_size(g->total_bytes, total);
    text_size(gauge_bytes_per_s(g), rate);
    buf_printf(&line, "%s  %s%s%s", v->subject, v->phase, *v->what ? " " : "",
               v->what);
    if (g->total_bytes > 0)
        buf_printf(&line, "  %u%%  %s of %s", gauge_percent(g), done, total);
    else if (g->done_bytes > 0)
        buf_printf(&line, "  %s", done);
    if (g->done_bytes > 0)
        buf_printf(&line, "  %s/s", rate);
    if (gauge_eta_s(g) != UINT64_MAX) {
        buf_printf(&line, "  ETA ");
        gauge_print_time(gauge_eta_s(g), &line);
    }
    print_cut(out, buf_text(&line), width ? width : SIZE_MAX);
}

static void
show_json(const struct meter *m, const struct meter_view *v)
{
    const struct gauge *g = &v->gauge;
    uint64_t eta = gauge_eta_s(g);
    json_t *j = json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:f}", "subject",
        print_json(m->subject), "phase", print_json(v->phase), "what",
        print_json(v->what), "total_bytes",
        g->total_bytes ? json_integer((json_int_t)g->total_bytes) : json_null(),
        "done_bytes", (json_int_t)g->done_bytes, "bytes_per_second",
        (json_int_t)gauge_bytes_per_s(g), "percent",
        (json_int_t)gauge_percent(g), "seconds",
        (double)(clock_mono_ns() - m->started_ns) / 1e9);

    (void)json_object_set_new(
        j, "eta_seconds",
        eta == UINT64_MAX ? json_null() : json_integer((json_int_t)eta));
    out_line(m->out, "progress", j);
}

static size_t
terminal_width(void)
{
    struct winsize w = {0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1)
        return w.ws_col - 1U; /* a full line would wrap on some */
    return 79;
}

/* `ask`: a person wants to see it now, whatever the style. */
static void
show(struct meter *m, bool ask)
{
    CLEANUP(buf_done) struct buf b = buf_of(LINE_MAX_BYTES);
    char phase[NAME_MAX_BYTES], what[NAME_MAX_BYTES];
    struct meter_view v = {m->subject, phase, what, {.n = 0}};

    if (m->style == SILENT && !ask)
        return;
    (void)pthread_mutex_lock(&m->lock);
    bool begun = m->begun;
    if (begun) /* no news are also news: the rate falls */
        gauge_update(&m->gauge, clock_mono_ns(), m->gauge.done_bytes,
                     m->gauge.total_bytes);
    v.gauge = m->gauge;
    memcpy(phase, m->phase, sizeof(phase));
    memcpy(what, m->what, sizeof(what));
    (void)pthread_mutex_unlock(&m->lock);
    if (!begun)
        return;
    if (m->out->json) {
        show_json(m, &v);
        return;
    }
    bool redrawn = m->style == TERMINAL;
    meter_print(&v, redrawn ? terminal_width() : 0, &b);
    (void)fprintf(stderr, redrawn && !ask ? "\r%s\033[K" : "%s\n",
                  buf_text(&b));
}

static void
run(void *arg)
{
    static const int pauses_ms[] = {[SILENT] = -1,
                                    [TERMINAL] = TERMINAL_MS,
                                    [TEXT] = TEXT_MS,
                                    [JSON] = JSON_MS};
    struct meter *m = arg;
    uint64_t count = 0;

    for (;;) {
        struct pollfd fds[] = {{.fd = m->stop, .events = POLLIN},
                               {.fd = m->asked, .events = POLLIN}};
        int n = poll(fds, ARRAY_LEN(fds), pauses_ms[m->style]);
        bool ask = n > 0 && fds[1].revents &&
                   fd_read_some(m->asked, &count, sizeof(count)) > 0;
        bool stop = n > 0 && fds[0].revents;
        if (ask || !stop) /* who asked before the end gets an answer */
            show(m, ask);
        if (stop)
            return;
    }
}

static enum meter_style
choose_style(const struct cli *c)
{
    const char *term = env_get("TERM");

    if (args_has(&c->args, "no-progress") || c->out.quiet)
        return SILENT;
    if (c->out.json)
        return JSON;
    if (isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0)
        return TERMINAL;
    return args_has(&c->args, "verbose") ? TEXT : SILENT;
}

struct meter *
meter_start(struct cli *c, const char *subject)
{
    struct meter *m = xcalloc(1, sizeof(*m));

    m->out = &c->out;
    m->subject = print_fit(subject);
    m->style = choose_style(c);
    m->started_ns = clock_mono_ns();
    m->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->asked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->stop == -1 || m->asked == -1)
        abort(); /* no descriptors left at the start of a command */
    (void)pthread_mutex_init(&m->lock, NULL);
    signals_count_usr1(m->asked);
    m->thread = thread_start(run, m);
    return m;
}

void
meter_stop(struct meter *m)
{
    static const uint64_t one = 1;

    if (!m)
        return;
    signals_count_usr1(-1);
    if (write(m->stop, &one, sizeof(one)) == -1)
        abort(); /* an eventfd at 0 takes a 1 */
    thread_join(m->thread);
    if (m->style == TERMINAL)
        (void)fprintf(stderr, "\r\033[K");
    fd_close(&m->stop);
    fd_close(&m->asked);
    (void)pthread_mutex_destroy(&m->lock);
    free(m->subject);
    free(m);
}

void
meter_stopp(struct meter **m)
{
    meter_stop(*m);
}

static void
keep(char *to, const char *text)
{
    CLEANUP(freep) char *fit = print_fit(text);

    (void)snprintf(to, NAME_MAX_BYTES, "%s", fit);
}

void
meter_progress(void *meter, const struct progress *p)
{
    struct meter *m = meter;

    (void)pthread_mutex_lock(&m->lock);
    keep(m->phase, p->phase);
    keep(m->what, p->what);
    gauge_update(&m->gauge, clock_mono_ns(), p->done_bytes, p->total_bytes);
    m->begun = true;
    (void)pthread_mutex_unlock(&m->lock);
}
