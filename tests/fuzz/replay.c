/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: runs a fuzz target over the files of a folder, without a fuzzer, and
 * over a fixed run of random mutations of them (REPLAY_ROUNDS a file, default
 * 200, seed 1), so that every build re-checks what fuzzing once found.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { INPUT_MAX = 1 << 20 };

static uint64_t seed = 1;

static uint64_t
next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void
mutate(uint8_t *p, size_t n)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

    for (uint64_t k = 1 + next() % 8; n > 0 && k > 0; k--)
        p[next() % n] =
            next() % 2 ? (uint8_t)next() : edges[next() % sizeof(edges)];
}

static void
run(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1); /* so that one byte past it is seen */

    if (!exact)
        abort();
    memcpy(exact, p, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static void
run_file(const char *path, unsigned rounds)
{
    static uint8_t original[INPUT_MAX], p[INPUT_MAX];
    FILE *f = fopen(path, "rb");

    if (!f) {
        perror(path);
        exit(1);
    }
    size_t n = fread(original, 1, sizeof(original), f);
    (void)fclose(f);

    run(original, n);
    for (unsigned i = 0; i < rounds; i++) {
        memcpy(p, original, n);
        mutate(p, n);
        run(p, i % 4 == 3 && n ? next() % n : n);
    }
}

int
main(int argc, char **argv)
{
    const char *r = getenv("REPLAY_ROUNDS");
    unsigned rounds = r ? (unsigned)strtoul(r, NULL, 10) : 200;
    unsigned files = 0;
    const struct dirent *de = NULL;
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;

    if (!d) {
        perror(argc == 2 ? argv[1] : "usage: replay FOLDER");
        return 1;
    }
    while ((de = readdir(d))) {
        char path[4096];
        if (de->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], de->d_name);
        run_file(path, rounds);
        files++;
    }
    (void)closedir(d);
    printf("%u files, %u mutations each\n", files, rounds);
    return files == 0; /* a corpus that went missing is no success */
}
