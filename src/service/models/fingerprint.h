/* fingerprint.h - what tells one model's files from another's without reading all of them.
 *
 * SHA-256 over every file's name and size, its first and last megabyte and 64 blocks of 4 KiB spread evenly between them; of a folder all files in it
 * and below, in the order of their names, but hidden ones. The same files have the same one wherever they lie; tensors of another training have
 * another one. It is no proof against somebody who changes single bytes on purpose. */
#ifndef HEARTH_SERVICE_MODELS_FINGERPRINT_H
#define HEARTH_SERVICE_MODELS_FINGERPRINT_H

#include <stdbool.h>

#include "base/err.h"

enum { FINGERPRINT = 65 /* hexadecimal, and the 0 */ };

/* Reads some megabytes. */
bool fingerprint_of(const char *path, char out[FINGERPRINT], struct err *e);

#endif
