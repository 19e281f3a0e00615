/* embeddings.c - see embeddings.h. */
#include "http/dialects/embeddings.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "http/dialects/fields.h"
#include "http/dialects/ollama.h"
#include "http/dialects/parse.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "service/generate.h"

#define OPENAI EMBEDDING_OPENAI
#define OLLAMA EMBEDDING_OLLAMA
#define ONE EMBEDDING_OLLAMA_ONE

static bool no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

static char *copy(const json_t *v) { return strndup(json_string_value(v), json_string_length(v)); }

/* ---- what is embedded ---------------------------------------------------------------------------------------------- */

static bool take_ids(const json_t *v, struct prompt *p, struct fault *f)
{
    const size_t n = json_array_size(v);
    if (!(p->ids = malloc((n ? n : 1) * sizeof *p->ids))) return no_memory(f);
    p->n_ids = n;
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        if (!json_in_int(json_array_get(v, i), "input", 0, INT32_MAX, &id, f)) return false;
        p->ids[i] = (int32_t)id;
    }
    return n > 0 || err_set(&f->err, ERR_REQUEST, "input must not hold an empty array of tokens");
}

static bool take_text(const struct embedding_wire *w, const json_t *v, struct prompt *p, struct fault *f)
{
    if (json_is_array(v) && w->form == OPENAI) return take_ids(v, p, f);
    if (!json_is_string(v))
        return json_in_bad(v, "input",
                           w->form == OPENAI ? "a string, an array of strings, an array of token ids, or an "
                                               "array of those"
                                             : "a string or an array of strings",
                           f);
    if (!json_string_length(v) && w->form == OPENAI)
        return err_set(&f->err, ERR_REQUEST, "input must not hold an empty string");
    p->len = json_string_length(v);
    return (p->text = copy(v)) || no_memory(f);
}

static bool take_input(struct embedding_wire *w, const json_t *v, struct fault *f)
{
    const bool several = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    const size_t n = several ? json_array_size(v) : 1;
    f->param = "input";
    if (w->gen.prompts) return err_set(&f->err, ERR_REQUEST, "input and prompt cannot be given together");
    if (several && !n && w->form == OPENAI)
        return err_set(&f->err, ERR_REQUEST, "input must not be an empty array");
    if (n > REQUEST_MAX_PROMPTS)
        return err_set(&f->err, ERR_REQUEST, "input holds %zu texts; at most %d are taken", n,
                       REQUEST_MAX_PROMPTS);
    w->gen.prompts = calloc(n ? n : 1, sizeof *w->gen.prompts);
    if (!w->gen.prompts) return no_memory(f);
    for (size_t i = 0; i < n; i++) {
        w->gen.n_prompts++; /* so that what it holds is freed */
        if (!take_text(w, several ? json_array_get(v, i) : v, &w->gen.prompts[i], f)) return false;
    }
    f->param = NULL;
    return true;
}

/* ---- the other fields ---------------------------------------------------------------------------------------------- */

enum kind { MODEL, INPUT, ENCODING, DIMENSIONS, NORMALIZE, TRUNCATE, KEEP, TAG, OPTIONS, REFUSED };

static const struct row {
    struct json_member member; /* forms: enum embedding_form */
    enum kind kind;
} rows[] = {
    { { "model", OPENAI | OLLAMA | ONE, "!text" }, MODEL },
    { { "input", OPENAI, "!text 1..|[text] 1..2048|[int]|[[int]] ..2048" }, INPUT },
    { { "input", OLLAMA, "text|[text] ..2048" }, INPUT },
    { { "prompt", ONE, "text" }, INPUT },
    { { "encoding_format", OPENAI, "'float'|'base64'" }, ENCODING },
    { { "dimensions", OPENAI | OLLAMA, "int 1..2147483647" }, DIMENSIONS },
    { { "normalize", OPENAI, "bool" }, NORMALIZE },
    { { "user", OPENAI, "text" }, TAG },
    { { "truncate", OLLAMA, "bool" }, TRUNCATE },
    { { "keep_alive", OLLAMA | ONE, "num|text" }, KEEP },
    { { "options", OLLAMA | ONE, "object" }, OPTIONS },
    { { "prompt_template", OPENAI, "none" }, REFUSED },
    { { "return_logits", OPENAI, "none" }, REFUSED },
};

static bool take_model(struct embedding_wire *w, const json_t *v, struct fault *f)
{
    const char *s;
    if (!json_in_str(v, "model", &s, f)) return false;
    if (w->name) return true; /* of a body that says it twice */
    w->name = strdup(s);
    w->gen.model = w->form == OPENAI ? strdup(s) : ollama_bare_name(s);
    return (w->name && w->gen.model) || no_memory(f);
}

static bool take(void *reader, const void *at, const json_t *v, struct fault *f)
{
    struct embedding_wire *w = reader;
    const struct row *row = at;
    const char *s;
    int which = 0;
    switch (row->kind) {
    case MODEL: return take_model(w, v, f);
    case INPUT: return take_input(w, v, f);
    case ENCODING:
        if (!json_in_str(v, "encoding_format", &s, f)) return false;
        if (!words_have("float|base64", s, &which))
            return json_in_bad(v, "encoding_format", "\"float\" or \"base64\"", f);
        w->base64 = which == 1;
        return true;
    case DIMENSIONS: return json_in_int(v, "dimensions", 1, INT_MAX, &w->dimensions, f);
    case NORMALIZE: return json_in_bool(v, "normalize", &w->normalize, f);
    case TRUNCATE: return json_in_bool(v, "truncate", &w->cut, f);
    case KEEP: w->keeps = true; return ollama_keep_alive(v, &w->keep_s, f);
    case TAG: return json_in_str(v, row->member.name, &s, f);
    case OPTIONS: return json_is_object(v) || json_in_bad(v, "options", "an object", f);
    case REFUSED:
        f->param = row->member.name;
        return err_set(&f->err, ERR_UNSUPPORTED, "%s is not supported by this server yet", row->member.name);
    }
    return true;
}

const struct json_table embedding_fields = JSON_TABLE(rows, take);

bool embedding_wire_parse(struct embedding_wire *w, json_t *body, enum embedding_form form,
                          enum api_dialect d, bool strict, struct fault *f)
{
    const struct json_place place = { .path = "", .form = form, .strict = strict };
    *w = (struct embedding_wire){ .form = form,
                                  .cut = form != OPENAI,
                                  .normalize = d != DIALECT_FIREWORKS && form != ONE };
    gen_request_init(&w->gen);
    bool ok = json_in_extra_body(body, f) && json_in_object(&embedding_fields, &place, w, body, f);
    if (ok && (f->param = json_in_missing(&embedding_fields, form, body)))
        ok = err_set(&f->err, ERR_REQUEST, "%s is required", f->param);
    if (!ok) embedding_wire_free(w);
    return ok;
}

void embedding_wire_free(struct embedding_wire *w)
{
    gen_request_free(&w->gen);
    free(w->name);
    *w = (struct embedding_wire){ 0 };
}

/* ---- replies ------------------------------------------------------------------------------------------------------- */

void embedding_wire_head(struct buf *b, const struct embedding_wire *w)
{
    if (w->form == OPENAI) {
        buf_puts(b, "{\"object\":\"list\",\"data\":[");
    } else if (w->form == OLLAMA) {
        buf_puts(b, "{\"model\":");
        json_out_cstr(b, w->name);
        buf_puts(b, ",\"embeddings\":[");
    } else {
        buf_puts(b, "{\"embedding\":");
        if (!w->gen.n_prompts) buf_puts(b, "[]");
    }
}

static void put_numbers(struct buf *b, const float *v, int n)
{
    buf_putc(b, '[');
    for (int i = 0; i < n; i++) {
        if (i) buf_putc(b, ',');
        json_out_float(b, v[i]);
    }
    buf_putc(b, ']');
}

/* Little-endian, as the numbers of every machine that this runs on are. */
void embedding_wire_vector(struct buf *b, const struct embedding_wire *w, int i, const float *v, int n)
{
    if (i) buf_putc(b, ',');
    if (w->form != OPENAI) {
        put_numbers(b, v, n);
        return;
    }
    buf_printf(b, "{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i);
    if (w->base64) {
        buf_putc(b, '"');
        json_out_base64(b, v, (size_t)n * sizeof *v);
        buf_putc(b, '"');
    } else {
        put_numbers(b, v, n);
    }
    buf_putc(b, '}');
}

void embedding_wire_end(struct buf *b, const struct embedding_wire *w, const char *model,
                        const struct usage *u, double load_s, double total_s)
{
    if (w->form == OPENAI) {
        buf_puts(b, "],\"model\":");
        json_out_cstr(b, model);
        buf_printf(b, ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", u->prompt_tokens,
                   u->prompt_tokens);
    } else if (w->form == OLLAMA) {
        buf_printf(b, "],\"total_duration\":%lld,\"load_duration\":%lld,\"prompt_eval_count\":%d}",
                   (long long)(total_s * 1e9), (long long)(load_s * 1e9), u->prompt_tokens);
    } else {
        buf_putc(b, '}');
    }
}
