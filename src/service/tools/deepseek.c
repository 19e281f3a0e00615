/* deepseek.c - DeepSeek V3 and R1: between marks of their own, a type, a name, and the arguments inside a fence of Markdown. V3.1 has the
 * name in front and the arguments bare. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

#define CALLS_BEGIN "<｜tool▁calls▁begin｜>"
#define CALLS_END "<｜tool▁calls▁end｜>"
#define CALL_BEGIN "<｜tool▁call▁begin｜>"
#define CALL_END "<｜tool▁call▁end｜>"
#define SEPARATOR "<｜tool▁sep｜>"

static const char *const control[] = { CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEPARATOR, NULL };
static const char *const opens[] = { NULL };
static const char *const opens_before[] = { CALLS_BEGIN, NULL };

static const struct call_mark reader_marks[] = { { CALLS_BEGIN, CALL_DROPPED }, { CALLS_END, CALL_DROPPED },
                                                 { CALL_BEGIN, CALL_TYPED },    { CALL_END, CALL_DROPPED },
                                                 { SEPARATOR, CALL_DROPPED },   { NULL, CALL_DROPPED } };
static const struct call_family family = { .marks = reader_marks, .separator = SEPARATOR };
CALL_READER(reader, "deepseek", family, false);

static const struct spelling spelling = { .mark = CALLS_BEGIN,
                                          .open = "",
                                          .before_name = CALL_BEGIN "function" SEPARATOR,
                                          .before_arguments = "\n```json\n",
                                          .behind = "\n```" CALL_END,
                                          .between = "\n",
                                          .close = CALLS_END };

static bool in_template(const struct chat_template *t)
{
    return chat_template_spells(t, CALLS_BEGIN) || chat_template_spells(t, CALL_BEGIN);
}

static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = CALLS_BEGIN;
    return spelling_grammar(&spelling, 1, set, gbnf, schemas);
}

static bool instructions(const struct tool_set *set, struct buf *out)
{
    return spelling_list(
        set, "## Tools\n\nYou have access to these functions:\n\n",
        "\nTo call functions, answer in exactly this form, with one block for each call:\n\n" CALLS_BEGIN
            CALL_BEGIN "function" SEPARATOR
        "FUNCTION_NAME\n```json\n{\"argument\": \"value\"}\n```" CALL_END CALLS_END,
        out);
}

static bool rewrite(const json_t *calls, struct buf *out) { return spelling_rewrite(&spelling, calls, out); }

const struct tool_format tool_format_deepseek = { .name = "deepseek",
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
