#include "text/jinja/jinja_eval.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* --- memory and limits ---------------------------------------------------------------------------------------- */

#define CHUNK_BYTES ((size_t)32 << 10)

struct jchunk {
    struct jchunk *next;
    size_t used, cap; /* bytes after the header */
    size_t pad;       /* keeps what follows 16-byte aligned */
};
_Static_assert(sizeof(struct jchunk) % 16 == 0, "allocations start aligned");

static void *arena_raw(struct jarena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes) || !mem_add(bytes, 15, &bytes)) return NULL;
    bytes &= ~(size_t)15;
    if (bytes > a->max_bytes - a->used_bytes) return NULL;
    struct jchunk *c = a->chunks;
    if (!c || bytes > c->cap - c->used) {
        /* Chunks grow with what is used, so that a big rendering does not take thousands of them. */
        size_t cap = CHUNK_BYTES + a->used_bytes / 4;
        if (cap < bytes) cap = bytes;
        struct jchunk *fresh = malloc(sizeof *fresh + cap);
        if (!fresh) return NULL;
        fresh->used = 0;
        fresh->cap = cap;
        if (c && bytes > CHUNK_BYTES && c->cap - c->used > bytes / 8) {
            fresh->next = c->next; /* a big block of its own; the current chunk still has room */
            c->next = fresh;
        } else {
            fresh->next = c;
            a->chunks = fresh;
        }
        c = fresh;
    }
    void *p = (char *)(c + 1) + c->used;
    c->used += bytes;
    a->used_bytes += bytes;
    return p;
}

void *jarena_alloc(struct jarena *a, size_t n, size_t size)
{
    void *p = arena_raw(a, n, size);
    return p ? memset(p, 0, n * size) : NULL;
}

void jarena_free(struct jarena *a)
{
    for (struct jchunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunks = NULL;
}

bool vm_fail(struct jvm *vm, enum err_code code, const char *fmt, ...)
{
    if (vm->failed) return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(vm->msg, sizeof vm->msg, fmt, ap);
    va_end(ap);
    vm->failed = true;
    vm->code = code;
    vm->fail_line = vm->line;
    return false;
}

void *vm_alloc(struct jvm *vm, size_t n, size_t size)
{
    void *p = vm->failed ? NULL : jarena_alloc(&vm->mem, n, size);
    if (!p) vm_fail(vm, ERR_LIMIT, "rendering needs more than %zu MB of memory", vm->mem.max_bytes >> 20);
    return p;
}

/* Text, about to be written: not zeroed. */
static char *alloc_bytes(struct jvm *vm, size_t n, size_t size)
{
    char *p = vm->failed ? NULL : arena_raw(&vm->mem, n, size);
    if (!p) vm_fail(vm, ERR_LIMIT, "rendering needs more than %zu MB of memory", vm->mem.max_bytes >> 20);
    return p;
}

bool vm_step(struct jvm *vm, size_t n)
{
    if (vm->failed) return false;
    if (vm->cancel && atomic_load_explicit(vm->cancel, memory_order_relaxed))
        return vm_fail(vm, ERR_CANCELLED, "nobody waits for the reply any more");
    vm->n_steps += n;
    if (vm->n_steps > vm->max_steps)
        return vm_fail(vm, ERR_LIMIT, "rendering takes more than %llu steps; does a loop never end?",
                       (unsigned long long)vm->max_steps);
    return true;
}

bool vm_enter(struct jvm *vm)
{
    if (vm->failed) return false;
    if (vm->depth >= vm->max_depth) return vm_fail(vm, ERR_LIMIT, "nested deeper than %d", vm->max_depth);
    vm->depth++;
    return true;
}

struct jval j_undef(struct jvm *vm, const char *fmt, ...)
{
    char msg[200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    if (n >= (int)sizeof msg) n = (int)sizeof msg - 1;
    struct jundef *u = vm_new(vm, struct jundef, 1);
    char *copy = vm_alloc(vm, (size_t)n + 1, 1);
    if (!u || !copy) return j_none();
    memcpy(copy, msg, (size_t)n);
    u->msg = copy;
    return (struct jval){ .t = J_UNDEF, .undef = u };
}

/* --- strings --------------------------------------------------------------------------------------------------- */

static const struct jstr empty_str;

static struct jval str_val(const struct jstr *s)
{
    return (struct jval){ .t = J_STR, .s = (struct jstr *)s };
}

struct jval j_str_ref(struct jvm *vm, const char *p, size_t len, enum jprov prov)
{
    struct jstr *s = len ? vm_new(vm, struct jstr, 1) : NULL;
    if (!s) return str_val(&empty_str);
    *s = (struct jstr){ .p = p, .len = len, .n_chars = -1, .prov = prov };
    return str_val(s);
}

struct jval j_str_copy(struct jvm *vm, const char *p, size_t len, enum jprov prov)
{
    char *copy = len ? alloc_bytes(vm, len, 1) : NULL;
    if (!copy) return str_val(&empty_str);
    memcpy(copy, p, len);
    return j_str_ref(vm, copy, len, prov);
}

struct jval j_cstr(struct jvm *vm, const char *literal)
{
    return j_str_ref(vm, literal, strlen(literal), PROV_TRUSTED);
}

struct jval j_str_sub(struct jvm *vm, const struct jstr *s, size_t from, size_t len)
{
    if (from == 0 && len == s->len) return str_val(s);
    struct jval v = j_str_ref(vm, s->p + from, len, s->prov);
    if (s->prov == PROV_MIXED && v.s->len) v.s->mask = s->mask + from;
    return s->markup ? j_markup(vm, v.s, true) : v;
}

bool jstr_eq(const struct jstr *a, const struct jstr *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->p, b->p, a->len) == 0);
}

bool jstr_is(const struct jstr *s, const char *literal)
{
    return s->len == strlen(literal) && (s->len == 0 || memcmp(s->p, literal, s->len) == 0);
}

int64_t jstr_chars(struct jvm *vm, struct jstr *s)
{
    if (s->len == 0) return 0; /* the shared empty string is constant */
    if (s->n_chars < 0) {
        int64_t n = 0;
        vm_text(vm, s->len);
        for (size_t i = 0; i < s->len; i++) n += ((unsigned char)s->p[i] & 0xC0) != 0x80;
        s->n_chars = n;
    }
    return s->n_chars;
}

/* Exactly as large as needed and without a mask where one answer does for all bytes: templates build their turns from
 * many sums. */
struct jval jstr_concat(struct jvm *vm, const struct jstr *a, const struct jstr *b)
{
    size_t len;
    if (!b->len) return str_val(a);
    if (!a->len) return str_val(b);
    if (!mem_add(a->len, b->len, &len)) return str_val(&empty_str);
    const bool mixed = a->prov != b->prov || a->prov == PROV_MIXED;
    char *p = alloc_bytes(vm, len, mixed ? 2 : 1);
    if (!p) return str_val(&empty_str);
    memcpy(p, a->p, a->len);
    memcpy(p + a->len, b->p, b->len);
    struct jval v = j_str_ref(vm, p, len, mixed ? PROV_MIXED : a->prov);
    if (!mixed || !v.s->len) return v;
    for (int i = 0; i < 2; i++) {
        const struct jstr *s = i ? b : a;
        char *mask = p + len + (i ? a->len : 0);
        if (s->prov == PROV_MIXED)
            memcpy(mask, s->mask, s->len);
        else
            memset(mask, s->prov == PROV_DATA, s->len);
    }
    v.s->mask = (const unsigned char *)p + len;
    return v;
}

static bool jbuf_room(struct jbuf *b, size_t extra)
{
    size_t need;
    if (b->vm->failed) return false;
    if (!mem_add(b->len, extra, &need) || (b->max_bytes && need > b->max_bytes))
        return vm_fail(b->vm, ERR_LIMIT, "the output is larger than %zu MB", b->max_bytes >> 20);
    if (need <= b->cap) return true;
    size_t cap = b->cap * 2 > need ? b->cap * 2 : need;
    if (cap < 64) cap = 64;
    char *p = alloc_bytes(b->vm, cap, 2); /* bytes, then their mask */
    if (!p) return false;
    if (b->len) {
        memcpy(p, b->p, b->len);
        memcpy(p + cap, b->mask, b->len);
    }
    b->p = p;
    b->mask = (unsigned char *)p + cap;
    b->cap = cap;
    return true;
}

void jbuf_add(struct jbuf *b, const char *p, size_t len, bool data)
{
    if (!len || !jbuf_room(b, len)) return;
    memcpy(b->p + b->len, p, len);
    memset(b->mask + b->len, data, len);
    b->len += len;
    *(data ? &b->any_data : &b->any_trusted) = true;
}

void jbuf_puts(struct jbuf *b, const char *s) { jbuf_add(b, s, strlen(s), false); }

void jbuf_char(struct jbuf *b, uint32_t c, bool data)
{
    char u[4];
    if (c < 0x80) {
        u[0] = (char)c;
        jbuf_add(b, u, 1, data);
    } else if (c < 0x800) {
        u[0] = (char)(0xC0 | c >> 6);
        u[1] = (char)(0x80 | (c & 63));
        jbuf_add(b, u, 2, data);
    } else if (c < 0x10000) {
        u[0] = (char)(0xE0 | c >> 12);
        u[1] = (char)(0x80 | (c >> 6 & 63));
        u[2] = (char)(0x80 | (c & 63));
        jbuf_add(b, u, 3, data);
    } else {
        u[0] = (char)(0xF0 | c >> 18);
        u[1] = (char)(0x80 | (c >> 12 & 63));
        u[2] = (char)(0x80 | (c >> 6 & 63));
        u[3] = (char)(0x80 | (c & 63));
        jbuf_add(b, u, 4, data);
    }
}

void jbuf_pad(struct jbuf *b, char c, int64_t n)
{
    if (n <= 0 || !jbuf_room(b, (size_t)n)) return;
    memset(b->p + b->len, c, (size_t)n);
    memset(b->mask + b->len, 0, (size_t)n);
    b->len += (size_t)n;
    b->any_trusted = true;
}

void jbuf_sub(struct jbuf *b, const struct jstr *s, size_t from, size_t len)
{
    if (!len) return;
    if (s->prov != PROV_MIXED) {
        jbuf_add(b, s->p + from, len, s->prov == PROV_DATA);
        return;
    }
    if (!jbuf_room(b, len)) return;
    memcpy(b->p + b->len, s->p + from, len);
    memcpy(b->mask + b->len, s->mask + from, len);
    b->len += len;
    b->any_data = b->any_trusted = true;
}

struct jval jbuf_take(struct jbuf *b)
{
    const enum jprov prov = !b->any_data ? PROV_TRUSTED : b->any_trusted ? PROV_MIXED : PROV_DATA;
    struct jval v = j_str_ref(b->vm, b->p, b->len, prov);
    if (prov == PROV_MIXED && v.s->len) v.s->mask = b->mask;
    return v;
}

/* --- lists, dicts ----------------------------------------------------------------------------------------------- */

struct jval j_seq(struct jvm *vm, enum jtype t, size_t cap)
{
    struct jseq *s = vm_new(vm, struct jseq, 1);
    if (!s) {
        /* A list nobody can push to: jseq_push() fails first once the VM has failed. */
        static const struct jseq none;
        return (struct jval){ .t = t, .seq = (struct jseq *)&none };
    }
    if (cap) s->v = vm_new(vm, struct jval, cap);
    s->cap = s->v ? cap : 0;
    s->name = "generator";
    return (struct jval){ .t = t, .seq = s };
}

void jseq_push(struct jvm *vm, struct jval seq, struct jval item)
{
    struct jseq *s = seq.seq;
    if (vm->failed) return;
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 8;
        struct jval *v = vm_new(vm, struct jval, cap);
        if (!v) return;
        if (s->n) memcpy(v, s->v, s->n * sizeof *v);
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = item;
}

struct jval j_pair(struct jvm *vm, struct jval a, struct jval b)
{
    struct jval t = j_seq(vm, J_TUPLE, 2);
    jseq_push(vm, t, a);
    jseq_push(vm, t, b);
    return t;
}

struct jval j_dict(struct jvm *vm)
{
    struct jdict *d = vm_new(vm, struct jdict, 1);
    static const struct jdict none; /* as in j_seq() */
    return (struct jval){ .t = J_DICT, .d = d ? d : (struct jdict *)&none };
}

bool j_hashable(struct jvm *vm, struct jval v)
{
    if (v.t == J_LIST || v.t == J_DICT || v.t == J_VIEW) return false;
    if (v.t != J_TUPLE) return true;
    if (!vm_enter(vm)) return false;
    bool all = true;
    for (size_t i = 0; i < v.seq->n && all; i++) all = vm_step(vm, 1) && j_hashable(vm, v.seq->v[i]);
    vm_leave(vm);
    return all;
}

static uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h ^ h >> 29;
}

/* Equal values hash alike: 1, 1.0 and True are one key. */
static uint64_t hash_of(struct jvm *vm, struct jval v)
{
    switch (v.t) {
    case J_STR: return vm_text(vm, v.s->len) ? hash_bytes(v.s->p, v.s->len) : 0;
    case J_BOOL: return (uint64_t)v.b * 0x9E3779B97F4A7C15u;
    case J_INT: return (uint64_t)v.i * 0x9E3779B97F4A7C15u;
    case J_FLOAT:
        if (fabs(v.f) < 9e18) return (uint64_t)(int64_t)v.f * 0x9E3779B97F4A7C15u;
        return 7;
    case J_TUPLE: {
        uint64_t h = 31;
        if (!vm_enter(vm)) return h;
        for (size_t i = 0; i < v.seq->n && vm_step(vm, 1); i++) h = h * 1000003u + hash_of(vm, v.seq->v[i]);
        vm_leave(vm);
        return h;
    }
    default: return (uint64_t)v.t;
    }
}

static struct jentry *dict_find(struct jvm *vm, const struct jdict *d, struct jval key, uint64_t h)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == h && j_eq(vm, d->e[i].key, key)) return &d->e[i];
        return NULL;
    }
    for (size_t at = h & (d->n_index - 1); d->index[at]; at = (at + 1) & (d->n_index - 1)) {
        if (!vm_step(vm, 1)) return NULL; /* keys that collide cost what they cost */
        struct jentry *e = &d->e[d->index[at] - 1];
        if (e->hash == h && j_eq(vm, e->key, key)) return e;
    }
    return NULL;
}

static void index_add(struct jdict *d, size_t i)
{
    size_t at = d->e[i].hash & (d->n_index - 1);
    while (d->index[at]) at = (at + 1) & (d->n_index - 1);
    d->index[at] = (uint32_t)i + 1;
}

void jdict_set(struct jvm *vm, struct jdict *d, struct jval key, struct jval val)
{
    if (vm->failed) return;
    if (!j_hashable(vm, key)) {
        vm_type_error(vm, "a %s cannot be a dictionary's key", j_type_name(key));
        return;
    }
    const uint64_t h = hash_of(vm, key);
    struct jentry *e = dict_find(vm, d, key, h);
    if (vm->failed) return;
    if (e) {
        e->val = val;
        return;
    }
    if (d->n == d->cap) {
        const size_t cap = d->cap ? 2 * d->cap : 8;
        struct jentry *grown = vm_new(vm, struct jentry, cap);
        if (!grown || cap > UINT32_MAX / 4) return;
        if (d->n) memcpy(grown, d->e, d->n * sizeof *grown);
        d->e = grown;
        d->cap = cap;
        if (cap > 8) {
            uint32_t *index = vm_new(vm, uint32_t, 2 * cap);
            if (!index) return;
            d->index = index;
            d->n_index = 2 * cap;
            for (size_t i = 0; i < d->n; i++) index_add(d, i);
        }
    }
    d->e[d->n++] = (struct jentry){ key, val, h };
    if (d->index) index_add(d, d->n - 1);
}

const struct jval *jdict_get(struct jvm *vm, const struct jdict *d, struct jval key)
{
    if (!j_hashable(vm, key)) return NULL;
    const struct jentry *e = dict_find(vm, d, key, hash_of(vm, key));
    return e ? &e->val : NULL;
}

const struct jval *jdict_gets(struct jvm *vm, const struct jdict *d, const char *key, size_t len)
{
    const struct jstr s = { .p = key, .len = len };
    return jdict_get(vm, d, str_val(&s));
}

/* --- Python's rules ----------------------------------------------------------------------------------------------- */

const char *j_type_name(struct jval v)
{
    switch (v.t) {
    case J_MISSING:
    case J_UNDEF: return "Undefined";
    case J_NONE: return "NoneType";
    case J_BOOL: return "bool";
    case J_INT: return "int";
    case J_FLOAT: return "float";
    case J_STR: return "str";
    case J_LIST: return "list";
    case J_TUPLE: return "tuple";
    case J_GEN: return "generator";
    case J_DICT: return "dict";
    case J_VIEW:
        return v.view->kind == VIEW_KEYS     ? "dict_keys"
               : v.view->kind == VIEW_VALUES ? "dict_values"
                                             : "dict_items";
    case J_RANGE: return "range";
    case J_NS: return "Namespace";
    case J_MACRO: return "Macro";
    case J_FUNC: return "function";
    case J_METHOD: return "builtin_function_or_method";
    case J_LOOP: return "LoopContext";
    case J_CYCLER: return "Cycler";
    case J_JOINER: return "Joiner";
    }
    return "object";
}

int64_t j_len(struct jvm *vm, struct jval v)
{
    switch (v.t) {
    case J_UNDEF: return 0;
    case J_STR: return jstr_chars(vm, v.s);
    case J_LIST:
    case J_TUPLE: return (int64_t)v.seq->n;
    case J_DICT: return (int64_t)v.d->n;
    case J_VIEW: return (int64_t)v.view->d->n;
    case J_RANGE: return v.range->n;
    default: return -1;
    }
}

bool j_truth(struct jvm *vm, struct jval v)
{
    switch (v.t) {
    case J_MISSING:
    case J_UNDEF:
    case J_NONE: return false;
    case J_BOOL: return v.b;
    case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    case J_STR: return v.s->len != 0;
    default: return j_len(vm, v) != 0; /* what has no length (-1) is true */
    }
}

bool j_is_number(struct jval v) { return v.t == J_BOOL || v.t == J_INT || v.t == J_FLOAT; }

double j_to_double(struct jval v) { return v.t == J_FLOAT ? v.f : v.t == J_BOOL ? (double)v.b : (double)v.i; }

bool j_to_int(struct jval v, int64_t *out)
{
    if (v.t != J_BOOL && v.t != J_INT) return false;
    *out = v.t == J_BOOL ? v.b : v.i;
    return true;
}

struct jval jrange_at(const struct jrange *r, int64_t i)
{
    /* The value lies in the range; i * step need not, and wraps round twice. */
    return j_int((int64_t)((uint64_t)r->start + (uint64_t)i * (uint64_t)r->step));
}

bool j_eq(struct jvm *vm, struct jval a, struct jval b)
{
    int64_t x, y;
    if (j_to_int(a, &x) && j_to_int(b, &y)) return x == y;
    if (j_is_number(a) && j_is_number(b)) return j_to_double(a) == j_to_double(b);
    if (a.t != b.t) return false;
    switch (a.t) {
    case J_NONE:
    case J_UNDEF:
    case J_MISSING: return true;
    case J_STR:
        if (a.s->len == b.s->len && !vm_step(vm, a.s->len / 64)) return false;
        return jstr_eq(a.s, b.s);
    case J_LIST:
    case J_TUPLE: {
        if (a.seq->n != b.seq->n) return false;
        if (a.seq == b.seq) return true;
        if (!vm_enter(vm)) return false;
        bool same = true;
        for (size_t i = 0; i < a.seq->n && same; i++)
            same = vm_step(vm, 1) && j_eq(vm, a.seq->v[i], b.seq->v[i]);
        vm_leave(vm);
        return same;
    }
    case J_DICT: {
        if (a.d->n != b.d->n) return false;
        if (a.d == b.d) return true;
        if (!vm_enter(vm)) return false;
        bool same = true;
        for (size_t i = 0; i < a.d->n && same; i++) {
            const struct jval *other = jdict_get(vm, b.d, a.d->e[i].key);
            same = vm_step(vm, 1) && other && j_eq(vm, a.d->e[i].val, *other);
        }
        vm_leave(vm);
        return same;
    }
    case J_RANGE:
        return a.range->n == b.range->n && (a.range->n == 0 || a.range->start == b.range->start) &&
               (a.range->n <= 1 || a.range->step == b.range->step);
    case J_FUNC: return a.func == b.func;
    default: return a.seq == b.seq; /* identity: all of these are pointers */
    }
}

bool j_less(struct jvm *vm, struct jval a, struct jval b, bool or_equal)
{
    int64_t x, y;
    if (j_to_int(a, &x) && j_to_int(b, &y)) return or_equal ? x <= y : x < y;
    if (j_is_number(a) && j_is_number(b))
        return or_equal ? j_to_double(a) <= j_to_double(b) : j_to_double(a) < j_to_double(b);
    if (a.t == J_UNDEF || b.t == J_UNDEF) return vm_type_error(vm, "%s", (a.t == J_UNDEF ? a : b).undef->msg);
    if (a.t == J_STR && b.t == J_STR) {
        /* UTF-8 sorts like its code points. */
        const size_t n = a.s->len < b.s->len ? a.s->len : b.s->len;
        if (!vm_step(vm, n / 64)) return false;
        const int c = n ? memcmp(a.s->p, b.s->p, n) : 0;
        if (c) return c < 0;
        return or_equal ? a.s->len <= b.s->len : a.s->len < b.s->len;
    }
    if (a.t == b.t && (a.t == J_LIST || a.t == J_TUPLE)) {
        if (!vm_enter(vm)) return false;
        size_t i = 0;
        while (i < a.seq->n && i < b.seq->n && vm_step(vm, 1) && j_eq(vm, a.seq->v[i], b.seq->v[i])) i++;
        bool less;
        if (i < a.seq->n && i < b.seq->n)
            less = j_less(vm, a.seq->v[i], b.seq->v[i], or_equal);
        else
            less = or_equal ? a.seq->n <= b.seq->n : a.seq->n < b.seq->n;
        vm_leave(vm);
        return less;
    }
    return vm_type_error(vm, "'%s' and '%s' have no order", j_type_name(a), j_type_name(b));
}

bool j_contains(struct jvm *vm, struct jval c, struct jval item)
{
    if (c.t == J_STR) {
        if (item.t != J_STR)
            return vm_type_error(vm, "'in <string>' needs a string on its left, not %s", j_type_name(item));
        if (item.s->len == 0) return true;
        if (!vm_text(vm, c.s->len + item.s->len)) return false;
        return c.s->len && memmem(c.s->p, c.s->len, item.s->p, item.s->len) != NULL;
    }
    if (c.t == J_DICT || (c.t == J_VIEW && c.view->kind == VIEW_KEYS)) {
        if (!j_hashable(vm, item)) return vm_type_error(vm, "unhashable type: '%s'", j_type_name(item));
        return jdict_get(vm, c.t == J_DICT ? c.d : c.view->d, item) != NULL;
    }
    const struct jval list = j_items(vm, c);
    for (size_t i = 0; i < list.seq->n && vm_step(vm, 1); i++)
        if (j_eq(vm, list.seq->v[i], item)) return true;
    return false;
}

bool j_iterable(struct jval v)
{
    switch (v.t) {
    case J_UNDEF:
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_GEN:
    case J_DICT:
    case J_VIEW:
    case J_RANGE:
    case J_LOOP: return true;
    default: return false;
    }
}

struct jval j_items(struct jvm *vm, struct jval v)
{
    struct jval list;
    switch (v.t) {
    case J_LIST: return v;
    case J_TUPLE: v.t = J_LIST; return v;
    case J_UNDEF: return j_seq(vm, J_LIST, 0);
    case J_GEN:
        list = j_seq(vm, J_LIST, v.seq->n - v.seq->pos);
        for (; v.seq->pos < v.seq->n && !vm->failed; v.seq->pos++) jseq_push(vm, list, v.seq->v[v.seq->pos]);
        if (v.seq->error) vm_type_error(vm, "%s", v.seq->error);
        return list;
    case J_STR:
        list = j_seq(vm, J_LIST, (size_t)jstr_chars(vm, v.s));
        for (size_t i = 0; i < v.s->len && vm_step(vm, 1);) {
            int n;
            utf8_at(v.s->p + i, v.s->len - i, &n);
            jseq_push(vm, list, j_markup(vm, j_str_sub(vm, v.s, i, (size_t)n).s, false));
            i += (size_t)n;
        }
        return list;
    case J_DICT:
    case J_VIEW: {
        const struct jdict *d = v.t == J_DICT ? v.d : v.view->d;
        const enum jview_kind kind = v.t == J_DICT ? VIEW_KEYS : v.view->kind;
        list = j_seq(vm, J_LIST, d->n);
        for (size_t i = 0; i < d->n && vm_step(vm, 1); i++)
            jseq_push(vm, list,
                      kind == VIEW_KEYS     ? d->e[i].key
                      : kind == VIEW_VALUES ? d->e[i].val
                                            : j_pair(vm, d->e[i].key, d->e[i].val));
        return list;
    }
    case J_RANGE:
        list = j_seq(vm, J_LIST, (size_t)v.range->n);
        for (int64_t i = 0; i < v.range->n && vm_step(vm, 1); i++) jseq_push(vm, list, jrange_at(v.range, i));
        return list;
    default: vm_type_error(vm, "'%s' object is not iterable", j_type_name(v)); return j_seq(vm, J_LIST, 0);
    }
}
