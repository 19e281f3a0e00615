#include "lm/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lm/config_keys.h"
#include "lm/moe.h"
#include "lm/quantization.h"

/* Up to this width products with quantised weights keep more bits of the activations. On the starter model (576 wide)
 * 8 bits move the log-probability of a text's tokens by 0.06 on average, 15 bits by 0.001 (smollm2_test.c), for a tenth of
 * the speed of generation and two fifths of that of prompts. */
#define FINE_EMBD 1024

struct layer {
    const float *attn_norm, *ffn_norm; /* [n_embd] */
    const float *q_norm, *k_norm;      /* [head_dim] or NULL */
    struct linear *qkv, *out;          /* q, k, v one after the other */
    struct linear *gate_up, *down;     /* dense layers */
    struct linear *router;             /* layers with experts */
    struct linear **expert_gate_up, **expert_down;
    int window; /* sliding attention window in tokens; 0: none */
};

struct lm_net {
    struct lm_shape s;
    struct device *dev;
    bool renorm;
    struct layer *layer;
    struct linear **experts; /* [n_layer][2][n_expert]: what the layers point into */
    struct table *embd;
    const float *norm, *freq;
    struct linear *head;
    struct arena model; /* norms, frequencies, scales: as long as the network */
    struct arena acts;  /* activations: overwritten by each step */
    int max_rows;
    float *x, *qkv, *att, *h, *xn, *route, *route_w;
    int32_t *route_e;
    size_t bytes;
};

/* ---- the tensors every family of this form has ------------------------------------------------------------------------ */

/* clang-format off */
static const struct tensor_spec global[] = {
    { G_EMBD,       "token_embd.weight",  "model.embed_tokens.weight", { DIM_VOCAB, DIM_EMBD }, TENSOR_OPTIONAL },
    { G_NORM,       "output_norm.weight", "model.norm.weight",         { DIM_EMBD },            TENSOR_NEEDED },
    { G_HEAD,       "output.weight",      "lm_head.weight",            { DIM_VOCAB, DIM_EMBD }, TENSOR_OPTIONAL },
    /* divisors of the base frequencies: llama3 scaling, done by the converter */
    { G_ROPE_FREQS, "rope_freqs.weight",  NULL,                        { DIM_HALF_ROT },        TENSOR_OPTIONAL },
};

#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec layer[] = {
    { L_ATTN_NORM, GG "attn_norm.weight",   HF "input_layernorm.weight",          { DIM_EMBD },         TENSOR_NEEDED },
    { L_Q,         GG "attn_q.weight",      HF "self_attn.q_proj.weight",         { DIM_Q, DIM_EMBD },  TENSOR_NEEDED },
    { L_K,         GG "attn_k.weight",      HF "self_attn.k_proj.weight",         { DIM_KV, DIM_EMBD }, TENSOR_NEEDED },
    { L_V,         GG "attn_v.weight",      HF "self_attn.v_proj.weight",         { DIM_KV, DIM_EMBD }, TENSOR_NEEDED },
    { L_OUT,       GG "attn_output.weight", HF "self_attn.o_proj.weight",         { DIM_EMBD, DIM_Q },  TENSOR_NEEDED },
    { L_Q_BIAS,    GG "attn_q.bias",        HF "self_attn.q_proj.bias",           { DIM_Q },            TENSOR_OPTIONAL },
    { L_K_BIAS,    GG "attn_k.bias",        HF "self_attn.k_proj.bias",           { DIM_KV },           TENSOR_OPTIONAL },
    { L_V_BIAS,    GG "attn_v.bias",        HF "self_attn.v_proj.bias",           { DIM_KV },           TENSOR_OPTIONAL },
    { L_OUT_BIAS,  GG "attn_output.bias",   HF "self_attn.o_proj.bias",           { DIM_EMBD },         TENSOR_OPTIONAL },
    { L_FFN_NORM,  GG "ffn_norm.weight",    HF "post_attention_layernorm.weight", { DIM_EMBD },         TENSOR_NEEDED },
};

static const struct tensor_spec dense[] = {
    { L_GATE,      GG "ffn_gate.weight", HF "mlp.gate_proj.weight", { DIM_FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_UP,        GG "ffn_up.weight",   HF "mlp.up_proj.weight",   { DIM_FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_DOWN,      GG "ffn_down.weight", HF "mlp.down_proj.weight", { DIM_EMBD, DIM_FF }, TENSOR_NEEDED },
    { L_GATE_BIAS, GG "ffn_gate.bias",   HF "mlp.gate_proj.bias",   { DIM_FF },           TENSOR_OPTIONAL },
    { L_UP_BIAS,   GG "ffn_up.bias",     HF "mlp.up_proj.bias",     { DIM_FF },           TENSOR_OPTIONAL },
    { L_DOWN_BIAS, GG "ffn_down.bias",   HF "mlp.down_proj.bias",   { DIM_EMBD },         TENSOR_OPTIONAL },
};
#undef HF
#undef GG
/* clang-format on */

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
static const struct tensor_specs global_specs = { global, COUNT(global) };
static const struct tensor_specs layer_specs = { layer, COUNT(layer) };
static const struct tensor_specs dense_specs = { dense, COUNT(dense) };

/* ---- loading ------------------------------------------------------------------------------------------------------ */

struct load {
    const struct decoder_family *f;
    const struct hparam_family *h; /* the member of it that this is */
    const struct weights *w;
    bool say; /* what is passed over, in the log */
    struct tensor_slot g[G_COUNT];
    struct tensor_slot *l; /* [n_layer][L_COUNT] */
    struct tensor_slot *x; /* [n_layer][n_expert][E_COUNT] or NULL */
    int64_t dim[DIM_COUNT];
};

static struct tensor_slot *layer_slots(const struct load *ld, int il) { return ld->l + (size_t)il * L_COUNT; }

static struct tensor_slot *expert_slots(const struct load *ld, const struct lm_shape *s, int il, int ie)
{
    return ld->x + ((size_t)il * (size_t)s->n_expert + (size_t)ie) * E_COUNT;
}

static void resolve(struct binding *t, const struct tensor_specs *specs, int il, int ie,
                    struct tensor_slot *slots)
{
    bind_resolve(t, specs->row, specs->n, il, ie, slots);
}

/* Experts come stacked in one tensor (gate and up apart or together) or one by one: take what the file has. */
static void resolve_experts(struct load *ld, struct binding *t, const struct lm_shape *s, int il)
{
    struct tensor_slot *l = layer_slots(ld, il);
    resolve(t, &ld->f->moe, il, 0, l);
    if (!l[L_ROUTER].t) bind_fault(t, "layer %d: the router of its experts is missing", il);
    const bool gate_up = l[L_GATE_UP_EXPS].t || (l[L_GATE_EXPS].t && l[L_UP_EXPS].t);
    if (gate_up && l[L_DOWN_EXPS].t) return;
    for (int ie = 0; ie < s->n_expert; ie++) resolve(t, &ld->f->expert, il, ie, expert_slots(ld, s, il, ie));
}

/* A config.json says which products have biases: the others are passed over, as the reference passes over them. */
static void settle_biases(struct load *ld, struct binding *t, int il)
{
    const struct hparam_biases has = hparams_biases(ld->h, ld->w);
    const struct {
        int slot;
        bool wanted, there;
    } bias[] = {
        { L_Q_BIAS, has.qkv, true },     { L_K_BIAS, has.qkv, true },     { L_V_BIAS, has.qkv, true },
        { L_OUT_BIAS, has.out, true },   { L_GATE_BIAS, has.mlp, false }, { L_UP_BIAS, has.mlp, false },
        { L_DOWN_BIAS, has.mlp, false },
    };
    struct tensor_slot *l = layer_slots(ld, il);
    for (size_t i = 0; i < sizeof bias / sizeof *bias; i++) {
        struct tensor_slot *b = &l[bias[i].slot];
        if (!bias[i].wanted) *b = (struct tensor_slot){ 0 }; /* report_unused() names it */
        const bool layer_has = bias[i].there || l[L_GATE].t;
        if (!b->t && bias[i].wanted && layer_has)
            bind_fault(t, "layer %d: the configuration says that %s biases, which are missing", il,
                       bias[i].slot < L_OUT_BIAS ? "q, k and v have"
                       : bias[i].there           ? "the attention's output has"
                                                 : "the feed-forward has");
    }
}

/* The head is the embedding where the file has one of them alone. A head beside a tied embedding is used: the reference ties only what
 * is equal. */
static void settle_head(struct load *ld, struct binding *t)
{
    struct tensor_slot *embd = &ld->g[G_EMBD], *head = &ld->g[G_HEAD];
    const enum hparam_tied tied = weights_gguf(ld->w) ? TIED_YES : hparams_tied(ld->w);
    if (!embd->t && head->t && tied == TIED_YES) *embd = *head;
    if (!embd->t && !t->n_bad) bind_fault(t, "the embedding of tokens (token_embd, embed_tokens) is missing");
    if (head->t || !embd->t) return;
    if (tied == TIED_NO)
        bind_fault(t, "the head (lm_head) is missing, and tie_word_embeddings is false");
    else if (tied == TIED_UNSAID && ld->say)
        log_warn(
            "the head (lm_head) is missing and tie_word_embeddings does not say why: the embedding is used");
    *head = *embd;
}

static bool find_tensors(struct load *ld, struct lm_shape *s, struct err *e)
{
    struct binding t;
    int64_t *dim = ld->dim;
    dim[DIM_VOCAB] = -1;
    dim[DIM_EMBD] = s->n_embd;
    dim[DIM_Q] = (int64_t)s->n_head * s->head_dim;
    dim[DIM_KV] = (int64_t)s->n_kv_head * s->head_dim;
    dim[DIM_HEAD] = s->head_dim;
    dim[DIM_FF] = s->n_ff;
    dim[DIM_HALF_ROT] = s->rope.n_rot / 2;
    dim[DIM_EXPERT] = s->n_expert;
    dim[DIM_FF_EXPERT] = s->n_ff_expert;
    dim[DIM_2FF_EXPERT] = 2 * (int64_t)s->n_ff_expert;
    bind_open(&t, ld->w, dim);
    resolve(&t, &global_specs, 0, 0, ld->g);
    settle_head(ld, &t);
    const struct tensor *embd = ld->g[G_EMBD].t, *head = ld->g[G_HEAD].t;
    if (embd) s->n_vocab = (int)embd->dim[0];
    if (embd && (embd->dim[0] < 2 || embd->dim[0] > 1 << 24))
        bind_fault(&t, "%s: %lld rows", embd->name, (long long)embd->dim[0]);
    if (embd && head && head->dim[0] != embd->dim[0])
        bind_fault(&t, "%s: %lld rows, but the vocabulary has %lld", head->name, (long long)head->dim[0],
                   (long long)embd->dim[0]);
    for (int il = 0; il < s->n_layer; il++) {
        resolve(&t, &layer_specs, il, 0, layer_slots(ld, il));
        resolve(&t, &ld->f->layer, il, 0, layer_slots(ld, il));
        if (hparams_routed(s, ld->h, ld->w, il))
            resolve_experts(ld, &t, s, il);
        else
            resolve(&t, &dense_specs, il, 0, layer_slots(ld, il));
        if (!weights_gguf(ld->w)) settle_biases(ld, &t, il);
    }
    return bind_close(&t, e);
}

static bool reserve(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct lm_shape *s = &n->s;
    size_t cost = arena_cost((size_t)s->rope.n_rot / 2, sizeof(float));
    for (int i = 0; i < G_COUNT; i++) cost += slot_cost(&ld->g[i]);
    for (size_t i = 0; i < (size_t)s->n_layer * L_COUNT; i++) cost += slot_cost(&ld->l[i]);
    for (size_t i = 0; ld->x && i < (size_t)s->n_layer * (size_t)s->n_expert * E_COUNT; i++)
        cost += slot_cost(&ld->x[i]);
    if (!arena_init(&n->model, cost, e)) return false;

    const size_t rows = (size_t)n->max_rows, q = (size_t)ld->dim[DIM_Q], kv = (size_t)ld->dim[DIM_KV];
    const size_t embd = (size_t)s->n_embd, experts = (size_t)s->n_expert, k = (size_t)s->n_expert_used;
    const size_t h = experts > (size_t)s->n_ff ? experts : (size_t)s->n_ff; /* some layers may be dense */
    size_t acts = arena_cost(rows * embd, 4) * 2 + arena_cost(rows * (q + 2 * kv), 4) +
                  arena_cost(rows * q, 4) + arena_cost(rows * h, 4) + 2 * arena_cost(rows * k, 4);
    if (!arena_init(&n->acts, acts, e)) return false;
    n->x = arena_alloc(&n->acts, rows * embd, sizeof(float));
    n->xn = arena_alloc(&n->acts, rows * embd, sizeof(float));
    n->qkv = arena_alloc(&n->acts, rows * (q + 2 * kv), sizeof(float));
    n->att = arena_alloc(&n->acts, rows * q, sizeof(float));
    n->h = arena_alloc(&n->acts, rows * h, sizeof(float));
    n->route = n->h; /* router logits: a layer has either these or a dense hidden row */
    n->route_w = arena_alloc(&n->acts, rows * k, sizeof(float));
    n->route_e = arena_alloc(&n->acts, rows * k, sizeof(int32_t));
    n->layer = calloc((size_t)s->n_layer, sizeof *n->layer);
    if (s->n_expert) n->experts = calloc((size_t)s->n_layer * 2 * experts, sizeof *n->experts);
    if (!n->layer || (s->n_expert && !n->experts))
        return err_set(e, ERR_NOMEM, "no memory for %d layers", s->n_layer);
    return true;
}

/* One device layer of up to three matrices and their biases (any may be absent). */
static bool make_linear(struct lm_net *n, const struct load *ld, struct linear **out,
                        const struct tensor_slot *const *part, int n_parts, enum linear_join join,
                        const struct tensor_slot *const *bias, struct err *e)
{
    struct matrix m[3];
    int64_t rows = 0;
    bool any_bias = false;
    for (int i = 0; i < n_parts; i++) {
        m[i] = slot_matrix(part[i], 0, &n->model);
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
    bool ok = linear_new(n->dev, out, m, n_parts, join, b, 1, e) || err_wrap(e, "%s", part[0]->t->name);
    free(b);
    if (!ok) return false;
    n->bytes += linear_bytes(*out);
    if (n->s.n_embd <= FINE_EMBD) linear_set_fine(*out);
    for (int i = 0; i < n_parts; i++)
        if (linear_is_copy(*out)) weights_forget(ld->w, part[i]->t);
    return true;
}

static bool make_expert(struct lm_net *n, struct linear **out, const struct matrix *m, int n_parts,
                        const char *name, int ie, struct err *e)
{
    if (!linear_new(n->dev, out, m, n_parts, n_parts == 2 ? LINEAR_PAIRED : LINEAR_CONCAT, NULL, 1, e))
        return err_wrap(e, "%s, expert %d", name, ie);
    n->bytes += linear_bytes(*out);
    if (n->s.n_embd <= FINE_EMBD) linear_set_fine(*out);
    return true;
}

static bool load_experts(struct lm_net *n, const struct load *ld, struct layer *l, int il, struct err *e)
{
    const struct tensor_slot *t = layer_slots(ld, il);
    const int n_expert = n->s.n_expert;
    const bool stacked = t[L_DOWN_EXPS].t != NULL;
    l->expert_gate_up = n->experts + (size_t)il * 2 * (size_t)n_expert;
    l->expert_down = l->expert_gate_up + n_expert;
    bool copies = true;
    for (int ie = 0; ie < n_expert; ie++) {
        const struct tensor_slot *x = stacked ? NULL : expert_slots(ld, &n->s, il, ie);
        struct matrix gu[2], down;
        if (!stacked) {
            gu[0] = slot_matrix(&x[E_GATE], 0, &n->model);
            gu[1] = slot_matrix(&x[E_UP], 0, &n->model);
            down = slot_matrix(&x[E_DOWN], 0, &n->model);
        } else {
            if (t[L_GATE_UP_EXPS].t) { /* gate rows, then up rows */
                gu[0] = gu[1] = slot_matrix(&t[L_GATE_UP_EXPS], ie, &n->model);
                gu[0].n_out = gu[1].n_out = n->s.n_ff_expert;
                gu[1].data = (const unsigned char *)gu[1].data +
                             dtype_row_bytes(gu[1].type, gu[1].n_in) * (size_t)gu[1].n_out;
            } else {
                gu[0] = slot_matrix(&t[L_GATE_EXPS], ie, &n->model);
                gu[1] = slot_matrix(&t[L_UP_EXPS], ie, &n->model);
            }
            down = slot_matrix(&t[L_DOWN_EXPS], ie, &n->model);
        }
        const char *name = stacked ? t[L_DOWN_EXPS].t->name : x[E_DOWN].t->name;
        if (!make_expert(n, &l->expert_gate_up[ie], gu, 2, name, ie, e)) return false;
        if (!make_expert(n, &l->expert_down[ie], &down, 1, name, ie, e)) return false;
        const bool copied = linear_is_copy(l->expert_gate_up[ie]) && linear_is_copy(l->expert_down[ie]);
        for (int i = 0; copied && x && i < E_COUNT; i++) weights_forget(ld->w, x[i].t);
        copies &= copied;
    }
    static const int stacks[] = { L_GATE_EXPS, L_UP_EXPS, L_GATE_UP_EXPS, L_DOWN_EXPS };
    for (size_t i = 0; stacked && copies && i < sizeof stacks / sizeof *stacks; i++)
        if (t[stacks[i]].t) weights_forget(ld->w, t[stacks[i]].t);
    const struct tensor_slot *router = &t[L_ROUTER];
    return make_linear(n, ld, &l->router, &router, 1, LINEAR_CONCAT, NULL, e);
}

static bool load_layer(struct lm_net *n, const struct load *ld, int il, struct err *e)
{
    struct layer *l = &n->layer[il];
    const struct tensor_slot *t = layer_slots(ld, il);
    l->window = hparams_window(&n->s, ld->h, ld->w, il);
    l->attn_norm = slot_floats(&t[L_ATTN_NORM], &n->model);
    l->ffn_norm = slot_floats(&t[L_FFN_NORM], &n->model);
    l->q_norm = slot_floats(&t[L_Q_NORM], &n->model);
    l->k_norm = slot_floats(&t[L_K_NORM], &n->model);
    const struct tensor_slot *qkv[] = { &t[L_Q], &t[L_K], &t[L_V] };
    const struct tensor_slot *qkv_bias[] = { &t[L_Q_BIAS], &t[L_K_BIAS], &t[L_V_BIAS] };
    const struct tensor_slot *out[] = { &t[L_OUT] }, *out_bias[] = { &t[L_OUT_BIAS] };
    if (!make_linear(n, ld, &l->qkv, qkv, 3, LINEAR_CONCAT, qkv_bias, e)) return false;
    if (!make_linear(n, ld, &l->out, out, 1, LINEAR_CONCAT, out_bias, e)) return false;
    if (hparams_routed(&n->s, ld->h, ld->w, il)) return load_experts(n, ld, l, il, e);
    const struct tensor_slot *gu[] = { &t[L_GATE], &t[L_UP] },
                             *gu_bias[] = { &t[L_GATE_BIAS], &t[L_UP_BIAS] };
    const struct tensor_slot *down[] = { &t[L_DOWN] }, *down_bias[] = { &t[L_DOWN_BIAS] };
    return make_linear(n, ld, &l->gate_up, gu, 2, LINEAR_PAIRED, gu_bias, e) &&
           make_linear(n, ld, &l->down, down, 1, LINEAR_CONCAT, down_bias, e);
}

static bool load_weights(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct lm_shape *s = &n->s;
    float *freq = arena_new(&n->model, float, (size_t)s->rope.n_rot / 2);
    rope_freq(freq, &s->rope, slot_floats(&ld->g[G_ROPE_FREQS], &n->model));
    n->freq = freq;
    n->norm = slot_floats(&ld->g[G_NORM], &n->model);
    const struct matrix embd = slot_matrix(&ld->g[G_EMBD], 0, &n->model);
    if (!table_new(n->dev, &n->embd, &embd, e)) return false;
    for (int il = 0; il < s->n_layer; il++) {
        if (!load_layer(n, ld, il, e)) return false;
        device_offer(n->dev, POOL_LOAD);
    }
    const struct tensor_slot *head = &ld->g[G_HEAD];
    return make_linear(n, ld, &n->head, &head, 1, LINEAR_CONCAT, NULL, e);
}

/* What lies in the file and has no place in the network, in the log. */
static void report_unused(const struct load *ld, const struct lm_shape *s)
{
    const size_t n_l = (size_t)s->n_layer * L_COUNT;
    const size_t n_x = ld->x ? (size_t)s->n_layer * (size_t)s->n_expert * E_COUNT : 0;
    struct tensor_slot *all = calloc(G_COUNT + n_l + n_x, sizeof *all);
    char names[300];
    if (!all) return;
    memcpy(all, ld->g, sizeof ld->g);
    memcpy(all + G_COUNT, ld->l, n_l * sizeof *all);
    if (n_x) memcpy(all + G_COUNT + n_l, ld->x, n_x * sizeof *all);
    const size_t n = bind_unused(ld->w, all, G_COUNT + n_l + n_x, names, sizeof names);
    if (n)
        log_warn("%zu tensor%s of the file %s not used: %s%s", n, n == 1 ? "" : "s", n == 1 ? "is" : "are",
                 names, n > 1 ? " ..." : "");
    free(all);
}

static void forget(struct load *ld)
{
    free(ld->l);
    free(ld->x);
}

/* Everything that can be refused before memory is taken. On failure *ld is to be forgotten too. */
static bool prepare(struct load *ld, struct lm_shape *s, struct err *e)
{
    ld->h = hparams_member(ld->f->member, ld->f->n_members, ld->w);
    if (!quantization_check(ld->w, e) || !hparams_read(s, ld->h, ld->w, e)) return false;
    s->rope_layout = weights_gguf(ld->w) ? ld->f->rope_gguf : ld->f->rope_hf;
    ld->l = calloc((size_t)s->n_layer * L_COUNT, sizeof *ld->l);
    if (s->n_expert) ld->x = calloc((size_t)s->n_layer * (size_t)s->n_expert * E_COUNT, sizeof *ld->x);
    if (!ld->l || (s->n_expert && !ld->x))
        return err_set(e, ERR_NOMEM, "no memory for %d layers", s->n_layer);
    return find_tensors(ld, s, e);
}

bool decoder_recognises(const struct decoder_family *f, const struct weights *w)
{
    return hparams_member(f->member, f->n_members, w) != NULL;
}

bool decoder_check(const struct decoder_family *f, struct lm_shape *shape, const struct weights *w,
                   struct err *e)
{
    struct lm_shape s;
    struct load ld = { .f = f, .w = w };
    bool ok = prepare(&ld, &s, e);
    forget(&ld);
    if (ok) *shape = s;
    return ok;
}

bool decoder_load(const struct decoder_family *f, struct lm_net **out, struct lm_shape *shape,
                  const struct weights *w, struct device *d, int max_rows, struct err *e)
{
    struct lm_shape s;
    struct load ld = { .f = f, .w = w, .say = true };
    struct lm_net *n = NULL;
    bool ok = prepare(&ld, &s, e);
    if (ok) {
        config_keys_report(ld.h, w);
        report_unused(&ld, &s);
        n = calloc(1, sizeof *n);
        if (!n) ok = err_set(e, ERR_NOMEM, "no memory for %d layers", s.n_layer);
    }
    if (ok) {
        n->s = s;
        n->dev = d;
        n->max_rows = max_rows;
        n->renorm = hparams_renorm(ld.h, w);
        ok = reserve(n, &ld, e) && load_weights(n, &ld, e);
    }
    if (ok) {
        *out = n;
        *shape = s;
    } else {
        decoder_free(n);
    }
    forget(&ld);
    return ok;
}

void decoder_free(struct lm_net *n)
{
    if (!n) return;
    for (int il = 0; n->layer && il < n->s.n_layer; il++) {
        struct layer *l = &n->layer[il];
        struct linear *all[] = { l->qkv, l->out, l->gate_up, l->down, l->router };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (all[i]) linear_free(all[i]);
    }
    for (size_t i = 0; n->experts && i < (size_t)n->s.n_layer * 2 * (size_t)n->s.n_expert; i++)
        if (n->experts[i]) linear_free(n->experts[i]);
    linear_free(n->head);
    table_free(n->embd);
    free(n->experts);
    free(n->layer);
    arena_free(&n->model);
    arena_free(&n->acts);
    free(n);
}

size_t decoder_bytes(const struct lm_net *n) { return n->bytes + n->model.cap + n->acts.cap; }

/* ---- the forward pass ----------------------------------------------------------------------------------------------- */

/* y [rows, n_out] from x [rows, n_in], rows packed; norm: x is RMS-normalised with it first (NULL: not). */
static void product(const struct lm_net *n, const struct linear *w, const float *norm, const float *x,
                    float *y, int64_t rows, enum epilogue epi)
{
    struct linear_args a = { .w = w, .x = x, .y = y, .n = rows, .norm = norm, .eps = n->s.eps, .epi = epi };
    a.ldx = linear_n_in(w);
    a.ldy = linear_n_out(w);
    op_linear(n->dev, &a);
}

/* q and k of all rows, in place in qkv [rows, (n_head + 2 n_kv_head) * head_dim]. */
static void rotate(struct lm_net *n, const struct layer *l, const struct lm_batch *b)
{
    const struct lm_shape *s = &n->s;
    struct rope_args r = { .x = n->qkv, .n = b->n_rows, .pos = b->pos, .freq = n->freq, .eps = s->eps };
    r.ld = linear_n_out(l->qkv);
    r.n_head = s->n_head;
    r.head_dim = s->head_dim;
    r.n_rot = s->rope.n_rot;
    r.mscale = (float)s->rope.mscale;
    r.layout = s->rope_layout;
    r.head_norm = l->q_norm;
    if (!l->q_norm && !l->k_norm) {
        r.n_head += s->n_kv_head; /* k stands behind q: one operation */
        op_rope(n->dev, &r);
        return;
    }
    op_rope(n->dev, &r);
    r.x += (int64_t)s->n_head * s->head_dim;
    r.n_head = s->n_kv_head;
    r.head_norm = l->k_norm;
    op_rope(n->dev, &r);
}

/* att [rows, n_head * head_dim] from qkv; k and v of the rows go to their pages. */
static void attend(struct lm_net *n, const struct layer *l, const struct lm_batch *b,
                   const struct kv_layer *kv)
{
    const struct lm_shape *s = &n->s;
    struct attn_args a = { .kv = kv, .seq = b->seq, .n_seq = b->n_seq, .n_head = s->n_head, .out = n->att };
    a.q = n->qkv;
    a.k = a.q + (int64_t)s->n_head * s->head_dim;
    a.v = a.k + (int64_t)s->n_kv_head * s->head_dim;
    a.ldq = a.ldk = a.ldv = linear_n_out(l->qkv);
    a.ldo = (int64_t)s->n_head * s->head_dim;
    a.scale = 1.0f / sqrtf((float)s->head_dim);
    a.window = l->window;
    op_attention_paged(n->dev, &a);
}

static void experts(struct lm_net *n, const struct layer *l, int64_t rows)
{
    const struct lm_shape *s = &n->s;
    op_rmsnorm(n->dev, n->xn, s->n_embd, n->x, s->n_embd, rows, s->n_embd, l->ffn_norm, s->eps);
    product(n, l->router, NULL, n->xn, n->route, rows, EPI_STORE);
    moe_route_softmax(n->route, rows, s->n_expert, s->n_expert_used, n->renorm, n->route_e, n->route_w);
    struct moe_args a = { .gate_up = l->expert_gate_up, .down = l->expert_down, .n_expert = s->n_expert };
    a.x = n->xn;
    a.y = n->x;
    a.ldx = a.ldy = s->n_embd;
    a.n = rows;
    a.expert = n->route_e;
    a.weight = n->route_w;
    a.k = s->n_expert_used;
    op_moe(n->dev, &a);
}

void decoder_step(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv)
{
    const int64_t rows = b->n_rows;
    op_embed(n->dev, n->x, n->s.n_embd, n->embd, b->ids, rows); /* x [rows, n_embd] */
    for (int il = 0; il < n->s.n_layer; il++) {
        const struct layer *l = &n->layer[il];
        product(n, l->qkv, l->attn_norm, n->x, n->qkv, rows, EPI_STORE);
        rotate(n, l, b);
        attend(n, l, b, &kv[il]);
        product(n, l->out, NULL, n->att, n->x, rows, EPI_ADD);
        if (l->router) {
            experts(n, l, rows);
        } else {
            product(n, l->gate_up, l->ffn_norm, n->x, n->h, rows, EPI_SWIGLU); /* h [rows, n_ff] */
            product(n, l->down, NULL, n->h, n->x, rows, EPI_ADD);
        }
        /* A chunk of many rows takes milliseconds a layer: shorter work of others may go between. */
        if (rows >= 32) device_offer(n->dev, b->lane);
    }
}

void decoder_head(struct lm_net *n, const int32_t *row, int n_out, float *logits)
{
    const int64_t embd = n->s.n_embd;
    for (int i = 0; i < n_out; i++)
        memcpy(n->xn + i * embd, n->x + row[i] * embd, (size_t)embd * sizeof(float));
    product(n, n->head, n->norm, n->xn, logits, n_out, EPI_STORE);
}
