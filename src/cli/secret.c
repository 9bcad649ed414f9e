/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "cli/env.h"
#include "cli/signals.h"

/* What the ways are called, by enum secret_which. */
static const struct names {
    const char *text, *file, *command; /* variables */
    const char *credential;
    const char *options;
} names[] = {{"VMKEEP_PASSWORD", "VMKEEP_PASSWORD_FILE",
              "VMKEEP_PASSWORD_COMMAND", "vmkeep.password",
              "--password-file and --password-command"},
             {"VMKEEP_NEW_PASSWORD", "VMKEEP_NEW_PASSWORD_FILE",
              "VMKEEP_NEW_PASSWORD_COMMAND", "vmkeep.new-password",
              "--new-password-file and --new-password-command"},
             {"VMKEEP_TO_PASSWORD", "VMKEEP_TO_PASSWORD_FILE",
              "VMKEEP_TO_PASSWORD_COMMAND", "vmkeep.to-password",
              "--to-password-file and --to-password-command"}};

static const struct names *
names_of(const struct secret_ways *w)
{
    return &names[w->which];
}

void
secret_wipe(struct secret *p)
{
    explicit_bzero(p, sizeof(*p));
}

/* `out` holds `len` bytes, of at most sizeof(out->text). */
static int
finish(struct secret *out, size_t len, const char *source, struct err *e)
{
    if (len == sizeof(out->text))
        return err_set(e, ERR_USAGE,
                       "the password from %s is longer than %d "
                       "bytes",
                       source, SECRET_MAX);
    if (len > 0 && out->text[len - 1] == '\n')
        len--;
    if (len > 0 && out->text[len - 1] == '\r')
        len--;
    out->text[len] = '\0';
    if (len == 0)
        return err_set(e, ERR_USAGE, "the password from %s is empty", source);
    if (strlen(out->text) != len)
        return err_set(e, ERR_USAGE,
                       "the password from %s has a NUL byte in "
                       "it",
                       source);
    return 0;
}

/* All there is to read, but no more than one byte too many. */
static int
read_all(int fd, const char *source, struct secret *out, size_t *out_len,
         struct err *e)
{
    size_t len = 0;

    while (len < sizeof(out->text)) {
        ssize_t n = fd_read_some(fd, out->text + len, sizeof(out->text) - len);
        if (n == -1)
            return err_set_errno(e, ERR_IO, "cannot read the password from %s",
                                 source);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *out_len = len;
    return 0;
}

static int
from_file(const char *path, struct secret *out, struct err *e)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot open the password file %s",
                             path);
    if (read_all(fd, path, out, &len, e) == -1)
        return -1;
    return finish(out, len, path, e);
}

static int
check_status(pid_t pid, struct err *e)
{
    int status = 0;

    while (waitpid(pid, &status, 0) == -1)
        if (errno != EINTR)
            return err_set_errno(e, ERR_IO, "cannot wait for it");
    if (WIFSIGNALED(status))
        return err_set(e, ERR_IO, "it was killed by signal %d",
                       WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return err_set(e, ERR_IO, "it failed with exit code %d",
                       WEXITSTATUS(status));
    return 0;
}

static int
from_command(const char *command, struct secret *out, struct err *e)
{
    const char *const argv[] = {"sh", "-c", command, NULL};
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    int both[2];
    pid_t pid = 0;
    size_t len = 0;

    if (pipe2(both, O_CLOEXEC) == -1)
        return err_set_errno(e, ERR_IO, "cannot make a pipe");
    reader = both[0];
    writer = both[1];
    const struct spawn shell = {
        .argv = argv, .in = -1, .out = writer, .err = -1};
    if (spawn_shell(&shell, &pid) == -1) {
        (void)err_set_errno(e, ERR_IO, "cannot start /bin/sh");
        return err_wrap(e, "password command");
    }
    fd_close(&writer);
    int failed = read_all(reader, "the password command", out, &len, e);
    fd_close(&reader); /* before waiting: a chatty command then ends too */
    struct err status = {0};
    if (check_status(pid, &status) == -1 && !failed && len <= SECRET_MAX) {
        *e = status;
        return err_wrap(e, "password command");
    }
    if (failed)
        return -1;
    return finish(out, len, "the password command", e);
}

/* ---- the terminal ------------------------------------------------------ */

static int
ask(int tty, const char *question, struct secret *out, struct err *e)
{
    size_t len = 0;

    if (fd_write(tty, question, strlen(question), "the terminal", e) == -1)
        return -1;
    /* A terminal gives a line at a time. */
    while (len < sizeof(out->text)) {
        ssize_t n = fd_read_some(tty, out->text + len, 1);
        if (n == -1)
            return err_set_errno(e, ERR_IO, "cannot read from the terminal");
        if (n == 0 || out->text[len++] == '\n')
            break;
    }
    if (fd_write(tty, "\n", 1, "the terminal", e) == -1)
        return -1;
    return finish(out, len, "the terminal", e);
}

static int
ask_once_or_twice(int tty, const struct secret_ways *w, struct secret *out,
                  struct err *e)
{
    CLEANUP(secret_wipe) struct secret again = {0};
    CLEANUP(freep)
    char *question = xasprintf(
        "%s for %s: ", w->is_new ? "New password" : "Password", w->subject);

    if (ask(tty, question, out, e) == -1)
        return -1;
    if (!w->is_new)
        return 0;
    if (ask(tty, "The same again: ", &again, e) == -1)
        return -1;
    if (strcmp(out->text, again.text) != 0)
        return err_set(e, ERR_USAGE, "the two passwords differ");
    return 0;
}

static int
from_terminal(const struct secret_ways *w, struct secret *out, struct err *e)
{
    CLEANUP(fd_closep) int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    struct termios normal, silent;

    if (tty == -1 || tcgetattr(tty, &normal) == -1) {
        (void)err_set(e, ERR_USAGE,
                      "no %spassword for %s, and no terminal to ask for it",
                      w->which == SECRET_NEW ? "new " : "", w->subject);
        return err_hint(e, "set %s or %s; see `vmkeep help password`",
                        names_of(w)->file, names_of(w)->command);
    }
    silent = normal;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_cc[VSUSP] = _POSIX_VDISABLE; /* no shell without echo */
    signals_keep_terminal(tty, &normal);
    (void)tcsetattr(tty, TCSAFLUSH, &silent);
    int r = ask_once_or_twice(tty, w, out, e);
    (void)tcsetattr(tty, TCSAFLUSH, &normal);
    signals_keep_terminal(-1, NULL);
    return r;
}

/* ---- which one --------------------------------------------------------- */

static int
from_options(const struct secret_ways *w, struct secret *out, struct err *e)
{
    if (w->file && w->command)
        return err_set(e, ERR_USAGE, "%s exclude each other",
                       names_of(w)->options);
    if (w->file && from_file(w->file, out, e) == -1)
        return -1;
    if (w->command && from_command(w->command, out, e) == -1)
        return -1;
    return w->file || w->command;
}

static int
from_environment(const struct names *n, struct secret *out, struct err *e)
{
    const char *text = env_get(n->text);
    const char *file = env_get(n->file);
    const char *command = env_get(n->command);

    if (!!text + !!file + !!command > 1)
        return err_set(e, ERR_USAGE,
                       "more than one of %s, %s and %s is set; unset all but "
                       "one",
                       n->text, n->file, n->command);
    if (text) {
        size_t len = strnlen(text, sizeof(out->text));
        memcpy(out->text, text, len);
        if (finish(out, len, n->text, e) == -1)
            return -1;
    }
    if (file && from_file(file, out, e) == -1)
        return -1;
    if (command && from_command(command, out, e) == -1)
        return -1;
    return text || file || command;
}

static int
from_credential(const struct names *n, struct secret *out, struct err *e)
{
    const char *dir = env_get("CREDENTIALS_DIRECTORY");

    if (!dir)
        return 0;
    CLEANUP(freep) char *path = path_join(dir, n->credential);
    if (!file_exists(path))
        return 0;
    return from_file(path, out, e) == -1 ? -1 : 1;
}

int
secret_at_hand(const struct secret_ways *w, struct secret *out, struct err *e)
{
    int found = from_options(w, out, e);

    if (found == 0)
        found = from_environment(names_of(w), out, e);
    if (found == 0)
        found = from_credential(names_of(w), out, e);
    env_wipe(names_of(w)->text);
    return found;
}

int
secret_get(const struct secret_ways *w, struct secret *out, struct err *e)
{
    int found = secret_at_hand(w, out, e);

    if (found == 0)
        return from_terminal(w, out, e);
    return found == -1 ? -1 : 0;
}
