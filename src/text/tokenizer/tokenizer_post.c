/* tokenizer_post.c - see tokenizer_post.h; and what stands around a text that is cut, or around two. */
#include "text/tokenizer/tokenizer_post.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 4 };

/* [name, id] of Bert's and Roberta's. */
static bool push_pair(struct affix *a, const struct tokenizer *t, const json_t *pair, struct err *e)
{
    const json_t *id = json_array_get(pair, 1);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->vocab.n)
        return err_set(e, ERR_FORMAT, "the post-processor names a token without a usable id");
    return affix_push(a, (int32_t)json_integer_value(id), e);
}

/* One special token of a template: all ids that its entry has. */
static bool push_special(struct affix *a, const struct tokenizer *t, const json_t *v, const char *name,
                         struct err *e)
{
    const json_t *ids = json_object_get(json_object_get(json_object_get(v, "special_tokens"), name), "ids"),
                 *id;
    size_t i;
    if (!json_is_array(ids))
        return err_set(e, ERR_FORMAT,
                       "the post-processor's template names \"%.60s\", which it does not declare", name);
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->vocab.n)
            return err_set(e, ERR_FORMAT, "the post-processor's \"%.60s\" has no usable id", name);
        if (!affix_push(a, (int32_t)json_integer_value(id), e)) return false;
    }
    return true;
}

static bool read_template(const struct tokenizer *t, const json_t *v, struct affix *first, struct affix *last,
                          struct err *e)
{
    const json_t *piece;
    size_t i;
    bool behind = false;
    json_array_foreach(json_object_get(v, "single"), i, piece)
    {
        const json_t *sequence = json_object_get(piece, "Sequence");
        const char *name = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        const char *id = json_string_value(json_object_get(sequence, "id"));
        if (sequence && (behind || !id || strcmp(id, "A") != 0))
            return err_set(e, ERR_UNSUPPORTED,
                           "a post-processor's template with another sequence than one $A");
        if (sequence) behind = true;
        if (name && !push_special(behind ? last : first, t, v, name, e)) return false;
    }
    return behind || err_set(e, ERR_UNSUPPORTED, "a post-processor's template without the text itself");
}

/* What a template puts between the two texts of a pair, and whether the second one's tokens are of another type. */
static bool read_pair(struct tokenizer *t, const json_t *v, struct err *e)
{
    const json_t *piece;
    size_t i;
    int texts = 0;
    json_array_foreach(json_object_get(v, "pair"), i, piece)
    {
        const json_t *sequence = json_object_get(piece, "Sequence");
        const char *name = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        texts += sequence != NULL;
        if (sequence && texts == 2)
            t->second_typed = json_number_value(json_object_get(sequence, "type_id")) == 1;
        if (name && texts == 1 && !push_special(&t->between, t, v, name, e)) return false;
    }
    return true;
}

/* The tokens that the post-processor puts around a text. A second one that adds tokens would get the first one's result as a pair of
 * texts in the reference: nobody means that. */
static bool read_post(struct tokenizer *t, const json_t *v, int depth, struct err *e)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (!type) type = "";
    struct affix first = { 0 }, last = { 0 };
    if (!v || json_is_null(v) || strcmp(type, "ByteLevel") == 0)
        return true; /* that one moves offsets alone */
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        const json_t *one;
        size_t i;
        json_array_foreach(json_object_get(v, "processors"), i, one)
        {
            if (!read_post(t, one, depth + 1, e)) return false;
        }
        return true;
    }
    bool ok;
    if (strcmp(type, "TemplateProcessing") == 0)
        ok = read_template(t, v, &first, &last, e) && read_pair(t, v, e);
    else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        ok = push_pair(&first, t, json_object_get(v, "cls"), e) &&
             push_pair(&last, t, json_object_get(v, "sep"), e) &&
             push_pair(&t->between, t, json_object_get(v, "sep"), e) &&
             (type[0] == 'B' ? (t->second_typed = true)
                             : push_pair(&t->between, t, json_object_get(v, "sep"), e));
    else
        ok = err_set(e, ERR_UNSUPPORTED, "the post-processor \"%.40s\" is not known to this build", type);
    if (ok && t->first.n + t->last.n)
        ok = err_set(e, ERR_UNSUPPORTED, "two post-processors that add special tokens");
    if (ok) t->first = first, t->last = last;
    return ok;
}

bool tokenizer_post_read(struct tokenizer *t, const json_t *v, struct err *e)
{
    return read_post(t, v, 0, e);
}

void tokenizer_cut(const struct tokenizer *t, struct token_list *ids, size_t n)
{
    const size_t n_last = (size_t)t->last.n;
    if (ids->n <= n) return;
    if (n > n_last) memmove(ids->id + n - n_last, ids->id + ids->n - n_last, n_last * sizeof *ids->id);
    ids->n = n;
}

static void put(struct token_list *out, const int32_t *id, size_t n)
{
    if (n) memcpy(out->id + out->n, id, n * sizeof *id);
    out->n += n;
}

bool tokenizer_pair(const struct tokenizer *t, const struct token_list *a, const struct token_list *b,
                    size_t n, struct token_list *out, size_t *second, struct err *e)
{
    const struct affix *between = t->between.n ? &t->between : &t->last;
    const size_t special = (size_t)(t->first.n + between->n + t->last.n);
    size_t n_a = a->n, n_b = b->n;
    if (n <= special) return err_set(e, ERR_CONTEXT, "a context of %zu tokens holds no pair of texts", n);
    n -= special;
    /* The longer loses its end, down to the shorter; then both, and what does not divide stays with the longer. */
    size_t *const shorter = n_a <= n_b ? &n_a : &n_b, *const longer = n_a <= n_b ? &n_b : &n_a;
    if (n_a + n_b > n) {
        if (*shorter > n / 2) *shorter = n / 2;
        *longer = n - *shorter;
    }
    out->id = malloc((n_a + n_b + special) * sizeof *out->id);
    out->n = 0;
    out->cap = n_a + n_b + special;
    if (!out->id) return err_set(e, ERR_NOMEM, "no memory for %zu tokens", out->cap);
    put(out, t->first.id, (size_t)t->first.n);
    put(out, a->id, n_a);
    put(out, between->id, (size_t)between->n);
    *second = t->second_typed ? out->n : 0;
    put(out, b->id, n_b);
    put(out, t->last.id, (size_t)t->last.n);
    return true;
}
