/* tool_format.h - how a family of models is shown tools and writes its calls: one row a family.
 *
 * An answer with calls is read from its text behind the thought (reply.h), and may be held to a grammar from the text that opens a call on.
 * Threads  read only. */
#ifndef HEARTH_SERVICE_TOOLS_TOOL_FORMAT_H
#define HEARTH_SERVICE_TOOLS_TOOL_FORMAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "service/reply.h"
#include "service/tools/tools.h"
#include "text/jinja/chat_template.h"

struct tool_format {
    const char *name; /* as a catalog says it: "hermes" */
    /* Whether the template shows that its model writes calls so; NULL: never found out, only named. */
    bool (*in_template)(const struct chat_template *t);
    const struct reply_reader *reader;
    /* Marks whose text the reader has to see, up to a NULL, should they be control tokens; others are not shown. Where they are, those of them
     * that a grammar spells count as their text in its constraint. */
    const char *const *control; /* NULL: none */
    /* Texts with which a call opens in a free answer, up to a NULL: as soon as one of them stands there the answer is held to the grammar
     * from the text's beginning. opens_first: only in front of everything else but white space. */
    const char *const *opens;
    bool opens_first;
    /* The same, but the grammar begins behind the text: marks that no answer needs, or that only a control token may say. NULL: none. */
    const char *const *opens_before;
    /* What an answer of one call or several (set->one) of the tools that are allowed (or the one that is named) may be: GBNF, and the schemas
     * of its names that stand for JSON (grammar.h). *forced: which of opens_before an answer that must be a call has to begin with, as its
     * control token where the vocabulary has one, else as text; or NULL. false: no memory. */
    bool (*grammar)(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced);
    /* What a system message says of the tools where the template has no place for them. false: no memory. */
    bool (*instructions)(const struct tool_set *set, struct buf *out);
    /* One call or several as the model writes them, for earlier turns where the template cannot: calls is a request's tool_calls, with
     * arguments as objects. false: no memory. */
    bool (*rewrite)(const json_t *calls, struct buf *out);
    /* What stands around the result of a call in a user's turn, where the template knows no tool's. */
    const char *result_open, *result_close;
};

extern const struct tool_format *const tool_formats[];         /* up to a NULL */
const struct tool_format *tool_format_named(const char *name); /* NULL: there is none */
/* By what the template spells; the plain JSON form where nothing is recognised. t NULL: no template. */
const struct tool_format *tool_format_of(const struct chat_template *t);

/* The conversation as this template takes it, new: calls with arguments as object or text, one a message where it takes no more, ids as the
 * family has them, results with the name of what was called; as text in the format where the template has no words for calls; and the tools
 * in a system message where it does not ask for a variable `tools` (so hand it set->list as `tools` and this as `messages`). What the
 * template takes is found out by rendering a few short conversations, only where there are calls or results. messages is a
 * gen_request's; one without calls, results and tools comes back as it is. */
bool tools_messages(const json_t *messages, const struct tool_set *set, const struct tool_format *format,
                    const struct chat_template *t, json_t **out, struct err *e);

#endif
