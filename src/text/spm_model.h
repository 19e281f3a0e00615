/* spm_model.h - a SentencePiece model file (spiece.model): the protocol buffer of sentencepiece_model.proto, of which the
 * pieces and the normaliser's character map are read. A pure function over bytes. */
#ifndef HEARTH_TEXT_SPM_MODEL_H
#define HEARTH_TEXT_SPM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The numbers of the file's ModelProto.SentencePiece.Type. */
enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER, SPM_UNUSED, SPM_BYTE };

struct spm_piece {
    const char *text; /* into the file's bytes; valid UTF-8 */
    size_t len;
    float score;
    enum spm_type type;
};

struct spm_model {
    struct spm_piece *piece; /* in order of ids; freed by spm_model_free() */
    size_t n;
    const uint8_t *charsmap; /* into the file's bytes; NULL: none */
    size_t charsmap_len;
};

/* The bytes must outlive the model. */
bool spm_model_parse(struct spm_model *m, const uint8_t *data, size_t len, struct err *e);
void spm_model_free(struct spm_model *m);

#endif
