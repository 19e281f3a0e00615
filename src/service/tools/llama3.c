/* llama3.c - Llama 3.1 to 3.3: the answer is an object with name and parameters, several of them with ; between; <|python_tag|> may stand in
 * front, and then NAME.call(...) may follow, too. With the vendor's other prompts: <function=NAME>{...}</function>, or a list as Python
 * writes it. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

static const char *const control[] = { "<|python_tag|>", NULL };
static const char *const opens[] = { "{\"name\"", "<function=", NULL };

static const struct call_mark reader_marks[] = { { "<|python_tag|>", CALL_OPENS },
                                                 { "<function=", CALL_FUNCTION },
                                                 { "</function>", CALL_DROPPED },
                                                 { NULL, CALL_DROPPED } };
static const struct call_family family = { .marks = reader_marks,
                                           .bodies = CALL_OBJECT | CALL_ARRAY | CALL_PYTHON | CALL_METHOD,
                                           .first = CALL_OBJECT | CALL_ARRAY | CALL_PYTHON };
CALL_READER(reader, "llama3", family, false);

static const struct spelling spellings[] = {
    { .open = "",
      .before_name = "{\"name\": \"",
      .before_arguments = "\", \"parameters\": ",
      .behind = "}",
      .between = "; ",
      .close = "" },
    { .open = "",
      .before_name = "<function=",
      .before_arguments = ">",
      .behind = "</function>",
      .between = "\n",
      .close = "" },
};

static bool in_template(const struct chat_template *t)
{
    return chat_template_spells(t, "<|start_header_id|>");
}

static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = NULL;
    return spelling_grammar(spellings, 2, set, gbnf, schemas);
}

static bool instructions(const struct tool_set *set, struct buf *out)
{
    return spelling_list(
        set,
        "You can call the following functions. To call one, answer with nothing but a JSON object of the "
        "form {\"name\": function name, \"parameters\": dictionary of argument name and its value}. Do not "
        "use variables.\n\n",
        "", out);
}

static bool rewrite(const json_t *calls, struct buf *out) { return spelling_rewrite(spellings, calls, out); }

const struct tool_format tool_format_llama3 = { .name = "llama3",
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
