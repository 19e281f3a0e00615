/* guide_routes.c - the small functions of the guides (service/advice/guides.h) over HTTP: a question as the body, its answer as the reply. */
#include <jansson.h>
#include <stdlib.h>

#include "format/json_memory.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "service/advice/guides.h"

static void answer(struct exchange *x, enum guide_function g, const char *object)
{
    const struct server *s = exchange_server(x);
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    json_t *question = NULL, *out = NULL;
    char *text = NULL;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    bool ok = json_in_parse(bytes, len, &s->json, &question, &f) &&
              guide_answer(g, s->catalog, question, &out, &f.param, &f.err);
    if (ok)
        ok = (!json_object_set_new(out, "object", json_string(object)) &&
              (text = json_memory_dumps(out, JSON_COMPACT)) && buf_puts(&b, text)) ||
             err_set(&f.err, ERR_NOMEM, "out of memory");
    if (ok) {
        exchange_reply(x, 200, "application/json", &b);
    } else {
        buf_free(&b);
        exchange_fault_from(x, &f);
    }
    free(text);
    json_decref(out);
    json_decref(question);
}

void costs_post(struct exchange *x) { answer(x, GUIDE_COST, "cost"); }
void truncate_post(struct exchange *x) { answer(x, GUIDE_TRUNCATE, "truncation"); }
void tools_validate_post(struct exchange *x) { answer(x, GUIDE_TOOLS, "tool_check"); }
void retry_plan_post(struct exchange *x) { answer(x, GUIDE_RETRY, "retry_plan"); }
void migrations_post(struct exchange *x) { answer(x, GUIDE_DALLE, "migration"); }
