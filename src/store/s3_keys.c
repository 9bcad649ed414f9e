/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/s3_sign.h"
#include "store/store.h"

enum { SHARED_FILE_MAX = 1 << 20, VALUE_MAX = 8192 };

static const char *
env(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return v && *v ? v : NULL;
}

static void
wipe_freep(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(STEAL(*s));
}

void
s3_keys_done(struct s3_keys *k)
{
    wipe_freep(&k->id);
    wipe_freep(&k->secret);
    wipe_freep(&k->token);
    wipe_freep(&k->region);
}

/* Which of all that is set counts. */
struct choice {
    bool second;
    const char *profile;
    bool profile_first; /* its region counts before AWS_REGION */
};

/* ---- the shared files -------------------------------------------------- */

struct span {
    const char *p;
    size_t len;
};

static struct span
trimmed(const char *p, size_t len)
{
    static const char blanks[] = " \t\r";

    while (len > 0 && strchr(blanks, *p)) {
        p++;
        len--;
    }
    while (len > 0 && strchr(blanks, p[len - 1]))
        len--;
    return (struct span){p, len};
}

static bool
is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* "[default]", "[profile backup]" */
static bool
is_section(struct span line, const char *section)
{
    struct span in = trimmed(line.p + 1, line.len - 1);

    if (in.len == 0 || in.p[in.len - 1] != ']')
        return false;
    in = trimmed(in.p, in.len - 1);
    if (in.len > 8 && memcmp(in.p, "profile ", 8) == 0)
        in = trimmed(in.p + 8, in.len - 8);
    return is(in, section);
}

char *
s3_keys_lookup(const char *text, const char *section, const char *name)
{
    bool inside = false;

    while (*text) {
        size_t n = strcspn(text, "\n");
        struct span line = trimmed(text, n);
        const char *equals = line.len ? memchr(line.p, '=', line.len) : NULL;
        if (line.len > 0 && line.p[0] == '[') {
            inside = is_section(line, section);
        } else if (inside && equals && line.p[0] != '#' && line.p[0] != ';' &&
                   is(trimmed(line.p, (size_t)(equals - line.p)), name)) {
            struct span v =
                trimmed(equals + 1, line.len - (size_t)(equals - line.p) - 1);
            return v.len ? xstrndup(v.p, v.len) : NULL;
        }
        text += n;
        text += *text == '\n';
    }
    return NULL;
}

static char *
shared_path(const char *variable, const char *name)
{
    const char *path = env(variable), *home = env("HOME");

    if (path)
        return xstrdup(path);
    CLEANUP(freep) char *below = xasprintf(".aws/%s", name);
    return home ? path_join(home, below) : NULL;
}

/* Its text in `out`, or nothing if there is no such file. */
static int
read_shared(const char *path, struct buf *out, struct err *e)
{
    if (!path || file_read(path, out, e) == 0)
        return 0;
    if (e->code != ERR_NOENT) {
        e->code = ERR_STORE;
        return -1;
    }
    err_clear(e);
    return 0;
}

static void
text_done(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->room);
    buf_done(b);
}

static int
keys_from_file(const char *profile, struct s3_keys *k, struct err *e)
{
    CLEANUP(text_done) struct buf text = buf_of(SHARED_FILE_MAX);
    CLEANUP(freep)
    char *path = shared_path("AWS_SHARED_CREDENTIALS_FILE", "credentials");

    if (read_shared(path, &text, e) == -1)
        return -1;
    k->id = s3_keys_lookup(buf_text(&text), profile, "aws_access_key_id");
    k->secret =
        s3_keys_lookup(buf_text(&text), profile, "aws_secret_access_key");
    k->token = s3_keys_lookup(buf_text(&text), profile, "aws_session_token");
    if (k->id && k->secret)
        return 0;
    (void)err_set(e, ERR_STORE, "there is no key for the S3 storage");
    return err_hint(e,
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "write them as profile '%s' into %s",
                    profile, path ? path : "the shared credentials file");
}

/* ---- the region -------------------------------------------------------- */

/* s3.eu-central-1.amazonaws.com, s3.dualstack.eu-central-1.amazonaws.com */
static char *
region_of_host(const char *host)
{
    const char *s = host;

    if (!text_starts(s, "s3.") || !strstr(s, ".amazonaws.com"))
        return NULL;
    s += 3;
    if (text_starts(s, "dualstack."))
        s += 10;
    size_t n = strcspn(s, ".");
    return n > 0 && !text_starts(s, "amazonaws.") ? xstrndup(s, n) : NULL;
}

/* The region that the profile has, or NULL; -1. */
static int
region_of_profile(const char *profile, char **out, struct err *e)
{
    CLEANUP(buf_done) struct buf text = buf_of(SHARED_FILE_MAX);
    CLEANUP(freep) char *path = shared_path("AWS_CONFIG_FILE", "config");

    if (read_shared(path, &text, e) == -1)
        return -1;
    *out = s3_keys_lookup(buf_text(&text), profile, "region");
    return 0;
}

static int
find_region(const char *host, const struct choice *c, char **out, struct err *e)
{
    CLEANUP(freep) char *own = NULL;
    const char *named = c->second ? env("VMKEEP_TO_AWS_REGION") : NULL;

    if (region_of_profile(c->profile, &own, e) == -1)
        return -1;
    if (!named && c->profile_first)
        named = own;
    if (!named)
        named = env("AWS_REGION");
    if (!named)
        named = env("AWS_DEFAULT_REGION");
    if (!named)
        named = own;
    *out = named ? xstrdup(named) : region_of_host(host);
    if (!*out)
        *out = xstrdup("us-east-1");
    return 0;
}

/* What goes into a header must be one word. */
static int
check_value(const char *what, const char *v, struct err *e)
{
    size_t n = v ? strlen(v) : 0;

    for (size_t i = 0; i < n; i++)
        if (v[i] <= 0x20 || v[i] > 0x7e)
            return err_set(e, ERR_STORE,
                           "the %s for the S3 storage has a character in it "
                           "that cannot be, such as a blank",
                           what);
    return n > VALUE_MAX
               ? err_set(e, ERR_STORE, "the %s for the S3 storage is too long",
                         what)
               : 0;
}

/* What the variables with this prefix say: 1 if they have a key, 0, -1. */
static int
keys_from_variables(const char *prefix, struct s3_keys *k, struct err *e)
{
    CLEANUP(freep) char *id_name = xasprintf("%sAWS_ACCESS_KEY_ID", prefix);
    CLEANUP(freep)
    char *secret_name = xasprintf("%sAWS_SECRET_ACCESS_KEY", prefix);
    CLEANUP(freep)
    char *token_name = xasprintf("%sAWS_SESSION_TOKEN", prefix);
    const char *id = env(id_name), *secret = env(secret_name);
    const char *token = env(token_name);

    if (!id != !secret)
        return err_set(e, ERR_STORE,
                       "only one of %s and %s is set; set both or neither",
                       id_name, secret_name);
    if (!id)
        return 0;
    k->id = xstrdup(id);
    k->secret = xstrdup(secret);
    k->token = token ? xstrdup(token) : NULL;
    return 1;
}

/* 1 if the keys are there; 0: the profile that *c names has them; -1. */
static int
choose(const struct store_account *who, struct choice *c, struct s3_keys *k,
       struct err *e)
{
    const char *own = env("VMKEEP_TO_AWS_PROFILE"), *usual = env("AWS_PROFILE");

    *c = (struct choice){.second = who->is_second,
                         .profile = usual ? usual : "default"};
    if (who->profile) {
        c->profile = who->profile;
        c->profile_first = true;
        return 0;
    }
    int found = who->is_second ? keys_from_variables("VMKEEP_TO_", k, e) : 0;
    if (found != 0)
        return found;
    if (who->is_second && own) {
        c->profile = own;
        c->profile_first = true;
        return 0;
    }
    return keys_from_variables("", k, e);
}

int
s3_keys_find(const char *host, const struct store_account *who,
             struct s3_keys *out, struct err *e)
{
    CLEANUP(s3_keys_done) struct s3_keys k = {0};
    struct choice c;
    int found = choose(who, &c, &k, e);

    if (found == -1 || (found == 0 && keys_from_file(c.profile, &k, e) == -1))
        return -1;
    if (find_region(host, &c, &k.region, e) == -1 ||
        check_value("access key id", k.id, e) == -1 ||
        check_value("secret key", k.secret, e) == -1 ||
        check_value("session token", k.token, e) == -1 ||
        check_value("region", k.region, e) == -1)
        return -1;
    *out = k;
    k = (struct s3_keys){0};
    return 0;
}
