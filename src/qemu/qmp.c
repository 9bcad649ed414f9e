/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/qmp.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "qemu/qmp_internal.h"

/* ---- commands under way ----------------------------------------------- */

static void
pending_free(struct pending *p)
{
    json_decref(p->reply);
    free(p->command);
    free(p);
}

static struct pending *
add_pending(struct qmp *q, const char *command, uint64_t ticket)
{
    struct pending **at = &q->pending;

    while (*at)
        at = &(*at)->next;
    *at = xcalloc(1, sizeof(**at));
    (*at)->ticket = ticket;
    (*at)->command = xstrdup(command);
    q->n_pending++;
    return *at;
}

static struct pending *
find_pending(struct qmp *q, uint64_t ticket)
{
    struct pending *p = q->pending;

    while (p && p->ticket != ticket)
        p = p->next;
    return p;
}

static void
drop_pending(struct qmp *q, struct pending *p)
{
    struct pending **at = &q->pending;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    q->n_pending--;
    pending_free(p);
}

/* ---- life ------------------------------------------------------------- */

static uint64_t usual_timeout_ms = QMP_TIMEOUT_MS;

void
qmp_set_usual_timeout_ms(uint64_t ms)
{
    usual_timeout_ms = ms;
}

struct qmp *
qmp_new(int fd, const char *name)
{
    struct qmp *q = xcalloc(1, sizeof(*q));

    q->fd = fd;
    q->name = xstrdup(name);
    q->timeout_ms = usual_timeout_ms;
    jsonframe_init(&q->frame, QMP_MESSAGE_MAX);
    eventlist_init(&q->events);
    (void)snprintf(q->id_prefix, sizeof(q->id_prefix), "vk%016llx-",
                   (unsigned long long)rand_u64());
    return q;
}

void
qmp_close(struct qmp *q)
{
    if (!q)
        return;
    while (q->pending) {
        struct pending *next = q->pending->next;
        pending_free(q->pending);
        q->pending = next;
    }
    eventlist_clear(&q->events);
    jsonframe_done(&q->frame);
    json_decref(q->greeting);
    json_decref(q->commands);
    fd_close(&q->fd);
    free(q->name);
    free(q);
}

void
qmp_closep(struct qmp **q)
{
    qmp_close(*q);
}

int
qmp_fd(const struct qmp *q)
{
    return q->fd;
}

const struct qmp_version *
qmp_version(const struct qmp *q)
{
    return &q->version;
}

void
qmp_set_timeout_ms(struct qmp *q, uint64_t ms)
{
    q->timeout_ms = ms;
}

void
qmp_reset_timeout(struct qmp *q)
{
    q->timeout_ms = usual_timeout_ms;
}

/* ---- errors ----------------------------------------------------------- */

static int
no_answer(const struct qmp *q, struct err *e)
{
    unsigned long long ms = q->timeout_ms;

    (void)err_set(e, ERR_TIMEOUT, "QEMU has not answered for %llu ms", ms);
    if (ms != usual_timeout_ms)
        return -1;
    return err_hint(e, "if it is only busy, VMKEEP_QMP_TIMEOUT gives it more "
                       "seconds");
}

/* From now on every call fails with this error.  Returns -1. */
int
qmp_break(struct qmp *q, struct err *e)
{
    if (e->code == ERR_CORRUPT) /* that is for what we keep */
        e->code = ERR_QEMU;
    (void)err_wrap(e, "monitor %s", q->name);
    q->broken = *e;
    return -1;
}

static int
check_works(const struct qmp *q, struct err *e)
{
    if (q->broken.code == ERR_OK)
        return 0;
    return err_set(e, q->broken.code, "the connection is lost: %s",
                   q->broken.msg);
}

/* ---- bytes ------------------------------------------------------------ */

/* Take what has arrived.  1; 0 if nothing has; -1. */
static int
receive(struct qmp *q, struct err *e)
{
    uint8_t chunk[JSONFRAME_CHUNK];
    ssize_t n = -1;

    do
        n = recv(q->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    while (n == -1 && errno == EINTR);
    if (n == -1 && errno == EAGAIN)
        return 0;
    if (n == -1 && errno != ECONNRESET)
        return err_set_errno(e, ERR_QEMU, "cannot read");
    if (n <= 0)
        return err_set(e, ERR_QEMU, "QEMU closed the connection%s",
                       jsonframe_inside(&q->frame)
                           ? " in the middle of a message"
                           : "; is the machine still running?");
    jsonframe_add(&q->frame, chunk, (size_t)n);
    return 1;
}

/* Waits for `events`; 1, 0 if the deadline passed, -1. */
static int
wait_for(const struct qmp *q, short events, struct deadline d, short *out,
         struct err *e)
{
    struct pollfd p = {.fd = q->fd, .events = events};

    for (;;) {
        int n = poll(&p, 1, deadline_poll_ms(d));
        if (n == -1 && errno != EINTR)
            return err_set_errno(e, ERR_IO, "cannot poll");
        if (n == 1) {
            *out = p.revents;
            return 1;
        }
        if (deadline_passed(d))
            return 0;
    }
}

/* ---- messages --------------------------------------------------------- */

/* The ticket in one of our ids, else 0. */
static uint64_t
ticket_of(const struct qmp *q, const json_t *id)
{
    const char *text = json_string_value(id);
    uint64_t ticket = 0;

    if (!text || !text_starts(text, q->id_prefix) ||
        !text_parse_u64(text + strlen(q->id_prefix), &ticket))
        return 0;
    return ticket;
}

static int
take_reply(struct qmp *q, json_t *m, struct err *e)
{
    uint64_t ticket = ticket_of(q, json_object_get(m, "id"));

    for (struct pending *p = q->pending; ticket && p; p = p->next) {
        if (p->ticket == ticket && !p->reply) {
            p->reply = json_incref(m);
            return 0;
        }
    }
    if (q->adopting)
        return 0;
    const char *desc =
        json_string_value(json_object_get(json_object_get(m, "error"), "desc"));
    CLEANUP(freep)
    char *said = text_quote(desc ? desc : "a reply", QMP_SAID_MAX);
    return err_set(e, ERR_QEMU,
                   "QEMU answered what nobody asked (\"%s\"): does another "
                   "program use this connection?",
                   said);
}

/* QEMU's time stamp, -1 in both fields if its clock failed, in nanoseconds. */
static int64_t
event_time(const json_t *m)
{
    const json_t *t = json_object_get(m, "timestamp");
    int64_t s = json_integer_value(json_object_get(t, "seconds"));
    int64_t us = json_integer_value(json_object_get(t, "microseconds"));

    if (s < 0 || s > INT64_MAX / 1000000000 - 1 || us < 0 || us >= 1000000)
        return 0;
    return s * 1000000000 + us * 1000;
}

static int
take_event(struct qmp *q, const json_t *m, size_t bytes, struct err *e)
{
    const char *name = json_string_value(json_object_get(m, "event"));
    json_t *data = json_object_get(m, "data");

    if ((!name || (data && !json_is_object(data))) && q->adopting)
        return 0;
    if (!name || (data && !json_is_object(data)))
        return err_set(e, ERR_QEMU, "QEMU sent a malformed event");
    if (bytes > EVENTLIST_EVENT_BYTES)
        return err_set(e, ERR_LIMIT, "an event has %zu bytes, the limit is %d",
                       bytes, EVENTLIST_EVENT_BYTES);
    struct qmp_event ev = {.name = xstrdup(name),
                           .data = json_incref(data),
                           .time_ns = event_time(m)};
    eventlist_add(&q->events, &ev, bytes);
    return 0;
}

static int
take_message(struct qmp *q, json_t *m, size_t bytes, struct err *e)
{
    json_t *greeting = json_object_get(m, "QMP");

    if (json_object_get(m, "event"))
        return take_event(q, m, bytes, e);
    if (json_object_get(m, "return") || json_object_get(m, "error"))
        return take_reply(q, m, e);
    if (greeting && !q->greeting && !q->adopting) {
        q->greeting = json_incref(greeting);
        return 0;
    }
    if (q->adopting)
        return 0;
    return err_set(e, ERR_QEMU,
                   "QEMU sent neither a reply nor an event nor a greeting");
}

/* Takes in all messages that are here whole.  1, 0 if there are none, -1. */
static int
take_messages(struct qmp *q, struct err *e)
{
    for (int any = 0;; any = 1) {
        CLEANUP(json_decrefp) json_t *m = NULL;
        size_t bytes = 0;
        int rc = jsonframe_next(&q->frame, &m, &bytes, e);
        if (rc == 1)
            rc = take_message(q, m, bytes, e) == -1 ? -1 : 1;
        if (rc != 1)
            return rc == -1 ? -1 : any;
    }
}

int
qmp_step(struct qmp *q, struct deadline d, struct err *e)
{
    short ready = 0;
    int rc = take_messages(q, e);

    if (rc != 0)
        return rc;
    rc = wait_for(q, POLLIN, d, &ready, e);
    if (rc == 1 && (receive(q, e) == -1 || take_messages(q, e) == -1))
        return -1;
    return rc;
}

/* ---- sending ---------------------------------------------------------- */

/* QEMU takes no more now: wait, taking in what it says meanwhile, for a QEMU
 * that cannot write may not read either. */
static int
wait_to_send(struct qmp *q, struct deadline d, struct err *e)
{
    short ready = 0;
    int rc = wait_for(q, POLLIN | POLLOUT, d, &ready, e);

    if (rc == 1 && ready & POLLIN &&
        (receive(q, e) == -1 || take_messages(q, e) == -1))
        return -1;
    if (rc == 0 || deadline_passed(d))
        return err_set(e, ERR_TIMEOUT,
                       "QEMU does not read its monitor; it hangs, or its "
                       "process is stopped");
    return rc == -1 ? -1 : 0;
}

int
qmp_send_bytes(struct qmp *q, const char *p, size_t n, struct err *e)
{
    struct deadline d = deadline_in_ms(q->timeout_ms);

    while (n > 0) {
        ssize_t w = send(q->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (w >= 0) {
            p += w;
            n -= (size_t)w;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return err_set(e, ERR_QEMU,
                           "QEMU closed the connection; is the machine still "
                           "running?");
        } else if (errno != EAGAIN && errno != EINTR) {
            return err_set_errno(e, ERR_QEMU, "cannot write");
        } else if (wait_to_send(q, d, e) == -1) {
            return -1;
        }
    }
    return 0;
}

/* The first byte goes with the descriptor, which QEMU keeps for the command. */
static int
send_with_fd(struct qmp *q, const char *p, size_t n, int fd, struct err *e)
{
    short ready = 0;
    int rc = wait_for(q, POLLOUT, deadline_in_ms(q->timeout_ms), &ready, e);

    if (rc == 0)
        return err_set(e, ERR_TIMEOUT, "QEMU does not read its monitor");
    if (rc == -1)
        return -1;
    if (fd_send_with_fd(q->fd, p, 1, fd, e) == -1) {
        e->code = ERR_QEMU;
        return -1;
    }
    return qmp_send_bytes(q, p + 1, n - 1, e);
}

/* `args` is taken. */
static char *
command_text(const struct qmp *q, const char *command, json_t *args,
             uint64_t ticket)
{
    CLEANUP(json_decrefp) json_t *m = json_object();
    char id[64];

    (void)snprintf(id, sizeof(id), "%s%llu", q->id_prefix,
                   (unsigned long long)ticket);
    (void)json_object_set_new(m, "execute", json_string(command));
    if (args)
        (void)json_object_set_new(m, "arguments", args);
    (void)json_object_set_new(m, "id", json_string(id));
    return json_dumps(m, JSON_COMPACT);
}

/* fd -1: none.  `args` is taken. */
static int
send_command(struct qmp *q, const char *command, json_t *args, int fd,
             uint64_t *out_ticket, struct err *e)
{
    CLEANUP(json_decrefp) json_t *own_args = args;

    if (check_works(q, e) == -1)
        return err_wrap(e, "%s", command);
    if (q->n_pending == QMP_PENDING_MAX)
        return err_set(e, ERR_LIMIT, "%s: %d commands await their reply",
                       command, QMP_PENDING_MAX);
    uint64_t ticket = ++q->last_ticket;
    CLEANUP(freep)
    char *text = command_text(q, command, STEAL(own_args), ticket);
    if (!text)
        return err_set(e, ERR_USAGE, "%s: the arguments are no JSON", command);

    struct pending *p = add_pending(q, command, ticket);
    int rc = fd == -1 ? qmp_send_bytes(q, text, strlen(text), e)
                      : send_with_fd(q, text, strlen(text), fd, e);
    if (rc == -1) {
        drop_pending(q, p);
        (void)qmp_break(q, e);
        return err_wrap(e, "%s", command);
    }
    *out_ticket = ticket;
    return 0;
}

/* ---- replies ---------------------------------------------------------- */

static int
refusal(const char *command, const json_t *error, struct err *e)
{
    const char *class = json_string_value(json_object_get(error, "class"));
    const char *desc = json_string_value(json_object_get(error, "desc"));
    CLEANUP(freep)
    char *said =
        text_quote(desc ? desc : "failed without a reason", QMP_SAID_MAX);
    enum err_code code = ERR_QEMU;

    if (class && strcmp(class, "CommandNotFound") == 0)
        code = ERR_UNSUP;
    else if (class && strcmp(class, "DeviceNotFound") == 0)
        code = ERR_NOENT;
    return err_set(e, code, "%s: %s", command, said);
}

static int
await_reply(struct qmp *q, const struct pending *p, struct err *e)
{
    struct deadline d = deadline_in_ms(q->timeout_ms);

    if (p->reply) /* has come before the connection broke */
        return 0;
    if (check_works(q, e) == -1)
        return -1;
    while (!p->reply) {
        int rc = deadline_passed(d) ? 0 : qmp_step(q, d, e);
        if (rc == 0)
            (void)no_answer(q, e);
        if (rc != 1)
            return qmp_break(q, e);
    }
    return 0;
}

int
qmp_send(struct qmp *q, const char *command, json_t *args, uint64_t *out_ticket,
         struct err *e)
{
    return send_command(q, command, args, -1, out_ticket, e);
}

int
qmp_redeem(struct qmp *q, uint64_t ticket, json_t **out, struct err *e)
{
    struct pending *p = find_pending(q, ticket);

    assert(p); /* sent, and not redeemed before */
    int rc = await_reply(q, p, e);
    if (rc == -1) {
        (void)err_wrap(e, "%s", p->command);
    } else {
        json_t *value = json_object_get(p->reply, "return");
        json_t *error = json_object_get(p->reply, "error");
        if (error)
            rc = refusal(p->command, error, e);
        else if (out)
            *out = json_incref(value);
    }
    drop_pending(q, p);
    return rc;
}

int
qmp_run_fd(struct qmp *q, const char *command, json_t *args, int fd,
           json_t **out, struct err *e)
{
    uint64_t ticket = 0;

    if (send_command(q, command, args, fd, &ticket, e) == -1)
        return -1;
    if (qmp_redeem(q, ticket, out, e) == 0)
        return 0;
    if (fd != -1 && strstr(e->msg, "SCM_RIGHTS"))
        return err_hint(e, "it came without its descriptor: if there is a "
                           "relay between, use QEMU's own monitor socket");
    return -1;
}

int
qmp_run(struct qmp *q, const char *command, json_t *args, json_t **out,
        struct err *e)
{
    return qmp_run_fd(q, command, args, -1, out, e);
}

int
qmp_human(struct qmp *q, const char *line, char **out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "human-monitor-command",
                json_pack("{s:s}", "command-line", line), &reply, e) == -1)
        return -1;
    const char *text = json_string_value(reply);
    *out = xstrdup(text ? text : "");
    return 0;
}

/* ---- events ----------------------------------------------------------- */

int
qmp_event(struct qmp *q, const char *name, struct deadline d,
          struct qmp_event *out, struct err *e)
{
    for (bool last = false;;) {
        if (eventlist_take(&q->events, name, out))
            return 1;
        if (check_works(q, e) == -1)
            return -1;
        if (last)
            return 0;
        last = deadline_passed(d); /* what is here already counts */
        if (qmp_step(q, d, e) == -1)
            return qmp_break(q, e);
    }
}

void
qmp_event_done(struct qmp_event *ev)
{
    free(ev->name);
    json_decref(ev->data);
    *ev = (struct qmp_event){0};
}

void
qmp_forget_events(struct qmp *q)
{
    eventlist_clear(&q->events);
}

/* ---- features --------------------------------------------------------- */

int
qmp_has_command(struct qmp *q, const char *command, struct err *e)
{
    if (!q->commands) {
        CLEANUP(json_decrefp) json_t *list = NULL;
        size_t i = 0;
        const json_t *item = NULL;
        if (qmp_run(q, "query-commands", NULL, &list, e) == -1)
            return -1;
        q->commands = json_object();
        json_array_foreach(list, i, item)
        {
            const char *name = json_string_value(json_object_get(item, "name"));
            if (name)
                (void)json_object_set_new(q->commands, name, json_true());
        }
    }
    return json_object_get(q->commands, command) ? 1 : 0;
}
