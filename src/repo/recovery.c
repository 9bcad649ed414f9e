/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/recovery.h"

#include <stdbool.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/wipe.h"

/* 7 characters of 5 bits a group: 56 of them hold 35 bytes. */
enum {
    GROUP_CHARS = 7,
    SUM_BYTES = 3,
    ALL_BYTES = RECOVERY_BYTES + SUM_BYTES,
    CHARS = RECOVERY_GROUPS * (GROUP_CHARS + 1),
    FIELD_POLY = 0x25, /* x^5 + x^2 + 1 */
    MEANT_GROUPS = 5   /* with so many right, it is no accident */
};

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int
value_of(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'I' || c == 'L')
        c = '1';
    if (c == 'O')
        c = '0';
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/*
 * A polynomial over the field of 32 elements, at 2: any one wrong character and
 * any two that changed places make another value.  The group's number is the
 * first coefficient, so a group in another's place is wrong too.
 */
static unsigned
times_2(unsigned v)
{
    v <<= 1;
    return v & 0x20 ? v ^ FIELD_POLY : v;
}

static uint8_t
check_of(unsigned group, const uint8_t v[GROUP_CHARS])
{
    unsigned sum = group + 1;

    for (size_t i = 0; i < GROUP_CHARS; i++)
        sum = times_2(sum) ^ v[i];
    return (uint8_t)times_2(sum);
}

static void
checksum(const uint8_t code[RECOVERY_BYTES], uint8_t out[SUM_BYTES])
{
    uint8_t sum[HASH_BYTES];

    hash_sha256(code, RECOVERY_BYTES, sum);
    memcpy(out, sum, SUM_BYTES);
    wipe(sum, sizeof(sum));
}

/* The 5 bits from bit `at` on. */
static uint8_t
get5(const uint8_t *p, size_t at)
{
    uint8_t v = 0;

    for (size_t i = at; i < at + 5; i++)
        v = (uint8_t)(v << 1 | (p[i / 8] >> (7 - i % 8) & 1));
    return v;
}

static void
put5(uint8_t *p, size_t at, uint8_t v)
{
    for (size_t i = 0; i < 5; i++)
        p[(at + i) / 8] |= (uint8_t)((v >> (4 - i) & 1) << (7 - (at + i) % 8));
}

void
recovery_format(const uint8_t code[RECOVERY_BYTES], char out[RECOVERY_TEXT_LEN])
{
    uint8_t all[ALL_BYTES], v[GROUP_CHARS];
    char *to = out;

    memcpy(all, code, RECOVERY_BYTES);
    checksum(code, all + RECOVERY_BYTES);
    for (unsigned g = 0; g < RECOVERY_GROUPS; g++) {
        for (size_t i = 0; i < GROUP_CHARS; i++) {
            v[i] = get5(all, (g * GROUP_CHARS + i) * 5);
            *to++ = alphabet[v[i]];
        }
        *to++ = alphabet[check_of(g, v)];
        *to++ = '-';
    }
    to[-1] = '\0';
    wipe(all, sizeof(all));
    wipe(v, sizeof(v));
}

/* All characters' values; false if it has not the form. */
static bool
get_values(const char *text, uint8_t out[CHARS])
{
    size_t n = 0;

    for (; *text; text++) {
        if (*text == ' ' || *text == '-' || *text == '\t' || *text == '\n' ||
            *text == '\r')
            continue;
        int v = value_of(*text);
        if (v == -1 || n == CHARS)
            return false;
        out[n++] = (uint8_t)v;
    }
    return n == CHARS;
}

int
recovery_parse(const char *text, uint8_t out[RECOVERY_BYTES],
               unsigned *bad_group)
{
    uint8_t values[CHARS], all[ALL_BYTES] = {0}, sum[SUM_BYTES];
    unsigned right = 0, bad = 0;
    int found = 0;

    if (bad_group)
        *bad_group = 0;
    if (!get_values(text, values))
        return 0;
    for (unsigned g = 0; g < RECOVERY_GROUPS; g++) {
        const uint8_t *v = values + (size_t)g * (GROUP_CHARS + 1);
        for (size_t i = 0; i < GROUP_CHARS; i++)
            put5(all, (g * GROUP_CHARS + i) * 5, v[i]);
        if (check_of(g, v) == v[GROUP_CHARS])
            right++;
        else if (bad == 0)
            bad = g + 1;
    }
    checksum(all, sum);
    if (right == RECOVERY_GROUPS &&
        wipe_equal(sum, all + RECOVERY_BYTES, SUM_BYTES)) {
        memcpy(out, all, RECOVERY_BYTES);
        found = 1;
    } else if (bad_group && bad && right >= MEANT_GROUPS)
        *bad_group = bad;
    wipe(values, sizeof(values));
    wipe(all, sizeof(all));
    return found;
}
