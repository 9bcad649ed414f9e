/* SPDX-License-Identifier: Apache-2.0 */
/*
 * differential: reader.h against QEMU's own tools, over random images with all
 * that they can make: versions, cluster sizes, refcount widths, subclusters,
 * zero and compressed clusters, backing chains, external data files, internal
 * snapshots with machine states and other disk sizes.
 *
 * QCOW2_ROUNDS=100 makes it 100 times as long; QCOW2_SEED chooses the images.
 */
#include "qcow2/reader.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"

enum { IMAGES = 25, BACKINGS_MAX = 2 };

/* How often each feature was seen, so that a hole in the generator shows. */
static struct {
    unsigned images, views, vmstates, v2, extended, zstd, compressed, zeros,
        backed, data_files, resized, diffs, unchanged, overlaps, broken;
} seen;

/* One image and what is below it. */
struct layer {
    char name[32];
    bool raw;
    int fd, data_fd;
    struct qcow2_image *image;
    struct qcow2_view *active;
    struct qcow2_source source; /* of its active state */
};

struct chain {
    unsigned n;
    struct layer layers[BACKINGS_MAX + 1]; /* lowest first */
};

static bool
chance(unsigned percent)
{
    return random_below(100) < percent;
}

/* Numbers near the edges of things are more interesting. */
static uint64_t
random_size(uint64_t cluster)
{
    uint64_t max = u64_max(6 << 20, 4 * cluster);

    if (chance(3))
        return 0;
    if (cluster == 512)
        max = 1 << 20;
    if (chance(30))
        return random_below(max / cluster + 1) * cluster;
    return random_below(max / 512 + 1) * 512;
}

/* Data for writes that are not of one byte: it can be compressed somewhat, and
 * no two clusters of it are alike. */
static void
create_words(void)
{
    uint8_t p[100003];

    random_fill(p, sizeof(p));
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] &= 15;
    scratch_write("words", p, sizeof(p));
}

/* Appends "-c 'COMMAND'" of qemu-io for a random range. */
static void
add_io(char *out, size_t room, uint64_t size, uint64_t cluster)
{
    static const char *const verbs[] = {
        "write -P 5", "write -P 255", "write -s words", "write -s words",
        "write -z",   "write -z -u",  "discard"};
    const char *verb = verbs[random_below(ARRAY_LEN(verbs))];
    size_t used = strlen(out);
    uint64_t offset = random_below(size / 512) * 512;
    uint64_t len = 512 * (1 + random_below(chance(50) ? 8 : 2048));

    if (chance(50)) {
        offset -= offset % cluster;
        len = cluster * (1 + random_below(4));
    }
    if (chance(30)) {
        offset -= offset % cluster;
        len = cluster;
        verb = chance(30) ? "write -c -P 7" : "write -c -s words";
    }
    len = u64_min(len, size - offset);
    (void)snprintf(out + used, room - used, " -c '%s %llu %llu'", verb,
                   (unsigned long long)offset, (unsigned long long)len);
}

static uint64_t
size_now(const char *name)
{
    tool_must("qemu-img info --output=json %s", name);
    const char *at = strstr(tool_out, "\"virtual-size\": ");
    assert_non_null(at);
    return strtoull(at + 16, NULL, 10);
}

static void
savevm(const char *name, const char *tag)
{
    (void)tool_run(
        "printf '%%s' '{\"execute\":\"qmp_capabilities\"}"
        "{\"execute\":\"human-monitor-command\",\"arguments\":"
        "{\"command-line\":\"savevm %s\"}}{\"execute\":\"quit\"}' |"
        " qemu-system-x86_64 -accel tcg -M none -nodefaults -display none"
        " -qmp stdio -blockdev driver=qcow2,node-name=d,file.driver=file,"
        "file.filename=%s",
        tag, name);
}

/* Something that changes the image; may fail, as some combinations do. */
static void
random_step(const char *name, uint64_t cluster, unsigned step)
{
    uint64_t size = size_now(name);
    unsigned what = (unsigned)random_below(100);
    char io[4096] = "";

    if (what < 52 && size > 0) {
        for (uint64_t n = 1 + random_below(20); n > 0; n--)
            add_io(io, sizeof(io), size, cluster);
        (void)tool_run("qemu-io -f qcow2 %s %s", io, name);
    } else if (what < 74) {
        (void)tool_run("qemu-img snapshot -c s%u %s", step, name);
    } else if (what < 82) {
        char tag[16];
        (void)snprintf(tag, sizeof(tag), "s%u", step);
        savevm(name, tag);
    } else if (what < 89) {
        (void)tool_run("qemu-img resize -f qcow2 %s +%llu", name,
                       (unsigned long long)random_size(cluster));
    } else if (what < 93) {
        size = random_below(size / 512 + 1) * 512;
        (void)tool_run("qemu-img resize --shrink -f qcow2 %s %llu", name,
                       (unsigned long long)size);
    } else {
        (void)tool_run("qemu-img snapshot -%c s%u %s", chance(50) ? 'a' : 'd',
                       (unsigned)random_below(step + 1), name);
    }
}

static void
create_raw(struct layer *l)
{
    uint64_t len = random_below(4000) * 512 + random_below(2) * 100;
    uint8_t *p = xcalloc(1, len + 1);

    for (uint64_t at = 0; at < len; at += 4096)
        if (chance(60))
            random_fill(p + at, u64_min(4096, len - at));
    scratch_write(l->name, p, len);
    free(p);
    l->raw = true;
}

static void
create_qcow2(struct layer *l, const struct layer *below)
{
    unsigned bits = 9 + (unsigned)random_below(13);
    uint64_t cluster = UINT64_C(1) << bits;
    bool v2 = chance(25), data_file = !v2 && !below && chance(12);
    bool extended = !v2 && bits >= 14 && chance(40);
    bool zstd = !v2 && chance(40);
    char backing[128] = "", data[64] = "", v3[128] = "";

    if (below)
        (void)snprintf(backing, sizeof(backing), "-b %s -F %s", below->name,
                       below->raw ? "raw" : "qcow2");
    if (data_file)
        (void)snprintf(data, sizeof(data), ",data_file=%s.data%s", l->name,
                       chance(50) ? ",data_file_raw=on" : "");
    if (!v2)
        (void)snprintf(v3, sizeof(v3), ",refcount_bits=%u,lazy_refcounts=%s",
                       data_file ? 16 : 1U << random_below(7),
                       chance(20) ? "on" : "off");
    tool_must("qemu-img create -q -f qcow2 %s -o compat=%s,cluster_size=%llu"
              "%s%s%s%s%s %s %llu",
              backing, v2 ? "0.10" : "1.1", (unsigned long long)cluster, v3,
              extended ? ",extended_l2=on" : "",
              zstd ? ",compression_type=zstd" : "", data,
              !below && chance(10) ? ",preallocation=metadata" : "", l->name,
              (unsigned long long)random_size(cluster));
    for (unsigned i = 0; i < 2 + random_below(8); i++)
        random_step(l->name, cluster, i);
    l->data_fd = -1;
    if (data_file) {
        char name[64];
        (void)snprintf(name, sizeof(name), "%s.data", l->name);
        l->data_fd = scratch_open(name, O_RDONLY);
    }
    seen.v2 += v2;
    seen.extended += extended;
    seen.zstd += zstd;
    seen.data_files += data_file;
}

static void
open_layer(struct layer *l, const struct layer *below)
{
    struct err e = {0};

    l->fd = scratch_open(l->name, O_RDONLY);
    if (l->raw) {
        assert_int_equal(qcow2_source_of_raw(&l->fd, &l->source, &e), 0);
        return;
    }
    if (qcow2_image_open(l->fd, l->data_fd, &l->image, &e) == -1 ||
        qcow2_view_open(l->image, NULL, &l->active, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(!!qcow2_image_header(l->image)->backing, !!below);
    if (below)
        qcow2_view_set_backing(l->active, &below->source);
    l->source = qcow2_source_of_view(l->active);
}

static void
close_chain(struct chain *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct layer *l = &c->layers[i];
        qcow2_view_close(l->active);
        qcow2_image_close(l->image);
        (void)close(l->fd);
        if (l->data_fd > 0)
            (void)close(l->data_fd);
    }
}

static void
create_chain(struct chain *c)
{
    *c = (struct chain){.n = 1 + (unsigned)(chance(40) ? random_below(3) : 0)};
    (void)tool_run("rm -f l*");
    create_words();
    for (unsigned i = 0; i < c->n; i++) {
        struct layer *l = &c->layers[i];
        const struct layer *below = i ? l - 1 : NULL;
        (void)snprintf(l->name, sizeof(l->name), "l%u", i);
        if (i == 0 && c->n > 1 && chance(50))
            create_raw(l);
        else
            create_qcow2(l, below);
        open_layer(l, below);
    }
    seen.backed += c->n > 1;
}

/* The whole disk of a view in random reads, and some reads again. */
static uint8_t *
read_disk(struct qcow2_view *v)
{
    uint64_t bytes = qcow2_view_bytes(v);
    uint64_t piece = 1 + random_below(chance(50) ? 3 << 20 : 70000);
    uint8_t *p = xmalloc(bytes);
    struct err e = {0};

    memset(p, 0xee, bytes);
    for (uint64_t at = 0; at < bytes;) {
        size_t n = u64_min(bytes - at, 1 + random_below(piece));
        if (qcow2_view_read(v, at, p + at, n, &e) == -1)
            fail_msg("read: %s", e.msg);
        at += n;
    }
    for (unsigned i = 0; bytes && i < 20; i++) {
        uint64_t at = random_below(bytes);
        size_t n = u64_min(bytes - at, 1 + random_below(9000));
        uint8_t again[9000];
        assert_int_equal(qcow2_view_read(v, at, again, n, &e), 0);
        assert_memory_equal(again, p + at, n);
    }
    return p;
}

static void
check_bytes(const char *what, const uint8_t *got, const uint8_t *want,
            size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (got[i] != want[i])
            fail_msg("%s: byte %zu of %zu is 0x%02x, not 0x%02x", what, i, len,
                     got[i], want[i]);
}

/* The map covers the disk, and what it says is true of these bytes. */
static void
check_map(struct qcow2_view *v, const struct layer *l, const uint8_t *disk)
{
    struct qcow2_extent x = {0};
    struct err e = {0};
    uint64_t at = 0, bytes = qcow2_view_bytes(v);
    bool backed = qcow2_image_header(l->image)->backing;

    for (; at < bytes; at += x.len) {
        if (qcow2_view_map(v, at, &x, &e) == -1)
            fail_msg("map: %s", e.msg);
        assert_true(x.offset == at && x.len > 0 && x.len <= bytes - at);
        seen.zeros += x.kind == QCOW2_ZEROS;
        seen.compressed += x.kind == QCOW2_COMPRESSED_DATA;
        if (x.kind == QCOW2_ZEROS || (x.kind == QCOW2_UNALLOCATED && !backed))
            assert_true(bytes_are_zero(disk + at, x.len));
        if (x.kind == QCOW2_DATA) {
            uint8_t *p = xmalloc(x.len);
            assert_int_equal(pread(l->data_fd > 0 ? l->data_fd : l->fd, p,
                                   x.len, (off_t)x.host_offset),
                             (ssize_t)x.len);
            check_bytes("map", p, disk + at, x.len);
            free(p);
        }
    }
    assert_true(at == bytes);
}

/* QEMU reads the machine state as a disk: see test_writer. */
static void
check_vmstate(struct qcow2_view *v, const struct layer *l,
              const struct qcow2_snapshot *s)
{
    struct qcow2_geometry g = qcow2_geometry_of(qcow2_image_header(l->image));
    uint64_t span = qcow2_table_span(&g);
    uint64_t base = round_up(s->disk_bytes, span), len = s->vmstate_bytes;
    uint8_t h[QCOW2_HEADER_V2_BYTES];
    uint8_t *want = xmalloc(len), *got = xmalloc(len);
    struct err e = {0};

    tool_must("cp --sparse=always %s vm.qcow2", l->name);
    int fd = scratch_open("vm.qcow2", O_RDWR);
    assert_int_equal(pread(fd, h, sizeof(h), 0), sizeof(h));
    put_be64(h + QCOW2_AT_BACKING_OFFSET, 0);
    put_be32(h + QCOW2_AT_BACKING_LEN, 0);
    put_be64(h + QCOW2_AT_SIZE, base + round_up(len, 512));
    put_be64(h + QCOW2_AT_L1_OFFSET, s->l1_offset);
    put_be32(h + QCOW2_AT_L1_SIZE, s->l1_len);
    put_be32(h + QCOW2_AT_SNAPSHOTS, 0);
    assert_int_equal(pwrite(fd, h, sizeof(h), 0), sizeof(h));
    assert_int_equal(close(fd), 0);
    tool_must("qemu-img convert -f qcow2 -O raw vm.qcow2 vm.raw");
    fd = scratch_open("vm.raw", O_RDONLY);
    assert_int_equal(pread(fd, want, len, (off_t)base), (ssize_t)len);
    assert_int_equal(close(fd), 0);

    for (uint64_t at = 0; at < len;) {
        size_t n = u64_min(len - at, 1 + random_below(2000));
        if (qcow2_view_read_vmstate(v, at, got + at, n, &e) == -1)
            fail_msg("%s", e.msg);
        at += n;
    }
    check_bytes("vmstate", got, want, len);
    assert_int_equal(qcow2_view_read_vmstate(v, len, got, 1, &e), -1);
    seen.vmstates++;
    free(want);
    free(got);
}

/* What QEMU cannot read, we cannot either: it writes such images now and then,
 * see qcow2_view_check. */
static void
check_broken(struct qcow2_view *v)
{
    uint64_t bytes = qcow2_view_bytes(v);
    uint8_t *p = xmalloc(bytes);
    struct err e = {0};

    assert_non_null(strstr(tool_out, "error while reading"));
    assert_int_equal(qcow2_view_read(v, 0, p, bytes, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    printf("# qemu-img: %s# reader: %s\n", tool_out, e.msg);
    seen.broken++;
    free(p);
}

/* A view against what qemu-img made of it; its disk, to be freed. */
static uint8_t *
check_view(struct qcow2_view *v, const struct layer *l, const char *oracle)
{
    struct err e = {0};
    uint64_t bytes = qcow2_view_bytes(v);
    uint8_t *want = xmalloc(bytes + 1), *got = read_disk(v);
    size_t n = scratch_read(oracle, want, bytes);

    /* QEMU cuts or extends a snapshot's disk to the size of the active one. */
    check_bytes("disk", got, want, n);
    seen.resized += n != bytes;
    check_map(v, l, got);
    struct qcow2_check c = {0};
    if (qcow2_view_check(v, &c, &e) == -1)
        fail_msg("check: %s", e.msg);
    /* QEMU's own doing, see reader.h. */
    assert_true(c.overlaps == 0 || c.compressed_clusters > 0);
    seen.overlaps += c.overlaps > 0;
    if (qcow2_view_recheck(v, &e) == -1)
        fail_msg("recheck: %s", e.msg);
    seen.views++;
    free(want);
    return got;
}

/* What is said to be unchanged must be. */
static void
check_diff(struct qcow2_view *older, const uint8_t *older_disk,
           struct qcow2_view *newer, const uint8_t *newer_disk)
{
    struct qcow2_change c = {0};
    struct err e = {0};
    uint64_t bytes = qcow2_view_bytes(newer);

    for (uint64_t at = 0; at < bytes; at += c.len) {
        if (qcow2_view_diff(older, newer, at, &c, &e) == -1)
            fail_msg("diff: %s", e.msg);
        assert_true(c.offset == at && c.len > 0 && c.len <= bytes - at);
        seen.diffs++;
        if (c.changed)
            continue;
        assert_true(at + c.len <= qcow2_view_bytes(older));
        check_bytes("unchanged", newer_disk + at, older_disk + at, c.len);
        seen.unchanged++;
    }
}

/* A snapshot and its disk, to compare the next one with. */
struct seen_view {
    struct qcow2_view *view;
    uint8_t *disk;
};

static void
seen_view_done(struct seen_view *s)
{
    qcow2_view_close(s->view);
    free(s->disk);
    *s = (struct seen_view){0};
}

static void
check_snapshot(const struct layer *l, const struct layer *below,
               const struct qcow2_snapshot *s, struct seen_view *before)
{
    struct seen_view now = {0};
    struct err e = {0};

    if (qcow2_view_open(l->image, s, &now.view, &e) == -1)
        fail_msg("snapshot %s: %s", s->name, e.msg);
    if (below)
        qcow2_view_set_backing(now.view, &below->source);
    if (tool_run("qemu-img convert -f qcow2 -O raw -l snapshot.id=%s %s"
                 " out.raw",
                 s->id, l->name) != 0) {
        check_broken(now.view);
        seen_view_done(&now);
        return;
    }
    now.disk = check_view(now.view, l, "out.raw");
    if (s->vmstate_bytes > 0)
        check_vmstate(now.view, l, s);
    if (before->view)
        check_diff(before->view, before->disk, now.view, now.disk);
    seen_view_done(before);
    *before = now;
}

static void
check_layer(const struct layer *l, const struct layer *below)
{
    const struct qcow2_snapshots *s = qcow2_image_snapshots(l->image);
    struct seen_view before = {0};

    if (tool_run("qemu-img convert -f qcow2 -O raw %s out.raw", l->name) != 0)
        check_broken(l->active);
    else
        free(check_view(l->active, l, "out.raw"));
    for (size_t i = 0; i < s->n; i++)
        check_snapshot(l, below, &s->list[i], &before);
    seen_view_done(&before);
}

static void
test_random_images(void **state)
{
    uint64_t n = IMAGES * env_u64("QCOW2_ROUNDS", 1);
    uint64_t seed = env_u64("QCOW2_SEED", 1);

    (void)state;
    require_qemu_img();
    for (uint64_t i = 0; i < n; i++) {
        struct chain c;
        random_seed(seed); /* each image can be had alone */
        printf("# image QCOW2_SEED=%llu\n", (unsigned long long)seed++);
        create_chain(&c);
        check_layer(&c.layers[c.n - 1], c.n > 1 ? &c.layers[c.n - 2] : NULL);
        close_chain(&c);
        seen.images++;
    }
    printf("# %u images, %u views, %u machine states, %u v2, %u extended, "
           "%u zstd, %u compressed and %u zero extents, %u backed, %u data "
           "files, %u resized, %u of %u diffs unchanged, %u with overlaps, %u "
           "broken\n",
           seen.images, seen.views, seen.vmstates, seen.v2, seen.extended,
           seen.zstd, seen.compressed, seen.zeros, seen.backed, seen.data_files,
           seen.resized, seen.unchanged, seen.diffs, seen.overlaps,
           seen.broken);
    assert_true(n < IMAGES || seen.views > seen.images);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_images),
    };

    return cmocka_run_group_tests_name("differential", tests, scratch_setup,
                                       scratch_teardown);
}
