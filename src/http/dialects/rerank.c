/* rerank.c - see rerank.h. */
#include "http/dialects/rerank.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/fields.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "service/generate.h"

static bool no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

enum kind { MODEL, QUERY, DOCUMENTS, TOP, WITH, TAG, REFUSED };

static const struct row {
    struct json_member member;
    enum kind kind;
} rows[] = {
    { { "model", 1, "!text" }, MODEL },
    { { "query", 1, "!text 1.." }, QUERY },
    { { "documents", 1, "![text|object] 1..2048" }, DOCUMENTS },
    { { "top_n", 1, "int 1..2147483647" }, TOP },
    { { "return_documents", 1, "bool" }, WITH },
    { { "user", 1, "text" }, TAG },
    { { "max_tokens_per_doc", 1, "none" }, REFUSED },
    { { "max_chunks_per_doc", 1, "none" }, REFUSED },
    { { "rank_fields", 1, "none" }, REFUSED },
    { { "task", 1, "none" }, REFUSED },
};

/* The list has room for the query before the documents, whichever comes first in the body. */
static bool reserve(struct rerank_wire *w, size_t n, struct fault *f)
{
    if ((size_t)w->gen.n_prompts >= n) return true; /* of a body that says it twice */
    struct prompt *more = realloc(w->gen.prompts, n * sizeof *more);
    if (!more) return no_memory(f);
    memset(more + w->gen.n_prompts, 0, (n - (size_t)w->gen.n_prompts) * sizeof *more);
    w->gen.prompts = more;
    w->gen.n_prompts = (int)n;
    return true;
}

/* The body may have said it before. */
static bool put(struct prompt *p, const json_t *v, struct fault *f)
{
    free(p->text);
    p->len = json_string_length(v);
    p->text = malloc(p->len + 1);
    if (!p->text) return no_memory(f);
    memcpy(p->text, json_string_value(v), p->len);
    p->text[p->len] = 0;
    return true;
}

static bool take_documents(struct rerank_wire *w, const json_t *list, struct fault *f)
{
    const size_t n = json_array_size(list);
    f->param = "documents";
    if (!json_is_array(list)) return json_in_bad(list, "documents", "an array of strings", f);
    if (!n) return err_set(&f->err, ERR_REQUEST, "documents must not be an empty array");
    if (n > REQUEST_MAX_PROMPTS)
        return err_set(&f->err, ERR_REQUEST, "documents holds %zu texts; at most %d are taken", n,
                       REQUEST_MAX_PROMPTS);
    if (!reserve(w, n + 1, f)) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i), *text = json_object_get(one, "text");
        if (!json_is_string(one) && !(json_object_size(one) == 1 && json_is_string(text)))
            return json_in_bad(one, "documents", "an array of strings, or of objects with one \"text\" each",
                               f);
        if (!put(&w->gen.prompts[i + 1], json_is_string(one) ? one : text, f)) return false;
    }
    f->param = NULL;
    return true;
}

static bool take_query(struct rerank_wire *w, const json_t *v, struct fault *f)
{
    f->param = "query";
    if (!json_is_string(v)) return json_in_bad(v, "query", "a string", f);
    if (!json_string_length(v)) return err_set(&f->err, ERR_REQUEST, "query must not be empty");
    if (!w->gen.n_prompts && !reserve(w, 1, f)) return false;
    f->param = NULL;
    return put(&w->gen.prompts[0], v, f);
}

static bool take(void *reader, const void *at, const json_t *v, struct fault *f)
{
    struct rerank_wire *w = reader;
    const struct row *row = at;
    const char *s;
    switch (row->kind) {
    case MODEL:
        if (!json_in_str(v, "model", &s, f)) return false;
        free(w->gen.model);
        return (w->gen.model = strdup(s)) || no_memory(f);
    case QUERY: return take_query(w, v, f);
    case DOCUMENTS: return take_documents(w, v, f);
    case TOP: return json_in_int(v, "top_n", 1, INT_MAX, &w->top_n, f);
    case WITH: return json_in_bool(v, "return_documents", &w->with_documents, f);
    case TAG: return json_in_str(v, row->member.name, &s, f);
    case REFUSED:
        f->param = row->member.name;
        return err_set(&f->err, ERR_UNSUPPORTED, "%s is not supported by this server yet", row->member.name);
    }
    return true;
}

static bool complete(const struct rerank_wire *w, struct fault *f)
{
    f->param = !w->gen.model                                  ? "model"
               : !w->gen.n_prompts || !w->gen.prompts[0].text ? "query"
               : w->gen.n_prompts < 2                         ? "documents"
                                                              : NULL;
    return !f->param || err_set(&f->err, ERR_REQUEST, "%s is required", f->param);
}

const struct json_table rerank_fields = JSON_TABLE(rows, take);

bool rerank_wire_parse(struct rerank_wire *w, json_t *body, enum api_dialect d, bool strict, struct fault *f)
{
    const struct json_place place = { .path = "", .form = 1, .strict = strict };
    *w = (struct rerank_wire){ .fireworks = d == DIALECT_FIREWORKS };
    gen_request_init(&w->gen);
    const bool ok =
        json_in_extra_body(body, f) && json_in_object(&rerank_fields, &place, w, body, f) && complete(w, f);
    if (!ok) rerank_wire_free(w);
    return ok;
}

void rerank_wire_free(struct rerank_wire *w)
{
    gen_request_free(&w->gen);
    *w = (struct rerank_wire){ 0 };
}

void rerank_wire_print(struct buf *b, const struct rerank_wire *w, const char *model, const char *id,
                       const struct rerank_hit *hit, int n, const struct usage *u)
{
    buf_puts(b, "{\"object\":\"list\",\"id\":");
    json_out_cstr(b, id);
    buf_puts(b, ",\"model\":");
    json_out_cstr(b, model);
    buf_puts(b, w->fireworks ? ",\"data\":[" : ",\"results\":[");
    for (int i = 0; i < n; i++) {
        const struct prompt *p = &w->gen.prompts[hit[i].index + 1];
        buf_printf(b, "%s{\"index\":%d,\"relevance_score\":", i ? "," : "", hit[i].index);
        json_out_float(b, (float)hit[i].score);
        if (w->with_documents) {
            buf_puts(b, w->fireworks ? ",\"document\":" : ",\"document\":{\"text\":");
            json_out_str(b, p->text, p->len);
            if (!w->fireworks) buf_putc(b, '}');
        }
        buf_putc(b, '}');
    }
    buf_printf(b, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", u->prompt_tokens,
               u->prompt_tokens);
}
