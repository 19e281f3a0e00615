#include "image/t5.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/config_keys.h"

struct t5_layer {
    dev_float *norm1, *norm2;
    struct nn_linear *qkv, *o, *wi, *wo;
};

struct t5 {
    struct t5_config c;
    struct nn_owner own;
    struct table *embed;
    dev_float *bias_table; /* [n_bucket, n_head] */
    dev_float *final_norm;
    struct t5_layer *layer;
    bool precise;
};

static bool plausible(const struct t5_config *c, struct err *e)
{
    if (c->n_vocab < 1 || c->n_layer < 1 || c->n_layer > 1000 || c->n_embd < 1 || c->n_head < 1 ||
        c->head_dim < 1 || c->n_ff < 1 || c->n_bucket < 4 || c->n_bucket % 4 != 0 ||
        c->max_distance <= c->n_bucket / 4) {
        return err_set(e, ERR_FORMAT,
                       "T5 encoder: impossible sizes (d_model %d, heads %d x %d, layers %d, buckets %d)",
                       c->n_embd, c->n_head, c->head_dim, c->n_layer, c->n_bucket);
    }
    return true;
}

static const struct config_key known[] = {
    { "vocab_size", NULL },
    { "num_layers", NULL },
    { "d_model", NULL },
    { "num_heads", NULL },
    { "d_kv", NULL },
    { "d_ff", NULL },
    { "relative_attention_num_buckets", NULL },
    { "relative_attention_max_distance", NULL },
    { "layer_norm_epsilon", NULL },
    { "feed_forward_proj", "[\"gated-gelu\"]" },
    { "model_type", "[\"t5\"]" },
    /* Without effect: of the decoder, and what feed_forward_proj says already. */
    { "num_decoder_layers", NULL },
    { "scale_decoder_outputs", NULL },
    { "dense_act_fn", NULL },
    { "is_gated_act", NULL },
};

bool t5_config_from_json(struct t5_config *c, const json_t *config, struct err *e)
{
    if (!config_keys_check_text(config, known, sizeof known / sizeof *known, "T5 encoder", e)) return false;
    const json_t *eps = json_object_get(config, "layer_norm_epsilon");
    const char *ff = json_string_value(json_object_get(config, "feed_forward_proj"));
    *c = (struct t5_config){
        .n_vocab = nn_config_int(config, "vocab_size", 32128),
        .n_layer = nn_config_int(config, "num_layers", 6),
        .n_embd = nn_config_int(config, "d_model", 512),
        .n_head = nn_config_int(config, "num_heads", 8),
        .head_dim = nn_config_int(config, "d_kv", 64),
        .n_ff = nn_config_int(config, "d_ff", 2048),
        .n_bucket = nn_config_int(config, "relative_attention_num_buckets", 32),
        .max_distance = nn_config_int(config, "relative_attention_max_distance", 128),
        .eps = json_is_number(eps) ? (float)json_number_value(eps) : 1e-6f,
    };
    if (!ff || strcmp(ff, "gated-gelu") != 0) {
        return err_set(e, ERR_UNSUPPORTED, "T5 encoder: feed_forward_proj \"%s\" is not gated-gelu (T5 v1.1)",
                       ff ? ff : "(absent)");
    }
    return plausible(c, e);
}

bool t5_config_from_shapes(struct t5_config *c, struct nn_source *s, struct err *e)
{
    const char *bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    *c = (struct t5_config){
        .n_vocab = (int)nn_dim(s, "shared.weight", 0),
        .n_embd = (int)nn_dim(s, "shared.weight", 1),
        .n_bucket = (int)nn_dim(s, bias, 0),
        .n_head = (int)nn_dim(s, bias, 1),
        .n_ff = (int)nn_dim(s, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 0),
        .max_distance = 128,
        .eps = 1e-6f,
    };
    if (c->n_head > 0)
        c->head_dim = (int)nn_dim(s, "encoder.block.0.layer.0.SelfAttention.q.weight", 0) / c->n_head;
    while (nn_has(s, NN("encoder.block.%d.layer.0.SelfAttention.q.weight", c->n_layer))) c->n_layer++;
    if (c->n_layer == 0) return err_set(e, ERR_FORMAT, "%s: no T5 v1.1 encoder found in the file", s->what);
    return plausible(c, e);
}

bool t5_load(struct t5 **out, const struct t5_config *c, struct nn_source *s, struct err *e)
{
    struct t5 *m = calloc(1, sizeof *m);
    if (m) m->layer = calloc((size_t)c->n_layer, sizeof *m->layer);
    if (!m || !m->layer) {
        free(m);
        return err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    }
    m->c = *c;
    struct nn_owner *o = &m->own;
    int64_t d = c->n_embd, inner = (int64_t)c->n_head * c->head_dim;

    /* A request passes through it once, in hundreds of rows: reading 9.5 GB of bf16 from the file costs a few percent, and
     * the denoiser has the memory to itself afterwards. */
    s->stay = true;
    const char *embed = nn_has(s, "shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
    m->embed = nn_embedding(o, s, embed, c->n_vocab, d);
    m->bias_table = nn_table(o, s, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                             c->n_bucket, c->n_head);
    for (int i = 0; i < c->n_layer; i++) {
        struct t5_layer *l = &m->layer[i];
        struct nn_name a = nn_name("encoder.block.%d.layer.0", i), f = nn_name("encoder.block.%d.layer.1", i);
        struct nn_name q = nn_name("%s.SelfAttention.q", a.s), k = nn_name("%s.SelfAttention.k", a.s),
                       v = nn_name("%s.SelfAttention.v", a.s), wi0 = nn_name("%s.DenseReluDense.wi_0", f.s),
                       wi1 = nn_name("%s.DenseReluDense.wi_1", f.s);
        l->norm1 = nn_vector(o, s, NN("%s.layer_norm.weight", a.s), d);
        l->norm2 = nn_vector(o, s, NN("%s.layer_norm.weight", f.s), d);
        l->qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s },
                                (int64_t[]){ inner, inner, inner }, d, LINEAR_CONCAT, NN_NO_BIAS);
        l->o = nn_linear1(o, s, NN("%s.SelfAttention.o", a.s), d, inner, NN_NO_BIAS);
        l->wi = nn_linear_load(o, s, 2, (const char *[]){ wi0.s, wi1.s }, (int64_t[]){ c->n_ff, c->n_ff }, d,
                               LINEAR_PAIRED, NN_NO_BIAS);
        l->wo = nn_linear1(o, s, NN("%s.DenseReluDense.wo", f.s), d, c->n_ff, NN_NO_BIAS);
    }
    m->final_norm = nn_vector(o, s, "encoder.final_layer_norm.weight", d);
    m->precise = s->f32;
    if (!nn_check(s, e)) {
        t5_free(m);
        return false;
    }
    *out = m;
    return true;
}

void t5_free(struct t5 *m)
{
    if (!m) return;
    nn_owner_free(&m->own);
    free(m->layer);
    free(m);
}

const struct t5_config *t5_config(const struct t5 *m) { return &m->c; }

const struct nn_owner *t5_owner(const struct t5 *m) { return &m->own; }

int t5_bucket(int distance, int n_bucket, int max_distance)
{
    int half = n_bucket / 2, exact = half / 2;
    int bucket = distance > 0 ? half : 0, far = abs(distance);
    if (far < exact) return bucket + far;
    int large = exact + (int)(logf((float)far / (float)exact) / logf((float)max_distance / (float)exact) *
                              (float)(half - exact));
    return bucket + (large < half - 1 ? large : half - 1);
}

size_t t5_scratch(const struct t5 *m, int n)
{
    size_t rows = (size_t)n, d = (size_t)m->c.n_embd, inner = (size_t)m->c.n_head * (size_t)m->c.head_dim;
    size_t wide = (size_t)m->c.n_ff > 3 * inner ? (size_t)m->c.n_ff : 3 * inner;
    return arena_cost(rows * d, 4) + arena_cost(rows * inner, 4) + 3 * arena_cost(rows * wide, 4) +
           arena_cost(rows * 512, 4) + arena_cost((size_t)m->c.n_head * rows * rows, 4) +
           2 * arena_cost(2 * rows, 4);
}

void t5_encode(const struct t5 *m, struct nn_ctx *c, const int32_t *ids, int n, dev_float *hidden)
{
    const struct t5_config *k = &m->c;
    int64_t d = k->n_embd, inner = (int64_t)k->n_head * k->head_dim;
    const size_t mark = nn_mark(c);
    dev_float *x = nn_alloc(c, n * d), *attn = nn_alloc(c, n * inner), *qkv = nn_alloc(c, n * 3 * inner);
    dev_float *ff = nn_alloc(c, (int64_t)n * k->n_ff), *bias = nn_alloc(c, (int64_t)k->n_head * n * n);

    int32_t *bucket = malloc((2 * (size_t)n - 1) * sizeof *bucket);
    if (!bucket) {
        struct err e;
        err_set(&e, ERR_NOMEM, "no memory for the distances of %d tokens", n);
        device_fail(c->dev, &e);
        nn_reset(c, mark);
        return;
    }
    for (int i = 0; i < 2 * n - 1; i++) bucket[i] = t5_bucket(i - n + 1, k->n_bucket, k->max_distance);
    op_relative_bias(c->dev, bias, m->bias_table, nn_ids(c, bucket, 2 * n - 1), k->n_head, n);
    free(bucket);
    op_embed(c->dev, x, d, m->embed, nn_ids(c, ids, n), n);
    for (int il = 0; il < k->n_layer; il++) {
        const struct t5_layer *l = &m->layer[il];
        nn_linear_run(
            c, &m->own, l->qkv,
            (struct linear_args){
                .x = x, .ldx = d, .y = qkv, .ldy = 3 * inner, .n = n, .norm = l->norm1, .eps = k->eps });
        op_attention(c->dev, &(struct attention_args){ .q = qkv,
                                                       .ldq = 3 * inner,
                                                       .k = qkv + inner,
                                                       .ldk = 3 * inner,
                                                       .v = qkv + 2 * inner,
                                                       .ldv = 3 * inner,
                                                       .out = attn,
                                                       .ldo = inner,
                                                       .n_q = n,
                                                       .n_kv = n,
                                                       .n_head = k->n_head,
                                                       .n_kv_head = k->n_head,
                                                       .head_dim = k->head_dim,
                                                       .scale = 1.0f,
                                                       .bias = bias,
                                                       .precise = m->precise });
        nn_linear_run(
            c, &m->own, l->o,
            (struct linear_args){ .x = attn, .ldx = inner, .y = x, .ldy = d, .n = n, .epi = EPI_ADD });
        nn_linear_run(c, &m->own, l->wi,
                      (struct linear_args){ .x = x,
                                            .ldx = d,
                                            .y = ff,
                                            .ldy = k->n_ff,
                                            .n = n,
                                            .norm = l->norm2,
                                            .eps = k->eps,
                                            .epi = EPI_GEGLU });
        nn_linear_run(
            c, &m->own, l->wo,
            (struct linear_args){ .x = ff, .ldx = k->n_ff, .y = x, .ldy = d, .n = n, .epi = EPI_ADD });
    }
    op_rmsnorm(c->dev, hidden, d, x, d, n, d, m->final_norm, k->eps);
    nn_reset(c, mark);
}
