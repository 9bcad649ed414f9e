/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <locale.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/env.h"
#include "cli/help.h"
#include "cli/signals.h"
#include "qemu/qmp.h"
#include "work/rate.h"

static void
set_log_level(const struct cli *c)
{
    size_t verbose = args_count(&c->args, "verbose");

    if (c->out.quiet)
        log_set_level(LOG_ERROR);
    else if (verbose > 0)
        log_set_level(verbose > 1 ? LOG_DEBUG : LOG_INFO);
}

/* --help, --version, and vmkeep alone. */
static int
explain(struct cli *c)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    if (args_has(&c->args, "version")) {
        if (c->out.json)
            out_document(&c->out,
                         json_pack("{s:s}", "version", VMKEEP_VERSION));
        else
            out_text(&c->out, "vmkeep %s\n", VMKEEP_VERSION);
        return OUTCOME_DONE;
    }
    if (c->args.command)
        help_command(c->args.command, &b);
    else
        help_overview(commands, &b);
    out_text(&c->out, "%s", buf_text(&b));
    return OUTCOME_DONE;
}

static int
take_rates(struct cli *c, struct err *e)
{
    const char *up = args_value(&c->args, "limit-upload");
    const char *down = args_value(&c->args, "limit-download");

    if (up && rate_parse(up, "--limit-upload", &c->upload, e) == -1)
        return -1;
    return down ? rate_parse(down, "--limit-download", &c->download, e) : 0;
}

/* How long QEMU's monitor may be silent. */
static int
take_patience(struct err *e)
{
    enum { MOST_S = 3600 };
    const char *text = env_get("VMKEEP_QMP_TIMEOUT");
    uint64_t s = 0;

    if (!text)
        return 0;
    if (!text_parse_u64(text, &s) || s == 0 || s > MOST_S)
        return err_set(
            e, ERR_USAGE,
            "VMKEEP_QMP_TIMEOUT %s is no number of seconds (1 to %d)", text,
            MOST_S);
    qmp_set_usual_timeout_ms(s * 1000);
    return 0;
}

static void
tell_rate(const char *which, struct rate *r)
{
    uint64_t bytes = 0, waited_ns = 0;

    if (!r)
        return;
    rate_counts(r, &bytes, &waited_ns);
    log_info("limit=%s bytes=%llu waited_ms=%llu", which,
             (unsigned long long)bytes,
             (unsigned long long)(waited_ns / 1000000));
}

static int
run(struct cli *c, int argc, char **argv, struct err *e)
{
    if (args_parse(argc, argv, commands, &c->args, e) == -1)
        return -1;
    c->out.json = args_has(&c->args, "json");
    c->out.quiet = args_has(&c->args, "quiet");
    set_log_level(c);
    if (!c->args.command || args_has(&c->args, "help") ||
        args_has(&c->args, "version"))
        return explain(c);
    if (args_has(&c->args, "config"))
        return err_set(e, ERR_USAGE,
                       "this version reads no configuration file; name the "
                       "repository by -r or VMKEEP_REPOSITORY instead of "
                       "--config");
    if (take_rates(c, e) == -1 || take_patience(e) == -1)
        return -1;
    int outcome = c->args.command->run(c, e);
    tell_rate("upload", c->upload);
    tell_rate("download", c->download);
    return outcome;
}

int
cli_main(int argc, char **argv)
{
    struct cli c = {0};
    struct err e = {0};

    (void)setlocale(LC_CTYPE, ""); /* NOLINT(concurrency-mt-unsafe) */
    out_init(&c.out);
    c.out.json = args_want_json(argc, argv);
    signals_init(c.out.json);
    int outcome = run(&c, argc, argv, &e);
    const char *name = c.args.command ? c.args.command->name : NULL;
    if (outcome == -1) {
        outcome = (int)outcome_of(e.code);
        out_error(&c.out, name, NULL, (enum outcome)outcome, &e);
    }
    err_clear(&e);
    if (out_finish(&c.out, &e) == -1) {
        if (outcome == OUTCOME_DONE)
            outcome = OUTCOME_FAILED;
        out_error(&c.out, name, NULL, (enum outcome)outcome, &e);
    }
    signals_done();
    rate_free(c.upload);
    rate_free(c.download);
    args_done(&c.args);
    return outcome;
}
