/* safetensors.h - a file of named tensors with a JSON header. Format: the safetensors README.
 *
 *   8 bytes  N, little endian        N bytes  the header, JSON        the rest  the tensors' bytes
 *
 * The parser is a pure function over bytes. Every name, type, shape and offset is checked; as the format demands,
 * the tensors cover the rest of the file without gap or overlap, so a truncated file and a file with something
 * appended are both refused.
 * Lifetime  tensors point into `data`, which must outlive the struct safetensors; names and notes are its own.
 * Threads   read-only after parsing. */
#ifndef HEARTH_FORMAT_SAFETENSORS_H
#define HEARTH_FORMAT_SAFETENSORS_H

#include "base/err.h"
#include "format/tensor_table.h"

#define SAFETENSORS_MAX_HEADER (100u << 20) /* the reference implementation's limit */

struct safetensors;

bool safetensors_parse(struct safetensors **out, const uint8_t *data, size_t size, struct err *e);
void safetensors_free(struct safetensors *s);
const struct tensor_table *safetensors_tensors(const struct safetensors *s);

/* The strings of __metadata__: by name (NULL when absent) and by number. */
const char *safetensors_note(const struct safetensors *s, const char *key);
size_t safetensors_note_count(const struct safetensors *s);
void safetensors_note_at(const struct safetensors *s, size_t i, const char **key, const char **value);

#endif
