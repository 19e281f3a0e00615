/* tool_formats.c - see tool_format.h. */
#include <string.h>

#include "service/tools/families.h"

/* Found out in this order; the last is for templates that none of the others knows. */
const struct tool_format *const tool_formats[] = { &tool_format_deepseek,
                                                   &tool_format_mistral,
                                                   &tool_format_llama4,
                                                   &tool_format_hermes,
                                                   &tool_format_llama3,
                                                   &tool_format_json,
                                                   NULL };

const struct tool_format *tool_format_named(const char *name)
{
    for (const struct tool_format *const *f = tool_formats; *f; f++)
        if (!strcmp((*f)->name, name)) return *f;
    return NULL;
}

const struct tool_format *tool_format_of(const struct chat_template *t)
{
    for (const struct tool_format *const *f = tool_formats; t && *f; f++)
        if ((*f)->in_template && (*f)->in_template(t)) return *f;
    return &tool_format_json;
}
