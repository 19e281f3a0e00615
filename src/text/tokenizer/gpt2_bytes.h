/* gpt2_bytes.h - GPT-2's printable alphabet: a character for each byte, which byte-level vocabularies are written in. */
#ifndef HEARTH_TEXT_TOKENIZER_GPT2_BYTES_H
#define HEARTH_TEXT_TOKENIZER_GPT2_BYTES_H

#include <stdbool.h>
#include <stddef.h>

/* A string in that alphabet as bytes into out[>= len]; false when it has another character. */
bool bytes_from_gpt2(const char *s, size_t len, char *out, size_t *out_len);
/* Bytes as a string in it, into out[>= 2 * len]; its length. */
size_t gpt2_from_bytes(const char *s, size_t len, char *out);

#endif
