/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/name.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/text.h"

enum { TIME_CHARS = 29, SECOND_CHARS = 19 };

#define NS_PER_S INT64_C(1000000000)
/* The last nanosecond that four digits of a year can say. */
#define TIME_MAX_NS INT64_C(9223372036854775807)

const char NAME_CONFIG[] = "config";

static void
format_name(char *out, const char *prefix, const char *mid, const char *last)
{
    int n = snprintf(out, NAME_MAX_LEN, "%s%s%s", prefix, mid, last);

    assert(n > 0 && n < NAME_MAX_LEN);
    (void)n;
}

void
name_key(const uint8_t id[NAME_ID_BYTES], char *out)
{
    char hex[2 * NAME_ID_BYTES + 1];

    hex_encode(id, NAME_ID_BYTES, hex);
    format_name(out, "keys/", hex, "");
}

bool
name_parse_key(const char *name, uint8_t out_id[NAME_ID_BYTES])
{
    char again[NAME_MAX_LEN];

    if (!text_starts(name, "keys/") ||
        !hex_decode(name + 5, out_id, NAME_ID_BYTES))
        return false;
    name_key(out_id, again);
    return strcmp(name, again) == 0;
}

void
name_config(uint32_t generation, char *out)
{
    char number[9];

    (void)snprintf(number, sizeof(number), "%08x", generation);
    if (generation == 0)
        format_name(out, NAME_CONFIG, "", "");
    else
        format_name(out, "config.d/", number, "");
}

bool
name_parse_config(const char *name, uint32_t *out_generation)
{
    uint8_t number[4];
    char again[NAME_MAX_LEN];

    if (!text_starts(name, "config.d/") || !hex_decode(name + 9, number, 4) ||
        get_be32(number) == 0)
        return false;
    *out_generation = get_be32(number);
    name_config(*out_generation, again);
    return strcmp(name, again) == 0;
}

void
name_pack(enum pack_kind kind, const uint8_t sha256[32], char *out)
{
    char hex[65];
    char fan[] = {0, 0, '/', 0};

    hex_encode(sha256, 32, hex);
    memcpy(fan, hex, 2);
    format_name(out, kind == PACK_DATA ? "packs/d/" : "packs/m/", fan, hex);
}

static void
put_digits(char *out, unsigned n, uint64_t value)
{
    for (; n > 0; value /= 10)
        out[--n] = (char)('0' + value % 10);
}

/* "2026-11-22t10-00-00." and the nanoseconds.  By hand, as listings are mostly
 * this. */
static void
format_time(int64_t time_ns, char out[NAME_TIME_LEN])
{
    struct tm tm;
    uint64_t ns = time_ns < 0 ? 0 : (uint64_t)time_ns;
    static const char empty[] = "0000-00-00t00-00-00.000000000";
    time_t s = (time_t)(ns / NS_PER_S);

    (void)gmtime_r(&s, &tm);
    memcpy(out, empty, sizeof(empty));
    put_digits(out, 4, (unsigned)tm.tm_year + 1900);
    put_digits(out + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(out + 8, 2, (unsigned)tm.tm_mday);
    put_digits(out + 11, 2, (unsigned)tm.tm_hour);
    put_digits(out + 14, 2, (unsigned)tm.tm_min);
    put_digits(out + 17, 2, (unsigned)tm.tm_sec);
    put_digits(out + 20, 9, ns % NS_PER_S);
}

/* The exact inverse: whatever format_time would write otherwise is refused. */
static bool
parse_time(const char *s, int64_t *out)
{
    char text[CLOCK_TEXT_LEN], again[NAME_TIME_LEN];
    uint64_t ns = 0;

    if (strnlen(s, TIME_CHARS) < TIME_CHARS || s[SECOND_CHARS] != '.')
        return false;
    memcpy(text, s, SECOND_CHARS);
    text[10] = 'T';
    text[13] = text[16] = ':';
    text[SECOND_CHARS] = 'Z';
    text[SECOND_CHARS + 1] = '\0';
    if (!clock_parse_utc(text, out) || *out < 0)
        return false;
    memcpy(text, s + SECOND_CHARS + 1, 9);
    text[9] = '\0';
    if (!text_parse_u64(text, &ns) || *out > TIME_MAX_NS - (int64_t)ns)
        return false;
    *out += (int64_t)ns;
    format_time(*out, again);
    return memcmp(again, s, TIME_CHARS) == 0;
}

/* "TIME-ID" to the end. */
static void
format_tail(int64_t time_ns, const uint8_t id[NAME_ID_BYTES], char *out)
{
    format_time(time_ns, out);
    out[TIME_CHARS] = '-';
    hex_encode(id, NAME_ID_BYTES, out + TIME_CHARS + 1);
}

static bool
parse_tail(const char *s, int64_t *out_time_ns, uint8_t out_id[NAME_ID_BYTES])
{
    return parse_time(s, out_time_ns) && s[TIME_CHARS] == '-' &&
           hex_decode(s + TIME_CHARS + 1, out_id, NAME_ID_BYTES);
}

/* "PREFIX/TIME-ID": what maintenance and writers tell each other. */
static void
format_dated(const char *prefix, int64_t time_ns,
             const uint8_t id[NAME_ID_BYTES], char *out)
{
    char tail[NAME_TIME_LEN + 2 * NAME_ID_BYTES + 2];

    format_tail(time_ns, id, tail);
    format_name(out, prefix, tail, "");
}

static bool
parse_dated(const char *prefix, const char *name, int64_t *out_time_ns,
            uint8_t out_id[NAME_ID_BYTES])
{
    return text_starts(name, prefix) &&
           parse_tail(name + strlen(prefix), out_time_ns, out_id);
}

void
name_index_delta(int64_t time_ns, const uint8_t id[NAME_ID_BYTES], char *out)
{
    format_dated("index/d/", time_ns, id, out);
}

bool
name_parse_index_delta(const char *name, int64_t *out_time_ns,
                       uint8_t out_id[NAME_ID_BYTES])
{
    return parse_dated("index/d/", name, out_time_ns, out_id);
}

void
name_lost(int64_t time_ns, const uint8_t id[NAME_ID_BYTES], char *out)
{
    format_dated("lost/", time_ns, id, out);
}

bool
name_parse_lost(const char *name, int64_t *out_time_ns,
                uint8_t out_id[NAME_ID_BYTES])
{
    return parse_dated("lost/", name, out_time_ns, out_id);
}

/* "PREFIX/NS/MACHINE/TIME-ID" */
static void
format_backup(const char *prefix, const struct ref_name *n, char *out)
{
    char tail[NAME_TIME_LEN + 2 * NAME_ID_BYTES + 2];
    char folder[40], machine[2 * NAME_TAG_BYTES + 1];

    hex_encode(n->machine, NAME_TAG_BYTES, machine);
    (void)snprintf(folder, sizeof(folder), "%08x/%s/", n->ns, machine);
    format_tail(n->time_ns, n->id, tail);
    format_name(out, prefix, folder, tail);
}

/* Eight digits and a slash. */
static bool
parse_number(const char *s, uint32_t *out)
{
    uint8_t bytes[4];
    char part[9];

    if (strnlen(s, 9) < 9 || s[8] != '/')
        return false;
    memcpy(part, s, 8);
    part[8] = '\0';
    if (!hex_decode(part, bytes, sizeof(bytes)))
        return false;
    *out = get_be32(bytes);
    return true;
}

static bool
parse_backup(const char *prefix, const char *name, struct ref_name *out)
{
    enum { MACHINE = 9, TAIL = MACHINE + 2 * NAME_TAG_BYTES + 1 };
    char part[2 * NAME_TAG_BYTES + 1];

    if (!text_starts(name, prefix))
        return false;
    name += strlen(prefix);
    if (!parse_number(name, &out->ns) || strlen(name) < TAIL ||
        name[TAIL - 1] != '/')
        return false;
    memcpy(part, name + MACHINE, sizeof(part) - 1);
    part[sizeof(part) - 1] = '\0';
    return hex_decode(part, out->machine, NAME_TAG_BYTES) &&
           parse_tail(name + TAIL, &out->time_ns, out->id);
}

void
name_ref(const struct ref_name *n, char *out)
{
    format_backup("refs/", n, out);
}

bool
name_parse_ref(const char *name, struct ref_name *out)
{
    return parse_backup("refs/", name, out);
}

void
name_retired(const struct ref_name *n, char *out)
{
    format_backup("retired/", n, out);
}

bool
name_parse_retired(const char *name, struct ref_name *out)
{
    return parse_backup("retired/", name, out);
}

void
name_session(uint32_t writer, int64_t time_ns, const uint8_t id[NAME_ID_BYTES],
             char *out)
{
    char tail[NAME_TIME_LEN + 2 * NAME_ID_BYTES + 2], folder[16];

    (void)snprintf(folder, sizeof(folder), "%08x/", writer);
    format_tail(time_ns, id, tail);
    format_name(out, "sess/", folder, tail);
}

bool
name_parse_session(const char *name, uint32_t *out_writer, int64_t *out_time_ns,
                   uint8_t out_id[NAME_ID_BYTES])
{
    return text_starts(name, "sess/") && parse_number(name + 5, out_writer) &&
           parse_tail(name + 5 + 9, out_time_ns, out_id);
}

void
name_condemned(int64_t time_ns, const uint8_t id[NAME_ID_BYTES], char *out)
{
    format_dated("cond/", time_ns, id, out);
}

bool
name_parse_condemned(const char *name, int64_t *out_time_ns,
                     uint8_t out_id[NAME_ID_BYTES])
{
    return parse_dated("cond/", name, out_time_ns, out_id);
}

bool
name_parse_pack(const char *name, enum pack_kind *out_kind,
                uint8_t out_sha256[32])
{
    char again[NAME_MAX_LEN];

    if (text_starts(name, "packs/d/"))
        *out_kind = PACK_DATA;
    else if (text_starts(name, "packs/m/"))
        *out_kind = PACK_META;
    else
        return false;
    if (strlen(name) != 8 + 3 + 64 || !hex_decode(name + 11, out_sha256, 32))
        return false;
    name_pack(*out_kind, out_sha256, again);
    return strcmp(again, name) == 0;
}
