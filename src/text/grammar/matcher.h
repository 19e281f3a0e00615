/* matcher.h - which tokens may come next in a text that has to meet a schema.
 *
 * A token is allowed exactly when its bytes, behind those of the tokens taken so far, can still become a text of the language, whatever
 * borders they cross. The end is allowed exactly where the text may end.
 * Cost      a mask inside a string is looked up (string_masks.h); elsewhere the vocabulary is walked along the few bytes that are possible.
 * Threads   a constraint is read only but for what it remembers of strings' masks, which a lock guards; a matcher has one owner. */
#ifndef HEARTH_TEXT_GRAMMAR_MATCHER_H
#define HEARTH_TEXT_GRAMMAR_MATCHER_H

#include "text/grammar/schema.h"
#include "text/grammar/vocab_trie.h"

/* What all constraints over one vocabulary share: the masks of free texts. Any thread. */
struct free_masks;
bool free_masks_new(struct free_masks **out, const struct vocab_trie *v, struct err *e); /* borrows v */
void free_masks_free(struct free_masks *f);

struct constraint;
/* Takes over the schema; borrows the masks. */
bool constraint_of_schema(struct constraint **out, struct schema *s, struct free_masks *f, struct err *e);
void constraint_free(struct constraint *c);

struct matcher;
bool matcher_new(struct matcher **out, struct constraint *c, struct err *e);
void matcher_free(struct matcher *m);
/* bits [(n_vocab + 31) / 32] of the tokens that may come next. false: no memory, or the text can be read in too many ways at once. */
bool matcher_mask(struct matcher *m, uint32_t *bits, struct err *e);
/* May the text end here? */
bool matcher_can_end(const struct matcher *m);
/* Takes a token; *ok false: it cannot come (nothing changes). */
bool matcher_take(struct matcher *m, int32_t id, bool *ok, struct err *e);
/* The same for bytes: how many of them can come. */
bool matcher_take_bytes(struct matcher *m, const char *s, size_t n, size_t *taken, struct err *e);

#endif
