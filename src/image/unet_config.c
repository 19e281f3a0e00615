/* unet_config.c - what a UNet looks like, from its config.json or from the shapes of an LDM checkpoint, and the names of the latter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static bool only(const json_t *config, const char *key, const char *want, struct err *e)
{
    const char *v = json_string_value(json_object_get(config, key));
    if (v && strcmp(v, want) == 0) return true;
    return err_set(e, ERR_UNSUPPORTED, "UNet: %s \"%s\" is not supported (only %s)", key, v ? v : "(absent)",
                   want);
}

/* Parts that SDXL does without: a UNet that has one is another network, though its other tensors are all there. */
static bool is_plain(const json_t *config, struct err *e)
{
    static const char *const absent[] = { "time_cond_proj_dim",    "class_embed_type",
                                          "num_class_embeds",      "encoder_hid_dim_type",
                                          "time_embedding_act_fn", "cross_attention_norm",
                                          "timestep_post_act" };
    static const char *const off[] = { "dual_cross_attention", "only_cross_attention", "center_input_sample",
                                       "class_embeddings_concat", "resnet_skip_time_act" };
    static const char *const words[][2] = { { "resnet_time_scale_shift", "default" },
                                            { "time_embedding_type", "positional" },
                                            { "attention_type", "default" },
                                            { "act_fn", "silu" } };
    const char *key = NULL;
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        const json_t *v = json_object_get(config, absent[i]);
        if (v && !json_is_null(v)) key = absent[i];
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        if (json_is_true(json_object_get(config, off[i]))) key = off[i];
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *v = json_string_value(json_object_get(config, words[i][0]));
        if (v && strcmp(v, words[i][1]) != 0) key = words[i][0];
    }
    if (json_is_false(json_object_get(config, "flip_sin_to_cos"))) key = "flip_sin_to_cos";
    if (json_number_value(json_object_get(config, "freq_shift")) != 0) key = "freq_shift";
    if (!key) return true;
    char *v = json_dumps(json_object_get(config, key), JSON_ENCODE_ANY);
    err_set(e, ERR_UNSUPPORTED, "UNet: %s %.60s is not supported", key, v ? v : "");
    free(v);
    return false;
}

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
    if (!only(config, "addition_embed_type", "text_time", e) || !is_plain(config, e)) return false;
    if (!json_is_true(json_object_get(config, "use_linear_projection"))) {
        return err_set(e, ERR_UNSUPPORTED, "UNet: use_linear_projection false is not supported");
    }
    *c = (struct unet_config){
        .n_in = nn_config_int(config, "in_channels", 4),
        .n_out = nn_config_int(config, "out_channels", 4),
        .n_level = json_array_size(widths) <= UNET_LEVELS ? (int)json_array_size(widths) : 0,
        .n_res = nn_config_int(config, "layers_per_block", 2),
        .n_context = nn_config_int(config, "cross_attention_dim", 2048),
        .n_added = nn_config_int(config, "projection_class_embeddings_input_dim", 2816),
        .n_time_id = nn_config_int(config, "addition_time_embed_dim", 256),
        .groups = nn_config_int(config, "norm_num_groups", 32),
        .eps = json_is_number(eps) ? (float)json_number_value(eps) : 1e-5f,
    };
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

bool unet_config_from_shapes(struct unet_config *c, struct nn_source *s, struct err *e)
{
    struct nn_source file = *s;
    file.locate = NULL;
    *c = (struct unet_config){
        .n_in = (int)nn_dim(&file, "input_blocks.0.0.weight", 1),
        .n_out = (int)nn_dim(&file, "out.2.weight", 0),
        .n_res = 2,
        .n_added = (int)nn_dim(&file, "label_emb.0.0.weight", 1),
        .n_time_id = 256,
        .groups = 32,
        .eps = 1e-5f,
    };
    for (int i = 0; i < UNET_LEVELS;
         i++) { /* level i: res blocks input_blocks 3i+1, 3i+2; then a downsampler 3i+3 */
        int64_t width = nn_dim(&file, NN("input_blocks.%d.0.in_layers.2.weight", 3 * i + 1), 0);
        if (width == 0) break;
        c->channels[c->n_level] = (int)width;
        c->n_head[c->n_level++] = (int)(width / 64);
    }
    for (int i = 0; i < c->n_level; i++) {
        for (int j = 0; j <= c->n_res; j++) {
            while (j < c->n_res && c->down_depth[i][j] < 100 &&
                   nn_has(&file, NN("input_blocks.%d.1.transformer_blocks.%d.norm1.weight", 3 * i + 1 + j,
                                    c->down_depth[i][j]))) {
                c->down_depth[i][j]++;
            }
            while (c->up_depth[i][j] < 100 &&
                   nn_has(&file, NN("output_blocks.%d.1.transformer_blocks.%d.norm1.weight", 3 * i + j,
                                    c->up_depth[i][j]))) {
                c->up_depth[i][j]++;
            }
            if (j < c->n_res && c->down_depth[i][j]) {
                c->n_context = (int)nn_dim(
                    &file, NN("input_blocks.%d.1.transformer_blocks.0.attn2.to_k.weight", 3 * i + 1 + j), 1);
            }
        }
    }
    while (c->mid_depth < 100 &&
           nn_has(&file, NN("middle_block.1.transformer_blocks.%d.norm1.weight", c->mid_depth))) {
        c->mid_depth++;
    }
    c->mid = c->mid_depth > 0;
    c->mid_res = c->mid ? 2 : nn_has(&file, "middle_block.0.in_layers.0.weight");
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
