/* drawing.c - see drawing.h. */
#include "service/drawing.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "service/ending.h"

struct queued {
    struct picture_event ev;
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
    bool apply_safety;
    struct ending *ending; /* held until settle() */
    struct usage used;     /* the thread's */
    int steps;             /* of the picture that is being drawn */
    void (*notify)(void *arg);
    void *arg;
    pthread_mutex_t lock; /* guards what follows */
    struct queued *first, **last;
    struct queued reserve; /* for the event that ends it, when there is no memory for another */
    bool released;         /* the owner let go: the thread cleans up when the engine is done with the job */
    bool has_thread;       /* the thread still runs */
};

const char *picture_extension(enum image_format f)
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

void picture_event_free(struct picture_event *ev)
{
    free(ev->bytes);
    ev->bytes = NULL;
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

bool picture_size_for_ratio(const struct model *m, const char *ratio, int64_t *width, int64_t *height)
{
    static const char *const known[] = { "1:1", "21:9", "16:9", "3:2", "5:4", "4:5",
                                         "2:3", "9:16", "9:21", "4:3", "3:4" };
    const struct catalog_model *c = model_catalog(m);
    size_t k = 0, n = sizeof known / sizeof *known;
    int a, b;
    while (k < n && strcmp(known[k], ratio) != 0) k++;
    if (k == n || sscanf(ratio, "%d:%d", &a, &b) != 2) return false;
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
static bool push(struct drawing *p, struct picture_event ev)
{
    struct queued *q = calloc(1, sizeof *q);
    bool lost = !q && ev.type == PICTURE_READY;
    pthread_mutex_lock(&p->lock);
    if (!q) {
        picture_event_free(&ev);
        if (lost) {
            ev = (struct picture_event){ .type = PICTURE_ERROR };
            err_set(&ev.error, ERR_NOMEM, "out of memory");
        }
        if (ev.type != PICTURE_PROGRESS) q = &p->reserve;
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

bool drawing_next(struct drawing *p, struct picture_event *ev)
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

static bool encode(const struct image_rgb *rgb, enum image_format format, int quality,
                   const struct image_text *text, int n_text, struct picture_event *ev, struct err *e)
{
    struct image_pixels px = {
        .width = rgb->width, .height = rgb->height, .channels = 3, .data = rgb->pixels
    };
    struct buf out = BUF_INIT(0);
    bool ok = format == IMAGE_PNG    ? image_file_png(&out, &px, text, n_text, e)
              : format == IMAGE_JPEG ? image_file_jpeg(&out, &px, quality, e)
                                     : image_file_webp(&out, &px, quality, e);
    if (!ok) {
        buf_free(&out);
        return false;
    }
    ev->len = out.len;
    ev->bytes = (unsigned char *)buf_take(&out);
    ev->width = rgb->width;
    ev->height = rgb->height;
    return ev->bytes || err_set(e, ERR_NOMEM, "out of memory");
}

static bool finish_picture(struct drawing *p, struct image_event *in, struct picture_event *ev, struct err *e)
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
    ev->seed = in->seed;
    return safety_check(p->safety, &in->image, p->apply_safety, &ev->nsfw, &ev->filtered, e) &&
           encode(&in->image, p->format, p->quality, text, 5, ev, e);
}

static void destroy(struct drawing *p)
{
    struct picture_event ev;
    image_job_free(p->job);
    while (drawing_next(p, &ev)) picture_event_free(&ev);
    registry_release(p->registry, p->model);
    pthread_mutex_destroy(&p->lock);
    free(p->prompt);
    free(p);
}

/* Nothing is drawn any more: what was used is told, once. */
static void settle(struct drawing *p)
{
    p->used.steps += p->steps;
    p->steps = 0;
    ending_use(p->ending, &p->used);
    ending_let_go(p->ending);
    p->ending = NULL;
}

static void count_picture(struct drawing *p, const struct picture_event *ev)
{
    p->used.pictures++;
    p->used.pixels += (int64_t)ev->width * ev->height;
}

/* Steps of a picture come in ascending order, and pictures one after the other. */
static void count_step(struct drawing *p, const struct image_event *in)
{
    if (in->step <= p->steps) p->used.steps += p->steps;
    p->steps = in->step;
}

/* Waits for the engine and does what is slow: classifying and encoding. */
static void *thread_main(void *arg)
{
    struct drawing *p = arg;
    struct image_event in;
    struct err e = { 0 };
    bool failed = false, ended = false;
    int ready = 0;
    while (image_wait(p->job, &in)) {
        struct picture_event ev = {
            .type = PICTURE_PROGRESS, .index = in.index, .step = in.step, .steps = in.steps
        };
        switch (in.type) {
        case IMAGE_EV_PROGRESS:
            count_step(p, &in);
            if (in.image.pixels && !encode(&in.image, IMAGE_JPEG, 75, NULL, 0, &ev, NULL)) ev.len = 0;
            break;
        case IMAGE_EV_IMAGE:
            ready++;
            ev.type = PICTURE_READY;
            if (!failed && !finish_picture(p, &in, &ev, &e)) {
                ev = (struct picture_event){ .type = PICTURE_ERROR, .error = e };
                image_cancel(p->job);
            }
            if (ev.type == PICTURE_READY && !failed) count_picture(p, &ev);
            break;
        case IMAGE_EV_DONE:
            ended = true;
            settle(p);
            ev.type = PICTURE_DONE;
            ev.seconds = in.seconds;
            if (ready < p->facts.n) { /* the engine had no memory to hand one over */
                ev.type = PICTURE_ERROR;
                err_set(&ev.error, ERR_NOMEM, "out of memory");
            }
            break;
        case IMAGE_EV_ERROR:
            settle(p);
            ev.type = PICTURE_ERROR;
            ev.error = in.error;
            break;
        }
        image_event_free(&in);
        if (failed) {
            picture_event_free(&ev);
            continue;
        }
        failed = ev.type == PICTURE_ERROR;
        if (!push(p, ev)) {
            failed = true;
            image_cancel(p->job);
        }
    }
    if (p->ending) settle(p);
    if (!failed && !ended) { /* nor its end */
        struct picture_event ev = { .type = PICTURE_ERROR };
        err_set(&ev.error, ERR_NOMEM, "out of memory");
        push(p, ev);
    }
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

/* The thread gives its first notice when *out is there: push() takes the lock that is held until then. Without a thread *out is as it
 * was. */
static bool begin_thread(struct drawing *p, struct drawing **out)
{
    pthread_t thread;
    pthread_mutex_lock(&p->lock);
    p->has_thread = pthread_create(&thread, NULL, thread_main, p) == 0;
    bool ok = p->has_thread;
    if (ok) {
        *out = p;
        pthread_detach(thread);
    }
    pthread_mutex_unlock(&p->lock);
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
    p->apply_safety = q->safety;
    p->notify = notify;
    p->arg = arg;
    p->last = &p->first;
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
    };
    /* The engine's notify is not used: the thread waits. */
    bool ok = copy_facts(p, q, &ir) || err_set(&f->err, ERR_NOMEM, "out of memory");
    ok = ok && image_submit(p->image, &ir, NULL, NULL, &p->job, &f->param, &f->err);
    if (ok) {
        ending_hold(q->ending);
        p->ending = q->ending;
    }
    if (ok && begin_thread(p, out)) return true;
    ending_let_go(p->ending);
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
