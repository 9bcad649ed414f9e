/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/labels.h"

#include <stdio.h>

void
label_make(char *out, const char *run, const char *kind, size_t number)
{
    (void)snprintf(out, LABEL_MAX, "vmkeep-%s-%s%zu", run, kind, number);
}

void
label_prefix(char *out, const char *run)
{
    (void)snprintf(out, LABEL_MAX, "vmkeep-%s-", run);
}
