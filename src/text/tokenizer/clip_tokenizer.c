/* clip_tokenizer.c - see clip_tokenizer.h. The order of things is that of transformers' CLIPTokenizer: special tokens out of
 * the text as it came; NFC, lower case; special tokens out of that; words by a pattern; bytes with "</w>" on a word's last
 * one; merges. */
#include "text/tokenizer/clip_tokenizer.h"

#include <stdlib.h>
#include <unicase.h>

#include "base/log.h"
#include "text/tokenizer/pretoken_scan.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_file.h"
#include "text/tokenizer/tokenizer_internal.h"

enum { MAX_SPECIAL = 64, MAX_TEXT_BYTES = 1 << 24 };

struct special {
    char text[64];
    size_t len;
    int32_t id;
    bool normalized;
    bool listed; /* in tokenizer.json, which has the last word on it */
};

struct clip_tokenizer {
    struct tokenizer *t;  /* its vocabulary, merges, pattern and added tokens; not its way of encoding */
    int32_t last_id[256]; /* a byte at the end of a word */
    struct special special[MAX_SPECIAL];
    int n_special;
    int32_t start, end, pad, unk;
    int max;
};

static int32_t id_of(const struct clip_tokenizer *c, const char *text)
{
    return vocab_find(&c->t->vocab, text, strlen(text));
}

/* Of several names for one token the later one says whether it is normalised, unless tokenizer.json did. */
static bool add_special(struct clip_tokenizer *c, const char *text, bool normalized, bool listed,
                        struct err *e)
{
    int32_t id = id_of(c, text);
    size_t len = strlen(text);
    if (id < 0) return err_set(e, ERR_FORMAT, "the special token \"%.60s\" is not in the vocabulary", text);
    int i = 0;
    while (i < c->n_special && strcmp(c->special[i].text, text) != 0) i++;
    if (len >= sizeof c->special[0].text || i == MAX_SPECIAL)
        return err_set(e, ERR_LIMIT, "more special tokens than %d, or one of %zu bytes", MAX_SPECIAL, len);
    memcpy(c->special[i].text, text, len + 1);
    c->special[i].len = len;
    c->special[i].id = id;
    if (!c->special[i].listed) c->special[i].normalized = normalized;
    c->special[i].listed |= listed;
    if (i == c->n_special) c->n_special++;
    return true;
}

/* A token's name out of the two files, or `fallback`. */
static bool named(struct clip_tokenizer *c, const json_t *config, const json_t *map, const char *key,
                  const char *fallback, int32_t *id, struct err *e)
{
    const json_t *v = json_object_get(config, key);
    if (!config_token(v)) v = json_object_get(map, key);
    const char *text = config_token(v);
    if (!add_special(c, text ? text : fallback, json_is_true(json_object_get(v, "normalized")), false, e))
        return false;
    *id = id_of(c, text ? text : fallback);
    return true;
}

static bool read_names(struct clip_tokenizer *c, const char *dir, struct err *e)
{
    json_t *config = NULL, *map = NULL;
    bool ok = config_read(dir, "tokenizer_config.json", &config, e) &&
              config_read(dir, "special_tokens_map.json", &map, e) &&
              named(c, config, map, "bos_token", "<|startoftext|>", &c->start, e) &&
              named(c, config, map, "eos_token", "<|endoftext|>", &c->end, e) &&
              named(c, config, map, "unk_token", "<|endoftext|>", &c->unk, e) &&
              named(c, config, map, "pad_token", "<|endoftext|>", &c->pad, e);
    c->max = config_max_length(config, 77);
    json_decref(config);
    json_decref(map);
    return ok;
}

static int by_id(const void *x, const void *y)
{
    const struct tokenizer_piece *a = x, *b = y;
    return a->id < b->id ? -1 : a->id > b->id;
}

static bool add_vocab(struct clip_tokenizer *c, struct tokenizer_file *f, struct err *e)
{
    struct tokenizer *t = c->t;
    if (f->n_pieces == 0 || (size_t)f->max_id > 65536 + 4 * f->n_pieces)
        return err_set(e, ERR_FORMAT, "a vocabulary of %zu tokens with ids up to %d", f->n_pieces,
                       (int)f->max_id);
    qsort(f->piece, f->n_pieces, sizeof *f->piece, by_id);
    if (!vocab_begin(&t->vocab, f->max_id + 1, 8 * f->n_pieces, e)) return false;
    for (size_t i = 0; i < f->n_pieces; i++) {
        const struct tokenizer_piece *p = &f->piece[i];
        if (i && p->id == p[-1].id) return err_set(e, ERR_FORMAT, "two tokens have the id %d", (int)p->id);
        if (!tokenizer_add(t, p->id, VOCAB_NORMAL, false, p->text, p->len, e)) return false;
    }
    if (!tokenizer_index(t, e)) return false;
    for (int b = 0; b < 256; b++) {
        char last[5] = { (char)b, '<', '/', 'w', '>' };
        c->last_id[b] = vocab_find(&t->vocab, last, sizeof last);
    }
    if (!bpe_init(&t->bpe, f->n_merges, e)) return false;
    for (size_t i = 0; i < f->n_merges; i++) {
        const struct tokenizer_merge *m = &f->merge[i];
        if (!tokenizer_add_merge(t, m->left, m->left_len, m->right, m->right_len, (uint32_t)i, e))
            return false;
    }
    return true;
}

/* tokenizer.json, or vocab.json and merges.txt. */
static bool read_vocab(struct tokenizer_file *f, const char *dir, struct err *e)
{
    struct filemap m;
    bool found;
    if (!config_map(dir, "tokenizer.json", &m, &found, e)) return false;
    if (found) {
        bool ok = tokenizer_file_json(f, (const char *)m.data, m.size, e);
        filemap_close(&m);
        return ok || err_wrap(e, "tokenizer.json");
    }
    static const char *const names[] = { "vocab.json", "merges.txt" };
    for (int i = 0; i < 2; i++) {
        if (!config_map(dir, names[i], &m, &found, e)) return false;
        if (!found) return err_set(e, ERR_NOT_FOUND, "%s has neither tokenizer.json nor %s", dir, names[i]);
        bool ok = i == 0 ? tokenizer_file_vocab(f, (const char *)m.data, m.size, e)
                         : tokenizer_file_merges(f, (const char *)m.data, m.size, e);
        filemap_close(&m);
        if (!ok) return err_wrap(e, "%s", names[i]);
    }
    return true;
}

/* The class has its own normalizer, whatever tokenizer.json says; one that differs is named. */
static void look_at_normalizer(const struct tokenizer_file *f, const char *dir)
{
    const json_t *n = json_object_get(f->rest, "normalizer"), *list = json_object_get(n, "normalizers"), *one;
    size_t i;
    bool lower = false, other = f->rest && !json_is_array(list);
    json_array_foreach(list, i, one)
    {
        const char *type = json_string_value(json_object_get(one, "type"));
        lower |= type && strcmp(type, "Lowercase") == 0;
        other |= !type ||
                 (strcmp(type, "NFC") != 0 && strcmp(type, "Replace") != 0 && strcmp(type, "Lowercase") != 0);
    }
    if (other || (json_is_array(list) && !lower))
        log_warn("%s: the normalizer of tokenizer.json is not followed; CLIP's is NFC and lower case", dir);
}

static bool load(struct clip_tokenizer *c, struct tokenizer_file *f, const char *dir, struct err *e)
{
    if (!read_vocab(f, dir, e) || !tokenizer_alloc(&c->t, e) || !add_vocab(c, f, e)) return false;
    look_at_normalizer(f, dir);
    if (!pretoken_add(c->t->pre, scan_pattern_clip, strlen(scan_pattern_clip), SPLIT_REMOVED, true, false,
                      e) ||
        !pretoken_add_named(c->t->pre, "gpt-2", 5, NULL, e))
        return false;
    const json_t *list = json_object_get(f->rest, "added_tokens"), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        const char *text = config_token(one);
        bool known = text && id_of(c, text) >= 0;
        if (known && !add_special(c, text, json_is_true(json_object_get(one, "normalized")), true, e))
            return false;
    }
    if (!read_names(c, dir, e)) return false;
    for (int k = 0; k < c->n_special; k++) {
        const struct special *s = &c->special[k];
        struct added a = { .text = s->text, .len = s->len, .id = s->id };
        if (!added_push(s->normalized ? &c->t->norm : &c->t->raw, a, e)) return false;
    }
    added_sort(&c->t->raw);
    added_sort(&c->t->norm);
    return true;
}

bool clip_tokenizer_load(struct clip_tokenizer **out, const char *dir, struct err *e)
{
    struct tokenizer_file f = { 0 };
    struct clip_tokenizer *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    bool ok = load(c, &f, dir, e);
    tokenizer_file_free(&f);
    if (!ok) {
        clip_tokenizer_free(c);
        return err_wrap(e, "CLIP tokenizer in %s", dir);
    }
    *out = c;
    return true;
}

void clip_tokenizer_free(struct clip_tokenizer *c)
{
    if (c) tokenizer_free(c->t);
    free(c);
}

int32_t clip_tokenizer_start(const struct clip_tokenizer *c) { return c->start; }
int32_t clip_tokenizer_end(const struct clip_tokenizer *c) { return c->end; }
int32_t clip_tokenizer_pad(const struct clip_tokenizer *c) { return c->pad; }
int clip_tokenizer_max(const struct clip_tokenizer *c) { return c->max; }

/* What one call carries. */
struct encoding {
    const struct clip_tokenizer *c;
    struct bpe_scratch scratch;
    struct pretoken_run run;
    int32_t *ids; /* [room] the text's tokens, as many as fit */
    size_t room, n;
    int32_t *sym;
    size_t sym_cap;
};

static void push(struct encoding *x, int32_t id)
{
    if (x->n < x->room) x->ids[x->n] = id;
    x->n++;
}

static bool word(void *arg, const char *s, size_t n, struct err *e)
{
    struct encoding *x = arg;
    const struct clip_tokenizer *c = x->c;
    if (n > x->sym_cap) {
        free(x->sym);
        x->sym = malloc(n * sizeof *x->sym);
        x->sym_cap = x->sym ? n : 0;
        if (!x->sym) return err_set(e, ERR_NOMEM, "no memory for a word of %zu bytes", n);
    }
    for (size_t i = 0; i < n; i++) {
        int32_t id = i + 1 < n ? c->t->byte_id[(unsigned char)s[i]] : c->last_id[(unsigned char)s[i]];
        x->sym[i] = id >= 0 ? id : c->unk;
    }
    if (!bpe_merge(&c->t->bpe, &x->scratch, x->sym, &n, e)) return false;
    for (size_t i = 0; i < n; i++) push(x, x->sym[i]);
    return true;
}

/* out = text in lower case, character by character (a final sigma is one like any other). */
static bool lower(const char *text, size_t n, struct masked *out, struct err *e)
{
    if (!masked_reserve(out, n, false, e)) return false;
    for (size_t i = 0; i < n;) {
        unsigned len;
        char low[8];
        uint32_t cp = utf8_get((const unsigned char *)text + i, &len);
        unsigned k = utf8_put(cp < 0x80 ? (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp) : uc_tolower(cp), low);
        bool dotted = cp == 0x130; /* the one character whose lower case is two */
        if (!masked_reserve(out, 4, false, e)) return false;
        masked_put(out, dotted ? "i\u0307" : low, dotted ? 3 : k, 0);
        i += len;
    }
    return true;
}

static bool segment(struct encoding *x, const char *s, size_t n, struct err *e)
{
    const struct tokenizer *t = x->c->t;
    struct masked nfc = { 0 }, low = { 0 };
    bool ok = false;
    if (n == 0) return true;
    if (unicode_may_change(t->u, FORM_NFC, s, n)) {
        if (!unicode_normalize(t->u, FORM_NFC, s, NULL, n, &nfc, e)) goto done;
        s = nfc.text;
        n = nfc.len;
    }
    if (!lower(s, n, &low, e)) goto done;
    size_t i = 0;
    struct added_match m;
    while (added_find(&t->norm, t->u, low.text, NULL, i, i, low.len, true, &m)) {
        if (!pretoken_split(t->pre, &x->run, low.text + i, m.start - i, false, word, x, e)) goto done;
        push(x, m.id);
        i = m.end;
    }
    ok = pretoken_split(t->pre, &x->run, low.text + i, low.len - i, false, word, x, e);
done:
    masked_free(&nfc);
    masked_free(&low);
    return ok;
}

bool clip_tokenizer_encode(const struct clip_tokenizer *c, const char *text, size_t len, int32_t *ids, int n,
                           size_t *used, struct err *e)
{
    if (n < 2) return err_set(e, ERR_REQUEST, "a CLIP prompt of %d tokens; start and end alone are 2", n);
    if (len > MAX_TEXT_BYTES)
        return err_set(e, ERR_LIMIT, "a prompt of %zu bytes; %d are read", len, MAX_TEXT_BYTES);
    struct encoding x = { .c = c, .ids = ids + 1, .room = (size_t)n - 2 };
    struct masked repaired = { 0 };
    bool ok = false;
    if (utf8_valid(text, len) < len) {
        if (!utf8_repair(text, NULL, len, &repaired, e)) goto done;
        text = repaired.text;
        len = repaired.len;
    }
    size_t i = 0;
    struct added_match m;
    while (added_find(&c->t->raw, c->t->u, text, NULL, i, i, len, true, &m)) {
        if (!segment(&x, text + i, m.start - i, e)) goto done;
        push(&x, m.id);
        i = m.end;
    }
    if (!segment(&x, text + i, len - i, e)) goto done;
    size_t kept = x.n < x.room ? x.n : x.room;
    ids[0] = c->start;
    ids[kept + 1] = c->end;
    for (size_t k = kept + 2; k < (size_t)n; k++) ids[k] = c->pad;
    if (used) *used = x.n;
    ok = true;
done:
    masked_free(&repaired);
    bpe_scratch_free(&x.scratch);
    pretoken_run_free(&x.run);
    free(x.sym);
    return ok;
}
