/* llama4.c - Llama 4: objects as Llama 3 has them, as the published template asks for; a list as Python writes it, as the vendor's guide
 * does; either of them behind <|python_start|> or <|python_end|>; or <function=NAME>{...}</function>. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

static const char *const control[] = { "<|python_start|>", "<|python_end|>", NULL };
static const char *const opens[] = { "{\"name\"", "<function=", NULL };

static const struct call_mark reader_marks[] = { { "<|python_start|>", CALL_OPENS },
                                                 { "<|python_end|>", CALL_OPENS },
                                                 { "<function=", CALL_FUNCTION },
                                                 { "</function>", CALL_DROPPED },
                                                 { NULL, CALL_DROPPED } };
static const struct call_family family = { .marks = reader_marks,
                                           .bodies = CALL_OBJECT | CALL_ARRAY | CALL_PYTHON,
                                           .first = CALL_OBJECT | CALL_ARRAY | CALL_PYTHON };
CALL_READER(reader, "llama4", family, false);

static const struct spelling spellings[] = {
    { .open = "",
      .before_name = "{\"name\": \"",
      .before_arguments = "\", \"parameters\": ",
      .behind = "}",
      .between = "\n",
      .close = "" },
    { .open = "",
      .before_name = "<function=",
      .before_arguments = ">",
      .behind = "</function>",
      .between = "\n",
      .close = "" },
};

static bool in_template(const struct chat_template *t) { return chat_template_spells(t, "<|header_start|>"); }

static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = NULL;
    return spelling_grammar(spellings, 2, set, gbnf, schemas);
}

static bool instructions(const struct tool_set *set, struct buf *out)
{
    return spelling_list(
        set,
        "You can call the following functions. To call some, answer with nothing but a JSON object for each "
        "call, of the form {\"name\": function name, \"parameters\": dictionary of argument name and its "
        "value}. Do not use variables.\n\n",
        "", out);
}

static bool rewrite(const json_t *calls, struct buf *out) { return spelling_rewrite(spellings, calls, out); }

const struct tool_format tool_format_llama4 = { .name = "llama4",
                                                .in_template = in_template,
                                                .reader = &reader,
                                                .control = control,
                                                .opens = opens,
                                                .opens_first = true,
                                                .opens_before = control,
                                                .grammar = grammar,
                                                .instructions = instructions,
                                                .rewrite = rewrite,
                                                .result_open = "The function returned:\n",
                                                .result_close = "" };
