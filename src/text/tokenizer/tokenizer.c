/* tokenizer.c - encoding, and what callers ask about tokens. Loading is in tokenizer_gguf.c and tokenizer_dir.c. */
#include "text/tokenizer/tokenizer.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "text/tokenizer/tokenizer_internal.h"

enum {
    MAX_TEXT_BYTES = 1 << 29,
    FEW_SYMBOLS = 256,
    LONG_WORD = 4096,
    MEMORY_SLOTS = 1 << 13,       /* 320 KB: stays in a core's second-level cache */
    MEMORY_FROM_BYTES = 32 << 10, /* shorter texts repeat too little to pay for it */
};

/* A word that was merged before: its text, and where its ids lie in the output. */
struct remembered {
    uint64_t hash;
    const char *text;
    size_t ids; /* index into the list of tokens */
    uint32_t len, n_ids;
    uint32_t age; /* the text is gone when this is not the present one */
};

/* What one call of tokenizer_encode() carries. */
struct encoding {
    const struct tokenizer *t;
    struct token_list *out;
    struct bpe_scratch scratch;
    struct pretoken_run run;
    int32_t *sym; /* symbols of a word that is longer than FEW_SYMBOLS */
    size_t sym_cap;
    struct unigram_scratch lattice;
    size_t
        after_unk; /* where the list of tokens ended when the unknown token came last; SIZE_MAX: it did not */
    bool markup;   /* control tokens may be recognised */
    struct remembered *memory; /* [MEMORY_SLOTS], one word a slot; NULL: not in use */
    uint32_t age;              /* 1 and up; counts the buffers that words lie in */
    uint32_t n_words;
};

void token_list_free(struct token_list *l)
{
    free(l->id);
    *l = (struct token_list){ .limit = l->limit, .cancel = l->cancel };
}

static bool list_reserve(struct token_list *l, size_t extra, struct err *e)
{
    if (l->cap - l->n >= extra) return true;
    size_t cap = l->cap + l->cap / 2 + extra + 64;
    int32_t *id = realloc(l->id, cap * sizeof *id);
    if (!id) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", cap);
    l->id = id;
    l->cap = cap;
    return true;
}

static bool push(struct encoding *c, int32_t id, struct err *e)
{
    if (c->out->n == c->out->cap && !list_reserve(c->out, 1, e)) return false;
    c->out->id[c->out->n++] = id;
    return true;
}

/* The symbols that merging starts from; returns how many. sym has room for n. */
static size_t symbols_of_bytes(const struct tokenizer *t, const char *s, size_t n, int32_t *sym)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = t->byte_id[(unsigned char)s[i]];
        if (id < 0) id = t->unk;
        if (id >= 0) sym[k++] = id; /* what the vocabulary cannot say is left out, as the reference does */
    }
    return k;
}

static size_t symbols_of_chars(const struct tokenizer *t, const char *s, size_t n, int32_t *sym)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        unsigned len;
        utf8_get((const unsigned char *)s + i, &len);
        int32_t id = vocab_find(&t->vocab, s + i, len);
        if (id >= 0) {
            sym[k++] = id;
            i += len;
            continue;
        }
        bool bytes = true;
        for (unsigned b = 0; b < len; b++) bytes &= t->byte_id[(unsigned char)s[i + b]] >= 0;
        if (bytes)
            for (unsigned b = 0; b < len; b++) sym[k++] = t->byte_id[(unsigned char)s[i + b]];
        else if (t->unk >= 0 && !(t->fuse_unk && k && sym[k - 1] == t->unk))
            sym[k++] = t->unk;
        i += len;
    }
    return k;
}

/* Ids by merging, at the end of the output. */
static bool merge(struct encoding *c, const char *s, size_t n, struct err *e)
{
    const struct tokenizer *t = c->t;
    int32_t few[FEW_SYMBOLS], *sym = few;
    if (n > FEW_SYMBOLS) {
        if (n > c->sym_cap) {
            free(c->sym);
            c->sym = malloc(n * sizeof *c->sym);
            c->sym_cap = c->sym ? n : 0;
            if (!c->sym) return err_set(e, ERR_NOMEM, "no memory for a word of %zu bytes", n);
        }
        sym = c->sym;
    }
    size_t k = t->spm ? symbols_of_chars(t, s, n, sym) : symbols_of_bytes(t, s, n, sym);
    if (!bpe_merge(&t->bpe, &c->scratch, sym, &k, e) || !list_reserve(c->out, k, e)) return false;
    if (k == 0) return true; /* nothing that the vocabulary can say */
    memcpy(c->out->id + c->out->n, sym, k * sizeof *sym);
    c->out->n += k;
    return true;
}

/* Ids by memory: true when this very word was merged before in this call. */
static bool recall(struct encoding *c, const struct remembered *r, uint64_t hash, const char *s, size_t n)
{
    if (r->hash != hash || r->len != n || r->age != c->age || memcmp(r->text, s, n) != 0) return false;
    if (c->out->cap - c->out->n < r->n_ids || r->n_ids == 0) return false; /* merging will make room */
    memcpy(c->out->id + c->out->n, c->out->id + r->ids, r->n_ids * sizeof *c->out->id);
    c->out->n += r->n_ids;
    return true;
}

/* Whether another word or added token is to be encoded. A long word is judged before its merging is paid for. */
static bool go_on(struct encoding *c, const char *s, size_t n, struct err *e)
{
    const struct token_list *out = c->out;
    if (out->cancel && !(c->n_words++ & 63) && atomic_load_explicit(out->cancel, memory_order_relaxed))
        return err_set(e, ERR_CANCELLED, "tokenising was cancelled");
    if (!out->limit) return true;
    double least = 0;
    for (size_t i = 0; n > LONG_WORD && i < n; i++) least += (double)c->t->share[(unsigned char)s[i]];
    if (out->n > out->limit || least > (double)(out->limit - out->n) + 1)
        return err_set(e, ERR_CONTEXT, "the text has more than %zu tokens", out->limit);
    return true;
}

/* One piece that merging does not leave. Most are tokens as they stand, or have been here before. */
static bool word(void *arg, const char *s, size_t n, struct err *e)
{
    struct encoding *c = arg;
    const struct tokenizer *t = c->t;
    if (!go_on(c, s, n, e)) return false;
    uint64_t hash = vocab_hash(s, n);
    int32_t whole = n > t->vocab.max_len ? -1 : vocab_find_hashed(&t->vocab, s, n, hash);
    /* A control token is what merging makes of its spelling (nothing, nearly always), never a word as it stands. */
    unsigned char not_whole = t->ignore_merges ? TOKEN_OUTSIDE | TOKEN_CONTROL : TOKEN_OUTSIDE;
    if (whole >= 0 && (t->flag[whole] & not_whole)) whole = -1;
    if (whole >= 0) {
        unsigned char known =
            t->ignore_merges ? WHOLE_YES : atomic_load_explicit(&t->whole[whole], memory_order_relaxed);
        if (known == WHOLE_YES) return push(c, whole, e);
    }
    struct remembered *r = c->memory ? &c->memory[hash % MEMORY_SLOTS] : NULL;
    if (r && recall(c, r, hash, s, n)) return true;
    size_t before = c->out->n;
    if (!merge(c, s, n, e)) return false;
    size_t k = c->out->n - before;
    if (whole >= 0) {
        bool itself = k == 1 && c->out->id[before] == whole;
        atomic_store_explicit(&t->whole[whole], itself ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
    } else if (r && n <= UINT32_MAX) {
        *r = (struct remembered){ hash, s, before, (uint32_t)n, (uint32_t)k, c->age };
    }
    return true;
}

/* A token of a unigram model. What is unknown becomes bytes where there are such, else one unknown token for all in a row. */
static bool unigram_token(void *arg, int32_t id, const char *s, size_t n, struct err *e)
{
    struct encoding *c = arg;
    const struct tokenizer *t = c->t;
    if (id != t->unigram.unk) return push(c, id, e);
    bool bytes = true;
    for (size_t i = 0; i < n; i++) bytes &= t->byte_id[(unsigned char)s[i]] >= 0;
    for (size_t i = 0; bytes && i < n; i++)
        if (!push(c, t->byte_id[(unsigned char)s[i]], e)) return false;
    if (bytes || c->after_unk == c->out->n) return true;
    if (id < 0)
        return err_set(e, ERR_REQUEST, "the text has a character that the model's vocabulary lacks: \"%.*s\"",
                       (int)n, s);
    bool ok = push(c, id, e);
    c->after_unk = c->out->n;
    return ok;
}

/* Text of a unigram model, as a whole where that fits: then even the rounding of its sums is the reference's. */
static bool unigram_text(struct encoding *c, const char *s, size_t n, struct err *e)
{
    const size_t long_text = 1 << 16;
    for (size_t i = 0; i < n;) {
        size_t j = n;
        if (n - i > long_text && c->t->split_words)
            for (j = i + long_text; j < n && (s[j] != ' ' || s[j - 1] == ' '); j++) {
            }
        c->n_words = 0; /* a stretch is long enough to ask each time whether anybody waits */
        if (!go_on(c, s + i, j - i, e) ||
            !unigram_encode(&c->t->unigram, &c->lattice, s + i, j - i, unigram_token, c, e))
            return false;
        i = j;
    }
    return true;
}

/* Spaces and what follows them, one word after the other: no merge crosses the front of a run of spaces. */
static bool words(void *arg, const char *s, size_t n, struct err *e)
{
    struct encoding *c = arg;
    if (c->t->unigram.n) return unigram_text(c, s, n, e);
    if (!c->t->split_words) return word(arg, s, n, e);
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && s[j] == ' ') j++;
        const char *end = j < n ? memchr(s + j, ' ', n - j) : NULL;
        j = end ? (size_t)(end - s) : n;
        if (!word(arg, s + i, j - i, e)) return false;
        i = j;
    }
    return true;
}

/* U+2581 as a space, and the space in front. */
static bool spm_text(const struct tokenizer *t, const char *s, const unsigned char *mask, size_t n,
                     bool first, struct masked *out, struct err *e)
{
    if (!masked_reserve(out, n + 1, mask != NULL, e)) return false;
    bool spaced = s[0] == ' ' || (n >= 3 && memcmp(s, "\u2581", 3) == 0);
    if (t->prefix == PREFIX_SEGMENT || (t->prefix == PREFIX_FIRST && first && !spaced))
        masked_put(out, " ", 1, 0);
    for (size_t i = 0; i < n;) {
        const char *low = memmem(s + i, n - i, "\u2581", 3);
        size_t k = low ? (size_t)(low - s) : n;
        memcpy(out->text + out->len, s + i, k - i);
        if (mask) memcpy(out->mask + out->len, mask + i, k - i);
        out->len += k - i;
        if (low) masked_put(out, " ", 1, mask ? mask[k] : 0);
        i = low ? k + 3 : n;
    }
    return true;
}

/* A word of a WordPiece model. */
static bool spell(void *arg, const char *s, size_t n, struct err *e)
{
    struct encoding *c = arg;
    const struct tokenizer *t = c->t;
    const int32_t whole = vocab_find(&t->vocab, s, n);
    char few[FEW_SYMBOLS + WP_PREFIX], *room = few;
    if (!go_on(c, NULL, 0, e)) return false;
    if (whole >= 0 && n <= (size_t)t->wp.max_chars) return push(c, whole, e);
    if (n > FEW_SYMBOLS && !(room = malloc(n + WP_PREFIX)))
        return err_set(e, ERR_NOMEM, "no memory for a word of %zu bytes", n);
    const bool ok = list_reserve(c->out, n, e);
    if (ok) c->out->n += wordpiece_word(&t->wp, &t->vocab, s, n, room, c->out->id + c->out->n);
    if (room != few) free(room);
    return ok;
}

/* Text without special tokens in it. */
static bool plain(struct encoding *c, const char *s, size_t n, bool first, struct err *e)
{
    const struct tokenizer *t = c->t;
    if (n == 0) return true;
    if (t->wordpiece) return wordpiece_split(&t->wp, s, n, spell, c, e);
    if (t->metaspace) c->age++; /* words that are remembered lie in a text that goes */
    bool ok = pretoken_split(t->pre, &c->run, s, n, first, t->spm ? words : word, c, e);
    if (t->metaspace) c->age++;
    return ok;
}

/* A text as the map makes it, stretch by stretch of one mask. */
static bool map_text(const struct tokenizer *t, const char *s, const unsigned char *mask, size_t n,
                     struct masked *out, struct err *e)
{
    struct masked part = { 0 };
    bool ok = true;
    for (size_t i = 0, j; ok && i < n; i = j) {
        for (j = i + 1; j < n && (((unsigned char)s[j] & 0xc0) == 0x80 || !mask || mask[j] == mask[i]); j++) {
        }
        part.len = 0;
        ok = spm_charsmap_apply(&t->normalizer.map, s + i, j - i, &part, e) &&
             masked_reserve(out, part.len, mask != NULL, e);
        if (ok) masked_put(out, part.text, part.len, mask ? mask[i] : 0);
    }
    masked_free(&part);
    return ok;
}

/* White space off the ends, and one space for several. */
static void tidy(const struct tokenizer *t, struct masked *m)
{
    size_t from = 0, k = 0;
    unsigned len;
    while (t->strip_left && from < m->len &&
           (unicode_class(t->u, utf8_get((unsigned char *)m->text + from, &len)) & UC_SPACE))
        from += len;
    while (t->strip_right && m->len > from) {
        size_t p = m->len - 1;
        while (p > from && ((unsigned char)m->text[p] & 0xc0) == 0x80) p--;
        if (!(unicode_class(t->u, utf8_get((unsigned char *)m->text + p, &len)) & UC_SPACE)) break;
        m->len = p;
    }
    for (size_t i = from; i < m->len; i++) {
        if (t->one_space && m->text[i] == ' ' && i > from && m->text[i - 1] == ' ') continue;
        if (m->mask) m->mask[k] = m->mask[i];
        m->text[k++] = m->text[i];
    }
    m->len = k;
}

/* The text between two raw special tokens. */
static bool segment(struct encoding *c, const char *s, const unsigned char *mask, size_t n, bool first,
                    struct err *e)
{
    const struct tokenizer *t = c->t;
    if (n == 0) return true;
    struct masked formed = { 0 }, spaced = { 0 }, mapped = { 0 };
    bool ok = false;
    c->age++;
    if (t->wordpiece) {
        if (!wordpiece_normalize(&t->wp, t->u, s, mask, n, &spaced, &formed, e)) goto done;
        s = formed.text;
        mask = mask ? formed.mask : NULL;
        n = formed.len;
        if (n == 0) {
            ok = true;
            goto done;
        }
    }
    if (t->maps || t->one_space || t->strip_left || t->strip_right) {
        if (!map_text(t, s, mask, n, &mapped, e)) goto done;
        tidy(t, &mapped);
        s = mapped.text;
        mask = mapped.mask;
        n = mapped.len;
        if (n == 0) {
            ok = true;
            goto done;
        }
    }
    if (!t->wordpiece && unicode_may_change(t->u, t->form, s, n)) {
        if (!unicode_normalize(t->u, t->form, s, mask, n, &formed, e)) goto done;
        s = formed.text;
        mask = formed.mask;
        n = formed.len;
    }
    if (t->spm && !t->metaspace && n) {
        bool dummy = t->prefix == PREFIX_SEGMENT || (t->prefix == PREFIX_FIRST && first);
        if (!(t->normalizes ? spm_normalize(&t->normalizer, s, mask, n, dummy, &spaced, e)
                            : spm_text(t, s, mask, n, first, &spaced, e)))
            goto done;
        s = spaced.text;
        mask = spaced.mask;
        n = spaced.len;
    }
    size_t i = 0, from = 0;
    struct added_match m;
    while (added_find(&t->norm, t->u, s, mask, from, i, n, c->markup, &m)) {
        if (m.start > i && !plain(c, s + i, m.start - i, first && i == 0, e)) goto done;
        if (!go_on(c, NULL, 0, e) || !push(c, m.id, e)) goto done;
        i = m.end;
        from = m.next;
    }
    ok = plain(c, s + i, n - i, first && i == 0, e);
done:
    masked_free(&formed);
    masked_free(&mapped);
    masked_free(&spaced);
    return ok;
}

bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const unsigned char *data,
                      bool parse_special, unsigned flags, struct token_list *out, struct err *e)
{
    if (len > MAX_TEXT_BYTES)
        return err_set(e, ERR_LIMIT, "a text of %zu bytes; %d can be tokenized at once", len, MAX_TEXT_BYTES);
    struct encoding c = {
        .t = t, .out = out, .markup = parse_special, .scratch.cancel = out->cancel, .after_unk = SIZE_MAX
    };
    struct masked repaired = { 0 };
    size_t before = out->n, i = 0, from = 0;
    if (!text) text = "";
    bool ok = false;
    if (utf8_valid(text, len) < len) {
        if (!utf8_repair(text, data, len, &repaired, e)) goto done;
        text = repaired.text;
        data = repaired.mask;
        len = repaired.len;
    }
    if (len >= MEMORY_FROM_BYTES && !pretoken_moves(t->pre))
        c.memory = calloc(MEMORY_SLOTS, sizeof *c.memory); /* without it all the same, slower */
    const size_t n_first = flags & TOK_BOS ? (size_t)t->first.n : 0,
                 n_last = flags & TOK_BOS ? (size_t)t->last.n : 0;
    for (size_t k = 0; k < n_first; k++)
        if (!push(&c, t->first.id[k], e)) goto done;
    struct added_match m;
    while (added_find(&t->raw, t->u, text, data, from, i, len, parse_special, &m)) {
        if (m.start > i && !segment(&c, text + i, data ? data + i : NULL, m.start - i, i == 0, e)) goto done;
        if (!go_on(&c, NULL, 0, e) || !push(&c, m.id, e)) goto done;
        i = m.end;
        from = m.next;
    }
    ok = segment(&c, text + i, data ? data + i : NULL, len - i, i == 0, e);
    /* A prompt that spells the beginning out gets one, not two: doubled, it costs models much of their wit. */
    if (ok && n_first && out->n - before >= 2 * n_first &&
        memcmp(out->id + before, out->id + before + n_first, n_first * sizeof *out->id) == 0) {
        out->n -= n_first;
        memmove(out->id + before, out->id + before + n_first, (out->n - before) * sizeof *out->id);
    }
    for (size_t k = 0; ok && k < n_last; k++) ok = push(&c, t->last.id[k], e);
    if (ok && out->limit && out->n > out->limit)
        ok = err_set(e, ERR_CONTEXT, "the text has more than %zu tokens", out->limit);
done:
    if (!ok) out->n = before;
    masked_free(&repaired);
    bpe_scratch_free(&c.scratch);
    unigram_scratch_free(&c.lattice);
    pretoken_run_free(&c.run);
    free(c.sym);
    free(c.memory);
    return ok;
}

static bool has(const struct tokenizer *t, int32_t id) { return id >= 0 && id < t->vocab.n; }

int32_t tokenizer_n_vocab(const struct tokenizer *t) { return t->vocab.n; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }
const char *tokenizer_chat_template(const struct tokenizer *t) { return t->chat_template; }
const char *tokenizer_chat_template_from(const struct tokenizer *t) { return t->template_from; }

const char *tokenizer_named(const struct tokenizer *t, const char *name)
{
    return json_string_value(json_object_get(t->names, name));
}

int32_t tokenizer_find(const struct tokenizer *t, const char *piece)
{
    size_t n = strlen(piece);
    int32_t id = added_lookup(&t->raw, piece, n);
    return id >= 0 ? id : added_lookup(&t->norm, piece, n);
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return has(t, id) && (t->flag[id] & TOKEN_END);
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return has(t, id) && (t->flag[id] & TOKEN_CONTROL);
}

const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *len)
{
    if (has(t, id)) return vocab_text(&t->vocab, id, len);
    *len = 0;
    return "";
}

const char *tokenizer_token_text(const struct tokenizer *t, int32_t id)
{
    size_t len;
    return tokenizer_bytes(t, id, &len);
}
