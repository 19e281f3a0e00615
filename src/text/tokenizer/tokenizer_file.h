/* tokenizer_file.h - a tokenizer.json taken apart: the long lists as arrays, the rest as jansson trees. Knows the
 * grammar of the file, not its meaning. Also reads the older pair vocab.json and merges.txt.
 *
 * The vocabulary and the merges are most of such a file, up to half a million strings: they are read straight into
 * place, of which a tree would keep several allocations each.
 *
 * Limits  strings are valid UTF-8 without U+0000; ids are below VOCAB_MAX.
 * Memory  everything is owned by the struct; strings are NUL-terminated. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_FILE_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tokenizer_piece {
    const char *text;
    size_t len;
    int32_t id;
    double score; /* unigram models; 0 elsewhere */
};

struct tokenizer_merge {
    const char *left, *right;
    size_t left_len, right_len;
};

struct tokenizer_file {
    char *pool[3]; /* of the calls below */
    struct tokenizer_piece *piece;
    size_t n_pieces, cap_pieces;
    int32_t max_id; /* over the pieces; -1: none */
    struct tokenizer_merge *merge;
    size_t n_merges, cap_merges;
    json_t *model; /* model without vocab and merges; an empty object when there was none */
    json_t *rest;  /* the other members of the file's object */
};

bool tokenizer_file_json(struct tokenizer_file *f, const char *text, size_t len, struct err *e);
bool tokenizer_file_vocab(struct tokenizer_file *f, const char *text, size_t len,
                          struct err *e); /* vocab.json */
bool tokenizer_file_merges(struct tokenizer_file *f, const char *text, size_t len,
                           struct err *e); /* merges.txt */
/* vocab.txt of BERT's, as the tokenizer.json that it would be saved as: config is tokenizer_config.json, names the special tokens by name;
 * each may be NULL. */
bool tokenizer_file_lines(struct tokenizer_file *f, const char *text, size_t len, const json_t *config,
                          const json_t *names, struct err *e);
/* After success and after failure. */
void tokenizer_file_free(struct tokenizer_file *f);

#endif
