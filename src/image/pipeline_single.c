/* pipeline_single.c - a pipeline's networks out of single files: a checkpoint that holds all or only the denoiser, and beside it
 * what it lacks, in whichever of the published namings. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "image/pipeline_files.h"

enum single { SINGLE_NONE, SINGLE_FLUX_BFL, SINGLE_FLUX_DIFFUSERS, SINGLE_SDXL, SINGLE_SDXL_DIFFUSERS };

/* What a file is, told by its tensors' names, and the prefix before the denoiser's. */
static enum single recognise(const struct weights *w, const char **prefix)
{
    static const char *const prefixes[] = {
        "", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "model."
    };
    static const struct {
        const char *has, *and;
        enum single kind;
    } kinds[] = {
        { "double_blocks.0.img_attn.qkv.weight", NULL, SINGLE_FLUX_BFL },
        { "transformer_blocks.0.attn.add_q_proj.weight", NULL, SINGLE_FLUX_DIFFUSERS },
        { "input_blocks.0.0.weight", "label_emb.0.0.weight", SINGLE_SDXL },
        { "down_blocks.0.resnets.0.conv1.weight", "add_embedding.linear_1.weight", SINGLE_SDXL_DIFFUSERS },
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        *prefix = prefixes[i];
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            if (weights_find(w, NN("%s%s", *prefix, kinds[k].has)) &&
                (!kinds[k].and || weights_find(w, NN("%s%s", *prefix, kinds[k].and))))
                return kinds[k].kind;
        }
    }
    return SINGLE_NONE;
}

static bool ends(const char *name, const char *suffix)
{
    size_t n = strlen(name), len = strlen(suffix);
    return n > len && strcmp(name + n - len, suffix) == 0;
}

static bool is_weight_file(const char *name) { return ends(name, ".safetensors") || ends(name, ".gguf"); }

/* ---- companions -------------------------------------------------------------------------------------------- */

/* Where a network may be: names that its companion file begins with, the prefixes of its tensors in files that hold more ("" last: of
 * its own file), and tensors by one of which it is known. Each list ends with NULL. */
struct home {
    const char *what;
    const char *name[6], *prefix[10], *probe[4];
};

static const struct home vae_home = {
    "VAE",
    { "ae", "vae", "sdxl_vae", "flux_vae", "diffusion_pytorch_model", NULL },
    { "first_stage_model.", "vae.", "model.first_stage_model.", "", NULL },
    { "decoder.conv_in.weight", NULL },
};
static const struct home clip_l_home = {
    "CLIP text encoder",
    { "clip_l", "text_encoder.", "text_encoder-", "model", NULL },
    { "conditioner.embedders.0.transformer.", "text_encoders.clip_l.transformer.", "text_encoders.clip_l.",
      "cond_stage_model.transformer.", "text_encoder.", "clip_l.transformer.", "clip_l.", "", NULL },
    { "text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight", NULL },
};
static const struct home clip_g_home = {
    "OpenCLIP text encoder",
    { "clip_g", "text_encoder_2", "open_clip", NULL },
    { "conditioner.embedders.1.model.", "conditioner.embedders.1.transformer.",
      "text_encoders.clip_g.transformer.", "text_encoders.clip_g.", "text_encoder_2.", "clip_g.transformer.",
      "clip_g.", "text.", "", NULL },
    { "token_embedding.weight", "text_model.embeddings.token_embedding.weight",
      "embeddings.token_embedding.weight", NULL },
};
static const struct home t5_home = {
    "T5 encoder",
    { "t5xxl", "t5", "text_encoder_2", "google_t5", NULL },
    { "text_encoders.t5xxl.transformer.", "text_encoders.t5xxl.", "text_encoder_2.", "t5xxl.transformer.",
      "t5xxl.", "", NULL },
    { "encoder.final_layer_norm.weight", NULL },
};

/* The prefix under which the network is in w, with *probe found; NULL: it is not there. main: a file of its own has no prefix, a
 * checkpoint of several networks has one for each. */
static const char *prefix_in(const struct home *h, const struct weights *w, bool main, const char **probe)
{
    for (size_t i = 0; h->prefix[i]; i++) {
        if (main && !*h->prefix[i]) continue;
        for (size_t k = 0; h->probe[k]; k++) {
            *probe = h->probe[k];
            if (weights_find(w, NN("%s%s", h->prefix[i], *probe))) return h->prefix[i];
        }
    }
    return NULL;
}

/* The first weight file of dir whose name begins so and comes after `after`; sorted, so that the choice does not depend on the disk. */
static bool next_file(const char *dir, const char *begin, const char *after, char best[256])
{
    DIR *d = opendir(dir);
    best[0] = '\0';
    for (struct dirent *f; d && (f = readdir(d));) {
        if (strlen(f->d_name) >= 256 || !is_weight_file(f->d_name) || strcmp(f->d_name, after) <= 0) continue;
        if (strncasecmp(f->d_name, begin, strlen(begin)) != 0) continue;
        if (!best[0] || strcmp(f->d_name, best) < 0) snprintf(best, 256, "%s", f->d_name);
    }
    if (d) closedir(d);
    return best[0] != '\0';
}

/* Finds the network inside the checkpoint or in a file beside it that has its tensors. *found is false, and no error, when it is in
 * neither. */
static bool inside_or_beside(struct pipeline *p, const struct home *h, struct weights *main, const char *dir,
                             struct nn_source *s, const char **probe, bool *found, struct err *e)
{
    *found = true;
    s->prefix = prefix_in(h, main, true, probe);
    if (s->prefix) return true;
    char before[256], name[256];
    for (size_t i = 0; h->name[i]; i++) {
        before[0] = '\0';
        while (next_file(dir, h->name[i], before, name)) {
            struct weights *w;
            struct pipeline_path file = pipeline_path("%s/%s", dir, name);
            memcpy(before, name, sizeof before);
            if (!weights_open(&w, file.s, e)) return err_wrap(e, "%s", file.s);
            bool has = prefix_in(h, w, false, probe) != NULL;
            weights_close(w);
            if (!has) continue;
            if (!pipeline_open(p, file.s, &w, e)) return false;
            *s = pipeline_source(p, w, h->what);
            s->prefix = prefix_in(h, w, false, probe);
            return true;
        }
    }
    *found = false;
    return true;
}

/* A component's folder of diffusers' form beside the checkpoint serves too. */
static bool has_folder(const char *dir, const char *name)
{
    return pipeline_is_file(pipeline_path("%s/%s/config.json", dir, name).s);
}

static bool nowhere(const struct home *h, const char *dir, struct err *e)
{
    return err_set(e, ERR_FORMAT, "the %s is not in the checkpoint; put %s.safetensors into %s", h->what,
                   h->name[0], dir);
}

static bool load_vae(struct pipeline *p, struct weights *main, const char *dir, struct err *e)
{
    struct nn_source s = pipeline_source(p, main, vae_home.what);
    struct vae_config k = { 0 };
    const char *probe;
    bool found;
    if (!inside_or_beside(p, &vae_home, main, dir, &s, &probe, &found, e)) return false;
    if (!found)
        return has_folder(dir, "vae") ? pipeline_vae_folder(p, dir, NULL, e) : nowhere(&vae_home, dir, e);
    bool ldm = weights_find(s.w, NN("%sencoder.down.0.block.0.conv1.weight", s.prefix)) != NULL;
    s.locate = ldm ? vae_locate_ldm : vae_locate_diffusers;
    s.locate_arg = ldm ? (const void *)&k : &s;
    bool ok = vae_config_from_shapes(&k, &s, e);
    if (ok) {
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

static bool load_clip(struct pipeline *p, struct weights *main, const char *dir, int which, struct err *e)
{
    const struct home *h = which ? &clip_g_home : &clip_l_home;
    struct nn_source s = pipeline_source(p, main, h->what);
    struct clip_config k = { 0 }, read;
    const char *probe, *folder = which ? "text_encoder_2" : "text_encoder";
    bool found;
    if (!inside_or_beside(p, h, main, dir, &s, &probe, &found, e)) return false;
    if (!found)
        return has_folder(dir, folder) ? pipeline_clip_folder(p, dir, NULL, which, e) : nowhere(h, dir, e);
    if (strcmp(probe, "token_embedding.weight") == 0) {
        s.locate = clip_locate_openclip;
        s.locate_arg = &k;
        /* The renaming needs the width before the widths can be read. */
        const struct tensor *t = weights_find(s.w, NN("%s%s", s.prefix, probe));
        k.n_embd = t && t->n_dims == 2 && t->dim[1] < 65536 ? (int)t->dim[1] : 0;
    }
    bool ok = clip_config_from_shapes(&read, &s, e);
    if (ok) k = read;
    if (which == 0) k.n_proj = 0; /* some files bring one along; no pipeline uses the first encoder's */
    ok = ok && clip_tokenizer_load(&p->clip_tokenizer[which],
                                   pipeline_path("%s/%s", dir, which ? "tokenizer_2" : "tokenizer").s, e);
    if (ok) k.eos_id = clip_tokenizer_end(p->clip_tokenizer[which]); /* whose row is the pooled one */
    ok = ok && clip_load(&p->clip[which], &k, &s, e);
    nn_source_free(&s);
    return ok;
}

static bool load_t5(struct pipeline *p, struct weights *main, const char *dir, struct err *e)
{
    struct nn_source s = pipeline_source(p, main, t5_home.what);
    struct t5_config k;
    const char *probe;
    bool found;
    if (!inside_or_beside(p, &t5_home, main, dir, &s, &probe, &found, e)) return false;
    if (!found)
        return has_folder(dir, "text_encoder_2") ? pipeline_t5_folder(p, dir, NULL, e)
                                                 : nowhere(&t5_home, dir, e);
    bool ok = t5_config_from_shapes(&k, &s, e) && t5_load(&p->t5, &k, &s, e) &&
              t5_tokenizer_load(&p->t5_tokenizer, pipeline_path("%s/tokenizer_2", dir).s, e);
    nn_source_free(&s);
    return ok;
}

/* ---- the checkpoint ---------------------------------------------------------------------------------------- */

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

static bool load_denoiser(struct pipeline *p, struct weights *main, enum single kind, const char *prefix,
                          struct err *e)
{
    bool flux = kind == SINGLE_FLUX_BFL || kind == SINGLE_FLUX_DIFFUSERS, ok;
    p->kind = flux ? &pipeline_flux : &pipeline_sdxl;
    struct nn_source s = pipeline_source(p, main, p->kind->what);
    s.prefix = prefix;
    p->zero_empty_negative = true;
    if (flux) {
        bool bfl = kind == SINGLE_FLUX_BFL;
        ok = flux_config_from_shapes(&p->flux_names, &s, bfl, e);
        s.locate = bfl ? flux_locate_bfl : NULL;
        s.locate_arg = &p->flux_names;
        ok = ok && flux_load(&p->flux, &p->flux_names, &s, e);
        p->schedule = schedule_config_flux(!p->flux_names.guidance);
    } else {
        s.locate = kind == SINGLE_SDXL ? unet_locate_ldm : NULL;
        s.locate_arg = &p->unet_names;
        ok = unet_config_from_shapes(&p->unet_names, &s, e) && unet_load(&p->unet, &p->unet_names, &s, e) &&
             single_schedule(p, main, e);
    }
    nn_source_free(&s);
    return ok;
}

static bool has_tokenizers(const char *dir, struct err *e)
{
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "tokenizer_2" : "tokenizer";
        if (pipeline_is_dir(pipeline_path("%s/%s", dir, name).s)) continue;
        return err_set(
            e, ERR_FORMAT,
            "single files hold no tokenizers: put the folders tokenizer and tokenizer_2 of the model's "
            "repository beside it; %s/%s is missing",
            dir, name);
    }
    return true;
}

static int may_be_weights(const struct dirent *f)
{
    return strlen(f->d_name) < 256 && is_weight_file(f->d_name);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* A folder without model_index.json: its first weight file that holds a denoiser. say: name another one that is passed over. */
static bool find_single(const char *dir, bool say, struct pipeline_path *out)
{
    struct dirent **list = NULL;
    const char *best = NULL;
    int n = scandir(dir, &list, may_be_weights, by_bytes);
    for (int i = 0; i < n; i++) {
        struct weights *w;
        const char *prefix;
        if (!weights_open(&w, pipeline_path("%s/%s", dir, list[i]->d_name).s, NULL)) continue;
        bool is = recognise(w, &prefix) != SINGLE_NONE;
        weights_close(w);
        if (!is) continue;
        if (best) {
            if (say)
                log_warn("%s holds more than one image checkpoint; %s is taken, %s is not", dir, best,
                         list[i]->d_name);
            break;
        }
        best = list[i]->d_name;
    }
    if (best) *out = pipeline_path("%s/%s", dir, best);
    for (int i = 0; i < n; i++) free(list[i]);
    free(list);
    return best != NULL;
}

static bool unknown(const char *file, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: its tensor names are of no image model that is known here (FLUX.1 dev and "
                   "schnell and the SDXL family are)",
                   file);
}

bool pipeline_single_check(const char *path, struct err *e)
{
    struct pipeline_path file = pipeline_path("%s", path);
    struct weights *w;
    const char *prefix;
    if (pipeline_is_dir(path) && !find_single(path, true, &file))
        return err_set(e, ERR_FORMAT, "%s holds neither model_index.json nor an image checkpoint", path);
    if (!weights_open(&w, file.s, e)) return false;
    const enum single kind = recognise(w, &prefix);
    weights_close(w);
    return kind != SINGLE_NONE || unknown(file.s, e);
}

bool pipeline_single(struct pipeline *p, const char *path, struct err *e)
{
    struct pipeline_path file = pipeline_path("%s", path), dir = file;
    struct weights *w;
    const char *prefix;
    if (!pipeline_is_dir(path)) {
        char *cut = strrchr(dir.s, '/');
        if (cut)
            *cut = '\0';
        else
            dir = pipeline_path(".");
    } else if (!find_single(path, true, &file)) {
        return err_set(e, ERR_FORMAT, "%s holds neither model_index.json nor an image checkpoint", path);
    }
    if (!pipeline_open(p, file.s, &w, e)) return false;
    enum single kind = recognise(w, &prefix);
    if (kind == SINGLE_NONE) return unknown(file.s, e);
    return has_tokenizers(dir.s, e) && load_denoiser(p, w, kind, prefix, e) && load_vae(p, w, dir.s, e) &&
           load_clip(p, w, dir.s, 0, e) &&
           (p->kind->t5 ? load_t5(p, w, dir.s, e) : load_clip(p, w, dir.s, 1, e));
}

/* ---- without loading --------------------------------------------------------------------------------------- */

/* What a GGUF file says of itself, without reading all of a language model's vocabulary: its first key by custom.
 * 1: an image model, -1: something else, 0: nothing. */
static int gguf_says(const char *path)
{
    static const char key[] = "general.architecture";
    static const char *const image[] = { "flux", "sdxl",    "sd1",   "sd3", "aura",   "hidream",   "cosmos",
                                         "ltxv", "lumina2", "hyvid", "wan", "pixart", "qwen_image" };
    char head[4096];
    if (!pipeline_is_file(path)) return 0; /* to open a FIFO or a device would wait, or do worse */
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
    struct pipeline_path file;
    struct weights *w;
    const char *prefix;
    if (pipeline_is_dir(path)) return find_single(path, false, &file);
    size_t n = strlen(path);
    int says = n > 5 && strcmp(path + n - 5, ".gguf") == 0 ? gguf_says(path) : 0;
    if (says) return says > 0;
    if (!pipeline_is_file(path) || !weights_open(&w, path, NULL)) return false;
    const bool is = recognise(w, &prefix) != SINGLE_NONE;
    weights_close(w);
    return is;
}
