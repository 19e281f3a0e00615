/* Any bytes as a comparison: read and refused with a reason, or every candidate has a name and a request; and then the same bytes as what a
 * candidate is answered. Whatever that is, the comparison's own answer is JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/comparison.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool draws(void *arg, const char *model)
{
    (void)arg;
    return strstr(model, "flux") != NULL;
}

static void answer(struct comparison *c, const char *bytes, size_t n)
{
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < c->n; i++) {
        if (!c->v[i].name || !json_is_object(c->v[i].request)) abort();
        comparison_event(c, i, bytes, n, &b);
        comparison_reply(c, i, bytes, n);
        c->v[i].status = 200;
    }
    buf_clear(&b);
    comparison_print(&b, c, true);
    json_t *back = b.data ? json_loadb(b.data, b.len, 0, NULL) : NULL;
    if (!back) abort();
    json_decref(back);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_limits limits = { 16, 1000 };
    const char *bytes = (const char *)data, *split = memchr(data, '\n', size);
    const size_t first = split ? (size_t)(split - bytes) : size;
    struct fault f = { 0 };
    struct comparison c;
    json_t *body;
    if (!json_in_parse(bytes, first, &limits, &body, &f)) return 0;
    if (comparison_read(&c, body, draws, NULL, true, &f))
        answer(&c, split ? split + 1 : "", split ? size - first - 1 : 0);
    else if (f.err.code == ERR_NONE || !*f.err.msg)
        abort();
    comparison_free(&c);
    json_decref(body);
    return 0;
}
