/* algorithm.h - the signatures that C2PA allows: COSE's numbers (RFC 9053, 2; RFC 8230, 2) and GnuTLS's names. */
#ifndef HEARTH_SERVICE_C2PA_ALGORITHM_H
#define HEARTH_SERVICE_C2PA_ALGORITHM_H

#include <gnutls/gnutls.h>
#include <stdint.h>

struct c2pa_algorithm {
    int number;
    gnutls_sign_algorithm_t sign;
    gnutls_pk_algorithm_t key;
    gnutls_ecc_curve_t curve; /* of ECDSA, and Ed25519's */
    size_t bytes;             /* of a signature; 0: the key's size (RSA, which is only checked) */
};
/* NULL: none such. */
const struct c2pa_algorithm *c2pa_algorithm_numbered(int64_t number);
/* What a key signs with here; NULL: nothing. */
const struct c2pa_algorithm *c2pa_algorithm_of(int key, gnutls_ecc_curve_t curve);

#endif
