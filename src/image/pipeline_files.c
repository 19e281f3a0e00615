/* pipeline_files.c - a pipeline's networks out of a diffusers folder; what both kinds of source share. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/machine.h"
#include "format/json_read.h"
#include "image/config_keys.h"
#include "image/pipeline_files.h"
#include "text/tokenizer/tokenizer_config.h"

struct pipeline_path pipeline_path(const char *fmt, ...)
{
    struct pipeline_path p;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p.s, sizeof p.s, fmt, ap);
    va_end(ap);
    return p;
}

bool pipeline_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool pipeline_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pipeline_open(struct pipeline *p, const char *path, struct weights **out, struct err *e)
{
    if (p->n_file == PIPELINE_FILES)
        return err_set(e, ERR_LIMIT, "a pipeline has more than %d weight files", PIPELINE_FILES);
    if (!weights_open(out, path, e)) return false;
    p->file[p->n_file++] = *out;
    return true;
}

/* ---- diffusers folders ------------------------------------------------------------------------------------- */

static bool holds_pickles(const char *dir)
{
    return pipeline_is_file(pipeline_path("%s/diffusion_pytorch_model.bin", dir).s) ||
           pipeline_is_file(pipeline_path("%s/pytorch_model.bin", dir).s);
}

/* Weights packed by a quantising library have names and shapes of its own. */
static bool as_published(const json_t *config, const char *dir, struct err *e)
{
    const json_t *q = json_object_get(config, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (!json_is_object(q)) return true;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: weights quantised by \"%.40s\" are not supported; F32, BF16, F16 and F8 weights are",
                   dir, method ? method : "(no quant_method)");
}

/* A file that a component cannot do without. */
static bool read_config(const char *path, json_t **out, struct err *e)
{
    if (json_read_file(out, path, e)) return true;
    if (e->code == ERR_NOT_FOUND) e->code = ERR_FORMAT; /* the model is there, though not whole */
    return false;
}

/* A component's weights. Half precision is preferred where both are there: the arithmetic is no coarser for it. */
static bool open_component(struct pipeline *p, const char *dir, const char *name, struct weights **w,
                           json_t **config, struct err *e)
{
    static const char *const base[] = { "diffusion_pytorch_model", "model" };
    static const char *const variant[] = { ".bf16", ".fp16", "" };
    struct pipeline_path folder = pipeline_path("%s/%s", dir, name), file = folder;
    if (!pipeline_is_dir(folder.s)) return err_set(e, ERR_FORMAT, "%s: the folder %s is missing", dir, name);
    bool found = false;
    for (int b = 0; b < 2 && !found; b++) {
        for (int v = 0; v < 3 && !found; v++) {
            const struct pipeline_path tries[] = {
                pipeline_path("%s/%s%s.safetensors", folder.s, base[b], variant[v]),
                pipeline_path("%s/%s%s.safetensors.index.json", folder.s, base[b], variant[v]),
                pipeline_path("%s/%s.safetensors.index%s.json", folder.s, base[b], variant[v]),
            };
            for (int t = 0; t < 3 && !found; t++) {
                found = pipeline_is_file(tries[t].s);
                if (found) file = tries[t];
            }
        }
    }
    if (!found && holds_pickles(folder.s)) {
        return err_set(
            e, ERR_UNSUPPORTED,
            "%s holds its weights as .bin, PyTorch pickles, which can run code and are never read; "
            "fetch or convert them as .safetensors",
            folder.s);
    }
    if (!read_config(pipeline_path("%s/config.json", folder.s).s, config, e)) return false;
    if (as_published(*config, folder.s, e) && pipeline_open(p, file.s, w, e)) return true;
    json_decref(*config);
    *config = NULL;
    return false;
}

/* Weights of more than half of the memory would not fit beside everything else once they were copied: a mapped file the kernel may
 * drop and read again, a copy it may not. */
static bool too_large_to_copy(const struct weights *w) { return weights_bytes(w) > machine_memory() / 2; }

struct nn_source pipeline_source(struct pipeline *p, struct weights *w, const char *what)
{
    return (
        struct nn_source){ .dev = p->dev, .w = w, .what = what, .prefix = "", .stay = too_large_to_copy(w) };
}

const char *pipeline_component(const json_t *index, const char *name)
{
    return json_string_value(json_array_get(json_object_get(index, name), 1));
}

static bool has_class(const json_t *index, const char *name, const char *only, struct err *e)
{
    const char *class = pipeline_component(index, name);
    if (!class || strcmp(class, only) == 0) return true;
    return err_set(e, ERR_UNSUPPORTED, "%s: class \"%.60s\" is not supported (%s is)", name, class, only);
}

/* A CLIP encoder's tokenizer; those for other languages than English bring a SentencePiece model. */
static bool is_clip_words(const char *class)
{
    return strcmp(class, "CLIPTokenizer") == 0 || strcmp(class, "CLIPTokenizerFast") == 0;
}

static bool is_t5_words(const char *class)
{
    return strcmp(class, "T5Tokenizer") == 0 || strcmp(class, "T5TokenizerFast") == 0;
}

static bool load_words(struct pipeline *p, int which, const char *dir, const char *named, struct err *e)
{
    json_t *config;
    if (!config_read(dir, "tokenizer_config.json", &config, e)) return false;
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    /* model_index.json names a class that says nothing where the tokenizer was saved as a generic one. */
    if (named && (is_clip_words(named) || is_t5_words(named))) class = named;
    bool ok;
    if (!class || is_clip_words(class)) {
        ok = clip_tokenizer_load(&p->clip_tokenizer[which], dir, e);
    } else if (p->kind->spm_words && is_t5_words(class)) {
        ok = t5_tokenizer_load(&p->spm_tokenizer[which], dir, e);
    } else {
        ok = err_set(
            e, ERR_UNSUPPORTED,
            "%s: tokenizer class \"%.40s\" is not supported for a CLIP encoder (CLIPTokenizer is, and "
            "for SDXL T5Tokenizer)",
            dir, class);
    }
    json_decref(config);
    return ok;
}

bool pipeline_clip_folder(struct pipeline *p, const char *dir, const json_t *index, int which, struct err *e)
{
    const char *name = which ? "text_encoder_2" : "text_encoder",
               *words = which ? "tokenizer_2" : "tokenizer";
    struct weights *w;
    json_t *config;
    struct clip_config k;
    const char *class = pipeline_component(index, name);
    if (p->kind->clip_class && class && strcmp(class, p->kind->clip_class) != 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: class \"%.60s\" is not supported for a pipeline of %s (%s is)", name, class,
                       p->kind->name, p->kind->clip_class);
    if (!open_component(p, dir, name, &w, &config, e)) return false;
    struct nn_source s = pipeline_source(p, w, "CLIP text encoder");
    bool ok = clip_config_from_json(&k, config, class, e) && clip_load(&p->clip[which], &k, &s, e) &&
              load_words(p, which, pipeline_path("%s/%s", dir, words).s, pipeline_component(index, words), e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/%s", dir, name);
}

bool pipeline_t5_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    struct weights *w;
    json_t *config;
    struct t5_config k;
    if (!has_class(index, "text_encoder_2", "T5EncoderModel", e) ||
        !open_component(p, dir, "text_encoder_2", &w, &config, e))
        return false;
    struct nn_source s = pipeline_source(p, w, "T5 encoder");
    bool ok = t5_config_from_json(&k, config, e) && t5_load(&p->t5, &k, &s, e) &&
              t5_tokenizer_load(&p->t5_tokenizer, pipeline_path("%s/tokenizer_2", dir).s, e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/text_encoder_2", dir);
}

static bool load_denoiser_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    const char *name = p->kind->denoiser;
    struct weights *w;
    json_t *config;
    if (!has_class(index, name, p->kind->denoiser_class, e) || !open_component(p, dir, name, &w, &config, e))
        return false;
    struct nn_source s = pipeline_source(p, w, p->kind->what);
    bool ok = p->kind->load(p, config, &s, e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/%s", dir, name);
}

bool pipeline_vae_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    struct weights *w;
    json_t *config;
    struct vae_config k;
    if (!has_class(index, "vae", "AutoencoderKL", e) || !open_component(p, dir, "vae", &w, &config, e))
        return false;
    struct nn_source s = pipeline_source(p, w, "VAE");
    s.locate = vae_locate_diffusers;
    s.locate_arg = &s;
    bool ok = vae_config_from_json(&k, config, e);
    /* Each pipeline of the reference reads its own of the two ways to centre latents, and not the other's. */
    if (ok && !p->kind->latent_stats) k.has_stats = false;
    if (ok && !p->kind->latent_shift) k.shift = 0;
    ok = ok && vae_load(&p->vae, &k, &s, e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/vae", dir);
}

/* Class names are strings, or [file, class] of a pipeline that brings code of its own. */
const char *pipeline_class(const json_t *index)
{
    const json_t *v = json_object_get(index, "_class_name");
    return json_string_value(json_is_array(v) ? json_array_get(v, 1) : v);
}

static const struct config_key index_keys[] = {
    { "scheduler", NULL },
    { "text_encoder", NULL },
    { "text_encoder_2", NULL },
    { "tokenizer", NULL },
    { "tokenizer_2", NULL },
    { "unet", NULL },
    { "transformer", NULL },
    { "vae", NULL },
    { "null_encoder", NULL },
    { "force_zeros_for_empty_prompt", NULL },
    /* Without effect: pictures as prompts, which need a request that has them; filters and marks on the finished picture. */
    { "image_encoder", NULL },
    { "feature_extractor", NULL },
    { "safety_checker", NULL },
    { "requires_safety_checker", NULL },
    { "add_watermarker", NULL },
    { "requires_aesthetics_score", "[false, null]" },
};

/* What the folder is: a pipeline that would load as one of the two but draws otherwise is refused by name. */
static bool recognise_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    for (int i = 0; pipelines[i] && !p->kind; i++) {
        if (pipelines[i]->claims(p, index)) p->kind = pipelines[i];
    }
    if (p->kind) return true;
    if (pipeline_component(index, "unet") && !pipeline_component(index, "text_encoder") &&
        pipeline_component(index, "text_encoder_2")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: an SDXL refiner finishes another model's pictures and is not supported; the base "
                       "model is",
                       dir);
    }
    const char *class = pipeline_class(index);
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: pipeline class \"%.60s\" is not supported: FluxPipeline (FLUX.1 dev and schnell) and "
                   "StableDiffusionXLPipeline are",
                   dir, class ? class : "(absent)");
}

static bool load_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    if (!recognise_folder(p, dir, index, e) ||
        !config_keys_check(index, index_keys, sizeof index_keys / sizeof *index_keys, "model_index.json", e))
        return false;
    struct pipeline_path file = pipeline_path("%s/scheduler/scheduler_config.json", dir);
    json_t *config;
    if (!read_config(file.s, &config, e)) return false;
    bool ok = schedule_config_from_json(&p->schedule, config, pipeline_component(index, "scheduler"), e) ||
              err_wrap(e, "%s", file.s);
    json_decref(config);
    if (ok && p->kind->flow != (p->schedule.sampler == SAMPLER_FLOW_EULER))
        return err_set(e, ERR_UNSUPPORTED, "%s: this scheduler is not supported for a pipeline of %s", file.s,
                       p->kind->name);
    p->zero_empty_negative = !json_is_false(json_object_get(index, "force_zeros_for_empty_prompt"));
    ok = ok && load_denoiser_folder(p, dir, index, e) && pipeline_vae_folder(p, dir, index, e) &&
         pipeline_clip_folder(p, dir, index, 0, e);
    return ok && (p->kind->t5      ? pipeline_t5_folder(p, dir, index, e)
                  : p->one_encoder ? true
                                   : pipeline_clip_folder(p, dir, index, 1, e));
}

/* ---- both -------------------------------------------------------------------------------------------------- */

static void describe(struct pipeline *p)
{
    struct image_info *i = &p->info;
    int halvings, side;
    p->kind->describe(p, &halvings, &side);
    i->family = p->family;
    i->name = p->name;
    i->size_multiple = vae_factor(p->vae) * (1 << halvings);
    if (i->size_multiple > 64) i->size_multiple = 64;
    side = side * vae_factor(p->vae) / i->size_multiple * i->size_multiple;
    i->default_width = i->default_height = side > i->size_multiple ? side : i->size_multiple;
    for (int k = 0; k < p->n_file; k++) i->weight_bytes += weights_bytes(p->file[k]);
}

/* The denoiser of a diffusers folder: whole, and of a kind that is drawn with here. */
static bool check_folder(const char *dir, const json_t *index, struct err *e)
{
    struct pipeline p = { 0 };
    struct weights *w;
    if (!recognise_folder(&p, dir, index, e)) return false;
    const char *part = p.kind->denoiser;
    const struct pipeline_path denoiser = pipeline_path("%s/%s", dir, part);
    if (!pipeline_is_dir(denoiser.s)) return err_set(e, ERR_FORMAT, "the folder %s is missing", part);
    if (!weights_open(&w, denoiser.s, e)) return false;
    weights_close(w);
    return true;
}

bool image_check(const char *path, struct err *e)
{
    json_t *index;
    struct err why = { 0 };
    if (!pipeline_is_dir(path)) return pipeline_single_check(path, e);
    if (!json_read_file(&index, pipeline_path("%s/model_index.json", path).s, &why))
        return why.code == ERR_NOT_FOUND ? pipeline_single_check(path, e)
                                         : err_set(e, why.code, "%s", why.msg);
    bool ok = check_folder(path, index, e);
    json_decref(index);
    return ok;
}

bool pipeline_load(struct pipeline *p, const char *path, struct device *dev, struct err *e)
{
    *p = (struct pipeline){ .dev = dev };
    struct pipeline_path file = pipeline_path("%s", path);
    size_t n = strlen(file.s);
    while (n > 1 && file.s[n - 1] == '/') file.s[--n] = '\0';
    const char *slash = strrchr(file.s, '/');
    snprintf(p->name, sizeof p->name, "%.127s", slash ? slash + 1 : file.s);

    json_t *index = NULL;
    struct err why = { 0 };
    bool ok;
    if (json_read_file(&index, pipeline_path("%s/model_index.json", file.s).s, &why))
        ok = load_folder(p, file.s, index, e);
    else if (pipeline_is_dir(file.s) && why.code != ERR_NOT_FOUND)
        ok = err_set(e, why.code, "%s", why.msg);
    else
        ok = pipeline_single(p, file.s, e);
    json_decref(index);
    ok = ok && p->kind->fits(p, e);
    if (!ok) {
        pipeline_close(p);
        return false;
    }
    describe(p);
    return true;
}

bool pipeline_intact(const struct pipeline *p, struct err *e)
{
    for (int i = 0; i < p->n_file; i++)
        if (!weights_intact(p->file[i], e)) return false;
    return true;
}

void pipeline_close(struct pipeline *p)
{
    for (int i = 0; i < 2; i++) {
        clip_free(p->clip[i]);
        clip_tokenizer_free(p->clip_tokenizer[i]);
        t5_tokenizer_free(p->spm_tokenizer[i]);
    }
    t5_free(p->t5);
    t5_tokenizer_free(p->t5_tokenizer);
    flux_free(p->flux);
    unet_free(p->unet);
    vae_free(p->vae);
    for (int i = 0; i < p->n_file; i++) weights_close(p->file[i]);
    free(p->preview);
    *p = (struct pipeline){ 0 };
}
