/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "qemu/process.h"
#include "qemu/qmp_internal.h"
#include "qemu/unixconnect.h"
#include "qemu/unixpeer.h"

static int
read_version(struct qmp *q, const json_t *version, struct err *e)
{
    const json_t *qemu = json_object_get(version, "qemu");
    const char *package =
        json_string_value(json_object_get(version, "package"));
    static const char *const keys[] = {"major", "minor", "micro"};
    unsigned *const to[] = {&q->version.major, &q->version.minor,
                            &q->version.micro};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const json_t *v = json_object_get(qemu, keys[i]);
        if (!json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) > 100000)
            return err_set(e, ERR_QEMU, "QEMU tells no version");
        *to[i] = (unsigned)json_integer_value(v);
    }
    CLEANUP(freep)
    char *shown = text_quote(package ? package : "", QMP_SAID_MAX);
    const char *text = shown;
    while (*text == ' ' || *text == '(') /* older ones: " (Debian ...)" */
        text++;
    size_t n = strlen(text);
    if (text != shown && n > 0 && text[n - 1] == ')')
        n--;
    (void)snprintf(q->version.package, sizeof(q->version.package), "%.*s",
                   (int)n, text);
    return 0;
}

/* Who is in our way, after no greeting came. */
static int
no_greeting(const struct qmp *q, struct err *e)
{
    pid_t pid = 0;
    bool served = unixpeer_client(q->name, q->fd, &pid);
    CLEANUP(freep) char *comm = pid ? process_comm(pid) : NULL;
    CLEANUP(freep) char *shown = text_quote(comm ? comm : "?", QMP_SAID_MAX);

    CLEANUP(freep)
    char *who = pid ? xasprintf("another client holds it: process %d (%s)",
                                (int)pid, shown)
                    : xasprintf("another client holds it%s",
                                served ? "" : ", or QEMU hangs");
    (void)err_set(e, ERR_TIMEOUT, "monitor %s: no greeting for %d ms: %s",
                  q->name, QMP_GREETING_MS, who);
    return err_hint(e, "a monitor serves one client at a time: end the other "
                       "one, or give QEMU a monitor of its own for backups "
                       "(-qmp unix:PATH,server=on,wait=off)");
}

static int
greet(struct qmp *q, struct deadline d, struct err *e)
{
    while (!q->greeting) {
        int rc = deadline_passed(d) ? 0 : qmp_step(q, d, e);
        if (rc == -1 && e->code == ERR_CORRUPT) {
            e->code = ERR_QEMU;
            return err_wrap(e, "monitor %s is no QMP monitor", q->name);
        }
        if (rc == -1)
            return err_wrap(e, "monitor %s", q->name);
        if (rc == 0 && jsonframe_inside(&q->frame))
            return err_set(e, ERR_TIMEOUT,
                           "monitor %s: only half a greeting came", q->name);
        if (rc == 0)
            return no_greeting(q, e);
    }
    if (read_version(q, json_object_get(q->greeting, "version"), e) == -1)
        return err_wrap(e, "monitor %s", q->name);
    return qmp_run(q, "qmp_capabilities", NULL, NULL, e);
}

int
qmp_connect(const char *path, struct qmp **out, struct err *e)
{
    struct deadline d = deadline_in_ms(QMP_GREETING_MS);
    int fd = -1;

    if (unix_connect("monitor", path, d, &fd, e) == -1)
        return -1;
    CLEANUP(qmp_closep) struct qmp *q = qmp_new(fd, path);
    if (greet(q, d, e) == -1)
        return -1;
    *out = STEAL(q);
    return 0;
}

/* ---- adopting --------------------------------------------------------- */

/*
 * QEMU answers the byte 0xFF, which is never part of JSON, with an error
 * without id, and starts afresh behind it.
 */
static int
resynchronise(struct qmp *q, struct err *e)
{
    q->adopting = true;
    q->frame.lenient = true;
    if (qmp_send_bytes(q, "\xff", 1, e) == -1)
        return qmp_break(q, e);
    int rc = qmp_run(q, "query-status", NULL, NULL, e);
    if (rc == -1 && e->code == ERR_UNSUP) { /* died before it negotiated */
        err_clear(e);
        rc = qmp_run(q, "qmp_capabilities", NULL, NULL, e);
    }
    q->adopting = false;
    q->frame.lenient = false;
    return rc;
}

int
qmp_adopt(int fd, struct qmp **out, struct err *e)
{
    return qmp_adopt_patiently(fd, QMP_TIMEOUT_MS, out, e);
}

int
qmp_adopt_patiently(int fd, uint64_t timeout_ms, struct qmp **out,
                    struct err *e)
{
    CLEANUP(json_decrefp) json_t *version = NULL;
    CLEANUP(qmp_closep) struct qmp *q = qmp_new(fd, "taken over");

    qmp_set_timeout_ms(q, timeout_ms);
    if (resynchronise(q, e) == -1 ||
        qmp_run(q, "query-version", NULL, &version, e) == -1 ||
        read_version(q, version, e) == -1)
        return -1;
    *out = STEAL(q);
    return 0;
}
