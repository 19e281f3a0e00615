/* tokenizer.h - text to token ids and back, equal to the reference tokenizer of the model's files.
 *
 * Families  byte-level BPE (GPT-2 and those after it: any chain of the tokenizers library's pre-tokenizers, every name of llama.cpp's
 *           list; pre-tokenizer patterns by onig_regex.h), SentencePiece's BPE, unigram and char models with or without byte
 *           fallback, as tokenizer.model, tokenizer.json and GGUF; BERT's WordPiece, as tokenizer.json, vocab.txt and GGUF.
 *           Image text encoders have their own door (clip_tokenizer.h, t5_tokenizer.h).
 * Threads   read-only after loading; any number of threads may encode.
 * Cost      linear in the text, also for one letter repeated a million times. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/gguf.h"

struct tokenizer;

bool tokenizer_from_gguf(struct tokenizer **out, const struct gguf *g, struct err *e);
/* folder holding tokenizer.json (or else a SentencePiece tokenizer.model), and what transformers writes beside it, as far as it is
 * there: tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja or chat_template.json. */
bool tokenizer_from_dir(struct tokenizer **out, const char *dir, struct err *e);
void tokenizer_free(struct tokenizer *t);

struct token_list {
    int32_t *id;
    size_t n, cap;
    size_t limit; /* more tokens than these are ERR_CONTEXT, as soon as they are seen; 0: no limit */
    const atomic_bool
        *cancel; /* set while a text is encoded: ERR_CANCELLED within milliseconds; NULL: never */
};
void token_list_free(struct token_list *l); /* limit and cancel stay */

/* Put the special tokens around the text that the model's files put there (the post-processor of a tokenizer.json): nearly always the
 * beginning token alone. Those in front are left out when the text begins with them already. */
enum { TOK_BOS = 1 };

/* Appends the ids of text[len] to *out. `data` is NULL or len bytes: where data[i] != 0 the byte came from a user, and
 * no control token is recognised over it. parse_special false: no control token is recognised anywhere.
 * Invalid UTF-8 is treated as the reference does (U+FFFD for each bad sequence). */
bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const unsigned char *data,
                      bool parse_special, unsigned flags, struct token_list *out, struct err *e);

/* Cuts the ids of a text that was encoded with TOK_BOS to n; the special tokens behind it stay. */
void tokenizer_cut(const struct tokenizer *t, struct token_list *ids, size_t n);
/* Two texts as one input, as the files put them: ids (whose special tokens are not there yet) of both, of which the longer loses its end
 * until all fit n. Appends to *out, which is empty. *second: where the tokens of type 1 begin; 0: there are none. */
bool tokenizer_pair(const struct tokenizer *t, const struct token_list *a, const struct token_list *b,
                    size_t n, struct token_list *out, size_t *second, struct err *e);

int32_t tokenizer_n_vocab(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t); /* -1 when there is none */
int32_t tokenizer_find(const struct tokenizer *t,
                       const char *piece);                    /* by literal text of a control token; -1 */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id); /* end of turn or of text */
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
/* Bytes of a token as they appear in text, not NUL-terminated, may be part of a character. Control tokens give their
 * literal spelling; whether to show them is the caller's choice. */
const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *len);

/* The model's own chat template and its bos/eos texts; NULL when the files have none. */
const char *tokenizer_chat_template(const struct tokenizer *t);
const char *tokenizer_chat_template_from(const struct tokenizer *t); /* the file or key that it stands in */
const char *tokenizer_token_text(const struct tokenizer *t,
                                 int32_t id); /* NUL-terminated literal of a control token */
int32_t tokenizer_eos(const struct tokenizer *t);
/* The text of a special token that the files name, as "pad_token" or "unk_token"; NULL when they do not. */
const char *tokenizer_named(const struct tokenizer *t, const char *name);

/* Streaming text: whole UTF-8 characters only, and never the beginning of a stop string that may still come. */
struct detok;

/* Stop strings with what it takes to look for them in a stream. Made once for all streams of a request: read only, any thread. Empty ones
 * are left out: they would stop before the first token. */
struct stop_set;
bool stop_set_new(struct stop_set **out, const char *const *stop, int n_stop, struct err *e);
void stop_set_free(struct stop_set *s);

/* stops: borrowed for the stream's life, NULL: none. */
bool detok_new(struct detok **out, const struct tokenizer *t, const struct stop_set *stops, bool show_control,
               struct err *e);
void detok_free(struct detok *d);
/* Control tokens that are shown all the same: bits [(n_vocab + 31) / 32], borrowed for the stream's life. */
void detok_show(struct detok *d, const uint32_t *bits);
/* Stop strings do not count while they are off; they begin anew when they are on again. */
void detok_stops(struct detok *d, bool on);
/* The space in front of the first token stays, where encoding would put one there. Before the first token. */
void detok_keep_space(struct detok *d);
/* Takes one token; *text/len is what may now be shown (valid until the next call). Returns true when a stop string was
 * completed: the text before it has been handed out, and nothing more will come. */
bool detok_push(struct detok *d, int32_t id, const char **text, size_t *len);
/* The stop string that was completed, or NULL; it lies in the set. */
const char *detok_stop_hit(const struct detok *d);
/* Was there no memory for some of the text? Then what was handed out has a gap. */
bool detok_failed(const struct detok *d);
/* At the end: what was held back (a dangling part of a character becomes U+FFFD). */
void detok_finish(struct detok *d, const char **text, size_t *len);

#endif
