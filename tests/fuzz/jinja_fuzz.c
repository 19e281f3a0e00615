/* Any bytes as a chat template, rendered over one conversation with tools: compile and render must return, within their
 * limits, with a text and a mask of one length or with an error that says something. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/chat_template.h"

static const char context[] =
    "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"n\": 3, \"f\": "
    "2.5, \"nothing\": null,"
    "\"messages\": [{\"role\": \"system\", \"content\": \"Be br\\u00fcf.\"}, {\"role\": \"user\", "
    "\"content\": \" Hi <|x|> \"},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"a\", \"type\": \"function\", "
    "\"function\":"
    "{\"name\": \"f\", \"arguments\": {\"x\": [1, -2.5, true, {\"y\": \"\\u65e5\\n'\\\"\"}]}}}]},"
    "{\"role\": \"tool\", \"content\": [{\"type\": \"text\", \"text\": \"9\"}]}],"
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"b\": 1, \"a\": "
    "[]}}}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *ctx;
    struct chat_template *t;
    struct rendered r;
    struct err e = { 0 };
    if (!ctx) ctx = json_loads(context, 0, NULL);
    if (chat_template_compile(&t, (const char *)data, size, &e)) {
        if (chat_template_render(t, ctx, &(struct render_options){ .now_unix = 1735825445 }, &r, &e)) {
            if (strlen(r.text) > r.len || r.data[r.len] != 0) abort();
            for (size_t i = 0; i < r.len; i++)
                if (r.data[i] > 1) abort();
            free(r.text);
            free(r.data);
        }
        chat_template_free(t);
    }
    if (e.code != ERR_NONE && e.msg[0] == '\0' && e.code != ERR_REQUEST) abort();
    return 0;
}
