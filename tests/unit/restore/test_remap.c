/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/remap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "qemu/machine.h"

#define F "\001/" /* the folder's mark */

/* Joined by " | ", so that a difference reads well. */
static char *
joined(const struct remap *r)
{
    struct buf b = buf_of(1 << 16);

    for (size_t i = 0; i < r->n; i++)
        buf_printf(&b, "%s%s", i ? " | " : "", r->args[i]);
    (void)buf_text(&b);
    return (char *)b.p;
}

struct one {
    const char *argv[24];
    struct disk disks[3];
    size_t n_disks;
    const char *want;
    size_t mapped; /* how many disks must be */
};

static void
check(const struct one *c)
{
    struct machine m = {.type = (char *)(uintptr_t) "pc-q35-7.2",
                        .argv = (char **)(uintptr_t)c->argv,
                        .disks = (struct disk *)(uintptr_t)c->disks,
                        .n_disks = c->n_disks};
    const struct remap_options o = {&m, "qcow2", ".qcow2"};
    struct remap r = {0};
    size_t mapped = 0;

    remap_init(&r, &o);
    CLEANUP(freep) char *got = joined(&r);
    assert_string_equal(got, c->want);
    for (size_t i = 0; i < c->n_disks; i++)
        mapped += r.mapped[i];
    assert_int_equal(mapped, c->mapped);
    remap_done(&r);
}

#define DISK(name_, device_, node_, file_)                   \
    {                                                        \
        .name = (char *)(uintptr_t)(name_),                  \
        .device = (char *)(uintptr_t)(device_),              \
        .node = (char *)(uintptr_t)(node_),                  \
        .filename = (char *)(uintptr_t)(file_), .qdev = NULL \
    }

static void
blockdev_with_its_file_node(void **state)
{
    (void)state;
    check(&(struct one){
        {"q", "-blockdev", "driver=file,node-name=f0,filename=/old/a.qcow2",
         "-blockdev", "driver=qcow2,node-name=q0,file=f0,discard=unmap",
         "-device", "virtio-blk-pci,drive=q0"},
        {DISK("vda", "", "q0", "/old/a.qcow2")},
        1,
        "-blockdev | driver=qcow2,node-name=q0,file.driver=file,"
        "file.filename=" F "vda.qcow2,discard=unmap | -device | "
        "virtio-blk-pci,drive=q0 | -machine | pc-q35-7.2",
        1});
}

static void
blockdev_in_json_over_a_chain(void **state)
{
    (void)state;
    check(&(struct one){
        {"q", "-blockdev",
         "{\"driver\":\"file\",\"node-name\":\"base-s\",\"filename\":\"/b\"}",
         "-blockdev",
         "{\"driver\":\"raw\",\"node-name\":\"base\",\"file\":\"base-s\"}",
         "-blockdev",
         "{\"driver\":\"file\",\"node-name\":\"top-s\",\"filename\":\"/t\"}",
         "-blockdev",
         "{\"driver\":\"qcow2\",\"node-name\":\"top\",\"file\":\"top-s\","
         "\"backing\":\"base\",\"cache\":{\"direct\":true}}",
         "-blockdev",
         "{\"driver\":\"file\",\"node-name\":\"other\",\"filename\":\"/o\"}"},
        {DISK("d", "", "top", "/t")},
        1,
        "-blockdev | driver=qcow2,node-name=top,file.driver=file,"
        "file.filename=" F "d.qcow2 | -blockdev | "
        "{\"driver\":\"file\",\"node-name\":\"other\",\"filename\":\"/o\"} | "
        "-machine | pc-q35-7.2",
        1});
}

static void
drives(void **state)
{
    (void)state;
    check(&(struct one){
        {"q", "-drive", "file=/o/a,,b.img,format=raw,if=virtio,cache=none",
         "-drive",
         "id=two,file.driver=file,file.filename=/o/c,driver=qcow2,"
         "if=none",
         "-drive", "file=/cd.iso,media=cdrom,readonly=on"},
        {DISK("virtio0", "virtio0", "#block1", "/o/a,b.img"),
         DISK("two", "two", "#block2", "/o/c")},
        2,
        "-drive | file=" F "virtio0.qcow2,format=qcow2,if=virtio,cache=none | "
        "-drive | id=two,if=none,file=" F "two.qcow2,format=qcow2 | "
        "-drive | file=/cd.iso,media=cdrom,readonly=on | "
        "-machine | pc-q35-7.2",
        2});
}

static void
short_forms(void **state)
{
    (void)state;
    check(&(struct one){
        {"q", "-hda", "/a", "-hdb", "/not-ours", "/b", "--hdc", "/c"},
        {DISK("ide0-hd0", "ide0-hd0", "#1", "/a"), DISK("x", "x", "#2", "/b"),
         DISK("y", "y", "#3", "/c")},
        3,
        "-drive | file=" F "ide0-hd0.qcow2,format=qcow2,index=0,media=disk | "
        "-hdb | /not-ours | "
        "-drive | file=" F "x.qcow2,format=qcow2,index=0,media=disk | "
        "-drive | file=" F "y.qcow2,format=qcow2,index=2,media=disk | "
        "-machine | pc-q35-7.2",
        3});
}

static void
machine_type_is_versioned_once(void **state)
{
    (void)state;
    check(&(struct one){{"q", "-M", "q35,accel=tcg", "-machine", "usb=off"},
                        {{0}},
                        0,
                        "-M | pc-q35-7.2,accel=tcg | -machine | usb=off",
                        0});
    check(&(struct one){{"q", "-machine", "type=pc,accel=kvm:tcg"},
                        {{0}},
                        0,
                        "-machine | pc-q35-7.2,accel=kvm:tcg",
                        0});
}

static void
an_earlier_start_is_forgotten(void **state)
{
    (void)state;
    check(&(struct one){{"q", "-S", "-m", "512", "-incoming", "defer",
                         "-loadvm", "old", "-nographic"},
                        {{0}},
                        0,
                        "-m | 512 | -nographic | -machine | pc-q35-7.2",
                        0});
}

static void
a_disk_without_an_option_is_not_mapped(void **state)
{
    (void)state;
    check(&(struct one){{"q", "-m", "512"},
                        {DISK("hot", "", "hotnode", "/h")},
                        1,
                        "-m | 512 | -machine | pc-q35-7.2",
                        0});
}

/* What it restores is no longer encrypted, and in one file. */
static void
options_of_the_old_image_go(void **state)
{
    (void)state;
    check(&(struct one){
        {"q", "-drive", "file=/a,format=luks,key-secret=s0,if=none,id=a",
         "-drive",
         "file=/b,format=qcow2,encrypt.format=luks,encrypt.key-secret=s0,"
         "data-file.driver=file,data-file.filename=/d,if=none,id=b",
         "-drive", "file=/c,format=raw,offset=512,size=1024,if=none,id=c"},
        {DISK("a", "a", "#1", "/a"), DISK("b", "b", "#2", "/b"),
         DISK("c", "c", "#3", "/c")},
        3,
        "-drive | file=" F "a.qcow2,format=qcow2,if=none,id=a | "
        "-drive | file=" F "b.qcow2,format=qcow2,if=none,id=b | "
        "-drive | file=" F "c.qcow2,format=qcow2,if=none,id=c | "
        "-machine | pc-q35-7.2",
        3});
}

static void
a_read_only_disk_stays(void **state)
{
    (void)state;
    struct one c = {{"q", "-drive", "file=/ro,readonly=on"},
                    {DISK("ro", "virtio0", "#1", "/ro")},
                    1,
                    "-drive | file=/ro,readonly=on | -machine | pc-q35-7.2",
                    0};
    c.disks[0].read_only = true;
    check(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blockdev_with_its_file_node),
        cmocka_unit_test(blockdev_in_json_over_a_chain),
        cmocka_unit_test(drives),
        cmocka_unit_test(short_forms),
        cmocka_unit_test(machine_type_is_versioned_once),
        cmocka_unit_test(an_earlier_start_is_forgotten),
        cmocka_unit_test(a_disk_without_an_option_is_not_mapped),
        cmocka_unit_test(options_of_the_old_image_go),
        cmocka_unit_test(a_read_only_disk_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
