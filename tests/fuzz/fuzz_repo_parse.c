/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that src/repo reads from a store.  The first byte says which
 * structure the rest is taken for.  Sums and seals that only keep a fuzzer from
 * what is behind them are made right first.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "repo/bundle.h"
#include "repo/checker.h"
#include "repo/codec.h"
#include "repo/config.h"
#include "repo/format.h"
#include "repo/keyring.h"
#include "repo/lost.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/name.h"
#include "repo/node.h"
#include "repo/notice.h"
#include "repo/pack.h"
#include "repo/recovery.h"
#include "repo/ref.h"
#include "repo/role.h"
#include "repo/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct keyring keys;
static struct config config;

static void
must(int yes)
{
    if (!yes)
        abort();
}

/* Failures say why, successes nothing. */
static int
told(int rc, const struct err *e)
{
    must((rc == -1) == (e->code != ERR_OK));
    must(rc != -1 || e->msg[0]);
    return rc != -1;
}

static void
parse_name(const uint8_t *p, size_t n)
{
    CLEANUP(freep) char *name = xstrndup((const char *)p, n);
    char again[NAME_MAX_LEN];
    struct ref_name ref;
    enum pack_kind kind = PACK_DATA;
    uint8_t id[32];
    int64_t time_ns = 0;
    uint32_t generation = 0, writer = 0;

    if (name_parse_retired(name, &ref)) {
        name_retired(&ref, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_session(name, &writer, &time_ns, id)) {
        name_session(writer, time_ns, id, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_condemned(name, &time_ns, id)) {
        name_condemned(time_ns, id, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_key(name, id)) {
        name_key(id, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_config(name, &generation)) {
        name_config(generation, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_ref(name, &ref)) {
        name_ref(&ref, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_pack(name, &kind, id)) {
        name_pack(kind, id, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_index_delta(name, &time_ns, id)) {
        name_index_delta(time_ns, id, again);
        must(strcmp(again, name) == 0);
    }
    if (name_parse_lost(name, &time_ns, id)) {
        name_lost(time_ns, id, again);
        must(strcmp(again, name) == 0);
    }
}

static void
parse_config(const uint8_t *p, size_t n)
{
    struct config c = {0};
    struct err e = {0};

    if (told(config_unpack(p, n, &c, &e), &e))
        (void)told(config_check(p, n, &c, &keys, &e), &e);
    config_done(&c);
}

static void
parse_bundle(const uint8_t *p, size_t n)
{
    struct bundle_info info;
    struct bundle_note note = {0};
    struct keyring k = {0};
    struct err e = {0};

    (void)told(bundle_info(p, n, &info, &e), &e);
    err_clear(&e);
    if (told(bundle_note(p, n, &keys, &note, &e), &e))
        must(strlen(note.label) <= BUNDLE_MAX_LABEL);
    err_clear(&e);
    (void)told(keyring_unpack(p, n, &k, &e), &e);
    keyring_done(&k);
}

static void
parse_node(const uint8_t *p, size_t n)
{
    CLEANUP(buf_done) struct buf again = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(node_freep) struct node *node = NULL;
    struct node_children children;
    struct err e = {0};

    if (told(node_unpack(p, n, &node, &e), &e)) { /* one encoding only */
        node_pack(node, &again);
        must(again.len == n && memcmp(again.p, p, n) == 0);
    }
    err_clear(&e);
    if (told(node_children_unpack(p, n, &children, &e), &e))
        must(children.gids >= p && range_inside((uint64_t)(children.gids - p),
                                                children.n * GID_BYTES, n));
}

/* The clear text of a table, with a head around it. */
static void
parse_pack(const uint8_t *p, size_t n)
{
    CLEANUP(pack_table_done) struct pack_table t = {0};
    struct err e = {0};
    size_t front = 0;

    if (pack_front_bytes(p, n, &front, &e) == 0)
        must(front >= PACK_HEAD_BYTES);
    err_clear(&e);
    if (n < PACK_HEAD_BYTES)
        return;
    size_t len = n - PACK_HEAD_BYTES;
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + AEAD_OVERHEAD);
    uint8_t key[HASH_DERIVED_BYTES];
    memcpy(bytes, p, PACK_HEAD_BYTES);
    keyring_derive(&keys, "pack table", bytes + 24, 16, key);
    aead_seal(key, bytes, PACK_HEAD_BYTES, p + PACK_HEAD_BYTES, len,
              bytes + PACK_HEAD_BYTES);
    uint64_t pack_len = n + AEAD_OVERHEAD + (n > 60 ? get_le16(p + 50) : 0);
    if (told(pack_unpack_table(bytes, n + AEAD_OVERHEAD, pack_len, &keys, &t,
                               &e),
             &e))
        for (uint32_t i = 0; i < t.n; i++)
            must(range_inside(t.entries[i].offset, t.entries[i].len, pack_len));
}

static void
parse_segment(const uint8_t *p, size_t n)
{
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + HASH_BYTES);
    struct segment s;
    struct location at[4];
    struct err e = {0};

    memcpy(bytes, p, n);
    hash_sha256(bytes, n, bytes + n);
    if (!told(segment_open(bytes, n + HASH_BYTES, &s, &e), &e))
        return;
    for (uint32_t i = 0; i < s.n_entries; i++) {
        const uint8_t *gid = segment_entry(&s, i, &at[0]);
        (void)segment_maybe(&s, gid);
        must(segment_find(&s, gid, at, ARRAY_LEN(at)) > 0);
        must(range_inside(at[0].offset, at[0].len, at[0].pack_bytes));
    }
}

static void
parse_ref(const uint8_t *p, size_t n)
{
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(freep) struct ref_root *roots = NULL;
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + SIGN_BYTES);
    struct ref_head head;
    struct err e = {0};
    size_t n_roots = 0;

    memcpy(bytes, p, n);
    sign_make(keys.writer_seed, bytes, n, bytes + n);
    (void)told(
        ref_open_head(bytes, n + SIGN_BYTES, "refs/", &config, &head, &e), &e);
    err_clear(&e);
    (void)told(
        ref_open_roots(bytes, n + SIGN_BYTES, &keys, &roots, &n_roots, &e), &e);
    err_clear(&e);
    (void)told(ref_open_body(bytes, n + SIGN_BYTES, &keys, &body, &e), &e);
}

static void
parse_manifest(const uint8_t *p, size_t n)
{
    CLEANUP(buf_done) struct buf again = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(manifest_freep) struct manifest *twin = NULL;
    struct err e = {0};

    if (!told(manifest_unpack(p, n, &m, &e), &e))
        return;
    must(manifest_pack(m, &again, &e) == 0);
    must(manifest_unpack(again.p, again.len, &twin, &e) == 0);
    must(twin->n_volumes == m->n_volumes && strcmp(twin->id, m->id) == 0);
}

static void
parse_lost(const uint8_t *p, size_t n)
{
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + SIGN_BYTES);
    CLEANUP(freep) struct lost_item *items = NULL;
    struct err e = {0};
    size_t n_items = 0;

    if (n < 32)
        return;
    memcpy(bytes, p, n);
    sign_make(keys.maintenance_seed, bytes, n, bytes + n);
    if (told(lost_unpack(bytes, n + SIGN_BYTES, bytes + 16, &config, &items,
                         &n_items, &e),
             &e))
        for (size_t i = 0; i < n_items; i++)
            must(items[i].kind < LOST_KINDS);
}

static void
parse_codec(const uint8_t *p, size_t n)
{
    static uint8_t out[OBJECT_PLAIN_MAX];
    static struct codec *codec;
    struct err e = {0};
    size_t len = 0;

    if (!codec)
        codec = codec_new(CODEC_LEVEL_DEFAULT);
    if (told(codec_unpack(codec, p, n, out, sizeof(out), &len, &e), &e))
        must(len <= sizeof(out));
}

/* ---- notices ----------------------------------------------------------- */

static const uint8_t *
sign(const uint8_t *seed, uint8_t *bytes, size_t n)
{
    sign_make(seed, bytes, n, bytes + n);
    return bytes;
}

/* The head of a list, and its entries in clear: sealed and signed, under the
 * name that it says it has. */
static void
parse_condemned(const uint8_t *p, size_t n)
{
    enum { HEAD = FORMAT_HEAD_BYTES + NAME_ID_BYTES + 16 };
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + AEAD_OVERHEAD + SIGN_BYTES);
    CLEANUP(condemned_done) struct condemned list = {0};
    uint8_t key[HASH_DERIVED_BYTES];
    char name[NAME_MAX_LEN];
    struct err e = {0};

    if (n < HEAD)
        return;
    const uint8_t *id = p + FORMAT_HEAD_BYTES;
    memcpy(bytes, p, HEAD);
    keyring_derive(&keys, "condemned list", id, NAME_ID_BYTES, key);
    aead_seal(key, bytes, HEAD, p + HEAD, n - HEAD, bytes + HEAD);
    n += AEAD_OVERHEAD;
    name_condemned((int64_t)get_le64(id + NAME_ID_BYTES), id, name);
    if (told(condemned_unpack(sign(keys.maintenance_seed, bytes, n),
                              n + SIGN_BYTES, name, &keys, &config, &list, &e),
             &e))
        for (size_t i = 0; i < list.n; i++)
            condemned_object(&list.entries[i], name);
}

static void
parse_session(const uint8_t *p, size_t n)
{
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + SIGN_BYTES);
    const uint8_t *writer = p + FORMAT_HEAD_BYTES;
    struct session session;
    char name[NAME_MAX_LEN];
    struct err e = {0};

    if (n < FORMAT_HEAD_BYTES + 12 + NAME_ID_BYTES)
        return;
    memcpy(bytes, p, n);
    name_session(get_le32(writer), (int64_t)get_le64(writer + 4), writer + 12,
                 name);
    const uint8_t *seed = get_le32(writer) == SESSION_MAINTENANCE
                              ? keys.maintenance_seed
                              : keys.writer_seed;
    if (told(session_unpack(sign(seed, bytes, n), n + SIGN_BYTES, name, &config,
                            &session, &e),
             &e))
        must(session.writer == get_le32(writer));
}

static void
parse_retired(const uint8_t *p, size_t n)
{
    CLEANUP(freep) uint8_t *bytes = xcalloc(1, n + SIGN_BYTES);
    const uint8_t *at = p + FORMAT_HEAD_BYTES;
    struct ref_name ref = {0}, got = {0};
    char name[NAME_MAX_LEN];
    struct err e = {0};

    if (n < FORMAT_HEAD_BYTES + 4 + NAME_TAG_BYTES + 8 + NAME_ID_BYTES)
        return;
    memcpy(bytes, p, n);
    ref.ns = get_le32(at);
    memcpy(ref.machine, at + 4, NAME_TAG_BYTES);
    ref.time_ns = (int64_t)get_le64(at + 4 + NAME_TAG_BYTES);
    memcpy(ref.id, at + 12 + NAME_TAG_BYTES, NAME_ID_BYTES);
    name_retired(&ref, name);
    if (told(retired_unpack(sign(keys.maintenance_seed, bytes, n),
                            n + SIGN_BYTES, name, &config, &got, &e),
             &e))
        must(memcmp(got.id, ref.id, NAME_ID_BYTES) == 0);
}

/* What people type. */
static void
parse_text(const uint8_t *p, size_t n)
{
    CLEANUP(freep) char *text = xstrndup((const char *)p, n);
    uint8_t code[RECOVERY_BYTES], code_again[RECOVERY_BYTES];
    char again[RECOVERY_TEXT_LEN], utc[CLOCK_TEXT_LEN];
    struct check_subset subset;
    enum role role = ROLE_OF_ADMIN;
    unsigned group = 0;
    int64_t wall_ns = 0, wall_again = 0;
    struct err e = {0};

    if (recovery_parse(text, code, &group) == 1) {
        recovery_format(code, again);
        must(recovery_parse(again, code_again, NULL) == 1);
        must(memcmp(code, code_again, sizeof(code)) == 0);
    } else {
        must(group <= RECOVERY_GROUPS);
    }
    if (role_parse(text, &role))
        must(strcmp(role_name(role), text) == 0);
    if (told(check_parse_subset(text, &subset, &e), &e))
        must(subset.read == CHECK_READ_SOME && subset.percent <= 100);
    if (clock_parse_utc(text, &wall_ns)) {
        clock_format_utc(wall_ns, utc);
        must(clock_parse_utc(utc, &wall_again));
        must(wall_again <= wall_ns && wall_ns - wall_again < 1000000000);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const parsers[])(const uint8_t *p, size_t n) = {
        parse_name,      parse_config,  parse_bundle,   parse_node, parse_pack,
        parse_segment,   parse_ref,     parse_manifest, parse_lost, parse_codec,
        parse_condemned, parse_session, parse_retired,  parse_text,
    };

    if (keys.has == 0) {
        keyring_make(&keys);
        config_make(&config, &keys, 1);
    }
    if (n > 0)
        parsers[p[0] % ARRAY_LEN(parsers)](p + 1, n - 1);
    return 0;
}
