/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer: writes to a disk at random places, for measuring (tools/bench):
 *
 *   writer DISK OFFSET LENGTH BLOCK COUNT
 *       COUNT different blocks of BLOCK bytes (a power of two, 4096 to 1 MiB)
 *       in LENGTH bytes of the disk from OFFSET on, each once, full of noise;
 *       then "writer done".
 *   writer DISK OFFSET LENGTH
 *       One of 4 KiB after the other for ever, each flushed before the next
 *       (O_DIRECT, O_DSYNC).  Once a second, or when one that took longer is
 *       done, a line with how long they took:
 *           latency US:COUNT US:COUNT ...
 *       US is the upper end of a sixteenth of an octave, in microseconds by the
 *       guest's clock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_BLOCK = 1 << 20, STEPS = 16, BUCKETS = 48 * STEPS };

static uint64_t state = UINT64_C(0x2545f4914f6cdd1d);

static uint64_t
chance(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t
now_us(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void
write_one(int fd, uint64_t *block, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len / sizeof(*block); i++)
        block[i] = chance();
    if (pwrite(fd, block, len, (off_t)offset) != (ssize_t)len) {
        perror("IOERROR writer");
        exit(1);
    }
}

/* The blocks in an order that has each once: chosen, then swapped away. */
static void
write_some(int fd, uint64_t *buffer, uint64_t offset, uint64_t length,
           size_t block, uint64_t count)
{
    uint64_t n = length / block;
    uint32_t *places = malloc(n * sizeof(*places));

    if (!places || count > n) {
        puts("IOERROR writer: too many");
        exit(1);
    }
    for (uint64_t i = 0; i < n; i++)
        places[i] = (uint32_t)i;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t k = i + chance() % (n - i);
        uint32_t place = places[k];
        places[k] = places[i];
        write_one(fd, buffer, block, offset + (uint64_t)place * block);
    }
    free(places);
    if (fsync(fd) == -1)
        perror("IOERROR writer");
    puts("writer done");
}

/* 0 to 15 each their own, then sixteenths of an octave. */
static unsigned
bucket_of(uint64_t us)
{
    unsigned octave = 0;

    while (us >> octave >= 2 * STEPS)
        octave++;
    return octave * STEPS + (unsigned)(us >> octave);
}

static uint64_t
end_of(unsigned bucket)
{
    unsigned octave = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;

    return ((uint64_t)(bucket - octave * STEPS + 1) << octave) - 1;
}

static void
report(uint32_t *counts)
{
    fputs("latency", stdout);
    for (unsigned i = 0; i < BUCKETS; i++)
        if (counts[i])
            printf(" %" PRIu64 ":%" PRIu32, end_of(i), counts[i]);
    putchar('\n');
    memset(counts, 0, BUCKETS * sizeof(*counts));
}

_Noreturn static void
measure(int fd, uint64_t *buffer, uint64_t offset, uint64_t length)
{
    static uint32_t counts[BUCKETS];
    uint64_t last = now_us();

    for (;;) {
        uint64_t place = offset + chance() % (length / PAGE) * PAGE;
        uint64_t begin = now_us();
        write_one(fd, buffer, PAGE, place);
        uint64_t end = now_us();
        counts[bucket_of(end - begin)]++;
        if (end - last < 1000000)
            continue;
        report(counts);
        last = now_us();
    }
}

int
main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 4 && argc != 6) {
        puts("usage: writer DISK OFFSET LENGTH [BLOCK COUNT]");
        return 2;
    }
    int fd = open(argv[1], O_RDWR | O_DIRECT | (argc == 4 ? O_DSYNC : 0));
    uint64_t *buffer = mmap(NULL, MAX_BLOCK, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd == -1 || buffer == MAP_FAILED) {
        perror("IOERROR writer");
        return 1;
    }
    uint64_t offset = strtoull(argv[2], NULL, 0);
    uint64_t length = strtoull(argv[3], NULL, 0);
    if (argc == 4)
        measure(fd, buffer, offset, length);
    size_t block = strtoull(argv[4], NULL, 0);
    if (block < PAGE || block > MAX_BLOCK)
        return 2;
    write_some(fd, buffer, offset, length, block, strtoull(argv[5], NULL, 0));
    return 0;
}
