/* unet_config.c - what a UNet looks like, from its config.json or from the shapes of an LDM checkpoint, and the names of the latter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/config_keys.h"
#include "image/unet.h"

/* Relatives of SDXL that would load: what else they are fed is not known here. */
static bool is_base(const struct unet_config *c, struct err *e)
{
    if (c->n_in != c->n_out) {
        return err_set(e, ERR_UNSUPPORTED,
                       "UNet: takes %d channels and gives %d: an inpainting or editing model, which is not "
                       "supported (masks and input pictures work with the base model)",
                       c->n_in, c->n_out);
    }
    if (c->n_level == 4 && c->n_context == 1280 && c->n_added == 2560) {
        return err_set(e, ERR_UNSUPPORTED,
                       "UNet: an SDXL refiner finishes another model's pictures and is not supported; the "
                       "base model is");
    }
    return true;
}

static bool plausible(const struct unet_config *c, struct err *e)
{
    bool ok = c->n_in > 0 && c->n_out > 0 && c->n_level > 0 && c->n_level <= UNET_LEVELS && c->n_res > 0 &&
              c->n_res < UNET_RES && c->n_context > 0 && c->n_time_id > 0 && c->n_time_id % 2 == 0 &&
              c->n_added > 6 * c->n_time_id && c->groups > 0 && c->channels[0] % 2 == 0;
    for (int i = 0; ok && i < c->n_level; i++) {
        ok = c->channels[i] > 0 && c->channels[i] % c->groups == 0 && c->n_head[i] > 0 &&
             c->channels[i] % c->n_head[i] == 0;
        for (int j = 0; ok && j <= c->n_res; j++) {
            ok = c->down_depth[i][j] >= 0 && c->down_depth[i][j] < 100 && c->up_depth[i][j] >= 0 &&
                 c->up_depth[i][j] < 100;
        }
    }
    if (ok) return is_base(c, e);
    return err_set(e, ERR_FORMAT,
                   "UNet: impossible sizes (%d levels from %d channels, %d res blocks, context %d, added %d)",
                   c->n_level, c->channels[0], c->n_res, c->n_context, c->n_added);
}

/* Depth j of an entry that is a number for the whole level, or a list with one a res block. */
static int depth_of(const json_t *entry, int j)
{
    if (json_is_integer(entry)) return (int)json_integer_value(entry);
    return (int)json_integer_value(json_array_get(entry, (size_t)j));
}

/* Entry i of a value that is a number for all levels or a list. */
static const json_t *level_of(const json_t *v, int i)
{
    return json_is_array(v) ? json_array_get(v, (size_t)i) : v;
}

static bool has_attention(const json_t *types, int i)
{
    const char *t = json_string_value(json_array_get(types, (size_t)i));
    return t && strstr(t, "CrossAttn") != NULL;
}

/* Parts that SDXL does without have one value: a UNet that has one is another network, though its other tensors are all there. */
static const struct config_key known[] = {
    { "sample_size", NULL },
    { "in_channels", NULL },
    { "out_channels", NULL },
    { "block_out_channels", NULL },
    { "down_block_types", NULL },
    { "up_block_types", NULL },
    { "mid_block_type", NULL },
    { "layers_per_block", NULL },
    { "norm_num_groups", NULL },
    { "norm_eps", NULL },
    { "cross_attention_dim", NULL },
    { "transformer_layers_per_block", NULL },
    { "reverse_transformer_layers_per_block", NULL },
    { "attention_head_dim", NULL },
    { "num_attention_heads", NULL },
    { "addition_time_embed_dim", NULL },
    { "projection_class_embeddings_input_dim", NULL },
    { "addition_embed_type", "[\"text_time\"]" },
    { "use_linear_projection", "[true]" },
    { "act_fn", "[\"silu\", \"swish\"]" },
    { "downsample_padding", "[1]" },
    { "mid_block_scale_factor", "[1]" },
    { "resnet_out_scale_factor", "[1]" },
    { "conv_in_kernel", "[3]" },
    { "conv_out_kernel", "[3]" },
    { "center_input_sample", "[false, null]" },
    { "flip_sin_to_cos", "[true]" },
    { "freq_shift", "[0]" },
    { "only_cross_attention", "[false, null]" },
    { "dual_cross_attention", "[false, null]" },
    { "class_embed_type", "[null]" },
    { "num_class_embeds", "[null]" },
    { "class_embeddings_concat", "[false, null]" },
    { "encoder_hid_dim", "[null]" },
    { "encoder_hid_dim_type", "[null]" },
    { "time_cond_proj_dim", "[null]" },
    { "time_embedding_dim", "[null]" },
    { "time_embedding_type", "[\"positional\"]" },
    { "time_embedding_act_fn", "[null]" },
    { "timestep_post_act", "[null]" },
    { "resnet_time_scale_shift", "[\"default\"]" },
    { "resnet_skip_time_act", "[false, null]" },
    { "attention_type", "[\"default\"]" },
    { "cross_attention_norm", "[null]" },
    { "mid_block_only_cross_attention", "[null, false]" },
    /* Without effect here: of training, of the precision of half floats, of other kinds of conditioning. */
    { "dropout", NULL },
    { "upcast_attention", NULL },
    { "addition_embed_type_num_heads", NULL },
};

/* A number, or a list that has it for every level; -1: otherwise. */
static int same_for_all(const json_t *config, const char *key, int fallback)
{
    const json_t *v = json_object_get(config, key);
    if (!json_is_array(v)) return nn_config_int(config, key, fallback);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        if (!json_is_integer(one) || !json_equal(one, json_array_get(v, 0))) return -1;
    }
    return json_array_size(v) ? (int)json_integer_value(json_array_get(v, 0)) : -1;
}

/* Every block is of one of two kinds. */
static bool plain_blocks(const json_t *config, const char *key, const char *without, const char *with,
                         size_t n, struct err *e)
{
    const json_t *list = json_object_get(config, key), *one;
    size_t i;
    if (json_array_size(list) != n) return err_set(e, ERR_FORMAT, "UNet: %s is not a list of %zu", key, n);
    json_array_foreach(list, i, one)
    {
        const char *t = json_string_value(one);
        if (t && (strcmp(t, without) == 0 || strcmp(t, with) == 0)) continue;
        return err_set(e, ERR_UNSUPPORTED, "UNet: %s \"%.40s\" is not supported (%s and %s are)", key,
                       t ? t : "", without, with);
    }
    return true;
}

bool unet_config_knows(const char *key) { return config_key_known(known, sizeof known / sizeof *known, key); }

bool unet_config_from_json(struct unet_config *c, const json_t *config, struct err *e)
{
    const json_t *widths = json_object_get(config, "block_out_channels");
    const json_t *heads = json_object_get(config, "num_attention_heads");
    if (!heads || json_is_null(heads))
        heads = json_object_get(config, "attention_head_dim"); /* a number of heads, despite its name */
    const json_t *depth = json_object_get(config, "transformer_layers_per_block");
    const json_t *reverse = json_object_get(config, "reverse_transformer_layers_per_block");
    const json_t *down = json_object_get(config, "down_block_types"),
                 *up = json_object_get(config, "up_block_types");
    const json_t *mid = json_object_get(config, "mid_block_type"), *eps = json_object_get(config, "norm_eps");
    if (!config_keys_check(config, known, sizeof known / sizeof *known, "UNet", e)) return false;
    /* What is absent has the class's default, which is not SDXL's for these. */
    static const char *const must[] = { "addition_embed_type", "use_linear_projection" };
    for (size_t i = 0; i < 2; i++) {
        if (!json_object_get(config, must[i]))
            return err_set(e, ERR_UNSUPPORTED, "UNet: %s is absent: not a UNet of SDXL's kind", must[i]);
    }
    if (!plain_blocks(config, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D",
                      json_array_size(widths), e) ||
        !plain_blocks(config, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", json_array_size(widths),
                      e))
        return false;
    *c = (struct unet_config){
        .n_in = nn_config_int(config, "in_channels", 4),
        .n_out = nn_config_int(config, "out_channels", 4),
        .n_level = json_array_size(widths) <= UNET_LEVELS ? (int)json_array_size(widths) : 0,
        .n_res = same_for_all(config, "layers_per_block", 2),
        .n_context = same_for_all(config, "cross_attention_dim", 1280),
        .n_added = nn_config_int(config, "projection_class_embeddings_input_dim", 2816),
        .n_time_id = nn_config_int(config, "addition_time_embed_dim", 256),
        .groups = nn_config_int(config, "norm_num_groups", 32),
        .eps = json_is_number(eps) ? (float)json_number_value(eps) : 1e-5f,
        .n_sample = nn_config_int(config, "sample_size", UNET_SAMPLE),
    };
    if (c->n_sample < 1 || c->n_sample > 4096)
        return err_set(e, ERR_FORMAT, "UNet: sample_size is not a number from 1 to 4096");
    if (c->n_res < 1 || c->n_res >= UNET_RES) return plausible(c, e);
    for (int i = 0; i < c->n_level; i++) {
        int rev = c->n_level - 1 - i;
        c->channels[i] = (int)json_integer_value(json_array_get(widths, (size_t)i));
        c->n_head[i] = (int)json_integer_value(level_of(heads, i));
        for (int j = 0; j <= c->n_res; j++) {
            if (j < c->n_res && has_attention(down, i))
                c->down_depth[i][j] = depth ? depth_of(level_of(depth, i), j) : 1;
            if (!has_attention(up, i)) continue;
            const json_t *entry =
                reverse && !json_is_null(reverse) ? level_of(reverse, i) : level_of(depth, rev);
            c->up_depth[i][j] = entry ? depth_of(entry, j) : 1;
        }
    }
    const char *kind = json_is_null(mid)        ? ""
                       : json_string_value(mid) ? json_string_value(mid)
                                                : "UNetMidBlock2DCrossAttn";
    if (strcmp(kind, "UNetMidBlock2DCrossAttn") == 0) {
        c->mid = true;
        c->mid_res = 2;
        c->mid_depth = c->n_level && depth ? depth_of(level_of(depth, c->n_level - 1), 0) : 1;
    } else if (strcmp(kind, "UNetMidBlock2D") == 0) {
        c->mid_res = 1;
    } else if (kind[0] != '\0') {
        return err_set(e, ERR_UNSUPPORTED, "UNet: mid_block_type \"%s\" is not supported", kind);
    }
    return plausible(c, e);
}

/* Transformer blocks of the attention with this name. */
static int depth_in(struct nn_source *s, const char *attention)
{
    int n = 0;
    while (n < 100 && nn_has(s, NN("%s.transformer_blocks.%d.norm1.weight", attention, n))) n++;
    return n;
}

bool unet_config_from_shapes(struct unet_config *c, struct nn_source *s, struct err *e)
{
    *c = (struct unet_config){ .n_res = 2, /* an LDM checkpoint's names count by it */
                               .n_time_id = 256,
                               .groups = 32,
                               .eps = 1e-5f,
                               .n_sample = UNET_SAMPLE };
    c->n_in = (int)nn_dim(s, "conv_in.weight", 1);
    c->n_out = (int)nn_dim(s, "conv_out.weight", 0);
    c->n_added = (int)nn_dim(s, "add_embedding.linear_1.weight", 1);
    for (int i = 0; i < UNET_LEVELS; i++) {
        int64_t width = nn_dim(s, NN("down_blocks.%d.resnets.0.conv1.weight", i), 0);
        if (width == 0) break;
        c->channels[c->n_level] = (int)width;
        c->n_head[c->n_level++] = (int)(width / 64);
    }
    for (int i = 0; i < c->n_level; i++) {
        for (int j = 0; j <= c->n_res; j++) {
            if (j < c->n_res) c->down_depth[i][j] = depth_in(s, NN("down_blocks.%d.attentions.%d", i, j));
            c->up_depth[i][j] = depth_in(s, NN("up_blocks.%d.attentions.%d", i, j));
            if (j == c->n_res || c->down_depth[i][j] == 0) continue;
            c->n_context = (int)nn_dim(
                s, NN("down_blocks.%d.attentions.%d.transformer_blocks.0.attn2.to_k.weight", i, j), 1);
        }
    }
    c->mid_depth = depth_in(s, "mid_block.attentions.0");
    c->mid = c->mid_depth > 0;
    c->mid_res = c->mid ? 2 : nn_has(s, "mid_block.resnets.0.norm1.weight");
    if (c->n_level == 0) return err_set(e, ERR_FORMAT, "%s: no SDXL UNet found in the file", s->what);
    return plausible(c, e);
}

bool unet_locate_ldm(const void *config, const char *name, struct nn_place *out)
{
    const struct unet_config *c = config;
    static const char *const outer[][2] = {
        { "time_embedding.linear_1.", "time_embed.0." },
        { "time_embedding.linear_2.", "time_embed.2." },
        { "add_embedding.linear_1.", "label_emb.0.0." },
        { "add_embedding.linear_2.", "label_emb.0.2." },
        { "conv_in.", "input_blocks.0.0." },
        { "conv_norm_out.", "out.0." },
        { "conv_out.", "out.2." },
    };
    static const char *const leaf[][2] = {
        { "norm1.", "in_layers.0." },          { "conv1.", "in_layers.2." },
        { "time_emb_proj.", "emb_layers.1." }, { "norm2.", "out_layers.0." },
        { "conv2.", "out_layers.3." },         { "conv_shortcut.", "skip_connection." },
    };
    *out = (struct nn_place){ 0 };
    for (size_t i = 0; i < sizeof outer / sizeof *outer; i++) {
        size_t n = strlen(outer[i][0]);
        if (strncmp(name, outer[i][0], n) == 0) {
            snprintf(out->name, sizeof out->name, "%s%s", outer[i][1], name + n);
            return true;
        }
    }
    char place[64];
    int b, j, at = 0, up_width = c->n_res + 1, down_width = c->n_res + 1;
    bool res = false;
    if (sscanf(name, "down_blocks.%d.resnets.%d.%n", &b, &j, &at) == 2 && at) {
        snprintf(place, sizeof place, "input_blocks.%d.0.", b * down_width + 1 + j);
        res = true;
    } else if (sscanf(name, "down_blocks.%d.attentions.%d.%n", &b, &j, &at) == 2 && at) {
        snprintf(place, sizeof place, "input_blocks.%d.1.", b * down_width + 1 + j);
    } else if (sscanf(name, "down_blocks.%d.downsamplers.0.conv.%n", &b, &at) == 1 && at) {
        snprintf(place, sizeof place, "input_blocks.%d.0.op.", (b + 1) * down_width);
    } else if (sscanf(name, "mid_block.resnets.%d.%n", &j, &at) == 1 && at) {
        snprintf(place, sizeof place, "middle_block.%d.", j * 2);
        res = true;
    } else if (sscanf(name, "mid_block.attentions.%d.%n", &j, &at) == 1 && at) {
        snprintf(place, sizeof place, "middle_block.1.");
    } else if (sscanf(name, "up_blocks.%d.resnets.%d.%n", &b, &j, &at) == 2 && at) {
        snprintf(place, sizeof place, "output_blocks.%d.0.", b * up_width + j);
        res = true;
    } else if (sscanf(name, "up_blocks.%d.attentions.%d.%n", &b, &j, &at) == 2 && at) {
        snprintf(place, sizeof place, "output_blocks.%d.1.", b * up_width + j);
    } else if (sscanf(name, "up_blocks.%d.upsamplers.0.conv.%n", &b, &at) == 1 && at) {
        bool attention = b >= 0 && b < c->n_level && c->up_depth[b][c->n_res] > 0;
        snprintf(place, sizeof place, "output_blocks.%d.%d.conv.", b * up_width + c->n_res,
                 attention ? 2 : 1);
    } else {
        return false;
    }
    const char *rest = name + at;
    for (size_t i = 0; res && i < sizeof leaf / sizeof *leaf; i++) {
        size_t n = strlen(leaf[i][0]);
        if (strncmp(rest, leaf[i][0], n) == 0) {
            snprintf(out->name, sizeof out->name, "%s%s%s", place, leaf[i][1], rest + n);
            return true;
        }
    }
    snprintf(out->name, sizeof out->name, "%s%s", place, rest);
    return true;
}
