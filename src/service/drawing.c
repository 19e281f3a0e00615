/* drawing.c - see drawing.h. */
#include "service/drawing.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "service/c2pa/manifest.h"
#include "service/ending.h"
#include "service/files.h"

struct queued {
    struct reply_event ev;
    struct queued *next;
};

struct drawing {
    struct registry *registry;
    struct model *model;
    struct image_model *image;
    struct safety *safety;
    struct image_job *job;
    struct picture_facts facts;
    char *prompt; /* for the files' text chunks */
    enum image_format format;
    int quality;
    struct blobs *files;
    struct c2pa_signer *signer;
    bool composite; /* it began with another picture */
    bool apply_safety;
    void (*notify)(void *arg);
    void *arg;
    struct ending *ending; /* held until settle() */
    double started;        /* clock_seconds() */
    struct usage usage;    /* the thread's */
    int steps;             /* of the picture that is being drawn */
    pthread_mutex_t lock;  /* guards what follows */
    struct queued *first, **last;
    struct queued reserve; /* for the event that ends it, when there is no memory for another */
    bool released;         /* the owner let go: the thread cleans up when the engine is done with the job */
    bool has_thread;       /* the thread still runs */
};

static const char *picture_extension(enum image_format f)
{
    return f == IMAGE_PNG ? "png" : f == IMAGE_JPEG ? "jpg" : "webp";
}

void picture_request_init(struct picture_request *q)
{
    *q = (struct picture_request){ .n = 1, .guidance = -1, .strength = -1, .quality = 90, .safety = true };
}

void picture_request_free(struct picture_request *q)
{
    free(q->model);
    free(q->prompt);
    free(q->negative_prompt);
    free(q->sampler);
    free(q->init.pixels);
    free(q->mask);
    for (int i = 0; i < q->n_lora; i++) free((char *)q->lora[i].path);
    free(q->lora);
    picture_request_init(q);
}

/* ---- sizes ------------------------------------------------------------------------------------------------- */

/* The catalog's table decides; a model that only this machine knows takes whatever its network takes. */
static bool check_size(const struct model *m, const struct picture_request *q, struct fault *f)
{
    const struct catalog_model *c = model_catalog(m);
    if (!c || !c->sizes.n || (!q->width && !q->height) || (q->init.pixels && q->any_size)) return true;
    char list[280] = "";
    size_t at = 0;
    for (int i = 0; i < c->sizes.n; i++) {
        int64_t w, h;
        if (!catalog_parse_size(c->sizes.v[i], &w, &h)) continue;
        if (w == q->width && h == q->height) return true;
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", c->sizes.v[i]);
        if (at >= sizeof list) break;
    }
    f->param = "size";
    return err_set(&f->err, ERR_REQUEST, "size must be one of %s for this model, got %lldx%lld", list,
                   (long long)q->width, (long long)q->height);
}

const char *const picture_ratios[] = { "1:1", "21:9", "16:9", "3:2", "5:4", "4:5",
                                       "2:3", "9:16", "9:21", "4:3", "3:4", NULL };

bool picture_size_for_ratio(const struct model *m, const char *ratio, int64_t *width, int64_t *height)
{
    const struct catalog_model *c = model_catalog(m);
    int k = 0, a, b;
    while (picture_ratios[k] && strcmp(picture_ratios[k], ratio) != 0) k++;
    if (!picture_ratios[k] || sscanf(ratio, "%d:%d", &a, &b) != 2) return false;
    double want = log((double)a / b), best = INFINITY;
    for (int i = 0; c && i < c->sizes.n; i++) {
        int64_t w, h;
        if (!catalog_parse_size(c->sizes.v[i], &w, &h)) continue;
        /* The sizes are rounded to multiples of 64 or so, hence nearest, and the largest of equals. */
        double off = fabs(log((double)w / (double)h) - want);
        if (off < best - 1e-9 || (off < best + 1e-9 && w * h > *width * *height)) {
            best = off;
            *width = w;
            *height = h;
        }
    }
    if (best < 0.12) return true;
    /* No table, or none of its sizes has this shape: a megapixel of it in steps of 32. */
    double side = sqrt(1024.0 * 1024.0 * a / b);
    *width = (int64_t)(lround(side / 32) * 32);
    *height = (int64_t)(lround(1024.0 * 1024.0 / side / 32) * 32);
    return true;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

/* Without memory for an event a progress is passed over, a picture becomes the error that ends it all, and an end still comes. False
 * when the picture was lost. */
static bool push(struct drawing *p, struct reply_event ev)
{
    struct queued *q = calloc(1, sizeof *q);
    bool lost = !q && ev.type == REPLY_PICTURE;
    pthread_mutex_lock(&p->lock);
    if (!q) {
        reply_event_free(&ev);
        if (lost) {
            ev = (struct reply_event){ .type = REPLY_ERROR, .usage = p->usage };
            err_set(&ev.error, ERR_NOMEM, "out of memory");
        }
        if (ev.type != REPLY_PROGRESS) q = &p->reserve;
    }
    if (q) {
        q->ev = ev;
        *p->last = q;
        p->last = &q->next;
    }
    /* Under the lock, so that an owner who lets go is not notified afterwards. */
    if (!p->released) p->notify(p->arg);
    pthread_mutex_unlock(&p->lock);
    return !lost;
}

bool drawing_next(struct drawing *p, struct reply_event *ev)
{
    pthread_mutex_lock(&p->lock);
    struct queued *q = p->first;
    if (q) {
        p->first = q->next;
        if (!p->first) p->last = &p->first;
        *ev = q->ev;
    }
    pthread_mutex_unlock(&p->lock);
    if (q != &p->reserve) free(q);
    return q != NULL;
}

/* signer NULL: not signed. */
static bool encode(const struct image_rgb *rgb, enum image_format format, int quality,
                   const struct image_text *text, int n_text, struct c2pa_signer *signer,
                   const struct c2pa_made *made, struct reply_picture *to, struct err *e)
{
    struct image_pixels px = {
        .width = rgb->width, .height = rgb->height, .channels = 3, .data = rgb->pixels
    };
    struct buf out = BUF_INIT(0);
    bool ok = format == IMAGE_PNG    ? image_file_png(&out, &px, text, n_text, e)
              : format == IMAGE_JPEG ? image_file_jpeg(&out, &px, quality, e)
                                     : image_file_webp(&out, &px, quality, e);
    ok = ok && (!signer || c2pa_put(signer, made, &out, e));
    if (!ok) {
        buf_free(&out);
        return false;
    }
    to->len = out.len;
    to->bytes = (unsigned char *)buf_take(&out);
    to->width = rgb->width;
    to->height = rgb->height;
    return to->bytes || err_set(e, ERR_NOMEM, "out of memory");
}

/* For its URL, before anybody is told of it. */
static bool keep(struct drawing *p, struct reply_picture *to, struct err *e)
{
    if (!p->files || files_put(p->files, to->bytes, to->len, picture_extension(p->format), to->file, e))
        return true;
    if (e->code == ERR_BUSY) e->code = ERR_CANCELLED; /* 503: the place is away, and nobody asked too much */
    return false;
}

static bool finish_picture(struct drawing *p, struct image_event *in, struct reply_picture *to, struct err *e)
{
    char seed[24], guidance[40] = "", parameters[160];
    size_t n;
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)in->seed);
    /* What has no effect on the picture says nothing of it. */
    if (image_info(p->image)->takes_guidance)
        snprintf(guidance, sizeof guidance, ", guidance %g", p->facts.guidance);
    n = (size_t)snprintf(parameters, sizeof parameters, "steps %d%s, size %dx%d", p->facts.steps, guidance,
                         in->image.width, in->image.height);
    if (p->facts.draw_width &&
        (p->facts.draw_width != in->image.width || p->facts.draw_height != in->image.height)) {
        snprintf(parameters + n, sizeof parameters - n, ", drawn at %dx%d", p->facts.draw_width,
                 p->facts.draw_height);
    }
    const struct image_text text[] = {
        { "prompt", p->prompt },      { "seed", seed },         { "model", p->facts.model },
        { "parameters", parameters }, { "Software", "hearth" },
    };
    const struct c2pa_made made = { .model = p->facts.model, .composite = p->composite };
    to->seed = in->seed;
    return safety_check(p->safety, &in->image, p->apply_safety, &to->nsfw, &to->filtered, e) &&
           encode(&in->image, p->format, p->quality, text, 5, p->signer, &made, to, e) && keep(p, to, e);
}

static void destroy(struct drawing *p)
{
    struct reply_event ev;
    image_job_free(p->job);
    while (drawing_next(p, &ev)) reply_event_free(&ev);
    registry_release(p->registry, p->model);
    pthread_mutex_destroy(&p->lock);
    free(p->prompt);
    free(p);
}

/* The one end of every drawing, whoever still reads its events: nothing is drawn any more, and what was used is told. Before the reply's
 * last event where there is one, so that the connection is the last to let go. */
static void settle(struct drawing *p)
{
    p->usage.steps += p->steps;
    p->usage.total_s = clock_seconds() - p->started;
    p->steps = 0;
    ending_use(p->ending, &p->usage);
    ending_let_go(p->ending);
    p->ending = NULL;
}

/* Steps of a picture come in ascending order, and pictures one after the other. */
static void count_step(struct drawing *p, int step)
{
    if (step <= p->steps) p->usage.steps += p->steps;
    p->steps = step;
}

/* What an event of the engine is to whoever reads the reply; false: an error, which *ev says. `made` of the pictures are there. */
static bool read_event(struct drawing *p, struct image_event *in, int *made, struct reply_event *ev)
{
    *ev = (struct reply_event){ .type = REPLY_PROGRESS,
                                .index = in->index,
                                .picture = { .step = in->step, .steps = in->steps } };
    switch (in->type) {
    case IMAGE_EV_PROGRESS:
        count_step(p, in->step);
        if (in->image.pixels && !encode(&in->image, IMAGE_JPEG, 75, NULL, 0, NULL, NULL, &ev->picture, NULL))
            ev->picture.len = 0;
        return true;
    case IMAGE_EV_IMAGE:
        ev->type = REPLY_PICTURE;
        ++*made;
        if (!finish_picture(p, in, &ev->picture, &ev->error)) return false;
        p->usage.pictures++;
        p->usage.pixels += (int64_t)ev->picture.width * ev->picture.height;
        return true;
    case IMAGE_EV_DONE:
        ev->type = REPLY_DONE;
        p->usage.queue_s = clock_seconds() - p->started - in->seconds;
        settle(p);
        /* The engine may have had no memory to hand one over. */
        return *made == p->facts.n || err_set(&ev->error, ERR_NOMEM, "out of memory");
    case IMAGE_EV_ERROR:
        settle(p);
        ev->error = in->error;
        break;
    }
    return false;
}

static void push_error(struct drawing *p, const struct err *e)
{
    push(p, (struct reply_event){ .type = REPLY_ERROR, .usage = p->usage, .error = *e });
}

/* Waits for the engine and does what is slow: classifying and encoding. */
static void *thread_main(void *arg)
{
    struct drawing *p = arg;
    struct image_event in;
    struct reply_event ev;
    bool over = false; /* the reply has its last event; the engine's are still taken, and counted */
    int made = 0;
    while (image_wait(p->job, &in)) {
        bool ok = read_event(p, &in, &made, &ev);
        image_event_free(&in);
        if (over) {
            reply_event_free(&ev);
        } else if (!ok) {
            over = true;
            reply_event_free(&ev);
            push_error(p, &ev.error);
            image_cancel(p->job);
        } else {
            over = ev.type == REPLY_DONE;
            if (over) ev.usage = p->usage;
            if (!push(p, ev)) {
                over = true;
                image_cancel(p->job);
            }
        }
    }
    if (p->ending) settle(p); /* there was no memory for the engine's last event */
    if (!over) push_error(p, &(struct err){ ERR_NOMEM, "out of memory" });
    pthread_mutex_lock(&p->lock);
    p->has_thread = false;
    bool released = p->released;
    pthread_mutex_unlock(&p->lock);
    if (released) destroy(p);
    return NULL;
}

/* ---- start and end ----------------------------------------------------------------------------------------- */

static bool copy_facts(struct drawing *p, const struct picture_request *q, struct image_request *r)
{
    const struct catalog_model *c = model_catalog(p->model);
    const struct image_info *info = image_info(p->image);
    uint32_t any;
    rng_os(&any, sizeof any);
    if (!r->steps && c && c->steps) r->steps = c->steps;
    if (!r->steps) r->steps = info->default_steps;
    if (r->guidance < 0 && c && c->guidance > 0) r->guidance = (float)c->guidance;
    if (r->guidance < 0) r->guidance = info->default_guidance;
    int64_t w = 0, h = 0;
    if (!r->init && !r->width) {
        if (c && catalog_parse_size(c->size, &w, &h)) {
            r->width = (int)w;
            r->height = (int)h;
        } else {
            r->width = info->default_width;
            r->height = info->default_height;
        }
    }
    if (r->init && !r->width) { /* the input picture's own, as the engine would have it */
        int m = info->size_multiple, wide = r->init->width + r->expand_left + r->expand_right,
            high = r->init->height + r->expand_top + r->expand_bottom;
        r->width = (wide + m - 1) / m * m;
        r->height = (high + m - 1) / m * m;
    }
    if (c && catalog_parse_size(c->native, &w, &h)) {
        r->draw_width = (int)w;
        r->draw_height = (int)h;
    }
    r->seed = q->has_seed ? q->seed : any;
    ending_seed(q->ending, r->seed);
    p->facts = (struct picture_facts){ .model = model_id(p->model),
                                       .n = r->n,
                                       .width = r->width,
                                       .height = r->height,
                                       .steps = r->steps,
                                       .draw_width = r->draw_width,
                                       .draw_height = r->draw_height,
                                       .guidance = (double)r->guidance,
                                       .seed = r->seed };
    p->prompt = strdup(q->prompt);
    return p->prompt != NULL;
}

/* A queue with a place is worth a try once more within the minute. */
static int retry_s(double mean_s) { return mean_s < 1 ? 1 : mean_s > 60 ? 60 : (int)ceil(mean_s); }

/* The thread gives its first notice when *out is there: push() takes the lock that is held until then. Without a thread *out is as it
 * was. */
static bool begin_thread(struct drawing *p, struct drawing **out)
{
    pthread_t thread;
    ending_hold(p->ending);
    pthread_mutex_lock(&p->lock);
    p->has_thread = pthread_create(&thread, NULL, thread_main, p) == 0;
    bool ok = p->has_thread;
    if (ok) {
        *out = p;
        pthread_detach(thread);
    }
    pthread_mutex_unlock(&p->lock);
    if (!ok) ending_let_go(p->ending);
    return ok;
}

bool drawing_start(struct registry *r, struct model *m, struct safety *s, const struct picture_request *q,
                   void (*notify)(void *arg), void *arg, struct drawing **out, struct fault *f)
{
    if (!check_size(m, q, f)) return false;
    struct drawing *p = calloc(1, sizeof *p);
    if (!p) return err_set(&f->err, ERR_NOMEM, "out of memory");
    if (!registry_acquire_image(r, m, &p->image, &f->err)) {
        free(p);
        return false;
    }
    p->registry = r;
    p->model = m;
    p->safety = s;
    p->format = q->format;
    p->quality = q->quality;
    p->files = q->files;
    p->signer = q->signer;
    p->composite = q->init.pixels != NULL;
    p->apply_safety = q->safety;
    p->notify = notify;
    p->arg = arg;
    p->last = &p->first;
    p->ending = q->ending;
    p->started = clock_seconds();
    pthread_mutex_init(&p->lock, NULL);
    bool whole = q->mask || q->expand_left || q->expand_right || q->expand_top || q->expand_bottom;
    struct image_request ir = {
        .prompt = q->prompt,
        .negative_prompt = q->negative_prompt,
        .sampler = q->sampler,
        .width = (int)q->width,
        .height = (int)q->height,
        .n = (int)q->n,
        .steps = (int)q->steps,
        .guidance = (float)q->guidance,
        .init = q->init.pixels ? &q->init : NULL,
        .mask = q->mask,
        .strength = (q->strength >= 0 ? q->strength
                     : whole          ? 1
                                      : 0.75),
        .expand_left = (int)q->expand_left,
        .expand_right = (int)q->expand_right,
        .expand_top = (int)q->expand_top,
        .expand_bottom = (int)q->expand_bottom,
        .lora = q->lora,
        .n_lora = q->n_lora,
        .clip_skip = (int)q->clip_skip,
        .previews = q->previews,
        .share = q->share,
    };
    /* The engine's notify is not used: the thread waits. */
    bool ok = copy_facts(p, q, &ir) || err_set(&f->err, ERR_NOMEM, "out of memory");
    ok = ok && image_submit(p->image, &ir, NULL, NULL, &p->job, &f->param, &f->err);
    if (!ok && f->err.code == ERR_BUSY) f->retry_after_s = retry_s(image_mean_seconds(p->image));
    if (ok && begin_thread(p, out)) return true;
    if (ok) err_set(&f->err, ERR_NOMEM, "cannot start a thread");
    destroy(p);
    return false;
}

void drawing_cancel(struct drawing *p) { image_cancel(p->job); }

void drawing_free(struct drawing *p)
{
    if (!p) return;
    image_cancel(p->job);
    pthread_mutex_lock(&p->lock);
    p->released = true;
    bool mine = !p->has_thread;
    pthread_mutex_unlock(&p->lock);
    if (mine) destroy(p);
}

const struct picture_facts *drawing_facts(const struct drawing *p) { return &p->facts; }
