/* spelling.h - how a family writes calls, as one row: what holds the decoder to it, and what writes earlier calls, follow from that.
 *
 * An answer is mark open CALL (between CALL)* close, a CALL before_name NAME before_arguments {...} behind. */
#ifndef HEARTH_SERVICE_TOOLS_SPELLING_H
#define HEARTH_SERVICE_TOOLS_SPELLING_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "service/tools/tools.h"

struct spelling {
    const char *mark; /* in front of the grammar; NULL: none */
    bool space;       /* a space may follow it */
    const char *open; /* here and below: "" for nothing */
    const char *before_name, *before_arguments, *behind;
    const char *between, *close;
    bool single; /* never more than one call */
};

/* root: an answer in one of n spellings, of one call or (not where the set says one) several of the tools that the set allows. Their
 * parameters become schemas; a tool without parameters takes {}. false: no memory. */
bool spelling_grammar(const struct spelling *s, int n, const struct tool_set *set, struct buf *gbnf,
                      json_t *schemas);
/* Calls of a request, whose arguments are objects, as the model writes them, mark included. false: no memory. */
bool spelling_rewrite(const struct spelling *s, const json_t *calls, struct buf *out);
/* The tools that the set allows, a line of JSON each, between two texts. false: no memory. */
bool spelling_list(const struct tool_set *set, const char *before, const char *behind, struct buf *out);

#endif
