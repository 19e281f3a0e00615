/* turn.h - matrices that lie [in, out] in a file, as Llama 4 stores its experts, turned to the [out, in] that devices read. */
#ifndef HEARTH_LM_TURN_H
#define HEARTH_LM_TURN_H

#include "device/device.h"

/* m->data is [n_in, n_out] and becomes the turned copy, *copy, which the caller frees when nobody reads it any more. Floating-point types
 * alone: blocks cannot be turned. On failure *m is as it was. By the device's owner: the host's threads share the work. */
bool turn_matrix(struct device *d, struct matrix *m, void **copy, struct err *e);

/* The same, but *copy begins with the even rows [n_out / 2, n_in] of the turned matrix, and the odd ones follow. */
bool turn_apart(struct device *d, struct matrix *m, void **copy, struct err *e);

#endif
