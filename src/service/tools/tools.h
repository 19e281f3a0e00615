/* tools.h - the tools that a request offers, and how the model is to choose among them.
 *
 * Ownership  everything a tool_set points to belongs to it and goes with tool_set_free(); a zeroed one offers nothing. */
#ifndef HEARTH_SERVICE_TOOLS_TOOLS_H
#define HEARTH_SERVICE_TOOLS_TOOLS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

enum tool_choice {
    TOOL_AUTO,     /* the model decides */
    TOOL_NEVER,    /* no call; the template does not show the tools */
    TOOL_REQUIRED, /* at least one call */
    TOOL_NAMED     /* a call of the one that was named */
};

struct tool { /* borrowed from the set's list */
    const char *name;
    const json_t *parameters; /* a JSON Schema of an object; NULL: none was given */
    bool strict;              /* arguments must meet it whoever opens the call */
    bool allowed;             /* by tool_choice's allowed_tools; else true */
};

struct tool_set {
    json_t *
        list; /* [{"type": "function", "function": {"name", "description"?, "parameters"?}}], as templates take them; NULL: none */
    struct tool *tool;
    int n;
    enum tool_choice choice;
    int named;   /* TOOL_NAMED: its place */
    bool one;    /* at most one call in an answer */
    bool legacy; /* asked for as functions and function_call, and so answered */
};

void tool_set_free(struct tool_set *t);

#endif
