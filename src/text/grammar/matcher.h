/* matcher.h - which tokens may come next in a text that has to meet a schema, a grammar or a regular expression (grammar.h).
 *
 * A token is allowed exactly when its bytes, behind those of the tokens taken so far, can still become a text of the language, whatever
 * borders they cross. The end is allowed exactly where the text may end.
 * Cost      a mask is put together from what is known of places (item_masks.h, text_masks.h); where nothing is known the vocabulary is
 *           walked along the bytes that are possible. What a text needs to be kept of it is bounded, however long it is.
 * Failure   a matcher that reported an error is of no use any more.
 * Threads   a constraint is read only but for the masks that it remembers, which locks guard; a matcher has one owner. */
#ifndef HEARTH_TEXT_GRAMMAR_MATCHER_H
#define HEARTH_TEXT_GRAMMAR_MATCHER_H

#include "text/grammar/schema.h"
#include "text/grammar/vocab_trie.h"

/* What all constraints over one vocabulary share: the masks of free texts. Any thread. */
struct free_masks;
bool free_masks_new(struct free_masks **out, const struct vocab_trie *v, struct err *e); /* borrows v */
void free_masks_free(struct free_masks *f);

struct constraint;
/* Takes over the schema; borrows the masks. One holder: each is to free it once, and every matcher is one, too. */
bool constraint_of_schema(struct constraint **out, struct schema *s, struct free_masks *f, struct err *e);
struct constraint *constraint_ref(struct constraint *c); /* one holder more; returns c */
void constraint_free(struct constraint *c);
/* The schemas in it, from number 0 on; NULL: there are no more. */
const struct schema *constraint_schema(const struct constraint *c, int i);
size_t constraint_bytes(struct constraint *c); /* memory, about; it grows as masks are remembered */

struct matcher;
bool matcher_new(struct matcher **out, struct constraint *c, struct err *e);
bool matcher_copy(struct matcher **out, const struct matcher *m,
                  struct err *e); /* at the same place, from then on apart */
void matcher_free(struct matcher *m);
size_t matcher_bytes(const struct matcher *m); /* what is kept of the text; some more are the matcher's own */
/* bits [(n_vocab + 31) / 32] of the tokens that may come next. false: no memory, or the text can be read in too many ways at once. */
bool matcher_mask(struct matcher *m, uint32_t *bits, struct err *e);
/* May the text end here? */
bool matcher_can_end(const struct matcher *m);
/* Takes a token; *ok false: it cannot come (nothing changes). */
bool matcher_take(struct matcher *m, int32_t id, bool *ok, struct err *e);
/* The same for bytes: how many of them can come; they are taken when all can. */
bool matcher_take_bytes(struct matcher *m, const char *s, size_t n, size_t *taken, struct err *e);
/* The bytes that every continuation begins with, at most cap: none where the text may end, or where two bytes are possible. They are not
 * taken. */
bool matcher_forced(struct matcher *m, char *out, size_t cap, size_t *n, struct err *e);

#endif
