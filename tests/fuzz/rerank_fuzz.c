/* Any bytes as the body of /rerank: parsed or refused with a reason, and printed. */
#include <stdlib.h>

#include "http/dialects/rerank.h"
#include "http/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rerank_wire w;
    struct fault f = { 0 };
    json_error_t why;
    if (!size) return 0;
    json_t *body = json_loadb((const char *)data + 1, size - 1, 0, &why);
    if (!json_is_object(body)) {
        json_decref(body);
        return 0;
    }
    const bool ok =
        rerank_wire_parse(&w, body, data[0] & 1 ? DIALECT_FIREWORKS : DIALECT_OPENAI, data[0] & 2, &f);
    json_decref(body);
    if (!ok) {
        if (f.err.code == ERR_NONE || !f.err.msg[0]) abort(); /* a refusal says why */
        return 0;
    }
    struct buf b = BUF_INIT(0);
    const struct usage u = { .prompt_tokens = 3 };
    for (int i = 0; i < w.gen.n_prompts; i++)
        if (!w.gen.prompts[i].text) abort();
    rerank_wire_print(&b, &w, "model", "req", &(struct rerank_hit){ w.gen.n_prompts - 2, 0.5 }, 1, &u);
    json_t *back = json_loadb(b.data, b.len, 0, &why);
    if (!back) abort();
    json_decref(back);
    buf_free(&b);
    rerank_wire_free(&w);
    return 0;
}
