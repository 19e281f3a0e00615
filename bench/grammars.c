/* grammars.c - what token masks cost in grammars.
 *
 *     grammars TOKENIZER.json FILE.jsonl
 *
 * FILE has one JSON object a line: {"name", "gbnf", "texts": [...]}. Each text is tokenised and fed a token at a time: the token has to be in
 * the mask, and at the end the end has to be allowed. A line of times in microseconds for each grammar, one thread; "first" are the masks
 * of the first text, while nothing is known of the grammar's places yet. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "text/grammar/grammar.h"
#include "text/tokenizer/tokenizer.h"
#include "times.h"

static void print_times(const char *name, struct times *t)
{
    if (t->n == 0) return;
    times_sort(t);
    printf(", \"%s\": {\"masks\": %zu, \"avg\": %.1f, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
           t->n, times_mean(t), times_percentile(t, 0.5), times_percentile(t, 0.99), times_percentile(t, 1));
}

static bool feed(const struct tokenizer *tok, struct constraint *c, const json_t *text, uint32_t *bits,
                 struct times *t, struct err *e)
{
    struct token_list ids = { 0 };
    struct matcher *m;
    bool ok = true;
    if (!tokenizer_encode(tok, json_string_value(text), json_string_length(text), NULL, false, 0, &ids, e) ||
        !matcher_new(&m, c, e))
        return false;
    for (size_t i = 0; i < ids.n && ok; i++) {
        const double start = clock_seconds();
        ok = matcher_mask(m, bits, e);
        times_note(t, (clock_seconds() - start) * 1e6);
        bool taken = false;
        ok = ok && matcher_take(m, ids.id[i], &taken, e);
        if (ok && (!taken || !(bits[ids.id[i] / 32] >> (ids.id[i] % 32) & 1)))
            ok = err_set(e, ERR_FORMAT, "token %zu of a text cannot come", i);
    }
    if (ok && !matcher_can_end(m)) ok = err_set(e, ERR_FORMAT, "a text cannot end");
    matcher_free(m);
    token_list_free(&ids);
    return ok;
}

static bool one(const struct tokenizer *tok, struct free_masks *masks, const json_t *o, uint32_t *bits,
                struct err *e)
{
    struct times first = { 0 }, rest = { 0 };
    struct constraint *c;
    const json_t *g = json_object_get(o, "gbnf"), *text;
    size_t i;
    bool ok = true;
    const double start = clock_seconds();
    if (!constraint_of_grammar(&c, json_string_value(g), json_string_length(g), NULL, NULL, masks, e))
        return false;
    printf("{\"name\": \"%s\", \"compile_us\": %.0f", json_string_value(json_object_get(o, "name")),
           (clock_seconds() - start) * 1e6);
    json_array_foreach(json_object_get(o, "texts"), i, text) ok =
        ok && feed(tok, c, text, bits, i ? &rest : &first, e);
    print_times("first", &first);
    print_times("rest", &rest);
    printf(", \"bytes\": %zu}\n", constraint_bytes(c));
    free(first.us);
    free(rest.us);
    constraint_free(c);
    return ok;
}

int main(int argc, char **argv)
{
    struct tokenizer *tok;
    struct vocab_trie *v;
    struct free_masks *masks;
    struct err e;
    if (argc < 3) {
        fprintf(stderr, "usage: %s TOKENIZER.json FILE.jsonl\n", argv[0]);
        return 2;
    }
    char *dir = strdup(argv[1]), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash) *slash = 0;
    if (!tokenizer_from_dir(&tok, slash ? dir : ".", &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    free(dir);
    const int32_t n = tokenizer_n_vocab(tok);
    const char **text = calloc((size_t)n, sizeof *text);
    uint32_t *len = calloc((size_t)n, sizeof *len), *bits = calloc(((size_t)n + 31) / 32, sizeof *bits);
    FILE *f = fopen(argv[2], "r");
    if (!text || !len || !bits || !f) {
        fprintf(stderr, "%s cannot be read, or there is no memory\n", argv[2]);
        return 1;
    }
    for (int32_t id = 0; id < n; id++) {
        size_t l = 0;
        if (!tokenizer_is_control(tok, id) && !tokenizer_is_end(tok, id))
            text[id] = tokenizer_bytes(tok, id, &l);
        len[id] = (uint32_t)l;
    }
    if (!vocab_trie_new(&v, text, len, n, &e) || !free_masks_new(&masks, v, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    char *line = NULL;
    size_t cap = 0;
    int failed = 0;
    while (getline(&line, &cap, f) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        if (!o || !one(tok, masks, o, bits, &e)) {
            fprintf(stderr, "%s: %s\n", o ? json_string_value(json_object_get(o, "name")) : "a line",
                    o ? e.msg : "is not JSON");
            failed = 1;
        }
        json_decref(o);
    }
    fclose(f);
    free(line);
    free_masks_free(masks);
    vocab_trie_free(v);
    tokenizer_free(tok);
    free(text);
    free(len);
    free(bits);
    return failed;
}
