/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file, in units of 4096 bytes, each encrypted under its own number:
 *     [0, STATE_UNITS)     the state, from the start
 *     [STATE_UNITS, ...)   the RAM blocks, one behind the other
 */
#include "capture/ramspool.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/spool.h"
#include "vmstate/vmstate.h"

enum { RUN_UNITS = 64 /* pages written at once, if they follow each other */ };

#define UNIT RAMSPOOL_UNIT_BYTES
#define STATE_MAX_BYTES (VMSTATE_TAIL_MAX_BYTES + VMSTATE_HEAD_MAX_BYTES)
#define STATE_UNITS (STATE_MAX_BYTES / UNIT + 1024)

enum { FILE_FD, SHARED_FD, MAP_FD };

/* Both processes run this very program, so a struct may be shared as it is. */
struct shared {
    uint8_t key[SPOOL_KEY_BYTES];
    _Atomic uint64_t stream_bytes;
    _Atomic bool complete;
    uint64_t state_bytes;
    uint32_t page_bytes;
    uint32_t n_blocks;
    struct {
        char name[VMSTATE_NAME_MAX + 1];
        uint64_t bytes;
        uint64_t first_unit; /* in the map */
    } blocks[VMSTATE_MAX_BLOCKS];
    uint64_t ram_units;
    struct err why; /* it failed */
};

/* Consecutive units that wait to be written together. */
struct run {
    uint64_t first; /* unit in the file */
    size_t n;
    uint8_t bytes[RUN_UNITS * UNIT];
};

struct ramspool {
    int fds[RAMSPOOL_FDS];
    struct shared *sh;
    struct spool_cipher *cipher;
    _Atomic uint64_t *map; /* one bit a unit of RAM: data; NULL until known */
    size_t map_bytes;
    struct run ram;
    uint8_t state[UNIT]; /* the state's last unit, not full yet */
    size_t state_len;
};

/* ---- making it -------------------------------------------------------- */

static int
map_shared(int fd, size_t len, void **out, struct err *e)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        return err_set_errno(e, ERR_LIMIT, "cannot map %zu bytes", len);
    *out = p;
    return 0;
}

static int
make_memfd(const char *name, int *out, struct err *e)
{
    *out = memfd_create(name, MFD_CLOEXEC);
    if (*out == -1)
        return err_set_errno(e, ERR_IO, "cannot make shared memory");
    return 0;
}

static struct ramspool *
new_spool(void)
{
    struct ramspool *s = xcalloc(1, sizeof(*s));

    for (size_t i = 0; i < RAMSPOOL_FDS; i++)
        s->fds[i] = -1;
    return s;
}

int
ramspool_create(const char *dir, struct ramspool **out, struct err *e)
{
    CLEANUP(ramspool_freep) struct ramspool *s = new_spool();
    void *sh = NULL;

    if (file_nameless(dir, 0, &s->fds[FILE_FD], e) == -1 ||
        make_memfd("vmkeep-spool", &s->fds[SHARED_FD], e) == -1 ||
        make_memfd("vmkeep-map", &s->fds[MAP_FD], e) == -1)
        return -1;
    if (ftruncate(s->fds[SHARED_FD], sizeof(struct shared)) == -1)
        return err_set_errno(e, ERR_LIMIT, "cannot size shared memory");
    if (map_shared(s->fds[SHARED_FD], sizeof(struct shared), &sh, e) == -1)
        return -1;
    s->sh = sh;
    rand_bytes(s->sh->key, sizeof(s->sh->key));
    s->cipher = spool_cipher_of_key(s->sh->key);
    *out = STEAL(s);
    return 0;
}

int
ramspool_attach(const int fds[RAMSPOOL_FDS], struct ramspool **out,
                struct err *e)
{
    CLEANUP(ramspool_freep) struct ramspool *s = new_spool();
    void *sh = NULL;

    memcpy(s->fds, fds, sizeof(s->fds));
    if (map_shared(fds[SHARED_FD], sizeof(struct shared), &sh, e) == -1)
        return -1;
    s->sh = sh;
    s->cipher = spool_cipher_of_key(s->sh->key);
    *out = STEAL(s);
    return 0;
}

void
ramspool_free(struct ramspool *s)
{
    if (!s)
        return;
    spool_cipher_free(s->cipher);
    if (s->map)
        (void)munmap(s->map, s->map_bytes);
    if (s->sh)
        (void)munmap(s->sh, sizeof(*s->sh));
    for (size_t i = 0; i < RAMSPOOL_FDS; i++)
        fd_close(&s->fds[i]);
    free(s);
}

void
ramspool_freep(struct ramspool **s)
{
    ramspool_free(*s);
}

void
ramspool_fds(const struct ramspool *s, int out[RAMSPOOL_FDS])
{
    memcpy(out, s->fds, sizeof(s->fds));
}

/* ---- writing ----------------------------------------------------------- */

static int
open_map(struct ramspool *s, struct err *e)
{
    void *map = NULL;

    s->map_bytes = round_up(div_up(s->sh->ram_units + 1, 8), 8);
    if (map_shared(s->fds[MAP_FD], s->map_bytes, &map, e) == -1)
        return -1;
    s->map = map;
    return 0;
}

int
ramspool_set_blocks(struct ramspool *s, const struct vmstate_ram *ram,
                    struct err *e)
{
    uint64_t unit = 0;

    assert(!s->map && ram->n_blocks <= VMSTATE_MAX_BLOCKS);
    if (ram->page_bytes % UNIT != 0)
        return err_set(e, ERR_UNSUP, "guest pages of %u bytes",
                       ram->page_bytes);
    s->sh->page_bytes = ram->page_bytes;
    s->sh->n_blocks = (uint32_t)ram->n_blocks;
    for (size_t i = 0; i < ram->n_blocks; i++) {
        memcpy(s->sh->blocks[i].name, ram->blocks[i].name,
               sizeof(s->sh->blocks[i].name));
        s->sh->blocks[i].bytes = ram->blocks[i].used_bytes;
        s->sh->blocks[i].first_unit = unit;
        unit += div_up(ram->blocks[i].used_bytes, UNIT);
    }
    s->sh->ram_units = unit;
    if (ftruncate(s->fds[MAP_FD], (off_t)round_up(div_up(unit + 1, 8), 8)) ==
        -1)
        return err_set_errno(e, ERR_LIMIT, "cannot size the page map");
    return open_map(s, e);
}

static int
flush_run(struct ramspool *s, struct err *e)
{
    struct run *r = &s->ram;

    if (r->n == 0)
        return 0;
    int rc = fd_pwrite(s->fds[FILE_FD], r->bytes, r->n * UNIT, r->first * UNIT,
                       "the RAM spool", e);
    r->n = 0;
    return rc;
}

static int
put_unit(struct ramspool *s, uint64_t ram_unit, const uint8_t *data,
         struct err *e)
{
    struct run *r = &s->ram;
    uint64_t unit = STATE_UNITS + ram_unit;

    if (r->n > 0 && (unit != r->first + r->n || r->n == RUN_UNITS) &&
        flush_run(s, e) == -1)
        return -1;
    if (r->n == 0)
        r->first = unit;
    spool_encrypt(s->cipher, unit, data, r->bytes + r->n * UNIT);
    r->n++;
    s->map[ram_unit / 64] |= UINT64_C(1) << ram_unit % 64;
    return 0;
}

int
ramspool_put_page(struct ramspool *s, size_t block, uint64_t offset,
                  const uint8_t *data, struct err *e)
{
    assert(s->map && block < s->sh->n_blocks && offset % UNIT == 0);
    uint64_t unit = s->sh->blocks[block].first_unit + offset / UNIT;

    for (uint32_t done = 0; done < s->sh->page_bytes; done += UNIT, unit++) {
        if (data && !bytes_are_zero(data + done, UNIT)) {
            if (put_unit(s, unit, data + done, e) == -1)
                return -1;
        } else { /* also a page that came before as data */
            s->map[unit / 64] &= ~(UINT64_C(1) << unit % 64);
        }
    }
    return 0;
}

static int
flush_state(struct ramspool *s, struct err *e)
{
    uint8_t sealed[UNIT];
    uint64_t unit = s->sh->state_bytes / UNIT;

    if (s->sh->state_bytes + s->state_len > STATE_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "the device state is larger than %llu",
                       (unsigned long long)STATE_MAX_BYTES);
    spool_encrypt(s->cipher, unit, s->state, sealed);
    if (fd_pwrite(s->fds[FILE_FD], sealed, UNIT, unit * UNIT, "the RAM spool",
                  e) == -1)
        return -1;
    s->sh->state_bytes += s->state_len;
    s->state_len = 0;
    return 0;
}

int
ramspool_put_state(struct ramspool *s, const uint8_t *p, size_t len,
                   struct err *e)
{
    while (len > 0) {
        size_t n = u64_min(len, UNIT - s->state_len);
        memcpy(s->state + s->state_len, p, n);
        s->state_len += n;
        p += n;
        len -= n;
        if (s->state_len == UNIT && flush_state(s, e) == -1)
            return -1;
    }
    return 0;
}

int
ramspool_finish(struct ramspool *s, struct err *e)
{
    if (flush_run(s, e) == -1)
        return -1;
    if (s->state_len > 0 && flush_state(s, e) == -1)
        return -1;
    atomic_store(&s->sh->complete, true);
    return 0;
}

void
ramspool_fail(struct ramspool *s, const struct err *why)
{
    s->sh->why = *why;
}

void
ramspool_count(struct ramspool *s, uint64_t stream_bytes)
{
    atomic_fetch_add(&s->sh->stream_bytes, stream_bytes);
}

/* ---- reading ----------------------------------------------------------- */

uint64_t
ramspool_stream_bytes(const struct ramspool *s)
{
    return atomic_load(&s->sh->stream_bytes);
}

int
ramspool_open_result(struct ramspool *s, struct err *e)
{
    if (s->sh->why.code != ERR_OK) {
        *e = s->sh->why;
        return err_wrap(e, "RAM stream");
    }
    if (!atomic_load(&s->sh->complete))
        return err_set(e, ERR_IO, "RAM stream: the drainer has died");
    return s->map ? 0 : open_map(s, e);
}

size_t
ramspool_blocks(const struct ramspool *s)
{
    return s->sh->n_blocks;
}

const char *
ramspool_block_name(const struct ramspool *s, size_t block)
{
    return s->sh->blocks[block].name;
}

uint64_t
ramspool_block_bytes(const struct ramspool *s, size_t block)
{
    return s->sh->blocks[block].bytes;
}

/* The first unit of [unit, end) whose bit is `want`, or end. */
static uint64_t
find_bit(const struct ramspool *s, uint64_t unit, uint64_t end, bool want)
{
    while (unit < end) {
        uint64_t word = s->map[unit / 64];
        word = (want ? word : ~word) >> unit % 64;
        if (word)
            return u64_min(end, unit + (uint64_t)__builtin_ctzll(word));
        unit = (unit / 64 + 1) * 64;
    }
    return end;
}

static uint64_t
find_data(const struct ramspool *s, size_t block, uint64_t from, bool want)
{
    uint64_t first = s->sh->blocks[block].first_unit;
    uint64_t bytes = s->sh->blocks[block].bytes;
    uint64_t at =
        find_bit(s, first + from / UNIT, first + div_up(bytes, UNIT), want);

    return u64_min(bytes, (at - first) * UNIT);
}

uint64_t
ramspool_next_data(const struct ramspool *s, size_t block, uint64_t from)
{
    return find_data(s, block, from, true);
}

uint64_t
ramspool_data_end(const struct ramspool *s, size_t block, uint64_t from)
{
    return find_data(s, block, from, false);
}

static int
read_units(struct ramspool *s, uint64_t unit, uint8_t *out, size_t len,
           struct err *e)
{
    size_t whole = len / UNIT * UNIT;
    uint8_t last[UNIT];

    if (fd_pread(s->fds[FILE_FD], out, whole, unit * UNIT, "the RAM spool",
                 e) == -1)
        return -1;
    for (size_t at = 0; at < whole; at += UNIT)
        spool_decrypt(s->cipher, unit++, out + at, out + at);
    if (whole == len)
        return 0;
    if (fd_pread(s->fds[FILE_FD], last, UNIT, unit * UNIT, "the RAM spool",
                 e) == -1)
        return -1;
    spool_decrypt(s->cipher, unit, last, last);
    memcpy(out + whole, last, len - whole);
    return 0;
}

int
ramspool_read(struct ramspool *s, size_t block, uint64_t offset, uint8_t *out,
              size_t len, struct err *e)
{
    return read_units(
        s, STATE_UNITS + s->sh->blocks[block].first_unit + offset / UNIT, out,
        len, e);
}

uint64_t
ramspool_state_bytes(const struct ramspool *s)
{
    return s->sh->state_bytes;
}

int
ramspool_read_state(struct ramspool *s, uint64_t offset, uint8_t *out,
                    size_t len, struct err *e)
{
    return read_units(s, offset / UNIT, out, len, e);
}
