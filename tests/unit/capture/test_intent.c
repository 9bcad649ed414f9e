/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/intent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/machine.h"

static char folder[64];

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/test_intent.XXXXXX");
    return mkdtemp(folder) ? setenv("VMKEEP_RUNTIME_DIR", folder, 1) : -1;
}

static int
remove_folder(void **state)
{
    CLEANUP(freep) char *command = xasprintf("rm -r %s", folder);

    (void)state;
    return system(command); /* NOLINT(cert-env33-c) */
}

static struct intent *
new_intent(void)
{
    const struct machine m = {.name = (char *)(uintptr_t) "web",
                              .socket = (char *)(uintptr_t) "/run/web.qmp",
                              .pid = getpid(),
                              .start_time = 12,
                              .running = true};
    struct intent *in = intent_new(&m);

    intent_add_disk(in, "/machine/peripheral/vd0/virtio-backend", "q0");
    intent_add_disk(in, "/machine/unattached/device[3]", "#block123");
    return in;
}

static void
text_and_back(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();
    CLEANUP(intent_freep) struct intent *back = NULL;
    struct err e = {0};

    (void)state;
    in->window_open = true;
    in->had_events = true;
    free(in->nbd_path);
    in->nbd_path = xstrdup("/run/x.nbd");
    free(in->snapshot);
    in->snapshot = xstrdup("vmkeep-x-snap0");
    free(in->agent);
    in->agent = xstrdup("/run/web.ga");
    free(in->bitmap);
    in->bitmap = xstrdup("vmkeep:r:b");
    free(in->scratch);
    in->scratch = xstrdup("/var/tmp/s");
    CLEANUP(freep) char *text = intent_format(in);
    assert_int_equal(intent_parse(text, &back, &e), 0);
    assert_string_equal(back->run, in->run);
    assert_string_equal(back->bitmap, "vmkeep:r:b");
    assert_int_equal(back->worker, getpid());
    assert_true(intent_worker_lives(back));
    assert_string_equal(back->machine, "web");
    assert_string_equal(back->socket, "/run/web.qmp");
    assert_string_equal(back->nbd_path, "/run/x.nbd");
    assert_string_equal(back->snapshot, "vmkeep-x-snap0");
    assert_string_equal(back->agent, "/run/web.ga");
    assert_string_equal(back->scratch, "/var/tmp/s");
    assert_int_equal(back->hold_fd, -1);
    assert_int_equal(back->pid, getpid());
    assert_int_equal(back->start_time, 12);
    assert_true(back->was_running && back->window_open && back->had_events);
    assert_false(back->had_background_snapshot);
    assert_int_equal(back->n_disks, 2);
    assert_string_equal(back->disks[1].node, "#block123");
    assert_string_equal(back->disks[0].qdev, in->disks[0].qdev);
}

static void
damaged_records_are_refused(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();
    CLEANUP(freep) char *text = intent_format(in);
    size_t refused = 0;

    (void)state;
    /* Cut anywhere, no record is left that could be taken for whole. */
    for (size_t n = strlen(text); n-- > 0;) {
        struct intent *back = NULL;
        struct err e = {0};
        CLEANUP(freep) char *cut = xstrndup(text, n);
        if (intent_parse(cut, &back, &e) == -1)
            refused += e.code == ERR_CORRUPT;
        intent_free(back);
    }
    assert_int_equal(refused, strlen(text));
}

static void
a_run_may_not_be_a_path(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();
    struct intent *back = NULL;
    struct err e = {0};

    (void)state;
    memcpy(in->run, "../../ab", 8);
    CLEANUP(freep) char *text = intent_format(in);
    assert_int_equal(intent_parse(text, &back, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
}

static void
a_record_that_is_held_is_left_alone(void **state)
{
    struct intent *in = new_intent();
    struct intent *back = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(intent_save(in, &e), 0);
    CLEANUP(freep) char *path = xstrdup(in->path);
    assert_int_equal(intent_claim(path, &back, &e), 0);
    intent_free(in); /* as when its process died */
    assert_int_equal(intent_claim(path, &back, &e), 1);
    assert_string_equal(back->machine, "web");
    assert_int_equal(intent_claim(path, &in, &e), 0); /* held by us now */
    intent_remove(back);
    intent_free(back);
    assert_false(file_exists(path));
    assert_int_equal(intent_claim(path, &back, &e), 0);
}

static void
a_rewrite_is_whole(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();
    CLEANUP(intent_freep) struct intent *back = NULL;
    struct err e = {0};

    (void)state;
    in->window_open = true;
    assert_int_equal(intent_save(in, &e), 0);
    in->window_open = false;
    assert_int_equal(intent_save(in, &e), 0);
    CLEANUP(freep) char *path = xstrdup(in->path);
    intent_free(STEAL(in));
    assert_int_equal(intent_claim(path, &back, &e), 1);
    assert_false(back->window_open);
    intent_remove(back);
}

static void
another_process_with_the_pid_is_another_machine(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();

    (void)state;
    assert_false(intent_machine_lives(in)); /* we did not start at tick 12 */
    in->pid = 0;
    assert_true(intent_machine_lives(in)); /* unknown: has to be looked at */
}

static void
mounts_lie_beside_the_record(void **state)
{
    CLEANUP(intent_freep) struct intent *in = new_intent();
    struct err e = {0};

    (void)state;
    intent_remove_mounts(in); /* without a record there are none */
    assert_int_equal(intent_save(in, &e), 0);
    CLEANUP(freep) char *first = intent_mount(in, 0);
    CLEANUP(freep) char *second = intent_mount(in, 1);
    CLEANUP(freep) char *beyond = intent_mount(in, 2);
    assert_true(text_starts(first, in->path));
    assert_string_not_equal(first, second);
    assert_int_equal(file_publish(first, "", 0, &e), 0);
    assert_int_equal(file_publish(second, "", 0, &e), 0);
    assert_int_equal(file_publish(beyond, "", 0, &e), 0);
    intent_remove_mounts(in);
    assert_false(file_exists(first));
    assert_false(file_exists(second));
    assert_true(file_exists(beyond)); /* it has two disks */
    intent_remove_mounts(in);
    intent_remove(in);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_back),
        cmocka_unit_test(damaged_records_are_refused),
        cmocka_unit_test(a_run_may_not_be_a_path),
        cmocka_unit_test(a_record_that_is_held_is_left_alone),
        cmocka_unit_test(a_rewrite_is_whole),
        cmocka_unit_test(another_process_with_the_pid_is_another_machine),
        cmocka_unit_test(mounts_lie_beside_the_record),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
