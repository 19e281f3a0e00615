#include "image/clip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/config_keys.h"

struct clip_layer {
    dev_float *norm1_w, *norm1_b, *norm2_w, *norm2_b;
    struct nn_linear *qkv, *out, *fc1, *fc2;
};

struct clip {
    struct clip_config c;
    struct nn_owner own;
    dev_float *position; /* [n_pos, n_embd] */
    struct table *token;
    dev_float *final_w, *final_b;
    struct nn_linear *projection;
    struct clip_layer *layer;
    bool precise;
};

static const struct config_key known[] = {
    { "vocab_size", NULL },
    { "max_position_embeddings", NULL },
    { "num_hidden_layers", NULL },
    { "hidden_size", NULL },
    { "num_attention_heads", NULL },
    { "intermediate_size", NULL },
    { "projection_dim", NULL },
    { "hidden_act", NULL },
    { "layer_norm_eps", NULL },
    { "eos_token_id", NULL },
}, of_both_towers[] = { /* around a text tower that is nested */
    { "text_config", NULL },
    { "text_config_dict", NULL },
    { "vision_config", NULL },
    { "vision_config_dict", NULL },
    { "projection_dim", NULL },
    { "logit_scale_init_value", NULL },
};

bool clip_config_from_json(struct clip_config *c, const json_t *config, const char *class, struct err *e)
{
    /* A full CLIPModel's config nests the text tower. */
    const json_t *text = json_object_get(config, "text_config");
    const json_t *o = json_is_object(text) && !json_object_get(config, "hidden_size") ? text : config;
    const char *act = json_string_value(json_object_get(o, "hidden_act"));
    const json_t *eps = json_object_get(o, "layer_norm_eps");
    if (!class) class = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    bool projects = class && strcmp(class, "CLIPTextModelWithProjection") == 0;
    if (class && !projects && strcmp(class, "CLIPTextModel") != 0 && strcmp(class, "CLIPModel") != 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "CLIP text encoder: class \"%.60s\" is not supported (CLIPTextModel and "
                       "CLIPTextModelWithProjection are)",
                       class);
    if (!config_keys_check_text(o, known, sizeof known / sizeof *known, "CLIP text encoder", e) ||
        (o != config &&
         !config_keys_check_text(config, of_both_towers, sizeof of_both_towers / sizeof *of_both_towers,
                                 "CLIP text encoder", e)))
        return false;
    *c = (struct clip_config){
        .n_vocab = nn_config_int(o, "vocab_size", 49408),
        .n_pos = nn_config_int(o, "max_position_embeddings", 77),
        .n_layer = nn_config_int(o, "num_hidden_layers", 12),
        .n_embd = nn_config_int(o, "hidden_size", 512),
        .n_head = nn_config_int(o, "num_attention_heads", 8),
        .n_ff = nn_config_int(o, "intermediate_size", 2048),
        .n_proj = projects ? nn_config_int(o, "projection_dim", 512) : 0,
        .quick_gelu = !act || strcmp(act, "quick_gelu") == 0,
        .eps = json_is_number(eps) ? (float)json_number_value(eps) : 1e-5f,
        .eos_id = nn_config_int(o, "eos_token_id", 49407),
    };
    if (act && strcmp(act, "quick_gelu") != 0 && strcmp(act, "gelu") != 0) {
        return err_set(e, ERR_UNSUPPORTED,
                       "CLIP text encoder: hidden_act \"%s\" is not one of quick_gelu, gelu", act);
    }
    if (c->n_vocab < 1 || c->n_pos < 1 || c->n_pos > 8192 || c->n_layer < 1 || c->n_layer > 1000 ||
        c->n_embd < 1 || c->n_head < 1 || c->n_embd % c->n_head != 0 || c->n_ff < 1 || c->n_proj < 0) {
        return err_set(e, ERR_FORMAT,
                       "CLIP text encoder: config.json has impossible sizes (hidden %d, heads %d, layers %d)",
                       c->n_embd, c->n_head, c->n_layer);
    }
    return true;
}

/* Newer transformers save the text tower without its "text_model." level. */
static const char *base_of(struct nn_source *s)
{
    return nn_has(s, "text_model.final_layer_norm.weight") ? "text_model." : "";
}

bool clip_config_from_shapes(struct clip_config *c, struct nn_source *s, struct err *e)
{
    const char *base = base_of(s);
    *c = (struct clip_config){
        .n_vocab = (int)nn_dim(s, NN("%sembeddings.token_embedding.weight", base), 0),
        .n_embd = (int)nn_dim(s, NN("%sembeddings.token_embedding.weight", base), 1),
        .n_pos = (int)nn_dim(s, NN("%sembeddings.position_embedding.weight", base), 0),
        .n_ff = (int)nn_dim(s, NN("%sencoder.layers.0.mlp.fc1.weight", base), 0),
        .n_proj = (int)nn_dim(s, "text_projection.weight", 0),
        .eps = 1e-5f,
        .eos_id = 49407,
    };
    while (nn_has(s, NN("%sencoder.layers.%d.mlp.fc1.weight", base, c->n_layer))) c->n_layer++;
    c->n_head = c->n_embd / 64;
    c->quick_gelu = c->n_embd == 768; /* CLIP-L; the OpenCLIP towers use the exact GELU */
    if (c->n_layer == 0 || c->n_head == 0 || c->n_embd % 64 != 0) {
        return err_set(e, ERR_FORMAT, "%s: no CLIP text encoder found in the file", s->what);
    }
    return true;
}

bool clip_locate_openclip(const void *config, const char *name, struct nn_place *out)
{
    const struct clip_config *c = config;
    static const struct {
        const char *canonical, *file;
    } whole[] = {
        { "text_model.embeddings.token_embedding.weight", "token_embedding.weight" },
        { "text_model.embeddings.position_embedding.weight", "positional_embedding" },
        { "text_model.final_layer_norm.weight", "ln_final.weight" },
        { "text_model.final_layer_norm.bias", "ln_final.bias" },
    }, leaf[] = {
        { "layer_norm1", "ln_1" },      { "layer_norm2", "ln_2" }, { "self_attn.out_proj", "attn.out_proj" },
        { "mlp.fc1", "mlp.c_fc" },      { "mlp.fc2", "mlp.c_proj" },
    };
    *out = (struct nn_place){ 0 };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (strcmp(name, whole[i].canonical) == 0) {
            snprintf(out->name, sizeof out->name, "%s", whole[i].file);
            return true;
        }
    }
    if (strcmp(name, "text_projection.weight") == 0) {
        snprintf(out->name, sizeof out->name, "text_projection");
        out->transposed = true;
        return true;
    }
    int layer, at = 0;
    if (sscanf(name, "text_model.encoder.layers.%d.%n", &layer, &at) != 1 || at == 0) return false;
    const char *rest = name + at, *dot = strrchr(rest, '.');
    if (!dot) return false;
    size_t len = (size_t)(dot - rest);
    static const char *const qkv[] = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" };
    for (int i = 0; i < 3; i++) {
        if (strlen(qkv[i]) == len && strncmp(rest, qkv[i], len) == 0) {
            snprintf(out->name, sizeof out->name, "transformer.resblocks.%d.attn.in_proj_%s", layer, dot + 1);
            out->row0 = (int64_t)i * c->n_embd;
            out->n_rows = c->n_embd;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof leaf / sizeof *leaf; i++) {
        if (strlen(leaf[i].canonical) == len && strncmp(rest, leaf[i].canonical, len) == 0) {
            snprintf(out->name, sizeof out->name, "transformer.resblocks.%d.%s%s", layer, leaf[i].file, dot);
            return true;
        }
    }
    return false;
}

bool clip_load(struct clip **out, const struct clip_config *c, struct nn_source *s, struct err *e)
{
    struct clip *m = calloc(1, sizeof *m);
    if (m) m->layer = calloc((size_t)c->n_layer, sizeof *m->layer);
    if (!m || !m->layer) {
        free(m);
        return err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    }
    m->c = *c;
    struct nn_owner *o = &m->own;
    int d = c->n_embd;
    const char *base = base_of(s);

    m->token = nn_embedding(o, s, NN("%sembeddings.token_embedding.weight", base), c->n_vocab, d);
    m->position = nn_table(o, s, NN("%sembeddings.position_embedding.weight", base), c->n_pos, d);
    for (int i = 0; i < c->n_layer; i++) {
        struct clip_layer *l = &m->layer[i];
        struct nn_name at = nn_name("%sencoder.layers.%d", base, i);
        struct nn_name q = nn_name("%s.self_attn.q_proj", at.s), k = nn_name("%s.self_attn.k_proj", at.s),
                       v = nn_name("%s.self_attn.v_proj", at.s);
        l->norm1_w = nn_vector(o, s, NN("%s.layer_norm1.weight", at.s), d);
        l->norm1_b = nn_vector(o, s, NN("%s.layer_norm1.bias", at.s), d);
        l->norm2_w = nn_vector(o, s, NN("%s.layer_norm2.weight", at.s), d);
        l->norm2_b = nn_vector(o, s, NN("%s.layer_norm2.bias", at.s), d);
        l->qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s }, (int64_t[]){ d, d, d }, d,
                                LINEAR_CONCAT, NN_BIAS);
        l->out = nn_linear1(o, s, NN("%s.self_attn.out_proj", at.s), d, d, NN_BIAS);
        l->fc1 = nn_linear1(o, s, NN("%s.mlp.fc1", at.s), c->n_ff, d, NN_BIAS);
        l->fc2 = nn_linear1(o, s, NN("%s.mlp.fc2", at.s), d, c->n_ff, NN_BIAS);
    }
    m->final_w = nn_vector(o, s, NN("%sfinal_layer_norm.weight", base), d);
    m->final_b = nn_vector(o, s, NN("%sfinal_layer_norm.bias", base), d);
    if (c->n_proj) m->projection = nn_linear1(o, s, "text_projection", c->n_proj, d, NN_NO_BIAS);
    m->precise = s->f32;
    if (!nn_check(s, e)) {
        clip_free(m);
        return false;
    }
    *out = m;
    return true;
}

void clip_free(struct clip *m)
{
    if (!m) return;
    nn_owner_free(&m->own);
    free(m->layer);
    free(m);
}

const struct clip_config *clip_config(const struct clip *m) { return &m->c; }

const struct nn_owner *clip_owner(const struct clip *m) { return &m->own; }

size_t clip_scratch(const struct clip *m, int n)
{
    size_t d = (size_t)m->c.n_embd, rows = (size_t)n,
           wide = (size_t)m->c.n_ff > 3 * d ? (size_t)m->c.n_ff : 3 * d;
    /* x, u, attention, qkv, fc1; one more wide row set and 512 ranks for side branches */
    return arena_cost(rows * d, 4) * 4 + arena_cost(rows * wide, 4) * 3 + arena_cost(rows * 512, 4) +
           arena_cost(d, 4) * 4 + arena_cost(rows, 4);
}

void clip_encode(const struct clip *m, struct nn_ctx *c, const int32_t *ids, int n, int skip,
                 dev_float *hidden, dev_float *pooled)
{
    const struct clip_config *k = &m->c;
    int64_t d = k->n_embd, head_dim = d / k->n_head;
    const size_t mark = nn_mark(c);
    dev_float *x = nn_alloc(c, n * d), *u = nn_alloc(c, n * d), *attn = nn_alloc(c, n * d);
    dev_float *qkv = nn_alloc(c, n * 3 * d), *ff = nn_alloc(c, (int64_t)n * k->n_ff);

    op_embed(c->dev, x, d, m->token, nn_ids(c, ids, n), n);
    op_add(c->dev, x, x, m->position, n * d);
    int run = pooled || skip <= 0 ? k->n_layer : k->n_layer - skip;
    for (int il = 0; il < run; il++) {
        const struct clip_layer *l = &m->layer[il];
        op_layernorm(c->dev, u, d, x, d, n, d, l->norm1_w, l->norm1_b, k->eps, NULL, NULL);
        nn_linear_run(c, &m->own, l->qkv,
                      (struct linear_args){ .x = u, .ldx = d, .y = qkv, .ldy = 3 * d, .n = n });
        op_attention(c->dev, &(struct attention_args){ .q = qkv,
                                                       .ldq = 3 * d,
                                                       .k = qkv + d,
                                                       .ldk = 3 * d,
                                                       .v = qkv + 2 * d,
                                                       .ldv = 3 * d,
                                                       .out = attn,
                                                       .ldo = d,
                                                       .n_q = n,
                                                       .n_kv = n,
                                                       .n_head = k->n_head,
                                                       .n_kv_head = k->n_head,
                                                       .head_dim = (int)head_dim,
                                                       .scale = 1.0f / sqrtf((float)head_dim),
                                                       .causal = true,
                                                       .precise = m->precise });
        nn_linear_run(c, &m->own, l->out,
                      (struct linear_args){ .x = attn, .ldx = d, .y = x, .ldy = d, .n = n, .epi = EPI_ADD });
        op_layernorm(c->dev, u, d, x, d, n, d, l->norm2_w, l->norm2_b, k->eps, NULL, NULL);
        nn_linear_run(c, &m->own, l->fc1,
                      (struct linear_args){ .x = u,
                                            .ldx = d,
                                            .y = ff,
                                            .ldy = k->n_ff,
                                            .n = n,
                                            .epi = k->quick_gelu ? EPI_QUICK_GELU : EPI_GELU_ERF });
        nn_linear_run(
            c, &m->own, l->fc2,
            (struct linear_args){ .x = ff, .ldx = k->n_ff, .y = x, .ldy = d, .n = n, .epi = EPI_ADD });
        if (hidden && skip > 0 && il == k->n_layer - skip - 1)
            device_copy(c->dev, hidden, x, (size_t)(n * d));
    }
    if (hidden && skip <= 0) {
        op_layernorm(c->dev, hidden, d, x, d, n, d, m->final_w, m->final_b, k->eps, NULL, NULL);
    }
    if (pooled) {
        int end = 0;
        for (int i = 1; i < n; i++) {
            if (k->eos_id == 2 ? ids[i] > ids[end] : ids[i] == k->eos_id && ids[end] != k->eos_id) end = i;
        }
        dev_float *row = m->projection ? u : pooled;
        op_layernorm(c->dev, row, d, x + end * d, d, 1, d, m->final_w, m->final_b, k->eps, NULL, NULL);
        if (m->projection) {
            nn_linear_run(c, &m->own, m->projection,
                          (struct linear_args){ .x = u, .ldx = d, .y = pooled, .ldy = k->n_proj, .n = 1 });
        }
    }
    nn_reset(c, mark);
}
