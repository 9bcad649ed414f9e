/* SPDX-License-Identifier: Apache-2.0 */
/*
 * helper: the small processes beside a capture: the same program, started
 * under another name.
 */
#ifndef CAPTURE_HELPER_H
#define CAPTURE_HELPER_H

#include <stdbool.h>

/* First thing in main(): if this process was started as a guard, drainer or
 * probe, run it, put its exit status into *status, and return true. */
bool helper_main(int argc, char **argv, int *status);

#endif
