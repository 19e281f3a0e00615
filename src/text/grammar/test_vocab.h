/* test_vocab.h - a small vocabulary with all that constraints over it share, for tests: small enough to ask of every token what its bytes say. */
#ifndef HEARTH_TEXT_GRAMMAR_TEST_VOCAB_H
#define HEARTH_TEXT_GRAMMAR_TEST_VOCAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/grammar/matcher.h"

enum { MAX_PIECES = 256 };

struct vocab {
    uint32_t len[MAX_PIECES];
    struct vocab_trie *trie;
    struct free_masks *masks;
};

/* pieces[n]: borrowed. */
static inline void vocab_open(struct vocab *v, const char *const *pieces, int n)
{
    struct err e;
    assert_in_range(n, 1, MAX_PIECES);
    for (int i = 0; i < n; i++) v->len[i] = (uint32_t)strlen(pieces[i]);
    assert_true(vocab_trie_new(&v->trie, pieces, v->len, n, &e));
    assert_true(free_masks_new(&v->masks, v->trie, &e));
}

static inline void vocab_close(struct vocab *v)
{
    free_masks_free(v->masks);
    vocab_trie_free(v->trie);
}

/* How many of the bytes can come; they are taken when all can. */
static inline size_t feed(struct matcher *m, const char *text, size_t n)
{
    size_t taken;
    struct err e;
    if (!matcher_take_bytes(m, text, n, &taken, &e)) fail_msg("%s", e.msg);
    return taken;
}

#endif
