/* t5_tokenizer.c - see t5_tokenizer.h. The order of things is that of transformers' T5Tokenizer: special tokens out of the
 * text as it came; the character map; words at white space, each with U+2581 in front; for each word the cheapest way
 * through its pieces (Viterbi), where an unknown character costs the worst piece and 10 more. */
#include "text/tokenizer/t5_tokenizer.h"

#include <float.h>
#include <stdlib.h>

#include "text/tokenizer/spm_model.h"
#include "text/tokenizer/t5_normalizer.h"
#include "text/tokenizer/tokenizer_added.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_file.h"
#include "text/tokenizer/tokenizer_vocab.h"

enum { MAX_TEXT_BYTES = 1 << 24, N_SENTINELS = 100 };

#define LOW_LINE "\u2581"
#define UNKNOWN_PENALTY 10.0

struct piece {
    const char *text;
    size_t len;
    double score;
    int32_t id;
};

/* How normalised text is cut into words, which are then segmented each for itself. */
struct cutting {
    bool at_space; /* words stand between white space (WhitespaceSplit) */
    bool marks;    /* spaces are written as U+2581, of which each begins a word (Metaspace) */
    bool whole;    /* ... or does not */
    bool mark_words,
        mark_text; /* a mark goes before every word that has none, or only before the text's first */
};

struct t5_tokenizer {
    struct unicode *u;
    char *model; /* spiece.model; texts point into it */
    size_t model_bytes;
    struct tokenizer_file file; /* or tokenizer.json; they point into its pool */
    char *sentinels;            /* the texts of <extra_id_0> and on, when the file has only the pieces */
    struct t5_normalizer normalizer;
    struct cutting cut;
    struct piece *piece; /* sorted by text */
    size_t n_pieces;
    uint32_t first[257]; /* pieces that begin with byte b: piece[first[b]] .. piece[first[b + 1]] */
    double unknown_score;
    struct added_set added;
    int32_t pad, end, unk;
    int max;
};

static int by_text(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;
    int c = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    if (c) return c;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static bool alloc_pieces(struct t5_tokenizer *t, size_t n, struct err *e)
{
    if (n == 0) return err_set(e, ERR_FORMAT, "the vocabulary is empty");
    t->piece = calloc(n, sizeof *t->piece);
    return t->piece || err_set(e, ERR_NOMEM, "no memory for %zu pieces", n);
}

static void add_piece(struct t5_tokenizer *t, const char *text, size_t len, double score, int32_t id)
{
    if (len) t->piece[t->n_pieces++] = (struct piece){ text, len, score, id };
}

/* After all pieces: of equal texts the first stays. */
static void sort_pieces(struct t5_tokenizer *t)
{
    double worst = DBL_MAX;
    for (size_t i = 0; i < t->n_pieces; i++)
        if (t->piece[i].score < worst) worst = t->piece[i].score;
    t->unknown_score = worst - UNKNOWN_PENALTY;
    qsort(t->piece, t->n_pieces, sizeof *t->piece, by_text);
    size_t n = 0;
    for (size_t i = 0; i < t->n_pieces; i++) {
        const struct piece *p = &t->piece[i];
        if (n && t->piece[n - 1].len == p->len && memcmp(t->piece[n - 1].text, p->text, p->len) == 0)
            continue;
        t->piece[n++] = *p;
    }
    t->n_pieces = n;
    for (size_t b = 0, i = 0; b < 257; b++) {
        while (i < n && (unsigned char)t->piece[i].text[0] < b) i++;
        t->first[b] = (uint32_t)i;
    }
}

static int32_t id_of(const struct t5_tokenizer *t, const char *text)
{
    int32_t id = added_lookup(&t->added, text, strlen(text));
    if (id >= 0) return id;
    struct piece key = { text, strlen(text), 0, -1 };
    size_t lo = 0, hi = t->n_pieces;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (by_text(&t->piece[mid], &key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool found =
        lo < t->n_pieces && t->piece[lo].len == key.len && memcmp(t->piece[lo].text, text, key.len) == 0;
    return found ? t->piece[lo].id : -1;
}

static bool read_cut(struct t5_tokenizer *t, const json_t *v, struct err *e)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type && strcmp(type, "Sequence") == 0) {
        const json_t *one;
        size_t i;
        json_array_foreach(json_object_get(v, "pretokenizers"), i, one)
        {
            const char *inner = json_string_value(json_object_get(one, "type"));
            if (inner && strcmp(inner, "Sequence") == 0)
                return err_set(e, ERR_UNSUPPORTED,
                               "a pre_tokenizer Sequence inside another is not supported");
            if (!read_cut(t, one, e)) return false;
        }
        return true;
    }
    if (type && strcmp(type, "WhitespaceSplit") == 0 && !t->cut.marks) {
        t->cut.at_space = true;
        return true;
    }
    if (!type || strcmp(type, "Metaspace") != 0)
        return err_set(e, ERR_UNSUPPORTED, "the pre_tokenizer %.60s is not supported for T5",
                       type ? type : "(no type)");
    const char *mark = json_string_value(json_object_get(v, "replacement")),
               *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    if (mark && strcmp(mark, LOW_LINE) != 0)
        return err_set(e, ERR_UNSUPPORTED, "a Metaspace that writes \"%.20s\" is not supported", mark);
    if (!scheme) scheme = json_is_false(json_object_get(v, "add_prefix_space")) ? "never" : "always";
    t->cut.marks = true;
    t->cut.whole = json_is_false(json_object_get(v, "split"));
    t->cut.mark_words = strcmp(scheme, "always") == 0;
    t->cut.mark_text = strcmp(scheme, "first") == 0;
    return true;
}

static bool load_json(struct t5_tokenizer *t, const char *text, size_t len, struct err *e)
{
    struct tokenizer_file *f = &t->file;
    if (!tokenizer_file_json(f, text, len, e)) return false;
    const char *type = json_string_value(json_object_get(f->model, "type"));
    if (type && strcmp(type, "Unigram") != 0)
        return err_set(e, ERR_UNSUPPORTED, "a tokenizer of type \"%.40s\"; T5 needs Unigram", type);
    if (json_is_true(json_object_get(f->model, "byte_fallback")))
        return err_set(e, ERR_UNSUPPORTED, "a Unigram with byte_fallback is not supported for T5");
    if (!alloc_pieces(t, f->n_pieces, e)) return false;
    for (size_t i = 0; i < f->n_pieces; i++)
        add_piece(t, f->piece[i].text, f->piece[i].len, f->piece[i].score, f->piece[i].id);
    json_int_t unk = json_integer_value(json_object_get(f->model, "unk_id"));
    t->unk = unk >= 0 && (size_t)unk < f->n_pieces ? (int32_t)unk : -1;
    const json_t *a;
    size_t i;
    json_array_foreach(json_object_get(f->rest, "added_tokens"), i, a)
    {
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        const json_t *c = json_object_get(a, "content");
        if (!json_is_string(c) || id < 0 || id >= VOCAB_MAX)
            return err_set(e, ERR_FORMAT, "added_tokens[%zu] has no usable id and content", i);
        struct added one = { .text = json_string_value(c),
                             .len = json_string_length(c),
                             .id = (int32_t)id,
                             .lstrip = json_is_true(json_object_get(a, "lstrip")),
                             .rstrip = json_is_true(json_object_get(a, "rstrip")) };
        if (!added_push(&t->added, one, e)) return false;
    }
    const json_t *cut = json_object_get(f->rest, "pre_tokenizer");
    return t5_normalizer_read(&t->normalizer, json_object_get(f->rest, "normalizer"), e) &&
           (!cut || json_is_null(cut) || read_cut(t, cut, e));
}

static bool load_model(struct t5_tokenizer *t, struct err *e)
{
    struct spm_model m;
    if (!spm_model_parse(&m, (const uint8_t *)t->model, t->model_bytes, e)) return false;
    bool ok = alloc_pieces(t, m.n, e) && t5_normalizer_map(&t->normalizer, m.charsmap, m.charsmap_len, e);
    t->cut = (struct cutting){ .at_space = true, .marks = true, .mark_words = true };
    for (size_t i = 0; ok && i < m.n; i++) {
        const struct spm_piece *p = &m.piece[i];
        add_piece(t, p->text, p->len, p->score, (int32_t)i);
        if (p->type == SPM_UNKNOWN) t->unk = (int32_t)i;
        if (p->type == SPM_CONTROL || p->type == SPM_UNKNOWN)
            ok = added_push(&t->added, (struct added){ .text = p->text, .len = p->len, .id = (int32_t)i }, e);
    }
    enum { WIDTH = 16 };
    t->sentinels = ok ? malloc(N_SENTINELS * WIDTH) : NULL;
    if (ok && !t->sentinels) ok = err_set(e, ERR_NOMEM, "no memory for the sentinels");
    for (int i = 0; ok && i < N_SENTINELS; i++) { /* they follow the pieces, backwards */
        char *s = t->sentinels + (size_t)i * WIDTH;
        int len = snprintf(s, WIDTH, "<extra_id_%d>", i);
        ok = added_push(
            &t->added,
            (struct added){ .text = s, .len = (size_t)len, .id = (int32_t)m.n + N_SENTINELS - 1 - i }, e);
    }
    spm_model_free(&m);
    return ok;
}

static bool read_names(struct t5_tokenizer *t, const char *dir, struct err *e)
{
    json_t *config;
    if (!config_read(dir, "tokenizer_config.json", &config, e)) return false;
    const char *pad = config_token(json_object_get(config, "pad_token")),
               *end = config_token(json_object_get(config, "eos_token"));
    t->pad = id_of(t, pad ? pad : "<pad>");
    t->end = id_of(t, end ? end : "</s>");
    t->max = config_max_length(config, 512);
    json_decref(config);
    if (t->unk < 0) t->unk = id_of(t, "<unk>");
    if (t->pad < 0 || t->end < 0 || t->unk < 0)
        return err_set(e, ERR_FORMAT, "the vocabulary lacks <pad>, </s> or <unk>, or what stands for them");
    return true;
}

static bool load(struct t5_tokenizer *t, const char *dir, struct err *e)
{
    struct filemap m;
    bool found;
    t->unk = -1;
    t->u = unicode_new(e);
    if (!t->u || !config_map(dir, "tokenizer.json", &m, &found, e)) return false;
    if (found) {
        bool ok = load_json(t, (const char *)m.data, m.size, e);
        filemap_close(&m);
        if (!ok) return false;
    } else {
        if (!config_map(dir, "spiece.model", &m, &found, e)) return false;
        if (!found)
            return err_set(e, ERR_NOT_FOUND, "the folder has neither tokenizer.json nor spiece.model");
        t->model = malloc(m.size); /* no mapping stays that could change below us */
        t->model_bytes = m.size;
        if (t->model) memcpy(t->model, m.data, m.size);
        filemap_close(&m);
        if (!t->model) return err_set(e, ERR_NOMEM, "no memory for spiece.model");
        if (!load_model(t, e)) return false;
    }
    sort_pieces(t);
    added_sort(&t->added);
    return read_names(t, dir, e);
}

bool t5_tokenizer_load(struct t5_tokenizer **out, const char *dir, struct err *e)
{
    struct t5_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    if (!load(t, dir, e)) {
        t5_tokenizer_free(t);
        return err_wrap(e, "T5 tokenizer in %s", dir);
    }
    *out = t;
    return true;
}

void t5_tokenizer_free(struct t5_tokenizer *t)
{
    if (!t) return;
    free(t->u);
    free(t->model);
    tokenizer_file_free(&t->file);
    t5_normalizer_free(&t->normalizer);
    free(t->sentinels);
    free(t->piece);
    added_free(&t->added);
    free(t);
}

int t5_tokenizer_max(const struct t5_tokenizer *t) { return t->max; }

/* The best way to an end inside a word. */
struct node {
    double score;
    size_t start; /* of its last piece; SIZE_MAX: not reached */
    int32_t id;
};

/* What one call carries. */
struct encoding {
    const struct t5_tokenizer *t;
    int32_t *ids; /* [room] the text's tokens, as many as fit */
    size_t room, n;
    struct node *node; /* one a byte of the longest word, and one */
    size_t node_cap;
};

static void push(struct encoding *x, int32_t id)
{
    if (x->n < x->room) x->ids[x->n] = id;
    x->n++;
}

static void reach(struct node *to, double score, size_t start, int32_t id)
{
    if (to->start != SIZE_MAX && !(score > to->score)) return;
    *to = (struct node){ score, start, id };
}

/* First of piece[lo..hi), which agree on `depth` bytes, whose next byte is at least c. */
static size_t lower(const struct t5_tokenizer *t, size_t lo, size_t hi, size_t depth, unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)t->piece[mid].text[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Every piece that s[i..n) begins with, from the shortest to the longest. */
static void extend(const struct t5_tokenizer *t, struct node *node, const char *s, size_t i, size_t n)
{
    unsigned len;
    utf8_get((const unsigned char *)s + i, &len);
    unsigned char b = (unsigned char)s[i];
    size_t lo = t->first[b], hi = t->first[b + 1];
    bool single = false;
    for (size_t depth = 1; lo < hi; depth++) {
        if (t->piece[lo].len == depth) {
            const struct piece *p = &t->piece[lo++];
            reach(&node[i + depth], node[i].score + p->score, i, p->id);
            single |= depth == len;
        }
        if (i + depth == n) break;
        unsigned c = (unsigned char)s[i + depth];
        lo = lower(t, lo, hi, depth, c);
        hi = lower(t, lo, hi, depth, c + 1);
    }
    if (!single) reach(&node[i + len], node[i].score + t->unknown_score, i, t->unk);
}

/* A word with its U+2581. */
static bool word(struct encoding *x, const char *s, size_t n, struct err *e)
{
    if (n == 0) return true;
    if (!x->node || n + 1 > x->node_cap) {
        free(x->node);
        x->node = malloc((n + 1) * sizeof *x->node);
        x->node_cap = x->node ? n + 1 : 0;
        if (!x->node) return err_set(e, ERR_NOMEM, "no memory for a word of %zu bytes", n);
    }
    struct node *node = x->node;
    for (size_t i = 0; i <= n; i++) node[i] = (struct node){ 0, SIZE_MAX, -1 };
    node[0].start = 0;
    for (size_t i = 0; i < n; i++)
        if (node[i].start != SIZE_MAX) extend(x->t, node, s, i, n);
    /* Backwards over the best path, turning it round in place: start becomes where the next piece ends. */
    size_t next = SIZE_MAX;
    for (size_t i = n; i > 0;) {
        size_t start = node[i].start;
        node[i].start = next;
        next = i;
        i = start;
    }
    int32_t last = -1;
    for (size_t i = next; i != SIZE_MAX; i = node[i].start) {
        if (node[i].id != x->t->unk || last != x->t->unk)
            push(x, node[i].id); /* unknown ones in a row are one */
        last = node[i].id;
    }
    return true;
}

/* A run of text that is cut no further at white space: its words begin at marks. first: it is the whole text's beginning. */
static bool marked_words(struct encoding *x, const char *s, size_t n, bool first, struct err *e)
{
    const struct cutting *cut = &x->t->cut;
    if (!cut->marks) return word(x, s, n, e);
    struct masked w = { 0 };
    bool marked = n >= 3 && memcmp(s, LOW_LINE, 3) == 0, ok = masked_reserve(&w, n + 3, false, e);
    if (ok && !marked && s[0] != ' ' && (cut->mark_words || (cut->mark_text && first)))
        masked_put(&w, LOW_LINE, 3, 0);
    for (size_t i = 0; ok && i < n; i++) {
        bool space = s[i] == ' ';
        ok = masked_reserve(&w, 3, false, e);
        if (ok) masked_put(&w, space ? LOW_LINE : s + i, space ? 3 : 1, 0);
    }
    for (size_t i = 0; ok && i < w.len;) {
        size_t j = i + 1;
        while (j < w.len && (cut->whole || w.len - j < 3 || memcmp(w.text + j, LOW_LINE, 3) != 0)) j++;
        ok = word(x, w.text + i, j - i, e);
        i = j;
    }
    masked_free(&w);
    return ok;
}

static bool words(struct encoding *x, const char *s, size_t n, bool first, struct err *e)
{
    if (!x->t->cut.at_space) return n == 0 || marked_words(x, s, n, first, e);
    for (size_t i = 0; i < n;) {
        unsigned len;
        if (unicode_class(x->t->u, utf8_get((const unsigned char *)s + i, &len)) & UC_SPACE) {
            i += len;
            continue;
        }
        size_t j = i;
        do j += len;
        while (j < n && !(unicode_class(x->t->u, utf8_get((const unsigned char *)s + j, &len)) & UC_SPACE));
        if (!marked_words(x, s + i, j - i, first && i == 0, e)) return false;
        i = j;
    }
    return true;
}

static bool segment(struct encoding *x, const char *s, size_t n, bool first, struct err *e)
{
    struct masked text = { 0 };
    bool ok = n == 0 || (t5_normalizer_apply(&x->t->normalizer, x->t->u, s, n, &text, e) &&
                         words(x, text.text, text.len, first, e));
    masked_free(&text);
    return ok;
}

bool t5_tokenizer_encode(const struct t5_tokenizer *t, const char *text, size_t len, int32_t *ids, int n,
                         size_t *used, struct err *e)
{
    if (n < 1) return err_set(e, ERR_REQUEST, "a T5 prompt of %d tokens; the end alone is 1", n);
    if (len > MAX_TEXT_BYTES)
        return err_set(e, ERR_LIMIT, "a prompt of %zu bytes; %d are read", len, MAX_TEXT_BYTES);
    struct encoding x = { .t = t, .ids = ids, .room = (size_t)n - 1 };
    struct masked repaired = { 0 };
    bool ok = false;
    if (utf8_valid(text, len) < len) {
        if (!utf8_repair(text, NULL, len, &repaired, e)) goto done;
        text = repaired.text;
        len = repaired.len;
    }
    size_t i = 0;
    struct added_match m;
    while (added_find(&t->added, t->u, text, NULL, i, i, len, true, &m)) {
        if (!segment(&x, text + i, m.start - i, i == 0, e)) goto done;
        push(&x, m.id);
        i = m.end;
    }
    if (!segment(&x, text + i, len - i, i == 0, e)) goto done;
    size_t kept = x.n < x.room ? x.n : x.room;
    ids[kept] = t->end;
    for (size_t k = kept + 1; k < (size_t)n; k++) ids[k] = t->pad;
    if (used) *used = x.n;
    ok = true;
done:
    masked_free(&repaired);
    free(x.node);
    return ok;
}
