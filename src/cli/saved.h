/* SPDX-License-Identifier: Apache-2.0 */
/* saved: a backup just made, as the summary of the command that made it. */
#ifndef CLI_SAVED_H
#define CLI_SAVED_H

#include <jansson.h>

struct capture_result;

/* The caller's; where there was no guest, its pause was 0. */
json_t *saved_json(const struct capture_result *r);

#endif
