/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line a fact, "key=value ..." on stderr.
 *
 * Only service/ and cli/ log above debug, once, where an error is handled;
 * all other rooms return errors.  Never a secret, never a guest's bytes
 * unquoted (base/text.h).  A line is written by one write(2), so that lines of
 * several threads and processes do not mix; it is cut at LOG_LINE_MAX bytes,
 * and control characters in it, a newline above all, become '?'.  errno is
 * kept.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum { LOG_LINE_MAX = 4096 };

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped; LOG_WARNING at the start. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
