/* pipeline.h - the networks of one image model joined: from prompts to conditioning, from noise to a latent, from a latent to a
 * picture. A family (FLUX, SDXL) is one struct pipeline_kind, a row of pipelines[]; what differs between its models are fields read
 * from their files. Nothing outside a family's own file asks which of them it is.
 *
 * Threads   one owner at a time, who holds the device. */
#ifndef HEARTH_IMAGE_PIPELINE_H
#define HEARTH_IMAGE_PIPELINE_H

#include "image/clip.h"
#include "image/flux.h"
#include "image/image.h"
#include "image/lora.h"
#include "image/noise.h"
#include "image/schedule.h"
#include "image/t5.h"
#include "image/unet.h"
#include "image/vae.h"
#include "text/tokenizer/clip_tokenizer.h"
#include "text/tokenizer/t5_tokenizer.h"

enum { PIPELINE_FILES = 8 };

struct pipeline;

/* What the text encoders say about one prompt. */
struct conditioning {
    dev_float *context; /* [n_text, width] */
    dev_float *pooled;
    int n_text;
};

struct pipeline_kind {
    const char *name; /* "flux", "sdxl" */
    /* The denoiser: its folder in diffusers' layout, its class there, and what errors call it. */
    const char *denoiser, *denoiser_class, *what;
    const char *clip_class; /* the only class that the first text encoder may have; NULL: any CLIP */
    bool flow;              /* rectified flow: schedules of that kind, and no others */
    bool t5;                /* the second text encoder is a T5; else a CLIP */
    bool spm_words;         /* a CLIP encoder may bring a SentencePiece tokenizer */
    bool clip_skip;         /* requests may leave out a CLIP encoder's last layers */
    bool latent_stats,
        latent_shift; /* which ways of centring latents the reference's pipeline reads from a VAE */
    /* Whether the folder behind model_index.json is of this kind; may set fields of *p. */
    bool (*claims)(struct pipeline *p, const json_t *index);
    /* The denoiser out of a folder of diffusers' form. */
    bool (*load)(struct pipeline *p, const json_t *config, struct nn_source *s, struct err *e);
    /* Whether the networks' widths are each other's. */
    bool (*fits)(const struct pipeline *p, struct err *e);
    /* Defaults, once all is loaded: family, steps, guidance, what is taken. Returns how often the network halves a latent, and the cells
     * a side that it was trained at. */
    void (*describe)(struct pipeline *p, int *halvings, int *side);
    /* Both prompts of a request; memory from the context's scratch arena, which lives as long as the request. */
    bool (*encode)(const struct pipeline *p, struct nn_ctx *c, const struct image_request *r,
                   struct conditioning *positive, struct conditioning *negative, struct err *e);
    /* The network's output for latent x [channels, h, w] at step i, guidance applied; false: cancelled. */
    bool (*predict)(const struct pipeline *p, struct nn_ctx *c, const struct schedule *s, int i,
                    const dev_float *x, int h, int w, const struct conditioning *positive,
                    const struct conditioning *negative, float guidance, dev_float *out,
                    const atomic_bool *cancel);
    size_t (*scratch)(const struct pipeline *p, int h, int w, bool negative);  /* bytes, prompts and steps */
    int (*lora_targets)(const struct pipeline *p, struct nn_lora_target *out); /* at most 4 */
};

struct pipeline {
    const struct pipeline_kind *kind;
    struct device *dev;
    struct weights *file[PIPELINE_FILES];
    int n_file;
    struct clip *clip[2];
    struct t5 *t5;
    struct flux *flux;
    struct unet *unet;
    struct vae *vae;
    struct clip_tokenizer *clip_tokenizer[2];
    struct t5_tokenizer *t5_tokenizer;
    struct t5_tokenizer *spm_tokenizer[2]; /* of a CLIP encoder that has no clip_tokenizer */
    bool one_encoder;                      /* SDXL with zeros in place of the second encoder's output */
    int n_t5;                              /* tokens of the T5 prompt */
    bool zero_empty_negative; /* SDXL: no negative prompt means zeros, not the empty string's encoding */
    struct schedule_config schedule;
    struct image_info info;
    struct flux_config flux_names; /* shapes behind the renaming of adapters */
    struct unet_config unet_names;
    char name[128], family[32];
    float *preview; /* [n_latent + 1, 3]: latent to colour, made at the first preview; NULL before */
};

/* pipeline_files.c: everything from a diffusers folder or single files. */
bool pipeline_load(struct pipeline *p, const char *path, struct device *dev, struct err *e);
/* As weights_intact(), of all its files. */
bool pipeline_intact(const struct pipeline *p, struct err *e);
void pipeline_close(struct pipeline *p);

/* pipeline_flux.c, pipeline_sdxl.c; and the table of them, ended by NULL. */
extern const struct pipeline_kind pipeline_flux;
extern const struct pipeline_kind pipeline_sdxl;
extern const struct pipeline_kind *const pipelines[];

/* pipeline.c */
struct draw { /* one request being drawn */
    struct pipeline *p;
    const struct image_request *r; /* sizes, steps and guidance filled in */
    const struct nn_lora_use *lora;
    int n_lora;
    const atomic_bool *cancel; /* the pool may give work up on it at any time */
    /* Called after every step and with every finished picture; the picture's pixels become the receiver's. */
    void (*progress)(void *arg, int index, int step, int steps, struct image_rgb preview);
    void (*finished)(void *arg, int index, uint64_t seed, struct image_rgb picture);
    /* NULL, or what looks at each picture's latent [channels, h, w] after the last step, before the decoder. */
    void (*latent)(void *arg, int index, const float *x, int h, int w);
    void *arg;
};
/* A tokenizer and an encoder come from different files: ids must be rows of the embedding. */
bool pipeline_ids_fit(const int32_t *ids, int n, int n_vocab, struct err *e);
/* Fills defaults in *r and refuses what the model does not take; *field as in image_submit(). */
bool pipeline_check(const struct pipeline *p, struct image_request *r, const char **field, struct err *e);
bool pipeline_draw(const struct draw *d, struct err *e);

#endif
