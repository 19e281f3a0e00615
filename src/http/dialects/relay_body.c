/* relay_body.c - a text request in the form of OpenAI's: see relay_text.h. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/parse.h"
#include "http/dialects/relay_text.h"
#include "http/json_out.h"

/* Takes over v. */
static bool put(json_t *o, const char *key, json_t *v)
{
    if (!v) return false;
    return !json_object_set_new(o, key, v);
}

static bool refuse(struct fault *f, const char *name)
{
    f->param = name;
    return err_set(&f->err, ERR_UNSUPPORTED,
                   "%s: another server serves this model, and cannot be asked for that; leave it out", name);
}

/* ---- what cannot be said ------------------------------------------------------------------------------------------- */

static bool check(const struct wire_request *w, struct fault *f)
{
    const struct gen_request *q = &w->gen;
    if (q->sampling.n_top_logprobs >= 0) return refuse(f, "logprobs");
    if (w->raw_output) return refuse(f, "raw_output");
    if (q->n_stop_ids) return refuse(f, "stop_token_ids");
    if (q->echo) return refuse(f, "echo");
    if (q->return_token_ids) return refuse(f, "return_token_ids");
    if (q->best_of > q->n) return refuse(f, "best_of");
    if (q->prompt_truncate_len) return refuse(f, "prompt_truncate_len");
    if (q->thought_history != HISTORY_AS_TEMPLATE) return refuse(f, "reasoning_history");
    if (q->messages) return true;
    return (q->n_prompts == 1 && q->prompts[0].text) || refuse(f, "prompt");
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static const char *mime_of(const unsigned char *bytes, size_t n)
{
    if (n > 3 && bytes[0] == 0xff && bytes[1] == 0xd8) return "image/jpeg";
    if (n > 12 && !memcmp(bytes, "RIFF", 4) && !memcmp(bytes + 8, "WEBP", 4)) return "image/webp";
    return "image/png";
}

static json_t *picture_url(const struct gen_picture *p)
{
    struct buf b = BUF_INIT(0);
    if (p->url) {
        buf_puts(&b, p->url);
    } else {
        buf_printf(&b, "data:%s;base64,", mime_of(p->bytes, p->n));
        json_out_base64(&b, p->bytes, p->n);
    }
    json_t *url = b.failed || !b.data ? NULL : json_string(b.data);
    buf_free(&b);
    return url;
}

/* {"type": "image", "picture": 3} as OpenAI writes one. New. */
static json_t *picture_part(const struct gen_request *q, const json_t *part)
{
    const json_int_t at = json_integer_value(json_object_get(part, "picture"));
    if (at < 0 || at >= q->n_pictures) return NULL;
    const struct gen_picture *p = &q->picture[at];
    json_t *url = picture_url(p), *image = url ? json_pack("{s:o}", "url", url) : NULL;
    if (image && p->whole) json_object_set_new(image, "detail", json_string("low"));
    return image ? json_pack("{s:s, s:o}", "type", "image_url", "image_url", image) : NULL;
}

/* One text alone is a string, which every server takes. */
static json_t *parts_of(const struct gen_request *q, const json_t *parts)
{
    const json_t *part = json_array_get(parts, 0), *text = json_object_get(part, "text");
    size_t i;
    if (json_array_size(parts) == 1 && json_is_string(text)) return json_incref((json_t *)text);
    json_t *out = json_array();
    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        json_t *one = type && !strcmp(type, "image") ? picture_part(q, part) : json_incref((json_t *)part);
        if (!one || json_array_append_new(out, one)) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *messages_of(const struct gen_request *q)
{
    json_t *out = json_array();
    const json_t *m;
    size_t i;
    json_array_foreach(q->messages, i, m)
    {
        const json_t *content = json_object_get(m, "content");
        json_t *one = json_copy((json_t *)m);
        const bool ok = one && (!json_is_array(content) || put(one, "content", parts_of(q, content)));
        if (!ok || json_array_append(out, one)) {
            json_decref(one);
            json_decref(out);
            return NULL;
        }
        json_decref(one);
    }
    return out;
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

/* Those that may be called: the list of allowed ones is said by leaving the others out. */
static json_t *tools_of(const struct tool_set *t)
{
    json_t *out = json_array();
    for (int i = 0; i < t->n; i++) {
        if (!t->tool[i].allowed) continue;
        json_t *one = json_deep_copy(json_array_get(t->list, (size_t)i));
        if (one && t->tool[i].strict)
            json_object_set_new(json_object_get(one, "function"), "strict", json_true());
        if (!one || json_array_append_new(out, one)) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static bool put_tools(json_t *body, const struct tool_set *t)
{
    if (!t->n) return true;
    if (!put(body, "tools", tools_of(t))) return false;
    if (t->one && !put(body, "parallel_tool_calls", json_false())) return false;
    switch (t->choice) {
    case TOOL_AUTO: return true;
    case TOOL_NEVER: return put(body, "tool_choice", json_string("none"));
    case TOOL_REQUIRED: return put(body, "tool_choice", json_string("required"));
    case TOOL_NAMED:
        return put(
            body, "tool_choice",
            json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", t->tool[t->named].name));
    }
    return true;
}

/* ---- the form of the answer, and thoughts -------------------------------------------------------------------------- */

static bool put_form(json_t *body, const struct answer_form *a)
{
    switch (a->kind) {
    case FORM_ANY: return true;
    case FORM_JSON: return put(body, "response_format", json_pack("{s:s}", "type", "json_object"));
    case FORM_SCHEMA:
        return put(body, "response_format",
                   json_pack("{s:s, s:{s:s, s:O, s:b}}", "type", "json_schema", "json_schema", "name",
                             "answer", "schema", a->schema, "strict", a->strict));
    case FORM_GRAMMAR:
        return put(body, "response_format",
                   json_pack("{s:s, s:s%}", "type", "grammar", "grammar", a->text, a->len));
    case FORM_REGEX:
        return put(body, "response_format",
                   json_pack("{s:s, s:s%}", "type", "regex", "pattern", a->text, a->len));
    }
    return true;
}

static bool put_thinking(json_t *body, const struct gen_request *q)
{
    if (q->thinking == THINKING_OFF) return put(body, "reasoning_effort", json_string("none"));
    if (q->thinking != THINKING_ON) return true;
    if (*q->effort) return put(body, "reasoning_effort", json_string(q->effort));
    if (q->think_budget >= 0)
        return put(body, "thinking",
                   json_pack("{s:s, s:I}", "type", "enabled", "budget_tokens", (json_int_t)q->think_budget));
    return put(body, "thinking", json_pack("{s:s}", "type", "enabled"));
}

/* ---- numbers ------------------------------------------------------------------------------------------------------- */

/* The shortest number that is the same float. */
static json_t *number(float v)
{
    struct buf b = BUF_INIT(64);
    json_out_float(&b, v);
    json_t *n = b.data ? json_real(strtod(b.data, NULL)) : NULL;
    buf_free(&b);
    return n;
}

static bool put_unless(json_t *body, const char *name, float v, float usual)
{
    return v == usual || put(body, name, number(v));
}

static bool put_bias(json_t *body, const struct gen_request *q)
{
    json_t *all = json_object();
    if (!q->sampling.n_bias) {
        json_decref(all);
        return true;
    }
    for (int i = 0; all && i < q->sampling.n_bias; i++) {
        struct buf id = BUF_INIT(20);
        buf_printf(&id, "%d", q->bias[i].id);
        put(all, id.data ? id.data : "", number(q->bias[i].bias));
        buf_free(&id);
    }
    return put(body, "logit_bias", all);
}

static bool put_sampling(json_t *body, const struct gen_request *q)
{
    const struct sampler_params *s = &q->sampling;
    json_t *stops = json_array();
    bool ok = put(body, "temperature", number(s->temperature)) && put(body, "top_p", number(s->top_p)) &&
              (s->top_k <= 0 || put(body, "top_k", json_integer(s->top_k))) &&
              put_unless(body, "min_p", s->min_p, 0) && put_unless(body, "typical_p", s->typical_p, 1) &&
              put_unless(body, "repetition_penalty", s->repetition_penalty, 1) &&
              put_unless(body, "presence_penalty", s->presence_penalty, 0) &&
              put_unless(body, "frequency_penalty", s->frequency_penalty, 0) && put_bias(body, q);
    if (ok && s->mirostat_target > 0)
        ok = put(body, "mirostat_target", number(s->mirostat_target)) &&
             put(body, "mirostat_lr", number(s->mirostat_lr));
    if (ok && q->has_seed) ok = put(body, "seed", json_integer((json_int_t)s->seed));
    for (int i = 0; ok && i < q->n_stop; i++) ok = !json_array_append_new(stops, json_string(q->stop[i]));
    ok = ok && (!q->n_stop || !json_object_set(body, "stop", stops));
    json_decref(stops);
    return ok && (q->max_tokens < 0 || put(body, "max_tokens", json_integer((json_int_t)q->max_tokens))) &&
           (q->n <= 1 || put(body, "n", json_integer(q->n))) &&
           (!q->ignore_end || put(body, "ignore_eos", json_true()));
}

json_t *relay_text_body(const struct wire_request *w, struct fault *f)
{
    const struct gen_request *q = &w->gen;
    if (!check(w, f)) return NULL;
    json_t *body = json_object();
    bool ok =
        body && put(body, "model", json_string(q->model)) && put(body, "stream", json_boolean(w->stream));
    if (ok && q->messages)
        ok = put(body, "messages", messages_of(q)) && put_tools(body, &q->tools) &&
             (!q->template_vars || put(body, "chat_template_kwargs", json_incref(q->template_vars)));
    else if (ok)
        ok = put(body, "prompt", json_stringn(q->prompts[0].text, q->prompts[0].len));
    ok = ok && put_form(body, &q->answer) && put_thinking(body, q) && put_sampling(body, q);
    if (ok) return body;
    json_decref(body);
    parse_no_memory(f);
    return NULL;
}
