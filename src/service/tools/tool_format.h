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
    /* Control tokens whose text the reader has to see, up to a NULL; others are not shown. */
    const char *const *control;
    /* Texts with which a call opens in a free answer, up to a NULL: as soon as one of them stands there the answer is held to the grammar
     * from its beginning. opens_first: only in front of everything else but white space. */
    const char *const *opens;
    bool opens_first;
    /* What an answer of one call or several (set->one) of the tools that are allowed (or the one that is named) may be, opening included:
     * GBNF, and the schemas of its names that stand for JSON (grammar.h). *forced: a control token in front of it that the model has to
     * say, or NULL. false: no memory. */
    bool (*grammar)(const struct tool_set *set, struct buf *gbnf, json_t *schemas, const char **forced);
    /* What a system message says of the tools where the template has no place for them. false: no memory. */
    bool (*instructions)(const struct tool_set *set, struct buf *out);
};

extern const struct tool_format *const tool_formats[];         /* up to a NULL */
const struct tool_format *tool_format_named(const char *name); /* NULL: there is none */
/* By what the template spells; the plain JSON form where nothing is recognised. t NULL: no template. */
const struct tool_format *tool_format_of(const struct chat_template *t);

#endif
