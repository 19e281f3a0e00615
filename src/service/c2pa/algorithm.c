/* algorithm.c - see algorithm.h. */
#include "service/c2pa/algorithm.h"

static const struct c2pa_algorithm algorithms[] = {
    { -8, GNUTLS_SIGN_EDDSA_ED25519, GNUTLS_PK_EDDSA_ED25519, GNUTLS_ECC_CURVE_ED25519, 64 },
    { -7, GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP256R1, 64 },
    { -35, GNUTLS_SIGN_ECDSA_SHA384, GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP384R1, 96 },
    { -36, GNUTLS_SIGN_ECDSA_SHA512, GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP521R1, 132 },
    { -37, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, GNUTLS_PK_RSA, GNUTLS_ECC_CURVE_INVALID, 0 },
    { -38, GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, GNUTLS_PK_RSA, GNUTLS_ECC_CURVE_INVALID, 0 },
    { -39, GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, GNUTLS_PK_RSA, GNUTLS_ECC_CURVE_INVALID, 0 },
};
enum { N_ALGORITHMS = sizeof algorithms / sizeof *algorithms };

const struct c2pa_algorithm *c2pa_algorithm_numbered(int64_t number)
{
    for (int i = 0; i < N_ALGORITHMS; i++)
        if (algorithms[i].number == number) return &algorithms[i];
    return NULL;
}

const struct c2pa_algorithm *c2pa_algorithm_of(int key, gnutls_ecc_curve_t curve)
{
    for (int i = 0; i < N_ALGORITHMS; i++) {
        const struct c2pa_algorithm *a = &algorithms[i];
        if (a->bytes && (int)a->key == key && (key == GNUTLS_PK_EDDSA_ED25519 || a->curve == curve)) return a;
    }
    return NULL;
}
