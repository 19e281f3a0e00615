/* tokenizer_json.c - what a tokenizer.json means (tokenizer_file.c takes it apart). */
#include "text/tokenizer/tokenizer_json.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>

#include "text/tokenizer/tokenizer_beside.h"
#include "text/tokenizer/tokenizer_file.h"
#include "text/tokenizer/tokenizer_post.h"

static const char *type_of(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "type"));
    return s ? s : "";
}

static bool flag_of(const json_t *v, const char *key, bool fallback)
{
    const json_t *b = json_object_get(v, key);
    return json_is_boolean(b) ? json_is_true(b) : fallback;
}

/* Whether an object of this type is `v` or in its list, however deep (`Sequence`). */
static const json_t *find_type(const json_t *v, const char *type, int depth)
{
    static const char *const lists[] = { "pretokenizers", "normalizers", "processors", "decoders" };
    if (strcmp(type_of(v), type) == 0) return v;
    for (size_t k = 0; depth < 4 && k < sizeof lists / sizeof *lists; k++) {
        const json_t *list = json_object_get(v, lists[k]), *one, *hit;
        size_t i;
        json_array_foreach(list, i, one)
        {
            if ((hit = find_type(one, type, depth + 1)) != NULL) return hit;
        }
    }
    return NULL;
}

static bool is_underline(const char *s) { return s && strcmp(s, "\u2581") == 0; }

/* A pattern as the library writes it: {"Regex": "..."} or {"String": "..."}. */
static bool add_pattern(struct tokenizer *t, const json_t *pattern, enum split_behavior b, bool invert,
                        struct err *e)
{
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if (regex) return pretoken_add(t->pre, regex, strlen(regex), b, invert, false, e);
    if (!literal) return err_set(e, ERR_FORMAT, "a Split without a pattern");
    /* Where spaces have become U+2581 by now, a split at them finds none (Gemma has such a one). */
    if (t->replaced && !invert && strcmp(literal, " ") == 0) return true;
    return pretoken_add_literal(t->pre, literal, strlen(literal), b, invert, e);
}

static bool behavior_of(const json_t *v, enum split_behavior *out, struct err *e)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                         "Contiguous" };
    const char *s = json_string_value(json_object_get(v, "behavior"));
    for (size_t i = 0; s && i < sizeof names / sizeof *names; i++)
        if (strcmp(s, names[i]) == 0) return *out = (enum split_behavior)i, true;
    return err_set(e, ERR_UNSUPPORTED, "a split with behavior \"%.40s\"", s ? s : "(none)");
}

static bool add_metaspace(struct tokenizer *t, const json_t *v, struct err *e)
{
    if (!is_underline(json_string_value(json_object_get(v, "replacement"))))
        return err_set(e, ERR_UNSUPPORTED, "a Metaspace with another replacement than U+2581");
    const char *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    if (!scheme)
        scheme = flag_of(v, "add_prefix_space", true) ? "always" : "never"; /* as older files say it */
    enum meta_prefix prefix = META_NEVER;
    if (strcmp(scheme, "always") == 0)
        prefix = META_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        prefix = META_FIRST;
    else if (strcmp(scheme, "never") != 0)
        return err_set(e, ERR_UNSUPPORTED, "a Metaspace with prepend_scheme \"%.40s\"", scheme);
    t->metaspace = true;
    if (!pretoken_add_meta(t->pre, prefix, t->spm ? " " : "\u2581", e)) return false;
    if (t->spm && !pretoken_add_low_lines(t->pre, e)) return false;
    t->replaced = true;
    return !flag_of(v, "split", true) ||
           pretoken_add_literal(t->pre, "\u2581", 3, SPLIT_MERGED_WITH_NEXT, false, e);
}

static bool add_pretokenizer(struct tokenizer *t, const json_t *v, int depth, struct err *e)
{
    const char *type = type_of(v);
    enum split_behavior b = SPLIT_ISOLATED;
    if (!v || json_is_null(v)) return true;
    if (t->wordpiece)
        return strcmp(type, "BertPreTokenizer") == 0
                   ? (t->wp.split = true)
                   : err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer \"%.40s\" before WordPiece", type);
    if (strcmp(type, "Sequence") == 0 && depth < 4) {
        size_t i;
        const json_t *one;
        json_array_foreach(json_object_get(v, "pretokenizers"), i, one)
        {
            if (!add_pretokenizer(t, one, depth + 1, e)) return false;
        }
        return true;
    }
    if (strcmp(type, "Split") == 0)
        return behavior_of(v, &b, e) &&
               add_pattern(t, json_object_get(v, "pattern"), b, flag_of(v, "invert", false), e);
    if (strcmp(type, "ByteLevel") == 0)
        return (!flag_of(v, "add_prefix_space", false) || pretoken_add_space(t->pre, e)) &&
               (!flag_of(v, "use_regex", true) || pretoken_add_named(t->pre, "gpt-2", 5, NULL, e)) &&
               pretoken_add_bytes(t->pre, e);
    if (strcmp(type, "Digits") == 0) {
        const char *p = flag_of(v, "individual_digits", false) ? "\\p{N}" : "\\p{N}+";
        return pretoken_add(t->pre, p, strlen(p), b, false, false, e);
    }
    if (strcmp(type, "Metaspace") == 0) return add_metaspace(t, v, e);
    if (strcmp(type, "Punctuation") == 0) {
        static const char p[] = "[\\p{P}$+<=>^`|~]";
        if (json_object_get(v, "behavior") && !behavior_of(v, &b, e)) return false;
        return pretoken_add(t->pre, p, sizeof p - 1, b, false, false, e);
    }
    if (strcmp(type, "Whitespace") == 0) { /* of another library, whose \\w is not Oniguruma's */
        static const char p[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]+"
                                "|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\s]+";
        return pretoken_add(t->pre, p, sizeof p - 1, SPLIT_REMOVED, true, false, e);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return pretoken_add(t->pre, "\\s+", 3, SPLIT_REMOVED, false, false, e);
    return err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer \"%.40s\" is not known to this build", type);
}

static bool add_map(struct tokenizer *t, const json_t *v, struct err *e)
{
    const json_t *map = json_object_get(v, "precompiled_charsmap");
    if (!json_is_string(map)) return err_set(e, ERR_FORMAT, "a Precompiled normalizer without its map");
    size_t cap = json_string_length(map) / 4 * 3 + 3, len = 0;
    uint8_t *bytes = malloc(cap);
    if (!bytes) return err_set(e, ERR_NOMEM, "no memory for the character map");
    bool ok = sodium_base642bin(bytes, cap, json_string_value(map), json_string_length(map), NULL, &len, NULL,
                                sodium_base64_VARIANT_ORIGINAL) == 0;
    if (!ok) err_set(e, ERR_FORMAT, "the character map is not base64");
    ok = ok && spm_normalizer_map(&t->normalizer, bytes, len, e);
    free(bytes);
    return ok;
}

/* Several spaces that become one, marked or not. */
static bool is_space_run(const json_t *v)
{
    const char *from = json_string_value(json_object_get(json_object_get(v, "pattern"), "Regex"));
    const char *to = json_string_value(json_object_get(v, "content"));
    return from && to && (strcmp(from, " {2,}") == 0 || strcmp(from, " +") == 0) &&
           (strcmp(to, " ") == 0 || is_underline(to));
}

static bool add_normalizer(struct tokenizer *t, const json_t *v, int depth, struct err *e)
{
    static const struct {
        const char *name;
        enum unicode_form form;
    } forms[] = { { "NFC", FORM_NFC }, { "NFD", FORM_NFD }, { "NFKC", FORM_NFKC }, { "NFKD", FORM_NFKD } };
    const char *type = type_of(v);
    if (!v || json_is_null(v)) return true;
    if (t->wordpiece) {
        if (strcmp(type, "BertNormalizer") != 0)
            return err_set(e, ERR_UNSUPPORTED, "the normalizer \"%.40s\" before WordPiece", type);
        t->wp.clean = flag_of(v, "clean_text", true);
        t->wp.chinese = flag_of(v, "handle_chinese_chars", true);
        t->wp.lower = flag_of(v, "lowercase", true);
        t->wp.strip = flag_of(v, "strip_accents", t->wp.lower);
        return true;
    }
    if (strcmp(type, "Sequence") == 0 && depth < 4) {
        size_t i;
        const json_t *one;
        json_array_foreach(json_object_get(v, "normalizers"), i, one)
        {
            if (!add_normalizer(t, one, depth + 1, e)) return false;
        }
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(type, forms[i].name) == 0) {
            if (t->form != FORM_NONE && t->form != forms[i].form)
                return err_set(e, ERR_UNSUPPORTED, "two Unicode normal forms in one tokenizer");
            t->form = forms[i].form;
            return true;
        }
    /* These stand before spaces are marked and before a normal form, or are not done here. */
    const bool early = t->spm && !t->replaced && t->form == FORM_NONE;
    if (early && strcmp(type, "Precompiled") == 0 && !t->maps && !t->one_space)
        return t->maps = true, add_map(t, v, e);
    if (early && strcmp(type, "Strip") == 0) {
        t->strip_left |= flag_of(v, "strip_left", true);
        t->strip_right |= flag_of(v, "strip_right", true);
        return true;
    }
    if (early && strcmp(type, "Replace") == 0 && is_space_run(v)) return t->one_space = true;
    if (t->spm && strcmp(type, "Prepend") == 0 &&
        is_underline(json_string_value(json_object_get(v, "prepend")))) {
        t->prefix = PREFIX_SEGMENT;
        return true;
    }
    if (t->spm && strcmp(type, "Replace") == 0) {
        const char *from = json_string_value(json_object_get(json_object_get(v, "pattern"), "String"));
        if (from && strcmp(from, " ") == 0 && is_underline(json_string_value(json_object_get(v, "content"))))
            return t->replaced = true, pretoken_add_low_lines(t->pre, e);
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "the normalizer \"%.40s\" is not known to this build, or not with these settings", type);
}

struct entry {
    const char *text; /* NULL: no such id */
    size_t len;
    const json_t *added; /* NULL: of the vocabulary alone */
    bool piece;          /* of the vocabulary too */
};

/* Vocabulary and added tokens by id. */
static bool collect(const struct tokenizer_file *f, const json_t *added, struct entry **out, int32_t *n_out,
                    struct err *e)
{
    int32_t max = f->max_id;
    size_t i;
    const json_t *a;
    json_array_foreach(added, i, a)
    {
        const json_t *id = json_object_get(a, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= VOCAB_MAX ||
            !json_is_string(json_object_get(a, "content")))
            return err_set(e, ERR_FORMAT, "added_tokens[%zu] has no usable id and content", i);
        if (json_integer_value(id) > max) max = (int32_t)json_integer_value(id);
    }
    size_t n = (size_t)max + 1; /* max is -1 at least */
    if (n == 0) return err_set(e, ERR_FORMAT, "the vocabulary is empty");
    if (n > 65536 + 4 * (f->n_pieces + json_array_size(added)))
        return err_set(e, ERR_FORMAT, "the vocabulary has %zu tokens and ids up to %d", f->n_pieces,
                       (int)max);
    struct entry *v = calloc(n, sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", n);
    for (size_t k = 0; k < f->n_pieces; k++)
        v[f->piece[k].id] = (struct entry){ f->piece[k].text, f->piece[k].len, NULL, true };
    json_array_foreach(added, i, a)
    {
        const json_t *c = json_object_get(a, "content");
        struct entry *one = &v[json_integer_value(json_object_get(a, "id"))];
        *one = (struct entry){ json_string_value(c), json_string_length(c), a, one->piece };
    }
    *out = v;
    *n_out = (int32_t)n;
    return true;
}

/* How a token's text is kept. A piece of the vocabulary stays one when it is added as well: merging may give it, and then its text
 * is the piece's. Only a control token that is spelled otherwise than its piece is kept by its spelling alone. */
static bool add_entry(struct tokenizer *t, int32_t id, const struct entry *v, struct err *e)
{
    if (!v->added) return tokenizer_add(t, id, VOCAB_NORMAL, false, v->text, v->len, e);
    bool control = tokenizer_added_is_control(v->added);
    if (!v->piece)
        return tokenizer_add(t, id, control ? VOCAB_CONTROL : VOCAB_USER, true, v->text, v->len, e);
    if (!control) return tokenizer_add(t, id, VOCAB_USER, false, v->text, v->len, e);
    bool plain = t->spm ? !strstr(v->text, "\u2581") && spm_byte(v->text, v->len) < 0 : true;
    for (size_t i = 0; i < v->len && !t->spm; i++) plain &= v->text[i] > 32 && v->text[i] < 127;
    return tokenizer_add(t, id, plain ? VOCAB_USER : VOCAB_CONTROL, !plain, v->text, v->len, e);
}

static bool add_tokens(struct tokenizer *t, const struct tokenizer_file *f, const json_t *added,
                       struct err *e)
{
    struct entry *v = NULL;
    int32_t n = 0;
    if (!collect(f, added, &v, &n, e)) return false;
    size_t bytes = 0, literal = 1;
    for (int32_t i = 0; i < n; i++) bytes += v[i].len, literal += v[i].added ? v[i].len : 0;
    bool ok = vocab_begin(&t->vocab, n, bytes, e);
    for (int32_t i = 0; ok && i < n; i++) ok = !v[i].text || add_entry(t, i, &v[i], e);
    ok = ok && tokenizer_index(t, e);
    if (ok && !(t->literals = malloc(literal))) ok = err_set(e, ERR_NOMEM, "no memory for the added tokens");
    char *text = t->literals;
    for (int32_t id = 0; ok && id < t->vocab.n; id++) {
        const json_t *a = v[id].added;
        if (!a) continue;
        const size_t len = v[id].len;
        memcpy(text, v[id].text, len);
        if (tokenizer_added_is_control(a)) t->flag[id] |= TOKEN_CONTROL;
        if (!v[id].piece) t->flag[id] |= TOKEN_OUTSIDE;
        /* A content that normalising would change is matched in the text as it came: nobody publishes one. */
        bool norm = flag_of(a, "normalized", false) && !unicode_may_change(t->u, t->form, text, len);
        struct added one = { .text = text,
                             .len = len,
                             .id = id,
                             .markup = tokenizer_added_is_control(a) || added_is_tag(text, len),
                             .single_word = flag_of(a, "single_word", false),
                             .lstrip = flag_of(a, "lstrip", false),
                             .rstrip = flag_of(a, "rstrip", false) };
        ok = added_push(norm ? &t->norm : &t->raw, one, e);
        text += len;
    }
    added_sort(&t->raw);
    added_sort(&t->norm);
    t->norm.marked = t->spm && !t->metaspace;
    t->norm.prefixed =
        t->prefix == PREFIX_SEGMENT; /* Prepend: the reference normalises these tokens as well */
    free(v);
    return ok;
}

static bool add_merges(struct tokenizer *t, const struct tokenizer_file *f, struct err *e)
{
    if (!bpe_init(&t->bpe, f->n_merges, e)) return false;
    for (size_t i = 0; i < f->n_merges; i++) {
        const struct tokenizer_merge *m = &f->merge[i];
        if (!tokenizer_add_merge(t, m->left, m->left_len, m->right, m->right_len, (uint32_t)i, e))
            return false;
    }
    return true;
}

static bool nonempty(const json_t *model, const char *key)
{
    const char *s = json_string_value(json_object_get(model, key));
    return s && *s;
}

static bool check_model(const struct tokenizer_file *f, struct err *e)
{
    const char *type = type_of(f->model);
    if (strcmp(type, "WordPiece") == 0) return true;
    if (*type && strcmp(type, "BPE") != 0 && strcmp(type, "Unigram") != 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "a tokenizer of type \"%.40s\"; BPE, Unigram and WordPiece are known to this build",
                       type);
    if (nonempty(f->model, "continuing_subword_prefix") || nonempty(f->model, "end_of_word_suffix"))
        return err_set(e, ERR_UNSUPPORTED, "a BPE tokenizer with a prefix or suffix for word parts");
    if (json_number_value(json_object_get(f->model, "dropout")) > 0)
        return err_set(e, ERR_UNSUPPORTED, "a BPE tokenizer with dropout");
    return true;
}

/* The pieces and their scores. A control token is none that text becomes. */
static bool add_unigram(struct tokenizer *t, const struct tokenizer_file *f, struct err *e)
{
    if (!t->spm) return err_set(e, ERR_UNSUPPORTED, "a Unigram tokenizer of bytes");
    if (!unigram_init(&t->unigram, f->n_pieces, e)) return false;
    const json_t *unk = json_object_get(f->model, "unk_id");
    if (json_is_integer(unk) && json_integer_value(unk) >= 0 && json_integer_value(unk) < t->vocab.n)
        t->unk = (int32_t)json_integer_value(unk);
    t->unigram.unk = t->unk;
    double worst = INFINITY;
    for (size_t i = 0; i < f->n_pieces; i++) {
        const struct tokenizer_piece *p = &f->piece[i];
        const unsigned char kind = t->vocab.kind[p->id];
        size_t len;
        const char *text = vocab_text(&t->vocab, p->id, &len);
        if (p->score < worst) worst = p->score;
        if ((kind == VOCAB_NORMAL || kind == VOCAB_USER) && !(t->flag[p->id] & TOKEN_CONTROL))
            unigram_add(&t->unigram, text, len, p->score, p->id);
    }
    unigram_finish(&t->unigram, worst);
    return t->unigram.n || err_set(e, ERR_FORMAT, "a Unigram tokenizer without pieces");
}

/* What the model's object says of WordPiece; of words, the normalizer and the pre-tokenizer say the rest. */
static bool begin_wordpiece(struct tokenizer *t, const json_t *model, struct err *e)
{
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    t->wordpiece = true;
    t->wp = (struct wordpiece){ .max_chars = 100, .unk = -1 };
    if (!prefix) prefix = "##";
    t->wp.prefix_len = strlen(prefix);
    if (t->wp.prefix_len >= sizeof t->wp.prefix)
        return err_set(e, ERR_UNSUPPORTED, "a WordPiece prefix of %zu bytes", t->wp.prefix_len);
    memcpy(t->wp.prefix, prefix, t->wp.prefix_len);
    if (!most || json_is_null(most)) return true;
    const double chars = json_number_value(most);
    if (!(chars >= 1 && chars <= 1e6))
        return err_set(e, ERR_FORMAT, "max_input_chars_per_word is no number from 1 to 1000000");
    t->wp.max_chars = (int)chars;
    return true;
}

static bool build(struct tokenizer *t, const struct tokenizer_file *f, const json_t *added, struct err *e)
{
    const json_t *pre = json_object_get(f->rest, "pre_tokenizer"),
                 *decoder = json_object_get(f->rest, "decoder");
    if (strcmp(type_of(f->model), "WordPiece") == 0 && !begin_wordpiece(t, f->model, e)) return false;
    t->spm = !t->wordpiece && !find_type(pre, "ByteLevel", 0) && !find_type(decoder, "ByteLevel", 0);
    t->ignore_merges = flag_of(f->model, "ignore_merges", false);
    t->fuse_unk = flag_of(f->model, "fuse_unk", false);
    t->strip_first = t->spm && (find_type(decoder, "Strip", 0) || find_type(decoder, "Metaspace", 0));
    if (!check_model(f, e) || !add_normalizer(t, json_object_get(f->rest, "normalizer"), 0, e) ||
        !add_pretokenizer(t, pre, 0, e) || !add_tokens(t, f, added, e) || !add_merges(t, f, e))
        return false;
    const char *unk = json_string_value(json_object_get(f->model, "unk_token"));
    for (int32_t id = 0; unk && t->unk < 0 && id < t->vocab.n; id++) {
        size_t len;
        const char *s = vocab_text(&t->vocab, id, &len);
        if (len == strlen(unk) && memcmp(s, unk, len) == 0) t->unk = id;
    }
    if (t->wordpiece && t->unk < 0)
        return err_set(e, ERR_FORMAT, "a WordPiece model without its unknown token");
    t->wp.unk = t->unk;
    if (t->spm && !flag_of(f->model, "byte_fallback", false))
        for (int b = 0; b < 256; b++) t->byte_id[b] = -1;
    if (strcmp(type_of(f->model), "Unigram") == 0 && !add_unigram(t, f, e)) return false;
    if (!tokenizer_post_read(t, json_object_get(f->rest, "post_processor"), e)) return false;
    if (t->first.n) t->bos = t->first.id[0];
    return true;
}

static bool from_file(struct tokenizer **out, const struct tokenizer_file *f,
                      const struct special_tokens *beside, struct err *e)
{
    struct tokenizer *t = NULL;
    json_t *added = NULL;
    const bool ok =
        tokenizer_alloc(&t, e) && tokenizer_beside_merge(f, beside, &added, e) && build(t, f, added, e);
    json_decref(added);
    if (ok)
        *out = t;
    else
        tokenizer_free(t);
    return ok;
}

bool tokenizer_from_json(struct tokenizer **out, const char *text, size_t len,
                         const struct special_tokens *beside, struct err *e)
{
    struct tokenizer_file f;
    const bool ok = tokenizer_file_json(&f, text, len, e) && from_file(out, &f, beside, e);
    tokenizer_file_free(&f);
    return ok || err_wrap(e, "tokenizer.json");
}

bool tokenizer_from_vocab_txt(struct tokenizer **out, const char *text, size_t len, const json_t *config,
                              const struct special_tokens *beside, struct err *e)
{
    struct tokenizer_file f;
    const bool ok = tokenizer_file_lines(&f, text, len, config, beside ? beside->names : NULL, e) &&
                    from_file(out, &f, beside, e);
    tokenizer_file_free(&f);
    return ok || err_wrap(e, "vocab.txt");
}
