/* Any bytes as a body of POST /api/generate and POST /api/chat: both APIs of these paths are told apart, and a message becomes a chat request
 * or is refused with a reason. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/express.h"
#include "http/dialects/shared_paths.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool draws(void *arg, const char *model)
{
    (void)arg;
    return strstr(model, "flux") != NULL;
}

static void chat(const json_t *body)
{
    struct fault f = { 0 };
    struct wire_request w = { 0 };
    json_t *request;
    if (!express_chat(body, "usual", true, &request, &f)) {
        if (f.err.code == ERR_NONE || !*f.err.msg) abort();
        return;
    }
    if (wire_parse(&w, request, true, true, &express_style, &f)) {
        if (w.stream || w.gen.n != 1) abort();
        wire_free(&w);
    } else if (f.err.code == ERR_NONE || !*f.err.msg) {
        abort();
    }
    json_decref(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_limits limits = { 16, 1000 };
    struct fault f = { 0 };
    json_t *body;
    if (!json_in_parse((const char *)data, size, &limits, &body, &f)) return 0;
    if (shared_chat(body) == SHARED_EXPRESS && !express_chat_refusal(body)) chat(body);
    if (shared_generate(body, draws, NULL) == SHARED_EXPRESS && !express_generate_refusal(body)) {
        const char *prompt = json_string_value(json_object_get(body, "prompt"));
        if (!prompt || !*prompt) abort();
    }
    json_decref(body);
    return 0;
}
