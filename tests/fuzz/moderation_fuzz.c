/* Any bytes as the body of POST /v1/moderations: what is taken keeps its promises, and what is printed of it is JSON. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/moderation.h"
#include "http/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits = { 128, 100000 };
    struct fault f = { 0 };
    struct moderation m;
    json_t *v;
    if (!json_in_parse((const char *)data, size, &limits, &v, &f)) return 0;
    if (moderation_read(&m, v, true, &f)) {
        struct buf b = BUF_INIT(0);
        json_error_t e;
        if (m.n_inputs < 1 || m.n_results < 1 || m.n_results > m.n_inputs) abort();
        for (int i = 0; i < m.n_inputs; i++) {
            const struct moderation_input *in = &m.input[i];
            if (in->result < 0 || in->result >= m.n_results) abort();
            if (!in->text == (!in->bytes && !in->url) || (in->bytes && !in->n)) abort();
            if (m.old && !in->text) abort();
        }
        moderation_print(&b, &m, "modr-1");
        json_t *back = json_loadb(b.data, b.len, 0, &e);
        if (!back) abort();
        json_decref(back);
        buf_free(&b);
        moderation_free(&m);
    } else if (f.err.code == ERR_NONE || !f.err.msg[0]) {
        abort();
    }
    json_decref(v);
    return 0;
}
