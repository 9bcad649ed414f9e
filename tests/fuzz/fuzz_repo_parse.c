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
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "repo/bundle.h"
#include "repo/codec.h"
#include "repo/config.h"
#include "repo/keyring.h"
#include "repo/lost.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/name.h"
#include "repo/node.h"
#include "repo/pack.h"
#include "repo/ref.h"
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
    uint32_t generation = 0;

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

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const parsers[])(const uint8_t *p, size_t n) = {
        parse_name,    parse_config, parse_bundle,   parse_node, parse_pack,
        parse_segment, parse_ref,    parse_manifest, parse_lost, parse_codec,
    };

    if (keys.has == 0) {
        keyring_make(&keys);
        config_make(&config, &keys, 1);
    }
    if (n > 0)
        parsers[p[0] % ARRAY_LEN(parsers)](p + 1, n - 1);
    return 0;
}
