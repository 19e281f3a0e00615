/* drawing.h - an image request under way: from a canonical request to encoded pictures, through the model and the safety policy.
 *
 * Each request has a thread of its own that waits for the engine, classifies, encodes and queues events, so that no event loop does;
 * their number is bounded by the engine's queue. That thread is also where every drawing ends, with what it used: pictures made, steps
 * done, pixels of the pictures; also when its client had left and its owner let go.
 * Ownership  everything a picture_request points to belongs to it and goes with picture_request_free(). */
#ifndef HEARTH_SERVICE_DRAWING_H
#define HEARTH_SERVICE_DRAWING_H

#include "format/image_file.h"
#include "image/image.h"
#include "service/models/registry.h"
#include "service/reply.h"
#include "service/request.h"
#include "service/safety/safety.h"

struct c2pa_signer;
struct picture_request {
    char *model; /* as the client wrote it; NULL: the first image model there is */
    char *prompt, *negative_prompt, *sampler;
    int64_t width, height; /* 0: the model's default, or the input picture's */
    bool any_size;         /* with an input picture its own size may be kept; else sizes are the catalog's */
    int64_t n, steps, clip_skip; /* steps 0: the model's default */
    double guidance;             /* below 0: the model's default */
    bool has_seed;
    uint64_t seed;
    struct image_rgb init; /* pixels NULL: text to image */
    unsigned char *mask;   /* [init.height, init.width] 255: repaint */
    double strength;       /* below 0: 0.75, or 1 with a mask or an expansion */
    int64_t expand_left, expand_right, expand_top, expand_bottom;
    struct image_lora_spec *lora; /* paths under the adapters' folder */
    int n_lora;
    enum image_format format;
    int quality; /* of JPEG and WebP, 1..100 */
    bool safety; /* false: pictures are still classified, but the policy does nothing */
    bool previews;
    struct c2pa_signer *signer; /* who signs them; NULL: nobody. Borrowed */
    struct blobs *files;        /* where pictures are kept for their URLs; NULL: nowhere. Borrowed */
    struct share_claim share;   /* image.h */
    struct ending *ending;      /* borrowed: the drawing holds it to its end; NULL: nobody counts */
};
void picture_request_init(struct picture_request *q);
void picture_request_free(struct picture_request *q);

struct drawing;
/* Where the queue is full f->retry_after_s says when a place is likely to be free. m comes from registry_find_image(). q is only read, and may be freed afterwards. notify may be called before this returns, from another
 * thread, and must not block. */
bool drawing_start(struct registry *r, struct model *m, struct safety *s, const struct picture_request *q,
                   void (*notify)(void *arg), void *arg, struct drawing **out, struct fault *f);
/* Takes the next event, of pictures: REPLY_PROGRESS, REPLY_PICTURE, and REPLY_DONE or REPLY_ERROR once, last, with the usage. False when
 * there is none now. */
bool drawing_next(struct drawing *p, struct reply_event *ev);
void drawing_cancel(struct drawing *p); /* any thread */
/* After this returns, notify is not called any more. Cancels what still runs, without waiting for it. */
void drawing_free(struct drawing *p);

/* What the request became once the model's defaults were filled in. */
struct picture_facts {
    const char *model;
    int n, width, height, steps;
    int draw_width, draw_height; /* what the network draws, when that is scaled to the size; else 0 */
    double guidance;
    uint64_t seed;
};
const struct picture_facts *drawing_facts(const struct drawing *p);

/* The ratios that may be named, ended by NULL. */
extern const char *const picture_ratios[];
/* "16:9" among the sizes of a model, or by its pixel count when it has no table. false: no such ratio. */
bool picture_size_for_ratio(const struct model *m, const char *ratio, int64_t *width, int64_t *height);

#endif
