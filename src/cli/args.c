/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/print.h"

enum {
    MAX_OPTIONS = 48,
    LONG_BASE = 256, /* what getopt returns for specs[0] is this */
    SUGGESTION_MAX = 200
};

/* The tables in the form that getopt wants. */
struct parser {
    const struct option_spec *specs[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 + 2 * MAX_OPTIONS + 1];
    size_t n;
    const char *about; /* the command's name, or "" */
};

static void
parser_add(struct parser *p, const struct option_spec *spec)
{
    size_t n = strlen(p->shorts);

    for (; spec && spec->name; spec++) {
        assert(p->n < MAX_OPTIONS);
        p->longs[p->n] = (struct option){
            .name = spec->name,
            .has_arg = spec->arg ? required_argument : no_argument,
            .val = LONG_BASE + (int)p->n};
        p->specs[p->n++] = spec;
        if (spec->letter) {
            p->shorts[n++] = spec->letter;
            if (spec->arg)
                p->shorts[n++] = ':';
        }
    }
}

/* `mode`: "+:" stops at the first operand, ":" goes on behind it. */
static void
parser_init(struct parser *p, const char *mode, const struct command *command)
{
    *p = (struct parser){.about = command ? command->name : ""};
    memcpy(p->shorts, mode, strlen(mode));
    parser_add(p, global_options);
    if (command)
        parser_add(p, command->options);
}

static const struct option_spec *
spec_of(const struct parser *p, int val)
{
    if (val >= LONG_BASE && (size_t)(val - LONG_BASE) < p->n)
        return p->specs[val - LONG_BASE];
    for (size_t i = 0; i < p->n; i++)
        if (val != 0 && p->specs[i]->letter == val)
            return p->specs[i];
    return NULL;
}

/* " --a --b": the long options that may have been meant by `word`. */
static void
suggest_options(const struct parser *p, const char *word, struct buf *out)
{
    unsigned best = (unsigned)strlen(word) / 3 + 1;

    for (size_t i = 0; i < p->n; i++) {
        unsigned d = text_distance(word, p->specs[i]->name);
        best = d < best ? d : best;
    }
    for (size_t i = 0; i < p->n; i++) {
        const char *name = p->specs[i]->name;
        bool near = text_distance(word, name) == best;
        if (near || (*word && text_starts(name, word)))
            buf_printf(out, "%s--%s", out->len ? " or " : "", name);
    }
}

static int
hint_help(const struct parser *p, struct err *e)
{
    return err_hint(e, "see `vmkeep %s%s--help`", p->about,
                    *p->about ? " " : "");
}

static int
unknown_long(const struct parser *p, const char *text, struct err *e)
{
    /* Never the value: it may be a secret. */
    CLEANUP(freep) char *word = xstrndup(text + 2, strcspn(text + 2, "="));
    CLEANUP(freep) char *fit = print_fit(word);
    CLEANUP(buf_done) struct buf near = buf_of(SUGGESTION_MAX);

    (void)err_set(e, ERR_USAGE, "there is no option --%s", fit);
    if (strcmp(word, "password") == 0)
        return err_hint(e, "a password on the command line could be read by "
                           "everybody on this host: see `vmkeep help "
                           "password`");
    suggest_options(p, word, &near);
    if (near.len > 0)
        return err_hint(e, "did you mean %s?", buf_text(&near));
    return hint_help(p, e);
}

/* getopt returned '?' or ':'; `text` is the argument it was looking at. */
static int
complain(const struct parser *p, int what, const char *text, struct err *e)
{
    const struct option_spec *spec = spec_of(p, optopt);

    if (what == ':' && spec) {
        (void)err_set(e, ERR_USAGE, "--%s needs a value: --%s %s", spec->name,
                      spec->name, spec->arg);
        return hint_help(p, e);
    }
    if (spec && optopt >= LONG_BASE) {
        (void)err_set(e, ERR_USAGE, "--%s takes no value", spec->name);
        return hint_help(p, e);
    }
    if (optopt == 0) /* a short one would be named there */
        return unknown_long(p, text, e);
    char letter[2] = {(char)optopt, '\0'};
    CLEANUP(freep) char *fit = print_fit(letter);
    (void)err_set(e, ERR_USAGE, "there is no option -%s", fit);
    return hint_help(p, e);
}

static int
parse(const struct parser *p, int argc, char **argv, struct args *a,
      struct err *e)
{
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    for (;;) {
        /* One thread parses, before there are others. */
        /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
        int val = getopt_long(argc, argv, p->shorts, p->longs, NULL);
        if (val == -1)
            return 0;
        const struct option_spec *spec = spec_of(p, val);
        if (val == '?' || val == ':' || !spec)
            return complain(p, val, argv[optind - 1], e);
        a->given = xrealloc(a->given, (a->n_given + 1) * sizeof(a->given[0]));
        a->given[a->n_given++] =
            (struct given){spec, spec->arg ? optarg : NULL};
    }
}

static int
unknown_command(const struct command *const *table, const char *word,
                struct err *e)
{
    const char *near = command_suggest(table, word);
    CLEANUP(freep) char *fit = print_fit(word);

    (void)err_set(e, ERR_USAGE, "there is no command '%s'", fit);
    if (near)
        return err_hint(e, "did you mean `vmkeep %s`?", near);
    return err_hint(e, "`vmkeep help` lists them");
}

static int
count_operands(const struct args *a, struct err *e)
{
    const struct command *c = a->command;

    if (args_has(a, "help") || args_has(a, "version"))
        return 0;
    if (a->n_operands < c->min_operands) {
        (void)err_set(e, ERR_USAGE, "something is missing");
    } else if (a->n_operands > c->max_operands) {
        CLEANUP(freep) char *fit = print_fit(a->operands[c->max_operands]);
        (void)err_set(e, ERR_USAGE, "'%s' is one argument too many", fit);
    } else {
        return 0;
    }
    return err_hint(e, "usage: vmkeep %s%s%s", c->name, *c->operands ? " " : "",
                    c->operands);
}

int
args_parse(int argc, char **argv, const struct command *const *table,
           struct args *out, struct err *e)
{
    struct parser p;

    *out = (struct args){0};
    parser_init(&p, "+:", NULL);
    if (parse(&p, argc, argv, out, e) == -1)
        return -1;
    if (optind >= argc)
        return 0;
    argc -= optind;
    argv += optind;
    out->command = command_find(table, argv[0]);
    if (!out->command)
        return unknown_command(table, argv[0], e);
    parser_init(&p, ":", out->command);
    if (parse(&p, argc, argv, out, e) == -1)
        return -1;
    out->operands = argv + optind;
    out->n_operands = (size_t)(argc - optind);
    return count_operands(out, e);
}

void
args_done(struct args *a)
{
    free(a->given);
    *a = (struct args){0};
}

static bool
has_spec(const struct option_spec *spec, const char *name)
{
    for (; spec && spec->name; spec++)
        if (strcmp(spec->name, name) == 0)
            return true;
    return false;
}

size_t
args_count(const struct args *a, const char *name)
{
    size_t n = 0;

    assert(has_spec(global_options, name) ||
           (a->command && has_spec(a->command->options, name)));
    for (size_t i = 0; i < a->n_given; i++)
        n += strcmp(a->given[i].spec->name, name) == 0;
    return n;
}

bool
args_has(const struct args *a, const char *name)
{
    return args_count(a, name) > 0;
}

const char *
args_value(const struct args *a, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < a->n_given; i++)
        if (strcmp(a->given[i].spec->name, name) == 0)
            value = a->given[i].value;
    return value;
}

const char **
args_values(const struct args *a, const char *name, size_t *out_n)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
    const char **list = xcalloc(args_count(a, name) + 1, sizeof(list[0]));
    size_t n = 0;

    for (size_t i = 0; i < a->n_given; i++)
        if (strcmp(a->given[i].spec->name, name) == 0)
            list[n++] = a->given[i].value;
    *out_n = n;
    return list;
}

bool
args_want_json(int argc, char *const *argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}
