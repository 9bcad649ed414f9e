/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/sftp_address.h"
#include "store/sftp_internal.h"
#include "store/store.h"
#include "work/cancel.h"
#include "work/rate.h"

enum {
    PROTOCOL = 3,
    EXTENSIONS_MAX = 1000,
    MESSAGE_MAX = 300,
    SAID_MAX = 4096, /* by ssh, on its standard error */
    ARGS_MAX = 32,
    END_STEPS = 200 /* of 10 ms that ssh has to end */
};

/* ---- the program ------------------------------------------------------- */

extern char **environ;

/* Its own group: an interrupt from the terminal is ours to handle. */
static int
spawn(char *const argv[], int io, int said, pid_t *out)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults, none;

    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_adddup2(&files, io, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, io, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, said, STDERR_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETPGROUP);
    int no = posix_spawnp(out, argv[0], &files, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return no;
}

static int
start(struct sftp *s, const struct sftp_address *where, struct err *e)
{
    const char *own =
        getenv("VMKEEP_SSH_COMMAND"); /* NOLINT(concurrency-mt-unsafe) */
    CLEANUP(freep)
    char *script = xasprintf("exec %s \"$@\"", own && *own ? own : "ssh");
    const char *argv[ARGS_MAX] = {"/bin/sh",
                                  "-c",
                                  script,
                                  "ssh",
                                  "-T",
                                  "-x",
                                  "-a",
                                  "-oBatchMode=yes",
                                  "-oServerAliveInterval=15",
                                  "-oServerAliveCountMax=4",
                                  "-oClearAllForwardings=yes",
                                  "-oConnectTimeout=30"};
    size_t n = 12;
    CLEANUP(fd_closep) int theirs = -1;
    CLEANUP(fd_closep) int their_said = -1;
    int pair[2], said[2];

    if (where->port) {
        argv[n++] = "-p";
        argv[n++] = where->port;
    }
    if (where->user) {
        argv[n++] = "-l";
        argv[n++] = where->user;
    }
    argv[n++] = "-s";
    argv[n++] = "--";
    argv[n++] = where->host;
    argv[n++] = "sftp";
    if (fd_socketpair(pair, e) == -1)
        return -1;
    s->fd = pair[0];
    theirs = pair[1];
    /* Non-blocking, so that a program that says too much is not kept. */
    if (pipe2(said, O_CLOEXEC | O_NONBLOCK) == -1)
        return err_set_errno(e, ERR_IO, "cannot make a pipe");
    s->said = said[0];
    their_said = said[1];
    char *args[ARGS_MAX];
    memcpy(args, argv, sizeof(args));
    errno = spawn(args, theirs, their_said, &s->pid);
    if (errno) {
        s->pid = 0;
        return err_set_errno(e, ERR_STORE, "cannot run ssh");
    }
    if (fcntl(s->fd, F_SETFL, O_NONBLOCK) == -1)
        return err_set_errno(e, ERR_IO, "cannot set up a socket");
    return 0;
}

static void
nap(void)
{
    struct timespec t = {.tv_nsec = 10000000};

    (void)nanosleep(&t, NULL);
}

static void
end(struct sftp *s)
{
    fd_close(&s->fd);
    for (int i = 0; s->pid > 0 && i < END_STEPS; i++) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            s->pid = 0;
        else
            nap();
    }
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) == -1 && errno == EINTR)
            continue;
        s->pid = 0;
    }
    fd_close(&s->said);
}

void
sftp_close(struct sftp *s)
{
    if (!s)
        return;
    end(s);
    buf_done(&s->out);
    buf_done(&s->in);
    free(s->address);
    free(s->host);
    free(s->message);
    free(s);
}

void
sftp_begin(struct sftp *s, struct cancel *cancel, struct rate *up,
           struct rate *down)
{
    s->cancel = cancel;
    s->up = up;
    s->down = down;
    s->cancelled = false;
}

const char *
sftp_message(const struct sftp *s)
{
    return s->message ? s->message : "";
}

/* ---- packets ----------------------------------------------------------- */

/* What ssh had to say, as one line, or "". */
static char *
what_ssh_said(struct sftp *s)
{
    char text[SAID_MAX + 1];
    ssize_t n = fd_read_some(s->said, text, SAID_MAX);

    text[n > 0 ? n : 0] = '\0';
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
        text[len - 1] = '\0';
    return text_quote(text, MESSAGE_MAX);
}

static int
broken(struct sftp *s, const char *why, struct err *e)
{
    CLEANUP(freep) char *said = what_ssh_said(s);

    (void)err_set(e, ERR_STORE, "the connection to %s %s", s->address, why);
    return said[0] ? err_hint(e, "ssh says: %s", said) : -1;
}

/* Also of what goes on for long, but never stalls. */
static bool
is_over(struct sftp *s)
{
    if (!s->cancel || !cancel_raised(s->cancel))
        return false;
    if (!s->cancelled)
        s->end = deadline_in_ms(STORE_GRACE_MS);
    s->cancelled = true;
    return deadline_passed(s->end);
}

static int
await(struct sftp *s, short events, struct deadline until, struct err *e)
{
    for (;;) {
        if (is_over(s))
            return broken(s, "was given up: interrupted", e);
        /* poll(2) looks at no negative one. */
        struct pollfd p[] = {
            {.fd = s->fd, .events = events},
            {.fd = s->cancel && !s->cancelled ? cancel_fd(s->cancel) : -1,
             .events = POLLIN}};
        int n = poll(p, ARRAY_LEN(p),
                     deadline_poll_ms(s->cancelled && s->end.at_ns < until.at_ns
                                          ? s->end
                                          : until));
        if (n > 0 && p[0].revents)
            return 0;
        if (n == 0 && deadline_passed(until))
            return broken(s, "stalled", e);
        if (n == -1 && errno != EINTR)
            return broken(s, "cannot be waited for", e);
    }
}

/* What is in s->out, and that is empty then. */
int
sftp_flush(struct sftp *s, struct err *e)
{
    size_t done = 0;

    rate_wait(s->up, s->out.len, s->cancel);
    while (done < s->out.len) {
        ssize_t n = send(s->fd, s->out.p + done, s->out.len - done,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            done += (size_t)n;
        else if (n == -1 && errno == EAGAIN) {
            if (await(s, POLLOUT, deadline_in_ms(s->stall_ms), e) == -1)
                return -1;
        } else if (n == -1 && errno != EINTR)
            return broken(s, "ended", e);
    }
    buf_reset(&s->out);
    return 0;
}

static int
receive(struct sftp *s, uint8_t *p, size_t len, struct err *e)
{
    struct deadline until = deadline_in_ms(s->stall_ms);
    size_t got = 0;

    while (got < len) {
        ssize_t n = recv(s->fd, p + got, len - got, MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0)
            return broken(s, "ended", e);
        else if (errno == EAGAIN) {
            if (await(s, POLLIN, until, e) == -1)
                return -1;
        } else if (errno != EINTR)
            return broken(s, "ended", e);
    }
    rate_wait(s->down, len, s->cancel);
    return 0;
}

int
sftp_nonsense(struct sftp *s, struct err *e)
{
    return broken(s,
                  "makes no sense: is that an SFTP server, and does its "
                  "shell print nothing at login?",
                  e);
}

/* Is this the answer to what was closed without waiting for it? */
static bool
was_for_later(struct sftp *s, uint32_t id)
{
    for (size_t i = 0; i < s->n_later; i++)
        if (s->later[i] == id) {
            s->later[i] = s->later[--s->n_later];
            return true;
        }
    return false;
}

static int
next_packet(struct sftp *s, struct reply *r, struct err *e)
{
    uint8_t head[4];

    if (receive(s, head, sizeof(head), e) == -1)
        return -1;
    uint32_t len = get_be32(head);
    if (len < 5 || len > SFTP_PACKET_MAX)
        return sftp_nonsense(s, e);
    buf_reset(&s->in);
    if (receive(s, buf_extend(&s->in, len), len, e) == -1)
        return -1;
    r->body = cursor_of(s->in.p, len);
    r->type = cursor_u8(&r->body);
    r->id = cursor_be32(&r->body);
    return 0;
}

/* The next packet; its bytes are good until the one after. */
int
sftp_next(struct sftp *s, struct reply *r, struct err *e)
{
    do {
        if (next_packet(s, r, e) == -1)
            return -1;
    } while (was_for_later(s, r->id));
    return 0;
}

/* The length is filled in by sftp_packet_end(). */
size_t
sftp_packet(struct sftp *s, enum packet type, uint32_t id)
{
    size_t at = s->out.len;

    buf_be32(&s->out, 0);
    buf_u8(&s->out, (uint8_t)type);
    buf_be32(&s->out, id);
    return at;
}

void
sftp_add_bytes(struct sftp *s, const void *p, size_t len)
{
    buf_be32(&s->out, (uint32_t)len);
    buf_add(&s->out, p, len);
}

void
sftp_add_text(struct sftp *s, const char *text)
{
    sftp_add_bytes(s, text, strlen(text));
}

void
sftp_packet_end(struct sftp *s, size_t at)
{
    put_be32(s->out.p + at, (uint32_t)(s->out.len - at - 4));
}

/* Send what was begun at `at`, and wait for its answer. */
static int
ask(struct sftp *s, size_t at, struct reply *r, struct err *e)
{
    uint32_t id = s->next_id - 1;

    sftp_packet_end(s, at);
    if (sftp_flush(s, e) == -1 || sftp_next(s, r, e) == -1)
        return -1;
    return r->id == id ? 0 : sftp_nonsense(s, e);
}

const uint8_t *
sftp_take_bytes(struct cursor *c, uint32_t *len)
{
    *len = cursor_be32(c);
    return cursor_bytes(c, *len);
}

/* The status in a reply that must be one. */
int
sftp_status_of(struct sftp *s, struct reply *r, struct err *e)
{
    uint32_t code = r->type == STATUS ? cursor_be32(&r->body) : 0, len = 0;

    if (r->type != STATUS || r->body.ran_short || code > INT32_MAX)
        return sftp_nonsense(s, e);
    if (code == SFTP_OK)
        return SFTP_OK;
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    free(STEAL(s->message));
    if (p) {
        CLEANUP(freep) char *text = xstrndup((const char *)p, len);
        s->message = text_quote(text, MESSAGE_MAX);
    }
    return (int)code;
}

int
sftp_ask_status(struct sftp *s, size_t at, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_status_of(s, &r, e);
}

int
sftp_take_attrs(struct cursor *c, struct sftp_attrs *out)
{
    struct sftp_attrs a = {0};
    uint32_t flags = cursor_be32(c), n = 0;

    if (flags & SFTP_ATTR_SIZE)
        a.size = cursor_be64(c);
    if (flags & SFTP_ATTR_OWNER)
        (void)cursor_be64(c);
    if (flags & SFTP_ATTR_MODE)
        a.mode = cursor_be32(c);
    if (flags & SFTP_ATTR_TIMES) {
        (void)cursor_be32(c);
        a.mtime = cursor_be32(c);
    }
    if (flags & (uint32_t)SFTP_ATTR_EXTENDED)
        n = cursor_be32(c);
    for (uint32_t i = 0, len = 0; i < n && !c->ran_short; i++) {
        (void)sftp_take_bytes(c, &len);
        (void)sftp_take_bytes(c, &len);
    }
    a.has_size = flags & SFTP_ATTR_SIZE;
    a.has_mode = flags & SFTP_ATTR_MODE;
    a.has_mtime = flags & SFTP_ATTR_TIMES;
    *out = a;
    return c->ran_short ? -1 : 0;
}

int
sftp_attrs_of(struct sftp *s, struct reply *r, struct sftp_attrs *out,
              struct err *e)
{
    struct sftp_attrs a;

    if (r->type != ATTRS) {
        int rc = sftp_status_of(s, r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    if (sftp_take_attrs(&r->body, &a) == -1)
        return sftp_nonsense(s, e);
    *out = a;
    return SFTP_OK;
}

int
sftp_handle_of(struct sftp *s, struct reply *r, struct sftp_handle *out,
               struct err *e)
{
    uint32_t len = 0;

    if (r->type != HANDLE) {
        int rc = sftp_status_of(s, r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    if (!p || len > SFTP_HANDLE_MAX)
        return sftp_nonsense(s, e);
    memcpy(out->p, p, len);
    out->len = len;
    return SFTP_OK;
}

static int
ask_attrs(struct sftp *s, size_t at, struct sftp_attrs *out, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_attrs_of(s, &r, out, e);
}

static int
ask_handle(struct sftp *s, size_t at, struct sftp_handle *out, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_handle_of(s, &r, out, e);
}

/* ---- opening ----------------------------------------------------------- */

static bool
is_called(const uint8_t *name, uint32_t len, const char *what)
{
    return len == strlen(what) && memcmp(name, what, len) == 0;
}

static int
take_version(struct sftp *s, struct reply *r, struct err *e)
{
    /* Where others have an id, this one has the version. */
    if (r->type != VERSION || r->id < PROTOCOL)
        return sftp_nonsense(s, e);
    for (int i = 0; cursor_left(&r->body) > 0; i++) {
        uint32_t len = 0, ignored = 0;
        const uint8_t *name = sftp_take_bytes(&r->body, &len);
        (void)sftp_take_bytes(&r->body, &ignored);
        if (r->body.ran_short || i == EXTENSIONS_MAX)
            return sftp_nonsense(s, e);
        s->has_fsync |= is_called(name, len, SFTP_FSYNC);
        s->has_statvfs |= is_called(name, len, SFTP_STATVFS);
    }
    return 0;
}

static void
sftp_closep(struct sftp **s)
{
    sftp_close(*s);
}

int
sftp_open(const struct sftp_address *where, const char *address,
          uint64_t stall_ms, struct cancel *cancel, struct sftp **out,
          struct err *e)
{
    CLEANUP(sftp_closep) struct sftp *s = xcalloc(1, sizeof(*s));
    struct reply r;

    s->fd = s->said = -1;
    s->stall_ms = stall_ms;
    sftp_begin(s, cancel, NULL, NULL);
    s->address = xstrdup(address);
    s->host = xstrdup(where->host);
    s->out = buf_of(SFTP_WINDOW * (SFTP_CHUNK + 1024));
    s->in = buf_of(SFTP_PACKET_MAX);
    if (start(s, where, e) == -1) {
        e->code = ERR_STORE;
        return -1;
    }
    sftp_packet_end(s, sftp_packet(s, INIT, PROTOCOL));
    if (sftp_flush(s, e) == -1 || sftp_next(s, &r, e) == -1 ||
        take_version(s, &r, e) == -1)
        return -1;
    *out = STEAL(s);
    return 0;
}

/* ---- single requests --------------------------------------------------- */

size_t
sftp_packet_path(struct sftp *s, enum packet type, const char *path)
{
    size_t at = sftp_packet(s, type, s->next_id++);

    sftp_add_text(s, path);
    return at;
}

size_t
sftp_packet_handle(struct sftp *s, enum packet type,
                   const struct sftp_handle *h)
{
    size_t at = sftp_packet(s, type, s->next_id++);

    sftp_add_bytes(s, h->p, h->len);
    return at;
}

int
sftp_lstat(struct sftp *s, const char *path, struct sftp_attrs *out,
           struct err *e)
{
    return ask_attrs(s, sftp_packet_path(s, LSTAT, path), out, e);
}

size_t
sftp_packet_open(struct sftp *s, const char *path, unsigned flags)
{
    size_t at = sftp_packet_path(s, OPEN, path);

    /* SSH_FXF_CREAT is 8, SSH_FXF_EXCL 0x20 */
    buf_be32(&s->out, flags);
    if (flags & SFTP_CREATE_NEW) {
        buf_be32(&s->out, SFTP_ATTR_MODE);
        buf_be32(&s->out, 0600);
    } else {
        buf_be32(&s->out, 0);
    }
    return at;
}

int
sftp_open_file(struct sftp *s, const char *path, unsigned flags,
               struct sftp_handle *out, struct err *e)
{
    return ask_handle(s, sftp_packet_open(s, path, flags), out, e);
}

int
sftp_close_handle(struct sftp *s, const struct sftp_handle *h, struct err *e)
{
    return sftp_ask_status(s, sftp_packet_handle(s, CLOSE, h), e);
}

int
sftp_close_later(struct sftp *s, const struct sftp_handle *h, struct err *e)
{
    if (s->n_later == SFTP_LATER_MAX)
        return sftp_close_handle(s, h, e) == -1 ? -1 : 0;
    s->later[s->n_later++] = s->next_id;
    sftp_packet_end(s, sftp_packet_handle(s, CLOSE, h));
    return sftp_flush(s, e);
}

int
sftp_remove(struct sftp *s, const char *path, struct err *e)
{
    return sftp_ask_status(s, sftp_packet_path(s, REMOVE, path), e);
}

bool
sftp_can_sync(const struct sftp *s)
{
    return s->has_fsync;
}

int
sftp_space(struct sftp *s, const char *path, uint64_t *out_free,
           uint64_t *out_total, struct err *e)
{
    struct reply r;
    uint64_t free_bytes = 0, total = 0;

    if (!s->has_statvfs)
        return SFTP_UNSUPPORTED;
    size_t at = sftp_packet(s, EXTENDED, s->next_id++);
    sftp_add_text(s, SFTP_STATVFS);
    sftp_add_text(s, path);
    if (ask(s, at, &r, e) == -1)
        return -1;
    if (r.type != EXTENDED_REPLY) {
        int rc = sftp_status_of(s, &r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    /* PROTOCOL 4.4: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, ... */
    (void)cursor_be64(&r.body);
    uint64_t unit = cursor_be64(&r.body), blocks = cursor_be64(&r.body);
    (void)cursor_be64(&r.body);
    uint64_t available = cursor_be64(&r.body);
    if (r.body.ran_short)
        return sftp_nonsense(s, e);
    if (unit == 0 || !u64_mul(available, unit, &free_bytes) ||
        !u64_mul(blocks, unit, &total) || free_bytes > total)
        return SFTP_UNSUPPORTED;
    *out_free = free_bytes;
    *out_total = total;
    return SFTP_OK;
}
