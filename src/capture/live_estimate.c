/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long will the guest stand still?  While it does, QEMU touches each page
 * of its RAM and write-protects it: 11 to 31 ms for a GiB of pages of 4 KiB, as
 * measured, and next to nothing with huge pages.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/live_internal.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"

enum {
    LEAST_US_PER_GIB = 11000,
    MOST_US_PER_GIB = 31000,
    BASE_US = 1000, /* whatever the size */
    SMALL_PAGE_KIB = 64
};

/* A line: "NAME  4 KiB  0xOFFSET 0xUSED 0xTOTAL ..."; the head has no 0x. */
static uint64_t
bytes_of_line(const char *line)
{
    const char *unit = strstr(line, " KiB");
    unsigned long long offset = 0, used = 0;
    unsigned page = 0;

    if (!unit)
        return 0; /* the head, or pages of MiB or GiB */
    const char *number = unit;
    while (number > line && number[-1] >= '0' && number[-1] <= '9')
        number--;
    /* NOLINTNEXTLINE(cert-err34-c) */
    if (sscanf(number, "%5u KiB 0x%16llx 0x%16llx", &page, &offset, &used) != 3)
        return 0;
    return page <= SMALL_PAGE_KIB ? used : 0;
}

uint64_t
live_small_page_bytes(const char *ramblocks)
{
    uint64_t sum = 0;

    for (const char *line = ramblocks; *line;) {
        size_t n = strcspn(line, "\n");
        CLEANUP(freep) char *one = xstrndup(line, n);
        if (!u64_add(sum, bytes_of_line(one), &sum))
            return UINT64_MAX;
        line += n + (line[n] == '\n');
    }
    return sum;
}

/* For `bytes`, rounded; as good as that is, no more. */
static uint64_t
time_us(uint64_t bytes, uint64_t us_per_gib)
{
    return BASE_US + (bytes >> 20) * us_per_gib / 1024;
}

int
live_estimate(struct live *l, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    struct capture_pause *p = &l->result->pause;
    char ram[TEXT_SIZE_LEN];

    if (qmp_human(l->qmp, "info ramblock", &text, e) == -1)
        return -1;
    uint64_t small = live_small_page_bytes(text);
    p->least_us = time_us(small, LEAST_US_PER_GIB);
    p->most_us = time_us(small, MOST_US_PER_GIB);
    if (!l->machine->running || p->least_us <= l->max_pause_ms * 1000)
        return 0;
    text_size(small, ram);
    (void)err_set(
        e, ERR_QEMU,
        "machine %s would stand still for at least %llu ms, as it has "
        "%s of RAM in small pages; %llu ms are allowed",
        l->machine->name, (unsigned long long)p->least_us / 1000, ram,
        (unsigned long long)l->max_pause_ms);
    return err_hint(e, "allow more with --max-pause, or give it huge pages");
}
