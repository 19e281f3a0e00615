/* schemas.c - what the constraint engine makes of a file of schemas with instances, and what its token masks cost.
 *
 *     schemas TOKENIZER.json FILE.jsonl [EVERY]
 *
 * FILE has one JSON object a line: {"name", "schema", "tests": [{"valid", "data"}, ...]}. Each instance is written as Python's json.dumps
 * (ensure_ascii=False) writes it, tokenised, and fed a token at a time: the token has to be in the mask, and at the end the end has to be
 * allowed. EVERY: only each so-many-th schema. The last line is a JSON object with the counts and the masks' times in microseconds, one thread. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "text/grammar/matcher.h"
#include "text/tokenizer/tokenizer.h"
#include "times.h"

/* As Python writes it: a blank behind comma and colon, floats by their shortest digits. */
static void write_value(struct buf *b, const json_t *v)
{
    const char *key;
    const json_t *x;
    size_t i, n = 0;
    char number[64];
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_putc(b, '{');
        json_object_foreach((json_t *)v, key, x)
        {
            json_t *k = json_string(key);
            if (n++) buf_puts(b, ", ");
            write_value(b, k);
            json_decref(k);
            buf_puts(b, ": ");
            write_value(b, x);
        }
        buf_putc(b, '}');
        break;
    case JSON_ARRAY:
        buf_putc(b, '[');
        json_array_foreach((json_t *)v, i, x)
        {
            if (i) buf_puts(b, ", ");
            write_value(b, x);
        }
        buf_putc(b, ']');
        break;
    case JSON_STRING: {
        const unsigned char *s = (const unsigned char *)json_string_value(v);
        buf_putc(b, '"');
        for (n = json_string_length(v); n > 0; n--, s++) {
            static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
            const char *at = *s ? strchr(from, *s) : NULL;
            if (at)
                buf_printf(b, "\\%c", to[at - from]);
            else if (*s < 0x20)
                buf_printf(b, "\\u%04x", *s);
            else
                buf_putc(b, (char)*s);
        }
        buf_putc(b, '"');
        break;
    }
    case JSON_INTEGER: buf_printf(b, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: {
        const double d = json_real_value(v);
        int digits = 1;
        do snprintf(number, sizeof number, "%.*e", digits++ - 1, d);
        while (strtod(number, NULL) != d && digits < 19);
        const int x10 = (int)strtol(strchr(number, 'e') + 1, NULL, 10);
        if (x10 < -4 || x10 >= 16) { /* Python has at least two digits of exponent, as C has */
            buf_puts(b, number);
        } else {
            const int behind = digits - 2 - x10;
            snprintf(number, sizeof number, "%.*f", behind > 0 ? behind : 1, d);
            buf_puts(b, number);
        }
        break;
    }
    case JSON_TRUE: buf_puts(b, "true"); break;
    case JSON_FALSE: buf_puts(b, "false"); break;
    case JSON_NULL: buf_puts(b, "null"); break;
    }
}

struct counts {
    int schemas, refused, passed, valid_refused, invalid_accepted, valid, invalid;
};

struct bench {
    const struct tokenizer *tok;
    struct free_masks *masks;
    uint32_t *bits;
    struct times mask, first, compile;
    struct counts count;
};

static bool accepts(struct bench *b, struct constraint *c, const json_t *data, struct err *e)
{
    struct buf text = BUF_INIT(1 << 24);
    struct token_list ids = { 0 };
    struct matcher *m;
    bool ok = true;
    write_value(&text, data);
    if (!tokenizer_encode(b->tok, text.data, text.len, NULL, false, 0, &ids, e) || !matcher_new(&m, c, e))
        exit(1);
    for (size_t i = 0; i < ids.n && ok; i++) {
        const double t = clock_seconds();
        if (!matcher_mask(m, b->bits, e)) {
            ok = false;
            break;
        }
        const double us = (clock_seconds() - t) * 1e6;
        times_note(&b->mask, us);
        if (i == 0) times_note(&b->first, us);
        const bool allowed = b->bits[ids.id[i] / 32] >> (ids.id[i] % 32) & 1;
        bool taken;
        if (!matcher_take(m, ids.id[i], &taken, e)) taken = false;
        if (taken != allowed) {
            fprintf(stderr, "the mask says %d of token %d, its bytes say %d, in %s\n", allowed, ids.id[i],
                    taken, text.data);
            exit(1);
        }
        ok = taken;
    }
    ok = ok && matcher_can_end(m);
    matcher_free(m);
    token_list_free(&ids);
    buf_free(&text);
    return ok;
}

static void one(struct bench *b, const json_t *o)
{
    struct schema *s;
    struct constraint *c;
    struct err e = { 0 };
    const char *name = json_string_value(json_object_get(o, "name"));
    const json_t *t;
    size_t i;
    bool pass = true;
    b->count.schemas++;
    const double start = clock_seconds();
    const bool made = schema_compile(&s, json_object_get(o, "schema"), NULL, &e);
    times_note(&b->compile, (clock_seconds() - start) * 1e6);
    if (!made || !constraint_of_schema(&c, s, b->masks, &e)) {
        b->count.refused++;
        printf("refused %s: %s\n", name, e.msg);
        return;
    }
    json_array_foreach(json_object_get(o, "tests"), i, t)
    {
        const bool valid = json_is_true(json_object_get(t, "valid"));
        const bool is = accepts(b, c, json_object_get(t, "data"), &e);
        valid ? b->count.valid++ : b->count.invalid++;
        if (is == valid) continue;
        pass = false;
        valid ? b->count.valid_refused++ : b->count.invalid_accepted++;
        printf("%s %s, instance %zu\n", valid ? "valid refused" : "INVALID ACCEPTED", name, i);
    }
    b->count.passed += pass;
    constraint_free(c);
}

int main(int argc, char **argv)
{
    struct bench b = { 0 };
    struct tokenizer *tok;
    struct vocab_trie *v;
    struct err e;
    if (argc < 3) {
        fprintf(stderr, "usage: %s TOKENIZER.json FILE.jsonl [EVERY]\n", argv[0]);
        return 2;
    }
    const int every = argc > 3 ? atoi(argv[3]) : 1;
    char *dir = strdup(argv[1]), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash) *slash = 0;
    if (!tokenizer_from_dir(&tok, slash ? dir : ".", &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    free(dir);
    const int32_t n = tokenizer_n_vocab(tok);
    const char **text = calloc((size_t)n, sizeof *text);
    uint32_t *len = calloc((size_t)n, sizeof *len);
    b.bits = calloc(((size_t)n + 31) / 32, sizeof *b.bits);
    FILE *f = fopen(argv[2], "r");
    if (!text || !len || !b.bits || !f) {
        fprintf(stderr, "%s cannot be read, or there is no memory\n", argv[2]);
        return 1;
    }
    for (int32_t id = 0; id < n; id++) {
        size_t l = 0;
        if (!tokenizer_is_control(tok, id) && !tokenizer_is_end(tok, id))
            text[id] = tokenizer_bytes(tok, id, &l);
        len[id] = (uint32_t)l;
    }
    if (!vocab_trie_new(&v, text, len, n, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    b.tok = tok;
    if (!free_masks_new(&b.masks, v, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    char *line = NULL;
    size_t cap = 0;
    for (int i = 0; getline(&line, &cap, f) > 0; i++) {
        json_error_t why;
        if (i % (every > 0 ? every : 1)) continue;
        json_t *o = json_loads(line, JSON_ALLOW_NUL, &why);
        if (!o) o = json_loads(line, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
        if (!o) { /* a name with a NUL: the JSON library does not read it */
            printf("refused line %d: %s\n", i + 1, why.text);
            b.count.schemas++;
            b.count.refused++;
            continue;
        }
        one(&b, o);
        json_decref(o);
    }
    fclose(f);
    free(line);
    times_sort(&b.mask);
    times_sort(&b.first);
    times_sort(&b.compile);
    printf("{\"schemas\": %d, \"refused\": %d, \"passed\": %d, \"valid\": %d, \"valid_refused\": %d, "
           "\"invalid\": %d, "
           "\"invalid_accepted\": %d, \"masks\": %zu, \"mask_avg_us\": %.1f, \"mask_p50_us\": %.1f, "
           "\"mask_p99_us\": %.1f, "
           "\"mask_p999_us\": %.1f, \"mask_max_us\": %.1f, \"first_mask_avg_us\": %.1f, "
           "\"first_mask_p99_us\": %.1f, "
           "\"compile_avg_us\": %.1f, \"compile_p99_us\": %.1f, \"compile_max_us\": %.1f}\n",
           b.count.schemas, b.count.refused, b.count.passed, b.count.valid, b.count.valid_refused,
           b.count.invalid, b.count.invalid_accepted, b.mask.n, times_mean(&b.mask),
           times_percentile(&b.mask, 0.5), times_percentile(&b.mask, 0.99), times_percentile(&b.mask, 0.999),
           times_percentile(&b.mask, 1), times_mean(&b.first), times_percentile(&b.first, 0.99),
           times_mean(&b.compile), times_percentile(&b.compile, 0.99), times_percentile(&b.compile, 1));
    free_masks_free(b.masks);
    vocab_trie_free(v);
    tokenizer_free(tok);
    free(text);
    free(len);
    free(b.bits);
    free(b.mask.us);
    free(b.first.us);
    free(b.compile.us);
    return 0;
}
