/* prompt_policy.c - see prompt_policy.h. */
#include "http/prompt_policy.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/exchange.h"
#include "service/account/account.h"
#include "service/account/keyring.h"
#include "service/account/reviews.h"
#include "service/request.h"
#include "service/safety/policy.h"

static const struct word_policy no_policy = { .name = "off" };

/* The policy that a key's tag safety=NAME names. */
static bool tagged(const char *tags, char *name, size_t cap)
{
    static const char tag[] = "safety=";
    for (const char *at = tags; *at;) {
        const size_t len = strcspn(at, ",");
        if (len >= sizeof tag - 1 && !strncmp(at, tag, sizeof tag - 1)) {
            snprintf(name, cap, "%.*s", (int)(len - (sizeof tag - 1)), at + sizeof tag - 1);
            return true;
        }
        at += len + (at[len] == ',');
    }
    return false;
}

bool prompt_policy_of(struct exchange *x, const struct word_policy **out, struct fault *f)
{
    const struct server *s = exchange_server(x);
    *out = &no_policy;
    const struct word_rules *words = exchange_words(x);
    if (!words) return true;
    const struct key_record *key = exchange_who(x)->key;
    char name[80];
    if (key && tagged(key->tags, name, sizeof name)) {
        *out = word_rules_find(words, name, &f->err);
        if (!*out)
            f->err.code = ERR_FORMAT; /* whoever runs the server is to mend it; until then nothing passes */
        return *out != NULL || err_wrap(&f->err, "the key's tag safety");
    }
    if (key && *key->project && (*out = word_rules_project(words, key->project))) return true;
    *out = word_rules_find(words, s->o.policy ? s->o.policy : "", &f->err);
    return *out != NULL;
}

static bool looks(const struct word_policy *p) { return p->refuse || p->review; }

struct reading {
    const struct word_rules *rules;
    const struct word_policy *policy;
    struct word_found found;
    struct buf texts; /* where a person may have to see them: all that was read */
};

static bool read_bytes(struct reading *r, const char *text, size_t len, struct fault *f)
{
    if (r->policy->hold) {
        if (r->texts.len) buf_puts(&r->texts, "\n\n");
        if (!buf_append(&r->texts, text, len)) return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    return word_check(r->rules, r->policy, text, len, &r->found, &f->err);
}

/* Parts of a message stand one behind the other, as a template prints them: a phrase that is cut in two is one all the same. */
static bool read_message(struct reading *r, const json_t *message, struct fault *f)
{
    const json_t *content = json_object_get(message, "content");
    const json_t *part, *call;
    size_t i;
    struct buf all = BUF_INIT(0);
    if (json_is_string(content)) buf_append(&all, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        if (json_is_string(text)) buf_append(&all, json_string_value(text), json_string_length(text));
    }
    json_array_foreach(json_object_get(message, "tool_calls"), i, call)
    {
        const json_t *text = json_object_get(json_object_get(call, "function"), "arguments");
        buf_putc(&all, '\n');
        if (json_is_string(text)) buf_append(&all, json_string_value(text), json_string_length(text));
    }
    const json_t *thought = json_object_get(message, "reasoning_content");
    if (json_is_string(thought)) {
        buf_putc(&all, '\n');
        buf_append(&all, json_string_value(thought), json_string_length(thought));
    }
    bool ok = !all.failed || err_set(&f->err, ERR_NOMEM, "out of memory");
    ok = ok && (!all.len || read_bytes(r, all.data, all.len, f));
    buf_free(&all);
    return ok;
}

/* A person decides: false until then, and where it was refused. */
static bool ask_person(struct exchange *x, const struct reading *r, const char *words, const char *param,
                       struct fault *f)
{
    const struct principal *who = exchange_who(x);
    char id[REVIEW_ID], reason[REVIEW_REASON];
    enum review_state state;
    const struct review_wish w = { .who = who->id,
                                   .project = who->key ? who->key->project : "",
                                   .address = exchange_address(x),
                                   .endpoint = exchange_path(x),
                                   .policy = r->policy->name,
                                   .words = words,
                                   .text = r->texts.data ? r->texts.data : "",
                                   .len = r->texts.len };
    if (!review_ask(account_store(exchange_server(x)->o.account), &w, clock_unix_ms(), id, &state, reason,
                    &f->err)) {
        if (f->err.code == ERR_BUSY) exchange_refused(x, FAULT_UNAVAILABLE);
        return false;
    }
    exchange_header(x, "X-Review-Id", "%s", id);
    exchange_header(x, "X-Safety-Action", "%s",
                    state == REVIEW_APPROVED ? "review"
                    : state == REVIEW_HELD   ? "hold"
                                             : "reject");
    log_info("%s: %s, %s (policy %s): %s", exchange_id(x), review_states[state], id, r->policy->name, words);
    if (state == REVIEW_APPROVED) return true;
    f->param = param;
    exchange_refused(x, state == REVIEW_HELD ? FAULT_HELD : FAULT_POLICY);
    return state == REVIEW_HELD ? err_set(&f->err, ERR_REQUEST,
                                          "this request is held until a person has seen it (policy \"%s\"): "
                                          "GET /v1/reviews/%s says what "
                                          "was decided; once it is approved, send the same again",
                                          r->policy->name, id)
                                : err_set(&f->err, ERR_REQUEST, "refused by a person (policy \"%s\", %s): %s",
                                          r->policy->name, id, reason);
}

static bool decide(struct exchange *x, struct reading *r, const char *param, bool ok, struct fault *f)
{
    if (ok && r->found.verdict == WORD_REFUSE) {
        f->param = param;
        exchange_refused(x, FAULT_POLICY);
        ok = err_set(&f->err, ERR_REQUEST, "%s, which the safety policy \"%s\" refuses", r->found.reason,
                     r->policy->name);
    } else if (ok && r->found.verdict == WORD_REVIEW) {
        struct buf words = BUF_INIT(300);
        for (int i = 0; i < r->found.warnings.n; i++)
            buf_printf(&words, "%s%s", i ? ", " : "", r->found.warnings.v[i]);
        if (r->policy->hold) {
            ok = ask_person(x, r, words.data ? words.data : "", param, f);
        } else {
            exchange_header(x, "X-Safety-Action", "review");
            log_info("%s: to be reviewed (policy %s): %s", exchange_id(x), r->policy->name,
                     words.data ? words.data : "");
        }
        buf_free(&words);
    }
    word_found_free(&r->found);
    buf_free(&r->texts);
    return ok;
}

bool prompt_policy_text(struct exchange *x, struct gen_request *q, struct fault *f)
{
    struct reading r = { .rules = exchange_words(x) };
    const json_t *message;
    size_t i;
    bool ok = prompt_policy_of(x, &r.policy, f);
    if (!ok || !looks(r.policy)) return ok;
    if (r.policy->answers && r.policy->refuse) {
        q->words = r.rules;
        q->policy = r.policy;
    }
    json_array_foreach(q->messages, i, message) { ok = ok && read_message(&r, message, f); }
    for (int k = 0; ok && !q->messages && k < q->n_prompts; k++) {
        const struct prompt *p = &q->prompts[k];
        if (p->ids) {
            f->param = "prompt";
            ok = err_set(&f->err, ERR_REQUEST,
                         "the safety policy \"%s\" reads prompts: send text, not token ids", r.policy->name);
        } else {
            ok = read_bytes(&r, p->text, p->len, f);
        }
    }
    return decide(x, &r, q->messages ? "messages" : "prompt", ok, f);
}

bool prompt_policy_picture(struct exchange *x, const char *prompt, struct fault *f)
{
    struct reading r = { .rules = exchange_words(x) };
    bool ok = prompt_policy_of(x, &r.policy, f);
    if (!ok || !looks(r.policy) || !prompt) return ok;
    ok = read_bytes(&r, prompt, strlen(prompt), f);
    return decide(x, &r, "prompt", ok, f);
}

/* Every text within a value, each by itself. */
static bool read_value(struct reading *r, const json_t *v, struct fault *f)
{
    const char *name;
    json_t *item;
    size_t i;
    bool ok = true;
    if (json_is_string(v)) return read_bytes(r, json_string_value(v), json_string_length(v), f);
    json_array_foreach(v, i, item) { ok = ok && read_value(r, item, f); }
    json_object_foreach((json_t *)v, name, item) { ok = ok && read_value(r, item, f); }
    return ok;
}

bool prompt_policy_body(struct exchange *x, const json_t *body, struct fault *f)
{
    static const char *const others[] = { "prompt", "input", "query", "documents" };
    struct reading r = { .rules = exchange_words(x) };
    const char *param = "messages";
    const json_t *message;
    size_t i;
    bool ok = prompt_policy_of(x, &r.policy, f);
    if (!ok || !looks(r.policy)) return ok;
    json_array_foreach(json_object_get(body, "messages"), i, message)
    {
        ok = ok && read_message(&r, message, f);
    }
    for (size_t k = 0; ok && r.found.verdict != WORD_REFUSE && k < sizeof others / sizeof *others; k++) {
        ok = read_value(&r, json_object_get(body, others[k]), f);
        param = others[k];
    }
    if (r.found.verdict == WORD_REVIEW && !r.policy->hold) r.found.verdict = WORD_PROCEED;
    return decide(x, &r, param, ok, f);
}
