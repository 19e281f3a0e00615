/* schema.c - from a document to a machine: values are worked out one after the other, then what nothing can meet is taken out. */
#include "text/grammar/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/grammar/ecma.h"
#include "text/grammar/number.h"
#include "text/grammar/schema_internal.h"

enum { CHUNK = 1 << 16, MAX_CHOICES = 512, MAX_CHOICE_LEN = 4000 };

/* steps: the slowest take some 20 ns, so that the worst of schemas is refused within 100 ms (schema_test.c has such). */
static const struct schema_limits default_limits = { .max_states = 60000,
                                                     .max_nodes = 600000,
                                                     .max_values = 50000,
                                                     .max_clauses = 4096,
                                                     .steps = 4500000,
                                                     .bytes = 64 << 20 };

/* ---- memory, names, budget ----------------------------------------------------------------------------------------------- */

struct chunk {
    struct chunk *next;
    size_t used, cap;
    _Alignas(16) unsigned char bytes[];
};

void *compile_alloc(struct compile *c, bool keep, size_t n, size_t size, struct err *e)
{
    struct chunk **list = keep ? &c->kept : &c->chunk;
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return err_set(e, ERR_LIMIT, "schema: too large"), NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!budget_take(&c->budget, 1)) return budget_ok(&c->budget, e), NULL;
    if (!*list || (*list)->cap - (*list)->used < bytes) {
        const size_t cap = bytes > CHUNK ? bytes : CHUNK;
        if (!budget_bytes(&c->budget, cap) || !budget_take(&c->budget, (long)(cap / 32)))
            return budget_ok(&c->budget, e), NULL;
        struct chunk *k = calloc(1, sizeof *k + cap);
        if (!k) return err_set(e, ERR_NOMEM, "no memory for a schema"), NULL;
        k->cap = cap;
        k->next = *list;
        *list = k;
    }
    void *p = (*list)->bytes + (*list)->used;
    (*list)->used += bytes;
    return p;
}

static void chunks_free(struct chunk *k)
{
    while (k) {
        struct chunk *next = k->next;
        free(k);
        k = next;
    }
}

bool compile_burn(struct compile *c, long steps, struct err *e)
{
    return budget_take(&c->budget, steps) || (budget_ok(&c->budget, e), err_wrap(e, "schema"));
}

static unsigned hash_text(const char *s)
{
    unsigned h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static bool grow_buckets(int **bucket, int *n_bucket, struct err *e)
{
    const int n = *n_bucket ? *n_bucket * 2 : 256; /* its memory counts with what is in it */
    int *b = malloc((size_t)n * sizeof *b);
    if (!b) return err_set(e, ERR_NOMEM, "no memory for a schema");
    for (int i = 0; i < n; i++) b[i] = -1;
    free(*bucket);
    *bucket = b;
    *n_bucket = n;
    return true;
}

int compile_name(struct compile *c, const char *s, struct err *e)
{
    if (c->n_name * 2 >= c->n_name_bucket) {
        if (!grow_buckets(&c->name_bucket, &c->n_name_bucket, e)) return -1;
        for (int i = 0; i < c->n_name; i++) {
            unsigned at = hash_text(c->name[i]);
            while (c->name_bucket[at & (unsigned)(c->n_name_bucket - 1)] >= 0) at++;
            c->name_bucket[at & (unsigned)(c->n_name_bucket - 1)] = i;
        }
    }
    if (!compile_burn(c, 4 + (long)strlen(s) / 8, e)) return -1;
    unsigned at = hash_text(s);
    for (;; at++) {
        const int i = c->name_bucket[at & (unsigned)(c->n_name_bucket - 1)];
        if (i < 0) break;
        if (!strcmp(c->name[i], s)) return i;
    }
    if (c->n_name == c->cap_name) {
        const int cap = c->cap_name ? c->cap_name * 2 : 128;
        char **q = realloc(c->name, (size_t)cap * sizeof *q);
        rx *p = realloc(c->pattern, (size_t)cap * sizeof *p);
        if (q) c->name = q;
        if (p) c->pattern = p;
        if (!q || !p) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
        c->cap_name = cap;
    }
    const size_t n = strlen(s) + 1;
    char *copy = compile_alloc(c, false, n, 1, e);
    if (!copy) return -1;
    memcpy(copy, s, n);
    c->name_bucket[at & (unsigned)(c->n_name_bucket - 1)] = c->n_name;
    c->pattern[c->n_name] = 0;
    c->name[c->n_name] = copy;
    return c->n_name++;
}

bool compile_pattern(struct compile *c, int sub, const char *key, int name, rx *out, struct err *e)
{
    struct err why;
    if (c->pattern[name] == 0) { /* a pattern that nothing matches is made anew each time */
        rx r;
        if (!ecma_search(c->pool, c->name[name], strlen(c->name[name]), &r, &why))
            return schema_refuse(&c->doc, sub, why.code, key, e, "%s", why.msg);
        c->pattern[name] = r;
    }
    *out = c->pattern[name];
    return true;
}

const struct dfa *compile_dfa(struct compile *c, rx r, struct err *e)
{
    if (c->n_dfa * 2 >= c->n_dfa_bucket) {
        if (!grow_buckets(&c->dfa_bucket, &c->n_dfa_bucket, e)) return NULL;
        for (int i = 0; i < c->n_dfa; i++) {
            unsigned at = (unsigned)c->dfa_of[i] * 2654435761u;
            while (c->dfa_bucket[at & (unsigned)(c->n_dfa_bucket - 1)] >= 0) at++;
            c->dfa_bucket[at & (unsigned)(c->n_dfa_bucket - 1)] = i;
        }
    }
    unsigned at = (unsigned)r * 2654435761u;
    for (;; at++) {
        const int i = c->dfa_bucket[at & (unsigned)(c->n_dfa_bucket - 1)];
        if (i < 0) break;
        if (c->dfa_of[i] == r) return c->dfa[i];
    }
    if (c->n_dfa == c->cap_dfa) {
        const int cap = c->cap_dfa ? c->cap_dfa * 2 : 64;
        struct dfa **d = realloc(c->dfa, (size_t)cap * sizeof *d);
        rx *of = realloc(c->dfa_of, (size_t)cap * sizeof *of);
        if (d) c->dfa = d;
        if (of) c->dfa_of = of;
        if (!d || !of) return err_set(e, ERR_NOMEM, "no memory for a schema"), NULL;
        c->cap_dfa = cap;
    }
    if (!compile_burn(c, 200, e)) return NULL; /* what the smallest takes: a dozen allocations */
    if (!dfa_new(&c->dfa[c->n_dfa], c->pool, r, NULL, 0, c->limits.max_states, e)) return NULL;
    c->dfa_bucket[at & (unsigned)(c->n_dfa_bucket - 1)] = c->n_dfa;
    c->dfa_of[c->n_dfa] = r;
    return c->dfa[c->n_dfa++];
}

bool compile_matches(struct compile *c, rx r, const char *s)
{
    for (; *s && r != RX_NONE; s++) r = rx_after(c->pool, r, (unsigned char)*s);
    return rx_has_empty(c->pool, r);
}

/* ---- keywords ------------------------------------------------------------------------------------------------------------ */

int sub_of(struct compile *c, int sub, const json_t *json, const char *key, struct err *e)
{
    return schema_doc_sub(&c->doc, sub, json, e, "%s", key);
}
int sub_in(struct compile *c, int sub, const json_t *json, const char *key, int index, struct err *e)
{
    return schema_doc_sub(&c->doc, sub, json, e, "%s/%d", key, index);
}
int sub_named(struct compile *c, int sub, const json_t *json, const char *key, const char *name,
              struct err *e)
{
    return schema_doc_sub(&c->doc, sub, json, e, "%s/%s", key, name);
}

bool whole_key(struct compile *c, int sub, const char *key, int64_t *v, struct err *e)
{
    const json_t *j = schema_key(&c->doc, sub, key);
    *v = -1;
    if (!j) return true;
    const double d = json_number_value(j);
    if (!json_is_number(j) || d < 0 || d > 9e15 || d != (double)(int64_t)d)
        return schema_refuse(&c->doc, sub, ERR_REQUEST, key, e, "has to be a whole number from 0 on");
    *v = (int64_t)d;
    return true;
}

bool list_key(struct compile *c, int sub, const char *key, const json_t **list, struct err *e)
{
    *list = schema_key(&c->doc, sub, key);
    if (!*list || json_is_array(*list)) return true;
    return schema_refuse(&c->doc, sub, ERR_REQUEST, key, e, "has to be a list");
}

bool decimal_key(struct compile *c, int sub, const char *key, const json_t **v, struct err *e)
{
    *v = schema_key(&c->doc, sub, key);
    if (!*v || json_is_number(*v)) return true;
    return schema_refuse(&c->doc, sub, ERR_REQUEST, key, e, "has to be a number");
}

const json_t *first_items(struct compile *c, int sub, const char **key)
{
    const json_t *v = schema_key(&c->doc, sub, *key = "prefixItems");
    if (v) return v;
    v = schema_key(&c->doc, sub, *key = "items");
    return json_is_array(v) ? v : NULL;
}

/* ---- values -------------------------------------------------------------------------------------------------------------- */

/* A schema that only refers stands for what it refers to. */
static bool is_reference(struct compile *c, int sub)
{
    static const char *const also[] = { "title",       "description", "default",  "examples",
                                        "$comment",    "deprecated",  "readOnly", "writeOnly",
                                        "definitions", "$defs",       "$schema" };
    if (sub <= DOC_FALSE || !json_is_string(schema_key(&c->doc, sub, "$ref"))) return false;
    if (c->doc.draft <= DRAFT_7) return true;
    budget_take(&c->budget, 30);
    size_t others = json_object_size(c->doc.sub[sub].json) - 1;
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        others -= json_object_get(c->doc.sub[sub].json, also[i]) != NULL;
    return others == 0;
}

int compile_by_number(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static unsigned hash_ints(const int *v, int n)
{
    unsigned h = 2166136261u;
    for (int i = 0; i < n; i++) h = (h ^ (unsigned)v[i]) * 16777619u, h ^= h >> 13;
    return h;
}

static int new_value(struct compile *c, const int *lit, int n, struct err *e)
{
    if (c->n_value >= c->limits.max_values)
        return err_set(e, ERR_LIMIT, "schema: describes more than %d different places", c->limits.max_values),
               -1;
    if (c->n_value == c->cap_value) {
        const int cap = c->cap_value ? c->cap_value * 2 : 128;
        struct set_of_literals *s = realloc(c->set, (size_t)cap * sizeof *s);
        struct value **v = realloc(c->value, (size_t)cap * sizeof *v);
        signed char *u = realloc(c->unsat, (size_t)cap);
        if (s) c->set = s;
        if (v) c->value = v;
        if (u) c->unsat = u;
        if (!s || !v || !u) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
        c->cap_value = cap;
    }
    int *copy = compile_alloc(c, false, (size_t)n + 1, sizeof *copy, e);
    if (!copy) return -1;
    if (n > 0) memcpy(copy, lit, (size_t)n * sizeof *copy);
    c->set[c->n_value] = (struct set_of_literals){ copy, n };
    c->value[c->n_value] = NULL;
    c->unsat[c->n_value] = 0;
    return c->n_value++;
}

int compile_value(struct compile *c, int *lit, int n, struct err *e)
{
    int kept = 0;
    if (!compile_burn(c, 4 * (long)n + 4, e)) return -1;
    for (int i = 0; i < n; i++) {
        for (int hop = 0; is_reference(c, lit[i] / 2); hop++) {
            const int sub = lit[i] / 2;
            const int to =
                schema_doc_ref(&c->doc, sub, json_string_value(schema_key(&c->doc, sub, "$ref")), e);
            if (to < 0) return -1;
            if (hop > 100) {
                schema_refuse(&c->doc, sub, ERR_REQUEST, "$ref", e,
                              "refers to itself with no value in between, or through more than 100 others");
                return -1;
            }
            if (!schema_doc_check(&c->doc, sub, e)) return -1;
            lit[i] = LITERAL(to, lit[i] & 1);
        }
        const int sub = lit[i] / 2;
        const bool neg = lit[i] & 1, empty = sub > DOC_FALSE && json_object_size(c->doc.sub[sub].json) == 0;
        if (sub == DOC_FALSE ? !neg : neg && (sub == DOC_TRUE || empty)) return VALUE_NONE;
        if (sub > DOC_FALSE && !empty) lit[kept++] = lit[i];
    }
    qsort(lit, (size_t)kept, sizeof *lit, compile_by_number);
    n = 0;
    for (int i = 0; i < kept; i++) {
        if (n && lit[n - 1] == lit[i]) continue;
        if (n && (lit[i] & 1) && lit[n - 1] == lit[i] - 1) return VALUE_NONE;
        lit[n++] = lit[i];
    }
    if (n == 0) return VALUE_ANY;
    if (c->n_value * 2 >= c->n_value_bucket) {
        if (!grow_buckets(&c->value_bucket, &c->n_value_bucket, e)) return -1;
        for (int i = VALUE_ANY + 1; i < c->n_value; i++) {
            unsigned at = hash_ints(c->set[i].lit, c->set[i].n);
            while (c->value_bucket[at & (unsigned)(c->n_value_bucket - 1)] >= 0) at++;
            c->value_bucket[at & (unsigned)(c->n_value_bucket - 1)] = i;
        }
    }
    unsigned at = hash_ints(lit, n);
    for (;; at++) {
        const int i = c->value_bucket[at & (unsigned)(c->n_value_bucket - 1)];
        if (i < 0) break;
        if (c->set[i].n == n && !memcmp(c->set[i].lit, lit, (size_t)n * sizeof *lit)) return i;
    }
    const int v = new_value(c, lit, n, e);
    if (v >= 0) c->value_bucket[at & (unsigned)(c->n_value_bucket - 1)] = v;
    return v;
}

/* Characters from each state to an end: the fewest, and the most (-1: no end to them). */
static bool reaches(struct compile *c, const struct dfa *d, int *shortest, int *longest, struct err *e)
{
    const int n = d->n, k = d->n_class;
    int *width = compile_alloc(c, false, (size_t)k, sizeof *width,
                               e); /* does a byte of the class begin a character? */
    int *left = compile_alloc(c, false, (size_t)n + 1, sizeof *left, e);
    if (!width || !left) return false;
    for (int b = 0; b < 256; b++) width[d->class_of[b]] = (b & 0xc0) != 0x80;
    for (int s = 0; s < n; s++) shortest[s] = d->accepts[s] ? 0 : 1 << 29;
    for (bool changed = true; changed;) {
        changed = false;
        if (!compile_burn(c, (long)n * k / 8, e)) return false;
        for (int s = n - 1; s >= 0; s--)
            for (int i = 0; i < k; i++) {
                const int32_t t = d->next[s * k + i];
                if (t >= 0 && shortest[t] + width[i] < shortest[s])
                    shortest[s] = shortest[t] + width[i], changed = true;
            }
    }
    /* The longest: states all of whose successors are known, again and again; the others lie before a cycle. */
    for (int s = 0; s < n; s++) longest[s] = -1;
    for (bool changed = true; changed;) {
        changed = false;
        if (!compile_burn(c, (long)n * k / 8, e)) return false;
        for (int s = n - 1; s >= 0; s--) {
            if (left[s]) continue;
            int most = 0;
            bool known = true;
            for (int i = 0; i < k && known; i++) {
                const int32_t t = d->next[s * k + i];
                if (t < 0) continue;
                known = left[t];
                if (known && longest[t] + width[i] > most) most = longest[t] + width[i];
            }
            if (!known) continue;
            longest[s] = most;
            left[s] = 1;
            changed = true;
        }
    }
    return true;
}

static bool strings_of(struct compile *c, const int *lit, int n, struct strings **out, struct err *e)
{
    rx r = c->any_text, part;
    struct lengths len = { 0, -1 };
    for (int i = 0; i < n; i++) {
        if (!scalar_strings(c, lit[i], &len, &part, e)) return false;
        r = rx_and(c->pool, r, part);
    }
    if (!rx_ok(c->pool, e)) return false;
    if (r == RX_NONE || (len.max >= 0 && len.min > len.max)) return true;
    if (len.max > 1 << 30) len.max = -1;
    if (len.min > 1 << 30) return true;
    const struct dfa *d = compile_dfa(c, r, e);
    if (!d) return err_wrap(e, "schema: strings");
    if (d->n == 0) return true;
    struct strings *s = compile_alloc(c, true, 1, sizeof *s, e);
    if (!s) return false;
    *s = (struct strings){ .d = d, .any = r == c->any_text, .min = (int)len.min, .max = (int)len.max };
    if (s->min > 0 || s->max >= 0) {
        int *shortest = compile_alloc(c, true, (size_t)d->n, sizeof *shortest, e);
        int *longest = compile_alloc(c, true, (size_t)d->n, sizeof *longest, e);
        if (!shortest || !longest || !reaches(c, d, shortest, longest, e)) return false;
        if (shortest[0] >= s->min) s->min = 0;
        if (longest[0] >= 0 && s->max >= longest[0]) s->max = -1;
        if ((s->max >= 0 && shortest[0] > s->max) || (longest[0] >= 0 && longest[0] < s->min)) return true;
        s->shortest = shortest;
        s->longest = longest;
        for (int q = 0; q < d->n; q++)
            if (shortest[q] > s->farthest) s->farthest = shortest[q];
        if (!s->any && s->min > 0 && s->max >= 0) { /* both at once: only the automaton itself can tell */
            const rx chars = rx_repeat(c->pool, rx_chars(c->pool, 0, 0x10ffff), s->min, s->max);
            s->d = compile_dfa(c, rx_and(c->pool, r, chars), e);
            if (!s->d) return err_wrap(e, "schema: strings with minLength and maxLength");
            if (s->d->n == 0) return true;
            s->min = 0;
            s->max = -1;
        }
        if (s->min == 0 && s->max < 0) s->shortest = s->longest = NULL;
    }
    *out = s;
    return true;
}

static bool work_out(struct compile *c, int id, struct err *e)
{
    const int *lit = c->set[id].lit, n = c->set[id].n;
    struct value *v = compile_alloc(c, true, 1, sizeof *v, e);
    if (!v) return false;
    c->value[id] = v;
    if (id == VALUE_NONE) return true;
    bool *const literal[] = { &v->null, &v->yes, &v->no };
    for (int k = 0; k < 3; k++) {
        bool all = true;
        for (int i = 0; i < n && all; i++)
            if (!scalar_holds(c, lit[i], k == 0 ? json_null() : k == 1 ? json_true() : json_false(), &all, e))
                return false;
        *literal[k] = all;
    }
    if (!strings_of(c, lit, n, &v->string, e)) return false;
    rx numbers = c->numbers, part;
    for (int i = 0; i < n; i++) {
        if (!scalar_numbers(c, lit[i], &part, e)) return false;
        numbers = rx_and(c->pool, numbers, part);
    }
    if (numbers == c->numbers) numbers = number_any(c->pool);
    if (numbers != RX_NONE) {
        v->number = compile_dfa(c, numbers, e);
        if (!v->number) return err_wrap(e, "schema: numbers");
        if (v->number->n == 0) v->number = NULL;
    }
    struct clauses arrays = { 0 }, objects = { 0 };
    if (!dnf_of_set(c, lit, n, KIND_ARRAY, &arrays, e) || !dnf_of_set(c, lit, n, KIND_OBJECT, &objects, e))
        return false;
    v->array = compile_alloc(c, true, (size_t)arrays.n + 1, sizeof *v->array, e);
    v->object = compile_alloc(c, true, (size_t)objects.n + 1, sizeof *v->object, e);
    if (!v->array || !v->object) return false;
    for (int i = 0; i < arrays.n; i++) {
        if (!array_form_of(c, &arrays.at[i], &v->array[v->n_array], e)) return false;
        v->n_array += v->array[v->n_array] != NULL;
    }
    for (int i = 0; i < objects.n; i++) {
        if (!object_form_of(c, &objects.at[i], &v->object[v->n_object], e)) return false;
        v->n_object += v->object[v->n_object] != NULL;
    }
    return true;
}

/* ---- choices -------------------------------------------------------------------------------------------------------------- */

static bool spell(struct compile *c, const struct dfa *d, int32_t s, struct buf *b, bool string,
                  const char **text, int *n, struct err *e)
{
    if (!compile_burn(c, 60, e)) return false;
    if (d->accepts[s]) {
        json_t *j = string ? json_stringn(b->data ? b->data : "", b->len) : NULL;
        char *dump =
            string ? (j ? json_dumps(j, JSON_ENCODE_ANY) : NULL) : strndup(b->data ? b->data : "", b->len);
        json_decref(j);
        const size_t len = dump ? strlen(dump) + 1 : 0;
        char *copy = dump ? compile_alloc(c, false, len, 1, e) : NULL;
        if (copy) memcpy(copy, dump, len);
        free(dump);
        if (!copy) return err_set(e, ERR_NOMEM, "no memory for a schema");
        text[(*n)++] = copy;
    }
    for (int x = 1; x < 256; x++) {
        const int32_t t = dfa_next(d, s, (unsigned char)x);
        if (t < 0) continue;
        if (!buf_putc(b, (char)x)) return err_set(e, ERR_NOMEM, "no memory for a schema");
        if (!spell(c, d, t, b, string, text, n, e)) return false;
        b->data[--b->len] = 0;
    }
    return true;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool add_choices(struct compile *c, struct array_form *f, struct err *e)
{
    const struct value *v = c->value[f->rest[0]];
    if (!f->unique || f->n_prefix > 0 || f->n_track > 0 || v->n_array || v->n_object) return true;
    if (v->string && (v->string->shortest || v->string->any)) return true;
    uint64_t total = (uint64_t)v->null + v->yes + v->no;
    for (int k = 0; k < 2; k++) {
        const struct dfa *d = k ? v->number : v->string ? v->string->d : NULL;
        if (!d) continue;
        if (!compile_burn(c, (long)d->n * d->n_class / 4 + 40, e)) return false;
        total += dfa_size(d, MAX_CHOICES + 1);
        if (v->string && d == v->string->d && d->n > MAX_CHOICES * MAX_CHOICE_LEN) return true;
    }
    if (total > MAX_CHOICES) return true;
    const char **text = compile_alloc(c, false, (size_t)total + 1, sizeof *text, e);
    if (!text) return false;
    int n = 0;
    struct buf b = BUF_INIT(1 << 20);
    if (v->null) text[n++] = "null";
    if (v->yes) text[n++] = "true";
    if (v->no) text[n++] = "false";
    bool ok = (!v->string || spell(c, v->string->d, 0, &b, true, text, &n, e)) &&
              (!v->number || spell(c, v->number, 0, &b, false, text, &n, e));
    buf_free(&b);
    if (!ok) return false;
    qsort(text, (size_t)n, sizeof *text, by_text);
    struct choices *h = compile_alloc(c, true, 1, sizeof *h, e);
    int first_other;
    if (!h || !dfa_of_texts(&h->d, text, n, NULL, c->limits.max_states, &first_other, &c->budget, e))
        return false;
    f->choices = h;
    h->n = n;
    h->words = (n + 63) / 64 + (n == 0);
    h->reach = compile_alloc(c, true, (size_t)h->d->n * (size_t)h->words, sizeof *h->reach, e);
    if (!h->reach || !compile_burn(c, (long)h->d->n * (h->d->n_class / 8 + h->words), e)) return false;
    for (int s = h->d->n - 1; s >= 0; s--) {
        uint64_t *r = h->reach + (size_t)s * (size_t)h->words;
        if (h->d->accepts[s]) {
            h->d->label[s]--;
            r[h->d->label[s] / 64] |= UINT64_C(1) << (h->d->label[s] % 64);
        }
        for (int k = 0; k < h->d->n_class; k++) {
            const int32_t t = h->d->next[s * h->d->n_class + k];
            for (int w = 0; t >= 0 && w < h->words; w++)
                r[w] |= h->reach[(size_t)t * (size_t)h->words + (size_t)w];
        }
    }
    if (f->max < 0 || f->max > n) f->max = n;
    return true;
}

/* ---- what can be ---------------------------------------------------------------------------------------------------------- */

struct sat {
    struct compile *c;
    bool *is; /* by value: something can be so */
};

static int array_end(const struct sat *s, const struct array_form *f)
{
    for (int i = 0; i <= f->n_prefix; i++) {
        bool any = false;
        for (int m = 0; m < 1 << f->n_track; m++)
            any |= s->is[i < f->n_prefix ? f->prefix[m * f->n_prefix + i] : f->rest[m]];
        if (!any) return i;
    }
    return -1;
}

static bool array_can(const struct sat *s, const struct array_form *f)
{
    budget_take(&s->c->budget, 2 + ((long)f->n_prefix << f->n_track));
    const int end = array_end(s, f);
    const int max = end >= 0 && (f->max < 0 || end < f->max) ? end : f->max;
    if (max >= 0 && f->min > max) return false;
    for (int t = 0; t < f->n_track; t++) {
        long places = 0;
        for (int i = 0; i <= f->n_prefix && (max < 0 || i < max); i++) {
            bool any = false;
            for (int m = 0; m < 1 << f->n_track; m++)
                any |= (m >> t & 1) && s->is[i < f->n_prefix ? f->prefix[m * f->n_prefix + i] : f->rest[m]];
            if (any) places += i < f->n_prefix ? 1 : max < 0 ? 1L << 40 : max - i;
        }
        if (places < f->track_min[t]) return false;
    }
    return true;
}

/* A class's members can be there: with the fewest demands. */
static bool class_can(const struct sat *s, const struct key_class *k) { return s->is[k->value[0]]; }

static bool in_set(const uint64_t *set, int i) { return set[i / 64] >> (i % 64) & 1; }

/* need: the required ones and what they bring along. */
static void close_over(struct compile *c, const struct object_form *f, uint64_t *need)
{
    for (bool changed = true; changed;) {
        changed = false;
        if (!budget_take(&c->budget, f->n_depend)) return;
        for (int d = 0; d < f->n_depend; d++) {
            if (!in_set(need, f->depend[d].named)) continue;
            if (!budget_take(&c->budget, f->words / 4)) return;
            for (int w = 0; w < f->words; w++) {
                changed |= (f->depend[d].required[w] & ~need[w]) != 0;
                need[w] |= f->depend[d].required[w];
            }
        }
    }
}

static bool has_other(const struct sat *s, const struct object_form *f)
{
    for (int k = f->n_named; k < f->n_class; k++)
        if (class_can(s, &f->cls[k])) return true;
    return false;
}

static bool object_can(struct sat *s, const struct object_form *f)
{
    uint64_t few[8], *need = f->words <= 8 ? few : malloc((size_t)f->words * sizeof *need);
    if (!need) return true;
    budget_take(&s->c->budget, 4 + f->n_class / 2);
    memcpy(need, f->required, (size_t)f->words * sizeof *need);
    close_over(s->c, f, need);
    int n_need = 0, n_can = 0;
    bool can = true;
    for (int i = 0; i < f->n_named; i++) {
        const bool is = class_can(s, &f->cls[i]);
        n_can += is;
        n_need += in_set(need, i);
        can &= is || !in_set(need, i);
    }
    if (f->max >= 0 && n_need > f->max) can = false;
    if (n_can < f->min && !has_other(s, f)) can = false;
    for (int t = 0; t < f->n_track && can; t++) {
        bool any = false;
        for (int k = 0; k < f->n_class && !any; k++)
            any = (f->cls[k].tracks >> t & 1) && s->is[f->cls[k].value[1u << t]];
        can = any;
    }
    if (need != few) free(need);
    return can;
}

static bool value_can(struct sat *s, const struct value *v)
{
    if (v->null || v->yes || v->no || v->string || v->number) return true;
    for (int i = 0; i < v->n_array; i++)
        if (array_can(s, v->array[i])) return true;
    for (int i = 0; i < v->n_object; i++)
        if (object_can(s, v->object[i])) return true;
    return false;
}

/* Keys of members that cannot be are no keys; then what can be reached from each state. */
static bool finish_object(struct sat *s, struct object_form *f, struct err *e)
{
    struct compile *c = s->c;
    struct dfa *d = f->keys;
    bool *gone = compile_alloc(c, false, (size_t)f->n_class + 1, sizeof *gone, e);
    uint64_t *need = compile_alloc(c, false, (size_t)f->words, sizeof *need, e);
    if (!gone || !need) return false;
    for (int k = 0; k < f->n_class; k++) {
        for (int m = 0; m < 1 << SCHEMA_TRACKS; m++)
            if (!s->is[f->cls[k].value[m]]) f->cls[k].value[m] = 0;
        gone[k] = f->cls[k].value[0] == 0;
    }
    for (int i = 0; i < f->n_named && f->n_depend > 0; i++) { /* one that would bring along what cannot be */
        memset(need, 0, (size_t)f->words * sizeof *need);
        need[i / 64] |= UINT64_C(1) << (i % 64);
        close_over(c, f, need);
        if (!compile_burn(c, f->n_named / 4, e)) return false;
        for (int k = 0; k < f->n_named; k++) gone[i] |= in_set(need, k) && f->cls[k].value[0] == 0;
    }
    f->any_name &= f->n_class > f->n_named && !gone[f->n_named];
    for (int q = 0; q < d->n; q++)
        if (d->accepts[q] && gone[d->label[q]]) d->accepts[q] = 0;
    if (!dfa_prune(d, e)) return false;
    f->class_of = compile_alloc(c, true, (size_t)d->n + 1, sizeof *f->class_of, e);
    f->open = compile_alloc(c, true, (size_t)d->n + 1, 1, e);
    f->reach = compile_alloc(c, true, (size_t)d->n * (size_t)f->words + 1, sizeof *f->reach, e);
    if (!f->class_of || !f->open || !f->reach || !compile_burn(c, (long)d->n * d->n_class / 2, e))
        return false;
    for (int q = 0; q < d->n; q++) {
        f->class_of[q] = d->accepts[q] ? (int)d->label[q] : -1;
        if (f->class_of[q] >= f->n_named) f->open[q] = 1;
    }
    f->all_open = true;
    for (bool changed = true; changed;) {
        changed = false;
        if (!compile_burn(c, (long)d->n * (d->n_class / 8 + f->words / 2 + 1), e)) return false;
        for (int q = d->n - 1; q >= 0; q--) {
            uint64_t *r = f->reach + (size_t)q * (size_t)f->words;
            if (f->class_of[q] >= 0 && f->class_of[q] < f->n_named)
                r[f->class_of[q] / 64] |= UINT64_C(1) << (f->class_of[q] % 64);
            for (int k = 0; k < d->n_class; k++) {
                const int32_t t = d->next[q * d->n_class + k];
                if (t < 0) continue;
                if (f->open[t] && !f->open[q]) f->open[q] = 1, changed = true;
                const uint64_t *from = f->reach + (size_t)t * (size_t)f->words;
                for (int w = 0; w < f->words; w++) {
                    changed |= t <= q && (from[w] & ~r[w]);
                    r[w] |= from[w];
                }
            }
        }
    }
    for (int q = 0; q < d->n; q++) f->all_open &= f->open[q];
    return true;
}

static bool finish(struct compile *c, struct err *e)
{
    struct sat s = { c, compile_alloc(c, false, (size_t)c->n_value, sizeof *s.is, e) };
    if (!s.is) return false;
    for (int i = 0; i < c->n_value; i++)
        for (int k = 0; k < c->value[i]->n_array; k++)
            if (!add_choices(c, c->value[i]->array[k], e)) return false;
    for (bool changed = true; changed;) {
        changed = false;
        if (!compile_burn(c, 4 * (long)c->n_value, e)) return false;
        for (int i = c->n_value - 1; i >= 0; i--)
            if (!s.is[i] && value_can(&s, c->value[i])) s.is[i] = changed = true;
    }
    for (int i = 0; i < c->n_value; i++) {
        struct value *v = c->value[i];
        int kept = 0;
        for (int k = 0; k < v->n_array; k++) {
            struct array_form *f = v->array[k];
            if (!array_can(&s, f)) continue;
            const int end = array_end(&s, f);
            if (!compile_burn(c, (long)f->n_prefix << f->n_track, e)) return false;
            if (end >= 0 && (f->max < 0 || end < f->max)) f->max = end;
            for (int m = 0; m < 1 << f->n_track; m++) {
                for (int p = 0; p < f->n_prefix; p++)
                    if (!s.is[f->prefix[m * f->n_prefix + p]]) f->prefix[m * f->n_prefix + p] = 0;
                if (!s.is[f->rest[m]]) f->rest[m] = 0;
            }
            v->array[kept++] = f;
        }
        v->n_array = kept;
        kept = 0;
        for (int k = 0; k < v->n_object; k++) {
            struct object_form *f = v->object[k];
            if (!object_can(&s, f)) {
                dfa_free(f->keys);
                continue;
            }
            v->object[kept++] = f; /* first, so that it is freed whatever happens */
        }
        v->n_object = kept;
        for (int k = 0; k < v->n_object; k++)
            if (!finish_object(&s, v->object[k], e)) return false;
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------ */

struct owner {
    struct chunk *kept;
    struct dfa **dfa;
    int n_dfa;
};

static void free_values(struct value **value, int n)
{
    for (int i = 0; i < n; i++) {
        const struct value *v = value[i];
        for (int k = 0; v && k < v->n_object; k++)
            if (v->object[k]) dfa_free(v->object[k]->keys);
        for (int k = 0; v && k < v->n_array; k++)
            if (v->array[k] && v->array[k]->choices) dfa_free(v->array[k]->choices->d);
    }
}

static struct schema_limits with_defaults(const struct schema_limits *l)
{
    struct schema_limits all = default_limits;
    if (!l) return all;
    if (l->max_states) all.max_states = l->max_states;
    if (l->max_nodes) all.max_nodes = l->max_nodes;
    if (l->max_values) all.max_values = l->max_values;
    if (l->max_clauses) all.max_clauses = l->max_clauses;
    if (l->steps) all.steps = l->steps;
    if (l->bytes) all.bytes = l->bytes;
    all.cancel = l->cancel;
    all.closed_objects = l->closed_objects;
    return all;
}

bool schema_compile(struct schema **out, const json_t *json, const struct schema_limits *limits,
                    struct err *e)
{
    struct compile c = { .limits = with_defaults(limits) };
    budget_open(&c.budget, c.limits.steps, c.limits.bytes, c.limits.cancel);
    struct schema *s = calloc(1, sizeof *s);
    struct owner *own = calloc(1, sizeof *own);
    c.pool = rx_pool_within((size_t)c.limits.max_nodes, &c.budget);
    bool ok = s && own && c.pool;
    if (!ok && budget_ok(&c.budget, e)) err_set(e, ERR_NOMEM, "no memory for a schema");
    ok = ok && schema_doc_open(&c.doc, json, c.limits.max_values * 4, &c.budget, e);
    const bool opened = ok;
    if (ok) {
        c.any_text = rx_any_text(c.pool);
        c.numbers = number_texts(c.pool);
        const rx e_or_E = rx_or(c.pool, rx_range(c.pool, 'e', 'e'), rx_range(c.pool, 'E', 'E'));
        c.plain_numbers =
            rx_and(c.pool, c.numbers, rx_not(c.pool, rx_cat(c.pool, RX_ALL, rx_cat(c.pool, e_or_E, RX_ALL))));
        int lit[] = { LITERAL(DOC_ROOT, false) };
        for (int v = VALUE_NONE; v <= VALUE_ANY && ok; v++) ok = new_value(&c, NULL, 0, e) == v;
        if (ok) s->root = compile_value(&c, lit, 1, e);
        ok = ok && s->root >= 0;
        for (int i = 0; ok && i < c.n_value; i++) ok = work_out(&c, i, e);
        ok = ok && finish(&c, e);
        ok = ok && rx_ok(c.pool, e);
        const struct value *v = ok ? c.value[s->root] : NULL;
        if (ok && !(v->null || v->yes || v->no || v->string || v->number || v->n_array || v->n_object))
            ok = err_set(e, ERR_REQUEST, "schema: nothing can meet it: its demands contradict each other");
    }
    if (ok) {
        own->kept = c.kept;
        own->dfa = c.dfa;
        own->n_dfa = c.n_dfa;
        s->value = c.value;
        s->n_value = c.n_value;
        s->ignored = c.doc.ignored;
        s->n_ignored = c.doc.n_ignored;
        c.doc.ignored = NULL;
        c.doc.n_ignored = 0;
        s->owner = own;
        *out = s;
    } else {
        free_values(c.value, c.n_value);
        for (int i = 0; i < c.n_dfa; i++) dfa_free(c.dfa[i]);
        free(c.dfa);
        free(c.value);
        chunks_free(c.kept);
        free(own);
        free(s);
    }
    chunks_free(c.chunk);
    if (opened) schema_doc_close(&c.doc);
    rx_pool_free(c.pool);
    free(c.scalar);
    free(c.name);
    free(c.pattern);
    free(c.name_bucket);
    free(c.set);
    free(c.value_bucket);
    free(c.unsat);
    free(c.dfa_of);
    free(c.dfa_bucket);
    free(c.evaluated);
    return ok;
}

void schema_free(struct schema *s)
{
    if (!s) return;
    struct owner *own = s->owner;
    free_values(s->value, s->n_value);
    for (int i = 0; i < own->n_dfa; i++) dfa_free(own->dfa[i]);
    free(own->dfa);
    chunks_free(own->kept);
    free(own);
    for (int i = 0; i < s->n_ignored; i++) free(s->ignored[i]);
    free(s->ignored);
    free(s->value);
    free(s);
}
