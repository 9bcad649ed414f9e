/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "qemu/jsonframe.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "qemu/unixconnect.h"

/* Starts a sync, in both directions; never part of JSON. */
#define DELIMITER 0xff

enum { SAID_MAX = 300, CHUNK = 4096 };

static const char port_name[] = "org.qemu.guest_agent.0";

struct agent {
    int fd;
    struct jsonframe frame;
};

/* ---- where it is --------------------------------------------------------- */

/* "disconnected:unix:PATH,server=on" -> PATH, or NULL if it is no such socket;
 * to be freed. */
static char *
path_in(const char *filename)
{
    static const char waiting[] = "disconnected:", kind[] = "unix:",
                      ending[] = ",server=on";

    if (text_starts(filename, waiting))
        filename += strlen(waiting);
    if (!text_starts(filename, kind) || !text_ends(filename, ending))
        return NULL;
    filename += strlen(kind);
    size_t len = strlen(filename) - strlen(ending);
    return len > 0 ? xstrndup(filename, len) : NULL;
}

/* The socket of the character device `id`: 1, 0 if it is none. */
static int
look_up(struct qmp *q, pid_t pid, const char *id, struct agent_place *out,
        struct err *e)
{
    CLEANUP(json_decrefp) json_t *all = NULL;
    const json_t *c = NULL;
    size_t i = 0;

    if (qmp_run(q, "query-chardev", NULL, &all, e) == -1)
        return -1;
    json_array_foreach(all, i, c)
    {
        const char *label = json_string_value(json_object_get(c, "label"));
        const char *file = json_string_value(json_object_get(c, "filename"));
        CLEANUP(freep) char *path = NULL;
        if (!label || !file || strcmp(label, id) != 0 ||
            !(path = path_in(file)))
            continue;
        out->is_open = json_is_true(json_object_get(c, "frontend-open"));
        out->path = pid ? process_path(pid, path) : xstrdup(path);
        return 1;
    }
    return 0;
}

static int
property(struct qmp *q, const char *path, const char *name, json_t **out,
         struct err *e)
{
    return qmp_run(q, "qom-get",
                   json_pack("{s:s, s:s}", "path", path, "property", name), out,
                   e);
}

/* Is the serial port at this QOM path the agent's?  Then look up its socket. */
static int
try_port(struct qmp *q, pid_t pid, const char *path, struct agent_place *out,
         struct err *e)
{
    CLEANUP(json_decrefp) json_t *name = NULL;
    CLEANUP(json_decrefp) json_t *chardev = NULL;

    if (property(q, path, "name", &name, e) == -1)
        return -1;
    const char *text = json_string_value(name);
    if (!text || strcmp(text, port_name) != 0)
        return 0;
    if (property(q, path, "chardev", &chardev, e) == -1)
        return -1;
    const char *id = json_string_value(chardev);
    return id && *id ? look_up(q, pid, id, out, e) : 0;
}

static int
find_in(struct qmp *q, pid_t pid, const char *folder, struct agent_place *out,
        struct err *e)
{
    CLEANUP(json_decrefp) json_t *all = NULL;
    const json_t *d = NULL;
    size_t i = 0;
    int found = 0;

    if (qmp_run(q, "qom-list", json_pack("{s:s}", "path", folder), &all, e) ==
        -1)
        return -1;
    json_array_foreach(all, i, d)
    {
        const char *type = json_string_value(json_object_get(d, "type"));
        const char *name = json_string_value(json_object_get(d, "name"));
        if (i == AGENT_PORTS_MAX)
            break;
        if (!type || !name || strcmp(type, "child<virtserialport>") != 0)
            continue;
        CLEANUP(freep) char *path = xasprintf("%s/%s", folder, name);
        found = try_port(q, pid, path, out, e);
        if (found != 0)
            break;
    }
    return found;
}

int
agent_find(struct qmp *q, pid_t pid, struct agent_place *out, struct err *e)
{
    static const char *const folders[] = {"/machine/peripheral",
                                          "/machine/peripheral-anon"};
    int found = 0;

    *out = (struct agent_place){0};
    for (size_t i = 0; found == 0 && i < ARRAY_LEN(folders); i++)
        found = find_in(q, pid, folders[i], out, e);
    return found == -1 ? err_wrap(e, "looking for the guest agent") : found;
}

void
agent_place_done(struct agent_place *p)
{
    free(p->path);
    *p = (struct agent_place){0};
}

/* ---- bytes --------------------------------------------------------------- */

/* Wait until the socket is ready for `events`. */
static int
await(const struct agent *a, short events, struct deadline d, struct err *e)
{
    struct pollfd p = {.fd = a->fd, .events = events};

    for (;;) {
        int n = poll(&p, 1, deadline_poll_ms(d));
        if (n > 0)
            return 0;
        if (n == 0 || deadline_passed(d))
            return err_set(e, ERR_TIMEOUT, "the guest agent does not answer");
        if (errno != EINTR)
            return err_set_errno(e, ERR_IO, "cannot wait for the guest agent");
    }
}

static int
send_all(const struct agent *a, const void *bytes, size_t len,
         struct deadline d, struct err *e)
{
    const char *p = bytes;

    while (len > 0) {
        ssize_t n = send(a->fd, p, len, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
            continue;
        }
        if (errno == ENOTCONN) /* see unix_connect */
            return err_set(e, ERR_TIMEOUT,
                           "the guest agent's socket serves others");
        if (errno != EAGAIN && errno != EINTR)
            return err_set_errno(e, ERR_QEMU,
                                 "the connection to the guest agent broke");
        if (await(a, POLLOUT, d, e) == -1)
            return -1;
    }
    return 0;
}

/* Some bytes: at least one, at most CHUNK. */
static int
receive(const struct agent *a, uint8_t *out, size_t *out_n, struct deadline d,
        struct err *e)
{
    for (;;) {
        ssize_t n = recv(a->fd, out, CHUNK, 0);
        if (n > 0) {
            *out_n = (size_t)n;
            return 0;
        }
        if (n == 0)
            return err_set(e, ERR_QEMU,
                           "QEMU closed the connection to the guest agent");
        if (errno != EAGAIN && errno != EINTR)
            return err_set_errno(e, ERR_QEMU,
                                 "the connection to the guest agent broke");
        if (await(a, POLLIN, d, e) == -1)
            return -1;
    }
}

/* ---- sync ---------------------------------------------------------------- */

static void
forget(struct agent *a)
{
    jsonframe_done(&a->frame);
    jsonframe_init(&a->frame, AGENT_REPLY_MAX);
}

/* Is our answer among what is in the frame?  What is no JSON is not. */
static bool
has_answer(struct agent *a, json_int_t id, bool *inside)
{
    struct err ignored = {0};

    for (;;) {
        CLEANUP(json_decrefp) json_t *reply = NULL;
        size_t bytes = 0;
        int rc = jsonframe_next(&a->frame, &reply, &bytes, &ignored);
        if (rc == -1) {
            forget(a);
            *inside = false;
        }
        if (rc != 1)
            return false;
        const json_t *value = json_object_get(reply, "return");
        if (json_is_integer(value) && json_integer_value(value) == id)
            return true;
    }
}

static int
await_answer(struct agent *a, json_int_t id, struct deadline d, struct err *e)
{
    uint8_t chunk[CHUNK];
    size_t seen = 0, n = 0;
    bool inside = false; /* behind a delimiter */

    while (seen < AGENT_NOISE_MAX) {
        if (receive(a, chunk, &n, d, e) == -1)
            return -1;
        seen += n;
        const uint8_t *last = memrchr(chunk, DELIMITER, n);
        const uint8_t *from = last ? last + 1 : chunk;
        if (last) {
            forget(a);
            inside = true;
        }
        if (!inside)
            continue;
        jsonframe_add(&a->frame, from, n - (size_t)(from - chunk));
        if (has_answer(a, id, &inside))
            return 0;
    }
    return err_set(e, ERR_LIMIT, "the guest agent talks without answering");
}

int
agent_sync(struct agent *a, uint64_t timeout_ms, struct err *e)
{
    struct deadline d = deadline_in_ms(timeout_ms);
    json_int_t id = (json_int_t)(rand_u64() >> 12);
    CLEANUP(freep)
    char *text = xasprintf("%c{\"execute\":\"guest-sync-delimited\","
                           "\"arguments\":{\"id\":%" PRId64 "}}\n",
                           DELIMITER, (int64_t)id);

    if (send_all(a, text, strlen(text), d, e) == -1)
        return -1;
    return await_answer(a, id, d, e);
}

int
agent_open(const char *path, uint64_t timeout_ms, struct agent **out,
           struct err *e)
{
    CLEANUP(agent_closep) struct agent *a = xcalloc(1, sizeof(*a));
    struct deadline d = deadline_in_ms(timeout_ms);

    a->fd = -1;
    jsonframe_init(&a->frame, AGENT_REPLY_MAX);
    if (unix_connect("guest agent", path, d, &a->fd, e) == -1)
        return -1;
    if (agent_sync(a, timeout_ms, e) == -1) {
        if (e->code == ERR_TIMEOUT)
            return err_hint(e,
                            "it does not run, hangs, or %s serves another "
                            "client",
                            path);
        return -1;
    }
    *out = STEAL(a);
    return 0;
}

void
agent_close(struct agent *a)
{
    if (!a)
        return;
    fd_close(&a->fd);
    jsonframe_done(&a->frame);
    free(a);
}

void
agent_closep(struct agent **a)
{
    agent_close(*a);
}

/* ---- commands ------------------------------------------------------------ */

static int
read_reply(struct agent *a, struct deadline d, json_t **out, struct err *e)
{
    for (;;) {
        uint8_t chunk[CHUNK];
        size_t n = 0, bytes = 0;
        int rc = jsonframe_next(&a->frame, out, &bytes, e);
        if (rc != 0)
            return rc == 1 ? 0 : -1;
        if (receive(a, chunk, &n, d, e) == -1)
            return -1;
        jsonframe_add(&a->frame, chunk, n);
    }
}

static int
refused(const json_t *error, struct err *e)
{
    const char *class = json_string_value(json_object_get(error, "class"));
    const char *desc = json_string_value(json_object_get(error, "desc"));
    CLEANUP(freep) char *said = text_quote(desc ? desc : "no reason", SAID_MAX);

    return err_set(e,
                   class && strcmp(class, "CommandNotFound") == 0 ? ERR_UNSUP
                                                                  : ERR_QEMU,
                   "%s", said);
}

/* *out is the caller's. */
static int
run(struct agent *a, const char *command, uint64_t timeout_ms, json_t **out,
    struct err *e)
{
    struct deadline d = deadline_in_ms(timeout_ms);
    CLEANUP(json_decrefp) json_t *reply = NULL;
    CLEANUP(freep) char *text = xasprintf("{\"execute\":\"%s\"}\n", command);

    if (send_all(a, text, strlen(text), d, e) == -1 ||
        read_reply(a, d, &reply, e) == -1)
        return err_wrap(e, "%s", command);
    const json_t *error = json_object_get(reply, "error");
    if (error) {
        (void)refused(error, e);
        return err_wrap(e, "the guest agent refuses %s", command);
    }
    json_t *value = json_object_get(reply, "return");
    if (!value)
        return err_set(e, ERR_CORRUPT, "%s: the guest agent's answer is none",
                       command);
    *out = json_incref(value);
    return 0;
}

int
agent_status(struct agent *a, uint64_t timeout_ms, bool *out_frozen,
             struct err *e)
{
    CLEANUP(json_decrefp) json_t *value = NULL;

    if (run(a, "guest-fsfreeze-status", timeout_ms, &value, e) == -1)
        return -1;
    const char *word = json_string_value(value);
    bool frozen = word && strcmp(word, "frozen") == 0;
    if (!frozen && (!word || strcmp(word, "thawed") != 0))
        return err_set(e, ERR_CORRUPT,
                       "guest-fsfreeze-status: neither frozen nor thawed");
    *out_frozen = frozen;
    return 0;
}

static int
run_counting(struct agent *a, const char *command, uint64_t timeout_ms,
             uint64_t *out_n, struct err *e)
{
    CLEANUP(json_decrefp) json_t *value = NULL;

    if (run(a, command, timeout_ms, &value, e) == -1)
        return -1;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(e, ERR_CORRUPT, "%s: not a number of file systems",
                       command);
    *out_n = (uint64_t)json_integer_value(value);
    return 0;
}

int
agent_freeze(struct agent *a, uint64_t timeout_ms, uint64_t *out_n,
             struct err *e)
{
    return run_counting(a, "guest-fsfreeze-freeze", timeout_ms, out_n, e);
}

int
agent_thaw(struct agent *a, uint64_t timeout_ms, uint64_t *out_n, struct err *e)
{
    return run_counting(a, "guest-fsfreeze-thaw", timeout_ms, out_n, e);
}
