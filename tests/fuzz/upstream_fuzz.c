/* Any bytes as an upstream's stream and as its plain answer: events do not depend on the pieces in which they come, and what is spelled for the
 * client is JSON again, with the client's name for the model and without what it did not ask for. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/route/answer.h"
#include "service/route/json_splice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool keep(void *arg, const char *data, size_t len, struct err *e)
{
    (void)e;
    buf_append(arg, data, len);
    return buf_putc(arg, '\0');
}

static bool events(struct buf *out, const char *bytes, size_t n, size_t piece)
{
    struct event_reader r;
    struct err e;
    bool ok = true;
    event_reader_init(&r, 2000);
    for (size_t at = 0; ok && at < n; at += piece)
        ok = event_reader_feed(&r, bytes + at, n - at < piece ? n - at : piece, keep, out, &e);
    event_reader_free(&r);
    return ok;
}

/* A member that a parser sees once, spelled as it is named. */
static bool once(const char *json, size_t len, const char *name)
{
    struct json_span first, other;
    return json_splice_find(json, len, name, &first) &&
           !json_splice_find(json + first.end, len - first.end, name, &other) && !memchr(json, '\\', len);
}

static void spell(const char *json, size_t len)
{
    const struct answer_spelling s = { .model = "ours", .cost = "0.25", .no_usage = true };
    struct buf out = BUF_INIT(0);
    struct answer a;
    struct err e;
    if (!answer_read(&a, json, len, &e)) return;
    if (a.usage.cached_tokens > a.usage.prompt_tokens || a.usage.prompt_tokens < 0 ||
        a.usage.completion_tokens < 0)
        abort();
    if (!answer_spell(&out, json, len, &s)) abort();
    json_t *v = json_loadb(out.data, out.len, 0, NULL),
           *strict = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(v)) abort();
    if (strict && once(json, len, "model") &&
        strcmp(json_string_value(json_object_get(v, "model")), "ours") != 0)
        abort();
    if (strict && once(json, len, "usage") && json_object_get(v, "usage")) abort();
    json_decref(v);
    json_decref(strict);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct buf whole = BUF_INIT(0), pieces = BUF_INIT(0);
    if (size > 8192) return 0;
    const bool ok = events(&whole, bytes, size, size + 1);
    if (ok != events(&pieces, bytes, size, 3) || whole.len != pieces.len ||
        (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
        abort();
    spell(bytes, size);
    for (size_t at = 0; at < whole.len; at += strlen(whole.data + at) + 1)
        spell(whole.data + at, strlen(whole.data + at));
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
