/* gbnf.h - reads grammars in llama.cpp's notation (GBNF) into expressions.
 *
 * Understood  name ::= alternatives, over several lines; "literals", [classes], [^...], . for any character, ( ), |, * + ? {m} {m,} {m,n},
 *             # comments; escapes \n \r \t \\ \" \[ \] \- \^ \xNN \uNNNN \UNNNNNNNN, which stand for characters. A rule ends at a line's
 *             end where the next line begins another.
 * Refused     tokens (<name>, <[id]>): by name. Every error has line and column, counted from 1.
 * Threads     read only once made. */
#ifndef HEARTH_TEXT_GRAMMAR_GBNF_H
#define HEARTH_TEXT_GRAMMAR_GBNF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum gbnf_kind {
    GBNF_EMPTY,
    GBNF_TEXT,   /* text[at .. at+n) of UTF-8 */
    GBNF_CHARS,  /* one character of range[at .. at+n) */
    GBNF_CAT,    /* its children one behind the other */
    GBNF_OR,     /* one of its children */
    GBNF_REPEAT, /* its child, min to max times (max -1: no end) */
    GBNF_NAME    /* rule `at` */
};

struct gbnf_node {
    enum gbnf_kind kind;
    int child, next; /* its first child; the next child of its parent; -1: none */
    int at, n;
    int min, max;
    size_t pos; /* in the source */
};

struct gbnf_range {
    uint32_t first, last; /* code points, ascending and apart, without surrogates */
};

struct gbnf_rule {
    char *name;
    int body;   /* a node; -1: used, but not defined */
    size_t pos; /* where it is defined, or first used */
};

struct gbnf {
    int n_node, n_rule, n_text, n_range, root; /* root: the rule of that name */
    struct gbnf_node *node;
    struct gbnf_rule *rule;
    char *text;
    struct gbnf_range *range;
    const char *source; /* borrowed: for places alone */
};

struct gbnf_limits {
    size_t max_bytes; /* of the grammar's text */
    int max_rules, max_nodes;
    int max_depth; /* of parentheses */
    int max_count; /* the highest number of a counted repetition */
    /* Texts that are tokens of their own and no text of the user's, up to a NULL; NULL: none. Where a literal spells one, byte 255, which no
     * text has, stands in front of it: a vocabulary that gives them this byte as well has them nowhere else. */
    const char *const *marks;
};

/* s is borrowed. */
bool gbnf_read(struct gbnf **out, const char *s, size_t n, const struct gbnf_limits *l, struct err *e);
void gbnf_free(struct gbnf *g);
/* Line and column of a place. The source has to be there still. */
void gbnf_place(const struct gbnf *g, size_t pos, int *line, int *column);

#endif
