/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

/* Bytes of the character at `text`, and its columns; 0 if it is not fit to
 * print or the text is at its end. */
static size_t
next_char(const char *text, size_t len, size_t *columns)
{
    mbstate_t state = {0};
    wchar_t c = 0;
    size_t n = mbrtowc(&c, text, len, &state); /* NOLINT(concurrency-*) */

    if (n == 0 || n > len)
        return 0;
    int w = wcwidth(c);
    if (w < 0) /* not printable */
        return 0;
    *columns = (size_t)w;
    return n;
}

char *
print_fit(const char *text)
{
    struct buf b = buf_of(SIZE_MAX / 8);
    size_t left = strlen(text), columns = 0;

    while (left > 0) {
        size_t n = next_char(text, left, &columns);
        if (n == 0) {
            n = 1;
            buf_printf(&b, "\\x%02x", (unsigned char)*text);
        } else {
            buf_add(&b, text, n);
        }
        text += n;
        left -= n;
    }
    (void)buf_text(&b);
    return (char *)b.p;
}

size_t
print_width(const char *text)
{
    size_t left = strlen(text), width = 0;

    while (left > 0) {
        size_t columns = 1;
        size_t n = next_char(text, left, &columns);
        n = n ? n : 1;
        width += columns;
        text += n;
        left -= n;
    }
    return width;
}

void
print_cut(struct buf *out, const char *text, size_t width)
{
    static const char dots[] = "..";
    size_t left = strlen(text), used = 0;

    if (print_width(text) <= width) {
        buf_add(out, text, left);
        return;
    }
    size_t n_dots = width < 2 ? width : 2;
    while (left > 0) {
        size_t columns = 1;
        size_t n = next_char(text, left, &columns);
        n = n ? n : 1;
        if (used + columns > width - n_dots)
            break;
        buf_add(out, text, n);
        used += columns;
        text += n;
        left -= n;
    }
    for (; used + n_dots < width; used++)
        buf_u8(out, ' ');
    buf_add(out, dots, n_dots);
}

/* The next word of a line and the blanks before it. */
static size_t
word_len(const char *text, size_t *blanks)
{
    *blanks = strspn(text, " ");
    return strcspn(text + *blanks, " \n");
}

void
print_wrap(struct buf *out, const char *text, size_t indent, size_t width)
{
    size_t column = indent;

    while (*text) {
        size_t blanks = 0;
        size_t n = word_len(text, &blanks);
        bool fresh = column == indent;
        if (!fresh && column + blanks + n > width) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            blanks = 0;
        }
        buf_printf(out, "%*s", (int)blanks, "");
        buf_add(out, text + strspn(text, " "), n);
        column += blanks + n;
        text += strspn(text, " ") + n;
        if (*text == '\n') {
            text++;
            buf_printf(out, "\n%*s", *text && *text != '\n' ? (int)indent : 0,
                       "");
            column = indent;
        }
    }
}

json_t *
print_json(const char *text)
{
    json_t *j = json_string(text);

    if (j)
        return j;
    CLEANUP(freep) char *quoted = text_quote(text, SIZE_MAX);
    return json_string(quoted);
}
