/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/manifest_format.h"
#include "repo/ref.h"
#include "repo/tree.h"

enum { TEXT_MAX_BYTES = 4096 };

struct manifest *
manifest_new(void)
{
    struct manifest *m = xcalloc(1, sizeof(*m));
    uint8_t id[BACKUP_ID_LEN / 2];

    rand_bytes(id, sizeof(id));
    hex_encode(id, sizeof(id), m->id);
    m->time_ns = clock_wall_ns();
    m->machine = xstrdup("");
    m->uuid = xstrdup("");
    m->host = xstrdup("");
    m->method = xstrdup("");
    m->detail = json_object();
    return m;
}

void
manifest_free(struct manifest *m)
{
    if (!m)
        return;
    free(m->machine);
    free(m->uuid);
    free(m->host);
    free(m->method);
    for (size_t i = 0; i < m->n_volumes; i++)
        free(m->volumes[i].name);
    free(m->volumes);
    json_decref(m->detail);
    free(m);
}

void
manifest_freep(struct manifest **m)
{
    manifest_free(*m);
}

void
manifest_add_volume(struct manifest *m, const char *name,
                    const struct volume_root *root)
{
    m->volumes =
        xrealloc(m->volumes, (m->n_volumes + 1) * sizeof(m->volumes[0]));
    m->volumes[m->n_volumes++] =
        (struct manifest_volume){.name = xstrdup(name), .root = *root};
}

const struct manifest_volume *
manifest_volume(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_volumes; i++)
        if (strcmp(m->volumes[i].name, name) == 0)
            return &m->volumes[i];
    return NULL;
}

static json_t *
volume_to_json(const struct manifest_volume *v, int with_root)
{
    char hex[2 * VOLUME_CAPABILITY_BYTES + 1];
    json_t *j = json_pack("{s:s, s:I, s:i, s:i}", "name", v->name, "size_bytes",
                          (json_int_t)v->root.size_bytes, "levels",
                          v->root.levels, "chunker", v->root.chunker);

    hex_encode(v->root.h, sizeof(v->root.h), hex);
    if (j && with_root)
        (void)json_object_set_new(j, "root", json_string(hex));
    return j;
}

/* NULL if a text is not UTF-8. */
static json_t *
to_json(const struct manifest *m, int with_roots)
{
    char time[CLOCK_TEXT_LEN];
    json_t *volumes = json_array();

    clock_format_utc(m->time_ns, time);
    for (size_t i = 0; i < m->n_volumes; i++)
        if (json_array_append_new(
                volumes, volume_to_json(&m->volumes[i], with_roots)) == -1) {
            json_decref(volumes);
            return NULL;
        }
    json_t *origin = m->origin.backup[0] ? json_pack("{s:s, s:s}", "repository",
                                                     m->origin.repository,
                                                     "backup", m->origin.backup)
                                         : NULL;
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:O, s:o*}",
        "id", m->id, "time", time, "time_ns", (json_int_t)m->time_ns, "machine",
        m->machine, "uuid", m->uuid, "host", m->host, "method", m->method,
        "read_bytes", (json_int_t)m->read_bytes, "new_bytes",
        (json_int_t)m->new_bytes, "stored_bytes", (json_int_t)m->stored_bytes,
        "volumes", volumes, "detail", m->detail, "origin", origin);
}

json_t *
manifest_to_json(const struct manifest *m)
{
    return to_json(m, 0);
}

int
manifest_pack(const struct manifest *m, struct buf *out, struct err *e)
{
    if (m->n_volumes > MANIFEST_MAX_VOLUMES)
        return err_set(e, ERR_LIMIT, "a backup has at most %d volumes, not %zu",
                       MANIFEST_MAX_VOLUMES, m->n_volumes);
    json_t *j = to_json(m, 1);
    if (!j)
        return err_set(e, ERR_USAGE,
                       "the backup's description is not all UTF-8 text");
    char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(j);
    if (!text)
        return err_set(e, ERR_LIMIT, "no memory for the manifest");
    buf_add(out, text, strlen(text));
    free(text);
    return buf_check(out, "the manifest", e);
}

/* ---- from a stranger ------------------------------------------------- */

static int
bad(struct err *e, const char *what)
{
    return err_set(e, ERR_CORRUPT, "the manifest's \"%s\" makes no sense",
                   what);
}

static int
get_text(const json_t *j, const char *key, char **out, struct err *e)
{
    const json_t *value = json_object_get(j, key);

    if (!json_is_string(value) || json_string_length(value) > TEXT_MAX_BYTES ||
        strlen(json_string_value(value)) != json_string_length(value))
        return bad(e, key);
    free(*out);
    *out = xstrdup(json_string_value(value));
    return 0;
}

static int
get_number(const json_t *j, const char *key, uint64_t max, uint64_t *out,
           struct err *e)
{
    const json_t *value = json_object_get(j, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max)
        return bad(e, key);
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int
get_volume(const json_t *j, struct manifest *m, struct err *e)
{
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *root = NULL;
    struct volume_root r = {0};
    uint64_t levels = 0, chunker = 0;

    if (get_text(j, "name", &name, e) == -1 ||
        get_text(j, "root", &root, e) == -1 ||
        get_number(j, "size_bytes", VOLUME_SIZE_MAX, &r.size_bytes, e) == -1 ||
        get_number(j, "levels", NODE_LEVEL_MAX, &levels, e) == -1 ||
        get_number(j, "chunker", UINT8_MAX, &chunker, e) == -1)
        return -1;
    if (!hex_decode(root, r.h, sizeof(r.h)))
        return bad(e, "root");
    if (levels != tree_levels(r.size_bytes))
        return bad(e, "levels");
    if (manifest_volume(m, name))
        return bad(e, "volumes");
    r.levels = (uint8_t)levels;
    r.chunker = (uint8_t)chunker;
    manifest_add_volume(m, name, &r);
    return 0;
}

static int
get_id(const json_t *j, const char *key, char out[BACKUP_ID_LEN + 1],
       struct err *e)
{
    const char *id = json_string_value(json_object_get(j, key));

    if (!id || strlen(id) != BACKUP_ID_LEN || !hex_is(id))
        return bad(e, key);
    memcpy(out, id, BACKUP_ID_LEN + 1);
    return 0;
}

static int
get_origin(const json_t *j, struct manifest_origin *out, struct err *e)
{
    const json_t *origin = json_object_get(j, "origin");

    if (!origin)
        return 0;
    if (get_id(origin, "repository", out->repository, e) == -1 ||
        get_id(origin, "backup", out->backup, e) == -1)
        return err_wrap(e, "\"origin\"");
    return 0;
}

static int
from_json(const json_t *j, struct manifest *m, struct err *e)
{
    const json_t *volumes = json_object_get(j, "volumes");
    json_t *detail = json_object_get(j, "detail");
    uint64_t time_ns = 0;

    if (get_id(j, "id", m->id, e) == -1 || get_origin(j, &m->origin, e) == -1 ||
        get_number(j, "time_ns", INT64_MAX, &time_ns, e) == -1 ||
        get_text(j, "machine", &m->machine, e) == -1 ||
        get_text(j, "uuid", &m->uuid, e) == -1 ||
        get_text(j, "host", &m->host, e) == -1 ||
        get_text(j, "method", &m->method, e) == -1 ||
        get_number(j, "read_bytes", INT64_MAX, &m->read_bytes, e) == -1 ||
        get_number(j, "new_bytes", INT64_MAX, &m->new_bytes, e) == -1 ||
        get_number(j, "stored_bytes", INT64_MAX, &m->stored_bytes, e) == -1)
        return -1;
    m->time_ns = (int64_t)time_ns;
    if (!json_is_object(detail))
        return bad(e, "detail");
    json_decref(m->detail);
    m->detail = json_incref(detail);
    if (!json_is_array(volumes) ||
        json_array_size(volumes) > MANIFEST_MAX_VOLUMES)
        return bad(e, "volumes");
    for (size_t i = 0; i < json_array_size(volumes); i++)
        if (get_volume(json_array_get(volumes, i), m, e) == -1)
            return -1;
    return 0;
}

int
manifest_unpack(const void *p, size_t len, struct manifest **out, struct err *e)
{
    json_error_t why;

    if (len > REF_BODY_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "the manifest has %zu bytes", len);
    json_t *j = json_loadb(p, len, JSON_REJECT_DUPLICATES, &why);
    if (!j)
        return err_set(e, ERR_CORRUPT, "the manifest is no JSON (line %d)",
                       why.line);
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    int rc = from_json(j, m, e);
    json_decref(j);
    if (rc == 0)
        *out = STEAL(m);
    return rc;
}
