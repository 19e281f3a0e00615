/* text_masks.h - which tokens stay inside a JSON text (a string, a member's name), and which leave it.
 *
 * For an automaton in a state, between characters: found out once, by a walk through the vocabulary, and looked up from then on. What is
 * known of strings is shared by all constraints over a vocabulary: it depends on what the automaton is, not on where it stands.
 * Threads   any; locks guard the tables. What was found out lives as long as its table. */
#ifndef HEARTH_TEXT_GRAMMAR_TEXT_MASKS_H
#define HEARTH_TEXT_GRAMMAR_TEXT_MASKS_H

#include <pthread.h>

#include "text/grammar/json_machine.h"
#include "text/grammar/suffixes.h"
#include "text/grammar/vocab_trie.h"

enum { TEXT_BUCKETS = 1024, TEXT_MAX_CHARS = VOCAB_MAX_TOKEN + 1, TEXT_LONG_TOKEN = 48 };

/* Of a text's automaton in one state, between characters: the tokens that stay inside, and those that leave; where `keys` is set, apart
 * by the class of the name that they end. */
struct text_mask {
    struct text_mask *next;
    uint64_t hash[2]; /* of a string's automaton; of names', the address */
    int32_t q;
    const uint32_t *inside;
    uint32_t *own; /* inside, when it is not another's */
    int n_group;
    struct group {
        int32_t q; /* a state in which a name of the class ends */
        int cls;
        struct suffixes exits;
    } * group;
};

struct mask_table {
    pthread_mutex_t lock; /* guards what follows */
    struct text_mask *known[TEXT_BUCKETS];
    int n;
    size_t bytes;
};
void mask_table_init(struct mask_table *t);
void mask_table_free(struct mask_table *t);
size_t mask_table_bytes(struct mask_table *t);

struct free_masks {
    const struct vocab_trie *v;
    struct dfa *any; /* every text */
    struct strings string;
    struct text_mask *text; /* of every text, at its beginning */
    uint8_t
        *chars; /* [n_vocab] characters of a token in a free text; one more when it ends within an escape */
    int32_t *long_token; /* those of more than TEXT_LONG_TOKEN bytes */
    int n_long;
    struct mask_table masks;           /* of strings */
    pthread_mutex_t lock;              /* guards what follows */
    uint32_t *at_most[TEXT_MAX_CHARS]; /* tokens of at most so many characters in a free text */
};
bool free_masks_new(struct free_masks **out, const struct vocab_trie *v, struct err *e); /* borrows v */
void free_masks_free(struct free_masks *f);
/* The tokens that add at most n characters to a free text. NULL: no memory. */
const uint32_t *free_at_most(struct free_masks *f, int n);

/* The mask of a thread in a string or a name, made when it is the first of its kind; `names`: where those of names are kept. NULL: no
 * memory. */
const struct text_mask *text_mask_of(struct free_masks *f, struct mask_table *names, const struct thread *t);

/* 32-bit words of a set of tokens. */
static inline size_t mask_words(const struct vocab_trie *v) { return ((size_t)v->n_vocab + 31) / 32; }
static inline void mask_put(const struct vocab_trie *v, uint32_t *bits,
                            int32_t id) /* and those of the same bytes */
{
    for (; id >= 0; id = v->same[id]) bits[id / 32] |= UINT32_C(1) << (id % 32);
}

#endif
