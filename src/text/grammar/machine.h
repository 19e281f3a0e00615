/* machine.h - walks a grammar's rules (rules.h) byte by byte: which texts can still become texts of the language.
 *
 * A state is a set of items. An item is a place in a rule's automaton, and the call that this rule stands in; a call knows all the places
 * that it may return to, so that ways to read a text that differ only in what was before share what comes (a graph-structured stack, Tomita
 * 1986; calls are what Earley's start positions are). Where a schema stands, the item is a set of the JSON machine's threads instead.
 * Every item can be brought to an end, so a byte is allowed exactly when some item takes it.
 * Views     states lie one behind another in the machine's lists, which move when they grow.
 * Memory    calls and frames lie in a pile, released from the top; machine_copy() takes along what a state holds on to.
 * Threads   one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_MACHINE_H
#define HEARTH_TEXT_GRAMMAR_MACHINE_H

#include "text/grammar/json_machine.h"
#include "text/grammar/rules.h"

struct call {
    uint64_t at; /* the state that it was made in */
    struct back *back;
    bool bottom; /* it has no caller, or may return to one that has none: the text ends */
};
struct back {
    struct back *next;
    const struct call *up;
    int32_t ret; /* in up's rule */
};

struct item {
    const struct call *in;
    int32_t q;
};
struct inner { /* JSON */
    const struct call *in;
    const struct schema *schema;
    int first, n; /* threads */
};

struct view {
    int item, n_item;
    int inner, n_inner;
    int thread, n_thread;
    bool ended;  /* a call at the bottom has ended here */
    uint64_t at; /* no other state of this machine has this number */
};

enum { MAX_ITEMS = 1024, MAX_INNERS = 64 }; /* of a state; more are ERR_LIMIT when it is made */

struct machine {
    const struct rules *r;
    struct pile pile;
    struct item *item;
    struct inner *inner;
    struct thread *thread;
    int cap_item, cap_inner, cap_thread;
    uint64_t at;
    struct fresh { /* [n_rule] the rule's call, where it was made at this state */
        uint64_t at;
        struct call *call;
    } * fresh;
    struct call root;
    bool full; /* the text can be read in too many ways at once; or no room for another view */
    long work; /* steps taken since whoever asks set it to 0 */
};

bool machine_init(struct machine *m, const struct rules *r, struct err *e);
void machine_free(struct machine *m);

static inline bool view_alive(const struct view *v) { return v->ended || v->n_item > 0 || v->n_inner > 0; }
/* Was the call made in this state? What is in it is then known from the item that made it. */
static inline bool view_made(const struct view *v, const struct call *c) { return c->at == v->at; }

/* All of these make *to, a state that lies behind `below` in the lists. They may set m->full, or m->pile.failed. */
void machine_begin(struct machine *m, struct view *to); /* the first of all */
/* Behind byte b; whether there is anything. */
bool machine_step(struct machine *m, const struct view *from, unsigned char b, struct view *to);
/* One place of a rule. */
void machine_at(struct machine *m, const struct view *below, int32_t q, const struct call *in,
                struct view *to);
/* n threads of some JSON, which t points to (not into the lists, nor `of`); with `ends`, of those that have ended what comes behind, too. */
void machine_inner(struct machine *m, const struct view *below, const struct inner *of,
                   const struct thread *t, int n, bool ends, struct view *to);
/* Moves a state's lists down to right behind `below`; NULL: to the beginning. */
void machine_lower(struct machine *m, struct view *v, const struct view *below);
/* The bytes that may come next, up to two of them: how many, and the least into *byte. */
int machine_bytes(struct machine *m, const struct view *v, unsigned char *byte);

/* Copies a state, and all that it holds on to, to the beginning of another machine of the same rules, which is new or emptied. */
bool machine_copy(struct machine *to, const struct machine *from, const struct view *v, struct view *copy,
                  struct err *e);
/* Lets go of all that *v does not hold on to; *v has to be the first in the lists. */
bool machine_compact(struct machine *m, struct view *v, struct err *e);

#endif
