/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/checked.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { TEXT_MAX = 4096, NUMBER_MAX = 24 };

static const char *const kinds[CHECKED_KINDS] = {"structure", "data"};

static char *
path_of(const char *cache, const char *repo_id)
{
    CLEANUP(freep) char *folder = path_join(cache, repo_id);

    return path_join(folder, "checked");
}

/* The number up to `end`, and past it. */
static bool
take_number(const char **text, char end, uint64_t *out)
{
    const char *at = strchr(*text, end);

    if (!at || at - *text > NUMBER_MAX)
        return false;
    CLEANUP(freep) char *word = xstrndup(*text, (size_t)(at - *text));
    *text = at + 1;
    return text_parse_u64(word, out);
}

static bool
take_line(const char **text, struct checked *out)
{
    uint64_t time = 0, faults = 0;

    for (size_t i = 0; i < CHECKED_KINDS; i++) {
        size_t n = strlen(kinds[i]);
        if (!text_starts(*text, kinds[i]) || (*text)[n] != ' ')
            continue;
        *text += n + 1;
        if (!take_number(text, ' ', &time) || time > INT64_MAX ||
            !take_number(text, '\n', &faults))
            return false;
        out->last[i].time_ns = (int64_t)time;
        out->last[i].faults = faults;
        return true;
    }
    return false;
}

bool
checked_parse(const char *text, struct checked *out)
{
    struct checked c = {0};

    *out = c;
    while (*text)
        if (!take_line(&text, &c))
            return false;
    *out = c;
    return true;
}

void
checked_read(const char *cache, const char *repo_id, struct checked *out)
{
    CLEANUP(buf_done) struct buf text = buf_of(TEXT_MAX);
    struct err ignored = {0};

    *out = (struct checked){0};
    if (!cache)
        return;
    CLEANUP(freep) char *path = path_of(cache, repo_id);
    if (file_read(path, &text, &ignored) == 0 && text.len > 0)
        (void)checked_parse(buf_text(&text), out);
}

void
checked_note(const char *cache, const char *repo_id, enum checked_what what,
             uint64_t faults)
{
    CLEANUP(buf_done) struct buf text = buf_of(TEXT_MAX);
    struct checked c;
    struct err ignored = {0};

    if (!cache)
        return;
    CLEANUP(freep) char *folder = path_join(cache, repo_id);
    CLEANUP(freep) char *path = path_of(cache, repo_id);
    checked_read(cache, repo_id, &c);
    c.last[what].time_ns = clock_wall_ns();
    c.last[what].faults = faults;
    for (size_t i = 0; i < CHECKED_KINDS; i++)
        if (c.last[i].time_ns > 0)
            buf_printf(&text, "%s %lld %llu\n", kinds[i],
                       (long long)c.last[i].time_ns,
                       (unsigned long long)c.last[i].faults);
    if (dir_make(folder, &ignored) == 0)
        (void)file_publish(path, text.p, text.len, &ignored);
}
