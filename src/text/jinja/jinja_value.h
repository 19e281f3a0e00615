/* jinja_value.h - what a template computes with: Python's values as far as chat templates need them.
 *
 * Provenance  every string says for each of its bytes whether it came from untrusted data (struct jstr); whatever makes
 *             strings from strings keeps that.
 * Memory      everything lives in the VM's arena and dies with it; nothing is freed alone. Values are immutable, except
 *             for namespaces and the positions of generators, loops and cyclers.
 * Errors      the first failure is kept in the VM (vm_fail); every function may be called after it, does little and
 *             returns some valid value (or NULL where it says so), so that callers check at loops and at the end only.
 * Limits      steps, bytes of memory and depth are counted in the VM.
 * Threads     a VM belongs to one thread. */
#ifndef HEARTH_TEXT_JINJA_JINJA_VALUE_H
#define HEARTH_TEXT_JINJA_JINJA_VALUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bump allocator over growing chunks: a template's syntax tree or one rendering's values. */
struct jarena {
    struct jchunk *chunks;
    size_t used_bytes, max_bytes;
};
void *jarena_alloc(struct jarena *a, size_t n,
                   size_t size); /* zeroed, 16-byte aligned; NULL past the maximum */
void jarena_free(struct jarena *a);

enum jprov { PROV_TRUSTED, PROV_DATA, PROV_MIXED };

struct jstr {
    const char *p; /* UTF-8, not NUL-terminated */
    size_t len;
    int64_t n_chars;           /* code points; -1: not counted yet */
    enum jprov prov;           /* PROV_MIXED: mask[i] is 1 where byte i is data */
    const unsigned char *mask; /* NULL otherwise */
    bool markup;               /* text that is HTML already (jinja_markup.c) */
};

enum jtype {
    J_MISSING, /* an argument that was not given; never seen by templates */
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_GEN, /* a generator: iterated once, has no length */
    J_DICT,
    J_VIEW, /* dict.keys(), .values(), .items() */
    J_RANGE,
    J_NS,
    J_MACRO,
    J_FUNC,   /* a global function */
    J_METHOD, /* a method bound to its object */
    J_LOOP,
    J_CYCLER,
    J_JOINER,
};

struct jval {
    enum jtype t;
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s;
        struct jseq *seq; /* J_LIST, J_TUPLE, J_GEN */
        struct jdict *d;  /* J_DICT, J_NS */
        struct jview *view;
        struct jrange *range;
        struct jundef *undef;
        struct jmacro *macro;
        struct jmethod *method;
        struct jloop *loop;
        struct jcycler *cycler;
        const struct jfunc *func;
    };
};

struct jseq {
    struct jval *v;
    size_t n, cap;
    size_t pos;        /* J_GEN: the next item */
    bool group;        /* a tuple of groupby: .grouper and .list name its items */
    const char *name;  /* J_GEN: what Python calls it, for printing */
    const char *error; /* J_GEN: what goes wrong behind its last item; NULL: nothing */
};

/* In order of insertion. */
struct jdict {
    struct jentry {
        struct jval key, val;
        uint64_t hash;
    } * e;
    size_t n, cap;
    uint32_t *index; /* n_index slots of entry number + 1; NULL while small */
    size_t n_index;
};

enum jview_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };
struct jview {
    struct jdict *d;
    enum jview_kind kind;
};
struct jrange {
    int64_t start, stop, step, n;
};
struct jcycler { /* cycler() and joiner() */
    struct jval *v;
    size_t n, pos;
};

/* Why a value is missing; told when something is done with it that needs a value. */
struct jundef {
    const char *msg;
    bool unsafe; /* an attribute that the sandbox hides */
};

struct jvm {
    struct jarena mem;
    uint64_t n_steps, max_steps;
    int depth, max_depth;
    size_t max_output_bytes;
    int line; /* of the statement or expression at work */
    bool failed;
    bool unwinding_break, unwinding_continue; /* a loop control on its way to its loop */
    enum err_code code;
    char msg[400]; /* the first failure, without the line */
    bool raised;   /* it was raise_exception() */
    int fail_line;
    bool autoescape; /* of the autoescape block at work; what the template's text says is in the nodes */
    int64_t now_unix;
    const atomic_bool *cancel;   /* NULL, or a flag that ends the rendering */
    const struct jdict *context; /* the names given by the caller */
    struct jscope *root;
    struct jbuf *out; /* where statements print */
};

/* Records the first failure; returns false. */
bool vm_fail(struct jvm *vm, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define vm_type_error(vm, ...) vm_fail(vm, ERR_REQUEST, __VA_ARGS__)
void *vm_alloc(struct jvm *vm, size_t n, size_t size);
#define vm_new(vm, type, n) ((type *)vm_alloc((vm), (n), sizeof(type)))
/* Counts work; false once the limit is passed or anything has failed. */
bool vm_step(struct jvm *vm, size_t n);
/* The price of going through n bytes of text: whatever reads a string to its end pays it, unless it pays in memory as much. */
static inline bool vm_text(struct jvm *vm, size_t n) { return vm_step(vm, n / 16); }
/* Recursion guard: every true needs a vm_leave(). */
bool vm_enter(struct jvm *vm);
static inline void vm_leave(struct jvm *vm) { vm->depth--; }

static inline struct jval jv(enum jtype t) { return (struct jval){ .t = t }; }
static inline struct jval j_none(void) { return jv(J_NONE); }
static inline struct jval j_bool(bool b) { return (struct jval){ .t = J_BOOL, .b = b }; }
static inline struct jval j_int(int64_t i) { return (struct jval){ .t = J_INT, .i = i }; }
static inline struct jval j_float(double f) { return (struct jval){ .t = J_FLOAT, .f = f }; }
struct jval j_undef(struct jvm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- strings ------------------------------------------------------------------------------------------------ */

/* A string over bytes that outlive the VM or belong to it. */
struct jval j_str_ref(struct jvm *vm, const char *p, size_t len, enum jprov prov);
struct jval j_str_copy(struct jvm *vm, const char *p, size_t len, enum jprov prov);
struct jval j_cstr(struct jvm *vm, const char *literal); /* trusted, not copied */
/* Bytes [from, from + len) of s, sharing them, markup when s is. */
struct jval j_str_sub(struct jvm *vm, const struct jstr *s, size_t from, size_t len);
struct jval jstr_concat(struct jvm *vm, const struct jstr *a, const struct jstr *b);
bool jstr_eq(const struct jstr *a, const struct jstr *b);
bool jstr_is(const struct jstr *s, const char *literal);
int64_t jstr_chars(struct jvm *vm, struct jstr *s);

/* A string being built. */
struct jbuf {
    struct jvm *vm;
    char *p;
    unsigned char *mask;
    size_t len, cap, max_bytes; /* max_bytes 0: the VM's memory alone limits it */
    bool any_data, any_trusted;
};
static inline struct jbuf jbuf_new(struct jvm *vm) { return (struct jbuf){ .vm = vm }; }
void jbuf_add(struct jbuf *b, const char *p, size_t len, bool data);
void jbuf_puts(struct jbuf *b, const char *s); /* trusted */
void jbuf_char(struct jbuf *b, uint32_t code_point, bool data);
void jbuf_pad(struct jbuf *b, char c, int64_t n); /* trusted */
void jbuf_sub(struct jbuf *b, const struct jstr *s, size_t from, size_t len);
static inline void jbuf_str(struct jbuf *b, const struct jstr *s) { jbuf_sub(b, s, 0, s->len); }
struct jval jbuf_take(struct jbuf *b);

/* True when byte i came from untrusted data. */
static inline bool jstr_data(const struct jstr *s, size_t i)
{
    return s->prov == PROV_MIXED ? s->mask[i] != 0 : s->prov == PROV_DATA;
}

/* --- lists, dicts ------------------------------------------------------------------------------------------- */

struct jval j_seq(struct jvm *vm, enum jtype t, size_t cap); /* empty, with room for cap; seq never NULL */
void jseq_push(struct jvm *vm, struct jval seq, struct jval item);
struct jval j_pair(struct jvm *vm, struct jval a, struct jval b);
struct jval j_dict(struct jvm *vm);
/* Replaces the value of an equal key. Fails on an unhashable key. */
void jdict_set(struct jvm *vm, struct jdict *d, struct jval key, struct jval val);
/* NULL when absent; the caller has checked j_hashable() or does not mind "absent". */
const struct jval *jdict_get(struct jvm *vm, const struct jdict *d, struct jval key);
const struct jval *jdict_gets(struct jvm *vm, const struct jdict *d, const char *key, size_t len);
bool j_hashable(struct jvm *vm, struct jval v);

/* --- Python's rules ------------------------------------------------------------------------------------------ */

const char *j_type_name(struct jval v); /* "str", "NoneType", ... */
bool j_truth(struct jvm *vm, struct jval v);
bool j_eq(struct jvm *vm, struct jval a, struct jval b);
/* a < b for order 0, a <= b for 1; fails on types that have no order. */
bool j_less(struct jvm *vm, struct jval a, struct jval b, bool or_equal);
/* `item in container`. */
bool j_contains(struct jvm *vm, struct jval container, struct jval item);
bool j_is_number(struct jval v); /* int, float, bool */
double j_to_double(struct jval v);
/* bool and int, as Python's int; false for others. */
bool j_to_int(struct jval v, int64_t *out);
/* len(); -1 when the type has none (no failure recorded). */
int64_t j_len(struct jvm *vm, struct jval v);
/* The items as a fresh or shared J_LIST, generators consumed. Fails on what is not iterable. */
struct jval j_items(struct jvm *vm, struct jval v);
bool j_iterable(struct jval v);
struct jval jrange_at(const struct jrange *r, int64_t i);
/* str(v), but markup stays markup, and repr(v); tojson's compact form is in jinja_json.c. */
struct jval j_to_str(struct jvm *vm, struct jval v);
void j_print(struct jbuf *b, struct jval v);
void j_repr(struct jbuf *b, struct jval v);
/* Python's repr of a float, at most 32 bytes with the NUL. */
void j_float_text(double f, char out[32]);

/* --- Unicode -------------------------------------------------------------------------------------------------- */

/* The code point at p[0..len) and its size in bytes (at least 1; malformed bytes count as themselves). */
uint32_t utf8_at(const char *p, size_t len, int *n_bytes);
bool uni_is_space(uint32_t c);   /* str.isspace() */
bool uni_is_newline(uint32_t c); /* what str.splitlines() splits at */
bool uni_is_printable(uint32_t c);
uint32_t uni_lower(uint32_t c);
bool uni_is_upper(uint32_t c); /* or a title letter */
bool uni_is_alpha(uint32_t c); /* str.isalpha() */

#endif
