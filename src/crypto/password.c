/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/password.h"

#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "base/rand.h"
#include "crypto/crypto_internal.h"

struct password_cost
password_cost_new(void)
{
    struct password_cost c = {.passes = 3, .memory_kib = 64 << 10};

    rand_bytes(c.salt, sizeof(c.salt));
    return c;
}

int
password_derive(const struct password_cost *cost, const char *password,
                uint8_t out[PASSWORD_KEY_BYTES], struct err *e)
{
    size_t len = strnlen(password, PASSWORD_MAX_LEN + 1);

    _Static_assert(PASSWORD_SALT_BYTES == crypto_pwhash_SALTBYTES, "salt");
    (void)library_get();
    if (len == 0 || len > PASSWORD_MAX_LEN)
        return err_set(e, ERR_USAGE, "a password has 1 to %d bytes",
                       PASSWORD_MAX_LEN);
    if (cost->passes < crypto_pwhash_OPSLIMIT_MIN ||
        cost->passes > PASSWORD_MAX_PASSES ||
        cost->memory_kib < PASSWORD_MIN_KIB ||
        cost->memory_kib > PASSWORD_MAX_KIB)
        return err_set(e, ERR_UNSUP,
                       "the key asks for %u passes over %u KiB, more or less "
                       "than this vmkeep does",
                       cost->passes, cost->memory_kib);
    if (crypto_pwhash(out, PASSWORD_KEY_BYTES, password, len, cost->salt,
                      cost->passes, (size_t)cost->memory_kib << 10,
                      crypto_pwhash_ALG_ARGON2ID13) == -1)
        return err_set(e, ERR_LIMIT,
                       "no memory to derive the key (%u KiB are needed)",
                       cost->memory_kib);
    return 0;
}
