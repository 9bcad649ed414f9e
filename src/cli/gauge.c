/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gauge.h"

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S (1000 * NS_PER_MS)

static void
sample(struct gauge *g, uint64_t now_ns, uint64_t bytes)
{
    g->samples[g->next].at_ns = now_ns;
    g->samples[g->next].bytes = bytes;
    g->next = (g->next + 1) % GAUGE_SAMPLES;
    if (g->n < GAUGE_SAMPLES)
        g->n++;
}

static size_t
newest(const struct gauge *g)
{
    return (g->next + GAUGE_SAMPLES - 1) % GAUGE_SAMPLES;
}

void
gauge_update(struct gauge *g, uint64_t now_ns, uint64_t done_bytes,
             uint64_t total_bytes)
{
    if (done_bytes < g->done_bytes)
        g->n = g->next = 0;
    g->now_ns = now_ns;
    g->done_bytes = done_bytes;
    g->total_bytes = total_bytes;
    if (g->n == 0 ||
        now_ns - g->samples[newest(g)].at_ns >= GAUGE_SPACING_MS * NS_PER_MS)
        sample(g, now_ns, done_bytes);
}

uint64_t
gauge_bytes_per_s(const struct gauge *g)
{
    if (g->n == 0)
        return 0;
    size_t oldest = (g->next + GAUGE_SAMPLES - g->n) % GAUGE_SAMPLES;
    uint64_t ns = g->now_ns - g->samples[oldest].at_ns;
    uint64_t bytes = g->done_bytes - g->samples[oldest].bytes;
    if (ns == 0)
        return 0;
    double rate = (double)bytes / (double)ns * (double)NS_PER_S;
    return rate < 1e18 ? (uint64_t)rate : (uint64_t)1e18;
}

uint64_t
gauge_eta_s(const struct gauge *g)
{
    uint64_t rate = gauge_bytes_per_s(g);

    if (rate == 0 || g->total_bytes < g->done_bytes || g->total_bytes == 0)
        return UINT64_MAX;
    return div_up(g->total_bytes - g->done_bytes, rate);
}

unsigned
gauge_percent(const struct gauge *g)
{
    if (g->total_bytes == 0)
        return 0;
    if (g->done_bytes >= g->total_bytes)
        return 100;
    double share = (double)g->done_bytes / (double)g->total_bytes * 100;
    return share >= 99 ? 99 : (unsigned)share;
}

void
gauge_print_time(uint64_t seconds, struct buf *out)
{
    unsigned long long minutes = seconds / 60;

    if (minutes < 60)
        buf_printf(out, "%llu:%02u", minutes, (unsigned)(seconds % 60));
    else
        buf_printf(out, "%llu:%02u:%02u", minutes / 60,
                   (unsigned)(minutes % 60), (unsigned)(seconds % 60));
}
