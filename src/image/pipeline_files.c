/* pipeline_files.c - a pipeline's networks from wherever they lie: a diffusers folder, or single files in the original layouts. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json_read.h"
#include "image/pipeline.h"
#include "text/tokenizer_config.h"

struct path {
    char s[1024];
};

__attribute__((format(printf, 1, 2))) static struct path path_of(const char *fmt, ...)
{
    struct path p;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p.s, sizeof p.s, fmt, ap);
    va_end(ap);
    return p;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static struct weights *keep(struct pipeline *p, struct weights *w)
{
    p->file[p->n_file++] = w;
    return w;
}

static bool open_file(struct pipeline *p, const char *path, struct weights **out, struct err *e)
{
    if (p->n_file == PIPELINE_FILES)
        return err_set(e, ERR_LIMIT, "a pipeline has more than %d weight files", PIPELINE_FILES);
    if (!weights_open(out, path, e)) return false;
    keep(p, *out);
    return true;
}

/* ---- diffusers folders ------------------------------------------------------------------------------------- */

static bool holds_pickles(const char *dir)
{
    return is_file(path_of("%s/diffusion_pytorch_model.bin", dir).s) ||
           is_file(path_of("%s/pytorch_model.bin", dir).s);
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
    struct path folder = path_of("%s/%s", dir, name), file = folder;
    if (!is_dir(folder.s)) return err_set(e, ERR_FORMAT, "%s: the folder %s is missing", dir, name);
    bool found = false;
    for (int b = 0; b < 2 && !found; b++) {
        for (int v = 0; v < 3 && !found; v++) {
            const struct path tries[] = {
                path_of("%s/%s%s.safetensors", folder.s, base[b], variant[v]),
                path_of("%s/%s%s.safetensors.index.json", folder.s, base[b], variant[v]),
                path_of("%s/%s.safetensors.index%s.json", folder.s, base[b], variant[v]),
            };
            for (int t = 0; t < 3 && !found; t++) {
                found = is_file(tries[t].s);
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
    if (!read_config(path_of("%s/config.json", folder.s).s, config, e)) return false;
    if (as_published(*config, folder.s, e) && open_file(p, file.s, w, e)) return true;
    json_decref(*config);
    *config = NULL;
    return false;
}

/* Weights of more than half of the memory would not fit beside everything else once they were copied: a mapped file the kernel may
 * drop and read again, a copy it may not. */
static bool too_large_to_copy(const struct weights *w)
{
    return weights_bytes(w) / (size_t)sysconf(_SC_PAGESIZE) > (size_t)sysconf(_SC_PHYS_PAGES) / 2;
}

static struct nn_source source(struct pipeline *p, struct weights *w, const char *what)
{
    return (
        struct nn_source){ .dev = p->dev, .w = w, .what = what, .prefix = "", .stay = too_large_to_copy(w) };
}

/* A CLIP encoder's tokenizer; those for other languages than English bring a SentencePiece model. */
static bool load_words(struct pipeline *p, int which, const char *dir, struct err *e)
{
    json_t *config;
    if (!config_read(dir, "tokenizer_config.json", &config, e)) return false;
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    bool ok;
    if (!class || strcmp(class, "CLIPTokenizer") == 0 || strcmp(class, "CLIPTokenizerFast") == 0) {
        ok = clip_tokenizer_load(&p->clip_tokenizer[which], dir, e);
    } else if (p->kind == &pipeline_sdxl &&
               (strcmp(class, "T5Tokenizer") == 0 || strcmp(class, "T5TokenizerFast") == 0)) {
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

static bool load_clip_folder(struct pipeline *p, const char *dir, int which, struct err *e)
{
    const char *name = which ? "text_encoder_2" : "text_encoder",
               *words = which ? "tokenizer_2" : "tokenizer";
    struct weights *w;
    json_t *config;
    struct clip_config k;
    if (!open_component(p, dir, name, &w, &config, e)) return false;
    struct nn_source s = source(p, w, "CLIP text encoder");
    bool ok = clip_config_from_json(&k, config, e) && clip_load(&p->clip[which], &k, &s, e) &&
              load_words(p, which, path_of("%s/%s", dir, words).s, e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/%s", dir, name);
}

static bool load_t5_folder(struct pipeline *p, const char *dir, struct err *e)
{
    struct weights *w;
    json_t *config;
    struct t5_config k;
    if (!open_component(p, dir, "text_encoder_2", &w, &config, e)) return false;
    struct nn_source s = source(p, w, "T5 encoder");
    bool ok = t5_config_from_json(&k, config, e) && t5_load(&p->t5, &k, &s, e) &&
              t5_tokenizer_load(&p->t5_tokenizer, path_of("%s/tokenizer_2", dir).s, e);
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/text_encoder_2", dir);
}

static bool load_denoiser_folder(struct pipeline *p, const char *dir, bool flux, struct err *e)
{
    const char *name = flux ? "transformer" : "unet";
    struct weights *w;
    json_t *config;
    if (!open_component(p, dir, name, &w, &config, e)) return false;
    struct nn_source s = source(p, w, flux ? "FLUX transformer" : "UNet");
    bool ok;
    if (flux) {
        ok = flux_config_from_json(&p->flux_names, config, e) && flux_load(&p->flux, &p->flux_names, &s, e);
    } else {
        ok = unet_config_from_json(&p->unet_names, config, e) && unet_load(&p->unet, &p->unet_names, &s, e);
    }
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/%s", dir, name);
}

static bool load_vae_folder(struct pipeline *p, const char *dir, struct err *e)
{
    struct weights *w;
    json_t *config;
    struct vae_config k;
    if (!open_component(p, dir, "vae", &w, &config, e)) return false;
    struct nn_source s = source(p, w, "VAE");
    bool ok = vae_config_from_json(&k, config, e) && vae_load(&p->vae, &k, &s, e);
    int side = nn_config_int(config, "sample_size", 1024);
    if (side >= 32 && side <= 2048) p->info.default_width = p->info.default_height = side / 16 * 16;
    nn_source_free(&s);
    json_decref(config);
    return ok || err_wrap(e, "%s/vae", dir);
}

/* Class names are strings, or [file, class] of a pipeline that brings code of its own. */
static const char *class_name(const json_t *index)
{
    const json_t *v = json_object_get(index, "_class_name");
    return json_string_value(json_is_array(v) ? json_array_get(v, 1) : v);
}

/* A component's class, which is what the reference goes by, whatever the component's own files say; NULL: not named. */
static const char *component_class(const json_t *index, const char *name)
{
    return json_string_value(json_array_get(json_object_get(index, name), 1));
}

/* Components that are left out are there as [null, null]. */
static bool has_component(const json_t *index, const char *name)
{
    return component_class(index, name) != NULL;
}

/* What the folder is: a pipeline that would load as one of the two but draws otherwise is refused by name. */
static bool recognise_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    static const char *const flux[] = { "FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline" };
    const char *class = class_name(index);
    for (size_t i = 0; class && i < sizeof flux / sizeof *flux; i++) {
        if (strcmp(class, flux[i]) == 0) p->kind = &pipeline_flux;
    }
    if (p->kind) return true;
    bool unet = has_component(index, "unet"), first = has_component(index, "text_encoder");
    if (unet && !first && has_component(index, "text_encoder_2")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: an SDXL refiner finishes another model's pictures and is not supported; the base "
                       "model is",
                       dir);
    }
    /* Japanese SDXL has one encoder, and a pipeline class of its own that puts zeros where the second one's output goes. */
    p->one_encoder = first && has_component(index, "null_encoder");
    p->one_encoder |= first && class && strcmp(class, "JapaneseStableDiffusionXLPipeline") == 0;
    if (unet && first && (p->one_encoder || has_component(index, "text_encoder_2"))) {
        p->kind = &pipeline_sdxl;
        return true;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: pipeline class \"%.60s\" is not supported: FluxPipeline (FLUX.1 dev and schnell) and "
                   "StableDiffusionXLPipeline are",
                   dir, class ? class : "(absent)");
}

static bool load_folder(struct pipeline *p, const char *dir, const json_t *index, struct err *e)
{
    if (!recognise_folder(p, dir, index, e)) return false;
    bool flux = p->kind == &pipeline_flux;
    struct path file = path_of("%s/scheduler/scheduler_config.json", dir);
    json_t *config;
    if (!read_config(file.s, &config, e)) return false;
    bool ok = schedule_config_from_json(&p->schedule, config, component_class(index, "scheduler"), e) ||
              err_wrap(e, "%s", file.s);
    json_decref(config);
    p->zero_empty_negative = !json_is_false(json_object_get(index, "force_zeros_for_empty_prompt"));
    ok = ok && load_denoiser_folder(p, dir, flux, e) && load_vae_folder(p, dir, e) &&
         load_clip_folder(p, dir, 0, e);
    return ok && (flux ? load_t5_folder(p, dir, e) : p->one_encoder ? true : load_clip_folder(p, dir, 1, e));
}

/* ---- single files ------------------------------------------------------------------------------------------ */

enum single { SINGLE_NONE, SINGLE_FLUX_BFL, SINGLE_FLUX_DIFFUSERS, SINGLE_SDXL };

/* What a file is, told by its tensors' names, and the prefix before the denoiser's. */
static enum single recognise(const struct weights *w, const char **prefix)
{
    static const char *const prefixes[] = { "", "model.diffusion_model.", "diffusion_model.",
                                            "transformer." };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        *prefix = prefixes[i];
        if (weights_find(w, NN("%sdouble_blocks.0.img_attn.qkv.weight", *prefix))) return SINGLE_FLUX_BFL;
        if (weights_find(w, NN("%stransformer_blocks.0.attn.add_q_proj.weight", *prefix)))
            return SINGLE_FLUX_DIFFUSERS;
        if (weights_find(w, NN("%sinput_blocks.0.0.weight", *prefix)) &&
            weights_find(w, NN("%slabel_emb.0.0.weight", *prefix))) {
            return SINGLE_SDXL;
        }
    }
    return SINGLE_NONE;
}

/* The first file of `dir` whose name begins with one of the patterns; sorted, so that the choice does not depend on the disk. */
static bool find_companion(const char *dir, const char *const *patterns, struct path *out)
{
    for (; *patterns; patterns++) {
        DIR *d = opendir(dir);
        char best[256] = "";
        for (struct dirent *f; d && (f = readdir(d));) {
            size_t n = strlen(f->d_name);
            if (n < 12 || n >= sizeof best || strcmp(f->d_name + n - 12, ".safetensors") != 0) continue;
            if (strncasecmp(f->d_name, *patterns, strlen(*patterns)) != 0) continue;
            if (!best[0] || strcmp(f->d_name, best) < 0) snprintf(best, sizeof best, "%s", f->d_name);
        }
        if (d) closedir(d);
        if (best[0]) {
            *out = path_of("%s/%s", dir, best);
            return true;
        }
    }
    return false;
}

/* A network that is either inside the checkpoint under a prefix or in a companion file beside it. */
static bool inside_or_beside(struct pipeline *p, struct weights *main, const char *probe,
                             const char *const *prefixes, const char *dir, const char *const *names,
                             struct nn_source *s, struct err *e)
{
    for (; *prefixes; prefixes++) {
        if (weights_find(main, NN("%s%s", *prefixes, probe))) {
            s->w = main;
            s->prefix = *prefixes;
            return true;
        }
    }
    struct path file;
    if (!find_companion(dir, names, &file)) {
        return err_set(e, ERR_FORMAT, "the %s is not in the checkpoint; put %s*.safetensors into %s", s->what,
                       names[0], dir);
    }
    struct weights *w;
    if (!open_file(p, file.s, &w, e)) return false;
    s->w = w;
    s->prefix = "";
    s->stay = too_large_to_copy(w);
    return true;
}

static bool load_vae_file(struct pipeline *p, struct weights *main, const char *dir, struct err *e)
{
    static const char *const prefixes[] = { "first_stage_model.", "vae.", NULL };
    static const char *const names[] = { "ae", "vae", "sdxl_vae", "diffusion_pytorch_model", NULL };
    struct nn_source s = source(p, main, "VAE");
    struct vae_config k;
    bool ok = inside_or_beside(p, main, "decoder.conv_in.weight", prefixes, dir, names, &s, e) &&
              vae_config_from_shapes(&k, &s, e);
    if (ok) {
        s.locate = vae_locate_ldm;
        s.locate_arg = &k;
        const struct tensor *mean = weights_find(main, "edm_mean"), *std = weights_find(main, "edm_std");
        if (mean && std && mean->type == DT_F32 && std->type == DT_F32 && tensor_elems(mean) == k.n_latent &&
            tensor_elems(std) == k.n_latent) {
            k.has_stats = true;
            k.scaling = 0.5f;
            memcpy(k.mean, mean->data, (size_t)k.n_latent * sizeof *k.mean);
            memcpy(k.std, std->data, (size_t)k.n_latent * sizeof *k.std);
        }
        ok = vae_load(&p->vae, &k, &s, e);
    }
    nn_source_free(&s);
    return ok;
}

static bool load_clip_file(struct pipeline *p, struct weights *main, const char *dir, int which, bool sdxl,
                           struct err *e)
{
    static const char *const l_prefixes[] = { "conditioner.embedders.0.transformer.",
                                              "text_encoders.clip_l.transformer.", NULL };
    static const char *const l_names[] = { "clip_l", "text_encoder", NULL };
    static const char *const g_prefixes[] = { "conditioner.embedders.1.model.", NULL };
    static const char *const g_names[] = { "clip_g", "text_encoder_2", NULL };
    struct nn_source s = source(p, main, which ? "OpenCLIP text encoder" : "CLIP text encoder");
    struct clip_config k = { 0 };
    bool ok;
    if (which) {
        ok = inside_or_beside(p, main, "ln_final.weight", g_prefixes, dir, g_names, &s, e);
        if (ok && weights_find(s.w, NN("%sln_final.weight", s.prefix))) {
            s.locate = clip_locate_openclip;
            s.locate_arg = &k;
        }
        /* The renaming needs the width before the widths can be read. */
        const struct tensor *t = ok ? weights_find(s.w, NN("%stoken_embedding.weight", s.prefix)) : NULL;
        k.n_embd = t && t->n_dims == 2 && t->dim[1] < 65536 ? (int)t->dim[1] : 0;
    } else {
        ok = inside_or_beside(p, main, "text_model.final_layer_norm.weight",
                              sdxl ? l_prefixes : l_prefixes + 1, dir, l_names, &s, e);
    }
    struct clip_config found;
    ok = ok && clip_config_from_shapes(&found, &s, e);
    if (ok) k = found;
    ok = ok && clip_load(&p->clip[which], &k, &s, e) &&
         clip_tokenizer_load(&p->clip_tokenizer[which],
                             path_of("%s/%s", dir, which ? "tokenizer_2" : "tokenizer").s, e);
    nn_source_free(&s);
    return ok;
}

static bool load_t5_file(struct pipeline *p, struct weights *main, const char *dir, struct err *e)
{
    static const char *const prefixes[] = { "text_encoders.t5xxl.transformer.", NULL };
    static const char *const names[] = { "t5xxl", "t5", "text_encoder_2", NULL };
    struct nn_source s = source(p, main, "T5 encoder");
    struct t5_config k;
    bool ok = inside_or_beside(p, main, "encoder.final_layer_norm.weight", prefixes, dir, names, &s, e) &&
              t5_config_from_shapes(&k, &s, e) && t5_load(&p->t5, &k, &s, e) &&
              t5_tokenizer_load(&p->t5_tokenizer, path_of("%s/tokenizer_2", dir).s, e);
    nn_source_free(&s);
    return ok;
}

/* Tensors that stand for a configuration: an SDXL checkpoint whose training differs has one that says so. */
static bool single_schedule(struct pipeline *p, const struct weights *main, struct err *e)
{
    p->schedule = schedule_config_sdxl();
    if (weights_find(main, "edm_vpred.sigma_max"))
        return err_set(e, ERR_UNSUPPORTED,
                       "the checkpoint is of CosXL's kind (edm_vpred), which is not supported");
    if (weights_find(main, "edm_mean")) {
        p->schedule.sampler = SAMPLER_EDM_DPMPP_2M;
        p->schedule.levels = LEVELS_KARRAS;
        p->schedule.sigma_min = 0.002;
        p->schedule.sigma_max = 80;
    }
    if (weights_find(main, "v_pred")) p->schedule.prediction = PREDICTS_V;
    p->schedule.zero_snr = weights_find(main, "ztsnr") != NULL;
    if (p->schedule.zero_snr)
        p->schedule.spacing = SPACING_TRAILING; /* the step without signal is the first */
    return true;
}

static bool load_single(struct pipeline *p, struct weights *main, enum single kind, const char *prefix,
                        const char *dir, struct err *e)
{
    bool flux = kind != SINGLE_SDXL;
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "tokenizer_2" : "tokenizer";
        if (is_dir(path_of("%s/%s", dir, name).s)) continue;
        return err_set(
            e, ERR_FORMAT,
            "single files hold no tokenizers: put the folders tokenizer and tokenizer_2 of the model's "
            "repository beside it; %s/%s is missing",
            dir, name);
    }
    struct nn_source s = source(p, main, flux ? "FLUX transformer" : "UNet");
    s.prefix = prefix;
    bool ok;
    p->kind = flux ? &pipeline_flux : &pipeline_sdxl;
    p->zero_empty_negative = true;
    if (flux) {
        bool bfl = kind == SINGLE_FLUX_BFL;
        ok = flux_config_from_shapes(&p->flux_names, &s, bfl, e);
        s.locate = bfl ? flux_locate_bfl : NULL;
        s.locate_arg = &p->flux_names;
        ok = ok && flux_load(&p->flux, &p->flux_names, &s, e);
        p->schedule = schedule_config_flux(!p->flux_names.guidance);
    } else {
        ok = unet_config_from_shapes(&p->unet_names, &s, e);
        s.locate = unet_locate_ldm;
        s.locate_arg = &p->unet_names;
        ok = ok && unet_load(&p->unet, &p->unet_names, &s, e);
        ok = ok && single_schedule(p, main, e);
    }
    nn_source_free(&s);
    return ok && load_vae_file(p, main, dir, e) && load_clip_file(p, main, dir, 0, !flux, e) &&
           (flux ? load_t5_file(p, main, dir, e) : load_clip_file(p, main, dir, 1, true, e));
}

/* A folder without model_index.json: its first weight file that holds a denoiser. */
static bool find_single(const char *dir, struct path *out)
{
    DIR *d = opendir(dir);
    char best[256] = "";
    for (struct dirent *f; d && (f = readdir(d));) {
        size_t n = strlen(f->d_name);
        bool weights = (n > 12 && strcmp(f->d_name + n - 12, ".safetensors") == 0) ||
                       (n > 5 && strcmp(f->d_name + n - 5, ".gguf") == 0);
        if (!weights || n >= sizeof best || (best[0] && strcmp(f->d_name, best) >= 0)) continue;
        struct weights *w;
        const char *prefix;
        if (!weights_open(&w, path_of("%s/%s", dir, f->d_name).s, NULL)) continue;
        if (recognise(w, &prefix) != SINGLE_NONE) snprintf(best, sizeof best, "%s", f->d_name);
        weights_close(w);
    }
    if (d) closedir(d);
    if (best[0]) *out = path_of("%s/%s", dir, best);
    return best[0] != '\0';
}

/* What a GGUF file says of itself, without reading all of a language model's vocabulary: its first key by custom.
 * 1: an image model, -1: something else, 0: nothing. */
static int gguf_says(const char *path)
{
    static const char key[] = "general.architecture";
    static const char *const image[] = { "flux", "sdxl",    "sd1",   "sd3", "aura",   "hidream",   "cosmos",
                                         "ltxv", "lumina2", "hyvid", "wan", "pixart", "qwen_image" };
    char head[4096];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f) fclose(f);
    const char *at = memmem(head, n, key, sizeof key - 1), *end = head + n;
    if (n < 4 || memcmp(head, "GGUF", 4) != 0) return -1;
    if (!at) return 0;
    const char *value = at + sizeof key - 1 + 12; /* its type, a length of 8 bytes, the word */
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) {
        size_t len = strlen(image[i]);
        if (value + len <= end && (size_t)(unsigned char)value[-8] == len &&
            memcmp(value, image[i], len) == 0)
            return 1;
    }
    return -1;
}

bool image_is_checkpoint(const char *path)
{
    struct path file;
    struct weights *w;
    const char *prefix;
    if (is_dir(path)) return find_single(path, &file);
    size_t n = strlen(path);
    int says = n > 5 && strcmp(path + n - 5, ".gguf") == 0 ? gguf_says(path) : 0;
    if (says) return says > 0;
    if (!is_file(path) || !weights_open(&w, path, NULL)) return false;
    const bool is = recognise(w, &prefix) != SINGLE_NONE;
    weights_close(w);
    return is;
}

/* ---- both -------------------------------------------------------------------------------------------------- */

static bool widths_agree(const struct pipeline *p, struct err *e)
{
    const struct vae_config *v = vae_config(p->vae);
    if (p->flux) {
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

static void describe(struct pipeline *p)
{
    struct image_info *i = &p->info;
    bool flux = p->kind == &pipeline_flux, guided = flux && p->flux_names.guidance;
    bool edm = p->schedule.sampler == SAMPLER_EDM_DPMPP_2M || p->schedule.sampler == SAMPLER_EDM_EULER,
         pruned = !flux && p->unet_names.mid_res == 1;
    snprintf(p->family, sizeof p->family, "%s",
             flux     ? guided ? "flux-dev" : "flux-schnell"
             : edm    ? "playground-v2.5"
             : pruned ? "ssd-1b"
                      : "sdxl");
    int cells = 1 << (flux ? 1 : p->unet_names.n_level - 1); /* the network halves the latent this often */
    i->family = p->family;
    i->name = p->name;
    i->default_steps = flux ? guided ? 28 : 4 : 30;
    i->default_guidance = flux ? guided ? 3.5f : 0.0f : edm ? 3.0f : 7.0f;
    i->takes_negative = !flux;
    i->takes_guidance = !flux || guided;
    i->size_multiple = vae_factor(p->vae) * cells;
    if (i->size_multiple > 64) i->size_multiple = 64;
    if (i->default_width == 0) i->default_width = i->default_height = 1024;
    for (int k = 0; k < p->n_file; k++) i->weight_bytes += weights_bytes(p->file[k]);
    if (flux) {
        int most = guided ? 512 : 256, own = t5_tokenizer_max(p->t5_tokenizer);
        p->n_t5 = own > 0 && own < most ? own : most;
    }
}

bool pipeline_load(struct pipeline *p, const char *path, struct device *dev, struct err *e)
{
    *p = (struct pipeline){ .dev = dev };
    struct path file = path_of("%s", path);
    size_t n = strlen(file.s);
    while (n > 1 && file.s[n - 1] == '/') file.s[--n] = '\0';
    const char *slash = strrchr(file.s, '/');
    snprintf(p->name, sizeof p->name, "%.127s", slash ? slash + 1 : file.s);

    json_t *index = is_dir(file.s) ? json_load_file(path_of("%s/model_index.json", file.s).s, 0, NULL) : NULL;
    bool ok;
    if (index) {
        ok = load_folder(p, file.s, index, e);
    } else {
        struct path dir = file;
        struct weights *w = NULL;
        const char *prefix = "";
        enum single kind = SINGLE_NONE;
        ok = true;
        if (is_dir(file.s) && !find_single(dir.s, &file)) {
            ok = err_set(e, ERR_FORMAT, "%s holds neither model_index.json nor an image checkpoint", path);
        }
        if (ok && !is_dir(dir.s)) {
            char *cut = strrchr(dir.s, '/');
            if (cut)
                *cut = '\0';
            else
                dir = path_of(".");
        }
        ok = ok && open_file(p, file.s, &w, e);
        if (ok) kind = recognise(w, &prefix);
        if (ok && kind == SINGLE_NONE) {
            ok = err_set(e, ERR_FORMAT,
                         "%s: its tensor names are of no image model that is known here (FLUX.1 dev and "
                         "schnell and the SDXL family are)",
                         file.s);
        }
        ok = ok && load_single(p, w, kind, prefix, dir.s, e);
    }
    json_decref(index);
    ok = ok && widths_agree(p, e);
    if (!ok) {
        pipeline_close(p);
        return false;
    }
    describe(p);
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
