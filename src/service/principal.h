/* principal.h - who asks: decided once, when a request's headers are there, and carried with it to its end.
 *
 * Nothing below service/ knows it; an engine sees at most a hash of it (whose prefixes a prompt may share). */
#ifndef HEARTH_SERVICE_PRINCIPAL_H
#define HEARTH_SERVICE_PRINCIPAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/shares.h"

enum { PRINCIPAL_HASH = 32, PRINCIPAL_ID = 20 };

struct key_record; /* account/keyring.h */

struct principal {
    unsigned char hash[PRINCIPAL_HASH]; /* BLAKE2b of the key that came; of the empty one when none did */
    char id[PRINCIPAL_ID];    /* for people to read: "key_" and ten digits of the hash, or "anonymous" */
    struct share_claim share; /* of what is served while others wait */
    bool known;               /* the key is one of the server's; false where none is asked for */
    const struct key_record
        *key; /* and of its store; NULL: it is one of those the server was started with, or none */
};

/* The same of a key of which only the hash is known. */
void principal_of_hash(struct principal *out, const unsigned char hash[PRINCIPAL_HASH]);
/* key NULL: none came. */
void principal_of_key(struct principal *out, const char *key, size_t len);

#endif
