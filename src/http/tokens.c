/* tokens.c - /tokenize and /detokenize: a model's tokenizer over HTTP.
 *
 * Not part of the APIs that hearth speaks; names follow the two servers people know: `prompt` and `tokens` as in vLLM, `content` as in
 * llama.cpp. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/wire.h"
#include "http/dialects/fields.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "service/tokenize.h"

enum form { TOKENIZE = FIELDS_TOKENIZE, DETOKENIZE = FIELDS_DETOKENIZE };

struct token_request {
    json_t *body;
    const json_t *model, *prompt, *content, *messages, *tokens; /* of the body; NULL: not given */
    bool bos, specials; /* add the beginning token; read control tokens as such */
    struct model *m;
    struct tokenizing model_in_use;
    void (*answer)(struct exchange *x, const struct token_request *r);
};

#define F(field) offsetof(struct token_request, field)
static const struct token_field {
    struct json_member member; /* forms: enum form */
    size_t offset;
    bool is_flag; /* a bool; otherwise the value as it stands */
} fields[] = {
    { { "model", TOKENIZE | DETOKENIZE, "!text" }, F(model), false },
    { { "prompt", TOKENIZE, "any" }, F(prompt), false },
    { { "content", TOKENIZE, "any" }, F(content), false },
    { { "messages", TOKENIZE, "any" }, F(messages), false },
    { { "add_special_tokens", TOKENIZE, "bool" }, F(bos), true },
    { { "add_special", TOKENIZE, "bool" }, F(bos), true },
    { { "parse_special", TOKENIZE, "bool" }, F(specials), true },
    { { "tokens", DETOKENIZE, "any" }, F(tokens), false },
};
#undef F

static bool take_field(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct token_field *d = row;
    char *at = (char *)reader + d->offset;
    if (d->is_flag) return json_in_bool(v, d->member.name, (bool *)at, f);
    *(const json_t **)at = v;
    return true;
}

static void close_request(struct token_request *r)
{
    json_decref(r->body);
    free(r);
}

static void run(struct exchange *x, void *arg, const struct err *loaded)
{
    struct token_request *r = arg;
    struct registry *models = exchange_server(x)->registry;
    struct fault f = { .err = *loaded };
    if (f.err.code == ERR_NONE && tokenize_begin(&r->model_in_use, models, r->m, &f.err)) {
        r->answer(x, r);
        tokenize_end(&r->model_in_use);
    } else {
        exchange_at_work(x);
        exchange_fault_from(x, &f);
    }
    loading_end(x);
    close_request(r);
}

const struct json_table token_fields = JSON_TABLE(fields, take_field);

/* Parses, checks the names, and goes on as answer() when the model is loaded. */
static void open_request(struct exchange *x, enum form form,
                         void (*answer)(struct exchange *x, const struct token_request *r))
{
    const struct json_place place = { .path = "",
                                      .form = form,
                                      .strict = exchange_server(x)->o.strict_fields };
    struct fault f = { 0 };
    struct token_request *r = calloc(1, sizeof *r);
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!r) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    r->answer = answer;
    r->bos = r->specials = true;
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &r->body, &f)) goto fail;
    if (!json_in_object(&token_fields, &place, r, r->body, &f)) goto fail;
    f.param = "model";
    if (!json_is_string(r->model)) {
        err_set(&f.err, ERR_REQUEST, "model is required and must be a string");
        goto fail;
    }
    if (!registry_find(exchange_server(x)->registry, json_string_value(r->model), &r->m, &f.err)) goto fail;
    loading_then(x, r->m, run, r);
    return;
fail:
    close_request(r);
    exchange_fault_from(x, &f);
}

static bool tokenize(struct exchange *x, const struct token_request *r, struct token_list *out,
                     struct fault *f)
{
    const json_t *text = r->prompt ? r->prompt : r->content;
    if (r->messages) {
        struct gen_request q;
        gen_request_init(&q);
        q.image_hosts = exchange_server(x)->o.image_hosts;
        bool ok = wire_messages(r->messages, exchange_server(x)->o.strict_fields, false, &q, f) &&
                  tokenize_messages(&r->model_in_use, &q, exchange_stop_flag(x, false), out, f);
        gen_request_free(&q);
        return ok;
    }
    f->param = "prompt";
    if (!json_is_string(text))
        return err_set(&f->err, ERR_REQUEST,
                       "prompt is required and must be a string (or messages, an array)");
    return tokenizer_encode(r->model_in_use.tokenizer, json_string_value(text), json_string_length(text),
                            NULL, r->specials, r->bos ? TOK_BOS : 0, out, &f->err);
}

static void answer_tokens(struct exchange *x, const struct token_request *r)
{
    struct fault f = { 0 };
    struct token_list ids = { .cancel = exchange_stop_flag(x, false) };
    if (tokenize(x, r, &ids, &f)) {
        struct buf b = BUF_INIT(0);
        buf_printf(&b, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", ids.n, r->model_in_use.n_ctx);
        for (size_t i = 0; i < ids.n; i++) buf_printf(&b, "%s%d", i ? "," : "", ids.id[i]);
        buf_puts(&b, "]}");
        exchange_reply(x, 200, "application/json", &b);
    } else {
        exchange_fault_from(x, &f);
    }
    token_list_free(&ids);
}

static void answer_text(struct exchange *x, const struct token_request *r)
{
    struct fault f = { 0 };
    struct buf text = BUF_INIT(0), b = BUF_INIT(0);
    const struct tokenizer *t = r->model_in_use.tokenizer;
    bool ok = json_is_array(r->tokens) ||
              json_in_bad(r->tokens ? r->tokens : json_null(), "tokens", "an array of token ids", &f);
    for (size_t i = 0; ok && i < json_array_size(r->tokens); i++) {
        int64_t id;
        size_t len;
        ok = json_in_int(json_array_get(r->tokens, i), "tokens", 0, tokenizer_n_vocab(t) - 1, &id, &f);
        const char *s = ok ? tokenizer_bytes(t, (int32_t)id, &len) : NULL;
        if (s) buf_append(&text, s, len);
    }
    if (ok) {
        buf_puts(&b, "{\"prompt\":");
        json_out_str(&b, text.data ? text.data : "", text.len);
        buf_puts(&b, ",\"content\":");
        json_out_str(&b, text.data ? text.data : "", text.len);
        buf_putc(&b, '}');
        exchange_reply(x, 200, "application/json", &b);
    } else {
        exchange_fault_from(x, &f);
    }
    buf_free(&text);
}

void tokenize_post(struct exchange *x) { open_request(x, TOKENIZE, answer_tokens); }
void detokenize_post(struct exchange *x) { open_request(x, DETOKENIZE, answer_text); }
