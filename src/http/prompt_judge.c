/* prompt_judge.c - see prompt_judge.h. */
#include "http/prompt_judge.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "format/json_memory.h"
#include "http/dialects/judge.h"
#include "http/exchange.h"
#include "http/inner.h"
#include "http/json_in.h"
#include "http/multipart.h"
#include "http/prompt_policy.h"
#include "http/routes.h"

enum { NUMBER = 900 /* of the question's id, apart from those of what else a request asks */ };

struct judging {
    struct exchange *x;
    void (*then)(struct exchange *x);
    const struct word_judge *judge;
    const struct word_policy *policy;
    struct inner *asked;
};

/* ---- what is said ---------------------------------------------------------------------------------------------------- */

static void collect(const json_t *v, struct buf *out)
{
    static const char *const within[] = { "content",   "text",   "messages", "prompt",
                                          "arguments", "output", "function", "tool_calls" };
    const json_t *item;
    size_t i;
    if (json_is_string(v) && strncmp(json_string_value(v), "data:", 5) != 0) {
        if (out->len) buf_putc(out, '\n');
        buf_append(out, json_string_value(v), json_string_length(v));
    }
    json_array_foreach(v, i, item) { collect(item, out); }
    for (i = 0; json_is_object(v) && i < sizeof within / sizeof *within; i++)
        collect(json_object_get(v, within[i]), out);
}

static void collect_json(struct exchange *x, const char *bytes, size_t len, struct buf *out)
{
    static const char *const said[] = { "system", "instructions", "messages", "message",
                                        "input",  "prompt",       "suffix" };
    struct fault f = { 0 };
    json_t *body;
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f))
        return; /* its handler says what is wrong */
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) collect(json_object_get(body, said[i]), out);
    json_decref(body);
}

static void collect_form(const char *type, const char *bytes, size_t len, struct buf *out)
{
    struct err e;
    struct multipart *m = malloc(sizeof *m);
    if (!m) {
        out->failed = true;
        return;
    }
    const int n = multipart_parse(m, type, bytes, len, &e) ? m->n : 0;
    for (int i = 0; i < n; i++)
        if (m->part[i].name_len == 6 && !memcmp(m->part[i].name, "prompt", 6))
            buf_append(out, m->part[i].data, m->part[i].len);
    free(m);
}

/* ---- the judgement --------------------------------------------------------------------------------------------------- */

static bool is_good(struct exchange *x, const struct judging *w, bool answered, const struct judged *j,
                    struct fault *f)
{
    if (!answered) {
        log_warn("%s: %s; %s", exchange_id(x), f->err.msg,
                 w->judge->refuse ? "the request is refused" : "it goes on without");
        if (w->judge->refuse) exchange_refused(x, FAULT_UNAVAILABLE);
        return !w->judge->refuse;
    }
    if (j->category == CATEGORY_NONE || j->score < w->judge->threshold) return true;
    exchange_refused(x, FAULT_POLICY);
    return err_set(&f->err, ERR_REQUEST, "judged to be %s (%.1f), which the safety policy \"%s\" refuses",
                   safety_categories[j->category], j->score, w->policy->name);
}

static void judged(struct exchange *x, void *arg, const struct err *none)
{
    struct judging *w = arg;
    void (*const then)(struct exchange * x) = w->then;
    struct buf said = BUF_INIT(1 << 20);
    struct fault f = { 0 };
    struct judged j;
    (void)none;
    inner_take(w->asked, &said);
    const bool answered =
        judge_answer(w->judge, inner_status(w->asked), said.data ? said.data : "", said.len, &j, &f.err);
    const bool good = is_good(x, w, answered, &j, &f);
    buf_free(&said);
    inner_free(w->asked);
    free(w);
    if (good)
        then(x);
    else
        exchange_fault_from(x, &f);
}

static void on_judged(void *arg, bool over)
{
    struct judging *w = arg;
    if (over) loading_on(w->x, judged, w);
}

static bool ask(struct exchange *x, struct judging *w, const struct buf *text, struct err *e)
{
    struct buf body = BUF_INIT(0);
    json_t *question = judge_question(w->judge, text->data, text->len);
    char *printed = question ? json_memory_dumps(question, JSON_COMPACT) : NULL;
    const bool ok =
        ((printed && buf_puts(&body, printed)) || err_set(e, ERR_REQUEST, "the prompt is no UTF-8")) &&
        inner_ask_judge(&w->asked, x, NUMBER, &body, on_judged, w, e);
    free(printed);
    json_decref(question);
    buf_free(&body);
    return ok;
}

static bool is_judged(const struct route *r)
{
    return r->method == METHOD_POST &&
           (r->endpoint ? strcmp(r->endpoint, "embeddings") != 0 && strcmp(r->endpoint, "rerank") != 0
                        : !strcmp(r->path, "/api/generate") || !strcmp(r->path, "/api/chat"));
}

bool prompt_judge_takes(struct exchange *x, const struct route *endpoint, void (*then)(struct exchange *x))
{
    const struct word_rules *words = is_judged(endpoint) ? exchange_words(x) : NULL;
    const struct word_judge *judge = words ? word_rules_judge(words) : NULL;
    const struct word_policy *policy;
    struct fault f = { 0 };
    if (!judge || !judge->prompts || !prompt_policy_of(x, &policy, &f) ||
        (!policy->refuse && !policy->review))
        return false;
    const char *type = exchange_header_in(x, "Content-Type");
    struct buf text = BUF_INIT(0);
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (type && !strncasecmp(type, "multipart/form-data", 19))
        collect_form(type, bytes, len, &text);
    else
        collect_json(x, bytes, len, &text);
    struct judging *w = calloc(1, sizeof *w);
    bool ok = (w && !text.failed) || err_set(&f.err, ERR_NOMEM, "out of memory");
    const bool nothing = ok && !text.len;
    if (ok) *w = (struct judging){ .x = x, .then = then, .judge = judge, .policy = policy };
    ok = ok && (nothing || ask(x, w, &text, &f.err));
    buf_free(&text);
    if (!ok || nothing) free(w);
    if (!ok) exchange_fault_from(x, &f);
    return !nothing;
}
