/* spm_model.h - a SentencePiece model file (spiece.model): the protocol buffer of sentencepiece_model.proto, of which the
 * pieces, the normaliser and what the trainer says of encoding are read. A pure function over bytes. */
#ifndef HEARTH_TEXT_TOKENIZER_SPM_MODEL_H
#define HEARTH_TEXT_TOKENIZER_SPM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The numbers of the file's ModelProto.SentencePiece.Type. */
enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER, SPM_UNUSED, SPM_BYTE };

/* TrainerSpec.ModelType. */
enum spm_kind { SPM_UNIGRAM = 1, SPM_BPE, SPM_WORD, SPM_CHAR };

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
    enum spm_kind kind;
    bool byte_fallback, whitespace_behind; /* trainer_spec: byte_fallback, treat_whitespace_as_suffix */
    bool dummy_prefix, remove_extra,
        escape;        /* normalizer_spec: add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces */
    bool denormalizes; /* a denormalizer_spec with a map */
    char bos[32], eos[32]; /* how they are spelled */
};

/* The bytes must outlive the model. */
bool spm_model_parse(struct spm_model *m, const uint8_t *data, size_t len, struct err *e);
void spm_model_free(struct spm_model *m);

#endif
