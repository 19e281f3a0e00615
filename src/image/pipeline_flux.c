/* pipeline_flux.c - FLUX.1 dev and schnell: one T5 context, CLIP's pooled row, a transformer over patches of two by two. */
#include "image/pipeline_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool encode_ids(const struct pipeline *p, struct nn_ctx *c, const struct image_request *r,
                       int32_t *ids, int n_clip, struct conditioning *positive, struct err *e)
{
    const struct clip_config *k = clip_config(p->clip[0]);
    size_t len = strlen(r->prompt);
    if (!clip_tokenizer_encode(p->clip_tokenizer[0], r->prompt, len, ids, n_clip, NULL, e) ||
        !pipeline_ids_fit(ids, n_clip, k->n_vocab, e))
        return false;
    clip_encode(p->clip[0], c, ids, n_clip, 0, NULL, positive->pooled);
    if (!t5_tokenizer_encode(p->t5_tokenizer, r->prompt, len, ids, p->n_t5, NULL, e) ||
        !pipeline_ids_fit(ids, p->n_t5, t5_config(p->t5)->n_vocab, e))
        return false;
    t5_encode(p->t5, c, ids, p->n_t5, positive->context);
    nn_owner_rest(t5_owner(p->t5));
    return true;
}

static bool encode(const struct pipeline *p, struct nn_ctx *c, const struct image_request *r,
                   struct conditioning *positive, struct conditioning *negative, struct err *e)
{
    const struct clip_config *k = clip_config(p->clip[0]);
    int n_clip = clip_tokenizer_max(p->clip_tokenizer[0]);
    if (n_clip > k->n_pos) n_clip = k->n_pos;
    *negative = (struct conditioning){ 0 };
    *positive = (struct conditioning){ .n_text = p->n_t5 };
    positive->context = nn_alloc(c, (int64_t)p->n_t5 * t5_config(p->t5)->n_embd);
    positive->pooled = nn_alloc(c, k->n_embd);
    int32_t *ids = calloc((size_t)(n_clip > p->n_t5 ? n_clip : p->n_t5), sizeof *ids);
    if (!ids) return err_set(e, ERR_NOMEM, "no memory for the prompt's tokens");
    bool ok = encode_ids(p, c, r, ids, n_clip, positive, e);
    free(ids);
    return ok;
}

static bool predict(const struct pipeline *p, struct nn_ctx *c, const struct schedule *s, int i,
                    const dev_float *x, int h, int w, const struct conditioning *positive,
                    const struct conditioning *negative, float guidance, dev_float *out,
                    const atomic_bool *cancel)
{
    (void)negative;
    const size_t mark = nn_mark(c);
    int channels = vae_config(p->vae)->n_latent;
    int64_t n = (int64_t)channels * h * w;
    dev_float *in = nn_alloc(c, n), *velocity = nn_alloc(c, n);
    op_pack(c->dev, in, x, channels, h, w);
    bool go = flux_forward(p->flux, c, in, h / 2, w / 2, positive->context, positive->n_text,
                           positive->pooled, (float)schedule_time(s, i), guidance, velocity, cancel);
    if (go) op_unpack(c->dev, out, velocity, channels, h, w);
    nn_reset(c, mark);
    return go;
}

static size_t scratch(const struct pipeline *p, int h, int w, bool negative)
{
    (void)negative;
    size_t n_clip = (size_t)clip_config(p->clip[0])->n_pos, n_t5 = (size_t)p->n_t5;
    size_t values = (size_t)vae_config(p->vae)->n_latent * (size_t)h * (size_t)w;
    size_t run = flux_scratch(p->flux, h / 2 * (w / 2), p->n_t5), t5 = t5_scratch(p->t5, p->n_t5);
    size_t clip = clip_scratch(p->clip[0], (int)n_clip);
    if (t5 > run) run = t5;
    if (clip > run) run = clip;
    return run + arena_cost(n_t5 * (size_t)t5_config(p->t5)->n_embd, 4) +
           arena_cost((size_t)clip_config(p->clip[0])->n_embd, 4) + 2 * arena_cost(values, 4);
}

static int lora_targets(const struct pipeline *p, struct nn_lora_target *out)
{
    static const char *const dot[] = { "transformer.", "diffusion_model.", "model.diffusion_model.", "",
                                       NULL };
    static const char *const flat[] = { "lora_unet_", "lora_transformer_", NULL };
    static const char *const clip_dot[] = { "text_encoder.", "text_encoder.text_model.", NULL };
    static const char *const clip_flat[] = { "lora_te1_", "lora_te1_text_model_", "lora_te_",
                                             "lora_te_text_model_", NULL };
    static const char *const t5_dot[] = { "text_encoder_2.", NULL };
    static const char *const t5_flat[] = { "lora_te3_", "lora_te2_", NULL };
    out[0] = (struct nn_lora_target){ flux_owner(p->flux), dot, flat, flux_locate_bfl, &p->flux_names };
    out[1] = (struct nn_lora_target){ clip_owner(p->clip[0]), clip_dot, clip_flat, NULL, NULL };
    out[2] = (struct nn_lora_target){ t5_owner(p->t5), t5_dot, t5_flat, NULL, NULL };
    return 3;
}

/* ---- from a folder ----------------------------------------------------------------------------------------- */

static bool claims(struct pipeline *p, const json_t *index)
{
    static const char *const mine[] = { "FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline" };
    const char *class = pipeline_class(index);
    (void)p;
    for (size_t i = 0; class && i < sizeof mine / sizeof *mine; i++) {
        if (strcmp(class, mine[i]) == 0) return true;
    }
    return false;
}

static bool load(struct pipeline *p, const json_t *config, struct nn_source *s, struct err *e)
{
    return flux_config_from_json(&p->flux_names, config, e) && flux_load(&p->flux, &p->flux_names, s, e);
}

static bool fits(const struct pipeline *p, struct err *e)
{
    const struct vae_config *v = vae_config(p->vae);
    const struct flux_config *k = flux_config(p->flux);
    if (k->in_channels == 4 * v->n_latent && k->out_channels == k->in_channels &&
        k->n_context == t5_config(p->t5)->n_embd && k->n_pooled == clip_config(p->clip[0])->n_embd) {
        return true;
    }
    return err_set(e, ERR_FORMAT,
                   "the networks do not fit each other: FLUX wants %d channels, context %d, pooled %d; "
                   "they give %d, %d, %d",
                   k->in_channels, k->n_context, k->n_pooled, 4 * v->n_latent, t5_config(p->t5)->n_embd,
                   clip_config(p->clip[0])->n_embd);
}

/* dev takes its guidance as an input; schnell has none and is distilled to four steps. */
static void describe(struct pipeline *p, int *halvings, int *side)
{
    struct image_info *i = &p->info;
    bool guided = p->flux_names.guidance;
    snprintf(p->family, sizeof p->family, "%s", guided ? "flux-dev" : "flux-schnell");
    i->default_steps = guided ? 28 : 4;
    i->default_guidance = guided ? 3.5f : 0.0f;
    i->takes_guidance = guided;
    int most = guided ? 512 : 256, own = t5_tokenizer_max(p->t5_tokenizer);
    p->n_t5 = own > 0 && own < most ? own : most;
    *halvings = 1; /* into patches of two by two */
    *side = 128;   /* the reference's pipeline has these, whatever its files say */
}

const struct pipeline_kind pipeline_flux = { .name = "flux",
                                             .denoiser = "transformer",
                                             .denoiser_class = "FluxTransformer2DModel",
                                             .what = "FLUX transformer",
                                             /* Its pooled row is taken as it is; another class has none. */
                                             .clip_class = "CLIPTextModel",
                                             .flow = true,
                                             .t5 = true,
                                             .latent_shift = true,
                                             .claims = claims,
                                             .load = load,
                                             .fits = fits,
                                             .describe = describe,
                                             .encode = encode,
                                             .predict = predict,
                                             .scratch = scratch,
                                             .lora_targets = lora_targets };
