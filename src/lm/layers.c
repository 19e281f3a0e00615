#include "lm/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lm/turn.h"

enum { ONE_GATE, ONE_UP, ONE_DOWN, ONE_COUNT };

void layers_made(struct layer_maker *mk, struct linear *l)
{
    mk->bytes += linear_bytes(l);
    if (mk->fine) linear_set_fine(l);
}

/* A slot as a matrix. *copy: what had to be made for it, to be freed when the device has copied it; NULL: nothing. */
static bool matrix_of(struct layer_maker *mk, const struct tensor_slot *s, struct matrix *m, void **copy,
                      struct err *e)
{
    *copy = NULL;
    if (s->packed.form) return packed_matrix(&s->packed, 0, mk->dev, m, copy, e);
    *m = slot_matrix(s, 0, mk->scales);
    return true;
}

bool layers_linear(struct layer_maker *mk, struct linear **out, const struct tensor_slot *const *part,
                   int n_parts, enum linear_join join, const struct tensor_slot *const *bias, struct err *e)
{
    struct matrix m[3];
    void *copy[3] = { NULL, NULL, NULL };
    int64_t rows = 0;
    bool any_bias = false, ok = true;
    for (int i = 0; ok && i < n_parts; i++) {
        ok = matrix_of(mk, part[i], &m[i], &copy[i], e);
        rows += ok ? m[i].n_out : 0;
        any_bias |= bias && bias[i]->t;
    }
    float *b = NULL;
    if (ok && any_bias) {
        b = calloc((size_t)rows, sizeof *b);
        ok = b || err_set(e, ERR_NOMEM, "no memory for a bias");
        int64_t at = 0;
        for (int i = 0; ok && i < n_parts; at += m[i].n_out, i++)
            if (bias[i]->t) dequant_row(bias[i]->t->type, bias[i]->t->data, b + at, m[i].n_out);
    }
    ok = ok && (linear_new(mk->dev, out, m, n_parts, join, b, 1, e) || err_wrap(e, "%s", part[0]->t->name));
    for (int i = 0; i < n_parts; i++) free(copy[i]); /* blocks are always copied */
    free(b);
    if (!ok) return false;
    layers_made(mk, *out);
    for (int i = 0; i < n_parts; i++)
        if (linear_is_copy(*out)) weights_forget(mk->w, part[i]->t);
    return true;
}

/* A matrix of gate rows, then up rows: gu[0], divided. false: the middle is inside a block that has one scale. */
static bool halve(struct matrix *gu)
{
    const int64_t half = gu[0].n_out / 2, cols = gu[0].scale_cols;
    gu[1] = gu[0];
    gu[0].n_out = gu[1].n_out = half;
    gu[1].data = (const unsigned char *)gu[0].data + dtype_row_bytes(gu[0].type, gu[0].n_in) * (size_t)half;
    if (!gu[0].scale || gu[0].scale_rows >= 2 * half) return true; /* none, or one for all */
    if (half % gu[0].scale_rows) return false;
    gu[1].scale = gu[0].scale + half / gu[0].scale_rows * ((gu[0].n_in + cols - 1) / cols);
    return true;
}

bool layers_halves(struct layer_maker *mk, struct linear **out, const struct tensor_slot *s, struct err *e)
{
    struct matrix m[2];
    void *copy;
    if (!matrix_of(mk, s, &m[0], &copy, e)) return false;
    bool ok =
        halve(m) || err_set(e, ERR_UNSUPPORTED,
                            "%s: gate and up that share a block of one scale are not supported", s->t->name);
    ok = ok && (linear_new(mk->dev, out, m, 2, LINEAR_PAIRED, NULL, 1, e) || err_wrap(e, "%s", s->t->name));
    free(copy);
    if (!ok) return false;
    layers_made(mk, *out);
    if (linear_is_copy(*out)) weights_forget(mk->w, s->t);
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
                 const struct tensor_slot *divisor, int n_ctx, struct err *e)
{
    float *by = slot_floats(divisor);
    bool ok = by || !divisor->t || err_set(e, ERR_NOMEM, "no memory for rotary frequencies");
    for (int i = 0; ok && i < s->n_rope; i++) {
        const size_t n = (size_t)s->rope[i].n_rot / 2;
        float *f = calloc(n ? n : 1, sizeof *f);
        if (f) rope_freq(f, &s->rope[i], i == 0 ? by : NULL, n_ctx);
        ok = numbers(mk, &freq[i], f, n, e);
    }
    free(by);
    return ok;
}

static bool any_unit_heads(const struct lm_shape *s)
{
    for (int il = 0; il < s->n_layer; il++)
        if (s->layer[il].unit_heads) return true;
    return false;
}

size_t layers_ones_cost(const struct lm_shape *s)
{
    return any_unit_heads(s) ? device_arena_cost((size_t)s->head_dim) : 0;
}

bool layers_ones(struct layer_maker *mk, const dev_float **out, const struct lm_shape *s, struct err *e)
{
    *out = NULL;
    if (!any_unit_heads(s)) return true;
    float *one = calloc((size_t)s->head_dim, sizeof *one);
    for (int i = 0; one && i < s->head_dim; i++) one[i] = 1;
    return numbers(mk, out, one, (size_t)s->head_dim, e);
}

float layers_temper(const struct lm_temper *t, int32_t pos)
{
    if (t->every == 0) return 1;
    return log1pf(floorf(((float)pos + (t->from_zero ? 0 : 1)) / t->every)) * t->scale + 1;
}

enum epilogue layers_gate(enum lm_act act)
{
    static const enum epilogue of[] = {
        [ACT_SILU] = EPI_SWIGLU,
        [ACT_GELU_TANH] = EPI_GEGLU,
        [ACT_GELU_ERF] = EPI_GEGLU_ERF,
        [ACT_CLIPPED] = EPI_CLIPGLU,
    };
    return of[act];
}

/* ---- routed experts ------------------------------------------------------------------------------------------------------ */

/* Biases of all experts of a layer, as products take them: [n_expert][gate rows, then up rows], [n_expert][out]. NULL: none. */
struct biases {
    float *gate_up, *down;
    int64_t n_gate_up, n_down; /* of an expert */
};

static void biases_free(struct biases *b)
{
    free(b->gate_up);
    free(b->down);
}

static bool there(const struct tensor_slot *s) { return s && s->t; }

/* from [n_expert][n] to half `which` of to [n_expert][2][n]. */
static void put_half(float *to, const float *from, int64_t n_expert, int64_t n, int which)
{
    for (int64_t ie = 0; ie < n_expert; ie++)
        memcpy(to + (2 * ie + which) * n, from + ie * n, (size_t)n * sizeof *to);
}

/* On failure *b is to be freed too. */
static bool biases_read(struct biases *b, const struct lm_shape *s, const struct expert_slots *t,
                        struct err *e)
{
    const int64_t n = s->n_ff_expert, n_expert = s->n_expert, all = n_expert * 2 * n;
    *b = (struct biases){ .n_gate_up = 2 * n, .n_down = s->n_embd };
    bool ok = !there(t->down_add) || (b->down = slot_floats(t->down_add)) != NULL;
    const bool joined = there(t->gate_up_add);
    if (ok && (joined || there(t->gate_add))) {
        float *from = slot_floats(joined ? t->gate_up_add : t->gate_add);
        float *up = joined ? NULL : slot_floats(t->up_add);
        b->gate_up = calloc((size_t)all, sizeof *b->gate_up);
        ok = from && (joined || up) && b->gate_up;
        for (int64_t i = 0; ok && joined && i < all; i++) {
            const int64_t row = i % (2 * n);
            b->gate_up[i - row + (t->gate_up->by_turns ? row % 2 * n + row / 2 : row)] = from[i];
        }
        if (ok && !joined) {
            put_half(b->gate_up, from, n_expert, n, 0);
            put_half(b->gate_up, up, n_expert, n, 1);
        }
        free(from);
        free(up);
    }
    return ok || err_set(e, ERR_NOMEM, "no memory for biases of %d experts", s->n_expert);
}

static bool make_expert(struct layer_maker *mk, struct linear **out, const struct matrix *m, int n_parts,
                        const float *bias, const char *name, int ie, struct err *e)
{
    if (!linear_new(mk->dev, out, m, n_parts, n_parts == 2 ? LINEAR_PAIRED : LINEAR_CONCAT, bias, 1, e))
        return err_wrap(e, "%s, expert %d", name, ie);
    layers_made(mk, *out);
    return true;
}

/* Expert ie of a slot; what had to be turned or made for it stays with *x until released. */
static bool take(struct layer_maker *mk, struct experts *x, const struct tensor_slot *s, int ie,
                 struct matrix *m, struct err *e)
{
    if (s->packed.form) {
        if (!packed_matrix(&s->packed, ie, mk->dev, m, &x->turned[x->n_turned], e)) return false;
        x->n_turned++;
        return true;
    }
    *m = slot_matrix(s, ie, mk->scales);
    if (!s->in_out) return true;
    if (!(s->by_turns ? turn_apart : turn_matrix)(mk->dev, m, &x->turned[x->n_turned], e))
        return err_wrap(e, "%s, expert %d", s->t->name, ie);
    x->n_turned++;
    return true;
}

static void release(struct experts *x, int down_to)
{
    while (x->n_turned > down_to) free(x->turned[--x->n_turned]);
}

static bool gate_up(struct layer_maker *mk, struct experts *x, const struct expert_slots *t, int ie,
                    struct matrix *gu, struct err *e)
{
    const struct tensor_slot *one = t->one + (size_t)ie * ONE_COUNT;
    if (!t->down->t)
        return take(mk, x, &one[ONE_GATE], 0, &gu[0], e) && take(mk, x, &one[ONE_UP], 0, &gu[1], e);
    if (!t->gate_up->t) return take(mk, x, t->gate, ie, &gu[0], e) && take(mk, x, t->up, ie, &gu[1], e);
    if (!take(mk, x, t->gate_up, ie, &gu[0], e)) return false;
    return halve(gu) ||
           err_set(e, ERR_UNSUPPORTED, "%s: gate and up that share a block of one scale are not supported",
                   t->gate_up->t->name);
}

/* *copied: the device reads none of the file's bytes. */
static bool make_one(struct layer_maker *mk, struct experts *x, const struct expert_slots *t,
                     const struct biases *b, int ie, bool *copied, struct err *e)
{
    const float *gate_up_bias = b->gate_up ? b->gate_up + ie * b->n_gate_up : NULL;
    const float *down_bias = b->down ? b->down + ie * b->n_down : NULL;
    const bool stacked = t->down->t != NULL;
    const struct tensor_slot *down = stacked ? t->down : t->one + (size_t)ie * ONE_COUNT + ONE_DOWN;
    const bool turned = down->in_out;
    struct matrix m[2];
    int before = x->n_turned;
    if (!gate_up(mk, x, t, ie, m, e) ||
        !make_expert(mk, &x->gate_up[ie], m, 2, gate_up_bias, down->t->name, ie, e))
        return false;
    if (linear_is_copy(x->gate_up[ie])) release(x, before);
    before = x->n_turned;
    if (!take(mk, x, down, stacked ? ie : 0, m, e) ||
        !make_expert(mk, &x->down[ie], m, 1, down_bias, down->t->name, ie, e))
        return false;
    if (linear_is_copy(x->down[ie])) release(x, before);
    *copied = turned || (linear_is_copy(x->gate_up[ie]) && linear_is_copy(x->down[ie]));
    return true;
}

static bool make_all(struct layer_maker *mk, struct experts *x, const struct lm_shape *s,
                     const struct expert_slots *t, struct err *e)
{
    const bool stacked = t->down->t != NULL;
    bool copies = true, copied = false;
    struct biases b;
    bool ok = biases_read(&b, s, t, e);
    for (int ie = 0; ok && ie < s->n_expert; ie++) {
        const struct tensor_slot *one = stacked ? NULL : t->one + (size_t)ie * ONE_COUNT;
        ok = make_one(mk, x, t, &b, ie, &copied, e);
        if (!ok) break;
        for (int i = 0; copied && one && i < ONE_COUNT; i++) weights_forget(mk->w, one[i].t);
        copies &= copied;
    }
    biases_free(&b);
    if (!ok) return false;
    const struct tensor_slot *stack[] = { t->gate, t->up, t->gate_up, t->down };
    for (size_t i = 0; stacked && copies && i < sizeof stack / sizeof *stack; i++)
        if (stack[i]->t) weights_forget(mk->w, stack[i]->t);
    return true;
}

/* In f32 whatever the file's type: where two logits are close, products rounded to 16 bits would choose another expert. */
static bool make_router(struct layer_maker *mk, struct linear **out, const struct tensor_slot *s,
                        const struct tensor_slot *add, struct err *e)
{
    if (s->t->type == DT_F32 || s->scale)
        return layers_linear(mk, out, &s, 1, LINEAR_CONCAT, add ? &add : NULL, e);
    float *wide = slot_floats(s), *bias = there(add) ? slot_floats(add) : NULL;
    if (!wide || (there(add) && !bias)) {
        free(wide);
        free(bias);
        return err_set(e, ERR_NOMEM, "no memory for a router");
    }
    struct matrix m = slot_matrix(s, 0, mk->scales);
    m.type = DT_F32;
    m.data = wide;
    const bool ok =
        linear_new(mk->dev, out, &m, 1, LINEAR_CONCAT, bias, 1, e) || err_wrap(e, "%s", s->t->name);
    free(wide); /* f32 is always copied */
    free(bias);
    if (!ok) return false;
    layers_made(mk, *out);
    weights_forget(mk->w, s->t);
    return true;
}

bool layers_experts(struct layer_maker *mk, struct experts *x, const struct lm_shape *s,
                    const struct expert_slots *t, struct err *e)
{
    *x = (struct experts){
        .n_expert = s->n_expert,
        .n_used = s->n_expert_used,
        .routing = s->routing,
        .weight_on_input = s->weight_on_input,
        .gate = layers_gate(s->act),
    };
    x->gate_up = calloc((size_t)s->n_expert, sizeof *x->gate_up);
    x->down = calloc((size_t)s->n_expert, sizeof *x->down);
    x->turned = calloc((size_t)s->n_expert * ONE_COUNT, sizeof *x->turned);
    if (!x->gate_up || !x->down || !x->turned)
        return err_set(e, ERR_NOMEM, "no memory for %d experts", s->n_expert);
    if (!make_all(mk, x, s, t, e)) return false;
    if (t->shared_down->t) {
        const struct tensor_slot *gu[] = { t->shared_gate, t->shared_up }, *down[] = { t->shared_down };
        if (!layers_linear(mk, &x->shared_gate_up, gu, 2, LINEAR_PAIRED, NULL, e) ||
            !layers_linear(mk, &x->shared_down, down, 1, LINEAR_CONCAT, NULL, e))
            return false;
    }
    return layers_norm(mk, &x->bias, t->router_bias, false, e) &&
           make_router(mk, &x->router, t->router, t->router_add, e);
}

void layers_experts_free(struct experts *x)
{
    for (int ie = 0; ie < x->n_expert; ie++) {
        if (x->gate_up) linear_free(x->gate_up[ie]);
        if (x->down) linear_free(x->down[ie]);
    }
    struct linear *all[] = { x->router, x->shared_gate_up, x->shared_down };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) linear_free(all[i]);
    release(x, 0);
    free(x->turned);
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
    op_route(d, &(struct route_args){ .kind = x->routing.kind,
                                      .logits = r->logits,
                                      .n = rows,
                                      .n_expert = x->n_expert,
                                      .k = x->n_used,
                                      .bias = x->bias,
                                      .n_group = x->routing.n_group,
                                      .n_group_used = x->routing.n_group_used,
                                      .group_best = x->routing.group_best,
                                      .renorm = x->routing.renorm,
                                      .scale = x->routing.scale,
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
    a.weight_on_input = x->weight_on_input;
    op_moe(d, &a);
    if (!x->shared_down) return;
    product(d, x->shared_gate_up, in, r->hidden, rows, x->gate);
    product(d, x->shared_down, r->hidden, y, rows, EPI_ADD);
}
