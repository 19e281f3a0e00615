/* tools.h - the tools that a request offers, and how the model is to choose among them.
 *
 * Ownership  everything a tool_set points to belongs to it and goes with tool_set_free(); a zeroed one offers nothing. */
#ifndef HEARTH_SERVICE_TOOLS_TOOLS_H
#define HEARTH_SERVICE_TOOLS_TOOLS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

#define TOOLS_MAX 128
#define TOOL_NAME_MAX 64 /* bytes */

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

/* Of a request's field `tools` or, with legacy, `functions`: an array of tools, whose names no two share; each is held against its parts by
 * type and range, and `parameters` is a JSON Schema of an object. With strict_fields unknown members are refused, too; without, left out of
 * what the template sees. Nothing or null offers nothing. The set is a zeroed one; the choice is TOOL_AUTO when it offers something. Errors
 * (ERR_REQUEST) name field, index and path: "tools[2].function.name: ...". `field` lives as long as the call. */
bool tool_set_read(struct tool_set *t, const json_t *tools, const char *field, bool legacy,
                   bool strict_fields, struct err *e);
/* Of `tool_choice` or, where the set is legacy, `function_call`: "auto", "none", "required", "any", one function in either spelling, or
 * allowed_tools in either; NULL or null leaves it as it is. What calls for a tool that is not offered is refused by name. */
bool tool_set_choose(struct tool_set *t, const json_t *choice, const char *field, struct err *e);

/* Whether a call of tool i may be what the model answers. */
bool tool_set_allows(const struct tool_set *t, int i);

#endif
