/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness: the program of the test guest, which makes RAM and disks prove each
 * other.
 *
 * Each step has a number, seq.  It writes one record of 4 KiB to every writable
 * disk (O_DIRECT, then fdatasync) and one to a table in RAM, each at a slot
 * that is derived from seq, and remembers in RAM which step was the last to
 * write each slot, and when (the stamp, which makes a step done again after a
 * restore another step).  What is in a slot follows from that to the last bit.
 * Then it reads back:
 *   - the slot that is about to be overwritten: finds disks newer than the RAM,
 *   - what the step before wrote: finds disks older than the RAM,
 *   - what a random earlier step wrote.
 * A machine whose disks and RAM are of two instants therefore fails within a
 * step or two.
 *
 * It prints, each on one line:
 *   witness start run=R ram_mib=M disks=vda:SLOTS,vdb:SLOTS
 *   witness seq=N max_gap_ms=G stopped_ms=S
 *       once a second or as asked.  G is the longest time between two steps
 *       since the last such line, without the rest they were asked to take, by
 *       the guest's own clock; S the time that this clock itself stood still,
 *       and the machine with it (hostclock.h), as far as it became known since.
 *       Once anything was wrong, " mismatches=A ioerrors=B" too.
 *   MISMATCH disk=vda slot=S want seq=A found seq=B
 *   MISMATCH ram slot=S want seq=A found seq=B
 *   MISMATCH dirty page=P want pass=A found pass=B
 *   IOERROR disk=vda slot=S CALL: why
 * "seq=none" is a slot without a record of this run, "seq=0" one that RAM says
 * no step has written.  Of the last four at most BAD_LINES a second are shown.
 *
 * Kernel command line:
 *   witness.key=HEX      makes two guests differ (1)
 *   witness.ram=MIB      size of the table in RAM (64)
 *   witness.region=O,L   the bytes of each disk that are ours, with the
 *                        suffixes k, M, G; the second half of the disk if not
 *                        given: what is before it stays as it is
 *   witness.dirty=MIB    a second thread rewrites that much RAM without rest
 *   witness.pace=MS      a step begins no sooner than so long after the one
 *                        before, and the machine rests between them; without it
 *                        there is no rest
 *   witness.report=MS    how often it prints how far it is (1000)
 *
 * It never ends, and neither grows nor slows down.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/aio_abi.h>
#include <linux/fs.h>

#include "hostclock.h"

enum {
    RECORD_BYTES = 4096,
    RECORD_WORDS = RECORD_BYTES / 8,
    MAX_DISKS = 26,
    MAX_BATCH = 3 * MAX_DISKS,
    MAX_SLOTS = 1 << 18, /* of a disk: larger regions have gaps */
    MIN_SLOTS = 16,
    RAM_PLACE = 0xff,
    BAD_LINES = 10,
    DEFAULT_RAM_MIB = 64
};

#define MAGIC UINT64_C(0x7373656e74697776)
#define NANO UINT64_C(1000000000)
#define MILLI_NS UINT64_C(1000000)
#define NAP_NS (10 * MILLI_NS)

/* What a slot holds: the step that wrote it last; seq 0 if none did. */
struct mark {
    uint64_t seq;
    uint64_t stamp;
};
#define SEQ_UNKNOWN UINT64_MAX /* a write failed: anything may be there */

struct record {
    uint64_t magic;
    uint64_t run;
    uint64_t place; /* which disk (or RAM) and slot */
    uint64_t seq;
    uint64_t stamp;
    uint64_t noise[RECORD_WORDS - 5];
};

/* A disk, or the RAM. */
struct place {
    char name[16];
    unsigned number;
    int fd; /* -1: the RAM */
    uint64_t offset;
    uint64_t stride_bytes;
    uint64_t n_slots;
    struct mark *marks;
    struct record *table; /* of the RAM */
};

struct witness {
    uint64_t key;
    uint64_t run; /* random: tells the records of this run from older ones */
    uint64_t seq;
    uint64_t region_offset, region_bytes; /* 0, 0: the second half */
    uint64_t ram_mib, dirty_mib;
    uint64_t pace_ns, report_ns;
    struct place ram;
    struct place disks[MAX_DISKS];
    unsigned n_disks;
    struct record wanted; /* scratch */
    uint64_t mismatches, ioerrors;
    unsigned bad_lines;
    bool has_hostclock;
    struct hostclock hostclock;
};

static struct witness W;

static uint64_t
mix(uint64_t a, uint64_t b)
{
    uint64_t x = a + b * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* ---- output ----------------------------------------------------------- */

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
say(const char *fmt, ...)
{
    char line[512];
    va_list ap;
    int n = 0;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n > sizeof(line) - 2)
        n = sizeof(line) - 2;
    line[n] = '\n';
    /* One write a line: the dirtier says things too. */
    if (write(STDOUT_FILENO, line, (size_t)n + 1) < 0)
        return;
}

_Noreturn static void
die(const char *what)
{
    say("IOERROR %s: %s", what, strerror(errno));
    for (;;) /* as init we may not leave */
        pause();
}

/* May another MISMATCH or IOERROR line be printed in this second? */
static bool
may_complain(void)
{
    return __atomic_fetch_add(&W.bad_lines, 1, __ATOMIC_RELAXED) < BAD_LINES;
}

static void
mismatch(const struct place *p, uint64_t slot, uint64_t want, const char *found)
{
    __atomic_fetch_add(&W.mismatches, 1, __ATOMIC_RELAXED);
    if (!may_complain())
        return;
    say("MISMATCH %s%s slot=%" PRIu64 " want seq=%" PRIu64 " found seq=%s",
        p->fd < 0 ? "" : "disk=", p->name, slot, want, found);
}

static void
io_failed(const struct place *p, uint64_t slot, const char *call, int why)
{
    W.ioerrors++;
    if (may_complain())
        say("IOERROR disk=%s slot=%" PRIu64 " %s: %s", p->name, slot, call,
            strerror(why));
}

static void *
map(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("RAM for the tables");
    return p;
}

/* ---- records ---------------------------------------------------------- */

static uint64_t
place_id(const struct place *p, uint64_t slot)
{
    return (uint64_t)p->number << 56 | slot;
}

static void
record_fill(struct record *r, const struct place *p, uint64_t slot,
            const struct mark *m)
{
    uint64_t x = 0;

    r->magic = MAGIC;
    r->run = W.run;
    r->place = place_id(p, slot);
    r->seq = m->seq;
    r->stamp = m->stamp;
    x = mix(mix(mix(W.key ^ r->run, r->place), r->seq), r->stamp);
    for (size_t i = 0; i < RECORD_WORDS - 5; i++) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        r->noise[i] = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    }
}

/* Compare what is in a slot with what must be. */
static void
record_check(const struct record *r, const struct place *p, uint64_t slot)
{
    const struct mark *m = &p->marks[slot];
    bool ours =
        r->magic == MAGIC && r->run == W.run && r->place == place_id(p, slot);
    char found[96] = "none";

    if (m->seq == SEQ_UNKNOWN)
        return;
    if (m->seq == 0 && p->fd >= 0) {
        if (!ours)
            return; /* whatever was on the disk before us */
    } else {
        record_fill(&W.wanted, p, slot, m);
        if (memcmp(&W.wanted, r, sizeof(*r)) == 0)
            return;
    }
    if (ours && r->seq == m->seq && r->stamp == m->stamp)
        snprintf(found, sizeof(found), "%" PRIu64 " (torn)", r->seq);
    else if (ours && r->seq == m->seq)
        snprintf(found, sizeof(found), "%" PRIu64 " (of another past)", r->seq);
    else if (ours)
        snprintf(found, sizeof(found), "%" PRIu64, r->seq);
    mismatch(p, slot, m->seq, found);
}

static uint64_t
slot_of(const struct place *p, uint64_t seq)
{
    return mix(mix(W.key, p->number + 1), seq) % p->n_slots;
}

/* ---- disk I/O --------------------------------------------------------- */

/* All that a step has to read, and then all that it has to write, is under way
 * at once: an emulated machine needs long for each request, and hardly longer
 * for several. */
struct batch {
    aio_context_t aio;
    struct iocb cbs[MAX_BATCH];
    struct iocb *todo[MAX_BATCH];
    struct place *places[MAX_BATCH];
    uint64_t slots[MAX_BATCH];
    struct record *buffers;
    unsigned n;
};

static struct batch B;

static void
batch_init(void)
{
    B.buffers = map(MAX_BATCH * sizeof(*B.buffers));
    if (syscall(SYS_io_setup, MAX_BATCH, &B.aio) != 0)
        die("io_setup");
}

static struct record *
batch_add(unsigned opcode, struct place *p, uint64_t slot)
{
    unsigned i = B.n++;

    B.places[i] = p;
    B.slots[i] = slot;
    B.todo[i] = &B.cbs[i];
    B.cbs[i] = (struct iocb){
        .aio_data = i,
        .aio_lio_opcode = (uint16_t)opcode,
        .aio_fildes = (uint32_t)p->fd,
        .aio_buf = (uintptr_t)&B.buffers[i],
        .aio_nbytes = RECORD_BYTES,
        .aio_offset = (int64_t)(p->offset + slot * p->stride_bytes),
    };
    return &B.buffers[i];
}

/* Does it all, and calls done for each request that went well. */
static void
batch_run(const char *call, void (*done)(unsigned i))
{
    struct io_event events[MAX_BATCH];
    unsigned n_sent = 0;

    while (n_sent < B.n) {
        long n = syscall(SYS_io_submit, B.aio, (long)(B.n - n_sent),
                         B.todo + n_sent);
        if (n > 0) {
            n_sent += (unsigned)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            die("io_submit");
        }
    }
    for (unsigned n_done = 0; n_done < B.n;) {
        long n = syscall(SYS_io_getevents, B.aio, 1L, (long)(B.n - n_done),
                         events, NULL);
        if (n < 0 && errno != EINTR)
            die("io_getevents");
        for (long k = 0; k < n; k++, n_done++) {
            unsigned i = (unsigned)events[k].data;
            if (events[k].res == RECORD_BYTES)
                done(i);
            else
                io_failed(B.places[i], B.slots[i], call,
                          events[k].res < 0 ? (int)-events[k].res : EIO);
        }
    }
    B.n = 0;
}

static void
read_done(unsigned i)
{
    record_check(&B.buffers[i], B.places[i], B.slots[i]);
}

static void
write_done(unsigned i)
{
    B.places[i]->marks[B.slots[i]] =
        (struct mark){.seq = B.buffers[i].seq, .stamp = B.buffers[i].stamp};
}

/* ---- steps ------------------------------------------------------------ */

/* A step from the past, each order of magnitude of age as likely as another. */
static uint64_t
earlier_seq(uint64_t chance)
{
    unsigned orders = 64 - (unsigned)__builtin_clzll(W.seq);
    uint64_t age = (chance >> 8) & ((UINT64_C(1) << (chance % orders)) - 1);

    return W.seq - 1 - (age < W.seq - 1 ? age : 0);
}

static void
slot_check(struct place *p, uint64_t slot)
{
    if (p->fd < 0)
        record_check(&p->table[slot], p, slot);
    else
        batch_add(IOCB_CMD_PREAD, p, slot);
}

static void
place_check(struct place *p, const struct mark *m)
{
    slot_check(p, slot_of(p, m->seq));
    if (m->seq == 1)
        return;
    slot_check(p, slot_of(p, m->seq - 1));
    slot_check(p, slot_of(p, earlier_seq(mix(m->stamp, p->number))));
}

static void
place_write(struct place *p, const struct mark *m)
{
    uint64_t slot = slot_of(p, m->seq);

    if (p->fd < 0) {
        record_fill(&p->table[slot], p, slot, m);
        p->marks[slot] = *m;
    } else {
        record_fill(batch_add(IOCB_CMD_PWRITE, p, slot), p, slot, m);
        p->marks[slot].seq = SEQ_UNKNOWN; /* until it is done */
    }
}

static void
step(void)
{
    struct mark m = {.seq = ++W.seq, .stamp = now_ns()};

    for (unsigned i = 0; i < W.n_disks; i++)
        place_check(&W.disks[i], &m);
    place_check(&W.ram, &m);
    batch_run("read", read_done);
    for (unsigned i = 0; i < W.n_disks; i++)
        place_write(&W.disks[i], &m);
    place_write(&W.ram, &m);
    batch_run("write", write_done);
}

static void
report(uint64_t max_gap_ns)
{
    uint64_t mismatches = __atomic_load_n(&W.mismatches, __ATOMIC_RELAXED);
    char stopped[48] = "";
    char bad[96] = "";

    if (W.has_hostclock)
        snprintf(stopped, sizeof(stopped), " stopped_ms=%.1f",
                 (double)(hostclock_take(&W.hostclock) / 100000) / 10);
    if (mismatches != 0 || W.ioerrors != 0)
        snprintf(bad, sizeof(bad), " mismatches=%" PRIu64 " ioerrors=%" PRIu64,
                 mismatches, W.ioerrors);
    say("witness seq=%" PRIu64 " max_gap_ms=%.1f%s%s", W.seq,
        (double)max_gap_ns / 1e6, stopped, bad);
    __atomic_store_n(&W.bad_lines, 0, __ATOMIC_RELAXED);
}

/* How long it took. */
static uint64_t
await_second(void)
{
    uint64_t began = now_ns();

    if (!W.has_hostclock)
        return 0;
    hostclock_poll(&W.hostclock);
    return now_ns() - began;
}

/* Rests until the next step is due; how long that was meant to take.  The
 * host's clock is looked at often, and a second that begins is awaited. */
static uint64_t
rest(uint64_t until)
{
    uint64_t meant = 0;

    for (;;) {
        uint64_t awake = until, now = now_ns();
        uint64_t edge = W.has_hostclock ? hostclock_next(&W.hostclock) : 0;
        struct timespec t = {0};

        if (now >= until)
            return meant;
        if (awake > now + NAP_NS)
            awake = now + NAP_NS;
        if (edge > now && edge < awake)
            awake = edge;
        t.tv_sec = (time_t)(awake / NANO);
        t.tv_nsec = (long)(awake % NANO);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        meant += awake - now;
        if (awake < until)
            meant += await_second();
    }
}

_Noreturn static void
run(void)
{
    uint64_t last = now_ns();
    uint64_t next_report = last + W.report_ns;
    uint64_t max_gap = 0;

    for (;;) {
        uint64_t began = now_ns();

        step();
        uint64_t now = now_ns();
        if (now - last > max_gap)
            max_gap = now - last;
        last = now;
        if (now >= next_report) {
            report(max_gap);
            max_gap = 0;
            /* Not the very next second if a pause made us late. */
            next_report +=
                ((now - next_report) / W.report_ns + 1) * W.report_ns;
        }
        /* What we wait for here is no gap; to wake up too late is one. */
        last += await_second();
        last += rest(began + W.pace_ns);
    }
}

/* ---- the dirtier ------------------------------------------------------ */

/* Goes round and round its pages; each holds the number of its last pass at
 * both ends. */
static void *
dirtier(void *arg)
{
    size_t n_pages = (size_t)W.dirty_mib << 8;
    size_t last = RECORD_WORDS - 1;
    uint64_t *pages = arg;

    /* The steps go first where there is one CPU for both. */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    for (uint64_t pass = 1;; pass++) {
        for (size_t i = 0; i < n_pages; i++) {
            uint64_t *page = pages + i * RECORD_WORDS;
            uint64_t want = pass == 1 ? 0 : mix(pass - 1, i);

            if (page[0] != (pass == 1 ? 0 : pass - 1) || page[last] != want) {
                __atomic_fetch_add(&W.mismatches, 1, __ATOMIC_RELAXED);
                if (may_complain())
                    say("MISMATCH dirty page=%zu want pass=%" PRIu64
                        " found pass=%" PRIu64,
                        i, pass - 1, page[0]);
            }
            page[0] = pass;
            page[last] = mix(pass, i);
        }
    }
    return NULL;
}

/* ---- start ------------------------------------------------------------ */

static uint64_t
parse_size(const char *s, char **end)
{
    uint64_t v = strtoull(s, end, 0);
    static const char units[] = "kMG";
    const char *u = **end == '\0' ? NULL : strchr(units, **end);

    if (u == NULL)
        return v;
    ++*end;
    return v << (10 * (u - units + 1));
}

static void
read_options(const char *path)
{
    char line[4096] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    char *rest = line;
    char *end = NULL;

    if (n < 0)
        die(path);
    close(fd);
    W.key = 1;
    W.ram_mib = DEFAULT_RAM_MIB;
    W.report_ns = NANO;
    for (char *w; (w = strsep(&rest, " \n")) != NULL;) {
        if (strncmp(w, "witness.key=", 12) == 0)
            W.key = strtoull(w + 12, NULL, 16);
        else if (strncmp(w, "witness.ram=", 12) == 0)
            W.ram_mib = strtoull(w + 12, NULL, 0);
        else if (strncmp(w, "witness.dirty=", 14) == 0)
            W.dirty_mib = strtoull(w + 14, NULL, 0);
        else if (strncmp(w, "witness.pace=", 13) == 0)
            W.pace_ns = strtoull(w + 13, NULL, 0) * MILLI_NS;
        else if (strncmp(w, "witness.report=", 15) == 0)
            W.report_ns = strtoull(w + 15, NULL, 0) * MILLI_NS;
        else if (strncmp(w, "witness.region=", 15) == 0) {
            W.region_offset = parse_size(w + 15, &end);
            if (*end == ',')
                W.region_bytes = parse_size(end + 1, &end);
            if (*end != '\0' || W.region_bytes == 0)
                say("IOERROR witness.region is not OFFSET,LENGTH: %s", w + 15);
        } else if (strncmp(w, "witness.", 8) == 0)
            say("IOERROR no such option: %s", w);
    }
    if (W.ram_mib == 0)
        W.ram_mib = DEFAULT_RAM_MIB;
    if (W.report_ns == 0)
        W.report_ns = NANO;
}

static void
ram_init(struct place *p)
{
    snprintf(p->name, sizeof(p->name), "ram");
    p->number = RAM_PLACE;
    p->fd = -1;
    p->n_slots = (W.ram_mib << 20) / RECORD_BYTES;
    p->marks = map(p->n_slots * sizeof(*p->marks));
    p->table = map(W.ram_mib << 20);
    for (uint64_t i = 0; i < p->n_slots; i++)
        record_fill(&p->table[i], p, i, &p->marks[i]);
}

/* Opens the disk `name`; false if it is none for us. */
static bool
disk_init(struct place *p, const char *name, unsigned number)
{
    uint64_t size = 0, offset = W.region_offset, len = W.region_bytes;
    char path[sizeof("/dev/") + NAME_MAX];
    int read_only = 0;

    snprintf(path, sizeof(path), "/dev/%s", name);
    snprintf(p->name, sizeof(p->name), "%.15s", name);
    p->number = number;
    /* O_DSYNC: a write is done when the disk has flushed it. */
    p->fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (p->fd < 0) /* read-only disks do not open for writing */
        return false;
    if (ioctl(p->fd, BLKGETSIZE64, &size) != 0 ||
        ioctl(p->fd, BLKROGET, &read_only) != 0)
        die(path);
    if (len == 0) {
        offset = size / 2 / RECORD_BYTES * RECORD_BYTES;
        len = size - offset;
    }
    p->offset = offset / RECORD_BYTES * RECORD_BYTES;
    if (p->offset < size && len > size - p->offset)
        len = size - p->offset;
    p->n_slots = len / RECORD_BYTES;
    if (read_only || p->offset >= size || p->n_slots < MIN_SLOTS) {
        if (!read_only)
            say("witness skips disk=%s: too small", name);
        close(p->fd);
        return false;
    }
    if (p->n_slots > MAX_SLOTS)
        p->n_slots = MAX_SLOTS;
    p->stride_bytes = len / p->n_slots / RECORD_BYTES * RECORD_BYTES;
    p->marks = map(p->n_slots * sizeof(*p->marks));
    return true;
}

static int
is_disk(const struct dirent *d)
{
    return strncmp(d->d_name, "vd", 2) == 0 || strncmp(d->d_name, "sd", 2) == 0;
}

static void
disks_init(const char *folder)
{
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_disk, alphasort);

    for (int i = 0; i < n; i++) {
        if (W.n_disks < MAX_DISKS &&
            disk_init(&W.disks[W.n_disks], names[i]->d_name, W.n_disks))
            W.n_disks++;
        free(names[i]);
    }
    free(names);
}

static void
say_start(void)
{
    char disks[MAX_DISKS * 32] = "";
    size_t len = 0;

    for (unsigned i = 0; i < W.n_disks; i++)
        len += (size_t)snprintf(disks + len, sizeof(disks) - len,
                                "%s%s:%" PRIu64, i > 0 ? "," : "",
                                W.disks[i].name, W.disks[i].n_slots);
    say("witness start run=%016" PRIx64 " ram_mib=%" PRIu64 " disks=%s", W.run,
        W.ram_mib, W.n_disks > 0 ? disks : "none");
}

int
main(void)
{
    pthread_t thread;
    struct timespec wall = {0};

    read_options("/proc/cmdline");
    /* Early in a boot there is little chance in the kernel's pool: the host's
     * clock makes up for it. */
    if (getrandom(&W.run, sizeof(W.run), GRND_INSECURE) < 0)
        W.run = 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    W.run ^= mix((uint64_t)wall.tv_sec, now_ns());
    W.has_hostclock = hostclock_init(&W.hostclock);
    batch_init();
    ram_init(&W.ram);
    disks_init("/sys/block");
    say_start();
    if (W.dirty_mib > 0 &&
        pthread_create(&thread, NULL, dirtier, map(W.dirty_mib << 20)) != 0)
        die("the dirtier's thread");
    run();
}
