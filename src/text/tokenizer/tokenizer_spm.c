/* tokenizer_spm.c - a language model's tokenizer out of a SentencePiece file (tokenizer.model), for folders that have no
 * tokenizer.json. */
#include <stdlib.h>

#include "base/log.h"
#include "text/tokenizer/spm_model.h"
#include "text/tokenizer/tokenizer_internal.h"

struct loading {
    struct tokenizer *t;
    const struct spm_model *m;
    const json_t *added; /* NULL: none; in order of ids */
    float *score;        /* [vocab.n] */
    char *literal;       /* where the next of the tokenizer's literals goes */
};

static bool is_special(const struct spm_piece *p)
{
    return p->type == SPM_CONTROL || p->type == SPM_UNKNOWN || p->type == SPM_USER;
}

/* Tokens that stand beside the model have the ids behind its pieces. Those that the model has already are taken from it. */
static bool is_behind(const struct loading *l, const json_t *token)
{
    return json_integer_value(json_object_get(token, "id")) >= (json_int_t)l->m->n;
}

/* What no text becomes: an unused piece, and one with a space, which is U+2581 by then. */
static bool never_found(const struct spm_piece *p)
{
    return p->type == SPM_UNUSED || memchr(p->text, ' ', p->len) != NULL;
}

static bool add_pieces(struct loading *l, struct err *e)
{
    struct tokenizer *t = l->t;
    size_t bytes = 0, n = l->m->n, i;
    const json_t *a;
    for (i = 0; i < l->m->n; i++) bytes += l->m->piece[i].len;
    json_array_foreach(l->added, i, a)
    {
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        if (id >= VOCAB_MAX || id > (json_int_t)(n + 65536))
            return err_set(e, ERR_FORMAT, "added token \"%.60s\" has the id %lld behind %zu pieces",
                           json_string_value(json_object_get(a, "content")), (long long)id, l->m->n);
        if ((size_t)id >= n) n = (size_t)id + 1;
        bytes += json_string_length(json_object_get(a, "content"));
    }
    if (!vocab_begin(&t->vocab, (int32_t)n, bytes, e)) return false;
    for (i = 0; i < l->m->n; i++) {
        const struct spm_piece *p = &l->m->piece[i];
        bool control = p->type == SPM_CONTROL || p->type == SPM_UNKNOWN;
        enum vocab_kind kind = control               ? VOCAB_CONTROL
                               : never_found(p)      ? VOCAB_BYTE
                               : p->type == SPM_USER ? VOCAB_USER
                                                     : VOCAB_NORMAL;
        if (!tokenizer_add(t, (int32_t)i, kind, control, p->text, p->len, e)) return false;
    }
    json_array_foreach(l->added, i, a)
    {
        const json_t *text = json_object_get(a, "content");
        const int32_t id = (int32_t)json_integer_value(json_object_get(a, "id"));
        enum vocab_kind kind = tokenizer_added_is_control(a) ? VOCAB_CONTROL : VOCAB_USER;
        if (is_behind(l, a) && id >= t->vocab.n &&
            !tokenizer_add(t, id, kind, true, json_string_value(text), json_string_length(text), e))
            return false;
    }
    if (!tokenizer_index(t, e)) return false;
    l->score = calloc((size_t)t->vocab.n, sizeof *l->score);
    if (!l->score) return err_set(e, ERR_NOMEM, "no memory for %d scores", (int)t->vocab.n);
    for (i = 0; i < l->m->n; i++) l->score[i] = l->m->piece[i].score;
    return true;
}

static bool add_one(struct tokenizer *t, struct added_set *set, int32_t id, const json_t *settings,
                    bool control, struct err *e)
{
    struct added a = { .id = id,
                       .single_word = json_is_true(json_object_get(settings, "single_word")),
                       .lstrip = json_is_true(json_object_get(settings, "lstrip")),
                       .rstrip = json_is_true(json_object_get(settings, "rstrip")) };
    a.text = vocab_text(&t->vocab, id, &a.len);
    a.markup = control || added_is_tag(a.text, a.len);
    if (control) t->flag[id] |= TOKEN_CONTROL;
    return added_push(set, a, e);
}

/* The user's symbols: the character map leaves them alone as they are spelled, and they are found in what it made of the text. A
 * unigram model weighs them like pieces, but for those that look like tags. */
static bool add_symbol(struct loading *l, int32_t id, const struct spm_piece *p, struct err *e)
{
    struct tokenizer *t = l->t;
    struct added as_is = { .id = id, .text = l->literal, .len = p->len };
    memcpy(l->literal, p->text, p->len);
    l->literal += p->len;
    if (!added_push(&t->normalizer.as_is, as_is, e)) return false;
    if (never_found(p)) return true;
    return (l->m->kind == SPM_UNIGRAM && !added_is_tag(p->text, p->len)) ||
           add_one(t, &t->norm, id, NULL, false, e);
}

/* After the vocabulary stands: its strings no longer move. */
static bool add_special(struct loading *l, struct err *e)
{
    struct tokenizer *t = l->t;
    const json_t *a;
    size_t i, bytes = 1;
    json_array_foreach(l->added, i, a)
    {
        int32_t id = (int32_t)json_integer_value(json_object_get(a, "id"));
        if (is_behind(l, a) && !add_one(t, &t->raw, id, a, tokenizer_added_is_control(a), e)) return false;
    }
    for (i = 0; i < l->m->n; i++) bytes += l->m->piece[i].type == SPM_USER ? l->m->piece[i].len : 0;
    t->literals = l->literal = malloc(bytes);
    if (!t->literals) return err_set(e, ERR_NOMEM, "no memory for the user's symbols");
    for (i = 0; i < l->m->n; i++) {
        const struct spm_piece *p = &l->m->piece[i];
        if (p->type == SPM_UNKNOWN) t->unk = (int32_t)i;
        if (!is_special(p)) continue;
        if (!(p->type == SPM_USER ? add_symbol(l, (int32_t)i, p, e)
                                  : add_one(t, &t->raw, (int32_t)i, NULL, true, e)))
            return false;
    }
    added_sort(&t->raw);
    added_sort(&t->norm);
    added_sort(&t->normalizer.as_is);
    t->norm.marked = true;
    t->bos = tokenizer_find(t, l->m->bos);
    t->eos = tokenizer_find(t, l->m->eos);
    tokenizer_set_affixes(t, true, false);
    return true;
}

/* What the trainer and the normaliser are set to. */
static bool add_settings(struct loading *l, struct err *e)
{
    struct tokenizer *t = l->t;
    const struct spm_model *m = l->m;
    if (m->kind == SPM_WORD)
        return err_set(e, ERR_UNSUPPORTED,
                       "a SentencePiece model of the type \"word\"; unigram, bpe and char are read");
    if (!m->escape)
        return err_set(e, ERR_UNSUPPORTED, "a SentencePiece model with escape_whitespaces: false");
    if (m->denormalizes) log_warn("tokenizer.model: its denormalizer is not applied to replies");
    t->spm = t->fuse_unk = t->normalizes = true;
    t->normalizer.dummy = m->dummy_prefix;
    t->normalizer.remove_extra = m->remove_extra;
    t->normalizer.behind = m->whitespace_behind;
    t->strip_first = !m->whitespace_behind && (m->dummy_prefix || m->remove_extra);
    t->prefix = PREFIX_SEGMENT;
    return spm_normalizer_map(&t->normalizer, m->charsmap, m->charsmap_len, e);
}

static bool add_model(struct loading *l, struct err *e)
{
    struct tokenizer *t = l->t;
    for (int b = 0; b < 256 && !l->m->byte_fallback; b++) t->byte_id[b] = -1;
    if (l->m->kind == SPM_UNIGRAM) return tokenizer_unigram_from_scores(t, l->score, e);
    if (l->m->kind == SPM_CHAR) return bpe_init(&t->bpe, 0, e);
    return tokenizer_merges_from_scores(t, l->score, e);
}

bool tokenizer_from_spm(struct tokenizer **out, const uint8_t *data, size_t len,
                        const struct special_tokens *beside, struct err *e)
{
    struct spm_model m = { 0 };
    struct loading l = { .m = &m, .added = beside ? beside->added : NULL };
    bool ok = tokenizer_alloc(&l.t, e) && spm_model_parse(&m, data, len, e);
    if (ok && m.n == 0) ok = err_set(e, ERR_FORMAT, "the model has no pieces");
    ok = ok && add_settings(&l, e) && add_pieces(&l, e) && add_special(&l, e) && add_model(&l, e);
    free(l.score);
    spm_model_free(&m);
    if (!ok) {
        tokenizer_free(l.t);
        return err_wrap(e, "tokenizer.model");
    }
    *out = l.t;
    return true;
}
