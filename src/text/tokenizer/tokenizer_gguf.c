/* tokenizer_gguf.c - a tokenizer out of GGUF metadata. Keys and their defaults: ggml's docs/gguf.md and what llama.cpp's
 * converter writes. */
#include <stdlib.h>

#include "base/log.h"
#include "text/tokenizer/tokenizer_internal.h"

/* tokenizer.ggml.token_type */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

struct source {
    const struct gguf *g;
    const struct gguf_value *tokens, *types, *scores, *merges;
};

static bool is_name(struct gguf_str s, const char *name)
{
    return s.len == strlen(name) && memcmp(s.data, name, s.len) == 0;
}

static int token_type(const struct source *s, uint64_t i)
{
    return s->types ? (int)gguf_value_int(s->types, i, TYPE_NORMAL) : TYPE_NORMAL;
}

static bool find_arrays(const struct gguf *g, struct source *s, struct err *e)
{
    *s = (struct source){ .g = g, .tokens = gguf_find(g, "tokenizer.ggml.tokens") };
    if (!s->tokens || !s->tokens->is_array || s->tokens->type != GGUF_STRING || s->tokens->n == 0)
        return err_set(e, ERR_FORMAT, "the file has no tokenizer.ggml.tokens");
    if (s->tokens->n > VOCAB_MAX)
        return err_set(e, ERR_LIMIT, "tokenizer.ggml.tokens has %llu entries; %d are read",
                       (unsigned long long)s->tokens->n, VOCAB_MAX);
    s->types = gguf_find(g, "tokenizer.ggml.token_type");
    s->scores = gguf_find(g, "tokenizer.ggml.scores");
    s->merges = gguf_find(g, "tokenizer.ggml.merges");
    if (s->types && (!s->types->is_array || s->types->n != s->tokens->n || s->types->type == GGUF_STRING))
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.token_type does not fit tokenizer.ggml.tokens");
    if (s->scores && (!s->scores->is_array || s->scores->n != s->tokens->n || s->scores->type == GGUF_STRING))
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.scores does not fit tokenizer.ggml.tokens");
    if (s->merges && (!s->merges->is_array || s->merges->type != GGUF_STRING))
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.merges is not a list of strings");
    return true;
}

/* Padding at the end of a vocabulary is rows of the embedding, not tokens. */
static int32_t used_tokens(const struct source *s)
{
    uint64_t n = s->tokens->n;
    while (n > 1 && token_type(s, n - 1) == TYPE_UNUSED) n--;
    return (int32_t)n;
}

static bool add_tokens(struct tokenizer *t, const struct source *s, int32_t n, struct err *e)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < n; i++) bytes += s->tokens->s[i].len;
    if (!vocab_begin(&t->vocab, n, bytes, e)) return false;
    for (int32_t i = 0; i < n; i++) {
        int type = token_type(s, (uint64_t)i);
        struct gguf_str text = s->tokens->s[i];
        enum vocab_kind kind = type == TYPE_CONTROL || type == TYPE_UNKNOWN ? VOCAB_CONTROL
                               : type == TYPE_USER                          ? VOCAB_USER
                               : type == TYPE_UNUSED                        ? VOCAB_BYTE
                                                                            : VOCAB_NORMAL;
        bool literal = kind == VOCAB_CONTROL || kind == VOCAB_USER;
        if (!tokenizer_add(t, i, kind, literal, text.data, text.len, e)) return false;
    }
    return tokenizer_index(t, e);
}

/* Converters turn the vocabulary of BERT round: what begins a word has U+2581 before it, what goes on has lost its "##"; what stands in
 * brackets is as it was. */
static bool add_words(struct tokenizer *t, const struct source *s, int32_t n, struct err *e)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < n; i++) bytes += s->tokens->s[i].len + 2;
    if (!vocab_begin(&t->vocab, n, bytes, e)) return false;
    for (int32_t i = 0; i < n; i++) {
        const struct gguf_str text = s->tokens->s[i];
        const bool control =
            token_type(s, (uint64_t)i) == TYPE_CONTROL || token_type(s, (uint64_t)i) == TYPE_UNKNOWN;
        const bool first = text.len >= 3 && memcmp(text.data, "\u2581", 3) == 0;
        const bool bracket = text.len >= 2 && text.data[0] == '[' && text.data[text.len - 1] == ']';
        char small[256], *piece = text.len + 2 <= sizeof small ? small : malloc(text.len + 2);
        if (!piece) return err_set(e, ERR_NOMEM, "no memory for a token of %zu bytes", text.len);
        size_t len = text.len;
        if (first) {
            len -= 3;
            memcpy(piece, text.data + 3, len);
        } else if (bracket || control) {
            memcpy(piece, text.data, len);
        } else {
            piece[0] = piece[1] = '#';
            memcpy(piece + 2, text.data, len);
            len += 2;
        }
        const bool ok = vocab_add(&t->vocab, i, control ? VOCAB_CONTROL : VOCAB_NORMAL, piece, len, e);
        if (piece != small) free(piece);
        if (!ok) return false;
    }
    return tokenizer_index(t, e);
}

/* After the vocabulary stands: its strings no longer move. */
static bool add_special(struct tokenizer *t, struct err *e)
{
    for (int32_t id = 0; id < t->vocab.n; id++) {
        enum vocab_kind kind = t->vocab.kind[id];
        if (kind != VOCAB_CONTROL && kind != VOCAB_USER) continue;
        size_t len;
        const char *text = vocab_text(&t->vocab, id, &len);
        if (kind == VOCAB_CONTROL || added_is_control(text, len)) t->flag[id] |= TOKEN_CONTROL;
        bool markup = kind == VOCAB_CONTROL || added_is_tag(text, len);
        if (!added_push(&t->raw, (struct added){ .text = text, .len = len, .id = id, .markup = markup }, e))
            return false;
    }
    added_sort(&t->raw);
    return true;
}

static bool add_merges(struct tokenizer *t, const struct source *s, struct err *e)
{
    if (!s->merges || s->merges->n > UINT32_MAX - 1)
        return err_set(e, ERR_FORMAT, "the file has no usable tokenizer.ggml.merges");
    if (!bpe_init(&t->bpe, s->merges->n, e)) return false;
    for (uint64_t i = 0; i < s->merges->n; i++) {
        struct gguf_str m = s->merges->s[i];
        const char *cut = m.len > 1 ? memchr(m.data + 1, ' ', m.len - 1) : NULL;
        if (!cut)
            return err_set(e, ERR_FORMAT, "tokenizer.ggml.merges[%llu] is not two parts",
                           (unsigned long long)i);
        size_t left = (size_t)(cut - m.data);
        if (!tokenizer_add_merge(t, m.data, left, cut + 1, m.len - left - 1, (uint32_t)i, e)) return false;
    }
    return true;
}

static bool add_scores(struct tokenizer *t, const struct source *s, bool unigram, struct err *e)
{
    if (!s->scores) return err_set(e, ERR_FORMAT, "the file has no tokenizer.ggml.scores");
    float *score = malloc((size_t)t->vocab.n * sizeof *score);
    if (!score) return err_set(e, ERR_NOMEM, "no memory for %d scores", (int)t->vocab.n);
    for (int32_t i = 0; i < t->vocab.n; i++) score[i] = (float)gguf_value_float(s->scores, (uint64_t)i, 0);
    bool ok =
        unigram ? tokenizer_unigram_from_scores(t, score, e) : tokenizer_merges_from_scores(t, score, e);
    free(score);
    return ok;
}

/* SentencePiece's normaliser as far as the file keeps it. */
static bool add_normalizer(struct tokenizer *t, const struct gguf *g, bool unigram, struct err *e)
{
    const struct gguf_value *map = gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    t->prefix = gguf_bool(g, "tokenizer.ggml.add_space_prefix", !unigram) ? PREFIX_SEGMENT : PREFIX_NONE;
    t->normalizer.dummy = t->prefix != PREFIX_NONE;
    t->normalizer.remove_extra = gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", false);
    t->strip_first = t->prefix != PREFIX_NONE;
    t->normalizes = unigram || map || t->normalizer.remove_extra;
    if (!map) return true;
    if (!map->is_array || (map->type != GGUF_U8 && map->type != GGUF_I8))
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.precompiled_charsmap is not an array of bytes");
    return spm_normalizer_map(&t->normalizer, map->data, map->n, e);
}

static bool add_pretokenizer(struct tokenizer *t, const struct gguf *g, bool *bos, struct err *e)
{
    struct gguf_str pre = gguf_string(g, "tokenizer.ggml.pre");
    if (!pre.data || pre.len == 0) {
        log_warn("the model file names no pre-tokenizer; GPT-2's is used");
        pre = (struct gguf_str){ "gpt-2", 5 };
    }
    unsigned flags = 0;
    if (!pretoken_add_named(t->pre, pre.data, pre.len, &flags, e)) return false;
    t->ignore_merges = flags & NAMED_WHOLE_WORDS;
    *bos = flags & NAMED_BEGINS;
    if (flags & NAMED_NFC) t->form = FORM_NFC;
    return true;
}

static int32_t id_of(const struct tokenizer *t, const struct gguf *g, const char *key)
{
    int64_t id = gguf_int(g, key, -1);
    return id >= 0 && id < t->vocab.n ? (int32_t)id : -1;
}

/* As the templates of transformers know them. */
static bool add_names(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    static const char *const keys[][2] = { { "bos_token", "tokenizer.ggml.bos_token_id" },
                                           { "eos_token", "tokenizer.ggml.eos_token_id" },
                                           { "unk_token", "tokenizer.ggml.unknown_token_id" },
                                           { "pad_token", "tokenizer.ggml.padding_token_id" },
                                           { "sep_token", "tokenizer.ggml.seperator_token_id" } };
    t->names = json_object();
    bool ok = t->names != NULL;
    for (size_t i = 0; ok && i < sizeof keys / sizeof *keys; i++) {
        int32_t id = id_of(t, g, keys[i][1]);
        size_t len;
        const char *text = id >= 0 ? vocab_text(&t->vocab, id, &len) : NULL;
        if (text && utf8_valid(text, len) == len)
            ok = json_object_set_new(t->names, keys[i][0], json_string(text)) == 0;
    }
    return ok || err_set(e, ERR_NOMEM, "no memory for the names of special tokens");
}

/* BERT's. The file says nothing of how text is normalised: as llama.cpp does it, without capitals and accents. */
static bool load_words(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct source s;
    t->wordpiece = true;
    wordpiece_defaults(&t->wp);
    if (!find_arrays(g, &s, e) || !add_words(t, &s, used_tokens(&s), e) || !add_special(t, e)) return false;
    t->wp.lower = gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", true);
    t->wp.strip = gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", t->wp.lower);
    t->unk = id_of(t, g, "tokenizer.ggml.unknown_token_id");
    t->bos = id_of(t, g, "tokenizer.ggml.cls_token_id");
    if (t->bos < 0) t->bos = id_of(t, g, "tokenizer.ggml.bos_token_id");
    t->eos = id_of(t, g, "tokenizer.ggml.seperator_token_id");
    if (t->eos < 0) t->eos = id_of(t, g, "tokenizer.ggml.eos_token_id");
    /* What a file leaves out is what BERT calls it. */
    if (t->unk < 0) t->unk = tokenizer_find(t, "[UNK]");
    if (t->bos < 0) t->bos = tokenizer_find(t, "[CLS]");
    if (t->eos < 0) t->eos = tokenizer_find(t, "[SEP]");
    if (t->unk < 0) t->unk = vocab_find(&t->vocab, "[UNK]", 5);
    if (t->bos < 0) t->bos = vocab_find(&t->vocab, "[CLS]", 5);
    if (t->eos < 0) t->eos = vocab_find(&t->vocab, "[SEP]", 5);
    if (t->unk < 0 || t->bos < 0 || t->eos < 0)
        return err_set(e, ERR_FORMAT, "the file names no unknown, first or last token");
    t->wp.unk = t->unk;
    tokenizer_set_affixes(
        t, gguf_bool(g, "tokenizer.ggml.add_bos_token", true),
        gguf_bool(g, "tokenizer.ggml.add_eos_token", gguf_bool(g, "tokenizer.ggml.add_sep_token", true)));
    t->second_typed = true;
    if (!add_names(t, g, e)) return false;
    tokenizer_finish(t);
    return true;
}

static bool load(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct source s;
    struct gguf_str model = gguf_string(g, "tokenizer.ggml.model");
    if (!model.data) return err_set(e, ERR_FORMAT, "the file has no tokenizer.ggml.model");
    if (is_name(model, "bert")) return load_words(t, g, e);
    const bool unigram = is_name(model, "t5");
    t->spm = unigram || is_name(model, "llama");
    if (!t->spm && !is_name(model, "gpt2"))
        return err_set(e, ERR_UNSUPPORTED,
                       "tokenizer.ggml.model \"%.*s\" is not supported (gpt2, llama, t5 and bert are)",
                       model.len > 40 ? 40 : (int)model.len, model.data);
    if (!find_arrays(g, &s, e) || !add_tokens(t, &s, used_tokens(&s), e) || !add_special(t, e)) return false;

    bool bos = t->spm && !unigram;
    if (t->spm) {
        t->unk = id_of(t, g, "tokenizer.ggml.unknown_token_id");
        if (!add_scores(t, &s, unigram, e) || !add_normalizer(t, g, unigram, e)) return false;
    } else if (!add_pretokenizer(t, g, &bos, e) || !add_merges(t, &s, e)) {
        return false;
    }
    t->bos = id_of(t, g, "tokenizer.ggml.bos_token_id");
    t->eos = id_of(t, g, "tokenizer.ggml.eos_token_id");
    tokenizer_set_affixes(t, gguf_bool(g, "tokenizer.ggml.add_bos_token", bos),
                          gguf_bool(g, "tokenizer.ggml.add_eos_token", unigram));
    for (int i = 0; unigram && t->eos >= 0 && i < 2; i++) /* as XLM-RoBERTa has pairs */
        t->between.id[t->between.n++] = t->eos;
    if (!add_names(t, g, e)) return false;
    static const char *const ends[] = { "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int32_t id = id_of(t, g, ends[i]);
        if (id >= 0) t->flag[id] |= TOKEN_END;
    }
    struct gguf_str template = gguf_string(g, "tokenizer.chat_template");
    if (template.data) {
        t->chat_template = strndup(template.data, template.len);
        if (!t->chat_template) return err_set(e, ERR_NOMEM, "no memory for the chat template");
        t->template_from = "tokenizer.chat_template";
    }
    tokenizer_finish(t);
    return true;
}

bool tokenizer_from_gguf(struct tokenizer **out, const struct gguf *g, struct err *e)
{
    struct tokenizer *t;
    if (!tokenizer_alloc(&t, e)) return false;
    if (!load(t, g, e)) {
        tokenizer_free(t);
        return err_wrap(e, "tokenizer");
    }
    *out = t;
    return true;
}
