#include "text/grammar/constraint_cache.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/rules.h"
enum { MAX_KEPT = 256, KEY = 32 };
#define MAX_KEPT_BYTES ((size_t)256 << 20)

struct entry {
    struct entry *next; /* the one asked for before it */
    unsigned char key[KEY];
    struct constraint *constraint; /* the cache is one of its holders */
};

struct constraint_cache {
    const struct tokenizer *tok;
    uint32_t *ends;
    pthread_mutex_t mu;  /* guards what follows */
    struct entry *first; /* the one asked for last */
    bool ready;          /* what follows is made */
    const char **text;
    uint32_t *len;
    char *marks;       /* the control tokens' bytes, one behind the other */
    const char **mark; /* their texts, up to a NULL */
    struct vocab_trie *trie;
    struct free_masks *masks;
};

bool constraint_cache_new(struct constraint_cache **out, const struct tokenizer *tok, struct err *e)
{
    struct constraint_cache *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "no memory for constraints");
    const int32_t n = tokenizer_n_vocab(tok);
    c->tok = tok;
    c->ends = calloc(((size_t)n + 31) / 32 + 1, sizeof *c->ends);
    if (!c->ends) {
        free(c);
        return err_set(e, ERR_NOMEM, "no memory for constraints");
    }
    for (int32_t id = 0; id < n; id++)
        if (tokenizer_is_end(tok, id)) c->ends[id / 32] |= UINT32_C(1) << (id % 32);
    pthread_mutex_init(&c->mu, NULL);
    *out = c;
    return true;
}

static void entry_free(struct entry *x)
{
    constraint_free(x->constraint);
    free(x);
}

static void forget_vocabulary(struct constraint_cache *c)
{
    vocab_trie_free(c->trie);
    free(c->text);
    free(c->len);
    free(c->marks);
    free(c->mark);
    c->text = c->mark = NULL;
    c->len = NULL;
    c->marks = NULL;
    c->trie = NULL;
}

void constraint_cache_free(struct constraint_cache *c)
{
    if (!c) return;
    while (c->first) {
        struct entry *x = c->first;
        c->first = x->next;
        entry_free(x);
    }
    free_masks_free(c->masks);
    forget_vocabulary(c);
    free(c->ends);
    pthread_mutex_destroy(&c->mu);
    free(c);
}

/* Control tokens but for those that end a text, which are part of none: their bytes one behind the other. */
static bool take_marks(struct constraint_cache *c, int32_t n_vocab)
{
    size_t bytes = 0, n = 0, len;
    for (int32_t id = 0; id < n_vocab; id++) {
        if (!tokenizer_is_control(c->tok, id) || tokenizer_is_end(c->tok, id)) continue;
        if (!tokenizer_bytes(c->tok, id, &len) || !len) continue;
        bytes += len + 2;
        n++;
    }
    c->marks = malloc(bytes + 1);
    c->mark = calloc(n + 1, sizeof *c->mark);
    if (!c->marks || !c->mark) return false;
    char *at = c->marks;
    n = 0;
    for (int32_t id = 0; id < n_vocab; id++) {
        if (!tokenizer_is_control(c->tok, id) || tokenizer_is_end(c->tok, id)) continue;
        const char *s = tokenizer_bytes(c->tok, id, &len);
        if (!s || !len) continue;
        *at = CONTROL_MARK[0];
        memcpy(at + 1, s, len);
        at[len + 1] = 0;
        c->text[id] = at;
        c->len[id] = (uint32_t)len + 1;
        c->mark[n++] = at + 1;
        at += len + 2;
    }
    return true;
}

/* Under the lock: the vocabulary as the masks want it. */
static bool prepare(struct constraint_cache *c, struct err *e)
{
    if (c->ready) return true;
    const int32_t n = tokenizer_n_vocab(c->tok);
    c->text = calloc((size_t)n + 1, sizeof *c->text);
    c->len = calloc((size_t)n + 1, sizeof *c->len);
    bool ok = (c->text && c->len && take_marks(c, n)) || err_set(e, ERR_NOMEM, "no memory for constraints");
    for (int32_t id = 0; ok && id < n; id++) {
        size_t len = 0;
        if (c->text[id]) continue;
        c->text[id] = tokenizer_bytes(c->tok, id, &len);
        if (!c->text[id] || tokenizer_is_control(c->tok, id) || tokenizer_is_end(c->tok, id)) len = 0;
        if (!c->text[id]) c->text[id] = "";
        c->len[id] = (uint32_t)len;
    }
    ok = ok && vocab_trie_new(&c->trie, c->text, c->len, n, e) && free_masks_new(&c->masks, c->trie, e);
    if (!ok) forget_vocabulary(c);
    return c->ready = ok;
}

/* Under the lock. */
static struct constraint *find(struct constraint_cache *c, const unsigned char key[KEY])
{
    for (struct entry **p = &c->first; *p; p = &(*p)->next) {
        struct entry *x = *p;
        if (memcmp(x->key, key, KEY) != 0) continue;
        *p = x->next;
        x->next = c->first;
        c->first = x;
        return constraint_ref(x->constraint);
    }
    return NULL;
}

/* Under the lock: keeps it in front, and lets go of those that nobody asked for the longest. */
static void keep(struct constraint_cache *c, struct entry *x)
{
    size_t bytes = 0;
    int n = 0;
    x->next = c->first;
    c->first = x;
    for (struct entry **p = &c->first; *p;) {
        struct entry *y = *p;
        bytes += constraint_bytes(y->constraint); /* of late: it grows as masks are remembered */
        if (n == 0 || (n < MAX_KEPT && bytes <= MAX_KEPT_BYTES)) {
            n++;
            p = &y->next;
            continue;
        }
        *p = y->next;
        entry_free(y);
    }
}

const struct tokenizer *constraint_cache_tokenizer(const struct constraint_cache *c) { return c->tok; }
const uint32_t *constraint_cache_ends(const struct constraint_cache *c) { return c->ends; }

const char *constraint_cache_text(const struct constraint_cache *c, int32_t id, size_t *len)
{
    *len = c->len && c->text[id][0] != CONTROL_MARK[0] ? c->len[id] : 0;
    return *len ? c->text[id] : "";
}

static bool key_of(unsigned char key[KEY], const struct constraint_source *s, struct err *e)
{
    crypto_generichash_state h;
    const unsigned char kind[3] = { (unsigned char)s->kind, s->closed, s->marks };
    char *json =
        s->schema ? json_dumps(s->schema, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) : NULL;
    if (s->schema && !json) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    crypto_generichash_init(&h, NULL, 0, KEY);
    crypto_generichash_update(&h, kind, sizeof kind);
    if (json) crypto_generichash_update(&h, (const unsigned char *)json, strlen(json) + 1);
    if (s->text) crypto_generichash_update(&h, (const unsigned char *)s->text, s->len);
    crypto_generichash_final(&h, key, KEY);
    free(json);
    return true;
}

static bool schema_constraint(struct constraint_cache *c, const struct constraint_source *s,
                              struct constraint **out, struct err *e)
{
    const struct schema_limits limits = { .cancel = s->cancel, .closed_objects = s->closed };
    struct schema *schema;
    if (!schema_compile(&schema, s->schema, &limits, e)) return false;
    if (constraint_of_schema(out, schema, c->masks, e)) return true;
    schema_free(schema);
    return false;
}

static bool compile(struct constraint_cache *c, const struct constraint_source *s, struct constraint **out,
                    struct err *e)
{
    const struct schema_limits schemas = { .cancel = s->cancel, .closed_objects = s->closed };
    struct grammar_limits limits = grammar_default_limits;
    limits.schemas = &schemas;
    switch (s->kind) {
    case CONSTRAINT_SCHEMA: return schema_constraint(c, s, out, e);
    case CONSTRAINT_GRAMMAR:
        if (s->marks) limits.text.marks = c->mark;
        return constraint_of_grammar(out, s->text, s->len, s->schema, &limits, c->masks, e);
    case CONSTRAINT_REGEX: return constraint_of_regex(out, s->text, s->len, c->masks, e);
    }
    return false;
}

bool constraint_cache_get(struct constraint_cache *c, const struct constraint_source *s,
                          struct constraint **out, struct err *e)
{
    unsigned char key[KEY];
    if (!key_of(key, s, e)) return false;
    pthread_mutex_lock(&c->mu);
    const bool ok = prepare(c, e);
    struct constraint *known = ok ? find(c, key) : NULL;
    pthread_mutex_unlock(&c->mu);
    if (known) *out = known;
    if (known || !ok) return ok;
    struct entry *x = calloc(1, sizeof *x);
    if (!x) return err_set(e, ERR_NOMEM, "no memory for a constraint");
    if (!compile(c, s, &x->constraint, e)) {
        free(x);
        return false;
    }
    memcpy(x->key, key, KEY);
    *out = constraint_ref(x->constraint);
    pthread_mutex_lock(&c->mu);
    keep(c, x);
    pthread_mutex_unlock(&c->mu);
    return true;
}
