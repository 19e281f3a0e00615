/* parse_tools.c - the tools that a request offers: tools and tool_choice, or their older names functions and function_call. */
#include "http/dialects/parse.h"
#include "http/json_in.h"

/* The two generations of names are not mixed: which one is asked in is which one is answered in. */
static bool one_generation(const json_t *body, struct fault *f)
{
    static const char *const mixed[][2] = {
        { "tools", "functions" },
        { "tools", "function_call" },
        { "functions", "tool_choice" },
        { "tool_choice", "function_call" },
    };
    for (size_t i = 0; i < sizeof mixed / sizeof *mixed; i++) {
        if (!parse_given(body, mixed[i][0]) || !parse_given(body, mixed[i][1])) continue;
        f->param = mixed[i][1];
        return err_set(&f->err, ERR_REQUEST,
                       "%s and %s cannot be given together: tools goes with tool_choice, functions with "
                       "function_call",
                       mixed[i][0], mixed[i][1]);
    }
    return true;
}

bool parse_tools(struct wire_request *w, const json_t *body, struct fault *f)
{
    const json_t *functions = parse_given(body, "functions"), *call = parse_given(body, "function_call"),
                 *parallel = parse_given(body, "parallel_tool_calls");
    const bool legacy = functions || call;
    struct tool_set *set = &w->gen.tools;
    bool several = true;
    if (!w->chat) return true;
    if (!one_generation(body, f)) return false;
    f->param = legacy ? "functions" : "tools";
    if (!tool_set_read(set, legacy ? functions : parse_given(body, "tools"), f->param, legacy, w->strict,
                       &f->err))
        return false;
    set->legacy = legacy;
    f->param = legacy ? "function_call" : "tool_choice";
    if (!tool_set_choose(set, legacy ? call : parse_given(body, "tool_choice"), f->param, &f->err))
        return false;
    if (parallel && !json_in_bool(parallel, "parallel_tool_calls", &several, f)) return false;
    set->one = legacy || !several;
    f->param = NULL;
    return true;
}
