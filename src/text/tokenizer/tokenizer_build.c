/* tokenizer_build.c - the parts of loading a tokenizer that GGUF files and tokenizer.json share. */
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "text/tokenizer/tokenizer_internal.h"

bool tokenizer_alloc(struct tokenizer **out, struct err *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    t->unk = t->bos = t->eos = -1;
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;
    t->u = unicode_new(e);
    if (!t->u || !pretoken_new(&t->pre, t->u, e)) {
        tokenizer_free(t);
        return false;
    }
    *out = t;
    return true;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) return;
    vocab_free(&t->vocab);
    free(t->flag);
    bpe_free(&t->bpe);
    unigram_free(&t->unigram);
    spm_normalizer_free(&t->normalizer);
    free((void *)t->whole);
    pretoken_free(t->pre);
    free(t->u);
    added_free(&t->raw);
    added_free(&t->norm);
    free(t->literals);
    free(t->chat_template);
    json_decref(t->names);
    free(t);
}

static size_t spaces_from_spm(const char *s, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        if (i + 3 <= len && memcmp(s + i, "\u2581", 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = s[i++];
        }
    }
    return n;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int spm_byte(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0) return -1;
    return hex(s[3]) * 16 + hex(s[4]);
}

bool tokenizer_add(struct tokenizer *t, int32_t id, enum vocab_kind kind, bool added, const char *s,
                   size_t len, struct err *e)
{
    char small[256];
    char *text = len <= sizeof small ? small : malloc(len);
    if (!text) return err_set(e, ERR_NOMEM, "no memory for a token of %zu bytes", len);
    size_t n = len;
    int byte = t->spm && !added ? spm_byte(s, len) : -1;
    if (byte >= 0) {
        kind = VOCAB_BYTE;
        text[0] = (char)byte;
        n = 1;
        t->byte_id[byte] = id;
    } else if (added || t->wordpiece) {
        memcpy(text, s, len);
    } else if (t->spm) {
        n = spaces_from_spm(s, len, text);
    } else if (!bytes_from_gpt2(s, len, text, &n)) {
        memcpy(text, s, len); /* not byte level: shown as it is spelled, never the result of merging */
        n = len;
        if (kind != VOCAB_CONTROL) kind = VOCAB_BYTE;
    }
    bool ok = vocab_add(&t->vocab, id, kind, text, n, e);
    if (text != small) free(text);
    return ok;
}

bool tokenizer_index(struct tokenizer *t, struct err *e)
{
    if (!vocab_finish(&t->vocab, e)) return false;
    size_t n = (size_t)t->vocab.n;
    t->flag = calloc(n, 1);
    t->whole = calloc(n, sizeof *t->whole);
    if (!t->flag || !t->whole) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", n);
    for (int b = 0; b < 256 && !t->spm; b++) {
        char c = (char)b;
        t->byte_id[b] = vocab_find(&t->vocab, &c, 1);
    }
    return true;
}

bool tokenizer_add_merge(struct tokenizer *t, const char *left, size_t left_len, const char *right,
                         size_t right_len, uint32_t rank, struct err *e)
{
    char small[512];
    size_t cap = left_len + right_len;
    char *text = cap <= sizeof small ? small : malloc(cap);
    if (!text) return err_set(e, ERR_NOMEM, "no memory for a merge of %zu bytes", cap);
    size_t l = 0, r = 0;
    bool ok = true;
    if (t->spm) {
        l = spaces_from_spm(left, left_len, text);
        r = spaces_from_spm(right, right_len, text + l);
    } else {
        ok = bytes_from_gpt2(left, left_len, text, &l) && bytes_from_gpt2(right, right_len, text + l, &r);
    }
    if (ok && l && r) {
        int32_t a = vocab_find(&t->vocab, text, l), b = a < 0 ? -1 : vocab_find(&t->vocab, text + l, r);
        int32_t id = b < 0 ? -1 : vocab_find(&t->vocab, text, l + r);
        if (id >= 0) bpe_add(&t->bpe, a, b, rank, id);
    }
    if (text != small) free(text);
    return true;
}

bool tokenizer_added_is_control(const json_t *added)
{
    const json_t *c = json_object_get(added, "content");
    return json_is_true(json_object_get(added, "special")) ||
           added_is_control(json_string_value(c), json_string_length(c));
}

bool affix_push(struct affix *a, int32_t id, struct err *e)
{
    if (a->n == AFFIX_MAX)
        return err_set(e, ERR_UNSUPPORTED, "more than %d special tokens around a text", AFFIX_MAX);
    a->id[a->n++] = id;
    return true;
}

void tokenizer_set_affixes(struct tokenizer *t, bool bos, bool eos)
{
    t->first = bos && t->bos >= 0 ? (struct affix){ { t->bos }, 1 } : (struct affix){ 0 };
    t->last = eos && t->eos >= 0 ? (struct affix){ { t->eos }, 1 } : (struct affix){ 0 };
}

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *x, const void *y)
{
    const struct scored *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

bool tokenizer_merges_from_scores(struct tokenizer *t, const float *score, struct err *e)
{
    size_t n = (size_t)t->vocab.n, n_pairs = 0, cap = 4 * n;
    struct scored *order = malloc(n * sizeof *order);
    uint32_t *rank = malloc(n * sizeof *rank);
    struct bpe_pair *pair = malloc(cap * sizeof *pair);
    bool ok = false;
    if (!order || !rank || !pair) {
        err_set(e, ERR_NOMEM, "no memory for the merges of %zu tokens", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = (struct scored){ isnan(score[i]) ? -INFINITY : score[i], (int32_t)i };
    qsort(order, n, sizeof *order, by_score);
    uint32_t k = 0;
    for (size_t i = 0; i < n;
         i++) { /* equal scores share a rank: then the leftmost pair goes first, as in SentencePiece */
        if (i && order[i].score != order[i - 1].score) k++;
        rank[order[i].id] = k;
    }
    for (int32_t id = 0; id < t->vocab.n; id++) {
        size_t len;
        const char *s = vocab_text(&t->vocab, id, &len);
        if (t->vocab.kind[id] != VOCAB_NORMAL || vocab_find(&t->vocab, s, len) != id) continue;
        for (size_t cut = 1; cut < len; cut++) {
            if (((unsigned char)s[cut] & 0xc0) == 0x80) continue;
            int32_t a = vocab_find(&t->vocab, s, cut),
                    b = a < 0 ? -1 : vocab_find(&t->vocab, s + cut, len - cut);
            if (b < 0) continue;
            if (n_pairs == cap) {
                struct bpe_pair *more = realloc(pair, 2 * cap * sizeof *pair);
                if (!more) {
                    err_set(e, ERR_NOMEM, "no memory for %zu merges", 2 * cap);
                    goto done;
                }
                pair = more;
                cap *= 2;
            }
            pair[n_pairs++] = (struct bpe_pair){ a, b, rank[id], id };
        }
    }
    if (!bpe_init(&t->bpe, n_pairs, e)) goto done;
    for (size_t i = 0; i < n_pairs; i++)
        bpe_add(&t->bpe, pair[i].left, pair[i].right, pair[i].rank, pair[i].id);
    ok = true;
done:
    free(order);
    free(rank);
    free(pair);
    return ok;
}

bool tokenizer_unigram_from_scores(struct tokenizer *t, const float *score, struct err *e)
{
    float worst = FLT_MAX, best = FLT_MIN; /* the reference begins with these */
    for (int32_t id = 0; id < t->vocab.n; id++) {
        if (t->vocab.kind[id] != VOCAB_NORMAL) continue;
        if (score[id] < worst) worst = score[id];
        if (score[id] > best) best = score[id];
    }
    if (!unigram_init(&t->unigram, (size_t)t->vocab.n, e)) return false;
    t->unigram.narrow = true;
    t->unigram.unk = t->unk;
    for (int32_t id = 0; id < t->vocab.n; id++) {
        size_t len, marks = 0;
        const char *s = vocab_text(&t->vocab, id, &len);
        if (t->vocab.kind[id] != VOCAB_NORMAL && t->vocab.kind[id] != VOCAB_USER) continue;
        if (t->vocab.kind[id] == VOCAB_USER && added_is_tag(s, len))
            continue; /* cut out as a control token is */
        for (size_t i = 0; i < len; i++) marks += s[i] == ' ';
        /* A symbol of the user's has a bonus by its length, in which U+2581 counts three. */
        double bonus = (double)((float)(len + 2 * marks) * best) - 0.1;
        unigram_add(&t->unigram, s, len, t->vocab.kind[id] == VOCAB_USER ? bonus : (double)score[id], id);
    }
    unigram_finish(&t->unigram, worst);
    return t->unk >= 0 || err_set(e, ERR_FORMAT, "a unigram model without an unknown piece");
}

/* Whether no piece that merging can make has a space after another character. */
static bool words_stand_alone(const struct vocab *v)
{
    for (int32_t id = 0; id < v->n; id++) {
        if (v->kind[id] != VOCAB_NORMAL && v->kind[id] != VOCAB_USER) continue;
        size_t len;
        const char *s = vocab_text(v, id, &len);
        for (size_t i = 1; i < len; i++)
            if (s[i] == ' ' && s[i - 1] != ' ') return false;
    }
    return true;
}

/* Whether this byte of a word is always in one of its tokens. A vocabulary may lack bytes and characters, which then are left out; of
 * those that are known by their characters alone, ASCII is what can be told byte by byte. */
static bool never_lost(const struct tokenizer *t, int b)
{
    const char c = (char)b;
    return t->byte_id[b] >= 0 || (t->spm && b < 0x80 && vocab_find(&t->vocab, &c, 1) >= 0);
}

static void count_shares(struct tokenizer *t)
{
    size_t longest[256] = { 0 };
    bool all = true;
    for (int32_t id = 0; id < t->vocab.n; id++) {
        size_t n;
        const char *s = vocab_text(&t->vocab, id, &n);
        for (size_t i = 0; i < n && !(t->flag[id] & TOKEN_OUTSIDE); i++)
            if (longest[(unsigned char)s[i]] < n) longest[(unsigned char)s[i]] = n;
    }
    for (int b = 0; b < 256; b++) all &= t->byte_id[b] >= 0;
    for (int b = 0; b < 256; b++) {
        const bool sure = never_lost(t, b) && (all || !t->spm || b < 0x80);
        t->share[b] = sure ? 1 / (float)(longest[b] ? longest[b] : 1) : 0;
    }
}

void tokenizer_finish(struct tokenizer *t)
{
    static const char *const ends[] = {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|eom_id|>",
        "<|eot|>",
        "<|eom|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<|end_of_turn|>",
        "<end_of_turn>",
        "<|EOT|>",
        "</s>",
        "<｜end▁of▁sentence｜>",
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int32_t id = tokenizer_find(t, ends[i]);
        if (id >= 0 && (t->flag[id] & TOKEN_CONTROL)) t->flag[id] |= TOKEN_END;
    }
    if (t->eos >= 0) t->flag[t->eos] |= TOKEN_END;
    t->split_words = t->spm && words_stand_alone(&t->vocab);
    count_shares(t);
}
