/* tokenizer_internal.h - the inside of struct tokenizer, for the files that fill it and the one that encodes.
 *
 * The families differ in what a text is before merging:
 *   byte level     the symbols are the 256 bytes;
 *   WordPiece      there is no merging: words are spelled by wordpiece.h;
 *   SentencePiece  the symbols are characters, a space is U+2581, and what the vocabulary lacks becomes byte tokens.
 *                  Here U+2581 is kept as a space on both sides: the vocabulary's pieces and the text. The two are
 *                  the same character to such a model, and so text need not be rewritten. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_INTERNAL_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_INTERNAL_H

#include <jansson.h>

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/gpt2_bytes.h"
#include "text/tokenizer/pretoken.h"
#include "text/tokenizer/spm_normalize.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_added.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_vocab.h"
#include "text/unicode.h"
#include "text/tokenizer/unigram.h"
#include "text/tokenizer/wordpiece.h"

/* Where SentencePiece models put a space that the text does not have. */
enum space_prefix {
    PREFIX_NONE,
    PREFIX_SEGMENT, /* before each stretch between special tokens (a Prepend normalizer, GGUF) */
    PREFIX_FIRST,   /* only at the very beginning of the text, and unless a space is there */
};

enum token_flag {
    TOKEN_CONTROL = 1,
    TOKEN_END = 2,
    TOKEN_OUTSIDE = 4, /* added, and no piece of the vocabulary that merging or looking up may give */
};

/* What the files put around a text: the post-processor's special tokens before and after it. */
enum { AFFIX_MAX = 16 };
struct affix {
    int32_t id[AFFIX_MAX];
    int n;
};

enum whole { WHOLE_UNKNOWN, WHOLE_YES, WHOLE_NO };

struct tokenizer {
    struct vocab vocab;
    unsigned char *flag; /* [vocab.n] enum token_flag */
    struct bpe bpe;
    /* [vocab.n] enum whole: does merging this token's own bytes give this token? Found out when first asked; threads that
     * find out together write the same answer. It spares most words their merging. */
    _Atomic unsigned char *whole;
    int32_t byte_id[256];  /* -1: none */
    int32_t unk, bos, eos; /* -1: none */
    bool ignore_merges, fuse_unk;
    struct affix first, last;
    struct affix between; /* of a pair of texts; `first` and `last` stand around both */
    bool second_typed;    /* tokens of the second text are of type 1 */
    /* One over the length of the longest piece that holds the byte: a word has at least as many tokens as these add up to over its
     * bytes. 0 for a byte that a text may lose. */
    float share[256];

    struct unicode *u;
    struct pretoken *pre;
    struct added_set raw;  /* matched in the text as it came */
    struct added_set norm; /* matched after normalising */
    enum unicode_form form;

    struct unigram
        unigram; /* of a unigram model: pieces by probability and not by merging; n is 0 for others */

    bool wordpiece; /* a WordPiece model (BERT's): the text is split and spelled by `wp` */
    struct wordpiece wp;

    bool spm;
    /* spm, of a tokenizer.json: what its normalizer does before spaces are marked: the map in `normalizer` as that library reads it;
     * one space for several; white space off an end. */
    bool maps, one_space, strip_left, strip_right;
    bool normalizes; /* spm: SentencePiece's own normalizer, in place of `prefix` alone */
    struct spm_normalizer normalizer;
    bool split_words; /* spm: no piece holds a space after another character, so words merge alone */
    bool
        metaspace; /* the pre-tokenizer marks spaces, after added tokens were cut out; else the normalizer does, before */
    bool replaced; /* spm: the text that the next pre-tokenizer step sees has U+2581 for spaces */
    enum space_prefix prefix;
    bool strip_first; /* decoding drops the first piece's space */

    char *literals;      /* texts of added tokens, which are spelled otherwise than the pieces they are */
    char *chat_template; /* NULL: none */
    const char *template_from; /* the file or key it came from */
    json_t *names;             /* "bos_token" and such: text; NULL: none are known */
};

/* tokenizer_build.c: what both kinds of files share. */

/* All zero but the ids, which are -1; owns a character table and an empty pre-tokenizer. */
bool tokenizer_alloc(struct tokenizer **out, struct err *e);

/* 0..255 for "<0x00>".."<0xFF>", else -1. */
int spm_byte(const char *s, size_t len);

/* Adds a token in id order, its text translated for the family. `added`: its text is literal. */
bool tokenizer_add(struct tokenizer *t, int32_t id, enum vocab_kind kind, bool added, const char *s,
                   size_t len, struct err *e);
/* After all tokens: the tables over them. */
bool tokenizer_index(struct tokenizer *t, struct err *e);
/* One line of the merges, its parts as the file spells them. Parts that the vocabulary lacks make it void. */
bool tokenizer_add_merge(struct tokenizer *t, const char *left, size_t left_len, const char *right,
                         size_t right_len, uint32_t rank, struct err *e);
/* SentencePiece's merges, out of the pieces' scores [vocab.n]: each two pieces that spell a third. */
bool tokenizer_merges_from_scores(struct tokenizer *t, const float *score, struct err *e);
/* A unigram model out of the pieces' scores [vocab.n], as SentencePiece reads it; t->unk is set. */
bool tokenizer_unigram_from_scores(struct tokenizer *t, const float *score, struct err *e);
/* After merges and added tokens: ends of text by their spelling, and split_words. */
void tokenizer_finish(struct tokenizer *t);

/* Whether an added token (an object as in tokenizer.json) is one that users must not be able to say. */
bool tokenizer_added_is_control(const json_t *added);
/* Appends to an affix; refused when it is full. */
bool affix_push(struct affix *a, int32_t id, struct err *e);
/* The beginning and the end by their ids, where they are wanted and known. */
void tokenizer_set_affixes(struct tokenizer *t, bool bos, bool eos);

/* tokenizer_spm.c: everything but tokenizer_finish(), out of the bytes of a SentencePiece model. `beside`: NULL or what the files
 * beside it declare. */
bool tokenizer_from_spm(struct tokenizer **out, const uint8_t *data, size_t len,
                        const struct special_tokens *beside, struct err *e);

#endif
