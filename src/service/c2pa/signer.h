/* signer.h - who signs what hearth draws: a certificate and its key, the operator's, or one that was made at the first start.
 *
 * Kinds      Ed25519 and ECDSA with P-256, P-384, P-521. Both sign the same bytes the same way each time (ECDSA by RFC 6979), so that a signed
 *            picture's bytes repeat.
 * Made ones  a root whose key is thrown away, and a certificate under it: DIR/signer.pem (key and certificates, 0600) and DIR/root.pem, which
 *            others may be given to know this server's pictures by. Two servers that begin at once in one folder have the same.
 * Threads    c2pa_sign() from any. */
#ifndef HEARTH_SERVICE_C2PA_SIGNER_H
#define HEARTH_SERVICE_C2PA_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct c2pa_signer;
enum { C2PA_CHAIN = 8 }; /* certificates that a signature may bring along */

/* cert: PEM, the signer's own first, then those between it and a root; key: PEM. ERR_REQUEST says what about them is wrong. */
bool c2pa_signer_load(struct c2pa_signer **out, const char *cert, const char *key, struct err *e);
/* What is in the folder; with `make`, made where it is not. ERR_NOT_FOUND without. */
bool c2pa_signer_open(struct c2pa_signer **out, const char *dir, bool make, struct err *e);
void c2pa_signer_free(struct c2pa_signer *s);

/* COSE's number of its algorithm (RFC 9053). */
int c2pa_signer_algorithm(const struct c2pa_signer *s);
size_t c2pa_signature_bytes(const struct c2pa_signer *s);
/* The last certificate of its file in PEM, by which its pictures are known. */
bool c2pa_signer_root(const struct c2pa_signer *s, struct buf *out, struct err *e);
/* Certificates in DER, the signer's own first, roots left out. */
int c2pa_signer_certificates(const struct c2pa_signer *s);
const void *c2pa_signer_certificate(const struct c2pa_signer *s, int i, size_t *len);
/* Appends c2pa_signature_bytes(). */
bool c2pa_sign(struct c2pa_signer *s, const void *data, size_t n, struct buf *out, struct err *e);

#endif
