/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/role.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "repo/keyring.h"

static const char *const names[] = {[ROLE_OF_ADMIN] = "admin",
                                    [ROLE_OF_RESTORE] = "restore",
                                    [ROLE_OF_HOST] = "host",
                                    [ROLE_OF_MAINTENANCE] = "maintenance",
                                    [ROLE_OF_RECOVERY] = "recovery"};

const char *
role_name(unsigned role)
{
    return role > 0 && role < ARRAY_LEN(names) ? names[role] : "unknown";
}

bool
role_parse(const char *name, enum role *out)
{
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum role)i;
            return true;
        }
    return false;
}

unsigned
role_keys(enum role role, bool confined)
{
    switch (role) {
    case ROLE_OF_ADMIN:
    case ROLE_OF_RECOVERY:
        return KEY_ALL;
    case ROLE_OF_RESTORE:
        return KEY_DOMAIN | (confined ? KEY_NAMESPACE : KEY_RESTORE);
    case ROLE_OF_HOST:
        return KEY_DOMAIN | KEY_WRITER | (confined ? KEY_NAMESPACE : 0);
    case ROLE_OF_MAINTENANCE:
        return KEY_META | KEY_MAINTENANCE;
    }
    return 0;
}
