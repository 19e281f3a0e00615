#include "lm/layers.h"

#include <stdlib.h>

enum { ONE_GATE, ONE_UP, ONE_DOWN, ONE_COUNT };

/* Takes a new device layer into account. */
static void made(struct layer_maker *mk, struct linear *l)
{
    mk->bytes += linear_bytes(l);
    if (mk->fine) linear_set_fine(l);
}

bool layers_linear(struct layer_maker *mk, struct linear **out, const struct tensor_slot *const *part,
                   int n_parts, enum linear_join join, const struct tensor_slot *const *bias, struct err *e)
{
    struct matrix m[3];
    int64_t rows = 0;
    bool any_bias = false;
    for (int i = 0; i < n_parts; i++) {
        m[i] = slot_matrix(part[i], 0, mk->scales);
        rows += m[i].n_out;
        any_bias |= bias && bias[i]->t;
    }
    float *b = NULL;
    if (any_bias) {
        b = calloc((size_t)rows, sizeof *b);
        if (!b) return err_set(e, ERR_NOMEM, "no memory for a bias");
        int64_t at = 0;
        for (int i = 0; i < n_parts; at += m[i].n_out, i++)
            if (bias[i]->t) dequant_row(bias[i]->t->type, bias[i]->t->data, b + at, m[i].n_out);
    }
    bool ok = linear_new(mk->dev, out, m, n_parts, join, b, 1, e) || err_wrap(e, "%s", part[0]->t->name);
    free(b);
    if (!ok) return false;
    made(mk, *out);
    for (int i = 0; i < n_parts; i++)
        if (linear_is_copy(*out)) weights_forget(mk->w, part[i]->t);
    return true;
}

/* Host values [n] onto the device, and freed. */
static bool numbers(struct layer_maker *mk, const dev_float **out, float *v, size_t n, struct err *e)
{
    dev_float *p = v ? device_arena_floats(mk->numbers, n) : NULL;
    if (p) device_upload(mk->dev, p, v, n);
    free(v);
    *out = p;
    return p || err_set(e, ERR_NOMEM, "no memory for norms and frequencies");
}

size_t layers_norm_cost(const struct tensor_slot *s)
{
    return s->t && s->t->n_dims == 1 ? device_arena_cost((size_t)tensor_elems(s->t)) : 0;
}

bool layers_norm(struct layer_maker *mk, const dev_float **out, const struct tensor_slot *s, bool from_one,
                 struct err *e)
{
    *out = NULL;
    if (!s->t) return true;
    float *w = slot_floats(s);
    const int64_t n = tensor_elems(s->t);
    for (int64_t i = 0; w && from_one && i < n; i++) w[i] += 1.0f;
    return numbers(mk, out, w, (size_t)n, e);
}

size_t layers_rope_cost(const struct lm_shape *s)
{
    size_t cost = 0;
    for (int i = 0; i < s->n_rope; i++) cost += device_arena_cost((size_t)s->rope[i].n_rot / 2);
    return cost;
}

bool layers_rope(struct layer_maker *mk, const dev_float **freq, const struct lm_shape *s,
                 const struct tensor_slot *divisor, struct err *e)
{
    float *by = slot_floats(divisor);
    bool ok = by || !divisor->t || err_set(e, ERR_NOMEM, "no memory for rotary frequencies");
    for (int i = 0; ok && i < s->n_rope; i++) {
        const size_t n = (size_t)s->rope[i].n_rot / 2;
        float *f = calloc(n ? n : 1, sizeof *f);
        if (f) rope_freq(f, &s->rope[i], i == 0 ? by : NULL);
        ok = numbers(mk, &freq[i], f, n, e);
    }
    free(by);
    return ok;
}

enum epilogue layers_gate(enum lm_act act)
{
    static const enum epilogue of[] = {
        [ACT_SILU] = EPI_SWIGLU, [ACT_GELU_TANH] = EPI_GEGLU, [ACT_GELU_ERF] = EPI_GEGLU_ERF
    };
    return of[act];
}

/* ---- routed experts ------------------------------------------------------------------------------------------------------ */

static bool make_expert(struct layer_maker *mk, struct linear **out, const struct matrix *m, int n_parts,
                        const char *name, int ie, struct err *e)
{
    if (!linear_new(mk->dev, out, m, n_parts, n_parts == 2 ? LINEAR_PAIRED : LINEAR_CONCAT, NULL, 1, e))
        return err_wrap(e, "%s, expert %d", name, ie);
    made(mk, *out);
    return true;
}

/* The matrices of expert ie: gate and up, then down. */
static void matrices(struct layer_maker *mk, const struct expert_slots *t, const struct lm_shape *s, int ie,
                     struct matrix *gu, struct matrix *down)
{
    if (!t->down->t) {
        const struct tensor_slot *one = t->one + (size_t)ie * ONE_COUNT;
        gu[0] = slot_matrix(&one[ONE_GATE], 0, mk->scales);
        gu[1] = slot_matrix(&one[ONE_UP], 0, mk->scales);
        *down = slot_matrix(&one[ONE_DOWN], 0, mk->scales);
        return;
    }
    if (t->gate_up->t) { /* gate rows, then up rows */
        gu[0] = gu[1] = slot_matrix(t->gate_up, ie, mk->scales);
        gu[0].n_out = gu[1].n_out = s->n_ff_expert;
        gu[1].data =
            (const unsigned char *)gu[1].data + dtype_row_bytes(gu[1].type, gu[1].n_in) * (size_t)gu[1].n_out;
    } else {
        gu[0] = slot_matrix(t->gate, ie, mk->scales);
        gu[1] = slot_matrix(t->up, ie, mk->scales);
    }
    *down = slot_matrix(t->down, ie, mk->scales);
}

static bool make_all(struct layer_maker *mk, struct experts *x, const struct lm_shape *s,
                     const struct expert_slots *t, struct err *e)
{
    const bool stacked = t->down->t != NULL;
    bool copies = true;
    for (int ie = 0; ie < s->n_expert; ie++) {
        const struct tensor_slot *one = stacked ? NULL : t->one + (size_t)ie * ONE_COUNT;
        const char *name = stacked ? t->down->t->name : one[ONE_DOWN].t->name;
        struct matrix gu[2], down;
        matrices(mk, t, s, ie, gu, &down);
        if (!make_expert(mk, &x->gate_up[ie], gu, 2, name, ie, e)) return false;
        if (!make_expert(mk, &x->down[ie], &down, 1, name, ie, e)) return false;
        const bool copied = linear_is_copy(x->gate_up[ie]) && linear_is_copy(x->down[ie]);
        for (int i = 0; copied && one && i < ONE_COUNT; i++) weights_forget(mk->w, one[i].t);
        copies &= copied;
    }
    const struct tensor_slot *stack[] = { t->gate, t->up, t->gate_up, t->down };
    for (size_t i = 0; stacked && copies && i < sizeof stack / sizeof *stack; i++)
        if (stack[i]->t) weights_forget(mk->w, stack[i]->t);
    return true;
}

bool layers_experts(struct layer_maker *mk, struct experts *x, const struct lm_shape *s, bool renorm,
                    const struct expert_slots *t, struct err *e)
{
    *x = (struct experts){
        .n_expert = s->n_expert, .n_used = s->n_expert_used, .renorm = renorm, .gate = layers_gate(s->act)
    };
    x->gate_up = calloc((size_t)s->n_expert, sizeof *x->gate_up);
    x->down = calloc((size_t)s->n_expert, sizeof *x->down);
    if (!x->gate_up || !x->down) return err_set(e, ERR_NOMEM, "no memory for %d experts", s->n_expert);
    if (!make_all(mk, x, s, t, e)) return false;
    if (t->shared_down->t) {
        const struct tensor_slot *gu[] = { t->shared_gate, t->shared_up }, *down[] = { t->shared_down };
        if (!layers_linear(mk, &x->shared_gate_up, gu, 2, LINEAR_PAIRED, NULL, e) ||
            !layers_linear(mk, &x->shared_down, down, 1, LINEAR_CONCAT, NULL, e))
            return false;
    }
    const struct tensor_slot *router[] = { t->router };
    return layers_linear(mk, &x->router, router, 1, LINEAR_CONCAT, NULL, e);
}

void layers_experts_free(struct experts *x)
{
    for (int ie = 0; ie < x->n_expert; ie++) {
        if (x->gate_up) linear_free(x->gate_up[ie]);
        if (x->down) linear_free(x->down[ie]);
    }
    struct linear *all[] = { x->router, x->shared_gate_up, x->shared_down };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) linear_free(all[i]);
    free(x->gate_up);
    free(x->down);
    *x = (struct experts){ 0 };
}

static void product(struct device *d, const struct linear *w, const dev_float *x, dev_float *y, int64_t rows,
                    enum epilogue epi)
{
    struct linear_args a = { .w = w, .x = x, .y = y, .n = rows, .epi = epi };
    a.ldx = linear_n_in(w);
    a.ldy = linear_n_out(w);
    op_linear(d, &a);
}

void layers_run_experts(struct device *d, const struct experts *x, const dev_float *in, dev_float *y,
                        int64_t rows, int64_t n_embd, const struct routing *r)
{
    product(d, x->router, in, r->logits, rows, EPI_STORE);
    op_route(d, &(struct route_args){ .kind = ROUTE_SOFTMAX,
                                      .logits = r->logits,
                                      .n = rows,
                                      .n_expert = x->n_expert,
                                      .k = x->n_used,
                                      .renorm = x->renorm,
                                      .expert = r->expert,
                                      .weight = r->weight });
    struct moe_args a = { .gate_up = x->gate_up, .down = x->down, .n_expert = x->n_expert, .epi = x->gate };
    a.x = in;
    a.y = y;
    a.ldx = a.ldy = n_embd;
    a.n = rows;
    a.expert = r->expert;
    a.weight = r->weight;
    a.k = x->n_used;
    op_moe(d, &a);
    if (!x->shared_down) return;
    product(d, x->shared_gate_up, in, r->hidden, rows, x->gate);
    product(d, x->shared_down, r->hidden, y, rows, EPI_ADD);
}
