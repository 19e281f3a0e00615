#include "text/grammar/rules.h"

#include <stdlib.h>
#include <string.h>

/* n states more than none, with room for the calls. */
static struct rules *rules_new(int n_rule, int n_state, int n_class, int n_call)
{
    struct rules *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    *r = (struct rules){ .n_rule = n_rule, .n_state = n_state, .n_class = n_class };
    r->rule = calloc((size_t)n_rule, sizeof *r->rule);
    r->next = malloc((size_t)n_state * (size_t)n_class * sizeof *r->next);
    r->accepts = calloc((size_t)n_state, 1);
    r->ends = calloc((size_t)n_state, 1);
    r->first_call = calloc((size_t)n_state + 1, sizeof *r->first_call);
    r->call = calloc((size_t)n_call + 1, sizeof *r->call);
    if (r->rule && r->next && r->accepts && r->ends && r->first_call && r->call) return r;
    rules_free(r);
    return NULL;
}

bool rules_of_dfa(struct rules **out, const struct dfa *d, struct err *e)
{
    struct rules *r = rules_new(1, d->n, d->n_class, 0);
    if (!r) return err_set(e, ERR_NOMEM, "no memory for an expression");
    memcpy(r->class_of, d->class_of, sizeof r->class_of);
    memcpy(r->next, d->next, (size_t)d->n * (size_t)d->n_class * sizeof *r->next);
    memcpy(r->accepts, d->accepts, (size_t)d->n);
    for (int q = 0; q < d->n; q++) {
        r->ends[q] = d->accepts[q];
        for (int c = 0; c < d->n_class; c++) r->ends[q] &= d->next[q * d->n_class + c] < 0;
    }
    if (!rules_finish(r)) {
        rules_free(r);
        return err_set(e, ERR_NOMEM, "no memory for an expression");
    }
    *out = r;
    return true;
}

bool rules_of_schema(struct rules **out, struct schema *s, struct err *e)
{
    struct rules *r = rules_new(2, 2, 1, 1); /* text ::= json */
    if (!r) {
        schema_free(s);
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    }
    r->next[0] = r->next[1] = -1;
    r->accepts[1] = r->ends[1] = 1;
    r->first_call[1] = r->first_call[2] = 1;
    r->call[0] = (struct rule_call){ 1, 1 };
    r->rule[1].schema = s;
    if (!rules_finish(r)) {
        rules_free(r);
        return err_set(e, ERR_NOMEM, "no memory for a constraint");
    }
    *out = r;
    return true;
}

/* *to gets what *from has; whether that is more than it had. */
static bool join(struct rx_bytes *to, const struct rx_bytes *from)
{
    bool more = false;
    for (int i = 0; i < 4; i++) {
        more |= (from->has[i] & ~to->has[i]) != 0;
        to->has[i] |= from->has[i];
    }
    return more;
}

/* The bytes that a state's text may begin with, but for what its calls begin with. */
static struct rx_bytes own_bytes(const struct rules *r, int32_t q)
{
    struct rx_bytes own = { { 0 } };
    for (unsigned b = 0; b < 256; b++)
        if (rules_next(r, q, (unsigned char)b) >= 0) rx_bytes_add(&own, b, b);
    return own;
}

enum { ROUNDS = 40 }; /* of a fixed point; then it is as if everything could stand there */

/* first[rule]: bytes that its text may begin with. */
static bool first_bytes(const struct rules *r, struct rx_bytes *first)
{
    static const char json[] = "\"{[-0123456789tfn \t\r\n";
    for (int i = 0; i < r->n_rule; i++)
        if (r->rule[i].schema)
            for (const char *b = json; *b; b++) rx_bytes_add(&first[i], (unsigned char)*b, (unsigned char)*b);
        else
            first[i] = own_bytes(r, r->rule[i].start);
    bool changed = true;
    for (int round = 0; changed && round < ROUNDS; round++) {
        changed = false;
        for (int i = 0; i < r->n_rule; i++) {
            if (r->rule[i].schema) continue;
            const int32_t q = r->rule[i].start;
            for (int c = r->first_call[q]; c < r->first_call[q + 1]; c++)
                changed |= join(&first[i], &first[r->call[c].rule]);
        }
    }
    return !changed;
}

static bool follow_bytes(const struct rules *r, const struct rx_bytes *first)
{
    for (int32_t q = 0; q < r->n_state; q++)
        for (int c = r->first_call[q]; c < r->first_call[q + 1]; c++) {
            const int32_t ret = r->call[c].ret;
            struct rx_bytes *to = &r->follow[r->call[c].rule];
            const struct rx_bytes own = own_bytes(r, ret);
            join(to, &own);
            for (int k = r->first_call[ret]; k < r->first_call[ret + 1]; k++)
                join(to, &first[r->call[k].rule]);
        }
    bool changed = true;
    for (int round = 0; changed && round < ROUNDS; round++) {
        changed = false;
        for (int32_t q = 0; q < r->n_state; q++)
            for (int c = r->first_call[q]; c < r->first_call[q + 1]; c++)
                if (r->accepts[r->call[c].ret])
                    changed |= join(&r->follow[r->call[c].rule], &r->follow[r->rule_of[q]]);
    }
    return !changed;
}

bool rules_finish(struct rules *r)
{
    struct rx_bytes *first = calloc((size_t)r->n_rule, sizeof *first);
    r->rule_of = malloc(((size_t)r->n_state + 1) * sizeof *r->rule_of);
    r->follow = calloc((size_t)r->n_rule, sizeof *r->follow);
    const bool ok = first && r->rule_of && r->follow;
    for (int32_t q = 0; q < r->n_state && ok; q++) r->rule_of[q] = -1;
    for (int i = 0; i < r->n_rule && ok; i++) /* a rule's states lie together, the start first */
        if (!r->rule[i].schema) r->rule_of[r->rule[i].start] = i;
    for (int32_t q = 1; q < r->n_state && ok; q++)
        if (r->rule_of[q] < 0) r->rule_of[q] = r->rule_of[q - 1];
    if (ok && !(first_bytes(r, first) && follow_bytes(r, first)))
        memset(r->follow, 255, (size_t)r->n_rule * sizeof *r->follow);
    free(first);
    return ok;
}

void rules_free(struct rules *r)
{
    if (!r) return;
    for (int i = 0; i < r->n_rule && r->rule; i++) schema_free(r->rule[i].schema);
    free(r->rule);
    free(r->next);
    free(r->accepts);
    free(r->ends);
    free(r->first_call);
    free(r->call);
    free(r->rule_of);
    free(r->follow);
    free(r);
}

static size_t dfa_bytes(const struct dfa *d)
{
    return (size_t)d->n * ((size_t)d->n_class * sizeof *d->next + 16) + sizeof *d;
}

/* What a schema's automata and forms take, about: an automaton that several values share is counted for each. */
static size_t schema_bytes(const struct schema *s)
{
    size_t bytes = sizeof *s;
    for (int i = 0; i < s->n_value; i++) {
        const struct value *v = s->value[i];
        if (!v) continue;
        bytes += sizeof *v;
        if (v->string && !v->string->any) bytes += dfa_bytes(v->string->d);
        for (int k = 0; k < v->n_array; k++)
            bytes +=
                sizeof *v->array[k] + ((size_t)v->array[k]->n_prefix * sizeof(int) << v->array[k]->n_track);
        for (int k = 0; k < v->n_object; k++) {
            const struct object_form *o = v->object[k];
            bytes += sizeof *o + (size_t)o->n_class * sizeof *o->cls + (size_t)o->n_named * 64;
            bytes += dfa_bytes(o->keys) + (size_t)o->keys->n * (size_t)o->words * sizeof *o->reach;
        }
    }
    return bytes;
}

size_t rules_bytes(const struct rules *r)
{
    size_t bytes = sizeof *r + (size_t)r->n_rule * sizeof *r->rule;
    bytes += (size_t)r->n_state * ((size_t)r->n_class * sizeof *r->next + 10);
    bytes += (size_t)r->first_call[r->n_state] * sizeof *r->call;
    for (int i = 0; i < r->n_rule; i++)
        if (r->rule[i].schema) bytes += schema_bytes(r->rule[i].schema);
    return bytes;
}
