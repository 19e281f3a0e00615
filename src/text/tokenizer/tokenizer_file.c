/* tokenizer_file.c - see tokenizer_file.h. */
#include "text/tokenizer/tokenizer_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "format/json_read.h"
#include "format/json_scan.h"
#include "text/tokenizer/tokenizer_vocab.h"
#include "text/unicode.h"

static bool grow(void **array, size_t n, size_t *cap, size_t size, struct err *e)
{
    if (n < *cap) return true;
    size_t more = *cap ? *cap * 2 : 4096;
    void *p = realloc(*array, more * size);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu vocabulary entries", more);
    *array = p;
    *cap = more;
    return true;
}

static bool add_piece(struct tokenizer_file *f, struct tokenizer_piece p, struct err *e)
{
    if (f->n_pieces == VOCAB_MAX)
        return err_set(e, ERR_LIMIT, "a vocabulary of more than %d entries", VOCAB_MAX);
    if (!grow((void **)&f->piece, f->n_pieces, &f->cap_pieces, sizeof *f->piece, e)) return false;
    f->piece[f->n_pieces++] = p;
    if (p.id > f->max_id) f->max_id = p.id;
    return true;
}

static bool add_merge(struct tokenizer_file *f, struct tokenizer_merge m, struct err *e)
{
    if (f->n_merges == 4 * (size_t)VOCAB_MAX)
        return err_set(e, ERR_LIMIT, "more than %d merges", 4 * VOCAB_MAX);
    if (!grow((void **)&f->merge, f->n_merges, &f->cap_merges, sizeof *f->merge, e)) return false;
    f->merge[f->n_merges++] = m;
    return true;
}

/* "left right" */
static bool add_merge_line(struct tokenizer_file *f, const char *s, size_t len, struct err *e)
{
    const char *cut = memchr(s, ' ', len);
    if (!cut || cut == s || cut + 1 == s + len)
        return err_set(e, ERR_FORMAT, "merge %zu is not two parts with a space between them", f->n_merges);
    size_t left = (size_t)(cut - s);
    return add_merge(f, (struct tokenizer_merge){ s, cut + 1, left, len - left - 1 }, e);
}

static bool bad(struct err *e, const char *what)
{
    return err_set(e, ERR_FORMAT, "%s is not what tokenizer.json has there", what);
}

static void skip_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) s->p++;
}

/* Any value as a tree; NULL and *e on failure. */
static json_t *tree(struct json_scan *s, const char *name, struct err *e)
{
    skip_space(s);
    const char *start = s->p;
    json_error_t why;
    if (!json_scan_skip(s)) return bad(e, name), NULL;
    const size_t len = (size_t)(s->p - start);
    json_t *v = json_memory_load(start, len, JSON_DECODE_ANY, &why);
    if (!v && !json_read_no_memory(&why, start, len, e)) bad(e, name);
    return v;
}

/* {"piece": id, ...} */
static bool vocab_object(struct tokenizer_file *f, struct json_scan *s, struct err *e)
{
    bool first = true, more;
    for (;;) {
        char *key;
        size_t len;
        uint64_t id;
        if (!json_scan_key(s, &first, &more, &key, &len)) return bad(e, "the vocabulary");
        if (!more) return true;
        if (!json_scan_u64(s, &id) || id >= VOCAB_MAX)
            return err_set(e, ERR_FORMAT,
                           "the vocabulary's id of \"%.60s\" is no token id (0 to %d are read)", key,
                           VOCAB_MAX - 1);
        if (!add_piece(f, (struct tokenizer_piece){ key, len, (int32_t)id, 0 }, e)) return false;
    }
}

/* [["piece", score], ...] */
static bool vocab_scores(struct tokenizer_file *f, struct json_scan *s, struct err *e)
{
    if (json_scan_char(s, ']')) return true;
    do {
        struct tokenizer_piece p = { .id = (int32_t)f->n_pieces };
        char *text;
        if (!json_scan_char(s, '[') || !json_scan_string(s, &text, &p.len) || !json_scan_char(s, ','))
            return bad(e, "the vocabulary");
        p.text = text;
        json_t *score = tree(s, "a vocabulary score", e);
        if (!score) return false;
        p.score = json_number_value(score);
        bool ok = json_is_number(score) && isfinite(p.score);
        json_decref(score);
        if (!ok || !json_scan_char(s, ']')) return bad(e, "a vocabulary score");
        if (!add_piece(f, p, e)) return false;
    } while (json_scan_char(s, ','));
    return json_scan_char(s, ']') || bad(e, "the vocabulary");
}

static bool vocab_any(struct tokenizer_file *f, struct json_scan *s, struct err *e)
{
    if (json_scan_char(s, '{')) return vocab_object(f, s, e);
    if (json_scan_char(s, '[')) return vocab_scores(f, s, e);
    return bad(e, "the vocabulary");
}

/* ["left right", ...] or [["left", "right"], ...] */
static bool merges_any(struct tokenizer_file *f, struct json_scan *s, struct err *e)
{
    if (!json_scan_char(s, '[')) return bad(e, "the list of merges");
    if (json_scan_char(s, ']')) return true;
    do {
        char *left, *right;
        size_t n_left, n_right;
        if (json_scan_char(s, '[')) {
            if (!json_scan_string(s, &left, &n_left) || !json_scan_char(s, ',') ||
                !json_scan_string(s, &right, &n_right) || !json_scan_char(s, ']'))
                return bad(e, "a merge");
            if (!add_merge(f, (struct tokenizer_merge){ left, right, n_left, n_right }, e)) return false;
        } else {
            if (!json_scan_string(s, &left, &n_left)) return bad(e, "a merge");
            if (!add_merge_line(f, left, n_left, e)) return false;
        }
    } while (json_scan_char(s, ','));
    return json_scan_char(s, ']') || bad(e, "the list of merges");
}

/* `into`: where members that are no long list go; with `lists`, vocab and merges are taken apart. */
static bool members(struct tokenizer_file *f, struct json_scan *s, json_t *into, bool lists, struct err *e)
{
    if (!json_scan_char(s, '{')) return bad(e, lists ? "model" : "the file");
    bool first = true, more;
    for (;;) {
        char *key;
        size_t len;
        if (!json_scan_key(s, &first, &more, &key, &len)) return bad(e, "an object");
        if (!more) return true;
        bool ok;
        if (lists && strcmp(key, "vocab") == 0) {
            ok = vocab_any(f, s, e);
        } else if (lists && strcmp(key, "merges") == 0) {
            ok = merges_any(f, s, e);
        } else if (!lists && strcmp(key, "model") == 0) {
            ok = members(f, s, f->model, true, e);
        } else {
            json_t *v = tree(s, key, e);
            ok = v != NULL;
            if (v && json_object_set_new(into, key, v) != 0)
                ok = err_set(e, ERR_NOMEM, "no memory for tokenizer.json");
        }
        if (!ok) return false;
    }
}

static bool begin(struct tokenizer_file *f, int which, const char *text, size_t len, struct json_scan *s,
                  struct err *e)
{
    size_t valid = utf8_valid(text, len);
    if (valid < len) return err_set(e, ERR_FORMAT, "the file is not UTF-8 at byte %zu", valid);
    if (which == 0) f->max_id = -1;
    f->pool[which] = malloc(len + 1);
    if (!f->pool[which]) return err_set(e, ERR_NOMEM, "no memory to read %zu bytes", len);
    *s = (struct json_scan){ .p = text, .end = text + len, .pool = f->pool[which] };
    return true;
}

bool tokenizer_file_json(struct tokenizer_file *f, const char *text, size_t len, struct err *e)
{
    struct json_scan s;
    *f = (struct tokenizer_file){ .max_id = -1 };
    if (!begin(f, 0, text, len, &s, e)) return false;
    f->model = json_object();
    f->rest = json_object();
    if (!f->model || !f->rest) return err_set(e, ERR_NOMEM, "no memory for tokenizer.json");
    return members(f, &s, f->rest, false, e) && (json_scan_end(&s) || bad(e, "the end"));
}

bool tokenizer_file_vocab(struct tokenizer_file *f, const char *text, size_t len, struct err *e)
{
    struct json_scan s;
    *f = (struct tokenizer_file){ .max_id = -1 };
    return begin(f, 1, text, len, &s, e) && vocab_any(f, &s, e);
}

bool tokenizer_file_merges(struct tokenizer_file *f, const char *text, size_t len, struct err *e)
{
    struct json_scan s;
    if (!begin(f, 2, text, len, &s, e)) return false;
    char *p = f->pool[2];
    memcpy(p, text, len);
    p[len] = 0;
    for (char *end = p + len, *line = p; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        size_t n = (size_t)(stop - line);
        if (n && line[n - 1] == '\r') n--;
        bool comment = line == p && n >= 8 && memcmp(line, "#version", 8) == 0;
        if (n && !comment && !add_merge_line(f, line, n, e)) return false;
        line = stop + 1;
    }
    return true;
}

void tokenizer_file_free(struct tokenizer_file *f)
{
    for (int i = 0; i < 3; i++) free(f->pool[i]);
    free(f->piece);
    free(f->merge);
    json_decref(f->model);
    json_decref(f->rest);
    *f = (struct tokenizer_file){ 0 };
}

/* ---- vocab.txt ---------------------------------------------------------------------------------------------------------- */

static int32_t piece_id(const struct tokenizer_file *f, const char *text)
{
    for (size_t i = 0; i < f->n_pieces; i++)
        if (strcmp(f->piece[i].text, text) == 0) return f->piece[i].id;
    return -1;
}

/* BERT's own special tokens, unless the files beside the vocabulary name others. */
static const char *special(const json_t *names, const char *name, const char *usual)
{
    const char *s = json_string_value(json_object_get(names, name));
    return s ? s : usual;
}

static bool switch_of(const json_t *config, const char *key, bool absent)
{
    const json_t *v = json_object_get(config, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

/* {"id": .., "content": .., "special": true} of those that the vocabulary has. */
static json_t *specials(const struct tokenizer_file *f, const json_t *names)
{
    static const char *const usual[][2] = { { "unk_token", "[UNK]" },
                                            { "cls_token", "[CLS]" },
                                            { "sep_token", "[SEP]" },
                                            { "pad_token", "[PAD]" },
                                            { "mask_token", "[MASK]" } };
    json_t *list = json_array();
    for (size_t i = 0; list && i < sizeof usual / sizeof *usual; i++) {
        const char *text = special(names, usual[i][0], usual[i][1]);
        const int32_t id = piece_id(f, text);
        if (id >= 0)
            json_array_append_new(list,
                                  json_pack("{s:i, s:s, s:b}", "id", (int)id, "content", text, "special", 1));
    }
    return list;
}

bool tokenizer_file_lines(struct tokenizer_file *f, const char *text, size_t len, const json_t *config,
                          const json_t *names, struct err *e)
{
    struct json_scan s;
    *f = (struct tokenizer_file){ .max_id = -1 };
    if (!begin(f, 0, text, len, &s, e)) return false;
    char *p = f->pool[0];
    memcpy(p, text, len);
    p[len] = 0;
    for (char *end = p + len, *line = p; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        *stop = 0;
        size_t n = (size_t)(stop - line);
        if (n && line[n - 1] == '\r') line[--n] = 0;
        if (memchr(line, 0, n) || utf8_valid(line, n) < n)
            return err_set(e, ERR_FORMAT, "line %zu is not text", f->n_pieces + 1);
        if (!add_piece(f, (struct tokenizer_piece){ .text = line, .len = n, .id = (int32_t)f->n_pieces }, e))
            return false;
        line = stop + 1;
    }
    const char *cls = special(names, "cls_token", "[CLS]"), *sep = special(names, "sep_token", "[SEP]");
    const int32_t cls_id = piece_id(f, cls), sep_id = piece_id(f, sep);
    if (cls_id < 0 || sep_id < 0)
        return err_set(e, ERR_FORMAT, "the vocabulary has no \"%.40s\"", cls_id < 0 ? cls : sep);
    const bool lower = switch_of(config, "do_lower_case", true);
    f->model = json_pack("{s:s, s:s, s:s}", "type", "WordPiece", "unk_token",
                         special(names, "unk_token", "[UNK]"), "continuing_subword_prefix", "##");
    f->rest = json_pack("{s:{s:s, s:b, s:b, s:b, s:b}, s:{s:s}, s:{s:s, s:[s,i], s:[s,i]}, s:o}",
                        "normalizer", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars",
                        (int)switch_of(config, "tokenize_chinese_chars", true), "lowercase", (int)lower,
                        "strip_accents", (int)switch_of(config, "strip_accents", lower), "pre_tokenizer",
                        "type", "BertPreTokenizer", "post_processor", "type", "BertProcessing", "cls", cls,
                        (int)cls_id, "sep", sep, (int)sep_id, "added_tokens", specials(f, names));
    return (f->model && f->rest) || err_set(e, ERR_NOMEM, "no memory for the vocabulary");
}
