#include "image/vae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/config_keys.h"

enum { MAX_RES = 8 };

struct vae_res {
    int n_in, n_out;
    dev_float *norm1_w, *norm1_b, *norm2_w, *norm2_b;
    struct conv *conv1, *conv2, *shortcut; /* shortcut NULL: n_in == n_out */
};

struct vae_attn {
    dev_float *norm_w, *norm_b;
    struct nn_linear *qkv, *out;
};

struct vae_half { /* encoder or decoder */
    struct conv *conv_in, *conv_out;
    dev_float *norm_w, *norm_b;
    struct vae_res level[VAE_MAX_LEVELS][MAX_RES];
    struct conv *resample[VAE_MAX_LEVELS]; /* after the level; NULL on the last */
    struct vae_res mid[2];
    struct vae_attn attn;
};

struct vae {
    struct vae_config c;
    struct nn_owner own;
    struct vae_half enc, dec;
    struct conv *quant, *post_quant;
    dev_float *unscale, *centre; /* [n_latent]: what the decoder sees is latent * unscale + centre */
    dev_float *std;              /* [n_latent] or NULL */
    bool precise;
    struct room *room; /* of its own, so that who decodes need not own the network */
};

/* Memory for activations, kept from one picture to the next: the system takes a second or more to hand out what a large one
 * needs. Between pictures its pages are free for others to take. */
struct room {
    struct device *dev;
    dev_float *v[3];
    size_t values; /* of each */
};

/* ---- configuration ----------------------------------------------------------------------------------------- */

static bool plausible(const struct vae_config *c, struct err *e)
{
    bool ok = c->n_latent >= 1 && c->n_latent <= 32 && c->n_level >= 1 && c->n_level <= VAE_MAX_LEVELS &&
              c->n_res >= 1 && c->n_res < MAX_RES && c->groups >= 1 && c->scaling != 0;
    for (int i = 0; ok && i < c->n_level; i++) ok = c->channels[i] >= 1 && c->channels[i] % c->groups == 0;
    if (!ok) {
        return err_set(e, ERR_FORMAT,
                       "VAE: impossible sizes (%d latent channels, %d levels, %d res blocks, %d groups)",
                       c->n_latent, c->n_level, c->n_res, c->groups);
    }
    return true;
}

static float number_or(const json_t *o, const char *key, float fallback)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? (float)json_number_value(v) : fallback;
}

static const struct config_key known[] = {
    { "latent_channels", NULL },
    { "block_out_channels", NULL },
    { "layers_per_block", NULL },
    { "norm_num_groups", NULL },
    { "use_quant_conv", NULL },
    { "use_post_quant_conv", NULL },
    { "mid_block_add_attention", NULL },
    { "scaling_factor", NULL },
    { "shift_factor", NULL },
    { "latents_mean", NULL },
    { "latents_std", NULL },
    { "in_channels", "[3]" },
    { "out_channels", "[3]" },
    { "act_fn", "[\"silu\", \"swish\"]" },
    { "down_block_types", NULL },
    { "up_block_types", NULL },
    /* Without effect here: the size that tiles would have, and of the precision of half floats. */
    { "sample_size", NULL },
    { "force_upcast", NULL },
};

bool vae_config_knows(const char *key) { return config_key_known(known, sizeof known / sizeof *known, key); }

static bool plain_blocks(const json_t *config, const char *key, const char *only, struct err *e)
{
    const json_t *list = json_object_get(config, key), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        const char *t = json_string_value(one);
        if (!t || strcmp(t, only) != 0)
            return err_set(e, ERR_UNSUPPORTED, "VAE: %s \"%.40s\" is not supported (only %s)", key,
                           t ? t : "", only);
    }
    return true;
}

/* As Python sees it: null and false are false, what is absent is true. */
static bool truth(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    return !v || json_is_true(v) || (json_is_number(v) && json_number_value(v) != 0);
}

bool vae_config_from_json(struct vae_config *c, const json_t *config, struct err *e)
{
    if (!config_keys_check(config, known, sizeof known / sizeof *known, "VAE", e) ||
        !plain_blocks(config, "down_block_types", "DownEncoderBlock2D", e) ||
        !plain_blocks(config, "up_block_types", "UpDecoderBlock2D", e))
        return false;
    const json_t *widths = json_object_get(config, "block_out_channels");
    const json_t *mean = json_object_get(config, "latents_mean"),
                 *std = json_object_get(config, "latents_std");
    *c = (struct vae_config){
        .n_latent = nn_config_int(config, "latent_channels", 4),
        .n_level = json_array_size(widths) <= VAE_MAX_LEVELS ? (int)json_array_size(widths) : 0,
        .n_res = nn_config_int(config, "layers_per_block", 1),
        .groups = nn_config_int(config, "norm_num_groups", 32),
        .quant_conv = truth(config, "use_quant_conv"),
        .post_quant_conv = truth(config, "use_post_quant_conv"),
        .mid_attention = truth(config, "mid_block_add_attention"),
        .scaling = number_or(config, "scaling_factor", 0.18215f),
        .shift = number_or(config, "shift_factor", 0),
    };
    for (int i = 0; i < c->n_level; i++)
        c->channels[i] = (int)json_integer_value(json_array_get(widths, (size_t)i));
    if (!plausible(c, e)) return false;
    /* The reference takes them where both are there. */
    if (json_is_array(mean) && json_is_array(std)) {
        if (json_array_size(mean) != (size_t)c->n_latent || json_array_size(std) != (size_t)c->n_latent)
            return err_set(e, ERR_FORMAT, "VAE: latents_mean and latents_std are not lists of %d numbers",
                           c->n_latent);
        c->has_stats = true;
        for (int i = 0; i < c->n_latent; i++) {
            c->mean[i] = (float)json_number_value(json_array_get(mean, (size_t)i));
            c->std[i] = (float)json_number_value(json_array_get(std, (size_t)i));
        }
    }
    return true;
}

bool vae_config_from_shapes(struct vae_config *c, struct nn_source *s, struct err *e)
{
    *c = (struct vae_config){ .n_latent = (int)nn_dim(s, "decoder.conv_in.weight", 1),
                              .groups = 32,
                              .mid_attention = nn_has(s, "decoder.mid_block.attentions.0.to_q.weight"),
                              .quant_conv = nn_has(s, "quant_conv.weight"),
                              .post_quant_conv = nn_has(s, "post_quant_conv.weight") };
    while (c->n_level < VAE_MAX_LEVELS &&
           nn_has(s, NN("encoder.down_blocks.%d.resnets.0.conv1.weight", c->n_level))) {
        c->channels[c->n_level] =
            (int)nn_dim(s, NN("encoder.down_blocks.%d.resnets.0.conv1.weight", c->n_level), 0);
        c->n_level++;
    }
    while (c->n_res < MAX_RES && nn_has(s, NN("encoder.down_blocks.0.resnets.%d.conv1.weight", c->n_res)))
        c->n_res++;
    bool flux = c->n_latent == 16;
    c->scaling = flux ? 0.3611f : 0.13025f;
    c->shift = flux ? 0.1159f : 0.0f;
    /* Groups are not in the file; every published checkpoint has 32, test-sized ones fewer than 32 channels. */
    while (c->n_level > 0 && c->channels[0] > 0 && c->channels[0] % c->groups != 0) c->groups /= 2;
    if (c->n_level == 0) return err_set(e, ERR_FORMAT, "%s: no autoencoder found in the file", s->what);
    return plausible(c, e);
}

bool vae_locate_diffusers(const void *source, const char *name, struct nn_place *out)
{
    const struct nn_source *s = source;
    static const char *const old[][2] = { { ".to_q.", ".query." },
                                          { ".to_k.", ".key." },
                                          { ".to_v.", ".value." },
                                          { ".to_out.0.", ".proj_attn." } };
    *out = (struct nn_place){ 0 };
    snprintf(out->name, sizeof out->name, "%s", name);
    if (weights_find(s->w, NN("%s%s", s->prefix, name))) return true;
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        const char *at = strstr(name, old[i][0]);
        if (at)
            snprintf(out->name, sizeof out->name, "%.*s%s%s", (int)(at - name), name, old[i][1],
                     at + strlen(old[i][0]));
    }
    return true;
}

bool vae_locate_ldm(const void *config, const char *name, struct nn_place *out)
{
    const struct vae_config *c = config;
    *out = (struct nn_place){ 0 };
    char half[8] = "";
    int i, j, at = 0;
    if (strncmp(name, "quant_conv.", 11) == 0 || strncmp(name, "post_quant_conv.", 16) == 0) {
        snprintf(out->name, sizeof out->name, "%s", name);
        return true;
    }
    if (strncmp(name, "encoder.", 8) != 0 && strncmp(name, "decoder.", 8) != 0) return false;
    memcpy(half, name, 7);
    const char *rest = name + 8;
    bool encoder = half[0] == 'e';
    const char *down_up = encoder ? "down" : "up";

#define PLACE(...) snprintf(out->name, sizeof out->name, __VA_ARGS__)
    if (sscanf(rest, encoder ? "down_blocks.%d.resnets.%d.%n" : "up_blocks.%d.resnets.%d.%n", &i, &j, &at) ==
            2 &&
        at) {
        bool shortcut = strncmp(rest + at, "conv_shortcut", 13) == 0;
        PLACE("%s.%s.%d.block.%d.%s%s", half, down_up, encoder ? i : c->n_level - 1 - i, j,
              shortcut ? "nin_shortcut" : "", rest + at + (shortcut ? 13 : 0));
    } else if (sscanf(rest, "down_blocks.%d.downsamplers.0.conv.%n", &i, &at) == 1 && at) {
        PLACE("%s.down.%d.downsample.conv.%s", half, i, rest + at);
    } else if (sscanf(rest, "up_blocks.%d.upsamplers.0.conv.%n", &i, &at) == 1 && at) {
        PLACE("%s.up.%d.upsample.conv.%s", half, c->n_level - 1 - i, rest + at);
    } else if (sscanf(rest, "mid_block.resnets.%d.%n", &i, &at) == 1 && at) {
        PLACE("%s.mid.block_%d.%s", half, i + 1, rest + at);
    } else if (strncmp(rest, "mid_block.attentions.0.", 23) == 0) {
        static const char *const leaf[][2] = {
            { "group_norm.", "norm." },   { "to_q.", "q." }, { "to_k.", "k." }, { "to_v.", "v." },
            { "to_out.0.", "proj_out." },
        };
        for (size_t k = 0; k < sizeof leaf / sizeof *leaf; k++) {
            size_t len = strlen(leaf[k][0]);
            if (strncmp(rest + 23, leaf[k][0], len) == 0)
                PLACE("%s.mid.attn_1.%s%s", half, leaf[k][1], rest + 23 + len);
        }
    } else if (strncmp(rest, "conv_norm_out.", 14) == 0) {
        PLACE("%s.norm_out.%s", half, rest + 14);
    } else {
        PLACE("%s", name);
    }
#undef PLACE
    return out->name[0] != '\0';
}

/* ---- loading ----------------------------------------------------------------------------------------------- */

static void load_res(struct vae *m, struct nn_source *s, struct vae_res *r, const char *at, int n_in,
                     int n_out)
{
    struct nn_owner *o = &m->own;
    *r = (struct vae_res){
        .n_in = n_in,
        .n_out = n_out,
        .norm1_w = nn_vector(o, s, NN("%s.norm1.weight", at), n_in),
        .norm1_b = nn_vector(o, s, NN("%s.norm1.bias", at), n_in),
        .norm2_w = nn_vector(o, s, NN("%s.norm2.weight", at), n_out),
        .norm2_b = nn_vector(o, s, NN("%s.norm2.bias", at), n_out),
        .conv1 = nn_conv(o, s, NN("%s.conv1", at), n_out, n_in, 3, CONV_ANY, NN_BIAS),
        .conv2 = nn_conv(o, s, NN("%s.conv2", at), n_out, n_out, 3, CONV_ANY, NN_BIAS),
    };
    if (n_in != n_out)
        r->shortcut = nn_conv(o, s, NN("%s.conv_shortcut", at), n_out, n_in, 1, CONV_ANY, NN_BIAS);
}

static void load_mid(struct vae *m, struct nn_source *s, struct vae_half *h, const char *half, int d)
{
    struct nn_owner *o = &m->own;
    for (int i = 0; i < 2; i++) load_res(m, s, &h->mid[i], NN("%s.mid_block.resnets.%d", half, i), d, d);
    if (!m->c.mid_attention) return;
    struct nn_name at = nn_name("%s.mid_block.attentions.0", half);
    struct nn_name q = nn_name("%s.to_q", at.s), k = nn_name("%s.to_k", at.s), v = nn_name("%s.to_v", at.s);
    h->attn = (struct vae_attn){
        .norm_w = nn_vector(o, s, NN("%s.group_norm.weight", at.s), d),
        .norm_b = nn_vector(o, s, NN("%s.group_norm.bias", at.s), d),
        .qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s }, (int64_t[]){ d, d, d }, d,
                              LINEAR_CONCAT, NN_BIAS),
        .out = nn_linear1(o, s, NN("%s.to_out.0", at.s), d, d, NN_BIAS),
    };
}

bool vae_load(struct vae **out, const struct vae_config *c, struct nn_source *s, struct err *e)
{
    struct vae *m = calloc(1, sizeof *m);
    if (!m || !(m->room = calloc(1, sizeof *m->room))) {
        free(m);
        return err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    }
    m->c = *c;
    s->exact = true; /* it is a small part of a picture's time, and its rounding shows in every pixel */
    struct nn_owner *o = &m->own;
    int last = c->n_level - 1, top = c->channels[last], width = c->channels[0];

    struct vae_half *h = &m->enc;
    h->conv_in = nn_conv(o, s, "encoder.conv_in", width, 3, 3, CONV_ANY, NN_BIAS);
    for (int i = 0; i < c->n_level; i++) {
        for (int j = 0; j < c->n_res; j++) {
            load_res(m, s, &h->level[i][j], NN("encoder.down_blocks.%d.resnets.%d", i, j), width,
                     c->channels[i]);
            width = c->channels[i];
        }
        if (i < last) {
            h->resample[i] = nn_conv(o, s, NN("encoder.down_blocks.%d.downsamplers.0.conv", i), width, width,
                                     3, CONV_ANY, NN_BIAS);
        }
    }
    load_mid(m, s, h, "encoder", top);
    h->norm_w = nn_vector(o, s, "encoder.conv_norm_out.weight", top);
    h->norm_b = nn_vector(o, s, "encoder.conv_norm_out.bias", top);
    h->conv_out = nn_conv(o, s, "encoder.conv_out", 2 * c->n_latent, top, 3, CONV_ANY, NN_BIAS);
    if (c->quant_conv)
        m->quant = nn_conv(o, s, "quant_conv", 2 * c->n_latent, 2 * c->n_latent, 1, CONV_ANY, NN_BIAS);

    h = &m->dec;
    if (c->post_quant_conv)
        m->post_quant = nn_conv(o, s, "post_quant_conv", c->n_latent, c->n_latent, 1, CONV_ANY, NN_BIAS);
    h->conv_in = nn_conv(o, s, "decoder.conv_in", top, c->n_latent, 3, CONV_ANY, NN_BIAS);
    load_mid(m, s, h, "decoder", top);
    width = top;
    for (int i = 0; i < c->n_level; i++) {
        int ch = c->channels[last - i];
        for (int j = 0; j <= c->n_res; j++) {
            load_res(m, s, &h->level[i][j], NN("decoder.up_blocks.%d.resnets.%d", i, j), width, ch);
            width = ch;
        }
        if (i < last)
            h->resample[i] = nn_conv(o, s, NN("decoder.up_blocks.%d.upsamplers.0.conv", i), ch, ch, 3,
                                     CONV_DOUBLED, NN_BIAS);
    }
    h->norm_w = nn_vector(o, s, "decoder.conv_norm_out.weight", width);
    h->norm_b = nn_vector(o, s, "decoder.conv_norm_out.bias", width);
    h->conv_out = nn_conv(o, s, "decoder.conv_out", 3, width, 3, CONV_ANY, NN_BIAS);
    float mul[VAE_MAX_LATENT], add[VAE_MAX_LATENT];
    for (int k = 0; k < c->n_latent; k++) {
        mul[k] = c->has_stats ? c->std[k] / c->scaling : 1 / c->scaling;
        add[k] = c->has_stats ? c->mean[k] : c->shift;
    }
    m->unscale = nn_numbers(o, s, mul, c->n_latent);
    m->centre = nn_numbers(o, s, add, c->n_latent);
    if (c->has_stats) m->std = nn_numbers(o, s, c->std, c->n_latent);
    m->precise = s->f32;
    if (!nn_check(s, e)) {
        vae_free(m);
        return false;
    }
    *out = m;
    return true;
}

void vae_free(struct vae *m)
{
    if (!m) return;
    for (int i = 0; m->room && i < 3; i++) device_free(m->room->dev, m->room->v[i]);
    free(m->room);
    nn_owner_free(&m->own);
    free(m);
}

const struct vae_config *vae_config(const struct vae *m) { return &m->c; }

int vae_factor(const struct vae *m) { return 1 << (m->c.n_level - 1); }

/* ---- running ----------------------------------------------------------------------------------------------- */

/* The picture in flight: x [h, w, ch], and two more buffers of the same capacity that steps swap with it. */
struct flow {
    const struct vae *m;
    struct device *dev;
    dev_float *x, *a, *b;
    dev_float *fold; /* [2, widest]: a group norm as scale and shift */
    int h, w, ch, widest;
    const atomic_bool *cancel;
    bool stopped;
};

static void swap(dev_float **p, dev_float **q)
{
    dev_float *t = *p;
    *p = *q;
    *q = t;
}

static bool pause(struct flow *f)
{
    f->stopped |= f->cancel && *f->cancel;
    return f->stopped;
}

static void fold(struct flow *f, const dev_float *x, int ch, const dev_float *w, const dev_float *b)
{
    op_groupnorm_fold(f->dev, f->fold, f->fold + f->widest, x, (int64_t)f->h * f->w, ch, f->m->c.groups, w, b,
                      1e-6f);
}

/* y = conv3x3(silu(norm(x))), added to what is in y with EPI_ADD */
static void norm_conv(struct flow *f, const struct conv *w, const dev_float *x, dev_float *y,
                      enum epilogue epi)
{
    op_conv2d(f->dev, &(struct conv_args){ .w = w,
                                           .x = x,
                                           .y = y,
                                           .h = f->h,
                                           .w_in = f->w,
                                           .pad_top = 1,
                                           .pad_left = 1,
                                           .pad_bottom = 1,
                                           .pad_right = 1,
                                           .epi = epi,
                                           .gn_scale = f->fold,
                                           .gn_shift = f->fold + f->widest,
                                           .in_silu = true });
}

static void res_block(struct flow *f, const struct vae_res *r)
{
    if (pause(f)) return;
    fold(f, f->x, r->n_in, r->norm1_w, r->norm1_b);
    norm_conv(f, r->conv1, f->x, f->a, EPI_STORE);
    fold(f, f->a, r->n_out, r->norm2_w, r->norm2_b);
    if (r->shortcut) {
        op_conv2d(f->dev,
                  &(struct conv_args){ .w = r->shortcut, .x = f->x, .y = f->b, .h = f->h, .w_in = f->w });
        swap(&f->x, &f->b);
    }
    norm_conv(f, r->conv2, f->a, f->x, EPI_ADD);
    f->ch = r->n_out;
}

static bool mid_attention(struct flow *f, const struct vae_attn *t, struct err *e)
{
    int64_t n = (int64_t)f->h * f->w, d = f->ch;
    /* q, k, v of all cells side by side: [n, 3d] */
    dev_float *qkv = device_floats(f->dev, (size_t)n * (size_t)(3 * d), e);
    if (!qkv) return err_wrap(e, "VAE, the attention over %lld cells", (long long)n);
    struct device_arena none = { 0 };
    struct nn_ctx c = { .dev = f->dev, .scratch = &none };
    fold(f, f->x, f->ch, t->norm_w, t->norm_b);
    op_scale_shift(f->dev, f->a, f->x, n, f->ch, f->fold, f->fold + f->widest, false);
    nn_linear_run(&c, &f->m->own, t->qkv,
                  (struct linear_args){ .x = f->a, .ldx = d, .y = qkv, .ldy = 3 * d, .n = n });
    op_attention(f->dev, &(struct attention_args){ .q = qkv,
                                                   .ldq = 3 * d,
                                                   .k = qkv + d,
                                                   .ldk = 3 * d,
                                                   .v = qkv + 2 * d,
                                                   .ldv = 3 * d,
                                                   .out = f->a,
                                                   .ldo = d,
                                                   .n_q = n,
                                                   .n_kv = n,
                                                   .n_head = 1,
                                                   .n_kv_head = 1,
                                                   .head_dim = (int)d,
                                                   .scale = 1.0f / sqrtf((float)d),
                                                   .precise = f->m->precise });
    nn_linear_run(&c, &f->m->own, t->out,
                  (struct linear_args){ .x = f->a, .ldx = d, .y = f->x, .ldy = d, .n = n, .epi = EPI_ADD });
    device_free(f->dev, qkv);
    return true;
}

static bool mid_block(struct flow *f, const struct vae_half *h, struct err *e)
{
    res_block(f, &h->mid[0]);
    if (!f->stopped && f->m->c.mid_attention && !mid_attention(f, &h->attn, e)) return false;
    if (!f->stopped) res_block(f, &h->mid[1]);
    return true;
}

/* Buffers for at most `cells` x channels values each; values is their largest product over the network. */
static bool flow_open(struct flow *f, size_t values, struct err *e)
{
    for (int i = 0; i < f->m->c.n_level; i++) {
        if (f->m->c.channels[i] > f->widest) f->widest = f->m->c.channels[i];
    }
    struct room *r = f->m->room;
    r->dev = f->dev;
    for (int i = 0; r->values < values && i < 3; i++) {
        device_free(r->dev, r->v[i]);
        r->v[i] = NULL;
    }
    bool ok = true;
    for (int i = 0; ok && i < 3; i++) {
        if (!r->v[i]) r->v[i] = device_floats(r->dev, values, e);
        ok = r->v[i] != NULL;
    }
    if (ok && r->values < values) r->values = values;
    f->x = r->v[0];
    f->a = r->v[1];
    f->b = r->v[2];
    f->fold = ok ? device_floats(f->dev, 2 * (size_t)f->widest, e) : NULL;
    if (f->fold) return true;
    r->values = ok ? r->values : 0;
    return err_wrap(e, "VAE, a picture of %dx%d cells", f->w, f->h);
}

static void flow_close(struct flow *f)
{
    const struct room *r = f->m->room;
    for (int i = 0; i < 3; i++) device_lend(f->dev, r->v[i], r->values * sizeof *r->v[i]);
    device_free(f->dev, f->fold);
}

/* One tile: latent cells [n_latent, h, w] of planes whose rows are w_all wide -> f->a: rgb [h*factor, w*factor, 3], until
 * flow_close(f), which the caller owes whatever the end. */
static bool decode_tile(struct flow *f, const dev_float *latent, int64_t plane, int w_all, struct err *e)
{
    const struct vae *m = f->m;
    const struct vae_config *c = &m->c;
    const struct vae_half *d = &m->dec;
    struct device *dev = f->dev;
    const int h = f->h, w = f->w;
    /* The largest step: a level's input channels at its own resolution (twice the cells after each upsampling). */
    size_t cells = (size_t)h * (size_t)w, values = cells * (size_t)c->channels[c->n_level - 1];
    for (int i = 0; i < c->n_level; i++) {
        int ch = c->channels[c->n_level - 1 - i];
        int in = i ? c->channels[c->n_level - i] : ch;
        size_t v = (cells << (2 * i)) * (size_t)(in > ch ? in : ch);
        if (v > values) values = v;
    }
    bool ok = flow_open(f, values, e);
    if (ok) {
        op_from_planes(dev, &(struct planes_args){ .y = f->x,
                                                   .x = latent,
                                                   .c = c->n_latent,
                                                   .h = h,
                                                   .w = w,
                                                   .plane = plane,
                                                   .row = w_all,
                                                   .mul = m->unscale,
                                                   .add = m->centre });
        if (m->post_quant) {
            op_conv2d(dev,
                      &(struct conv_args){ .w = m->post_quant, .x = f->x, .y = f->a, .h = h, .w_in = w });
            swap(&f->x, &f->a);
        }
        op_conv2d(dev, &(struct conv_args){ .w = d->conv_in,
                                            .x = f->x,
                                            .y = f->a,
                                            .h = h,
                                            .w_in = w,
                                            .pad_top = 1,
                                            .pad_left = 1,
                                            .pad_bottom = 1,
                                            .pad_right = 1 });
        swap(&f->x, &f->a);
        f->ch = c->channels[c->n_level - 1];
        ok = mid_block(f, d, e);
    }
    for (int i = 0; ok && !f->stopped && i < c->n_level; i++) {
        for (int j = 0; j <= c->n_res && !f->stopped; j++) res_block(f, &d->level[i][j]);
        if (d->resample[i] && !f->stopped) {
            op_conv2d(dev, &(struct conv_args){ .w = d->resample[i],
                                                .x = f->x,
                                                .y = f->a,
                                                .h = f->h,
                                                .w_in = f->w,
                                                .pad_top = 1,
                                                .pad_left = 1,
                                                .pad_bottom = 1,
                                                .pad_right = 1,
                                                .upsample = 2 });
            swap(&f->x, &f->a);
            f->h *= 2;
            f->w *= 2;
        }
    }
    if (ok && !f->stopped) {
        fold(f, f->x, f->ch, d->norm_w, d->norm_b);
        norm_conv(f, d->conv_out, f->x, f->a, EPI_STORE);
    }
    if (ok && f->stopped) ok = err_set(e, ERR_CANCELLED, "cancelled");
    return ok;
}

bool vae_decode(const struct vae *m, struct device *dev, const dev_float *latent, int h, int w, int tile,
                dev_float *picture, const atomic_bool *cancel, struct err *e)
{
    const int64_t plane = (int64_t)h * w;
    const int factor = vae_factor(m);
    const int64_t pixels = plane * factor * factor;
    bool ok = true;
    if (tile <= 0 || (h <= tile && w <= tile)) {
        struct flow f = { .m = m, .dev = dev, .h = h, .w = w, .cancel = cancel };
        ok = decode_tile(&f, latent, plane, w, e);
        if (ok) device_copy(dev, picture, f.a, (size_t)pixels * 3);
        flow_close(&f);
        return ok;
    }

    const int step = tile * 3 / 4 > 0 ? tile * 3 / 4 : 1;
    dev_float *weight = device_floats(dev, (size_t)pixels, e);
    if (!weight) return err_wrap(e, "VAE, blending tiles of %dx%d", w, h);
    op_fill(dev, weight, 0, pixels);
    op_fill(dev, picture, 0, pixels * 3);
    for (int y0 = 0; ok && y0 < h; y0 += step) {
        int th = h - y0 < tile ? h - y0 : tile;
        for (int x0 = 0; ok && x0 < w; x0 += step) {
            int tw = w - x0 < tile ? w - x0 : tile;
            struct flow f = { .m = m, .dev = dev, .h = th, .w = tw, .cancel = cancel };
            ok = decode_tile(&f, latent + (int64_t)y0 * w + x0, plane, w, e);
            if (ok)
                op_tile(dev, &(struct tile_args){
                                 .picture = picture,
                                 .weight = weight,
                                 .tile = f.a,
                                 .h = th * factor,
                                 .w = tw * factor,
                                 .c = 3,
                                 .y0 = y0 * factor,
                                 .x0 = x0 * factor,
                                 .wide = w * factor,
                                 .lap = (tile - step) * factor,
                                 .outer = (y0 == 0 ? TILE_TOP : 0u) | (y0 + th == h ? TILE_BOTTOM : 0u) |
                                          (x0 == 0 ? TILE_LEFT : 0u) | (x0 + tw == w ? TILE_RIGHT : 0u) });
            flow_close(&f);
            if (x0 + tw == w) break;
        }
        if (y0 + th == h) break;
    }
    if (ok) op_untile(dev, picture, weight, pixels, 3);
    device_free(dev, weight);
    return ok;
}

bool vae_encode(const struct vae *m, struct device *dev, const dev_float *picture, int h, int w,
                const dev_float *noise, dev_float *latent, const atomic_bool *cancel, struct err *e)
{
    const struct vae_config *c = &m->c;
    const struct vae_half *n = &m->enc;
    struct flow f = { .m = m, .dev = dev, .h = h, .w = w, .cancel = cancel };
    size_t cells = (size_t)h * (size_t)w, values = 0;
    for (int i = 0; i < c->n_level; i++) {
        int in = i ? c->channels[i - 1] : c->channels[0];
        size_t v = (cells >> (2 * i)) * (size_t)(in > c->channels[i] ? in : c->channels[i]);
        if (v > values) values = v;
    }
    bool ok = flow_open(&f, values, e);
    if (ok) {
        op_conv2d(dev, &(struct conv_args){ .w = n->conv_in,
                                            .x = picture,
                                            .y = f.x,
                                            .h = h,
                                            .w_in = w,
                                            .pad_top = 1,
                                            .pad_left = 1,
                                            .pad_bottom = 1,
                                            .pad_right = 1 });
        f.ch = c->channels[0];
    }
    for (int i = 0; ok && !f.stopped && i < c->n_level; i++) {
        for (int j = 0; j < c->n_res && !f.stopped; j++) res_block(&f, &n->level[i][j]);
        if (n->resample[i] && !f.stopped) {
            /* Padded right and below only: the original network's habit. */
            op_conv2d(dev, &(struct conv_args){ .w = n->resample[i],
                                                .x = f.x,
                                                .y = f.a,
                                                .h = f.h,
                                                .w_in = f.w,
                                                .stride = 2,
                                                .pad_bottom = 1,
                                                .pad_right = 1 });
            swap(&f.x, &f.a);
            f.h /= 2;
            f.w /= 2;
        }
    }
    if (ok && !f.stopped) ok = mid_block(&f, n, e);
    if (ok && !f.stopped) {
        fold(&f, f.x, f.ch, n->norm_w, n->norm_b);
        norm_conv(&f, n->conv_out, f.x, f.a, EPI_STORE);
        if (m->quant) {
            op_conv2d(dev, &(struct conv_args){ .w = m->quant, .x = f.a, .y = f.b, .h = f.h, .w_in = f.w });
            swap(&f.a, &f.b);
        }
        op_posterior(dev, &(struct posterior_args){ .y = latent,
                                                    .moments = f.a,
                                                    .noise = noise,
                                                    .shift = m->centre,
                                                    .std = m->std,
                                                    .scaling = c->scaling,
                                                    .c = c->n_latent,
                                                    .plane = (int64_t)f.h * f.w });
    }
    if (ok && f.stopped) ok = err_set(e, ERR_CANCELLED, "cancelled");
    flow_close(&f);
    return ok;
}
