/* image.h - the door to the image engine: a loaded pipeline with its worker thread.
 *
 * Requests  image_submit() queues and returns at once; events are taken with image_next(). `notify` is called from the
 *           worker's thread, or from image_cancel(), whenever there is something to take and must not block.
 * Cancel    image_cancel() from any thread; looked at between steps, between network blocks and inside every operation (pool.h).
 *           One that waits leaves the queue at once, and its last event is there when image_cancel() returns.
 * Notify    runs under the model's lock: it may wake a thread or a connection, but not call back into this interface.
 * Seeds     image i of a request is drawn from seed + i exactly as if it had been asked for alone: the noise is PyTorch's
 *           CPU generator's, so a seed means the picture that diffusers draws from it.
 * Ownership image_submit() copies what it needs; image_job_free() releases the job and cancels it if it still runs. */
#ifndef HEARTH_IMAGE_IMAGE_H
#define HEARTH_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/shares.h"
#include "device/device.h"

struct image_model;

struct image_options {
    int queue_limit;   /* requests waiting; 0: 64 */
    size_t max_pixels; /* of one picture; 0: 4 Mi */
};

/* path: a diffusers folder, or a single-file checkpoint in an original layout (recognised by its tensor names). Single files
 * without text encoders or VAE (BFL FLUX, GGUF) take them from the same folder: ae.safetensors, clip_l.safetensors,
 * clip_g.safetensors (SDXL), t5xxl*.safetensors, tokenizer folders as in the diffusers layout. */
bool image_load(struct image_model **out, const char *path, const struct image_options *o, struct device *dev,
                struct err *e);
void image_free(struct image_model *m);
/* Whether the model's files are those that were loaded; when not, its requests end with this error and it is to be loaded anew. */
bool image_intact(const struct image_model *m, struct err *e);
/* Whether a file, or a file of a folder, holds an image model's denoiser; reads headers only. Of a GGUF that calls itself an image
 * model of another kind image_load() says that it is not supported. */
bool image_is_checkpoint(const char *path);

/* Whether image_load() would take it, as far as that shows from its kind and from the denoiser's header. */
bool image_check(const char *path, struct err *e);

struct image_info {
    const char *family; /* "flux-dev", "flux-schnell", "sdxl", "playground-v2.5", ... */
    const char *name;
    int default_steps;
    float default_guidance;
    bool takes_negative; /* classifier-free guidance and a negative prompt */
    bool takes_guidance; /* guidance_scale has an effect */
    int size_multiple;   /* width and height must be multiples of it: 16 or 8 */
    int default_width, default_height;
    size_t weight_bytes;
};
const struct image_info *image_info(const struct image_model *m);

/* A picture as 8-bit RGB, rows from the top, no padding. */
struct image_rgb {
    int width, height;
    unsigned char *pixels; /* [height, width, 3] */
};

struct image_lora_spec {
    const char *path;
    float weight;
};

struct image_request {
    const char *prompt, *negative_prompt; /* UTF-8; negative NULL: none given */
    int width, height;                    /* 0: from the init image, or the default */
    /* What the network draws, then scaled to fit width x height, its edges going on at the sides where the shape is another (not from an input
     * picture): a model that knows one size only. 0: width x height */
    int draw_width, draw_height;
    int n, steps;   /* steps 0: default */
    float guidance; /* < 0: default */
    uint64_t seed;
    const char *sampler;          /* NULL: the model's own */
    const struct image_rgb *init; /* image to image; scaled to width x height */
    double strength;              /* 0..1, share of the steps that are run; with init */
    const unsigned char *mask;    /* [init->height, init->width], 255: repaint; NULL: the whole picture */
    int expand_left, expand_right, expand_top, expand_bottom; /* outpainting, pixels, with init */
    const struct image_lora_spec *lora;
    int n_lora;
    int clip_skip; /* SDXL: hidden state -(clip_skip + 2) */
    bool previews; /* small pictures with the progress events */
    struct share_claim
        share; /* whose place among those who wait it takes: the share that had the fewest steps by its weight is next */
    const float *noise; /* tests: initial noise instead of the seed's, [n, c, h, w] of the latent */
};

enum image_event_type { IMAGE_EV_PROGRESS, IMAGE_EV_IMAGE, IMAGE_EV_DONE, IMAGE_EV_ERROR };
struct image_event {
    enum image_event_type type;
    int index;       /* which of the n pictures */
    int step, steps; /* PROGRESS: steps done of this picture */
    struct image_rgb
        image;      /* PROGRESS: preview or empty; IMAGE: the picture. Pixels freed by image_event_free() */
    uint64_t seed;  /* IMAGE: the seed that draws it alone */
    double seconds; /* DONE: of inference, without the queue */
    struct err error;
};
void image_event_free(struct image_event *ev);

struct image_job;
/* ERR_BUSY: the queue is full. ERR_REQUEST: a parameter the model does not take; *field is its name, as the message has it and as
 * OpenAI's API spells it (a constant; NULL: it is of none alone). field may be NULL. */
bool image_submit(struct image_model *m, const struct image_request *r, void (*notify)(void *arg), void *arg,
                  struct image_job **out, const char **field, struct err *e);
/* Seconds that a request took in the mean, of those that were drawn whole; 0: none was. One is drawn at a time, so that a place in a full
 * queue is free after about as long. */
double image_mean_seconds(struct image_model *m);
int image_waiting(struct image_model *m); /* requests in the queue */
bool image_next(struct image_job *j, struct image_event *ev);
bool image_wait(struct image_job *j, struct image_event *ev); /* blocks; false after the last event */
void image_cancel(struct image_job *j);
void image_job_free(struct image_job *j);

/* Probability that a picture is unsafe, by the classifier of nsfw.h; classes drawing, hentai, neutral, porn, sexy. */
struct image_classifier;
bool image_classifier_load(struct image_classifier **out, const char *path, struct device *dev,
                           struct err *e);
void image_classifier_free(struct image_classifier *c);
bool image_classify(struct image_classifier *c, const struct image_rgb *picture, float probability[5],
                    struct err *e);

#endif
