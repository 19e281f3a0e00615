/* json_machine.h - walks a schema's forms byte by byte: which JSON texts can still become valid ones.
 *
 * A state is a set of threads; a thread is one way to read what has come so far: where it is, and the frames (arrays and objects) that are
 * open around it. A state whose set is empty is dead; every thread that is in one can be brought to an end, so a byte is allowed exactly
 * when some thread takes it.
 * Texts     what a JSON printer writes, with white space between tokens: up to two blanks, or a line break and up to 8 blanks a level (at most
 *           64). Characters of ASCII are escaped only where JSON asks for it or printers for HTML do it. Names of members are distinct. A
 *           text ends with its value.
 * Memory    frames never change; they lie in a pile (pile.h).
 * Threads   (of the machine) one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_JSON_MACHINE_H
#define HEARTH_TEXT_GRAMMAR_JSON_MACHINE_H

#include "text/grammar/pile.h"
#include "text/grammar/schema.h"

struct
    used { /* values or names that may not come again, by their hashes: a tree in which bit n of a hash chooses the side at depth n */
    const struct used *side[2];
    uint64_t hash;
};

struct frame {
    const struct frame *up;
    const struct array_form *array; /* or */
    const struct object_form *object;
    const struct used *used;
    uint64_t hash, key;       /* of the value so far, when `hashing`; of the member's name */
    int n;                    /* items or members begun */
    int count[SCHEMA_TRACKS]; /* of them, those taken to meet each demand */
    bool hashing;             /* the value is in an array of unique items */
    uint64_t seen[];          /* [words] names, or choices */
};

enum place {
    AT_VALUE,  /* before a value */
    AT_STRING, /* in one */
    AT_NUMBER,
    AT_LITERAL, /* in null, true, false */
    AT_CHOICE,  /* in one of an array's choices */
    AT_MEMBER,  /* before a member's name; `first`: or the object's end */
    AT_KEY,     /* in a member's name */
    AT_COLON,   /* behind it */
    AT_ITEM,    /* before an item; `first`: or the array's end */
    AT_AFTER,   /* behind a value */
};

struct number_read { /* a number's digits as they come, for its hash */
    int zeros, point, exponent;
    unsigned char dot, negative, has_exponent, exponent_negative;
};

struct thread {
    unsigned char place, first, blank, escape; /* blank: white space just read; escape: how far in one */
    int value;                                 /* AT_VALUE, AT_COLON: its number */
    int32_t q;                                 /* state of the automaton, or bytes of a literal read */
    int n;                                     /* characters of a string */
    uint32_t code;                             /* of an escape, so far */
    uint64_t hash;
    const struct frame *up;
    union {
        const struct strings *string;
        const struct dfa *number;
        const char *literal;
    };
    struct number_read read;
};

/* The automaton of the string, or the name, that a thread is in. */
static inline const struct dfa *thread_automaton(const struct thread *t)
{
    return t->place == AT_KEY ? t->up->object->keys : t->string->d;
}

enum { MAX_THREADS = 1024 }; /* of a state; more are ERR_LIMIT when the state is made */

/* The state before the first byte. */
int json_begin(const struct schema *s, struct thread *out);
/* The threads behind byte b; *out has room for `room`. -1: more than there is room for. */
int json_step(const struct schema *s, struct pile *pile, const struct thread *in, int n, unsigned char b,
              struct thread *out, int room);
bool json_was_used(const struct frame *f, uint64_t hash);
/* May a member of a name that is not listed come next, as far as the number of members goes? */
bool json_has_room(const struct frame *f);
/* Does what comes behind a value in this frame depend on what the value is? */
bool json_asks_hash(const struct frame *up);
/* A byte inside a string or a name that is not its end; false: it cannot come (*t is as good as lost). */
bool json_text_byte(struct thread *t, unsigned char b);
/* The threads behind a member's name whose automaton ended in state q, with its hash (json_text_byte() makes it); at most 8. */
int json_key_ended(struct pile *pile, const struct thread *key, int32_t q, uint64_t hash, struct thread *out);
/* Has the thread read a whole value? */
static inline bool json_ended(const struct thread *t)
{
    return !t->up && (t->place == AT_AFTER || (t->place == AT_NUMBER && t->number->accepts[t->q]));
}
/* Copies the frames around a thread into another pile. NULL when there are none, or no memory (m->failed). */
const struct frame *json_move(struct mover *m, const struct frame *f);

#endif
