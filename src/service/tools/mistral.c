/* mistral.c - Mistral and Mixtral: [TOOL_CALLS] and a list of objects; newer ones [TOOL_CALLS]NAME[ARGS]{...}. Ids have nine letters. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

#define CALLS "[TOOL_CALLS]"

static const char *const control[] = { CALLS, "[ARGS]", "[CALL_ID]", NULL };
static const char *const opens[] = { NULL };
static const char *const opens_before[] = { CALLS, NULL };

static const struct call_mark reader_marks[] = {
    { CALLS, CALL_OPENS }, { "[ARGS]", CALL_DROPPED }, { "[CALL_ID]", CALL_DROPPED }, { NULL, CALL_DROPPED }
};
static const struct call_family family = { .marks = reader_marks,
                                           .bodies = CALL_OBJECT | CALL_ARRAY | CALL_NAME_ARGUMENTS };
CALL_READER(reader, "mistral", family, true);

static const struct spelling spelling = { .mark = CALLS,
                                          .space = true,
                                          .open = "[",
                                          .before_name = "{\"name\": \"",
                                          .before_arguments = "\", \"arguments\": ",
                                          .behind = "}",
                                          .between = ", ",
                                          .close = "]" };

static bool in_template(const struct chat_template *t) { return chat_template_spells(t, CALLS); }

static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = CALLS;
    return spelling_grammar(&spelling, 1, set, gbnf, schemas);
}

static bool instructions(const struct tool_set *set, struct buf *out)
{
    return spelling_list(
        set, "You can call these functions:\n\n",
        "\nTo call some, answer with nothing but " CALLS
        " [{\"name\": function name, \"arguments\": dictionary of argument name and its value}], with one "
        "object for each call.",
        out);
}

static bool rewrite(const json_t *calls, struct buf *out) { return spelling_rewrite(&spelling, calls, out); }

const struct tool_format tool_format_mistral = { .name = "mistral",
                                                 .in_template = in_template,
                                                 .reader = &reader,
                                                 .control = control,
                                                 .opens = opens,
                                                 .opens_before = opens_before,
                                                 .grammar = grammar,
                                                 .instructions = instructions,
                                                 .rewrite = rewrite,
                                                 .result_open = "The function returned:\n",
                                                 .result_close = "" };
