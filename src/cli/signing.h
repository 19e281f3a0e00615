/* signing.h - who signs the pictures that are drawn here, as the options say. */
#ifndef HEARTH_CLI_SIGNING_H
#define HEARTH_CLI_SIGNING_H

#include "cli/options.h"
#include "service/c2pa/signer.h"
#include "service/c2pa/trust.h"

/* *out NULL with true: nobody, for --c2pa says no, or there is no folder for a certificate, which the log says. */
bool signing_open(struct c2pa_signer **out, const struct options *o, struct err *e);
/* Whose pictures are known; *out NULL with true: nobody's. */
bool signing_trust(struct c2pa_trust **out, const struct options *o, struct err *e);

#endif
