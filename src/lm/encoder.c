#include "lm/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lm/bind.h"
#include "lm/layers.h"
#include "lm/quantization.h"

/* Up to this width products with quantised weights keep more bits of the activations, as the decoder's do. */
#define FINE_EMBD 1024

struct layer {
    struct linear *qkv, *out, *up, *down; /* up: gate and up where the feed-forward is gated */
    const dev_float *att_norm, *att_norm_bias, *out_norm, *out_norm_bias;
};

struct lm_net {
    struct lm_shape s;
    struct encoder_shape x;
    struct device *dev;
    struct layer *layer;
    struct table *word, *type, *position; /* the last two NULL: there are none */
    const dev_float *norm, *norm_bias, *freq[LM_MAX_ROPE];
    struct arena scales;         /* of weights, the host's: as long as the network */
    struct device_arena numbers; /* norms, frequencies: as long as the network */
    struct device_arena acts;    /* activations: overwritten by each step */
    int max_rows, ff_rows;
    bool two_types; /* of tokens; else all are of the first */
    int32_t
        *host; /* [4 max_rows] what a step uploads: ids, positions, rows of the table of positions, types */
    dev_int *ids, *pos, *place, *types, *out_row;
    struct attn_seq *seq; /* [max_rows] */
    dev_float *h0, *h1, *qkv, *att, *ff;
    size_t bytes;
};

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

/* clang-format off */
enum { DIM_VOCAB = 1, DIM_EMBD, DIM_3EMBD, DIM_FF, DIM_POS, DIM_TYPES, DIM_COUNT };
enum { G_WORD, G_TYPE, G_POS, G_NORM, G_NORM_BIAS, G_COUNT };
enum { L_Q, L_K, L_V, L_QKV, L_OUT, L_UP, L_GATE, L_DOWN, L_Q_BIAS, L_K_BIAS, L_V_BIAS, L_QKV_BIAS, L_OUT_BIAS, L_UP_BIAS, L_DOWN_BIAS,
       L_ATT_NORM, L_ATT_NORM_BIAS, L_OUT_NORM, L_OUT_NORM_BIAS, L_COUNT };

#define NEEDED TENSOR_NEEDED
#define MAYBE  TENSOR_OPTIONAL
#define GLOBAL(norm, types, positions) \
    { G_WORD,      "token_embd.weight",      "model.embeddings.word_embeddings.weight",       { DIM_VOCAB, DIM_EMBD }, NEEDED },  \
    { G_TYPE,      "token_types.weight",     "model.embeddings.token_type_embeddings.weight", { DIM_TYPES, DIM_EMBD }, types },   \
    { G_POS,       "position_embd.weight",   "model.embeddings.position_embeddings.weight",   { DIM_POS, DIM_EMBD },   positions }, \
    { G_NORM,      "token_embd_norm.weight", norm ".weight",                                  { DIM_EMBD },            NEEDED },  \
    { G_NORM_BIAS, "token_embd_norm.bias",   norm ".bias",                                    { DIM_EMBD },            MAYBE },
#define GG "blk.{l}."
#define PAIR(w, b, gguf, hf, out, in, need, bias) \
    { w, GG gguf ".weight", hf ".weight", { out, in }, need }, \
    { b, GG gguf ".bias",   hf ".bias",   { out },     bias },
#define NORM(w, b, gguf, hf) \
    { w, GG gguf ".weight", hf ".weight", { DIM_EMBD }, NEEDED }, \
    { b, GG gguf ".bias",   hf ".bias",   { DIM_EMBD }, MAYBE },
#define LAYER(at, q, k, v, out, up, down, att_norm, out_norm) \
    PAIR(L_Q,    L_Q_BIAS,    "attn_q",      at q,    DIM_EMBD, DIM_EMBD, NEEDED, NEEDED) \
    PAIR(L_K,    L_K_BIAS,    "attn_k",      at k,    DIM_EMBD, DIM_EMBD, NEEDED, NEEDED) \
    PAIR(L_V,    L_V_BIAS,    "attn_v",      at v,    DIM_EMBD, DIM_EMBD, NEEDED, NEEDED) \
    PAIR(L_OUT,  L_OUT_BIAS,  "attn_output", at out,  DIM_EMBD, DIM_EMBD, NEEDED, NEEDED) \
    PAIR(L_UP,   L_UP_BIAS,   "ffn_up",      at up,   DIM_FF,   DIM_EMBD, NEEDED, NEEDED) \
    PAIR(L_DOWN, L_DOWN_BIAS, "ffn_down",    at down, DIM_EMBD, DIM_FF,   NEEDED, NEEDED) \
    NORM(L_ATT_NORM, L_ATT_NORM_BIAS, "attn_output_norm",  at att_norm) \
    NORM(L_OUT_NORM, L_OUT_NORM_BIAS, "layer_output_norm", at out_norm)

static const struct tensor_spec bert_global[] = { GLOBAL("model.embeddings.LayerNorm", MAYBE, NEEDED) };
static const struct tensor_spec nomic_global[] = { GLOBAL("model.emb_ln", MAYBE, MAYBE) };

static const struct tensor_spec bert_layer[] = {
    LAYER("model.encoder.layer.{l}.", "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
          "intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm")
};
static const struct tensor_spec distil_layer[] = {
    LAYER("model.transformer.layer.{l}.", "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
          "ffn.lin1", "ffn.lin2", "sa_layer_norm", "output_layer_norm")
};
#define AT "model.encoder.layers.{l}."
static const struct tensor_spec nomic_layer[] = {
    { L_QKV,  GG "attn_qkv.weight",    AT "attn.Wqkv.weight",     { DIM_3EMBD, DIM_EMBD }, NEEDED },
    { L_OUT,  GG "attn_output.weight", AT "attn.out_proj.weight", { DIM_EMBD, DIM_EMBD },  NEEDED },
    { L_UP,   GG "ffn_up.weight",      AT "mlp.fc11.weight",      { DIM_FF, DIM_EMBD },    NEEDED },
    { L_GATE, GG "ffn_gate.weight",    AT "mlp.fc12.weight",      { DIM_FF, DIM_EMBD },    NEEDED },
    { L_DOWN, GG "ffn_down.weight",    AT "mlp.fc2.weight",       { DIM_EMBD, DIM_FF },    NEEDED },
    NORM(L_ATT_NORM, L_ATT_NORM_BIAS, "attn_output_norm",  AT "norm1")
    NORM(L_OUT_NORM, L_OUT_NORM_BIAS, "layer_output_norm", AT "norm2")
};
/* clang-format on */

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* Families, each with its model types and what may stand before its tensors' names. */
static const struct hparam_family members[] = {
    { .gguf = "bert", .hf = "bert" },
    { .hf = "roberta" },
    { .hf = "xlm-roberta" },
    { .hf = "distilbert" },
    { .gguf = "nomic-bert", .hf = "nomic_bert" },
};
static const struct {
    const struct tensor_spec *global, *layer;
    int n_global, n_layer;
    const char *prefix;
} tables[] = {
    { bert_global, bert_layer, COUNT(bert_global), COUNT(bert_layer), "bert." },
    { bert_global, bert_layer, COUNT(bert_global), COUNT(bert_layer), "roberta." },
    { bert_global, bert_layer, COUNT(bert_global), COUNT(bert_layer), "roberta." },
    { bert_global, distil_layer, COUNT(bert_global), COUNT(distil_layer), "distilbert." },
    { nomic_global, nomic_layer, COUNT(nomic_global), COUNT(nomic_layer), "" },
};
_Static_assert(COUNT(members) == COUNT(tables), "a row for each model type");

/* ---- loading ------------------------------------------------------------------------------------------------------------ */

struct load {
    const struct weights *w;
    struct encoder_shape x;
    struct tensor_slot g[G_COUNT];
    struct tensor_slot *l; /* [n_layer][L_COUNT] */
};

static const struct tensor_slot *layer_slots(const struct load *ld, int il)
{
    return ld->l + (size_t)il * L_COUNT;
}

/* Everything that can be refused before memory is taken. On failure ld->l is to be freed too. */
static bool prepare(struct load *ld, const struct lm_arch *a, struct lm_shape *s, struct err *e)
{
    const struct hparam_family *f = hparams_member(a->member, a->n_members, ld->w);
    const ptrdiff_t which = f - members;
    if (!quantization_check(ld->w, e) || !encoder_config(s, &ld->x, f, ld->w, e)) return false;
    ld->l = calloc((size_t)s->n_layer * L_COUNT, sizeof *ld->l);
    if (!ld->l) return err_set(e, ERR_NOMEM, "no memory for %d layers", s->n_layer);
    const int64_t dim[DIM_COUNT] = { [DIM_VOCAB] = -1,   [DIM_EMBD] = s->n_embd, [DIM_3EMBD] = 3 * s->n_embd,
                                     [DIM_FF] = s->n_ff, [DIM_POS] = -1,         [DIM_TYPES] = -1 };
    struct binding b;
    char name[96];
    bind_open(&b, ld->w, dim);
    snprintf(name, sizeof name, "%sembeddings.word_embeddings.weight", tables[which].prefix);
    b.body = weights_find(ld->w, name) ? tables[which].prefix : "";
    b.head = "";
    bind_resolve(&b, tables[which].global, tables[which].n_global, 0, 0, ld->g);
    for (int il = 0; il < s->n_layer; il++)
        bind_resolve(&b, tables[which].layer, tables[which].n_layer, il, 0, ld->l + (size_t)il * L_COUNT);
    const struct tensor *word = ld->g[G_WORD].t, *pos = ld->g[G_POS].t;
    if (word && (word->dim[0] < 1 || word->dim[0] > INT32_MAX / 2))
        bind_fault(&b, "a vocabulary of %lld", (long long)word->dim[0]);
    if (word) s->n_vocab = (int)word->dim[0];
    if (pos && pos->dim[0] < s->n_ctx_train + ld->x.first_pos)
        bind_fault(&b, "%s has %lld rows, for a context of %d", pos->name, (long long)pos->dim[0],
                   s->n_ctx_train);
    if (pos && ld->x.rotary) ld->g[G_POS] = (struct tensor_slot){ 0 };
    return bind_close(&b, e);
}

static bool check(const struct lm_arch *a, struct lm_shape *shape, const struct weights *w, struct err *e)
{
    struct load ld = { .w = w };
    struct lm_shape s;
    const bool ok = prepare(&ld, a, &s, e);
    free(ld.l);
    if (ok) *shape = s;
    return ok;
}

/* Memory for weights' scales, norms and a step's activations. */
static bool reserve(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct lm_shape *s = &n->s;
    const size_t rows = (size_t)n->max_rows, embd = (size_t)s->n_embd, ff = (size_t)s->n_ff;
    size_t scales = 0, numbers = layers_rope_cost(s), acts = 0, piece;
    for (int i = 0; i < G_COUNT; i++) scales += slot_cost(&ld->g[i]), numbers += layers_norm_cost(&ld->g[i]);
    for (int i = 0; i < s->n_layer * L_COUNT; i++)
        scales += slot_cost(&ld->l[i]), numbers += layers_norm_cost(&ld->l[i]);
    if (!mem_mul(rows, 6 * embd, &piece) || !mem_mul((size_t)n->ff_rows, ff, &acts))
        return err_set(e, ERR_LIMIT, "a step of %zu tokens is too large", rows);
    acts = device_arena_cost(acts) + 2 * device_arena_cost(rows * embd) + device_arena_cost(rows * 3 * embd) +
           device_arena_cost(rows * embd) + 5 * device_arena_cost(rows);
    if (!arena_init(&n->scales, scales ? scales : 64, e) ||
        !device_arena_init(&n->numbers, n->dev, numbers ? numbers : 64, e) ||
        !device_arena_init(&n->acts, n->dev, acts, e))
        return false;
    n->h0 = device_arena_floats(&n->acts, rows * embd);
    n->h1 = device_arena_floats(&n->acts, rows * embd);
    n->qkv = device_arena_floats(&n->acts, rows * 3 * embd);
    n->att = device_arena_floats(&n->acts, rows * embd);
    n->ff = device_arena_floats(&n->acts, (size_t)n->ff_rows * ff);
    dev_int **ints[] = { &n->ids, &n->pos, &n->place, &n->types, &n->out_row };
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) *ints[i] = device_arena_ints(&n->acts, rows);
    n->host = calloc(4 * rows, sizeof *n->host);
    n->seq = calloc(rows, sizeof *n->seq);
    n->layer = calloc((size_t)s->n_layer, sizeof *n->layer);
    return (n->ff && n->out_row && n->host && n->seq && n->layer) ||
           err_set(e, ERR_NOMEM, "no memory for steps of %d tokens", n->max_rows);
}

static bool load_layer(struct lm_net *n, struct layer_maker *mk, const struct load *ld, int il, struct err *e)
{
    struct layer *l = &n->layer[il];
    const struct tensor_slot *t = layer_slots(ld, il);
    const struct tensor_slot *qkv[] = { &t[L_Q], &t[L_K], &t[L_V] }, *one[] = { &t[L_QKV] };
    const struct tensor_slot *qkv_bias[] = { &t[L_Q_BIAS], &t[L_K_BIAS], &t[L_V_BIAS] },
                             *one_bias[] = { &t[L_QKV_BIAS] };
    const struct tensor_slot *out[] = { &t[L_OUT] }, *out_bias[] = { &t[L_OUT_BIAS] };
    const struct tensor_slot *gated[] = { &t[L_GATE], &t[L_UP] }, *up[] = { &t[L_UP] },
                             *up_bias[] = { &t[L_UP_BIAS] };
    const struct tensor_slot *down[] = { &t[L_DOWN] }, *down_bias[] = { &t[L_DOWN_BIAS] };
    const bool joined = t[L_QKV].t != NULL;
    return layers_norm(mk, &l->att_norm, &t[L_ATT_NORM], false, e) &&
           layers_norm(mk, &l->att_norm_bias, &t[L_ATT_NORM_BIAS], false, e) &&
           layers_norm(mk, &l->out_norm, &t[L_OUT_NORM], false, e) &&
           layers_norm(mk, &l->out_norm_bias, &t[L_OUT_NORM_BIAS], false, e) &&
           layers_linear(mk, &l->qkv, joined ? one : qkv, joined ? 1 : 3, LINEAR_CONCAT,
                         joined ? one_bias : qkv_bias, e) &&
           layers_linear(mk, &l->out, out, 1, LINEAR_CONCAT, out_bias, e) &&
           (n->x.gated ? layers_linear(mk, &l->up, gated, 2, LINEAR_PAIRED, NULL, e)
                       : layers_linear(mk, &l->up, up, 1, LINEAR_CONCAT, up_bias, e)) &&
           layers_linear(mk, &l->down, down, 1, LINEAR_CONCAT, down_bias, e);
}

static bool load_table(struct lm_net *n, struct table **out, const struct tensor_slot *s, struct err *e)
{
    if (!s->t) return true;
    const struct matrix m = slot_matrix(s, 0, &n->scales);
    return table_new(n->dev, out, &m, e);
}

static bool load_weights(struct lm_net *n, const struct load *ld, struct err *e)
{
    const struct tensor_slot none = { 0 };
    struct layer_maker mk = { .dev = n->dev,
                              .w = ld->w,
                              .scales = &n->scales,
                              .numbers = &n->numbers,
                              .fine = n->s.n_embd <= FINE_EMBD };
    if (!layers_rope(&mk, n->freq, &n->s, &none, n->s.n_ctx_train, e) ||
        !layers_norm(&mk, &n->norm, &ld->g[G_NORM], false, e) ||
        !layers_norm(&mk, &n->norm_bias, &ld->g[G_NORM_BIAS], false, e) ||
        !load_table(n, &n->word, &ld->g[G_WORD], e) || !load_table(n, &n->type, &ld->g[G_TYPE], e) ||
        !load_table(n, &n->position, &ld->g[G_POS], e))
        return false;
    for (int il = 0; il < n->s.n_layer; il++) {
        if (!load_layer(n, &mk, ld, il, e)) return false;
        device_offer(n->dev, POOL_LOAD);
    }
    n->bytes = mk.bytes;
    return true;
}

static void free_net(struct lm_net *n)
{
    if (!n) return;
    for (int il = 0; n->layer && il < n->s.n_layer; il++) {
        struct linear *all[] = { n->layer[il].qkv, n->layer[il].out, n->layer[il].up, n->layer[il].down };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) linear_free(all[i]);
    }
    table_free(n->word);
    table_free(n->type);
    table_free(n->position);
    free(n->layer);
    free(n->host);
    free(n->seq);
    arena_free(&n->scales);
    device_arena_free(&n->numbers);
    device_arena_free(&n->acts);
    free(n);
}

static bool load(const struct lm_arch *a, struct lm_net **out, struct lm_shape *shape,
                 const struct weights *w, struct device *d, int max_rows, int n_ctx, struct err *e)
{
    enum { FF_ROWS = 512 };
    struct load ld = { .w = w };
    struct lm_shape s;
    struct lm_net *n = NULL;
    (void)n_ctx;
    bool ok = prepare(&ld, a, &s, e);
    if (ok && !(n = calloc(1, sizeof *n))) ok = err_set(e, ERR_NOMEM, "no memory for %d layers", s.n_layer);
    if (ok) {
        n->s = s;
        n->x = ld.x;
        n->dev = d;
        n->two_types = ld.g[G_TYPE].t && ld.g[G_TYPE].t->dim[0] > 1;
        n->max_rows = max_rows;
        n->ff_rows = max_rows < FF_ROWS ? max_rows : FF_ROWS;
        ok = reserve(n, &ld, e) && load_weights(n, &ld, e);
    }
    free(ld.l);
    if (ok) {
        *out = n;
        *shape = s;
    } else {
        free_net(n);
    }
    return ok;
}

static size_t bytes(const struct lm_net *n)
{
    return n->bytes + n->scales.cap + n->numbers.at.cap + n->acts.at.cap;
}

/* ---- the forward pass --------------------------------------------------------------------------------------------------- */

static void product(const struct lm_net *n, const struct linear *w, const dev_float *x, dev_float *y,
                    int64_t rows, enum epilogue epi)
{
    struct linear_args a = { .w = w, .x = x, .y = y, .n = rows, .epi = epi };
    a.ldx = linear_n_in(w);
    a.ldy = linear_n_out(w);
    op_linear(n->dev, &a);
}

static void norm(const struct lm_net *n, dev_float *y, int64_t rows, const dev_float *w, const dev_float *b)
{
    const int64_t embd = n->s.n_embd;
    op_layernorm(n->dev, y, embd, y, embd, rows, embd, w, b, n->s.eps, NULL, NULL);
}

static void upload(struct lm_net *n, const struct lm_batch *b)
{
    const int rows = b->n_rows;
    int32_t *ids = n->host, *pos = ids + rows, *place = pos + rows, *types = place + rows;
    for (int i = 0; i < b->n_seq; i++) {
        const struct lm_seq *q = &b->seq[i];
        n->seq[i] = (struct attn_seq){ .row = q->row, .n = q->n };
        for (int64_t k = 0; k < q->n; k++) {
            const int64_t r = q->row + k;
            ids[r] = b->ids[r];
            pos[r] = b->pos[r];
            place[r] = b->pos[r] + n->x.first_pos;
            types[r] = n->two_types && q->second && k >= q->second;
        }
    }
    device_upload_ints(n->dev, n->ids, ids, (size_t)rows);
    device_upload_ints(n->dev, n->pos, pos, (size_t)rows);
    device_upload_ints(n->dev, n->place, place, (size_t)rows);
    device_upload_ints(n->dev, n->types, types, (size_t)rows);
}

static void embed(struct lm_net *n, int64_t rows)
{
    const int64_t embd = n->s.n_embd;
    op_embed(n->dev, n->h0, embd, n->word, n->ids, rows);
    if (n->type) {
        op_embed(n->dev, n->h1, embd, n->type, n->types, rows);
        op_add(n->dev, n->h0, n->h0, n->h1, rows * embd);
    }
    if (n->position) {
        op_embed(n->dev, n->h1, embd, n->position, n->place, rows);
        op_add(n->dev, n->h0, n->h0, n->h1, rows * embd);
    }
    norm(n, n->h0, rows, n->norm, n->norm_bias);
}

static void attend(struct lm_net *n, const struct layer *l, const struct lm_batch *b)
{
    const struct lm_shape *s = &n->s;
    const int64_t embd = s->n_embd, ld = 3 * embd;
    product(n, l->qkv, n->h0, n->qkv, b->n_rows, EPI_STORE);
    if (n->x.rotary)
        op_rope(n->dev, &(struct rope_args){ .x = n->qkv,
                                             .ld = ld,
                                             .n = b->n_rows,
                                             .n_head = 2 * s->n_head, /* k stands behind q */
                                             .head_dim = s->head_dim,
                                             .n_rot = s->rope[0].n_rot,
                                             .pos = n->pos,
                                             .freq = n->freq[0],
                                             .mscale = 1,
                                             .layout = s->rope_layout });
    op_attention(n->dev, &(struct attention_args){ .q = n->qkv,
                                                   .ldq = ld,
                                                   .k = n->qkv + embd,
                                                   .ldk = ld,
                                                   .v = n->qkv + 2 * embd,
                                                   .ldv = ld,
                                                   .out = n->att,
                                                   .ldo = embd,
                                                   .n_q = b->n_rows,
                                                   .n_kv = b->n_rows,
                                                   .seq = n->seq,
                                                   .n_seq = b->n_seq,
                                                   .n_head = s->n_head,
                                                   .n_kv_head = s->n_head,
                                                   .head_dim = s->head_dim,
                                                   .scale = s->layer[0].attn_scale,
                                                   .precise = true });
    product(n, l->out, n->att, n->h0, b->n_rows, EPI_ADD);
    norm(n, n->h0, b->n_rows, l->att_norm, l->att_norm_bias);
}

static enum epilogue epilogue_of(const struct encoder_shape *x)
{
    static const enum epilogue of[] = { [ENCODER_GELU] = EPI_GELU_ERF,
                                        [ENCODER_GELU_TANH] = EPI_GELU_TANH,
                                        [ENCODER_RELU] = EPI_RELU,
                                        [ENCODER_SILU] = EPI_SILU };
    return x->gated ? EPI_SWIGLU : of[x->act];
}

/* Some rows at a time: what stands between the two products is wide. */
static void feed_forward(struct lm_net *n, const struct layer *l, int64_t rows)
{
    const int64_t embd = n->s.n_embd;
    for (int64_t r = 0; r < rows; r += n->ff_rows) {
        const int64_t some = rows - r < n->ff_rows ? rows - r : n->ff_rows;
        product(n, l->up, n->h0 + r * embd, n->ff, some, epilogue_of(&n->x));
        product(n, l->down, n->ff, n->h0 + r * embd, some, EPI_ADD);
    }
    norm(n, n->h0, rows, l->out_norm, l->out_norm_bias);
}

static bool step(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv, struct err *e)
{
    (void)kv;
    upload(n, b);
    embed(n, b->n_rows);
    for (int il = 0; il < n->s.n_layer; il++) {
        attend(n, &n->layer[il], b);
        feed_forward(n, &n->layer[il], b->n_rows);
        device_offer(n->dev, b->lane);
    }
    return device_finish(n->dev, e);
}

static bool hidden(struct lm_net *n, const int32_t *row, int n_out, float *out, struct err *e)
{
    const int64_t embd = n->s.n_embd;
    device_upload_ints(n->dev, n->out_row, row, (size_t)n_out);
    op_gather(n->dev, n->h1, embd, n->h0, embd, n->out_row, n_out, embd);
    device_download(n->dev, out, n->h1, (size_t)(n_out * embd));
    return device_finish(n->dev, e);
}

static const struct lm_engine encoder_engine = { .whole = true,
                                                 .check = check,
                                                 .load = load,
                                                 .free = free_net,
                                                 .step = step,
                                                 .hidden = hidden,
                                                 .bytes = bytes };

const struct lm_arch lm_encoder = {
    .name = "bert", .member = members, .n_members = COUNT(members), .engine = &encoder_engine
};
