/* secrets.h - what a server must know and nobody should read: keys of webhooks, of other services. Kept in the store under a name, sealed with a
 * master key that is not there.
 *
 * Sealed   XChaCha20-Poly1305 (libsodium), a new nonce each time, the name beside it: a value moved to another name does not open.
 * Key      64 hexadecimal digits, from a file that only its owner can read, or from the environment. All secrets of a store have the same: with
 *          another one nothing is opened and nothing added. */
#ifndef HEARTH_SERVICE_ACCOUNT_SECRETS_H
#define HEARTH_SERVICE_ACCOUNT_SECRETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/account/audit.h"
#include "store/store.h"

enum { SECRETS_KEY = 32, SECRETS_VALUE = 8192 /* bytes of a value */ };

struct master_key {
    unsigned char bytes[SECRETS_KEY];
};
/* text has white space at its end at most. `from` is for the error, which does not repeat the key. */
bool master_key_parse(struct master_key *out, const char *text, const char *from, struct err *e);
/* path "": `text` it is, and when both are "" there is none, which is an error. A file that others can read is refused. */
bool master_key_load(struct master_key *out, const char *path, const char *text, struct err *e);
/* A new one in a new file. */
bool master_key_make(const char *path, struct err *e);

/* name: letters, digits, '-', '_' and '.', up to 60. by: for the audit. */
bool secrets_set(struct store *s, const struct master_key *k, const char *name, const char *value,
                 const struct actor *by, int64_t now_ms, struct err *e);
/* malloc'ed; ERR_NOT_FOUND. To be wiped with sodium_memzero(). */
bool secrets_get(struct store *s, const struct master_key *k, const char *name, char **value, struct err *e);
bool secrets_remove(struct store *s, const char *name, const struct actor *by, int64_t now_ms, struct err *e);
bool secrets_each(struct store *s, bool (*fn)(void *arg, const char *name, int64_t set_ms, struct err *e),
                  void *arg, struct err *e);
/* Seals all of them with another key, or none. *n: how many. */
bool secrets_rotate(struct store *s, const struct master_key *from, const struct master_key *to,
                    const struct actor *by, int64_t now_ms, int *n, struct err *e);

/* The value of a setting: itself, or of "secret:NAME" that secret's. malloc'ed. */
bool secrets_resolve(struct store *s, const char *setting, const char *key_file, const char *key_text,
                     char **value, struct err *e);

#endif
