#include "lm/llama4_vision.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "format/json_read.h"
#include "lm/hparams.h"
#include "lm/layers.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define NORM_EPS 1e-5f /* torch's own: norm_eps of the configuration is not used by the reference */

/* clang-format off */
enum { D_EMBD = 1, D_FF, D_PATCH, D_PLACES, D_SQUARE, D_INNER, D_TEXT, D_COUNT };
enum { V_PATCH, V_CLASS, V_POSITION, V_PRE_W, V_PRE_B, V_POST_W, V_POST_B, V_FC1, V_FC2, V_PROJECTOR, V_COUNT };
enum { L_NORM1_W, L_NORM1_B, L_NORM2_W, L_NORM2_B, L_Q, L_K, L_V, L_OUT, L_Q_B, L_K_B, L_V_B, L_OUT_B,
       L_FC1, L_FC1_B, L_FC2, L_FC2_B, L_COUNT };

#define V "vision_model."
static const struct tensor_spec whole[] = {
    { V_PATCH,     "v.patch_embd.weight",    V "patch_embedding.linear.weight",   { D_EMBD, D_PATCH },   TENSOR_NEEDED },
    { V_CLASS,     "v.class_embd",           V "class_embedding",                 { D_EMBD },            TENSOR_NEEDED },
    { V_POSITION,  "v.position_embd.weight", V "positional_embedding_vlm",        { D_PLACES, D_EMBD },  TENSOR_NEEDED },
    { V_PRE_W,     "v.pre_ln.weight",        V "layernorm_pre.weight",            { D_EMBD },            TENSOR_NEEDED },
    { V_PRE_B,     "v.pre_ln.bias",          V "layernorm_pre.bias",              { D_EMBD },            TENSOR_NEEDED },
    { V_POST_W,    "v.post_ln.weight",       V "layernorm_post.weight",           { D_EMBD },            TENSOR_NEEDED },
    { V_POST_B,    "v.post_ln.bias",         V "layernorm_post.bias",             { D_EMBD },            TENSOR_NEEDED },
    { V_FC1,       "mm.model.mlp.1.weight",  V "vision_adapter.mlp.fc1.weight",   { D_INNER, D_SQUARE }, TENSOR_NEEDED },
    { V_FC2,       "mm.model.mlp.2.weight",  V "vision_adapter.mlp.fc2.weight",   { D_INNER, D_INNER },  TENSOR_NEEDED },
    { V_PROJECTOR, "mm.model.fc.weight",     "multi_modal_projector.linear_1.weight", { D_TEXT, D_INNER }, TENSOR_NEEDED },
};
#define LAYER V "model.layers.{l}."
#define GG "v.blk.{l}."
static const struct tensor_spec layer_specs[] = {
    { L_NORM1_W, GG "ln1.weight",      LAYER "input_layernorm.weight",          { D_EMBD }, TENSOR_NEEDED },
    { L_NORM1_B, GG "ln1.bias",        LAYER "input_layernorm.bias",            { D_EMBD }, TENSOR_NEEDED },
    { L_NORM2_W, GG "ln2.weight",      LAYER "post_attention_layernorm.weight", { D_EMBD }, TENSOR_NEEDED },
    { L_NORM2_B, GG "ln2.bias",        LAYER "post_attention_layernorm.bias",   { D_EMBD }, TENSOR_NEEDED },
    { L_Q,       GG "attn_q.weight",   LAYER "self_attn.q_proj.weight",  { D_EMBD, D_EMBD }, TENSOR_NEEDED },
    { L_K,       GG "attn_k.weight",   LAYER "self_attn.k_proj.weight",  { D_EMBD, D_EMBD }, TENSOR_NEEDED },
    { L_V,       GG "attn_v.weight",   LAYER "self_attn.v_proj.weight",  { D_EMBD, D_EMBD }, TENSOR_NEEDED },
    { L_OUT,     GG "attn_out.weight", LAYER "self_attn.o_proj.weight",  { D_EMBD, D_EMBD }, TENSOR_NEEDED },
    { L_Q_B,     GG "attn_q.bias",     LAYER "self_attn.q_proj.bias",    { D_EMBD }, TENSOR_NEEDED },
    { L_K_B,     GG "attn_k.bias",     LAYER "self_attn.k_proj.bias",    { D_EMBD }, TENSOR_NEEDED },
    { L_V_B,     GG "attn_v.bias",     LAYER "self_attn.v_proj.bias",    { D_EMBD }, TENSOR_NEEDED },
    { L_OUT_B,   GG "attn_out.bias",   LAYER "self_attn.o_proj.bias",    { D_EMBD }, TENSOR_NEEDED },
    { L_FC1,     GG "ffn_up.weight",   LAYER "mlp.fc1.weight",           { D_FF, D_EMBD }, TENSOR_NEEDED },
    { L_FC1_B,   GG "ffn_up.bias",     LAYER "mlp.fc1.bias",             { D_FF }, TENSOR_NEEDED },
    { L_FC2,     GG "ffn_down.weight", LAYER "mlp.fc2.weight",           { D_EMBD, D_FF }, TENSOR_NEEDED },
    { L_FC2_B,   GG "ffn_down.bias",   LAYER "mlp.fc2.bias",             { D_EMBD }, TENSOR_NEEDED },
};
/* clang-format on */

struct layer {
    const dev_float *norm1_w, *norm1_b, *norm2_w, *norm2_b; /* [n_embd] */
    struct linear *qkv, *out, *fc1, *fc2;
};

struct llama4_vision {
    struct llama4_vision_shape s;
    struct device *dev;
    struct layer *layer;
    struct linear *patch, *fc1, *fc2, *projector;
    const dev_float *pre_w, *pre_b, *post_w, *post_b;
    dev_float *start;     /* [places, n_embd] positions, and the class with the last */
    dev_float *cos, *sin; /* [places, head_dim / 2] */
    struct arena scales;
    struct device_arena numbers, acts;
    float *host; /* [side * side, patch pixels] */
    dev_float *pixels, *x, *y, *qkv, *h;
    size_t bytes;
};

static int places(const struct llama4_vision_shape *s) { return s->side * s->side + 1; }

/* ---- the configuration --------------------------------------------------------------------------------------------- */

/* A whole number of 1..max, or a list of equal ones (a height and a width). */
static int size_of(const json_t *o, const char *key, int absent, int max, struct buf *bad)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return absent;
    double x = json_read_number(json_is_array(v) ? json_array_get(v, 0) : v, NAN);
    for (size_t i = 1; i < json_array_size(v); i++)
        if (json_read_number(json_array_get(v, i), NAN) != x) x = NAN;
    if (x >= 1 && x <= max && x == floor(x)) return (int)x;
    hparams_complain(bad, "vision_config: %s is no whole number from 1 to %d", key, max);
    return absent;
}

/* 1 / pixel_shuffle_ratio. */
static int shuffle_of(const json_t *o, struct buf *bad)
{
    const json_t *v = json_object_get(o, "pixel_shuffle_ratio");
    const double ratio = v ? json_read_number(v, NAN) : 0.5, s = round(1 / ratio);
    if (ratio > 0 && s >= 1 && s <= 16 && fabs(ratio * s - 1) < 1e-9) return (int)s;
    hparams_complain(bad, "vision_config: pixel_shuffle_ratio is not one over a whole number");
    return 2;
}

static double theta_of(const json_t *o, struct buf *bad)
{
    const json_t *p = json_object_get(o, "rope_parameters"), *v = json_object_get(p, "rope_theta");
    const char *type = json_string_value(json_object_get(p, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        hparams_complain(bad, "vision_config: rope_parameters of type '%.40s' are not supported", type);
    if (!v) v = json_object_get(o, "rope_theta");
    const double theta = v ? json_read_number(v, NAN) : 10000;
    if (!(theta > 1 && theta < 1e12)) hparams_complain(bad, "vision_config: rope_theta %g", theta);
    return theta;
}

/* What has to go together, whoever says it; and what follows. */
static void check_shape(struct llama4_vision_shape *s, const char *where, struct buf *bad)
{
    if (s->image % s->patch || s->image / s->patch % s->shuffle)
        hparams_complain(bad, "%s: tiles of %d pixels are not whole squares of %d patches of %d", where,
                         s->image, s->shuffle, s->patch);
    if (s->n_embd % s->n_head || s->n_embd / s->n_head % 4)
        hparams_complain(bad, "%s: %d channels in %d heads", where, s->n_embd, s->n_head);
    if (s->n_ff != s->n_embd * s->shuffle * s->shuffle) /* the reference sizes its adapter by it */
        hparams_complain(bad, "%s: intermediate_size is %d, a square of patches has %d channels", where,
                         s->n_ff, s->n_embd * s->shuffle * s->shuffle);
    s->side = s->image / s->patch;
    if (s->side > 256) hparams_complain(bad, "%s: %d patches along an edge", where, s->side);
    s->n_rows = (s->side / s->shuffle) * (s->side / s->shuffle);
}

static void read_shape(struct llama4_vision_shape *s, const json_t *o, const json_t *text, struct buf *bad)
{
    s->image = size_of(o, "image_size", 448, 1 << 13, bad);
    s->patch = size_of(o, "patch_size", 14, 1 << 8, bad);
    s->n_channels = size_of(o, "num_channels", 3, 16, bad);
    s->n_layer = size_of(o, "num_hidden_layers", 34, LM_MAX_LAYER, bad);
    s->n_embd = size_of(o, "hidden_size", 768, 1 << 16, bad);
    s->n_head = size_of(o, "num_attention_heads", 16, 1 << 10, bad);
    s->n_ff = size_of(o, "intermediate_size", 5632, 1 << 18, bad);
    s->n_inner = size_of(o, "projector_output_dim", 4096, 1 << 18, bad);
    s->n_text = size_of(text, "hidden_size", 5120, 1 << 20, bad);
    s->shuffle = shuffle_of(o, bad);
    s->theta = theta_of(o, bad);
    if (size_of(o, "projector_input_dim", 4096, 1 << 18, bad) != s->n_inner ||
        size_of(o, "vision_output_dim", 7680, 1 << 18, bad) != s->n_inner)
        hparams_complain(
            bad, "vision_config: projector_input_dim, projector_output_dim and vision_output_dim differ");
    check_shape(s, "vision_config", bad);
}

/* The same of a projector's file. The width of the adapter is that of its matrix. */
static void read_gguf(struct llama4_vision_shape *s, const struct weights *w, struct buf *bad)
{
    static const struct {
        const char *key;
        size_t at;
        int max;
    } number[] = {
        { "image_size", offsetof(struct llama4_vision_shape, image), 1 << 13 },
        { "patch_size", offsetof(struct llama4_vision_shape, patch), 1 << 8 },
        { "block_count", offsetof(struct llama4_vision_shape, n_layer), LM_MAX_LAYER },
        { "embedding_length", offsetof(struct llama4_vision_shape, n_embd), 1 << 16 },
        { "attention.head_count", offsetof(struct llama4_vision_shape, n_head), 1 << 10 },
        { "feed_forward_length", offsetof(struct llama4_vision_shape, n_ff), 1 << 18 },
        { "projection_dim", offsetof(struct llama4_vision_shape, n_text), 1 << 20 },
        { "projector.scale_factor", offsetof(struct llama4_vision_shape, shuffle), 16 },
    };
    const struct gguf *g = weights_gguf(w);
    for (int i = 0; i < COUNT(number); i++) {
        char key[64];
        snprintf(key, sizeof key, "clip.vision.%s", number[i].key);
        const int64_t n = gguf_int(g, key, 0);
        if (n < 1 || n > number[i].max)
            hparams_complain(bad, "%s is no whole number from 1 to %d", key, number[i].max);
        *(int *)((char *)s + number[i].at) = n < 1 || n > number[i].max ? 1 : (int)n;
    }
    const struct tensor *fc2 = weights_find(w, "mm.model.mlp.2.weight");
    s->n_inner = fc2 && fc2->n_dims == 2 && fc2->dim[0] < 1 << 18 ? (int)fc2->dim[0] : 1;
    s->n_channels = 3;
    s->theta = 10000;
    if (bad->len == 0) check_shape(s, "clip.vision", bad);
}

static bool says(const struct gguf *g, const char *key, const char *text)
{
    const struct gguf_str s = gguf_string(g, key);
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

bool llama4_vision_is(const struct weights *w)
{
    const struct gguf *g = weights_gguf(w);
    return g && (says(g, "clip.projector_type", "llama4") || says(g, "clip.vision.projector_type", "llama4"));
}

/* A file in GGUF that is another thing, or the projector of another family. */
static bool is_ours(const struct weights *w, struct err *e)
{
    const struct gguf *g = weights_gguf(w);
    if (!says(g, "general.architecture", "clip") || !gguf_bool(g, "clip.has_vision_encoder", true))
        return err_set(e, ERR_FORMAT,
                       "the file is no projector for pictures (general.architecture is not clip)");
    struct gguf_str type = gguf_string(g, "clip.projector_type");
    if (!type.data) type = gguf_string(g, "clip.vision.projector_type");
    return llama4_vision_is(w) ||
           err_set(e, ERR_UNSUPPORTED, "projectors of type '%.*s' are not supported: llama4 is",
                   (int)(type.len < 40 ? type.len : 40), type.data ? type.data : "");
}

bool llama4_vision_read(struct llama4_vision_shape *s, const struct weights *w, struct err *e)
{
    const struct gguf *g = weights_gguf(w);
    const json_t *o = json_object_get(weights_config(w), "vision_config");
    if (g && !is_ours(w, e)) return false;
    if (!g && !json_is_object(o))
        return err_set(e, ERR_UNSUPPORTED, "this model has no tower that sees pictures");
    struct buf bad = BUF_INIT(4096);
    struct llama4_vision_shape t = { 0 };
    if (g)
        read_gguf(&t, w, &bad);
    else
        read_shape(&t, o, hparams_config(w), &bad);
    bool ok = bad.len == 0 && !bad.failed;
    if (ok) {
        *s = t;
    } else {
        if (bad.len >= 2) bad.data[bad.len - 2] = 0; /* the last separator */
        err_set(e, bad.data && strstr(bad.data, "not supported") ? ERR_UNSUPPORTED : ERR_FORMAT, "%s",
                bad.len ? bad.data : "no memory to read vision_config");
    }
    buf_free(&bad);
    return ok;
}

/* ---- loading ------------------------------------------------------------------------------------------------------- */

struct load {
    const struct weights *w;
    struct tensor_slot g[V_COUNT];
    struct tensor_slot *l; /* [n_layer][L_COUNT] */
};

static bool find_tensors(struct load *ld, const struct llama4_vision_shape *s, struct err *e)
{
    const int64_t dim[D_COUNT] = { [D_EMBD] = s->n_embd,
                                   [D_FF] = s->n_ff,
                                   [D_PATCH] = (int64_t)s->n_channels * s->patch * s->patch,
                                   [D_PLACES] = places(s),
                                   [D_SQUARE] = (int64_t)s->n_embd * s->shuffle * s->shuffle,
                                   [D_INNER] = s->n_inner,
                                   [D_TEXT] = s->n_text };
    struct binding t;
    bind_open(&t, ld->w, dim);
    t.body = "model."; /* names of config.json models are whole here */
    t.head = "";
    bind_resolve(&t, whole, COUNT(whole), 0, 0, ld->g);
    for (int il = 0; il < s->n_layer; il++)
        bind_resolve(&t, layer_specs, COUNT(layer_specs), il, 0, ld->l + (size_t)il * L_COUNT);
    return bind_close(&t, e);
}

static bool reserve(struct llama4_vision *v, const struct load *ld, struct err *e)
{
    const struct llama4_vision_shape *s = &v->s;
    const size_t rows = (size_t)places(s), embd = (size_t)s->n_embd, half = embd / (size_t)s->n_head / 2;
    const size_t in_patch = (size_t)(s->n_channels * s->patch * s->patch), out = (size_t)s->n_rows;
    size_t cost = 0, numbers = device_arena_cost(rows * embd) + 2 * device_arena_cost(rows * half);
    for (int i = 0; i < V_COUNT; i++) {
        cost += slot_cost(&ld->g[i]);
        numbers += layers_norm_cost(&ld->g[i]);
    }
    for (size_t i = 0; i < (size_t)s->n_layer * L_COUNT; i++) {
        cost += slot_cost(&ld->l[i]);
        numbers += layers_norm_cost(&ld->l[i]);
    }
    /* what a layer needs is at least what the adapter needs */
    size_t h = rows * (size_t)s->n_ff, inner = out * (size_t)s->n_inner, qkv = rows * 3 * embd;
    if (h < inner) h = inner;
    if (qkv < inner) qkv = inner;
    size_t y = rows * embd;
    if (y < out * (size_t)s->n_text) y = out * (size_t)s->n_text;
    const size_t acts = device_arena_cost(rows * in_patch) + device_arena_cost(rows * embd) +
                        device_arena_cost(y) + device_arena_cost(qkv) + device_arena_cost(h);
    if (!arena_init(&v->scales, cost, e) || !device_arena_init(&v->numbers, v->dev, numbers, e) ||
        !device_arena_init(&v->acts, v->dev, acts, e))
        return false;
    v->pixels = device_arena_floats(&v->acts, rows * in_patch);
    v->x = device_arena_floats(&v->acts, rows * embd);
    v->y = device_arena_floats(&v->acts, y);
    v->qkv = device_arena_floats(&v->acts, qkv);
    v->h = device_arena_floats(&v->acts, h);
    v->start = device_arena_floats(&v->numbers, rows * embd);
    v->cos = device_arena_floats(&v->numbers, rows * half);
    v->sin = device_arena_floats(&v->numbers, rows * half);
    v->host = calloc((rows - 1) * in_patch, sizeof *v->host);
    v->layer = calloc((size_t)s->n_layer, sizeof *v->layer);
    return (v->host && v->layer) || err_set(e, ERR_NOMEM, "no memory for a tower of %d layers", s->n_layer);
}

/* Positions, and the class in the last place; angles, of which the class has none. */
static bool set_places(struct llama4_vision *v, const struct load *ld, struct err *e)
{
    const struct llama4_vision_shape *s = &v->s;
    const int n = places(s), half = s->n_embd / s->n_head / 2, axis = half / 2;
    float *start = slot_floats(&ld->g[V_POSITION]), *class = slot_floats(&ld->g[V_CLASS]);
    float *cs = calloc((size_t)n * (size_t)half, sizeof *cs),
          *sn = calloc((size_t)n * (size_t)half, sizeof *sn);
    const bool ok = start && class && cs && sn;
    for (int i = 0; ok && i < s->n_embd; i++)
        start[(size_t)(n - 1) * (size_t)s->n_embd + (size_t)i] += class[i];
    for (int r = 0; ok && r < n; r++)
        for (int i = 0; i < half; i++) {
            const int at = i < axis ? r % s->side : r / s->side; /* column, then row */
            const float freq = (float)(1 / pow(s->theta, 2.0 * (i % axis) / half));
            const float angle = r == n - 1 ? 0 : (float)(at + 1) * freq;
            cs[r * half + i] = cosf(angle);
            sn[r * half + i] = sinf(angle);
        }
    if (ok) {
        device_upload(v->dev, v->start, start, (size_t)n * (size_t)s->n_embd);
        device_upload(v->dev, v->cos, cs, (size_t)n * (size_t)half);
        device_upload(v->dev, v->sin, sn, (size_t)n * (size_t)half);
    }
    free(start);
    free(class);
    free(cs);
    free(sn);
    return ok || err_set(e, ERR_NOMEM, "no memory for positions of patches");
}

static bool one(struct layer_maker *mk, struct linear **out, const struct tensor_slot *w,
                const struct tensor_slot *bias, struct err *e)
{
    return layers_linear(mk, out, &w, 1, LINEAR_CONCAT, bias ? &bias : NULL, e);
}

static bool load_layer(struct layer *l, struct layer_maker *mk, const struct tensor_slot *t, struct err *e)
{
    const struct tensor_slot *qkv[] = { &t[L_Q], &t[L_K], &t[L_V] },
                             *bias[] = { &t[L_Q_B], &t[L_K_B], &t[L_V_B] };
    return layers_norm(mk, &l->norm1_w, &t[L_NORM1_W], false, e) &&
           layers_norm(mk, &l->norm1_b, &t[L_NORM1_B], false, e) &&
           layers_norm(mk, &l->norm2_w, &t[L_NORM2_W], false, e) &&
           layers_norm(mk, &l->norm2_b, &t[L_NORM2_B], false, e) &&
           layers_linear(mk, &l->qkv, qkv, 3, LINEAR_CONCAT, bias, e) &&
           one(mk, &l->out, &t[L_OUT], &t[L_OUT_B], e) && one(mk, &l->fc1, &t[L_FC1], &t[L_FC1_B], e) &&
           one(mk, &l->fc2, &t[L_FC2], &t[L_FC2_B], e);
}

static bool load_weights(struct llama4_vision *v, const struct load *ld, struct err *e)
{
    struct layer_maker mk = { .dev = v->dev, .w = ld->w, .scales = &v->scales, .numbers = &v->numbers };
    if (!set_places(v, ld, e) || !layers_norm(&mk, &v->pre_w, &ld->g[V_PRE_W], false, e) ||
        !layers_norm(&mk, &v->pre_b, &ld->g[V_PRE_B], false, e) ||
        !layers_norm(&mk, &v->post_w, &ld->g[V_POST_W], false, e) ||
        !layers_norm(&mk, &v->post_b, &ld->g[V_POST_B], false, e) ||
        !one(&mk, &v->patch, &ld->g[V_PATCH], NULL, e) || !one(&mk, &v->fc1, &ld->g[V_FC1], NULL, e) ||
        !one(&mk, &v->fc2, &ld->g[V_FC2], NULL, e) || !one(&mk, &v->projector, &ld->g[V_PROJECTOR], NULL, e))
        return false;
    for (int il = 0; il < v->s.n_layer; il++)
        if (!load_layer(&v->layer[il], &mk, ld->l + (size_t)il * L_COUNT, e)) return false;
    v->bytes = mk.bytes;
    return device_finish(v->dev, e);
}

bool llama4_vision_check(struct llama4_vision_shape *s, const struct weights *w, struct err *e)
{
    struct load ld = { .w = w };
    if (!llama4_vision_read(s, w, e)) return false;
    ld.l = calloc((size_t)s->n_layer * L_COUNT, sizeof *ld.l);
    const bool ok = ld.l ? find_tensors(&ld, s, e) : err_set(e, ERR_NOMEM, "no memory for a tower");
    free(ld.l);
    return ok;
}

bool llama4_vision_load(struct llama4_vision **out, const struct weights *w, struct device *d, struct err *e)
{
    struct llama4_vision_shape s;
    struct load ld = { .w = w };
    struct llama4_vision *v = NULL;
    if (!llama4_vision_read(&s, w, e)) return false;
    ld.l = calloc((size_t)s.n_layer * L_COUNT, sizeof *ld.l);
    bool ok = ld.l ? find_tensors(&ld, &s, e) : err_set(e, ERR_NOMEM, "no memory for a tower");
    if (ok) {
        v = calloc(1, sizeof *v);
        ok = v || err_set(e, ERR_NOMEM, "no memory for a tower");
    }
    if (ok) {
        v->s = s;
        v->dev = d;
        ok = reserve(v, &ld, e) && load_weights(v, &ld, e);
    }
    free(ld.l);
    if (ok)
        *out = v;
    else
        llama4_vision_free(v);
    return ok;
}

void llama4_vision_free(struct llama4_vision *v)
{
    if (!v) return;
    for (int il = 0; v->layer && il < v->s.n_layer; il++) {
        struct linear *all[] = { v->layer[il].qkv, v->layer[il].out, v->layer[il].fc1, v->layer[il].fc2 };
        for (int i = 0; i < COUNT(all); i++) linear_free(all[i]);
    }
    struct linear *all[] = { v->patch, v->fc1, v->fc2, v->projector };
    for (int i = 0; i < COUNT(all); i++) linear_free(all[i]);
    free(v->layer);
    free(v->host);
    arena_free(&v->scales);
    device_arena_free(&v->numbers);
    device_arena_free(&v->acts);
    free(v);
}

const struct llama4_vision_shape *llama4_vision_shape(const struct llama4_vision *v) { return &v->s; }

size_t llama4_vision_bytes(const struct llama4_vision *v)
{
    return v->bytes + v->scales.cap + v->numbers.at.cap + v->acts.at.cap;
}

/* ---- a tile -------------------------------------------------------------------------------------------------------- */

static void product(const struct llama4_vision *v, const struct linear *w, const dev_float *x, dev_float *y,
                    int64_t rows, enum epilogue epi)
{
    struct linear_args a = { .w = w, .x = x, .y = y, .n = rows, .epi = epi };
    a.ldx = linear_n_in(w);
    a.ldy = linear_n_out(w);
    op_linear(v->dev, &a);
}

static void norm(const struct llama4_vision *v, dev_float *y, const dev_float *x, const dev_float *w,
                 const dev_float *b)
{
    const int64_t embd = v->s.n_embd;
    op_layernorm(v->dev, y, embd, x, embd, places(&v->s), embd, w, b, NORM_EPS, NULL, NULL);
}

/* Patches in reading order, each [channel, row, column]. */
static void cut(const struct llama4_vision_shape *s, const float *tile, float *out)
{
    const int p = s->patch, image = s->image;
    for (int y = 0; y < s->side; y++)
        for (int x = 0; x < s->side; x++)
            for (int c = 0; c < s->n_channels; c++)
                for (int row = 0; row < p; row++, out += p)
                    memcpy(out,
                           tile + ((size_t)c * (size_t)image + (size_t)(y * p + row)) * (size_t)image + x * p,
                           (size_t)p * sizeof *out);
}

static void run_layer(struct llama4_vision *v, const struct layer *l)
{
    const int64_t rows = places(&v->s), embd = v->s.n_embd;
    const int head_dim = v->s.n_embd / v->s.n_head;
    norm(v, v->y, v->x, l->norm1_w, l->norm1_b);
    product(v, l->qkv, v->y, v->qkv, rows, EPI_STORE);
    op_rope_table(v->dev, v->qkv, 3 * embd, rows, 2 * v->s.n_head, head_dim, v->cos, v->sin, NULL,
                  0); /* q and k */
    op_attention(v->dev, &(struct attention_args){ .q = v->qkv,
                                                   .ldq = 3 * embd,
                                                   .k = v->qkv + embd,
                                                   .ldk = 3 * embd,
                                                   .v = v->qkv + 2 * embd,
                                                   .ldv = 3 * embd,
                                                   .out = v->y,
                                                   .ldo = embd,
                                                   .n_q = rows,
                                                   .n_kv = rows,
                                                   .n_head = v->s.n_head,
                                                   .n_kv_head = v->s.n_head,
                                                   .head_dim = head_dim,
                                                   .scale = 1 / sqrtf((float)head_dim),
                                                   .precise = true });
    product(v, l->out, v->y, v->x, rows, EPI_ADD);
    norm(v, v->y, v->x, l->norm2_w, l->norm2_b);
    product(v, l->fc1, v->y, v->h, rows, EPI_GELU_ERF);
    product(v, l->fc2, v->h, v->x, rows, EPI_ADD);
}

/* y [n_rows, shuffle * shuffle * n_embd]: the patches of each square side by side, in reading order. */
static void gather_squares(struct llama4_vision *v, dev_float *y, const dev_float *x)
{
    const struct llama4_vision_shape *s = &v->s;
    const int64_t embd = s->n_embd, k = s->shuffle, across = s->side / s->shuffle;
    for (int64_t row = 0; row < across; row++)
        for (int64_t dy = 0; dy < k; dy++)
            for (int64_t dx = 0; dx < k; dx++)
                op_copy_rows(v->dev, y + (row * across * k * k + dy * k + dx) * embd, k * k * embd,
                             x + ((row * k + dy) * s->side + dx) * embd, k * embd, across, embd);
}

bool llama4_vision_run(struct llama4_vision *v, const float *tile, float *rows, struct err *e)
{
    const struct llama4_vision_shape *s = &v->s;
    const int64_t patches = (int64_t)s->side * s->side, out = s->n_rows;
    cut(s, tile, v->host);
    device_upload(v->dev, v->pixels, v->host, (size_t)(patches * linear_n_in(v->patch)));
    device_copy(v->dev, v->x, v->start, (size_t)places(s) * (size_t)s->n_embd);
    product(v, v->patch, v->pixels, v->x, patches, EPI_ADD);
    norm(v, v->x, v->x, v->pre_w, v->pre_b);
    for (int il = 0; il < s->n_layer; il++) run_layer(v, &v->layer[il]);
    norm(v, v->y, v->x, v->post_w, v->post_b);
    gather_squares(v, v->h, v->y);
    product(v, v->fc1, v->h, v->qkv, out, EPI_GELU_ERF);
    product(v, v->fc2, v->qkv, v->h, out, EPI_GELU_ERF);
    product(v, v->projector, v->h, v->y, out, EPI_STORE);
    if (!device_finish(v->dev, e)) return false;
    device_download(v->dev, rows, v->y, (size_t)out * (size_t)s->n_text);
    return device_finish(v->dev, e);
}
