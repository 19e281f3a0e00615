/* hermes.c - Hermes, Qwen and those after them: <tool_call>, an object with name and arguments, </tool_call>, once for each call. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

static const char *const marks[] = { "<tool_call>", "</tool_call>", NULL };
static const char *const opens[] = { "<tool_call>", NULL };

static const struct call_mark reader_marks[] = { { "<tool_call>", CALL_OPENS },
                                                 { "</tool_call>", CALL_DROPPED },
                                                 { NULL, CALL_DROPPED } };
static const struct call_family family = { .marks = reader_marks, .bodies = CALL_OBJECT | CALL_ARRAY };
CALL_READER(reader, "hermes", family, false);

static const struct spelling spelling = { .open = "",
                                          .before_name = "<tool_call>\n{\"name\": \"",
                                          .before_arguments = "\", \"arguments\": ",
                                          .behind = "}\n</tool_call>",
                                          .between = "\n",
                                          .close = "" };

static bool in_template(const struct chat_template *t) { return chat_template_spells(t, "<tool_call>"); }

static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = NULL;
    return spelling_grammar(&spelling, 1, set, gbnf, schemas);
}

/* As Qwen's own template has it: the models were trained on these words. */
static bool instructions(const struct tool_set *set, struct buf *out)
{
    return spelling_list(
        set,
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n",
        "</tools>\n\nFor each function call, return a json object with function name and arguments "
        "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
        out);
}

static bool rewrite(const json_t *calls, struct buf *out) { return spelling_rewrite(&spelling, calls, out); }

const struct tool_format tool_format_hermes = { .name = "hermes",
                                                .in_template = in_template,
                                                .reader = &reader,
                                                .control = marks,
                                                .opens = opens,
                                                .grammar = grammar,
                                                .instructions = instructions,
                                                .rewrite = rewrite,
                                                .result_open = "<tool_response>\n",
                                                .result_close = "\n</tool_response>" };
