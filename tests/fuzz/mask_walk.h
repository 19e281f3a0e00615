/* mask_walk.h - for fuzz targets: along a text that a constraint allows, everything that a matcher says is what feeding bytes says. */
#ifndef HEARTH_TESTS_FUZZ_MASK_WALK_H
#define HEARTH_TESTS_FUZZ_MASK_WALK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"

static const char *const walk_pieces[] = {
    "{",     "}",     "[",   "]",    ":",      ",",      "\"",       " ",      "\n",
    "0",     "1",     "10",  "-",    ".",      "e",      "tr",       "ue",     "nul",
    "l",     "a",     "ab",  "\"a",  "\"a\":", "\": \"", "\"}",      "\", \"", "{\"",
    "\\",    "\\u00", "e9",  "\xc3", "\xa9",   "b",      "true",     "false",  "null",
    "\"b\"", "x",     "(",   ")",    "))",     "((",     "ba",       "aa",     "aaa",
    "+",     "1+",    "<",   "</",   "é",      "日",     "\xe6\x97", "\xa5",   "\xf0\x9f\x98",
    "\x80",  "1, ",   "}\n", "\n<",  "\"}\n<", "  ",     " a",       "a ",     "z",
    "\t",
};
enum { WALK_N = sizeof walk_pieces / sizeof *walk_pieces };

static struct free_masks *walk_masks(void)
{
    static struct free_masks *masks;
    static struct vocab_trie *trie;
    static uint32_t len[WALK_N];
    struct err e;
    if (masks) return masks;
    for (int i = 0; i < WALK_N; i++) len[i] = (uint32_t)strlen(walk_pieces[i]);
    if (!vocab_trie_new(&trie, walk_pieces, len, WALK_N, &e) || !free_masks_new(&masks, trie, &e)) abort();
    return masks;
}

/* What the matcher says here against what bytes say. false: a limit was met. */
static bool walk_check(struct matcher *m, const uint32_t *bits)
{
    struct matcher *k = NULL;
    struct err e;
    char forced[8];
    size_t n, taken, possible = 0;
    bool ok = matcher_forced(m, forced, sizeof forced, &n, &e);
    for (int i = 0; i < WALK_N + 256 && ok; i++) { /* tokens, then bytes */
        const char byte = (char)(i - WALK_N), *s = i < WALK_N ? walk_pieces[i] : &byte;
        const size_t len = i < WALK_N ? strlen(s) : 1;
        if (!k && !matcher_copy(&k, m, &e)) abort();
        ok = matcher_take_bytes(k, s, len, &taken, &e);
        if (!ok) break;
        if (i < WALK_N && (taken == len) != (bits[i / 32] >> (i % 32) & 1)) abort();
        if (i >= WALK_N) possible += taken;
        if (i >= WALK_N && taken && n && byte != forced[0]) abort();
        if (taken < len) continue;
        matcher_free(k);
        k = NULL;
    }
    matcher_free(k);
    if (!ok) return false;
    if (!matcher_can_end(m) && !possible) abort(); /* whatever was begun can be ended */
    if ((n > 0) != (possible == 1 && !matcher_can_end(m))) abort();
    return true;
}

/* Walks along tokens that `choice` picks; `here` (NULL: none) is told each text, and whether it may end there. Frees the constraint. */
static void walk_constraint(struct constraint *c, const uint8_t *choice, size_t n_choice,
                            void (*here)(void *arg, const char *text, size_t n, bool ends), void *arg)
{
    struct matcher *m;
    struct err e;
    char text[512];
    size_t n = 0;
    if (!matcher_new(&m, c, &e)) {
        constraint_free(c);
        return;
    }
    for (size_t i = 0; i <= n_choice && i < 24; i++) {
        uint32_t bits[(WALK_N + 31) / 32];
        if (here) here(arg, text, n, matcher_can_end(m));
        if (!matcher_mask(m, bits, &e) || !walk_check(m, bits) || i == n_choice) break;
        int allowed = 0, take = -1;
        for (int t = 0; t < WALK_N; t++) allowed += bits[t / 32] >> (t % 32) & 1;
        if (allowed == 0) break;
        for (int t = 0, pick = choice[i] % allowed; t < WALK_N; t++)
            if ((bits[t / 32] >> (t % 32) & 1) && pick-- == 0) take = t;
        bool ok;
        if (!matcher_take(m, take, &ok, &e)) break;
        if (!ok) abort();
        memcpy(text + n, walk_pieces[take], strlen(walk_pieces[take]));
        n += strlen(walk_pieces[take]);
    }
    matcher_free(m);
    constraint_free(c);
}

#endif
