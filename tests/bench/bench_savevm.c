/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_savevm: what the method savevm reads of a disk, and how long it takes:
 * usage
 *
 *   bench_savevm IMAGE FOLDER SNAPSHOT...
 *
 * Makes a repository in FOLDER, backs up the disk as the first snapshot of the
 * image shows it, then as each of the others does on the one before.  A line
 * each: the tables alone, and then the same again with the data, from a file
 * that is not in the page cache.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "bench.h"
#include "capture/viewsource.h"
#include "qcow2/reader.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "store/store.h"
#include "work/cancel.h"

struct bench {
    int fd;
    struct qcow2_image *image;
    struct store *st;
    struct repo *r;
    struct cancel *cancel;
};

struct cost {
    double seconds, cpu;
    uint64_t read_bytes;
};

/* Two states of the disk; older is NULL for all of it. */
struct views {
    struct qcow2_view *older, *newer;
};

static double
cpu_now(void)
{
    struct rusage u = {0};

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct cost
cost_now(void)
{
    return (struct cost){(double)clock_mono_ns() / 1e9, cpu_now(), 0};
}

static struct cost
cost_since(struct cost then, const struct views *v)
{
    struct cost now = cost_now();

    now.seconds -= then.seconds;
    now.cpu -= then.cpu;
    now.read_bytes = qcow2_view_read_bytes(v->newer);
    if (v->older)
        now.read_bytes += qcow2_view_read_bytes(v->older);
    return now;
}

static struct qcow2_view *
open_view(struct bench *b, const char *name)
{
    struct qcow2_view *v = NULL;
    struct err e = {0};

    if (!name)
        return NULL;
    const struct qcow2_snapshot *s =
        qcow2_snapshot_find(qcow2_image_snapshots(b->image), name);
    if (!s) {
        (void)fprintf(stderr, "bench_savevm: no snapshot %s\n", name);
        exit(1);
    }
    must(qcow2_view_open(b->image, s, &v, &e), &e);
    return v;
}

static void
drop_from_cache(const struct bench *b)
{
    (void)fdatasync(b->fd);
    (void)posix_fadvise(b->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void
close_views(struct views *v)
{
    qcow2_view_close(v->older);
    qcow2_view_close(v->newer);
}

static struct cost
walk_tables(struct bench *b, const char *older, const char *newer)
{
    drop_from_cache(b);
    struct cost start = cost_now();
    struct views v = {open_view(b, older), open_view(b, newer)};
    uint64_t bytes = qcow2_view_bytes(v.newer), at = 0;
    struct err e = {0};

    while (at < bytes) {
        struct qcow2_extent x = {0};
        struct qcow2_change c = {0};
        if (older)
            must(qcow2_view_diff(v.older, v.newer, at, &c, &e), &e);
        else
            must(qcow2_view_map(v.newer, at, &x, &e), &e);
        at += older ? c.len : x.len;
    }
    struct cost cost = cost_since(start, &v);
    close_views(&v);
    return cost;
}

static void
ignore_progress(void *cookie, uint64_t offset)
{
    (void)cookie;
    (void)offset;
}

static void
commit(struct backup_writer *w, struct volume_writer *v)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct volume_root root = {0};
    struct err e = {0};

    must(volume_end(&v, &root, &e), &e);
    m->machine = xstrdup("m");
    manifest_add_volume(m, "disk", &root);
    must(backup_commit(&w, m, &e), &e);
}

/* What capture/savevm.c does with one disk. */
static struct cost
back_up(struct bench *b, const char *older, const char *newer)
{
    CLEANUP(manifest_freep) struct manifest *base = NULL;
    struct backup_writer *w = NULL;
    struct volume_writer *v = NULL;
    struct err e = {0};
    int rc = 0;

    if (older)
        must(backup_find(b->r, "m@latest", &base, &e), &e);
    const struct backup_options o = {.base = older ? base->id : NULL};
    drop_from_cache(b);
    struct cost start = cost_now();
    struct views views = {open_view(b, older), open_view(b, newer)};
    must(backup_begin(b->r, older ? &o : NULL, b->cancel, &w, &e), &e);
    if (older) {
        must(volume_begin_on(w, "disk", &base->volumes[0].root, &v, &e), &e);
        rc = viewsource_copy_changes(views.older, views.newer, v,
                                     ignore_progress, NULL, b->cancel, &e);
    } else {
        must(volume_begin(w, "disk", qcow2_view_bytes(views.newer), &v, &e),
             &e);
        rc = viewsource_copy_disk(views.newer, false, v, ignore_progress, NULL,
                                  b->cancel, &e);
    }
    must(rc, &e);
    commit(w, v);
    struct cost cost = cost_since(start, &views);
    close_views(&views);
    return cost;
}

static void
open_bench(struct bench *b, const char *image, const char *folder)
{
    struct err e = {0};

    b->fd = open(image, O_RDONLY | O_CLOEXEC);
    must(qcow2_image_open(b->fd, -1, &b->image, &e), &e);
    must(store_create(folder, &b->st, &e), &e);
    must(repo_init(b->st, "bench", NULL, &e), &e);
    must(repo_open(b->st, "bench", &b->r, &e), &e);
    b->cancel = cancel_new();
}

int
main(int argc, char **argv)
{
    struct bench b = {0};

    if (argc < 4) {
        (void)fprintf(stderr, "see the head of bench_savevm.c\n");
        return 2;
    }
    open_bench(&b, argv[1], argv[2]);
    printf("%-10s %12s %8s %8s %12s %8s %8s\n", "", "tables MB", "s", "CPU s",
           "all MB", "s", "CPU s");
    for (int i = 3; i < argc; i++) {
        const char *older = i > 3 ? argv[i - 1] : NULL;
        struct cost t = walk_tables(&b, older, argv[i]);
        struct cost all = back_up(&b, older, argv[i]);
        printf("%-10s %12.2f %8.2f %8.2f %12.2f %8.2f %8.2f\n", argv[i],
               (double)t.read_bytes / 1e6, t.seconds, t.cpu,
               (double)all.read_bytes / 1e6, all.seconds, all.cpu);
    }
    repo_close(b.r);
    store_close(b.st);
    cancel_free(b.cancel);
    qcow2_image_close(b.image);
    return 0;
}
