/* trust.h - whose signature is it, and is that somebody who is believed here?
 *
 * Threads  any; a c2pa_trust is read only. */
#ifndef HEARTH_SERVICE_C2PA_TRUST_H
#define HEARTH_SERVICE_C2PA_TRUST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Certificates that are believed: roots, or those of signers themselves. */
struct c2pa_trust;
bool c2pa_trust_load(struct c2pa_trust **out, const char *path, struct err *e); /* PEM */
bool c2pa_trust_read(struct c2pa_trust **out, const char *name, const char *pem, size_t len, struct err *e);
void c2pa_trust_free(struct c2pa_trust *t);

struct c2pa_bytes {
    const unsigned char *data;
    size_t len;
};
enum { C2PA_NAME = 160 };
enum c2pa_known {
    C2PA_KNOWN,
    C2PA_UNKNOWN, /* the certificate leads to none that is believed */
    C2PA_ENDED    /* it does, but holds no longer, or not yet */
};
/* Is `signature` that of chain[0]'s key over data? ERR_FORMAT: no, or not to be told. Then whose it is, in printable characters, and
 * whether that is known. t NULL: nobody is. */
bool c2pa_check(const struct c2pa_trust *t, int64_t algorithm, const struct c2pa_bytes *chain, int n,
                const struct c2pa_bytes *data, const struct c2pa_bytes *signature, char name[C2PA_NAME],
                enum c2pa_known *known, struct err *e);

#endif
