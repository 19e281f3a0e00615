/* prompt_check.c - POST /v1/prompts/check: what a policy would do with a prompt. Not part of the APIs that hearth speaks; docs/safety.md describes
 * it. */
#include <string.h>

#include "http/dialects/fields.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/json_out.h"
#include "http/prompt_policy.h"
#include "service/safety/policy.h"

static void print_found(struct buf *b, const struct word_found *found)
{
    buf_printf(b, "\"safe\":%s,\"action\":\"%s\"", found->verdict != WORD_REFUSE ? "true" : "false",
               word_action(found->verdict));
    if (found->verdict == WORD_REFUSE) {
        buf_puts(b, ",\"reason\":");
        json_out_cstr(b, found->reason);
    }
    if (found->verdict != WORD_REVIEW) return;
    buf_puts(b, ",\"warnings\":[");
    for (int i = 0; i < found->warnings.n; i++) {
        if (i) buf_putc(b, ',');
        json_out_cstr(b, found->warnings.v[i]);
    }
    buf_putc(b, ']');
}

/* Read one by one behind this, which knows their names. */
static bool take_any(void *reader, const void *row, const json_t *v, struct fault *f)
{
    (void)reader, (void)row, (void)v, (void)f;
    return true;
}
static const struct json_member fields[] = { { "prompt", 1, "!text" },
                                             { "policy", 1, "text" },
                                             { "mode", 1, "'best'|'seed'" } };
const struct json_table check_fields = JSON_TABLE(fields, take_any);

static bool check(struct exchange *x, const json_t *body, struct buf *b, struct fault *f)
{
    const struct json_place place = { .path = "",
                                      .form = FIELDS_ALL,
                                      .strict = exchange_server(x)->o.strict_fields };
    const struct word_rules *rules = exchange_words(x);
    const json_t *prompt = json_object_get(body, "prompt"), *policy = json_object_get(body, "policy"),
                 *mode = json_object_get(body, "mode");
    const char *text, *name = "", *how = "best";
    const struct word_policy *p;
    struct word_found found = { 0 };
    if (!json_in_object(&check_fields, &place, NULL, body, f)) return false;
    f->param = "prompt";
    if (!prompt) return err_set(&f->err, ERR_REQUEST, "prompt is required");
    if (!json_in_str(prompt, "prompt", &text, f) || (policy && !json_in_str(policy, "policy", &name, f)) ||
        (mode && !json_in_str(mode, "mode", &how, f)))
        return false;
    f->param = "mode";
    if (strcmp(how, "best") != 0 && strcmp(how, "seed") != 0)
        return err_set(&f->err, ERR_REQUEST, "mode must be best or seed");
    f->param = "policy";
    if (!rules) return err_set(&f->err, ERR_UNSUPPORTED, "this server has no safety policies");
    if (!strcmp(how, "seed")) {
        if (!word_check_seed(rules, text, json_string_length(prompt), &found, &f->err)) return false;
        buf_putc(b, '{');
    } else {
        if (*name ? !(p = word_rules_find(rules, name, &f->err)) : !prompt_policy_of(x, &p, f)) {
            if (f->err.code == ERR_NOT_FOUND) f->err.code = ERR_REQUEST;
            return false;
        }
        if (!word_check(rules, p, text, json_string_length(prompt), &found, &f->err)) return false;
        buf_puts(b, "{\"object\":\"prompt.check\",\"policy\":");
        json_out_cstr(b, p->name);
        buf_putc(b, ',');
    }
    print_found(b, &found);
    buf_putc(b, '}');
    word_found_free(&found);
    return true;
}

void prompt_check_post(struct exchange *x)
{
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    bool ok = json_in_parse(bytes, len, &exchange_server(x)->json, &body, &f);
    if (ok) {
        ok = check(x, body, &b, &f);
        json_decref(body);
    }
    if (ok)
        exchange_reply(x, 200, "application/json", &b);
    else
        exchange_fault_from(x, &f);
    buf_free(&b);
}
