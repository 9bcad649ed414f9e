/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/decoder.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "vmstate/config.h"
#include "vmstate/ending.h"
#include "vmstate/format.h"
#include "vmstate/names.h"
#include "vmstate/vmstate.h"

enum {
    /* The longest record is a page with the name of its block. */
    RECORD_MAX_BYTES =
        RAM_RECORD_BYTES + 1 + VMSTATE_NAME_MAX + VMSTATE_PAGE_MAX_BYTES,
    BLOCKS_ROOM_START = 16
};

/* What comes next. */
enum state {
    AT_HEADER,
    AT_SECTION,
    AT_RECORD, /* in a RAM section */
    AT_LIST,   /* in the list of blocks */
    AT_FOOTER, /* behind a RAM section */
    AT_TAIL
};

enum footers { FOOTERS_UNKNOWN, FOOTERS_NO, FOOTERS_YES };

struct vmstate_decoder {
    const struct vmstate_sink *sink;
    void *cookie;
    enum state state;
    bool failed;
    bool has_config;
    bool may_have_sub; /* we are right behind CONFIGURATION */
    bool has_list;
    bool announced;      /* sink->blocks was called */
    bool has_pages_part; /* a PART or END section was there */
    bool without_vmdesc;
    enum section_type section; /* the RAM section we are in */
    enum footers footers;
    uint64_t pos;     /* in the stream, of the record that comes next */
    size_t need;      /* bytes the record has at least, known so far */
    struct buf carry; /* what has come of a record that is not whole yet */
    uint64_t head_bytes, tail_bytes;
    uint64_t list_left; /* bytes of RAM that the list has yet to name */
    size_t blocks_room;
    size_t block; /* of the last page, for CONTINUE; n_blocks: none */
    struct vmstate_ram ram;
    struct vmstate_names names;
    struct vmstate_ending ending;
    struct vmstate_config config;
};

/*
 * A step reads one record at the start of p.  If that is whole it sets `used`
 * to its length; else it sets d->need to more than `len` and leaves `used` 0.
 */
struct input {
    const uint8_t *p;
    size_t len;
    size_t used;
};

static __attribute__((format(printf, 4, 5))) int
refuse(const struct vmstate_decoder *d, enum err_code code, struct err *e,
       const char *fmt, ...)
{
    char what[ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    (void)err_set(e, code, "migration stream at byte %llu: %s",
                  (unsigned long long)d->pos, what);
    if (code == ERR_UNSUP && d->config.machine[0]) {
        CLEANUP(freep)
        char *shown = text_quote(d->config.machine, VMSTATE_NAME_MAX);
        return err_hint(e, "the machine type is %s", shown);
    }
    return -1;
}

static bool
is_short(struct vmstate_decoder *d, const struct input *in, size_t n)
{
    d->need = n;
    return in->len < n;
}

static int
take_head(struct vmstate_decoder *d, struct input *in, size_t n, struct err *e)
{
    d->head_bytes += n;
    if (d->head_bytes > VMSTATE_HEAD_MAX_BYTES)
        return refuse(d, ERR_LIMIT, e, "more than %d bytes before the RAM",
                      VMSTATE_HEAD_MAX_BYTES);
    in->used = n;
    return d->sink->head(d->cookie, in->p, n, e);
}

static int
read_header(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, STREAM_HEADER_BYTES))
        return 0;
    if (get_be32(in->p) != STREAM_MAGIC)
        return refuse(d, ERR_CORRUPT, e, "this is no migration stream");
    if (get_be32(in->p + 4) != STREAM_VERSION)
        return refuse(d, ERR_UNSUP, e, "format version %u, we know only %d",
                      get_be32(in->p + 4), STREAM_VERSION);
    d->state = AT_SECTION;
    return take_head(d, in, STREAM_HEADER_BYTES, e);
}

/* CONFIGURATION or a subsection of it. */
static int
read_config(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    struct err why = {0};
    int r = -1;

    if (in->p[0] == SECTION_SUB ? !d->may_have_sub
                                : d->pos != STREAM_HEADER_BYTES)
        return refuse(d, ERR_CORRUPT, e, "a configuration in the midst");
    if (in->p[0] == SECTION_SUB)
        r = vmstate_config_read_sub(&d->config, in->p, in->len, &d->need, &why);
    else
        r = vmstate_config_read(&d->config, in->p, in->len, &d->need, &why);
    if (r == -1)
        return refuse(d, why.code, e, "%s", why.msg);
    if (r == 0)
        return 0;
    d->has_config = true;
    d->may_have_sub = true;
    d->ram.page_bytes = d->config.page_bytes;
    return take_head(d, in, d->need, e);
}

/* START and FULL name their section.  Sets *out (owned by the caller), or
 * leaves it if the header is not whole. */
static void
section_name(struct vmstate_decoder *d, const struct input *in, char **out)
{
    if (is_short(d, in, SECTION_ID_BYTES + 1))
        return;
    size_t len = in->p[SECTION_ID_BYTES];
    if (!is_short(d, in, SECTION_ID_BYTES + 1 + len + SECTION_NUMBERS_BYTES))
        *out = xstrndup((const char *)in->p + SECTION_ID_BYTES + 1, len);
}

static int
read_start(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    CLEANUP(freep) char *name = NULL;

    section_name(d, in, &name);
    if (!name)
        return 0;
    if (strcmp(name, RAM_SECTION_NAME) != 0) {
        CLEANUP(freep) char *shown = text_quote(name, VMSTATE_NAME_MAX);
        return refuse(d, ERR_UNSUP, e,
                      "section \"%s\" is written in parts, like RAM; vmkeep "
                      "cannot save machines with it live",
                      shown);
    }
    if (d->has_list)
        return refuse(d, ERR_CORRUPT, e, "a second RAM section");
    const uint8_t *numbers = in->p + d->need - SECTION_NUMBERS_BYTES;
    d->ram.section_id = get_be32(in->p + 1);
    d->ram.instance_id = get_be32(numbers);
    d->ram.version_id = get_be32(numbers + 4);
    d->section = SECTION_START;
    d->state = AT_RECORD;
    in->used = d->need;
    return 0;
}

/* PART or END. */
static int
read_continued(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, SECTION_ID_BYTES))
        return 0;
    uint32_t id = get_be32(in->p + 1);
    if (!d->has_list || id != d->ram.section_id)
        return refuse(d, ERR_CORRUPT, e,
                      "more of section %u, which never began", id);
    d->section = in->p[0] == SECTION_END ? SECTION_END : SECTION_PART;
    if (d->ram.has_end || (d->ram.has_switchover && d->section == SECTION_PART))
        return refuse(d, ERR_CORRUPT, e, "more RAM after its end");
    d->has_pages_part = true;
    d->ram.has_end = d->section == SECTION_END;
    d->state = AT_RECORD;
    in->used = SECTION_ID_BYTES;
    return 0;
}

/* Of the commands only the one that savevm writes too. */
static int
read_command(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, COMMAND_BYTES))
        return 0;
    unsigned number = get_be16(in->p + 1);
    if (number != COMMAND_SWITCHOVER_START)
        return refuse(
            d, ERR_UNSUP, e,
            "a migration command (number %u): this is the stream of a "
            "migration to another host, not of a snapshot",
            number);
    if (get_be16(in->p + 3) != 0 || !d->has_list || d->ram.has_end ||
        d->ram.has_switchover)
        return refuse(d, ERR_CORRUPT, e, "a misplaced SWITCHOVER_START");
    d->ram.has_switchover = true;
    in->used = COMMAND_BYTES;
    return 0;
}

static int
read_tail(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    d->tail_bytes += in->len;
    if (d->head_bytes + d->tail_bytes > VMSTATE_TAIL_MAX_BYTES)
        return refuse(d, ERR_LIMIT, e, "more than %llu bytes of device state",
                      (unsigned long long)VMSTATE_TAIL_MAX_BYTES);
    vmstate_ending_add(&d->ending, in->p, in->len);
    in->used = in->len;
    return d->sink->tail(d->cookie, in->p, in->len, e);
}

/* FULL or EOF: the tail begins, if it may. */
static int
begin_tail(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (!d->has_pages_part && in->p[0] == SECTION_FULL) {
        /* The way of virtio-mem since 8.1 and others with "early setup".  Such
         * a section does not say where it ends and where the RAM goes on. */
        CLEANUP(freep) char *name = NULL;
        section_name(d, in, &name);
        if (!name)
            return 0;
        CLEANUP(freep) char *shown = text_quote(name, VMSTATE_NAME_MAX);
        return refuse(
            d, ERR_UNSUP, e,
            "section \"%s\" comes before the RAM pages; vmkeep cannot "
            "save machines with it live",
            shown);
    }
    if (!d->has_pages_part)
        return refuse(d, ERR_CORRUPT, e, "the end comes before the RAM pages");
    if (d->ram.has_footers) {
        /* It stays with the RAM, but the check of the end wants to see it. */
        static const uint8_t footer[SECTION_ID_BYTES] = {SECTION_FOOTER};
        vmstate_ending_add(&d->ending, footer, sizeof(footer));
    }
    d->state = AT_TAIL;
    return read_tail(d, in, e);
}

static int
read_section(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, 1))
        return 0;
    if (in->p[0] != SECTION_SUB)
        d->may_have_sub = false;
    switch (in->p[0]) {
    case SECTION_CONFIG:
    case SECTION_SUB:
        return read_config(d, in, e);
    case SECTION_START:
        return read_start(d, in, e);
    case SECTION_PART:
    case SECTION_END:
        return read_continued(d, in, e);
    case SECTION_FULL:
    case SECTION_EOF:
        return begin_tail(d, in, e);
    case SECTION_COMMAND:
        return read_command(d, in, e);
    default:
        return refuse(d, ERR_CORRUPT, e, "no section begins with 0x%02x",
                      in->p[0]);
    }
}

static int
end_list(struct vmstate_decoder *d, struct err *e)
{
    struct err why = {0};

    if (vmstate_ram_check(&d->ram, &why) == -1)
        return refuse(d, why.code, e, "%s", why.msg);
    if (vmstate_names_init(&d->names, &d->ram, e) == -1)
        return -1;
    d->has_list = true;
    d->block = d->ram.n_blocks;
    d->state = AT_RECORD;
    return 0;
}

static int
begin_list(struct vmstate_decoder *d, struct input *in, uint64_t total,
           struct err *e)
{
    if (d->has_list)
        return refuse(d, ERR_CORRUPT, e, "a second list of RAM blocks");
    if (total > VMSTATE_RAM_MAX_BYTES)
        return refuse(d, ERR_LIMIT, e, "%llu bytes of RAM, over the limit",
                      (unsigned long long)total);
    in->used = RAM_RECORD_BYTES;
    d->list_left = total;
    d->state = AT_LIST;
    return total == 0 ? end_list(d, e) : 0;
}

static int
add_block(struct vmstate_decoder *d, const uint8_t *name, size_t len,
          uint64_t used_bytes, struct err *e)
{
    struct vmstate_ram *ram = &d->ram;

    if (ram->n_blocks == VMSTATE_MAX_BLOCKS)
        return refuse(d, ERR_LIMIT, e, "more than %d RAM blocks",
                      VMSTATE_MAX_BLOCKS);
    if (memchr(name, '\0', len))
        return refuse(d, ERR_CORRUPT, e, "a RAM block's name has a NUL in it");
    if (used_bytes > d->list_left)
        return refuse(d, ERR_CORRUPT, e,
                      "the RAM blocks are larger than all RAM");
    if (ram->n_blocks == d->blocks_room) {
        d->blocks_room =
            d->blocks_room ? d->blocks_room * 2 : BLOCKS_ROOM_START;
        ram->blocks =
            xrealloc(ram->blocks, d->blocks_room * sizeof(ram->blocks[0]));
    }
    struct vmstate_block *b = &ram->blocks[ram->n_blocks++];
    memset(b, 0, sizeof(*b));
    memcpy(b->name, name, len);
    b->used_bytes = used_bytes;
    d->list_left -= used_bytes;
    return d->list_left == 0 ? end_list(d, e) : 0;
}

static int
read_list(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, 1) || is_short(d, in, 1 + (size_t)in->p[0] + 8))
        return 0;
    size_t len = in->p[0];
    in->used = 1 + len + 8;
    return add_block(d, in->p + 1, len, get_be64(in->p + 1 + len), e);
}

/* The block of the page that is named at p + RAM_RECORD_BYTES. */
static int
find_block(struct vmstate_decoder *d, const struct input *in, struct err *e)
{
    const uint8_t *name = in->p + RAM_RECORD_BYTES + 1;
    size_t len = name[-1];

    if (vmstate_names_find(&d->names, name, len, &d->block) == 1)
        return 0;
    CLEANUP(freep) char *text = xstrndup((const char *)name, len);
    CLEANUP(freep) char *shown = text_quote(text, VMSTATE_NAME_MAX);
    return refuse(d, ERR_CORRUPT, e,
                  "a page of RAM block \"%s\", which is not listed", shown);
}

static int
read_page(struct vmstate_decoder *d, struct input *in, unsigned flags,
          uint64_t offset, struct err *e)
{
    bool zero = (flags & RAM_ZERO) != 0;
    bool named = (flags & RAM_CONTINUE) == 0;
    size_t at = RAM_RECORD_BYTES;

    if (d->section == SECTION_START)
        return refuse(d, ERR_CORRUPT, e, "a page where the list of blocks is");
    if (named) {
        if (is_short(d, in, at + 1))
            return 0;
        at += 1 + (size_t)in->p[at];
    }
    if (is_short(d, in, at + (zero ? 1 : d->ram.page_bytes)))
        return 0;
    if (named && find_block(d, in, e) == -1)
        return -1;
    if (d->block == d->ram.n_blocks)
        return refuse(d, ERR_CORRUPT, e, "a page that names no RAM block");
    if (!range_inside(offset, d->ram.page_bytes,
                      d->ram.blocks[d->block].used_bytes)) {
        CLEANUP(freep)
        char *shown =
            text_quote(d->ram.blocks[d->block].name, VMSTATE_NAME_MAX);
        return refuse(d, ERR_CORRUPT, e,
                      "a page at 0x%llx of RAM block \"%s\", behind its end",
                      (unsigned long long)offset, shown);
    }
    if (zero && in->p[at] != 0)
        return refuse(d, ERR_UNSUP, e, "a page filled with 0x%02x", in->p[at]);
    in->used = d->need;
    return d->sink->page(d->cookie, d->block, offset, zero ? NULL : in->p + at,
                         e);
}

static int
refuse_flags(const struct vmstate_decoder *d, unsigned flags, struct err *e)
{
    static const struct {
        unsigned flag;
        const char *name, *why;
    } known[] = {
        {RAM_XBZRLE, "XBZRLE", "switch the capability xbzrle off"},
        {RAM_HOOK, "HOOK", "RDMA keeps RAM out of the stream"},
        {RAM_COMPRESS_PAGE, "COMPRESS_PAGE",
         "switch the capability compress off"},
        {RAM_MULTIFD_FLUSH, "MULTIFD_FLUSH",
         "switch the capability multifd off, it keeps RAM out of the stream"},
        {RAM_FULL, "FULL", "no QEMU known to vmkeep writes it"},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (flags & known[i].flag)
            return refuse(d, ERR_UNSUP, e, "RAM record %s (flags 0x%x): %s",
                          known[i].name, flags, known[i].why);
    return refuse(d, ERR_CORRUPT, e, "a RAM record with flags 0x%x", flags);
}

static int
end_ram_section(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (!d->has_list)
        return refuse(d, ERR_CORRUPT, e, "no list of RAM blocks");
    in->used = RAM_RECORD_BYTES;
    d->state = AT_FOOTER;
    return 0;
}

static int
read_record(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, RAM_RECORD_BYTES))
        return 0;
    uint64_t word = get_be64(in->p);
    unsigned flags = (unsigned)(word & (d->ram.page_bytes - 1));
    uint64_t high = word - flags;

    switch (flags & ~(unsigned)RAM_CONTINUE) {
    case RAM_PAGE:
    case RAM_ZERO:
        return read_page(d, in, flags, high, e);
    default:
        break;
    }
    if (flags == RAM_MEM_SIZE)
        return begin_list(d, in, high, e);
    if (flags == RAM_EOS && high == 0)
        return end_ram_section(d, in, e);
    return refuse_flags(d, flags, e);
}

static int
read_footer(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    if (is_short(d, in, 1))
        return 0;
    enum footers now = in->p[0] == SECTION_FOOTER ? FOOTERS_YES : FOOTERS_NO;
    if (d->footers != FOOTERS_UNKNOWN && d->footers != now)
        return refuse(d, ERR_CORRUPT, e,
                      "a section %s a footer, unlike the first",
                      now == FOOTERS_YES ? "with" : "without");
    if (now == FOOTERS_YES && is_short(d, in, SECTION_ID_BYTES))
        return 0;
    if (now == FOOTERS_YES && get_be32(in->p + 1) != d->ram.section_id)
        return refuse(d, ERR_CORRUPT, e, "the footer of section %u, not of %u",
                      get_be32(in->p + 1), d->ram.section_id);
    d->footers = now;
    d->ram.has_footers = now == FOOTERS_YES;
    d->state = AT_SECTION;
    if (!d->announced) {
        d->announced = true;
        if (d->sink->blocks(d->cookie, &d->ram, e) == -1)
            return -1;
    }
    if (now == FOOTERS_NO)
        return read_section(d, in, e);
    in->used = SECTION_ID_BYTES;
    return 0;
}

static int
step(struct vmstate_decoder *d, struct input *in, struct err *e)
{
    switch (d->state) {
    case AT_HEADER:
        return read_header(d, in, e);
    case AT_SECTION:
        return read_section(d, in, e);
    case AT_RECORD:
        return read_record(d, in, e);
    case AT_LIST:
        return read_list(d, in, e);
    case AT_FOOTER:
        return read_footer(d, in, e);
    case AT_TAIL:
        return read_tail(d, in, e);
    }
    return 0;
}

/* Adds to the record that was begun in an earlier push; *used of the bytes. */
static int
push_carried(struct vmstate_decoder *d, const uint8_t *p, size_t len,
             size_t *used, struct err *e)
{
    *used = (size_t)u64_min(len, d->need - d->carry.len);
    buf_add(&d->carry, p, *used);
    if (d->carry.len < d->need)
        return 0;
    struct input in = {.p = d->carry.p, .len = d->carry.len};
    if (step(d, &in, e) == -1)
        return -1;
    /* A step uses what it needed, which is all there is, or asks for more. */
    assert(in.used == 0 || in.used == d->carry.len);
    d->pos += in.used;
    if (in.used > 0)
        buf_reset(&d->carry);
    return 0;
}

static int
push(struct vmstate_decoder *d, const uint8_t *p, size_t len, struct err *e)
{
    while (len > 0) {
        struct input in = {.p = p, .len = len};
        if (d->carry.len > 0) {
            if (push_carried(d, p, len, &in.used, e) == -1)
                return -1;
        } else {
            if (step(d, &in, e) == -1)
                return -1;
            d->pos += in.used;
            if (in.used == 0) {
                buf_add(&d->carry, p, len);
                return buf_check(&d->carry, "a record of the stream", e);
            }
        }
        p += in.used;
        len -= in.used;
    }
    return 0;
}

int
vmstate_decoder_push(struct vmstate_decoder *d, const uint8_t *p, size_t len,
                     struct err *e)
{
    assert(!d->failed);
    int r = push(d, p, len, e);

    d->failed = r == -1;
    return r;
}

int
vmstate_decoder_end(struct vmstate_decoder *d, struct err *e)
{
    assert(!d->failed);
    if (d->state != AT_TAIL)
        return refuse(d, ERR_CORRUPT, e,
                      "it ends before the device state: it was cut short");
    bool old = !d->has_config && !d->ram.has_footers;
    return vmstate_ending_check(
        &d->ending, d->without_vmdesc || old ? ENDING_PLAIN : ENDING_VMDESC,
        d->ram.has_footers, e);
}

void
vmstate_decoder_without_vmdesc(struct vmstate_decoder *d)
{
    d->without_vmdesc = true;
}

const struct vmstate_ram *
vmstate_decoder_ram(const struct vmstate_decoder *d)
{
    return d->announced ? &d->ram : NULL;
}

struct vmstate_decoder *
vmstate_decoder_new(const struct vmstate_sink *sink, void *cookie,
                    uint32_t page_bytes)
{
    struct vmstate_decoder *d = xcalloc(1, sizeof(*d));

    assert(is_power_of_2(page_bytes) && page_bytes >= VMSTATE_PAGE_MIN_BYTES &&
           page_bytes <= VMSTATE_PAGE_MAX_BYTES);
    d->sink = sink;
    d->cookie = cookie;
    d->ram.page_bytes = d->config.page_bytes = page_bytes;
    d->carry = buf_of(RECORD_MAX_BYTES);
    return d;
}

void
vmstate_decoder_free(struct vmstate_decoder *d)
{
    if (!d)
        return;
    buf_done(&d->carry);
    free(d->ram.blocks);
    free(d);
}

void
vmstate_decoder_freep(struct vmstate_decoder **d)
{
    vmstate_decoder_free(*d);
}
