/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/env.h"

#include <stdlib.h>
#include <string.h>

const char *
env_get(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return v && *v ? v : NULL;
}

void
env_wipe(const char *name)
{
    char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    if (!v)
        return;
    explicit_bzero(v, strlen(v));
    (void)unsetenv(name); /* NOLINT(concurrency-mt-unsafe) */
}
