/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_refusal.h"

#include <curl/curl.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/s3_http.h"

enum { NS_PER_S = 1000000000 };

bool
s3_refusal_passes(int curl_code)
{
    switch (curl_code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PARTIAL_FILE:
    case CURLE_WRITE_ERROR: /* we ended it */
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_HTTP2:
        return true;
    default:
        return false;
    }
}

int
s3_refusal_hint(int curl_code, const struct s3_address *where, struct err *e)
{
    switch (curl_code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return err_hint(e,
                        "if the certificate of %s is signed by a CA of your "
                        "own, name that CA's file in VMKEEP_S3_CA_FILE",
                        where->host);
    case CURLE_COULDNT_RESOLVE_HOST:
        return err_hint(e, "is the host's name in the address right?");
    case CURLE_COULDNT_CONNECT:
        return err_hint(e, "is the server up, and are host and port right?");
    case CURLE_SSL_CONNECT_ERROR:
        return err_hint(e, "does the server speak TLS on this port?");
    default:
        return -1;
    }
}

/* ---- by the code in the error's document ------------------------------- */

enum kind { FINAL, PASSES, KEY, CLOCK, BUCKET, REGION, DENIED };

static const struct {
    const char *code;
    enum kind kind;
    const char *hint; /* NULL: none, or made below */
} known[] = {
    {"InvalidAccessKeyId", KEY,
     "it does not know this access key: check AWS_ACCESS_KEY_ID"},
    {"SignatureDoesNotMatch", KEY,
     "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"},
    {"InvalidToken", KEY, "check AWS_SESSION_TOKEN"},
    {"ExpiredToken", KEY, "the session token has expired: get a new one"},
    {"InvalidSecurity", KEY, "check the access key and the secret key"},
    {"RequestTimeTooSkewed", CLOCK, NULL},
    {"RequestExpired", CLOCK, NULL},
    {"NoSuchBucket", BUCKET, NULL},
    {"AuthorizationHeaderMalformed", REGION, NULL},
    {"PermanentRedirect", REGION, NULL},
    {"TemporaryRedirect", REGION, NULL},
    {"AccessDenied", DENIED, NULL},
    {"AccountProblem", DENIED, NULL},
    {"QuotaExceeded", FINAL,
     "the quota is used up: forget old backups and 'vmkeep prune', or raise "
     "the quota"},
    {"RequestTimeout", PASSES, NULL},
    {"BadDigest", PASSES, NULL},
    {"XAmzContentSHA256Mismatch", PASSES, NULL},
    {"IncompleteBody", PASSES, NULL},
    {"InternalError", PASSES, NULL},
    {"SlowDown", PASSES, NULL},
    {"ServiceUnavailable", PASSES, NULL},
    {"OperationAborted", PASSES, NULL},
    {"ConditionalRequestConflict", PASSES, NULL},
};

static int
find_known(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].code, code) == 0)
            return (int)i;
    return -1;
}

static bool
status_passes(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 ||
           status == 503 || status == 504 || status == 509 || status == 507;
}

static enum kind
kind_of(const struct s3_reply *r)
{
    int i = find_known(r->error.code);

    if (i >= 0)
        return known[i].kind;
    if (r->status >= 300 && r->status < 400)
        return REGION;
    if (r->status == 401 || r->status == 403)
        return DENIED;
    return status_passes(r->status) ? PASSES : FINAL;
}

static int
hint_clock(const struct s3_refusal *w, struct err *e)
{
    char theirs[CLOCK_TEXT_LEN], ours[CLOCK_TEXT_LEN];

    clock_format_utc(clock_wall_ns(), ours);
    if (w->server_ns == 0)
        return err_hint(e, "this host's clock says %s: set it right", ours);
    clock_format_utc(w->server_ns, theirs);
    return err_hint(e,
                    "this host's clock says %s, the storage's %s: set the one "
                    "that is wrong",
                    ours, theirs);
}

static int
hint_region(const struct s3_refusal *w, const struct s3_reply *r, struct err *e)
{
    if (r->error.region[0])
        return err_hint(e,
                        "the bucket is in the region %s, and '%s' was asked: "
                        "set AWS_REGION=%s, and name that region's host in "
                        "the address",
                        r->error.region, w->region, r->error.region);
    return err_hint(e, "no redirection is followed: name the bucket's own host "
                       "in the address, and its region in AWS_REGION");
}

static int
add_hint(const struct s3_refusal *w, const struct s3_reply *r, enum kind kind,
         struct err *e)
{
    int i = find_known(r->error.code);

    if (i >= 0 && known[i].hint)
        return err_hint(e, "%s", known[i].hint);
    if (kind == CLOCK)
        return hint_clock(w, e);
    if (kind == REGION)
        return hint_region(w, r, e);
    if (kind == BUCKET)
        return err_hint(e, "there is no bucket %s on %s", w->where->bucket,
                        w->where->host);
    if (kind == DENIED)
        return err_hint(e, "the access key lacks the right to do that");
    return -1;
}

/* Does the operation that asked know what to make of it? */
static bool
is_told_apart(const struct s3_refusal *w, const struct s3_reply *r,
              enum kind kind)
{
    if (kind == BUCKET || kind == KEY || kind == PASSES)
        return false;
    return (r->status == 404 && w->about_object) || r->status == 409 ||
           r->status == 412 || r->status == 416 || r->status == 501;
}

int
s3_refusal(const struct s3_refusal *w, struct s3_reply *r, struct err *e)
{
    enum kind kind = kind_of(r);

    if (is_told_apart(w, r, kind))
        return 0;
    r->transient = kind == PASSES;
    (void)err_set(e,
                  kind == DENIED   ? ERR_DENIED
                  : kind == BUCKET ? ERR_NOENT
                                   : ERR_STORE,
                  "cannot %s in %s: the storage says %d%s%s%s%s%s", w->what,
                  w->address, r->status, r->error.code[0] ? " " : "",
                  r->error.code, r->error.message[0] ? " (" : "",
                  r->error.message, r->error.message[0] ? ")" : "");
    return add_hint(w, r, kind, e);
}
