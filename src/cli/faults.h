/* SPDX-License-Identifier: Apache-2.0 */
/* faults: what a check of the repository found, as text and as JSON. */
#ifndef CLI_FAULTS_H
#define CLI_FAULTS_H

#include <jansson.h>

struct check_fault;
struct check_result;
struct out;

/* One line: "extent: backup 6f3a01b2 of web-01, disk/vda, bytes 0 to 65535
 * (64 KiB): object ... is in no index", or a line of type "fault". */
void faults_print(struct out *o, const struct check_fault *f);

json_t *faults_result(const struct check_result *r);

#endif
