/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

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
    if ((int)level > max_level)
        return;
    flockfile(stderr);
    (void)fprintf(stderr, "vmkeep: %s", word);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    funlockfile(stderr);
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
