/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdline: what a command line of QEMU says about the machine's names and its
 * monitors.
 *
 * A monitor counts if it speaks QMP and QEMU itself listens on a UNIX socket
 * with a path for it.  What configuration files add (-readconfig) is not seen.
 *
 * Source: QEMU qemu-options.hx: -name, -uuid, -smbios, -qmp, -qmp-pretty,
 * -mon, -object, -chardev.
 */
#ifndef QEMU_CMDLINE_H
#define QEMU_CMDLINE_H

struct cmdline {
    char *name;     /* NULL: none is given */
    char *uuid;     /* NULL: none is given; 8-4-4-4-12, lower case */
    char **sockets; /* paths as written, NULL-terminated, each once */
};

/* Reads the NULL-terminated `argv`; what it does not understand it skips. */
void cmdline_read(char *const *argv, struct cmdline *out);
void cmdline_done(struct cmdline *c);

/* `text` as 8-4-4-4-12 lower-case hexadecimal, or NULL if it is no UUID or
 * all zeros, which is how QEMU says "none".  The caller frees it. */
char *cmdline_uuid(const char *text);

#endif
