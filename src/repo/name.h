/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name: what the objects of a repository are called in its store
 * (docs/format/repository.md, "Objects").
 *
 *   config
 *   config.d/N                     a later config; N: 8 digits of HEX, from 1
 *   keys/ID                        ID: half the SHA-256 of the bytes
 *   packs/d/HH/SHA256              data; HH: the first two digits
 *   packs/m/HH/SHA256              metadata
 *   index/d/TIME-ID                ID: random
 *   refs/NAMESPACE/MACHINE/TIME-ID ID: the backup's
 *   lost/TIME-ID                   ID: random
 *
 * TIME is "2026-11-22t10-00-00.123456789", UTC: names sort by it.
 */
#ifndef REPO_NAME_H
#define REPO_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAME_MAX_LEN = 160, /* with the NUL */
    NAME_ID_BYTES = 16,
    NAME_TAG_BYTES = 8,
    NAME_TIME_LEN = 32
};

extern const char NAME_CONFIG[];

enum pack_kind { PACK_DATA = 0, PACK_META = 1, PACK_KINDS = 2 };

/* `out` has NAME_MAX_LEN bytes everywhere. */
void name_key(const uint8_t id[NAME_ID_BYTES], char *out);
void name_config(uint32_t generation, char *out); /* 0: NAME_CONFIG */
void name_pack(enum pack_kind kind, const uint8_t sha256[32], char *out);
void name_index_delta(int64_t time_ns, const uint8_t id[NAME_ID_BYTES],
                      char *out);

void name_lost(int64_t time_ns, const uint8_t id[NAME_ID_BYTES], char *out);

/* Times before 1970 and after 9999 count as 1970. */
struct ref_name {
    uint32_t ns;
    uint8_t machine[NAME_TAG_BYTES];
    int64_t time_ns;
    uint8_t id[NAME_ID_BYTES];
};
void name_ref(const struct ref_name *n, char *out);

/* The inverse of the functions above; false if `name` isn't such a name. */
bool name_parse_ref(const char *name, struct ref_name *out);
bool name_parse_index_delta(const char *name, int64_t *out_time_ns,
                            uint8_t out_id[NAME_ID_BYTES]);
bool name_parse_key(const char *name, uint8_t out_id[NAME_ID_BYTES]);
bool name_parse_config(const char *name, uint32_t *out_generation); /* not 0 */
bool name_parse_lost(const char *name, int64_t *out_time_ns,
                     uint8_t out_id[NAME_ID_BYTES]);
bool name_parse_pack(const char *name, enum pack_kind *out_kind,
                     uint8_t out_sha256[32]);

#endif
