/* tokenizer_spm.c - a language model's tokenizer out of a SentencePiece file (tokenizer.model), for folders that have no
 * tokenizer.json. */
#include <stdlib.h>

#include "text/spm_model.h"
#include "text/tokenizer_internal.h"

static bool add_pieces(struct tokenizer *t, const struct spm_model *m, float *score, struct err *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->n; i++) bytes += m->piece[i].len;
    if (!vocab_begin(&t->vocab, (int32_t)m->n, bytes, e)) return false;
    for (size_t i = 0; i < m->n; i++) {
        const struct spm_piece *p = &m->piece[i];
        bool control = p->type == SPM_CONTROL || p->type == SPM_UNKNOWN;
        enum vocab_kind kind = control ? VOCAB_CONTROL : p->type == SPM_USER ? VOCAB_USER : VOCAB_NORMAL;
        bool literal = control || p->type == SPM_USER;
        score[i] = p->score;
        if (!tokenizer_add(t, (int32_t)i, kind, literal, p->text, p->len, e)) return false;
    }
    return tokenizer_index(t, e);
}

/* After the vocabulary stands: its strings no longer move. */
static bool add_special(struct tokenizer *t, const struct spm_model *m, struct err *e)
{
    for (size_t i = 0; i < m->n; i++) {
        enum spm_type type = m->piece[i].type;
        if (type != SPM_CONTROL && type != SPM_UNKNOWN && type != SPM_USER) continue;
        struct added a = { .id = (int32_t)i };
        a.text = vocab_text(&t->vocab, a.id, &a.len);
        a.markup = type != SPM_USER || added_is_tag(a.text, a.len);
        if (type != SPM_USER) t->flag[i] |= TOKEN_CONTROL;
        if (type == SPM_UNKNOWN) t->unk = a.id;
        if (!added_push(&t->raw, a, e)) return false;
    }
    added_sort(&t->raw);
    t->bos = tokenizer_find(t, "<s>");
    t->eos = tokenizer_find(t, "</s>");
    return true;
}

bool tokenizer_from_spm(struct tokenizer **out, const uint8_t *data, size_t len, struct err *e)
{
    struct spm_model m = { 0 };
    struct tokenizer *t = NULL;
    float *score = NULL;
    bool ok = tokenizer_alloc(&t, e) && spm_model_parse(&m, data, len, e);
    if (ok && m.n == 0) ok = err_set(e, ERR_FORMAT, "the model has no pieces");
    if (ok && !(score = malloc(m.n * sizeof *score)))
        ok = err_set(e, ERR_NOMEM, "no memory for %zu scores", m.n);
    if (ok) {
        t->spm = t->strip_first = t->add_bos = t->fuse_unk = true;
        t->prefix = PREFIX_SEGMENT;
        ok =
            add_pieces(t, &m, score, e) && add_special(t, &m, e) && tokenizer_merges_from_scores(t, score, e);
    }
    free(score);
    spm_model_free(&m);
    if (!ok) {
        tokenizer_free(t);
        return err_wrap(e, "tokenizer.model");
    }
    *out = t;
    return true;
}
