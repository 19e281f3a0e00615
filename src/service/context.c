/* context.c - see context.h. */
#include "service/context.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "format/json_memory.h"
#include "service/thoughts.h"
#include "service/tools/tool_format.h"

/* The prompt alone; the pictures stay. */
static void forget_prompt(struct fitted *p)
{
    token_list_free(&p->ids);
    free(p->text);
    free(p->at);
    *p = (struct fitted){ .pictures = p->pictures };
}

void fitted_free(struct fitted *p)
{
    forget_prompt(p);
    chat_pictures_close(&p->pictures);
}

static const char *role_of(const json_t *messages, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    return role ? role : "";
}

static int set_token(json_t *ctx, const char *name, const struct tokenizer *t, int32_t id)
{
    const char *s = id >= 0 ? tokenizer_token_text(t, id) : NULL;
    return json_object_set_new(ctx, name, json_string(s ? s : ""));
}

/* A message as the template takes it: parts joined by line breaks where it prints strings, as other servers of open models do, and a
 * string as one part where it walks through parts and does not ask. NULL: no memory. */
static json_t *in_form(json_t *message, enum chat_content form)
{
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    bool parts = json_is_array(content);
    if (form == CONTENT_EITHER || parts == (form == CONTENT_PARTS)) return json_incref(message);
    json_t *value = NULL;
    if (parts) {
        struct buf b = BUF_INIT(0);
        json_array_foreach(content, i, part)
        {
            const json_t *text = json_object_get(part, "text");
            if (i) buf_putc(&b, '\n');
            buf_append(&b, json_string_value(text), json_string_length(text));
        }
        value = b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
        buf_free(&b);
    } else {
        value = json_pack("[{s:s, s:O}]", "type", "text", "text", content);
    }
    json_t *out = value ? json_memory_copy(message) : NULL;
    if (out && !json_object_set(out, "content", value)) {
        json_decref(value);
        return out;
    }
    json_decref(value);
    json_decref(out);
    return NULL;
}

/* Tokens after which a text is given up: what is over by less is counted to the end, for the message. */
static size_t far_over(const struct lm *lm) { return 2 * (size_t)lm_info(lm)->n_ctx + 1024; }

/* out->over instead of an error where the text is far too long. */
static bool encode(const struct tokenizer *tok, const char *text, size_t len, const unsigned char *data,
                   unsigned flags, size_t limit, const atomic_bool *cancel, struct fitted *out, struct err *e)
{
    struct err why = { ERR_NONE, "" };
    out->ids.limit = limit;
    out->ids.cancel = cancel;
    if (tokenizer_encode(tok, text, len, data, true, flags, &out->ids, &why)) return true;
    out->over = why.code == ERR_CONTEXT;
    return out->over || err_set(e, why.code, "%s", why.msg);
}

static bool set_switch(json_t *vars, const char *name, json_t *value, const struct gen_request *q,
                       struct fault *f)
{
    const json_t *given = json_object_get(vars, name);
    const bool same = !given || json_equal(given, value);
    if (same && !json_object_set_new(vars, name, value)) return true;
    if (!same) json_decref(value);
    f->param = q->thinking_from;
    return same ? err_set(&f->err, ERR_NOMEM, "out of memory")
                : err_set(&f->err, ERR_REQUEST, "%s and chat_template_kwargs.%s disagree; give one of them",
                          q->thinking_from, name);
}

/* Whether the model thinks, as far as its template tells: it writes or cuts away the marks around a thought. */
static bool thinks(const struct chat_template *t) { return thoughts_marks(t).open != NULL; }

/* Hands the wish to the switch that the template has for it. A model without one that thinks goes on thinking, as long as it may (a budget),
 * or not at all (service/steering.c); of one that does not think only what it does anyway is taken. */
static bool switch_thinking(const struct chat_template *t, const struct gen_request *q, json_t *vars,
                            struct fault *f)
{
    const bool on = q->thinking == THINKING_ON, levels = chat_template_names(t, "reasoning_effort");
    const char *toggle = chat_template_names(t, "enable_thinking") ? "enable_thinking"
                         : chat_template_names(t, "thinking")      ? "thinking"
                                                                   : NULL;
    if (q->thinking == THINKING_AS_IT_IS) return true;
    if (toggle && !set_switch(vars, toggle, json_boolean(on), q, f)) return false;
    if (levels && (on ? q->effort[0] != 0 : !toggle))
        return set_switch(vars, "reasoning_effort", json_string(on ? q->effort : "none"), q, f);
    if (toggle || !on || levels || thinks(t)) return true;
    f->param = q->thinking_from;
    return err_set(&f->err, ERR_UNSUPPORTED,
                   "%s: this model has no switch for thinking; leave it out or send what turns it off",
                   q->thinking_from);
}

/* The request's own variables for this template: new object, or NULL with the fault set. */
static json_t *template_vars(const struct chat_template *t, const struct gen_request *q, struct fault *f)
{
    const char *key;
    json_t *value, *vars = json_object();
    if (!vars) err_set(&f->err, ERR_NOMEM, "out of memory");
    json_object_foreach(q->template_vars, key, value)
    {
        const bool off =
            json_is_false(value) && (!strcmp(key, "enable_thinking") || !strcmp(key, "thinking"));
        if (!vars || f->err.code) break;
        if (chat_template_names(t, key)) {
            if (json_object_set(vars, key, value)) err_set(&f->err, ERR_NOMEM, "out of memory");
        } else if (!q->loose_vars && !(off && !thinks(t))) {
            f->param = "chat_template_kwargs";
            err_set(&f->err, ERR_UNSUPPORTED,
                    "chat_template_kwargs: this model's chat template asks for no variable '%s'", key);
        }
    }
    if (vars && !f->err.code && switch_thinking(t, q, vars, f)) return vars;
    json_decref(vars);
    return NULL;
}

/* A chat on its way into a prompt. */
struct chat {
    const struct lm *lm;
    const struct chat_template *t;
    const struct tool_format *format;
    const struct gen_request *q;
    const atomic_bool *cancel;
};

/* The messages as the template takes them, thoughts of earlier turns shown in this way: new, or NULL with the fault set. */
static json_t *conversation(const struct chat *c, const json_t *messages, enum thought_way way,
                            struct fault *f)
{
    const struct thought_marks marks = thoughts_marks(c->t);
    json_t *shown = thoughts_of_history(messages, c->q->thought_history, &marks, way), *told = NULL,
           *out = json_array(), *m;
    bool ok = shown && out && tools_messages(shown, &c->q->tools, c->format, c->t, &told, &f->err);
    size_t i;
    json_array_foreach(told, i, m)
    {
        if (ok) ok = !json_array_append_new(out, in_form(m, chat_template_content(c->t)));
    }
    json_decref(shown);
    json_decref(told);
    if (ok) return out;
    if (f->err.code == ERR_NONE) err_set(&f->err, ERR_NOMEM, "out of memory");
    json_decref(out);
    return NULL;
}

/* What the template sees: what transformers' apply_chat_template passes is passed here. New, or NULL: no memory. Takes over messages. */
static json_t *template_context(const struct chat *c, json_t *messages)
{
    static const char *const named[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                         "sep_token", "cls_token", "mask_token" };
    const struct tokenizer *tok = lm_tokenizer(c->lm);
    const struct tool_set *tools = &c->q->tools;
    json_t *ctx = json_object();
    int bad = !ctx || json_object_set_new(ctx, "messages", messages);
    bad |= json_object_set_new(
        ctx, "tools", tools->n && tools->choice != TOOL_NEVER ? json_incref(tools->list) : json_null());
    bad |= json_object_set_new(ctx, "documents", json_null());
    bad |= json_object_set_new(ctx, "add_generation_prompt", json_true());
    bad |= set_token(ctx, "bos_token", tok, tokenizer_bos(tok));
    bad |= set_token(ctx, "eos_token", tok, tokenizer_eos(tok));
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (tokenizer_named(tok, named[i]))
            bad |= json_object_set_new(ctx, named[i], json_string(tokenizer_named(tok, named[i])));
    if (!bad) return ctx;
    json_decref(ctx);
    return NULL;
}

static bool render_once(const struct chat *c, const json_t *messages, enum thought_way way,
                        struct rendered *r, struct fault *f)
{
    json_t *vars = template_vars(c->t, c->q, f);
    json_t *told = vars ? conversation(c, messages, way, f) : NULL;
    json_t *ctx = told ? template_context(c, told) : NULL;
    const struct render_options options = { .now_unix = clock_unix_ms() / 1000,
                                            .vars = vars,
                                            .cancel = c->cancel };
    bool ok = ctx || !told || err_set(&f->err, ERR_NOMEM, "out of memory");
    ok = ctx && chat_template_render(c->t, ctx, &options, r, &f->err);
    if (ctx && !ok && f->err.code != ERR_CANCELLED) err_wrap(&f->err, "the model's chat template");
    json_decref(ctx);
    json_decref(vars);
    return ok;
}

/* The prompt's text. Where the request says which thoughts of earlier turns are kept, each way of showing them is tried until they are there. */
static bool render_text(const struct chat *c, const json_t *messages, struct rendered *r, struct fault *f)
{
    const struct thought_marks marks = thoughts_marks(c->t);
    for (enum thought_way way = 0; way < THOUGHT_WAYS; way++) {
        if (!render_once(c, messages, way, r, f)) return false;
        if (thoughts_held(messages, c->q->thought_history, &marks, r->text)) return true;
        free(r->text);
        free(r->data);
    }
    f->param = "reasoning_history";
    return err_set(
        &f->err, ERR_UNSUPPORTED,
        "reasoning_history: this model's chat template leaves out what was thought in earlier turns");
}

/* Renders and tokenises the messages without those in [from, to). The template writes the beginning token itself, so none is added. */
static bool render(const struct chat *c, size_t from, size_t to, struct fitted *out, struct fault *f)
{
    json_t *messages = json_array(), *m;
    struct rendered r;
    size_t i;
    bool ok = messages != NULL;
    f->param = "messages";
    json_array_foreach(c->q->messages, i, m)
    {
        if (ok && (i < from || i >= to)) ok = !json_array_append(messages, m);
    }
    ok = ok ? render_text(c, messages, &r, f) : err_set(&f->err, ERR_NOMEM, "out of memory");
    if (ok) {
        forget_prompt(out);
        ok = encode(lm_tokenizer(c->lm), r.text, r.len, c->q->unsafe_tokens ? NULL : r.data, 0,
                    far_over(c->lm), c->cancel, out, &f->err);
        out->text = r.text;
        free(r.data);
        out->dropped = (int)(to - from);
        if (ok && !out->over && out->pictures.n)
            ok = chat_pictures_place(&out->pictures, messages, lm_picture_mark(c->lm), &out->ids, &out->at,
                                     &out->n_at, f);
    }
    json_decref(messages);
    return ok;
}

/* Leaves out the fewest oldest turns so that at most `limit` tokens remain. A turn is a user message with what answers it, so roles
 * keep alternating. System messages in front and the last turn always stay. */
static bool drop_turns(const struct chat *c, size_t limit, struct fitted *p, struct fault *f)
{
    const struct gen_request *q = c->q;
    size_t n = json_array_size(q->messages), head = 0, n_cuts = 0;
    size_t *cut = malloc((n + 1) * sizeof *cut);
    if (!cut) return err_set(&f->err, ERR_NOMEM, "out of memory");
    while (head < n && (!strcmp(role_of(q->messages, head), "system") ||
                        !strcmp(role_of(q->messages, head), "developer")))
        head++;
    for (size_t i = head + 1; i < n;
         i++) /* dropping [head, cut) leaves a conversation that starts with a user's message */
        if (!strcmp(role_of(q->messages, i), "user")) cut[n_cuts++] = i;
    bool ok = true;
    size_t low = 0, high = n_cuts; /* cuts below low are too few; high fits, or is n_cuts */
    while (ok && low < high) {
        size_t mid = low + (high - low) / 2;
        ok = render(c, head, cut[mid], p, f);
        if (!p->over && p->ids.n <= limit)
            high = mid;
        else
            low = mid + 1;
    }
    if (ok && n_cuts) ok = render(c, head, cut[high < n_cuts ? high : n_cuts - 1], p, f);
    free(cut);
    return ok;
}

static bool too_long(const struct gen_request *q, const struct fitted *p, int n_ctx, struct fault *f)
{
    f->param = q->messages ? "messages" : "prompt";
    return err_set(&f->err, ERR_CONTEXT,
                   "The prompt is too long: %s%zu, model maximum context length: %d. This model's maximum "
                   "context length is %d tokens; shorten the %s.",
                   p->over ? "more than " : "", p->over ? p->ids.limit : p->ids.n, n_ctx, n_ctx, f->param);
}

static bool fit_output(const struct gen_request *q, int n_ctx, struct fitted *p, struct fault *f)
{
    size_t n = p->ids.n;
    bool score_only = !q->max_tokens && q->echo;
    if (p->over || n + !score_only > (size_t)n_ctx) return too_long(q, p, n_ctx, f);
    int64_t room = n_ctx - (int64_t)n;
    if (q->max_tokens >= 0 && q->max_tokens > room && q->overflow == OVERFLOW_ERROR &&
        !q->max_tokens_is_default) {
        f->param = q->messages ? "messages" : "prompt";
        return err_set(&f->err, ERR_CONTEXT,
                       "This model's maximum context length is %d tokens. However, you requested %lld tokens "
                       "(%zu in the %s, %lld in the completion). Please reduce the length of the %s or "
                       "the completion.",
                       n_ctx, (long long)n + (long long)q->max_tokens, n, f->param, (long long)q->max_tokens,
                       f->param);
    }
    p->max_tokens = (int)(q->max_tokens < 0 || q->max_tokens > room ? room : q->max_tokens);
    return true;
}

static bool fit_chat(const struct lm *lm, const struct gen_request *q, const atomic_bool *cancel, int n_ctx,
                     struct fitted *p, struct fault *f)
{
    const struct chat_template *t = lm_chat_template(lm);
    const struct chat c = { lm, t, q->tool_format ? q->tool_format : tool_format_of(t), q, cancel };
    const char *why = lm_chat_template_error(lm);
    f->param = "messages";
    if (!c.t)
        return err_set(&f->err, ERR_REQUEST, "this model cannot chat: %s; it only continues plain prompts",
                       why ? why : "its files hold no chat template");
    if (!chat_pictures_open(&p->pictures, lm, q, cancel, f)) return false;
    if (p->pictures.n && chat_template_content(t) == CONTENT_STRING)
        return err_set(&f->err, ERR_REQUEST, "this model's chat template has no place for pictures");
    if (!render(&c, 0, 0, p, f)) return false;
    size_t limit = SIZE_MAX;
    if (q->prompt_truncate_len > 0) limit = (size_t)q->prompt_truncate_len;
    if (q->overflow == OVERFLOW_TRUNCATE) {
        /* Leave room for the answer, but never more than a quarter of the context: the conversation matters too. */
        int64_t room = q->max_tokens > 0 && q->max_tokens < n_ctx / 4 ? q->max_tokens : n_ctx / 4;
        if ((size_t)(n_ctx - room) < limit) limit = (size_t)(n_ctx - room);
    }
    if ((p->over || p->ids.n > limit) && limit != SIZE_MAX && !drop_turns(&c, limit, p, f)) return false;
    return fit_output(q, n_ctx, p, f);
}

static bool fit_completion(const struct lm *lm, const struct gen_request *q, const struct prompt *src,
                           const atomic_bool *cancel, int n_ctx, struct fitted *p, struct fault *f)
{
    const struct tokenizer *t = lm_tokenizer(lm);
    f->param = "prompt";
    if (src->ids) {
        int32_t n_vocab = tokenizer_n_vocab(t);
        size_t bytes;
        for (size_t i = 0; i < src->n_ids; i++)
            if (src->ids[i] < 0 || src->ids[i] >= n_vocab)
                return err_set(&f->err, ERR_REQUEST,
                               "prompt: token %d at position %zu is outside the model's vocabulary of %d",
                               src->ids[i], i, n_vocab);
        if (!mem_mul(src->n_ids ? src->n_ids : 1, sizeof *src->ids, &bytes) || !(p->ids.id = malloc(bytes)))
            return err_set(&f->err, ERR_NOMEM, "out of memory");
        if (src->n_ids) memcpy(p->ids.id, src->ids, src->n_ids * sizeof *src->ids);
        p->ids.n = p->ids.cap = src->n_ids;
    } else {
        /* What is cut to its end has to be seen whole. */
        const size_t limit = q->prompt_truncate_len > 0 ? 0 : far_over(lm);
        if (!encode(t, src->text, src->len, NULL, TOK_BOS, limit, cancel, p, &f->err)) return false;
        if (p->over) return too_long(q, p, n_ctx, f);
        p->text = strndup(src->text, src->len);
        if (!p->text) return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    if (!p->ids.n)
        return err_set(&f->err, ERR_REQUEST,
                       "prompt must not be empty for this model, which has no token to begin with");
    if (q->prompt_truncate_len > 0 && p->ids.n > (size_t)q->prompt_truncate_len) {
        size_t drop = p->ids.n - (size_t)q->prompt_truncate_len;
        memmove(p->ids.id, p->ids.id + drop, (p->ids.n - drop) * sizeof *p->ids.id);
        p->ids.n -= drop;
    }
    return fit_output(q, n_ctx, p, f);
}

bool context_fit(const struct lm *lm, const struct gen_request *q, int i, const atomic_bool *cancel,
                 struct fitted *out, struct fault *f)
{
    struct fitted p = { 0 };
    int n_ctx = lm_info(lm)->n_ctx;
    f->param = NULL;
    bool ok = q->messages ? fit_chat(lm, q, cancel, n_ctx, &p, f)
                          : fit_completion(lm, q, &q->prompts[i], cancel, n_ctx, &p, f);
    p.ids.cancel = NULL;
    if (ok) {
        f->param = NULL;
        *out = p;
    } else {
        fitted_free(&p);
    }
    return ok;
}
