#include "lm/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lm/config_keys.h"
#include "lm/hparams.h"
#include "lm/inputs.h"
#include "lm/layers.h"
#include "lm/lm.h"
#include "lm/mla.h"
#include "lm/quantization.h"
#include "lm/rope_config.h"

/* Up to this width products with quantised weights keep more bits of the activations. On the starter model (576 wide)
 * 8 bits move the log-probability of a text's tokens by 0.06 on average, 15 bits by 0.001 (smollm2_test.c), for a tenth of
 * the speed of generation and two fifths of that of prompts. */
#define FINE_EMBD 1024

/* A configuration may lie about its layers and experts: after so many tensors that are missing nobody looks for the millions of others. */
enum { ENOUGH_FAULTS = 1000 };

struct layer {
    const dev_float *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm; /* [n_embd] or NULL */
    const dev_float *q_norm, *k_norm;                                       /* [head_dim] or NULL */
    const dev_float *sink;                                                  /* [n_head] or NULL */
    struct linear *qkv; /* q, k, v one after the other; NULL: latent attention */
    struct mla mla;
    struct linear *out;
    struct linear *gate_up, *down; /* dense layers */
    struct experts experts;        /* layers with a router */
};

struct lm_net {
    struct lm_shape s;
    struct device *dev;
    struct layer *layer;
    struct table *embd;
    const dev_float *norm, *freq[LM_MAX_ROPE];
    struct linear *head;
    struct arena scales;         /* of weights, the host's: as long as the network */
    struct device_arena numbers; /* norms, frequencies: as long as the network */
    struct device_arena acts;    /* activations: overwritten by each step */
    struct inputs in;
    int max_rows, n_ctx;
    dev_float *x, *qkv, *att, *h, *xn;
    dev_float *y;          /* what a norm follows before it is added to x; NULL: there is no such norm */
    dev_int *out_row;      /* [max_rows] rows that head() is asked for */
    const dev_float *ones; /* [head_dim]; NULL: no layer has unit heads */
    dev_float *
        temper; /* [max_rows] what q of this step's rows is multiplied by in tempered layers; NULL: none are */
    float *temper_host;
    bool tempered; /* it is not 1 for some of them */
    struct routing routing;
    struct mla_room mla;
    size_t bytes;
};

/* ---- the tensors every family of this form has ------------------------------------------------------------------------ */

/* clang-format off */
static const struct tensor_spec global[] = {
    { G_EMBD,       "token_embd.weight",  "model.embed_tokens.weight", { DIM_VOCAB, DIM_EMBD }, TENSOR_OPTIONAL },
    { G_NORM,       "output_norm.weight", "model.norm.weight",         { DIM_EMBD },            TENSOR_NEEDED },
    { G_HEAD,       "output.weight",      "lm_head.weight",            { DIM_VOCAB, DIM_EMBD }, TENSOR_OPTIONAL },
    /* divisors of the base frequencies: llama3 scaling, done by the converter; and the two lists of longrope */
    { G_ROPE_FREQS, "rope_freqs.weight",  NULL,                        { DIM_HALF_ROT },        TENSOR_OPTIONAL },
    { G_ROPE_NEAR,  "rope_factors_short.weight", NULL,                 { DIM_HALF_ROT },        TENSOR_OPTIONAL },
    { G_ROPE_FAR,   "rope_factors_long.weight",  NULL,                 { DIM_HALF_ROT },        TENSOR_OPTIONAL },
};

#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec pre_norms[] = {
    { L_ATTN_NORM, GG "attn_norm.weight", HF "input_layernorm.weight",          { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_NORM,  GG "ffn_norm.weight",  HF "post_attention_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
};

static const struct tensor_spec layer[] = {
    { L_Q,         GG "attn_q.weight",      HF "self_attn.q_proj.weight",         { DIM_Q, DIM_EMBD },  TENSOR_NEEDED },
    { L_K,         GG "attn_k.weight",      HF "self_attn.k_proj.weight",         { DIM_KV, DIM_EMBD }, TENSOR_NEEDED },
    { L_V,         GG "attn_v.weight",      HF "self_attn.v_proj.weight",         { DIM_KV, DIM_EMBD }, TENSOR_NEEDED },
    { L_OUT,       GG "attn_output.weight", HF "self_attn.o_proj.weight",         { DIM_EMBD, DIM_Q },  TENSOR_NEEDED },
    { L_Q_BIAS,    GG "attn_q.bias",        HF "self_attn.q_proj.bias",           { DIM_Q },            TENSOR_OPTIONAL },
    { L_K_BIAS,    GG "attn_k.bias",        HF "self_attn.k_proj.bias",           { DIM_KV },           TENSOR_OPTIONAL },
    { L_V_BIAS,    GG "attn_v.bias",        HF "self_attn.v_proj.bias",           { DIM_KV },           TENSOR_OPTIONAL },
    { L_OUT_BIAS,  GG "attn_output.bias",   HF "self_attn.o_proj.bias",           { DIM_EMBD },         TENSOR_OPTIONAL },
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
const struct tensor_specs decoder_pre_norms = { pre_norms, COUNT(pre_norms) };

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
    if (s->routing.biased && !l[L_ROUTER_BIAS].t)
        bind_fault(t, "layer %d: the bias of the router of its experts is missing", il);
    if (s->n_ff_shared && (!l[L_SHARED_GATE].t || !l[L_SHARED_UP].t || !l[L_SHARED_DOWN].t))
        bind_fault(t, "layer %d: its shared experts are missing", il);
    const bool gate_up = l[L_GATE_UP_EXPS].t || (l[L_GATE_EXPS].t && l[L_UP_EXPS].t);
    if (gate_up && l[L_DOWN_EXPS].t) return;
    if (!ld->f->expert.n) bind_fault(t, "layer %d: its experts are missing", il);
    for (int ie = 0; ie < s->n_expert && t->n_bad < ENOUGH_FAULTS; ie++)
        resolve(t, &ld->f->expert, il, ie, expert_slots(ld, s, il, ie));
}

static void resolve_latent(const struct load *ld, struct binding *t, const struct lm_shape *s, int il)
{
    const struct latent_tables *f = ld->f->latent;
    struct tensor_slot *l = layer_slots(ld, il);
    resolve(t, &f->all, il, 0, l);
    resolve(t, s->latent.q_rank ? &f->q_two : &f->q, il, 0, l);
    resolve(t, &f->joined, il, 0, l);
    if (l[L_KV_B].t) return;
    resolve(t, &f->apart, il, 0, l);
    if (!l[L_K_B].t || !l[L_V_B].t)
        bind_fault(t, "layer %d: the keys and values of its latents (kv_b, or k_b and v_b) are missing", il);
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
    enum hparam_tied tied = weights_gguf(ld->w) ? TIED_YES : hparams_tied(ld->w);
    if (tied == TIED_UNSAID && ld->h->tied) tied = TIED_YES;
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

/* Lists of longrope that lie in the file. */
static void settle_rope(struct load *ld, struct binding *t, struct lm_shape *s)
{
    float *near = slot_floats(&ld->g[G_ROPE_NEAR]), *far = slot_floats(&ld->g[G_ROPE_FAR]);
    if (!rope_take_lists(&s->rope[0], near, far, s->rope[0].n_rot / 2))
        bind_fault(t, "rope_factors_short.weight and rope_factors_long.weight of longrope are missing");
    free(near);
    free(far);
}

/* q, k and v, and gate and up, may be joined in a family that says so: it is one or the other. */
static void settle_joined(struct binding *t, const struct tensor_slot *l, int il, bool routed)
{
    if (!l[L_QKV].t && (!l[L_Q].t || !l[L_K].t || !l[L_V].t))
        bind_fault(t, "layer %d: q, k and v are missing, joined and one by one", il);
    if (!routed && !l[L_GATE_UP].t && (!l[L_GATE].t || !l[L_UP].t))
        bind_fault(t, "layer %d: gate and up are missing, joined and one by one", il);
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
    dim[DIM_HALF_ROT] = s->rope[0].n_rot / 2;
    dim[DIM_EXPERT] = s->n_expert;
    dim[DIM_FF_EXPERT] = s->n_ff_expert;
    dim[DIM_2FF_EXPERT] = 2 * (int64_t)s->n_ff_expert;
    dim[DIM_FF_SHARED] = s->n_ff_shared;
    dim[DIM_HEADS] = s->n_head;
    dim[DIM_Q_RANK] = s->latent.q_rank;
    dim[DIM_KV_RANK] = s->latent.kv_rank;
    dim[DIM_KV_A] = (int64_t)s->latent.kv_rank + s->latent.rope;
    dim[DIM_KV_B] = (int64_t)s->n_head * (s->latent.nope + s->latent.v);
    dim[DIM_NOPE] = s->latent.nope;
    dim[DIM_V] = s->latent.v;
    dim[DIM_QKV] = dim[DIM_Q] + 2 * dim[DIM_KV];
    dim[DIM_2FF] = 2 * (int64_t)s->n_ff;
    dim[DIM_ATT] = (int64_t)s->n_head * (s->latent.kv_rank ? s->latent.v : s->head_dim);
    bind_open(&t, ld->w, dim);
    resolve(&t, &global_specs, 0, 0, ld->g);
    settle_head(ld, &t);
    settle_rope(ld, &t, s);
    const struct tensor *embd = ld->g[G_EMBD].t, *head = ld->g[G_HEAD].t;
    if (embd) s->n_vocab = (int)embd->dim[0];
    if (embd && (embd->dim[0] < 2 || embd->dim[0] > 1 << 24))
        bind_fault(&t, "%s: %lld rows", embd->name, (long long)embd->dim[0]);
    if (embd && head && head->dim[0] != embd->dim[0])
        bind_fault(&t, "%s: %lld rows, but the vocabulary has %lld", head->name, (long long)head->dim[0],
                   (long long)embd->dim[0]);
    for (int il = 0; il < s->n_layer && t.n_bad < ENOUGH_FAULTS; il++) {
        if (s->latent.kv_rank)
            resolve_latent(ld, &t, s, il);
        else
            resolve(&t, ld->f->attention ? ld->f->attention : &layer_specs, il, 0, layer_slots(ld, il));
        resolve(&t, ld->f->norms, il, 0, layer_slots(ld, il));
        resolve(&t, &ld->f->layer, il, 0, layer_slots(ld, il));
        if (s->layer[il].routed)
            resolve_experts(ld, &t, s, il);
        else
            resolve(&t, ld->f->dense ? ld->f->dense : &dense_specs, il, 0, layer_slots(ld, il));
        if (s->head_norms && (!layer_slots(ld, il)[L_Q_NORM].t || !layer_slots(ld, il)[L_K_NORM].t))
            bind_fault(
                &t, "layer %d: norms over heads of q and k are missing, although the configuration has them",
                il);
        if (ld->f->attention) settle_joined(&t, layer_slots(ld, il), il, s->layer[il].routed);
        if (!weights_gguf(ld->w)) settle_biases(ld, &t, il);
    }
    bind_other_norms(&t, s->n_layer, ld->l, (size_t)s->n_layer * L_COUNT);
    return bind_close(&t, e);
}

static bool reserve(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct lm_shape *s = &n->s;
    size_t cost = 0, numbers = layers_rope_cost(s) + layers_ones_cost(s);
    bool post = false;
    for (int i = 0; i < G_COUNT; i++) {
        cost += slot_cost(&ld->g[i]);
        numbers += layers_norm_cost(&ld->g[i]);
    }
    for (size_t i = 0; i < (size_t)s->n_layer * L_COUNT; i++) {
        cost += slot_cost(&ld->l[i]);
        numbers += layers_norm_cost(&ld->l[i]);
    }
    for (size_t i = 0; ld->x && i < (size_t)s->n_layer * (size_t)s->n_expert * E_COUNT; i++)
        cost += slot_cost(&ld->x[i]);
    for (int il = 0; il < s->n_layer; il++)
        post |= layer_slots(ld, il)[L_ATTN_POST_NORM].t || layer_slots(ld, il)[L_FFN_POST_NORM].t;
    if (!arena_init(&n->scales, cost, e) || !device_arena_init(&n->numbers, n->dev, numbers, e)) return false;

    const bool latent = s->latent.kv_rank > 0;
    const size_t rows = (size_t)n->max_rows, att = (size_t)ld->dim[DIM_ATT];
    const size_t qkv = latent ? 0 : (size_t)(ld->dim[DIM_Q] + 2 * ld->dim[DIM_KV]);
    const size_t embd = (size_t)s->n_embd, experts = (size_t)s->n_expert, k = (size_t)s->n_expert_used;
    size_t h = experts > (size_t)s->n_ff ? experts : (size_t)s->n_ff; /* some layers may be dense */
    if (h < (size_t)s->n_ff_shared) h = (size_t)s->n_ff_shared;
    size_t acts = arena_cost(rows * embd, 4) * (post ? 3 : 2) + arena_cost(rows * qkv, 4) +
                  (latent ? mla_room_cost(s, rows) : 0) + arena_cost(rows * att, 4) +
                  arena_cost(rows * h, 4) + 2 * arena_cost(rows * k, 4) + arena_cost(rows, 4) * 2;
    if (!device_arena_init(&n->acts, n->dev, acts, e)) return false;
    n->x = device_arena_floats(&n->acts, rows * embd);
    n->xn = device_arena_floats(&n->acts, rows * embd);
    if (latent)
        mla_room_take(&n->mla, s, &n->acts, rows);
    else
        n->qkv = device_arena_floats(&n->acts, rows * qkv);
    n->att = device_arena_floats(&n->acts, rows * att);
    n->h = device_arena_floats(&n->acts, rows * h);
    if (post) n->y = device_arena_floats(&n->acts, rows * embd);
    n->routing.logits = n->routing.hidden = n->h; /* a layer has either these or a dense hidden row */
    n->routing.weight = device_arena_floats(&n->acts, rows * k);
    n->routing.expert = device_arena_ints(&n->acts, rows * k);
    n->out_row = device_arena_ints(&n->acts, rows);
    if (s->temper.every > 0) {
        n->temper = device_arena_floats(&n->acts, rows);
        n->temper_host = calloc(rows, sizeof *n->temper_host);
    }
    n->layer = calloc((size_t)s->n_layer, sizeof *n->layer);
    return (n->layer && (!n->temper || n->temper_host)) ||
           err_set(e, ERR_NOMEM, "no memory for %d layers", s->n_layer);
}

static bool load_attention(struct lm_net *n, struct layer_maker *mk, struct layer *l,
                           const struct tensor_slot *t, struct err *e)
{
    const struct tensor_slot *qkv[] = { &t[L_Q], &t[L_K], &t[L_V] };
    const struct tensor_slot *qkv_bias[] = { &t[L_Q_BIAS], &t[L_K_BIAS], &t[L_V_BIAS] };
    const struct tensor_slot *out[] = { &t[L_OUT] }, *out_bias[] = { &t[L_OUT_BIAS] };
    if (n->s.latent.kv_rank) {
        const struct mla_slots m = { .q_a = &t[L_Q_A],
                                     .q_norm = &t[L_Q_A_NORM],
                                     .q = &t[L_Q],
                                     .kv_a = &t[L_KV_A],
                                     .kv_norm = &t[L_KV_A_NORM],
                                     .kv_b = &t[L_KV_B],
                                     .k_b = &t[L_K_B],
                                     .v_b = &t[L_V_B] };
        if (!mla_load(mk, &l->mla, &n->s, &m, e)) return false;
    } else if (t[L_QKV].t) {
        const struct tensor_slot *joined[] = { &t[L_QKV] };
        if (!layers_linear(mk, &l->qkv, joined, 1, LINEAR_CONCAT, NULL, e)) return false;
    } else if (!layers_linear(mk, &l->qkv, qkv, 3, LINEAR_CONCAT, qkv_bias, e)) {
        return false;
    }
    return layers_linear(mk, &l->out, out, 1, LINEAR_CONCAT, out_bias, e);
}

static bool load_layer(struct lm_net *n, struct layer_maker *mk, const struct load *ld, int il, struct err *e)
{
    struct layer *l = &n->layer[il];
    const struct tensor_slot *t = layer_slots(ld, il);
    const bool from_one = ld->f->norm_from_one && !weights_gguf(ld->w);
    const struct {
        const dev_float **to;
        int slot;
    } norm[] = { { &l->attn_norm, L_ATTN_NORM },
                 { &l->attn_post_norm, L_ATTN_POST_NORM },
                 { &l->ffn_norm, L_FFN_NORM },
                 { &l->ffn_post_norm, L_FFN_POST_NORM },
                 { &l->q_norm, L_Q_NORM },
                 { &l->k_norm, L_K_NORM },
                 { &l->sink, L_SINK } };
    for (size_t i = 0; i < sizeof norm / sizeof *norm; i++)
        if (!layers_norm(mk, norm[i].to, &t[norm[i].slot], from_one, e)) return false;
    if (!load_attention(n, mk, l, t, e)) return false;
    if (n->s.layer[il].routed) {
        const struct expert_slots x = { .router = &t[L_ROUTER],
                                        .router_bias = &t[L_ROUTER_BIAS],
                                        .gate_up = &t[L_GATE_UP_EXPS],
                                        .gate = &t[L_GATE_EXPS],
                                        .up = &t[L_UP_EXPS],
                                        .down = &t[L_DOWN_EXPS],
                                        .one = expert_slots(ld, &n->s, il, 0),
                                        .router_add = &t[L_ROUTER_ADD],
                                        .gate_up_add = &t[L_GATE_UP_EXPS_BIAS],
                                        .gate_add = &t[L_GATE_EXPS_BIAS],
                                        .up_add = &t[L_UP_EXPS_BIAS],
                                        .down_add = &t[L_DOWN_EXPS_BIAS],
                                        .shared_gate = &t[L_SHARED_GATE],
                                        .shared_up = &t[L_SHARED_UP],
                                        .shared_down = &t[L_SHARED_DOWN] };
        return layers_experts(mk, &l->experts, &n->s, &x, e);
    }
    const struct tensor_slot *gu[] = { &t[L_GATE], &t[L_UP] },
                             *gu_bias[] = { &t[L_GATE_BIAS], &t[L_UP_BIAS] };
    const struct tensor_slot *down[] = { &t[L_DOWN] }, *down_bias[] = { &t[L_DOWN_BIAS] };
    const bool joined = t[L_GATE_UP].t != NULL;
    return (joined ? layers_halves(mk, &l->gate_up, &t[L_GATE_UP], e)
                   : layers_linear(mk, &l->gate_up, gu, 2, LINEAR_PAIRED, gu_bias, e)) &&
           layers_linear(mk, &l->down, down, 1, LINEAR_CONCAT, down_bias, e);
}

static bool load_weights(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct lm_shape *s = &n->s;
    struct layer_maker mk = { .dev = n->dev,
                              .w = ld->w,
                              .scales = &n->scales,
                              .numbers = &n->numbers,
                              .fine = s->n_embd <= FINE_EMBD };
    if (!layers_rope(&mk, n->freq, s, &ld->g[G_ROPE_FREQS], n->n_ctx, e) || !layers_ones(&mk, &n->ones, s, e))
        return false;
    if (!layers_norm(&mk, &n->norm, &ld->g[G_NORM], ld->f->norm_from_one && !weights_gguf(ld->w), e))
        return false;
    const struct matrix embd = slot_matrix(&ld->g[G_EMBD], 0, &n->scales);
    if (!table_new(n->dev, &n->embd, &embd, e)) return false;
    for (int il = 0; il < s->n_layer; il++) {
        if (!load_layer(n, &mk, ld, il, e)) return false;
        device_offer(n->dev, POOL_LOAD);
    }
    const struct tensor_slot *head[] = { &ld->g[G_HEAD] };
    if (!layers_linear(&mk, &n->head, head, 1, LINEAR_CONCAT, NULL, e)) return false;
    n->bytes = mk.bytes;
    return true;
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
    if (s->n_guess_layer) log_info("layers from %d on, which guess further tokens, are not used", s->n_layer);
    const size_t n = bind_unused(ld->w, all, G_COUNT + n_l + n_x, s->n_layer, s->n_layer + s->n_guess_layer,
                                 names, sizeof names);
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
static bool prepare(struct load *ld, const struct lm_arch *a, struct lm_shape *s, struct err *e)
{
    ld->h = hparams_member(a->member, a->n_members, ld->w);
    if (!quantization_check(ld->w, e) || !hparams_read(s, ld->h, ld->w, e)) return false;
    s->rope_layout = weights_gguf(ld->w) ? ld->f->rope_gguf : ld->f->rope_hf;
    ld->l = calloc((size_t)s->n_layer * L_COUNT, sizeof *ld->l);
    if (s->n_expert) ld->x = calloc((size_t)s->n_layer * (size_t)s->n_expert * E_COUNT, sizeof *ld->x);
    if (!ld->l || (s->n_expert && !ld->x))
        return err_set(e, ERR_NOMEM, "no memory for %d layers", s->n_layer);
    return find_tensors(ld, s, e);
}

static bool check(const struct lm_arch *a, struct lm_shape *shape, const struct weights *w, struct err *e)
{
    struct lm_shape s;
    struct load ld = { .f = a->decoder, .w = w };
    bool ok = prepare(&ld, a, &s, e);
    forget(&ld);
    if (ok) *shape = s;
    return ok;
}

static void free_net(struct lm_net *n)
{
    if (!n) return;
    for (int il = 0; n->layer && il < n->s.n_layer; il++) {
        struct layer *l = &n->layer[il];
        struct linear *all[] = { l->qkv, l->out, l->gate_up, l->down };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) linear_free(all[i]);
        layers_experts_free(&l->experts);
        mla_free(&l->mla);
    }
    linear_free(n->head);
    table_free(n->embd);
    free(n->layer);
    free(n->temper_host);
    inputs_free(&n->in);
    arena_free(&n->scales);
    device_arena_free(&n->numbers);
    device_arena_free(&n->acts);
    free(n);
}

static bool load(const struct lm_arch *a, struct lm_net **out, struct lm_shape *shape,
                 const struct weights *w, struct device *d, int max_rows, int n_ctx, struct err *e)
{
    struct lm_shape s;
    struct load ld = { .f = a->decoder, .w = w, .say = true };
    struct lm_net *n = NULL;
    bool ok = prepare(&ld, a, &s, e);
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
        n->n_ctx = n_ctx > 0 ? n_ctx : s.n_ctx_train < LM_DEFAULT_CTX ? s.n_ctx_train : LM_DEFAULT_CTX;
        ok = reserve(n, &ld, e) && load_weights(n, &ld, e);
    }
    if (ok) {
        *out = n;
        *shape = s;
    } else {
        free_net(n);
    }
    forget(&ld);
    return ok;
}

static size_t bytes(const struct lm_net *n)
{
    return n->bytes + n->scales.cap + n->numbers.at.cap + n->acts.at.cap;
}

/* ---- the forward pass ----------------------------------------------------------------------------------------------- */

/* y [rows, n_out] from x [rows, n_in], rows packed; norm: x is RMS-normalised with it first (NULL: not). */
static void product(const struct lm_net *n, const struct linear *w, const dev_float *norm, const dev_float *x,
                    dev_float *y, int64_t rows, enum epilogue epi)
{
    struct linear_args a = { .w = w, .x = x, .y = y, .n = rows, .norm = norm, .eps = n->s.eps, .epi = epi };
    a.ldx = linear_n_in(w);
    a.ldy = linear_n_out(w);
    op_linear(n->dev, &a);
}

static void rms(const struct lm_net *n, const dev_float *w, const dev_float *x, dev_float *y, int64_t rows)
{
    op_rmsnorm(n->dev, y, n->s.n_embd, x, n->s.n_embd, rows, n->s.n_embd, w, n->s.eps);
}

/* x [rows, n_embd]: rows of the embedding, or those that were given. */
static void embed(struct lm_net *n, const struct lm_batch *b)
{
    const int64_t embd = n->s.n_embd;
    for (int64_t r = 0, end; r < b->n_rows; r = end) {
        const bool given = b->ids[r] == LM_ROW_GIVEN;
        for (end = r + 1; end < b->n_rows && (b->ids[end] == LM_ROW_GIVEN) == given;) end++;
        dev_float *x = n->x + r * embd;
        if (given) {
            device_upload(n->dev, x, b->embd + r * embd, (size_t)((end - r) * embd));
            continue;
        }
        op_embed(n->dev, x, embd, n->embd, n->in.ids + r, end - r);
        if (n->s.embd_scale != 1) op_axpby(n->dev, x, x, n->s.embd_scale, 0, (end - r) * embd);
    }
}

/* q and k of all rows, in place in qkv [rows, (n_head + 2 n_kv_head) * head_dim]. */
static void rotate(struct lm_net *n, const struct layer *l, const struct lm_layer_shape *ls,
                   const struct lm_batch *b)
{
    const struct lm_shape *s = &n->s;
    const int which = ls->rope;
    struct rope_args r = { .x = n->qkv, .n = b->n_rows, .pos = n->in.pos, .eps = s->eps };
    if (which >= 0) {
        r.freq = n->freq[which];
        r.n_rot = s->rope[which].n_rot;
        r.mscale = (float)s->rope[which].mscale;
    }
    r.ld = linear_n_out(l->qkv);
    r.n_head = s->n_head;
    r.head_dim = s->head_dim;
    r.layout = s->rope_layout;
    r.head_norm = l->q_norm;
    if (!l->q_norm && !l->k_norm) {
        r.n_head += s->n_kv_head; /* k stands behind q: one operation */
        r.head_norm = ls->unit_heads ? n->ones : NULL;
        r.norm_after = ls->unit_heads;
        if (r.n_rot || r.head_norm) op_rope(n->dev, &r);
        return;
    }
    op_rope(n->dev, &r);
    r.x += (int64_t)s->n_head * s->head_dim;
    r.n_head = s->n_kv_head;
    r.head_norm = l->k_norm;
    op_rope(n->dev, &r);
}

/* Where it is 1 for all rows nothing is multiplied: the bits are the same. */
static void set_temper(struct lm_net *n, const struct lm_batch *b)
{
    n->tempered = false;
    if (!n->temper) return;
    for (int r = 0; r < b->n_rows; r++) {
        n->temper_host[r] = layers_temper(&n->s.temper, b->pos[r]);
        n->tempered |= n->temper_host[r] != 1;
    }
    if (n->tempered) device_upload(n->dev, n->temper, n->temper_host, (size_t)b->n_rows);
}

/* att [rows, n_head * v channels] from x; keys and values of the rows go to their pages. */
static void attend(struct lm_net *n, int il, const struct lm_batch *b, const struct kv_layer *kv)
{
    const struct lm_shape *s = &n->s;
    const struct layer *l = &n->layer[il];
    const struct lm_layer_shape *ls = &s->layer[il];
    const int64_t rows = b->n_rows, group = b->group ? b->group[il] : 0;
    struct attn_args a = {
        .kv = kv, .seq = n->in.seq, .n_seq = b->n_seq, .n_head = s->n_head, .out = n->att
    };
    a.where = n->in.where;
    a.page = n->in.page + group * b->n_seq * n->in.max_pages;
    a.max_pages = n->in.max_pages;
    a.window = ls->window;
    a.chunk = ls->chunk;
    if (!l->qkv) {
        const struct mla_step st = { s, ls, l->attn_norm, n->freq[ls->rope], n->in.pos, rows, a };
        mla_run(n->dev, &l->mla, &st, &n->mla, n->x, n->att);
        return;
    }
    product(n, l->qkv, l->attn_norm, n->x, n->qkv, rows, EPI_STORE);
    rotate(n, l, ls, b);
    if (ls->tempered && n->tempered)
        op_scale_rows(n->dev, n->qkv, linear_n_out(l->qkv), n->temper, rows,
                      (int64_t)s->n_head * s->head_dim);
    a.q = n->qkv;
    a.k = a.q + (int64_t)s->n_head * s->head_dim;
    a.v = a.k + (int64_t)s->n_kv_head * s->head_dim;
    a.ldq = a.ldk = a.ldv = linear_n_out(l->qkv);
    a.ldo = (int64_t)s->n_head * s->head_dim;
    a.scale = ls->attn_scale;
    a.sink = l->sink;
    op_attention_paged(n->dev, &a);
}

/* x += post(w(in)); post NULL: x += w(in). */
static void add_product(struct lm_net *n, const struct linear *w, const dev_float *post, const dev_float *in,
                        int64_t rows)
{
    if (!post) {
        product(n, w, NULL, in, n->x, rows, EPI_ADD);
        return;
    }
    product(n, w, NULL, in, n->y, rows, EPI_STORE);
    rms(n, post, n->y, n->y, rows);
    op_add(n->dev, n->x, n->x, n->y, rows * n->s.n_embd);
}

static void add_experts(struct lm_net *n, const struct layer *l, int64_t rows)
{
    const int64_t embd = n->s.n_embd;
    const dev_float *in = n->x;
    dev_float *y = l->ffn_post_norm ? n->y : n->x;
    if (l->ffn_norm || y == n->x) { /* what goes in is not what comes out */
        rms(n, l->ffn_norm, n->x, n->xn, rows);
        in = n->xn;
    }
    if (l->ffn_post_norm) op_fill(n->dev, y, 0, rows * embd);
    layers_run_experts(n->dev, &l->experts, in, y, rows, embd, &n->routing);
    if (!l->ffn_post_norm) return;
    rms(n, l->ffn_post_norm, y, y, rows);
    op_add(n->dev, n->x, n->x, y, rows * embd);
}

static int groups(const struct lm_net *n, const struct lm_batch *b)
{
    int most = 0;
    for (int il = 0; b->group && il < n->s.n_layer; il++) most = b->group[il] > most ? b->group[il] : most;
    return most + 1;
}

static bool step(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv, struct err *e)
{
    const int64_t rows = b->n_rows;
    const enum epilogue gate = layers_gate(n->s.act);
    if (!inputs_set(&n->in, n->dev, b, groups(n, b), e)) return false;
    embed(n, b);
    set_temper(n, b);
    for (int il = 0; il < n->s.n_layer; il++) {
        const struct layer *l = &n->layer[il];
        const struct lm_layer_shape *ls = &n->s.layer[il];
        attend(n, il, b, &kv[il]);
        add_product(n, l->out, l->attn_post_norm, n->att, rows);
        if (ls->routed) {
            add_experts(n, l, rows);
        } else {
            product(n, l->gate_up, l->ffn_norm, n->x, n->h, rows, gate); /* h [rows, n_ff] */
            add_product(n, l->down, l->ffn_post_norm, n->h, rows);
        }
        /* A chunk of many rows takes milliseconds a layer: shorter work of others may go between. */
        if (rows >= 32) device_offer(n->dev, b->lane);
    }
    return device_finish(n->dev, e);
}

static bool head(struct lm_net *n, const int32_t *row, int n_out, dev_float *logits, struct err *e)
{
    const int64_t embd = n->s.n_embd;
    device_upload_ints(n->dev, n->out_row, row, (size_t)n_out);
    op_gather(n->dev, n->xn, embd, n->x, embd, n->out_row, n_out, embd);
    product(n, n->head, n->norm, n->xn, logits, n_out, EPI_STORE);
    return device_finish(n->dev, e);
}

static bool hidden(struct lm_net *n, const int32_t *row, int n_out, float *out, struct err *e)
{
    const int64_t embd = n->s.n_embd;
    device_upload_ints(n->dev, n->out_row, row, (size_t)n_out);
    op_gather(n->dev, n->xn, embd, n->x, embd, n->out_row, n_out, embd);
    rms(n, n->norm, n->xn, n->xn, n_out);
    device_download(n->dev, out, n->xn, (size_t)(n_out * embd));
    return device_finish(n->dev, e);
}

const struct lm_engine decoder_engine = { .check = check,
                                          .load = load,
                                          .free = free_net,
                                          .step = step,
                                          .head = head,
                                          .hidden = hidden,
                                          .bytes = bytes };
