/* pipeline_sdxl.c - SDXL and what is built like it: a UNet, the hidden states of two CLIP encoders side by side (or of one), sizes as
 * conditions. */
#include "image/pipeline_files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int n_encoders(const struct pipeline *p) { return p->one_encoder ? 1 : 2; }

static int n_tokens(const struct pipeline *p)
{
    int least = INT_MAX;
    for (int i = 0; i < n_encoders(p); i++) {
        int n = p->clip_tokenizer[i] ? clip_tokenizer_max(p->clip_tokenizer[i])
                                     : t5_tokenizer_max(p->spm_tokenizer[i]),
            most = clip_config(p->clip[i])->n_pos;
        if (n > most) n = most;
        if (n < least) least = n;
    }
    return least;
}

static int n_pooled(const struct pipeline *p)
{
    const struct unet_config *k = unet_config(p->unet);
    return k->n_added - 6 * k->n_time_id;
}

static bool tokens(const struct pipeline *p, int which, const char *prompt, int32_t *ids, int n,
                   struct err *e)
{
    size_t len = strlen(prompt);
    bool ok = p->clip_tokenizer[which]
                  ? clip_tokenizer_encode(p->clip_tokenizer[which], prompt, len, ids, n, NULL, e)
                  : t5_tokenizer_encode(p->spm_tokenizer[which], prompt, len, ids, n, NULL, e);
    return ok && pipeline_ids_fit(ids, n, clip_config(p->clip[which])->n_vocab, e);
}

/* Context: penultimate layers of both encoders side by side; pooled: the second's projection. Without a second one, zeros. */
static bool encode_prompt(const struct pipeline *p, struct nn_ctx *c, const char *prompt, int clip_skip,
                          struct conditioning *out, struct err *e)
{
    int n = n_tokens(p), wide = unet_config(p->unet)->n_context, at = 0;
    const size_t mark = nn_mark(c);
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    bool ok = ids || err_set(e, ERR_NOMEM, "no memory for the prompt's tokens");
    op_fill(c->dev, out->context, 0, (int64_t)n * wide);
    op_fill(c->dev, out->pooled, 0, n_pooled(p));
    for (int i = 0; ok && i < n_encoders(p); i++) {
        int d = clip_config(p->clip[i])->n_embd;
        dev_float *hidden = nn_alloc(c, (int64_t)n * d);
        if (!(ok = tokens(p, i, prompt, ids, n, e))) break;
        clip_encode(p->clip[i], c, ids, n, clip_skip + 1, hidden, i == 1 ? out->pooled : NULL);
        op_copy_rows(c->dev, out->context + at, wide, hidden, d, n, d);
        at += d;
    }
    free(ids);
    nn_reset(c, mark);
    return ok;
}

static bool encode(const struct pipeline *p, struct nn_ctx *c, const struct image_request *r,
                   struct conditioning *positive, struct conditioning *negative, struct err *e)
{
    int n = n_tokens(p), wide = unet_config(p->unet)->n_context;
    struct conditioning *both[] = { positive, negative };
    for (int i = 0; i < 2; i++) {
        *both[i] = (struct conditioning){ .n_text = n,
                                          .context = nn_alloc(c, (int64_t)n * wide),
                                          .pooled = nn_alloc(c, n_pooled(p)) };
    }
    if (!encode_prompt(p, c, r->prompt, r->clip_skip, positive, e)) return false;
    if (r->guidance <= 1) return true; /* no second pass */
    if (!r->negative_prompt && p->zero_empty_negative) {
        op_fill(c->dev, negative->context, 0, (int64_t)n * wide);
        op_fill(c->dev, negative->pooled, 0, n_pooled(p));
        return true;
    }
    /* The reference skips layers for what is wanted only. */
    return encode_prompt(p, c, r->negative_prompt ? r->negative_prompt : "", 0, negative, e);
}

static bool predict(const struct pipeline *p, struct nn_ctx *c, const struct schedule *s, int i,
                    const dev_float *x, int h, int w, const struct conditioning *positive,
                    const struct conditioning *negative, float guidance, dev_float *out,
                    const atomic_bool *cancel)
{
    const size_t mark = nn_mark(c);
    int channels = vae_config(p->vae)->n_latent, factor = vae_factor(p->vae);
    int64_t plane = (int64_t)h * w, n = channels * plane;
    dev_float *in = nn_alloc(c, n), *got[2] = { nn_alloc(c, n), nn_alloc(c, n) };
    struct planes_args pixels = { .y = in, .x = x, .c = channels, .h = h, .w = w, .plane = plane, .row = w };
    op_from_planes(c->dev, &pixels);
    op_scale(c->dev, in, in, (float)schedule_input_scale(s, i), n);
    float height = (float)(h * factor), width = (float)(w * factor);
    const float ids[6] = { height, width, 0, 0, height, width };
    bool guided = guidance > 1, go = true;
    for (int pass = 0; pass < (guided ? 2 : 1) && go; pass++) {
        const struct conditioning *k = pass ? negative : positive;
        go = unet_forward(p->unet, c, in, h, w, schedule_time(s, i), k->context, k->n_text, k->pooled, ids,
                          got[pass], cancel);
    }
    if (go) {
        if (guided) op_guide(c->dev, got[0], got[0], got[1], guidance, n);
        pixels.x = got[0];
        pixels.y = out;
        op_to_planes(c->dev, &pixels);
    }
    nn_reset(c, mark);
    return go;
}

static size_t scratch(const struct pipeline *p, int h, int w, bool negative)
{
    (void)negative;
    size_t n = (size_t)n_tokens(p), wide = (size_t)unet_config(p->unet)->n_context;
    size_t values = (size_t)vae_config(p->vae)->n_latent * (size_t)h * (size_t)w;
    size_t run = unet_scratch(p->unet, h, w, (int)n), text = 0;
    for (int i = 0; i < n_encoders(p); i++) {
        size_t clip = clip_scratch(p->clip[i], (int)n);
        if (clip > text) text = clip;
    }
    text += arena_cost(n * wide, 4) * 2;
    if (text > run) run = text;
    return run + 2 * (arena_cost(n * wide, 4) + arena_cost((size_t)n_pooled(p), 4)) +
           3 * arena_cost(values, 4);
}

static int lora_targets(const struct pipeline *p, struct nn_lora_target *out)
{
    static const char *const dot[] = { "unet.", "diffusion_model.", "model.diffusion_model.", "", NULL };
    static const char *const flat[] = { "lora_unet_", NULL };
    static const char *const te_dot[][3] = { { "text_encoder.", "text_encoder.text_model.", NULL },
                                             { "text_encoder_2.", "text_encoder_2.text_model.", NULL } };
    static const char *const te_flat[][3] = { { "lora_te1_", "lora_te1_text_model_", NULL },
                                              { "lora_te2_", "lora_te2_text_model_", NULL } };
    out[0] = (struct nn_lora_target){ unet_owner(p->unet), dot, flat, unet_locate_ldm, &p->unet_names };
    for (int i = 0; i < n_encoders(p); i++) {
        out[1 + i] = (struct nn_lora_target){ clip_owner(p->clip[i]), te_dot[i], te_flat[i], NULL, NULL };
    }
    return 1 + n_encoders(p);
}

/* ---- from a folder ----------------------------------------------------------------------------------------- */

/* Whatever the pipeline's class is called: a UNet with two encoders. Japanese SDXL has one, and a class of its own that puts zeros where
 * the second one's output goes. */
static bool claims(struct pipeline *p, const json_t *index)
{
    const char *class = pipeline_class(index);
    if (!pipeline_component(index, "unet") || !pipeline_component(index, "text_encoder")) return false;
    p->one_encoder = pipeline_component(index, "null_encoder") != NULL ||
                     (class && strcmp(class, "JapaneseStableDiffusionXLPipeline") == 0);
    return p->one_encoder || pipeline_component(index, "text_encoder_2");
}

static bool load(struct pipeline *p, const json_t *config, struct nn_source *s, struct err *e)
{
    return unet_config_from_json(&p->unet_names, config, e) && unet_load(&p->unet, &p->unet_names, s, e);
}

static bool fits(const struct pipeline *p, struct err *e)
{
    const struct vae_config *v = vae_config(p->vae);
    const struct unet_config *k = unet_config(p->unet);
    if (p->one_encoder) {
        if (k->n_in == v->n_latent && k->n_context > clip_config(p->clip[0])->n_embd) return true;
        return err_set(e, ERR_FORMAT,
                       "the networks do not fit each other: the UNet wants %d channels and context %d; they "
                       "give %d and %d",
                       k->n_in, k->n_context, v->n_latent, clip_config(p->clip[0])->n_embd);
    }
    int context = clip_config(p->clip[0])->n_embd + clip_config(p->clip[1])->n_embd,
        pooled = clip_config(p->clip[1])->n_proj;
    if (k->n_in == v->n_latent && k->n_out == v->n_latent && k->n_context == context &&
        k->n_added == pooled + 6 * k->n_time_id) {
        return true;
    }
    return err_set(e, ERR_FORMAT,
                   "the networks do not fit each other: the UNet wants %d channels, context %d, added %d; "
                   "they give %d, %d, %d",
                   k->n_in, k->n_context, k->n_added, v->n_latent, context, pooled + 6 * k->n_time_id);
}

/* Playground is trained for EDM's noise; SSD-1B is SDXL with blocks taken out. */
static void describe(struct pipeline *p, int *halvings, int *side)
{
    struct image_info *i = &p->info;
    bool edm = p->schedule.sampler == SAMPLER_EDM_DPMPP_2M || p->schedule.sampler == SAMPLER_EDM_EULER;
    snprintf(p->family, sizeof p->family, "%s",
             edm                          ? "playground-v2.5"
             : p->unet_names.mid_res == 1 ? "ssd-1b"
                                          : "sdxl");
    i->default_steps = 30;
    i->default_guidance = edm ? 3.0f : 7.0f;
    i->takes_negative = i->takes_guidance = true;
    *halvings = p->unet_names.n_level - 1;
    *side = p->unet_names.n_sample;
}

const struct pipeline_kind pipeline_sdxl = { .name = "sdxl",
                                             .denoiser = "unet",
                                             .denoiser_class = "UNet2DConditionModel",
                                             .what = "UNet",
                                             .spm_words = true,
                                             .clip_skip = true,
                                             .latent_stats = true,
                                             .claims = claims,
                                             .load = load,
                                             .fits = fits,
                                             .describe = describe,
                                             .encode = encode,
                                             .predict = predict,
                                             .scratch = scratch,
                                             .lora_targets = lora_targets };
