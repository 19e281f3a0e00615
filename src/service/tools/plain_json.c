/* plain_json.c - models without a form of their own: the answer is an object with name and arguments, or a list of them. */
#include "service/tools/call_reader.h"
#include "service/tools/families.h"
#include "service/tools/spelling.h"

static const char *const opens[] = { "{\"name\"", "[{\"name\"", NULL };

static const struct call_mark reader_marks[] = { { NULL, CALL_DROPPED } };
static const struct call_family family = { .marks = reader_marks, .first = CALL_OBJECT | CALL_ARRAY };
CALL_READER(reader, "json", family, false);

static const struct spelling spellings[] = {
    { .open = "",
      .before_name = "{\"name\": \"",
      .before_arguments = "\", \"arguments\": ",
      .behind = "}",
      .between = "",
      .close = "",
      .single = true },
    { .open = "[",
      .before_name = "{\"name\": \"",
      .before_arguments = "\", \"arguments\": ",
      .behind = "}",
      .between = ", ",
      .close = "]" },
};

/* Brackets may stand around a single call, too: each of `opens` begins something. */
static bool grammar(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced)
{
    *forced = NULL;
    return spelling_grammar(spellings, 2, set, gbnf, schemas);
}

static bool instructions(const struct tool_set *set, struct buf *out)
{
    const bool one = set->one || set->choice == TOOL_NAMED;
    return spelling_list(
        set, "You can call these functions:\n\n",
        one ? "\nTo call one, answer with nothing but a JSON object: {\"name\": function name, "
              "\"arguments\": dictionary of argument name and its value}."
            : "\nTo call one, answer with nothing but a JSON object: {\"name\": function name, "
              "\"arguments\": dictionary of argument name and its value}. To call several, answer with a "
              "list of such objects.",
        out);
}

static bool rewrite(const json_t *calls, struct buf *out)
{
    return spelling_rewrite(&spellings[json_array_size(calls) > 1], calls, out);
}

const struct tool_format tool_format_json = { .name = "json",
                                              .reader = &reader,
                                              .opens = opens,
                                              .opens_first = true,
                                              .grammar = grammar,
                                              .instructions = instructions,
                                              .rewrite = rewrite,
                                              .result_open = "The function returned:\n",
                                              .result_close = "" };
