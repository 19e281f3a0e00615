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
    *out = r;
    return true;
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
    bytes += (size_t)r->n_state * ((size_t)r->n_class * sizeof *r->next + 6);
    bytes += (size_t)r->first_call[r->n_state] * sizeof *r->call;
    for (int i = 0; i < r->n_rule; i++)
        if (r->rule[i].schema) bytes += schema_bytes(r->rule[i].schema);
    return bytes;
}
