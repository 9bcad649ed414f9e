/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_int max_level = LOG_WARNING;

void
log_set_level(enum log_level level)
{
    max_level = (int)level;
}

enum log_level
log_get_level(void)
{
    return (enum log_level)max_level;
}

static void __attribute__((format(printf, 3, 0)))
emit(enum log_level level, const char *word, const char *fmt, va_list ap)
{
    char line[LOG_LINE_MAX];
    int no = errno;

    if ((int)level > max_level)
        return;
    size_t head = (size_t)snprintf(line, sizeof(line), "vmkeep: %s", word);
    (void)vsnprintf(line + head, sizeof(line) - head, fmt, ap);

    size_t n = strlen(line);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[n++] = '\n'; /* over the NUL: it is no text from here on */
    (void)fwrite(line, 1, n, stderr);
    errno = no;
}

#define LOG_AT(name, level, word)         \
    void log_##name(const char *fmt, ...) \
    {                                     \
        va_list ap;                       \
                                          \
        va_start(ap, fmt);                \
        emit(level, word, fmt, ap);       \
        va_end(ap);                       \
    }

LOG_AT(error, LOG_ERROR, "error: ")
LOG_AT(warning, LOG_WARNING, "warning: ")
LOG_AT(info, LOG_INFO, "")
LOG_AT(debug, LOG_DEBUG, "debug: ")
