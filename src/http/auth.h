/* auth.h - who may ask: keys, the name the server is called by, and the web page the question comes from.
 *
 * Keys are kept as hashes and compared in constant time. Without keys the server listens on loopback only, and then a Host that is not a
 * loopback name is refused too: a web page could otherwise reach it through a name that it points at 127.0.0.1. */
#ifndef HEARTH_HTTP_AUTH_H
#define HEARTH_HTTP_AUTH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "service/account/keyring.h"
#include "service/principal.h"

/* Keys as they were at a moment. Others may take their place at any time (auth_set_keys()); who reads them may still do so, so that they stay. */
struct auth_keys {
    struct auth_keys *older;
    int n;
    unsigned char hash[][PRINCIPAL_HASH];
};

struct auth {
    _Atomic(struct auth_keys *) keys; /* NULL: none */
    struct keyring *keyring;          /* of a store; NULL: there is none. Borrowed */
    const char *const *origin;        /* borrowed */
    int n_origin;
    const char *const *host; /* borrowed */
    int n_host;
};

bool auth_init(struct auth *a, const char *const *keys, int n_keys, struct keyring *keyring, struct err *e);
/* Other keys from now on, in place of those that it was given before; from any thread, one at a time. On failure the old ones stay. */
bool auth_set_keys(struct auth *a, const char *const *keys, int n_keys, struct err *e);
int auth_n_keys(const struct auth *a);
void auth_free(struct auth *a);

/* Who asks, by the values of an Authorization header and, where that has no key, of x-api-key, a key alone (NULL: none), whether a key is asked for or not. False: one is, and this is none of
 * the server's; *out says whose it would be. Whether a store's key is still good is key_may()'s business. */
bool auth_principal(const struct auth *a, const char *authorization, const char *api_key,
                    struct principal *out);
/* Who asked before, to be asked in the name of again: "key:ID" of the store's, or "hash:HEX". False: that is no key of the server's any more. */
enum { AUTH_ASKER = 80 };
void auth_asker(const struct principal *who, char asker[AUTH_ASKER]);
bool auth_principal_again(const struct auth *a, const char *asker, struct principal *out);
/* A Host header on a server without keys. NULL (HTTP/1.0) is accepted. */
bool auth_host_ok(const struct auth *a, const char *host);
enum origin { ORIGIN_NONE, ORIGIN_SAME, ORIGIN_ALLOWED, ORIGIN_FOREIGN };
enum origin auth_origin(const struct auth *a, const char *origin, const char *host);

/* "hk-" and 43 letters and digits from the system's random source. out has room for 64. */
void auth_new_key(char *out);

#endif
