#include "image/flux.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/config_keys.h"

enum { N_FREQ = 256 }; /* width of the sinusoidal embeddings of time and guidance */

struct flux_stream { /* one of the two streams of a double block */
    struct nn_linear *mod, *qkv, *proj, *ff_in, *ff_out;
    dev_float *q_norm, *k_norm;
};

struct flux_double {
    struct flux_stream image, text;
};

struct flux_single {
    struct nn_linear *mod, *qkv, *ff_in, *out;
    dev_float *q_norm, *k_norm;
};

struct flux {
    struct flux_config c;
    struct nn_owner own;
    struct nn_linear *x_in, *context_in, *time[2], *guidance[2], *pooled[2], *norm_out, *out;
    struct flux_double *dbl;
    struct flux_single *single;
    bool precise;
};

/* ---- configuration ----------------------------------------------------------------------------------------- */

static bool plausible(const struct flux_config *c, struct err *e)
{
    int sum = c->axes[0] + c->axes[1] + c->axes[2];
    if (c->in_channels < 4 || c->in_channels % 4 != 0 || c->out_channels < 4 || c->n_double < 0 ||
        c->n_single < 0 || c->n_double > 1000 || c->n_single > 1000 || c->n_head < 1 || c->head_dim < 2 ||
        c->head_dim > 1024 || c->n_context < 1 || c->n_pooled < 1 || c->n_ff < 1 || sum != c->head_dim ||
        c->axes[0] % 2 || c->axes[1] % 2 || c->axes[2] % 2) {
        return err_set(
            e, ERR_FORMAT,
            "FLUX transformer: impossible sizes (%d channels, heads %d x %d, axes %d+%d+%d, blocks %d+%d)",
            c->in_channels, c->n_head, c->head_dim, c->axes[0], c->axes[1], c->axes[2], c->n_double,
            c->n_single);
    }
    if (c->out_channels != c->in_channels) {
        return err_set(e, ERR_UNSUPPORTED,
                       "FLUX transformer: takes %d channels and gives %d: a Fill, Canny, Depth or other "
                       "control model, which is not supported (FLUX.1 dev and schnell are)",
                       c->in_channels, c->out_channels);
    }
    return true;
}

static const struct config_key known[] = {
    { "in_channels", NULL },         { "out_channels", NULL },          { "num_layers", NULL },
    { "num_single_layers", NULL },   { "attention_head_dim", NULL },    { "num_attention_heads", NULL },
    { "joint_attention_dim", NULL }, { "pooled_projection_dim", NULL }, { "guidance_embeds", NULL },
    { "axes_dims_rope", NULL },      { "patch_size", "[1]" },
};

bool flux_config_knows(const char *key) { return config_key_known(known, sizeof known / sizeof *known, key); }

bool flux_config_from_json(struct flux_config *c, const json_t *config, struct err *e)
{
    if (!config_keys_check(config, known, sizeof known / sizeof *known, "FLUX transformer", e)) return false;
    int in = nn_config_int(config, "in_channels", 64);
    int heads = nn_config_int(config, "num_attention_heads", 24);
    int head_dim = nn_config_int(config, "attention_head_dim", 128);
    *c = (struct flux_config){
        .in_channels = in,
        .out_channels = nn_config_int(config, "out_channels", in),
        .n_double = nn_config_int(config, "num_layers", 19),
        .n_single = nn_config_int(config, "num_single_layers", 38),
        .n_head = heads,
        .head_dim = head_dim,
        .n_context = nn_config_int(config, "joint_attention_dim", 4096),
        .n_pooled = nn_config_int(config, "pooled_projection_dim", 768),
        .axes = { 16, 56, 56 },
        .guidance = json_is_true(json_object_get(config, "guidance_embeds")),
    };
    const json_t *axes = json_object_get(config, "axes_dims_rope");
    if (axes && json_array_size(axes) != 3)
        return err_set(e, ERR_FORMAT, "FLUX transformer: axes_dims_rope is not a list of three");
    for (size_t i = 0; i < 3 && json_array_size(axes) == 3; i++) {
        c->axes[i] = (int)json_integer_value(json_array_get(axes, i));
    }
    if (heads > 0 && heads < 65536 && head_dim > 0 && head_dim < 65536) c->n_ff = 4 * heads * head_dim;
    return plausible(c, e);
}

bool flux_config_from_shapes(struct flux_config *c, struct nn_source *s, bool bfl, struct err *e)
{
    const char *in = bfl ? "img_in.weight" : "x_embedder.weight";
    const char *context = bfl ? "txt_in.weight" : "context_embedder.weight";
    const char *pooled = bfl ? "vector_in.in_layer.weight" : "time_text_embed.text_embedder.linear_1.weight";
    const char *guidance =
        bfl ? "guidance_in.in_layer.weight" : "time_text_embed.guidance_embedder.linear_1.weight";
    const char *out = bfl ? "final_layer.linear.weight" : "proj_out.weight";
    const char *norm =
        bfl ? "double_blocks.0.img_attn.norm.query_norm.scale" : "transformer_blocks.0.attn.norm_q.weight";
    const char *dbl = bfl ? "double_blocks" : "transformer_blocks";
    const char *dbl_leaf = bfl ? "img_mod.lin.weight" : "norm1.linear.weight";
    const char *single = bfl ? "single_blocks" : "single_transformer_blocks";
    const char *single_leaf = bfl ? "modulation.lin.weight" : "norm.linear.weight";
    /* The names are those of the file here, whatever the source maps later. */
    struct nn_source file = *s;
    file.locate = NULL;
    *c = (struct flux_config){
        .in_channels = (int)nn_dim(&file, in, 1),
        .out_channels = (int)nn_dim(&file, out, 0),
        .n_context = (int)nn_dim(&file, context, 1),
        .n_pooled = (int)nn_dim(&file, pooled, 1),
        .head_dim = (int)nn_dim(&file, norm, 0),
        .guidance = nn_has(&file, guidance),
    };
    int64_t d = nn_dim(&file, in, 0);
    if (c->head_dim > 0) c->n_head = (int)(d / c->head_dim);
    c->n_ff = (int)(4 * d);
    while (c->n_double < 1000 && nn_has(&file, NN("%s.%d.%s", dbl, c->n_double, dbl_leaf))) c->n_double++;
    while (c->n_single < 1000 && nn_has(&file, NN("%s.%d.%s", single, c->n_single, single_leaf)))
        c->n_single++;
    /* The published split 16+56+56 of 128, and about the same share of other head widths, all even. */
    c->axes[0] = c->head_dim / 8 + c->head_dim / 8 % 2;
    while (c->axes[0] < c->head_dim && (c->head_dim - c->axes[0]) % 4 != 0) c->axes[0]++;
    c->axes[1] = c->axes[2] = (c->head_dim - c->axes[0]) / 2;
    if (c->in_channels == 0) return err_set(e, ERR_FORMAT, "%s: %s is missing", s->what, in);
    if (c->n_double == 0) {
        return err_set(
            e, ERR_UNSUPPORTED,
            "%s: its blocks have no modulation of their own: a relative of FLUX.1 such as Chroma or "
            "FLUX.2, which is not supported (FLUX.1 dev and schnell are)",
            s->what);
    }
    return plausible(c, e);
}

/* Table of the modules outside the blocks and of the leaves inside them: canonical -> BFL. */
struct rename {
    const char *canonical, *file;
};

static const struct rename outer_names[] = {
    { "x_embedder", "img_in" },
    { "context_embedder", "txt_in" },
    { "time_text_embed.timestep_embedder.linear_1", "time_in.in_layer" },
    { "time_text_embed.timestep_embedder.linear_2", "time_in.out_layer" },
    { "time_text_embed.text_embedder.linear_1", "vector_in.in_layer" },
    { "time_text_embed.text_embedder.linear_2", "vector_in.out_layer" },
    { "time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer" },
    { "time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer" },
    { "norm_out.linear", "final_layer.adaLN_modulation.1" },
    { "proj_out", "final_layer.linear" },
};
static const struct rename double_names[] = {
    { "norm1.linear", "img_mod.lin" },
    { "norm1_context.linear", "txt_mod.lin" },
    { "attn.to_q", "img_attn.qkv" },
    { "attn.to_k", "img_attn.qkv" },
    { "attn.to_v", "img_attn.qkv" },
    { "attn.add_q_proj", "txt_attn.qkv" },
    { "attn.add_k_proj", "txt_attn.qkv" },
    { "attn.add_v_proj", "txt_attn.qkv" },
    { "attn.to_out.0", "img_attn.proj" },
    { "attn.to_add_out", "txt_attn.proj" },
    { "ff.net.0.proj", "img_mlp.0" },
    { "ff.net.2", "img_mlp.2" },
    { "ff_context.net.0.proj", "txt_mlp.0" },
    { "ff_context.net.2", "txt_mlp.2" },
    { "attn.norm_q", "img_attn.norm.query_norm" },
    { "attn.norm_k", "img_attn.norm.key_norm" },
    { "attn.norm_added_q", "txt_attn.norm.query_norm" },
    { "attn.norm_added_k", "txt_attn.norm.key_norm" },
};
static const struct rename single_names[] = {
    { "norm.linear", "modulation.lin" },  { "attn.to_q", "linear1" },         { "attn.to_k", "linear1" },
    { "attn.to_v", "linear1" },           { "proj_mlp", "linear1" },          { "proj_out", "linear2" },
    { "attn.norm_q", "norm.query_norm" }, { "attn.norm_k", "norm.key_norm" },
};

static const char *renamed(const struct rename *table, size_t n, const char *module, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(table[i].canonical) == len && strncmp(table[i].canonical, module, len) == 0)
            return table[i].file;
    }
    return NULL;
}
#define RENAMED(table, module, len) renamed(table, sizeof table / sizeof *table, module, len)

bool flux_locate_bfl(const void *config, const char *name, struct nn_place *out)
{
    const struct flux_config *c = config;
    int64_t d = (int64_t)c->n_head * c->head_dim;
    *out = (struct nn_place){ 0 };
    const char *dot = strrchr(name, '.');
    if (!dot) return false;
    size_t len = (size_t)(dot - name);

    int block, at = 0;
    if (sscanf(name, "transformer_blocks.%d.%n", &block, &at) == 1 && at) {
        const char *leaf = name + at, *file = RENAMED(double_names, leaf, len - (size_t)at);
        if (!file) return false;
        bool norm = strstr(file, "_norm") != NULL; /* BFL calls a norm's weight its scale */
        snprintf(out->name, sizeof out->name, "double_blocks.%d.%s%s", block, file, norm ? ".scale" : dot);
        if (strstr(file, "attn.qkv")) {
            char which = strstr(leaf, "to_") == leaf + 5 ? leaf[8] : leaf[9]; /* attn.to_q, attn.add_q_proj */
            out->row0 = d * (which == 'q' ? 0 : which == 'k' ? 1 : 2);
            out->n_rows = d;
        }
        return true;
    }
    if (sscanf(name, "single_transformer_blocks.%d.%n", &block, &at) == 1 && at) {
        const char *leaf = name + at, *file = RENAMED(single_names, leaf, len - (size_t)at);
        if (!file) return false;
        bool norm = strstr(file, "_norm") != NULL;
        snprintf(out->name, sizeof out->name, "single_blocks.%d.%s%s", block, file, norm ? ".scale" : dot);
        if (strcmp(file, "linear1") == 0) {
            bool mlp = strncmp(leaf, "proj_mlp", 8) == 0;
            out->row0 = d * (mlp ? 3 : leaf[8] == 'q' ? 0 : leaf[8] == 'k' ? 1 : 2);
            out->n_rows = mlp ? c->n_ff : d;
        }
        return true;
    }
    const char *file = RENAMED(outer_names, name, len);
    if (!file) return false;
    snprintf(out->name, sizeof out->name, "%s%s", file, dot);
    out->swap_halves =
        strncmp(name, "norm_out", 8) == 0; /* BFL: shift then scale; diffusers: scale then shift */
    return true;
}

/* ---- loading ----------------------------------------------------------------------------------------------- */

static void load_double(struct flux *m, struct nn_source *s, int i)
{
    struct nn_owner *o = &m->own;
    struct flux_double *b = &m->dbl[i];
    int64_t d = (int64_t)m->c.n_head * m->c.head_dim, ff = m->c.n_ff;
    struct nn_name at = nn_name("transformer_blocks.%d", i);
    struct nn_name q = nn_name("%s.attn.to_q", at.s), k = nn_name("%s.attn.to_k", at.s),
                   v = nn_name("%s.attn.to_v", at.s);
    struct nn_name tq = nn_name("%s.attn.add_q_proj", at.s), tk = nn_name("%s.attn.add_k_proj", at.s),
                   tv = nn_name("%s.attn.add_v_proj", at.s);
    const int64_t thirds[] = { d, d, d };
    b->image = (struct flux_stream){
        .mod = nn_linear1(o, s, NN("%s.norm1.linear", at.s), 6 * d, d, NN_BIAS),
        .qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s }, thirds, d, LINEAR_CONCAT,
                              NN_MAYBE_BIAS),
        .proj = nn_linear1(o, s, NN("%s.attn.to_out.0", at.s), d, d, NN_BIAS),
        .ff_in = nn_linear1(o, s, NN("%s.ff.net.0.proj", at.s), ff, d, NN_BIAS),
        .ff_out = nn_linear1(o, s, NN("%s.ff.net.2", at.s), d, ff, NN_BIAS),
        .q_norm = nn_vector(o, s, NN("%s.attn.norm_q.weight", at.s), m->c.head_dim),
        .k_norm = nn_vector(o, s, NN("%s.attn.norm_k.weight", at.s), m->c.head_dim),
    };
    b->text = (struct flux_stream){
        .mod = nn_linear1(o, s, NN("%s.norm1_context.linear", at.s), 6 * d, d, NN_BIAS),
        .qkv = nn_linear_load(o, s, 3, (const char *[]){ tq.s, tk.s, tv.s }, thirds, d, LINEAR_CONCAT,
                              NN_MAYBE_BIAS),
        .proj = nn_linear1(o, s, NN("%s.attn.to_add_out", at.s), d, d, NN_BIAS),
        .ff_in = nn_linear1(o, s, NN("%s.ff_context.net.0.proj", at.s), ff, d, NN_BIAS),
        .ff_out = nn_linear1(o, s, NN("%s.ff_context.net.2", at.s), d, ff, NN_BIAS),
        .q_norm = nn_vector(o, s, NN("%s.attn.norm_added_q.weight", at.s), m->c.head_dim),
        .k_norm = nn_vector(o, s, NN("%s.attn.norm_added_k.weight", at.s), m->c.head_dim),
    };
}

static void load_single(struct flux *m, struct nn_source *s, int i)
{
    struct nn_owner *o = &m->own;
    int64_t d = (int64_t)m->c.n_head * m->c.head_dim, ff = m->c.n_ff;
    struct nn_name at = nn_name("single_transformer_blocks.%d", i);
    struct nn_name q = nn_name("%s.attn.to_q", at.s), k = nn_name("%s.attn.to_k", at.s),
                   v = nn_name("%s.attn.to_v", at.s);
    m->single[i] = (struct flux_single){
        .mod = nn_linear1(o, s, NN("%s.norm.linear", at.s), 3 * d, d, NN_BIAS),
        .qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s }, (int64_t[]){ d, d, d }, d,
                              LINEAR_CONCAT, NN_MAYBE_BIAS),
        .ff_in = nn_linear1(o, s, NN("%s.proj_mlp", at.s), ff, d, NN_BIAS),
        .out = nn_linear1(o, s, NN("%s.proj_out", at.s), d, d + ff, NN_BIAS),
        .q_norm = nn_vector(o, s, NN("%s.attn.norm_q.weight", at.s), m->c.head_dim),
        .k_norm = nn_vector(o, s, NN("%s.attn.norm_k.weight", at.s), m->c.head_dim),
    };
}

static void load_mlp(struct flux *m, struct nn_source *s, struct nn_linear *out[2], const char *name,
                     int n_in)
{
    int64_t d = (int64_t)m->c.n_head * m->c.head_dim;
    out[0] = nn_linear1(&m->own, s, NN("time_text_embed.%s.linear_1", name), d, n_in, NN_BIAS);
    out[1] = nn_linear1(&m->own, s, NN("time_text_embed.%s.linear_2", name), d, d, NN_BIAS);
}

bool flux_load(struct flux **out, const struct flux_config *c, struct nn_source *s, struct err *e)
{
    struct flux *m = calloc(1, sizeof *m);
    if (m) {
        m->dbl = calloc((size_t)c->n_double + 1, sizeof *m->dbl);
        m->single = calloc((size_t)c->n_single + 1, sizeof *m->single);
    }
    if (!m || !m->dbl || !m->single) {
        flux_free(m);
        return err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    }
    m->c = *c;
    struct nn_owner *o = &m->own;
    int64_t d = (int64_t)c->n_head * c->head_dim;
    m->x_in = nn_linear1(o, s, "x_embedder", d, c->in_channels, NN_BIAS);
    m->context_in = nn_linear1(o, s, "context_embedder", d, c->n_context, NN_BIAS);
    load_mlp(m, s, m->time, "timestep_embedder", N_FREQ);
    load_mlp(m, s, m->pooled, "text_embedder", c->n_pooled);
    if (c->guidance) load_mlp(m, s, m->guidance, "guidance_embedder", N_FREQ);
    for (int i = 0; i < c->n_double; i++) load_double(m, s, i);
    for (int i = 0; i < c->n_single; i++) load_single(m, s, i);
    m->norm_out = nn_linear1(o, s, "norm_out.linear", 2 * d, d, NN_BIAS);
    m->out = nn_linear1(o, s, "proj_out", c->out_channels, d, NN_BIAS);
    m->precise = s->f32;
    if (!nn_check(s, e)) {
        flux_free(m);
        return false;
    }
    *out = m;
    return true;
}

void flux_free(struct flux *m)
{
    if (!m) return;
    nn_owner_free(&m->own);
    free(m->dbl);
    free(m->single);
    free(m);
}

const struct flux_config *flux_config(const struct flux *m) { return &m->c; }

const struct nn_owner *flux_owner(const struct flux *m) { return &m->own; }

/* ---- running ----------------------------------------------------------------------------------------------- */

struct state { /* one evaluation's buffers; n = n_text + n_image rows, text first */
    struct nn_ctx *c;
    const struct nn_owner *own;
    int64_t d, ff, n, n_text;
    int n_head, head_dim;
    bool precise;
    dev_float *x, *u, *qkv, *wide;         /* [n, d], [n, d], [n, 3d], [n, d + ff] */
    dev_float *act, *mod_image, *mod_text; /* silu(conditioning) [d]; modulations [6d] */
    dev_float *cos, *sin;                  /* [n, head_dim/2] */
};

static void run(struct state *st, const struct nn_linear *l, struct linear_args a)
{
    nn_linear_run(st->c, st->own, l, a);
}

/* y[d] += mlp(sinusoid or vector) */
static void condition(struct state *st, struct nn_linear *const mlp[2], const dev_float *in, int n_in,
                      dev_float *y)
{
    run(st, mlp[0],
        (struct linear_args){ .x = in, .ldx = n_in, .y = st->u, .ldy = st->d, .n = 1, .epi = EPI_SILU });
    run(st, mlp[1],
        (struct linear_args){ .x = st->u, .ldx = st->d, .y = y, .ldy = st->d, .n = 1, .epi = EPI_ADD });
}

/* Norm and rotate q and k of rows [row, row+n), whose weights belong to one stream. */
static void rotate(struct state *st, int64_t row, int64_t n, const dev_float *q_norm, const dev_float *k_norm)
{
    dev_float *q = st->qkv + row * 3 * st->d;
    const dev_float *cs = st->cos + row * (st->head_dim / 2), *sn = st->sin + row * (st->head_dim / 2);
    op_rope_table(st->c->dev, q, 3 * st->d, n, st->n_head, st->head_dim, cs, sn, q_norm, 1e-6f);
    op_rope_table(st->c->dev, q + st->d, 3 * st->d, n, st->n_head, st->head_dim, cs, sn, k_norm, 1e-6f);
}

static void attend(struct state *st, dev_float *out, int64_t ldo)
{
    op_attention(st->c->dev, &(struct attention_args){ .q = st->qkv,
                                                       .ldq = 3 * st->d,
                                                       .k = st->qkv + st->d,
                                                       .ldk = 3 * st->d,
                                                       .v = st->qkv + 2 * st->d,
                                                       .ldv = 3 * st->d,
                                                       .out = out,
                                                       .ldo = ldo,
                                                       .n_q = st->n,
                                                       .n_kv = st->n,
                                                       .n_head = st->n_head,
                                                       .n_kv_head = st->n_head,
                                                       .head_dim = st->head_dim,
                                                       .scale = 1.0f / sqrtf((float)st->head_dim),
                                                       .precise = st->precise });
}

static void modulate(struct state *st, const struct nn_linear *l, int64_t n_out, dev_float *mod)
{
    run(st, l, (struct linear_args){ .x = st->act, .ldx = st->d, .y = mod, .ldy = n_out, .n = 1 });
}

static void stream_qkv(struct state *st, const struct flux_stream *s, const dev_float *mod, int64_t row,
                       int64_t n)
{
    int64_t d = st->d;
    op_layernorm(st->c->dev, st->u + row * d, d, st->x + row * d, d, n, d, NULL, NULL, 1e-6f, mod + d, mod);
    run(st, s->qkv,
        (struct linear_args){
            .x = st->u + row * d, .ldx = d, .y = st->qkv + row * 3 * d, .ldy = 3 * d, .n = n });
    rotate(st, row, n, s->q_norm, s->k_norm);
}

static void stream_rest(struct state *st, const struct flux_stream *s, const dev_float *mod, int64_t row,
                        int64_t n)
{
    int64_t d = st->d;
    dev_float *x = st->x + row * d, *u = st->u + row * d;
    run(st, s->proj,
        (struct linear_args){
            .x = u, .ldx = d, .y = x, .ldy = d, .n = n, .epi = EPI_GATE_ADD, .gate = mod + 2 * d });
    op_layernorm(st->c->dev, u, d, x, d, n, d, NULL, NULL, 1e-6f, mod + 4 * d, mod + 3 * d);
    run(st, s->ff_in,
        (struct linear_args){ .x = u, .ldx = d, .y = st->wide, .ldy = st->ff, .n = n, .epi = EPI_GELU_TANH });
    run(st, s->ff_out,
        (struct linear_args){ .x = st->wide,
                              .ldx = st->ff,
                              .y = x,
                              .ldy = d,
                              .n = n,
                              .epi = EPI_GATE_ADD,
                              .gate = mod + 5 * d });
}

static void double_block(struct state *st, const struct flux_double *b)
{
    int64_t n_image = st->n - st->n_text;
    modulate(st, b->image.mod, 6 * st->d, st->mod_image);
    modulate(st, b->text.mod, 6 * st->d, st->mod_text);
    stream_qkv(st, &b->text, st->mod_text, 0, st->n_text);
    stream_qkv(st, &b->image, st->mod_image, st->n_text, n_image);
    attend(st, st->u, st->d);
    stream_rest(st, &b->image, st->mod_image, st->n_text, n_image);
    stream_rest(st, &b->text, st->mod_text, 0, st->n_text);
}

static void single_block(struct state *st, const struct flux_single *b)
{
    int64_t d = st->d, wide = d + st->ff;
    dev_float *mod = st->mod_image;
    modulate(st, b->mod, 3 * d, mod);
    op_layernorm(st->c->dev, st->u, d, st->x, d, st->n, d, NULL, NULL, 1e-6f, mod + d, mod);
    run(st, b->qkv, (struct linear_args){ .x = st->u, .ldx = d, .y = st->qkv, .ldy = 3 * d, .n = st->n });
    run(st, b->ff_in,
        (struct linear_args){
            .x = st->u, .ldx = d, .y = st->wide + d, .ldy = wide, .n = st->n, .epi = EPI_GELU_TANH });
    rotate(st, 0, st->n, b->q_norm, b->k_norm);
    attend(st, st->wide, wide);
    run(st, b->out,
        (struct linear_args){ .x = st->wide,
                              .ldx = wide,
                              .y = st->x,
                              .ldy = d,
                              .n = st->n,
                              .epi = EPI_GATE_ADD,
                              .gate = mod + 2 * d });
}

size_t flux_scratch(const struct flux *m, int n_image, int n_text)
{
    size_t n = (size_t)n_image + (size_t)n_text, d = (size_t)m->c.n_head * (size_t)m->c.head_dim,
           ff = (size_t)m->c.n_ff;
    size_t own = 2 * arena_cost(n * d, 4) + arena_cost(3 * n * d, 4) + arena_cost(n * (d + ff), 4) +
                 2 * arena_cost(6 * d, 4) + 2 * arena_cost(d, 4) +
                 2 * arena_cost(n * (size_t)m->c.head_dim / 2, 4) + arena_cost(N_FREQ, 4);
    size_t side = arena_cost(n * (ff > 3 * d ? ff : 3 * d), 4) + arena_cost(n * 512, 4); /* LoRA branches */
    return own + side;
}

bool flux_forward(const struct flux *m, struct nn_ctx *c, const dev_float *x, int grid_h, int grid_w,
                  const dev_float *context, int n_text, const dev_float *pooled, float sigma, float guidance,
                  dev_float *velocity, const atomic_bool *cancel)
{
    const struct flux_config *k = &m->c;
    int64_t d = (int64_t)k->n_head * k->head_dim, n_image = (int64_t)grid_h * grid_w, n = n_image + n_text;
    const size_t mark = nn_mark(c);
    struct state st = { .c = c,
                        .own = &m->own,
                        .d = d,
                        .ff = k->n_ff,
                        .n = n,
                        .n_text = n_text,
                        .n_head = k->n_head,
                        .head_dim = k->head_dim,
                        .precise = m->precise };
    st.x = nn_alloc(c, n * d);
    st.u = nn_alloc(c, n * d);
    st.qkv = nn_alloc(c, n * 3 * d);
    st.wide = nn_alloc(c, n * (d + k->n_ff));
    st.mod_image = nn_alloc(c, 6 * d);
    st.mod_text = nn_alloc(c, 6 * d);
    st.act = nn_alloc(c, d);
    st.cos = nn_alloc(c, n * (k->head_dim / 2));
    st.sin = nn_alloc(c, n * (k->head_dim / 2));
    dev_float *freq = nn_alloc(c, N_FREQ);
    op_rope_grid(c->dev, st.cos, st.sin, n, n_text, grid_w, k->axes);

    /* vec = time + guidance + pooled text; only silu(vec) is used below. Time and guidance count in thousandths. */
    op_fill(c->dev, st.act, 0, d);
    op_timestep(c->dev, freq, 1000.0f * sigma, N_FREQ, 10000.0);
    condition(&st, m->time, freq, N_FREQ, st.act);
    if (k->guidance) {
        op_timestep(c->dev, freq, 1000.0f * guidance, N_FREQ, 10000.0);
        condition(&st, m->guidance, freq, N_FREQ, st.act);
    }
    condition(&st, m->pooled, pooled, k->n_pooled, st.act);
    op_silu(c->dev, st.act, st.act, d);

    run(&st, m->context_in,
        (struct linear_args){ .x = context, .ldx = k->n_context, .y = st.x, .ldy = d, .n = n_text });
    run(&st, m->x_in,
        (struct linear_args){
            .x = x, .ldx = k->in_channels, .y = st.x + n_text * d, .ldy = d, .n = n_image });
    bool go = true;
    for (int i = 0; i < k->n_double && go; i++) {
        double_block(&st, &m->dbl[i]);
        go = !(cancel && *cancel);
    }
    for (int i = 0; i < k->n_single && go; i++) {
        single_block(&st, &m->single[i]);
        go = !(cancel && *cancel);
    }
    if (go) {
        dev_float *mod = st.mod_image; /* scale, shift */
        modulate(&st, m->norm_out, 2 * d, mod);
        op_layernorm(c->dev, st.u, d, st.x + n_text * d, d, n_image, d, NULL, NULL, 1e-6f, mod, mod + d);
        run(&st, m->out,
            (struct linear_args){ .x = st.u, .ldx = d, .y = velocity, .ldy = k->out_channels, .n = n_image });
    }
    nn_reset(c, mark);
    return go;
}
