/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/outcome.h"

#include <stddef.h>

enum outcome
outcome_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return OUTCOME_DONE;
    case ERR_USAGE:
        return OUTCOME_USAGE;
    case ERR_CORRUPT:
        return OUTCOME_DAMAGED;
    case ERR_NOREPO:
        return OUTCOME_NO_REPO;
    case ERR_KEY:
        return OUTCOME_WRONG_KEY;
    case ERR_STORE:
        return OUTCOME_STORAGE;
    case ERR_QEMU:
        return OUTCOME_HYPERVISOR;
    case ERR_CANCELED:
        return OUTCOME_INTERRUPTED;
    case ERR_NOENT:
    case ERR_EXISTS:
    case ERR_DENIED:
    case ERR_UNSUP:
    case ERR_LIMIT:
    case ERR_NOSPACE:
    case ERR_TIMEOUT:
    case ERR_IO:
        return OUTCOME_FAILED;
    }
    return OUTCOME_FAILED;
}

const struct outcome_row outcome_rows[] = {
    {OUTCOME_DONE, "done, and nothing to say about it"},
    {OUTCOME_FAILED, "failed"},
    {OUTCOME_USAGE, "the command line makes no sense"},
    {OUTCOME_PARTLY, "partly done, or done with a warning"},
    {OUTCOME_DAMAGED, "damage found in what was read"},
    {OUTCOME_NO_REPO, "there is no repository at that place"},
    {OUTCOME_WRONG_KEY,
     "the password does not open the repository, or this part of it"},
    {OUTCOME_STORAGE, "the storage under the repository failed"},
    {OUTCOME_HYPERVISOR, "QEMU refused, or could not be reached"},
    {OUTCOME_INTERRUPTED, "interrupted by a signal"},
    {OUTCOME_DONE, NULL}};
