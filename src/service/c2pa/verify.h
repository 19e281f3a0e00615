/* verify.h - does a picture's file still have the bytes that its C2PA manifest was signed for, and who signed it? Files are strangers'.
 *
 * Held to  the signature over the claim; the claim's hashes of every assertion it names; c2pa.hash.data over all of the file but the manifest; the certificates.
 * Not      manifests of the pictures that another program says it began with, times that a third party signed, revocation. */
#ifndef HEARTH_SERVICE_C2PA_VERIFY_H
#define HEARTH_SERVICE_C2PA_VERIFY_H

#include "service/c2pa/trust.h"

struct c2pa_report {
    char signer[C2PA_NAME];
    enum c2pa_known known;
    char program[120]; /* that wrote the claim; "" where it does not say */
    char made[240];    /* what it says was done, in words; "" for nothing */
    char source[80];   /* "trainedAlgorithmicMedia", or "" */
};
/* False: ERR_NOT_FOUND, there is no manifest; ERR_FORMAT, something is broken or was changed, and the message ends a sentence that begins with the
 * file's name. t NULL: nobody is known. */
bool c2pa_verify(const struct c2pa_trust *t, const void *file, size_t n, struct c2pa_report *r,
                 struct err *e);

#endif
