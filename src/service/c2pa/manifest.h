/* manifest.h - a picture's C2PA manifest (specification 2.1): that a model drew it, bound to the file's bytes and signed.
 *
 * It says    c2pa.actions.v2: created, with the digital source type of IPTC, and the model; c2pa.hash.data: SHA-256 of the file without the manifest.
 * Its ids    are made of that hash, and there is no time in it: the same picture signed by the same key has the same bytes. */
#ifndef HEARTH_SERVICE_C2PA_MANIFEST_H
#define HEARTH_SERVICE_C2PA_MANIFEST_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/c2pa/signer.h"

struct c2pa_made {
    const char *model;
    bool composite; /* from another picture, of which parts may still be seen */
};
/* Puts it into the PNG, JPEG or WebP file in place. On failure the file is of no use. */
bool c2pa_put(struct c2pa_signer *s, const struct c2pa_made *made, struct buf *file, struct err *e);

/* Names that are written here and read again. */
#define C2PA_STORE "c2pa"
#define C2PA_ASSERTIONS "c2pa.assertions"
#define C2PA_ACTIONS "c2pa.actions.v2"
#define C2PA_HASH "c2pa.hash.data"
#define C2PA_CLAIM "c2pa.claim.v2"
#define C2PA_SIGNATURE "c2pa.signature"
enum { COSE_ALGORITHM = 1, COSE_CHAIN = 33, COSE_SIGN1 = 18 };

/* What is signed: "Signature1", the protected head, the claim (RFC 9052, 4.4). */
bool c2pa_to_sign(struct buf *out, const void *head, size_t head_len, const void *claim, size_t claim_len);

#endif
