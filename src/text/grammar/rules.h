/* rules.h - a grammar as automata that call each other: what machine.h walks.
 *
 * A rule is a deterministic automaton over bytes, in which an edge may also be a call: the text of another rule stands there, or JSON that
 * meets a schema. States are numbered through all rules.
 * Exact      every state leads to its rule's end, and every rule that is called can end, so that whatever was begun can be ended.
 * Empty      a rule that may be empty may be passed over where it is called; nothing has to be called and ended at one place.
 * Threads    read only once made. */
#ifndef HEARTH_TEXT_GRAMMAR_RULES_H
#define HEARTH_TEXT_GRAMMAR_RULES_H

#include <jansson.h>

#include "text/grammar/dfa.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/schema.h"

struct rule_call {
    int32_t rule, ret; /* the rule that stands here, and the state behind it */
};

struct rule {
    int32_t start;
    struct schema *schema; /* not NULL: JSON that meets it, and no states */
};

struct rules {
    int n_rule, n_state, n_class;
    struct rule *rule; /* rule 0: the text */
    uint8_t class_of[256];
    int32_t *next;          /* [n_state][n_class]; -1: not possible */
    uint8_t *accepts;       /* [n_state] */
    uint8_t *ends;          /* [n_state] accepts, and nothing goes on here */
    int32_t *first_call;    /* [n_state + 1] into call[] */
    struct rule_call *call; /* of each state, each rule once */
    int32_t *rule_of;       /* [n_state] */
    struct rx_bytes *
        follow; /* [n_rule] bytes that may stand behind the rule's text, wherever it is called; maybe some more */
};

/* What one grammar may take. */
struct grammar_limits {
    struct gbnf_limits text;
    int max_parts;                       /* characters, calls and joints, counted repetition written out */
    int max_states;                      /* of all automata */
    long max_table;                      /* states times kinds of bytes: 4 bytes each */
    long work;                           /* steps of making automata, some 5 ns each */
    const struct schema_limits *schemas; /* of schemas that stand for names; NULL: the default ones */
};
extern const struct grammar_limits grammar_default_limits;

/* Names that g does not define are looked for in schemas. ERR_REQUEST, ERR_UNSUPPORTED, ERR_LIMIT: what is wrong, with its place. */
bool rules_of_gbnf(struct rules **out, const struct gbnf *g, const json_t *schemas,
                   const struct grammar_limits *l, struct err *e);
/* One rule: the language of an automaton, which is not empty; or JSON that meets a schema, which is taken over. */
bool rules_of_dfa(struct rules **out, const struct dfa *d, struct err *e);
bool rules_of_schema(struct rules **out, struct schema *s, struct err *e);
/* The last step of those: which rule a state is in, and what follows a rule. false: no memory. */
bool rules_finish(struct rules *r);
void rules_free(struct rules *r);
size_t rules_bytes(const struct rules *r); /* memory, the schemas' estimated */

static inline int32_t rules_next(const struct rules *r, int32_t q, unsigned char b)
{
    return r->next[(size_t)q * (size_t)r->n_class + r->class_of[b]];
}

#endif
