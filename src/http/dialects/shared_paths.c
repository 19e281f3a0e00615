/* shared_paths.c - see shared_paths.h. */
#include "http/dialects/shared_paths.h"

enum shared_api shared_generate(const json_t *body, bool (*draws)(void *arg, const char *model), void *arg)
{
    const char *model = json_string_value(json_object_get(body, "model"));
    return !model || draws(arg, model) ? SHARED_EXPRESS : SHARED_OLLAMA;
}

enum shared_api shared_chat(const json_t *body)
{
    return json_object_get(body, "messages") ? SHARED_OLLAMA : SHARED_EXPRESS;
}
