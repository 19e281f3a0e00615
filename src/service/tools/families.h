/* families.h - the rows of tool_formats[], one file each. */
#ifndef HEARTH_SERVICE_TOOLS_FAMILIES_H
#define HEARTH_SERVICE_TOOLS_FAMILIES_H

#include "service/tools/tool_format.h"

extern const struct tool_format tool_format_hermes, tool_format_llama3, tool_format_llama4,
    tool_format_deepseek, tool_format_mistral, tool_format_json;

#endif
