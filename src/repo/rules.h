/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules: the rules of the protocol between writers and maintenance
 * (docs/design/repository.md, "The writer's protocol"), by name.
 *
 * In the program every rule holds.  The protocol's model test compiles these
 * sources with PROTOCOL_SWITCHES, to see that it notices when one does not.
 */
#ifndef REPO_RULES_H
#define REPO_RULES_H

#include <stdbool.h>

#ifdef PROTOCOL_SWITCHES
struct protocol_rules {
    bool lease;        /* a ref that was put too late is not valid */
    bool order;        /* condemned lists are listed before the index */
    bool retire_grace; /* a retired ref stays a root for G */
    bool second_copy;  /* only a copy that is not condemned counts */
    bool tombstone;    /* a list stays for G after it was carried out */
    bool relist;       /* what was pardoned is condemned again */
    bool base_check;   /* the base is looked at again before the commit */
    bool there;        /* packs that a backup relies on must be there */
};
#define PROTOCOL_ALL_RULES                             \
    {                                                  \
        true, true, true, true, true, true, true, true \
    }
extern struct protocol_rules protocol_rules;
#define RULE(name) (protocol_rules.name)
#else
#define RULE(name) true
#endif

#endif
