/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret: the repository's password, and where it comes from; never from an
 * argument, which everybody on the host can read.
 *
 * The first of: --password-file or --password-command; VMKEEP_PASSWORD,
 * VMKEEP_PASSWORD_FILE or VMKEEP_PASSWORD_COMMAND; the systemd credential
 * vmkeep.password; the terminal.  Two of one rank are an error: nobody should
 * have to guess which one counts.  A line feed at its end does not belong to
 * it.
 *
 * A command that sets a new password beside the one that opens the repository
 * takes it the same ways: --new-password-file, VMKEEP_NEW_PASSWORD,
 * vmkeep.new-password and so on.  So is that of a second repository:
 * --to-password-file, VMKEEP_TO_PASSWORD, vmkeep.to-password.
 */
#ifndef CLI_SECRET_H
#define CLI_SECRET_H

#include <stdbool.h>

struct err;

enum { SECRET_MAX = 1024 };

struct secret {
    char text[SECRET_MAX + 1];
};

enum secret_which { SECRET_FIRST, SECRET_NEW, SECRET_TO };

struct secret_ways {
    const char *file;        /* --password-file, or NULL */
    const char *command;     /* --password-command, or NULL */
    const char *subject;     /* what it opens, for the question */
    bool is_new;             /* ask twice */
    enum secret_which which; /* of the password's names */
};

/* ERR_USAGE if it is missing, empty, too long or no text, and where two ways
 * are given at once.  Wipes VMKEEP_PASSWORD (VMKEEP_NEW_PASSWORD,
 * VMKEEP_TO_PASSWORD) from the environment. */
int secret_get(const struct secret_ways *w, struct secret *out, struct err *e);

/* The same, but nobody is asked: 1, or 0 if it is not given any other way. */
int secret_at_hand(const struct secret_ways *w, struct secret *out,
                   struct err *e);

/* For CLEANUP. */
void secret_wipe(struct secret *p);

#endif
