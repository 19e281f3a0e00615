/* schema.h - a JSON Schema as a machine: for each place what a value may be, in forms that are decided byte by byte.
 *
 * A value is a union: null, true, false, strings (an automaton over their decoded text), numbers (an automaton over their texts), and any
 * number of array and object forms. A form is a conjunction of plain demands: unions, negations, conditions and references have been
 * worked out when the schema was compiled (schema_dnf.c), and what nothing can satisfy has been taken out, so that whatever a
 * machine that walks these forms has begun can be ended.
 * Exact      what cannot be enforced exactly is refused by keyword and path when the schema is compiled.
 * Threads    read only once compiled. */
#ifndef HEARTH_TEXT_GRAMMAR_SCHEMA_H
#define HEARTH_TEXT_GRAMMAR_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "text/grammar/dfa.h"

enum { SCHEMA_TRACKS = 3 }; /* "some member ..." demands of one form */

/* Strings: the automaton's, of min..max characters (max -1: no end). Both are decided beside the automaton. */
struct strings {
    const struct dfa *d;
    bool any; /* every text */
    int min, max;
    int farthest; /* the most of shortest[] */
    const int *shortest,
        *longest; /* [d->n] characters to an end; longest -1: no end. NULL when neither min nor max counts */
};

/* Texts of which each may be taken once: an automaton over them as JSON writes them. */
struct choices {
    struct dfa *d; /* label: the choice's number at an accepting state */
    int n, words;
    uint64_t *reach; /* [d->n][words] */
};

struct array_form {
    int n_prefix;
    int *prefix; /* [1 << n_track][n_prefix] values of the first items ... */
    int *
        rest; /* [1 << n_track] ... and of those behind them; index: the demands that this item is taken to meet. 0: none can */
    int min, max; /* items; max -1: no end */
    bool unique;
    struct choices
        *choices; /* unique, and few values are possible: they are picked from a list. NULL: not so */
    int n_track;
    int track_min[SCHEMA_TRACKS], track_max[SCHEMA_TRACKS]; /* items that meet a demand; max -1: no end */
};

struct key_class {   /* keys that are treated alike */
    int named;       /* number of the name, or -1 */
    unsigned tracks; /* demands that a value here can meet */
    int value[1 << SCHEMA_TRACKS];
};

struct object_form {
    struct dfa *keys; /* of decoded names */
    int *class_of;    /* [keys->n] class at an accepting state */
    int n_class;
    struct key_class *cls;
    int n_named, words; /* names that are known, and 64-bit words for a set of them */
    uint64_t *reach;    /* [keys->n][words] names that can be reached from a state */
    uint8_t *open;      /* [keys->n] other names can be reached, without end */
    bool
        all_open; /* other names can be reached from every state, whatever members there are, if there is room for one */
    bool any_name;      /* ... and every text is the beginning of one */
    uint64_t *required; /* [words] */
    int n_depend;
    struct depend {
        int named;          /* when this one is there ... */
        uint64_t *required; /* ... these are, too */
    } * depend;
    int min, max; /* members */
    int n_track;  /* at least one member for each */
    char **name;  /* [n_named] */
};

struct value {
    bool null, yes, no; /* the three literals */
    struct strings *string;
    const struct dfa *number;
    int n_array, n_object;
    struct array_form **array;
    struct object_form **object;
};

struct schema {
    int n_value, root;
    struct value **value; /* value 0: nothing */
    char **
        ignored; /* keywords that decide nothing, as "#/properties/a/keyword": the first few, for whoever asked */
    int n_ignored;
    void *owner; /* what all of it lies in */
};

/* What a compilation may cost, and how a schema is read. */
struct schema_limits {         /* 0: the default */
    int max_states;            /* of one automaton */
    int max_nodes;             /* expressions */
    int max_values;            /* places */
    int max_clauses;           /* forms of one value, before what cannot be is taken out */
    long steps;                /* of everything that compiling does (budget.h): they bound its time */
    long long bytes;           /* memory, likewise */
    const atomic_bool *cancel; /* set: compiling ends soon, with ERR_CANCELLED. NULL: nobody does */
    /* An object that lists properties admits no others, unless it (or what holds beside it) says something of others itself:
     * additionalProperties, patternProperties, unevaluatedProperties. */
    bool closed_objects;
};

/* limits NULL: the default ones. ERR_REQUEST: the schema is wrong; ERR_UNSUPPORTED: it cannot be enforced; ERR_LIMIT: it is too
 * complex; ERR_CANCELLED. The message names keyword and path. */
bool schema_compile(struct schema **out, const json_t *json, const struct schema_limits *limits,
                    struct err *e);
void schema_free(struct schema *s);

#endif
