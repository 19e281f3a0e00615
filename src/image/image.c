#include "image/image.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "image/picture.h"
#include "image/pipeline.h"

enum { LORA_CACHE = 4, LORA_MOST = 8 };

struct queued {
    struct image_event ev;
    struct queued *next;
};

struct image_job {
    struct image_model *m;
    struct image_request r; /* with copies of everything it points to */
    void (*notify)(void *arg);
    void *arg;
    atomic_bool cancel;
    struct image_job *next; /* in the model's queue */
    struct share *share;    /* held while it waits and is drawn */
    /* Under the model's lock: */
    struct queued *first, *last;
    bool ended, released; /* the last event is queued; the caller has let go */
    bool running;
};

struct cached_lora {
    char *path;
    struct nn_lora *lora;
    unsigned used;
};

struct image_model {
    struct pipeline p;
    struct image_options o;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct image_job *head, *tail; /* in order of arrival */
    struct shares shares;
    int waiting;
    bool stop;
    int n_drawn; /* requests drawn whole */
    double drawn_s;
    struct cached_lora lora[LORA_CACHE]; /* the worker's alone */
    unsigned lora_clock;
};

/* ---- requests ---------------------------------------------------------------------------------------------- */

static void request_free(struct image_request *r)
{
    free((char *)r->prompt);
    free((char *)r->negative_prompt);
    free((char *)r->sampler);
    if (r->init) free(r->init->pixels);
    free((struct image_rgb *)r->init);
    free((unsigned char *)r->mask);
    for (int i = 0; i < r->n_lora; i++) free((char *)r->lora[i].path);
    free((struct image_lora_spec *)r->lora);
    free((float *)r->noise);
    *r = (struct image_request){ 0 };
}

static void *copy(const void *src, size_t n, bool *ok)
{
    if (!src || !n) return NULL;
    void *p = malloc(n);
    if (p) memcpy(p, src, n);
    *ok &= p != NULL;
    return p;
}

static char *copy_string(const char *s, bool *ok) { return s ? copy(s, strlen(s) + 1, ok) : NULL; }

static bool request_copy(const struct pipeline *p, struct image_request *to, const struct image_request *from)
{
    bool ok = true;
    *to = *from;
    to->lora = NULL;
    to->n_lora = 0;
    to->prompt = copy_string(from->prompt, &ok);
    to->negative_prompt = copy_string(from->negative_prompt, &ok);
    to->sampler = copy_string(from->sampler, &ok);
    to->init = NULL;
    to->mask = NULL;
    to->noise = NULL;
    if (from->init) {
        size_t n = (size_t)from->init->width * (size_t)from->init->height;
        struct image_rgb *init = copy(from->init, sizeof *init, &ok);
        if (init) init->pixels = copy(from->init->pixels, n * 3, &ok);
        to->init = init;
        to->mask = copy(from->mask, n, &ok);
    }
    if (from->noise) {
        size_t factor = (size_t)vae_factor(p->vae);
        size_t n = (size_t)from->n * (size_t)vae_config(p->vae)->n_latent *
                   ((size_t)from->draw_width / factor) * ((size_t)from->draw_height / factor);
        to->noise = copy(from->noise, n * sizeof *from->noise, &ok);
    }
    if (from->n_lora) {
        struct image_lora_spec *specs = calloc((size_t)from->n_lora, sizeof *specs);
        ok &= specs != NULL;
        for (int i = 0; specs && i < from->n_lora; i++) {
            specs[i].weight = from->lora[i].weight;
            specs[i].path = copy_string(from->lora[i].path, &ok);
        }
        to->lora = specs;
        to->n_lora = specs ? from->n_lora : 0;
    }
    return ok;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

void image_event_free(struct image_event *ev)
{
    free(ev->image.pixels);
    ev->image.pixels = NULL;
}

/* Under the model's lock; q from calloc(), NULL when there was no memory. */
static void emit_locked(struct image_job *j, struct queued *q, struct image_event ev)
{
    struct image_model *m = j->m;
    bool last = ev.type == IMAGE_EV_DONE || ev.type == IMAGE_EV_ERROR;
    if (q) {
        q->ev = ev;
        if (j->last)
            j->last->next = q;
        else
            j->first = q;
        j->last = q;
    } else {
        free(
            ev.image
                .pixels); /* without memory for an event its picture is lost; the end is still seen through `ended` */
    }
    j->ended |= last;
    bool released = j->released;
    pthread_cond_broadcast(&m->changed);
    /* Under the lock: once it is gone, a caller that sees the end may free what notify looks at. */
    if (!released && j->notify) j->notify(j->arg);
}

static void emit(struct image_job *j, struct image_event ev)
{
    struct image_model *m = j->m;
    struct queued *q = calloc(1, sizeof *q);
    pthread_mutex_lock(&m->lock);
    emit_locked(j, q, ev);
    pthread_mutex_unlock(&m->lock);
}

static void on_progress(void *arg, int index, int step, int steps, struct image_rgb small)
{
    emit(arg, (struct image_event){
                  .type = IMAGE_EV_PROGRESS, .index = index, .step = step, .steps = steps, .image = small });
}

static void on_finished(void *arg, int index, uint64_t seed, struct image_rgb picture)
{
    emit(arg, (struct image_event){ .type = IMAGE_EV_IMAGE, .index = index, .seed = seed, .image = picture });
}

static bool take(struct image_job *j, struct image_event *ev)
{
    struct queued *q = j->first;
    if (!q) return false;
    j->first = q->next;
    if (!j->first) j->last = NULL;
    *ev = q->ev;
    free(q);
    return true;
}

bool image_next(struct image_job *j, struct image_event *ev)
{
    pthread_mutex_lock(&j->m->lock);
    bool got = take(j, ev);
    pthread_mutex_unlock(&j->m->lock);
    return got;
}

bool image_wait(struct image_job *j, struct image_event *ev)
{
    struct image_model *m = j->m;
    pthread_mutex_lock(&m->lock);
    bool got;
    while (!(got = take(j, ev)) && !j->ended) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    return got;
}

/* ---- adapters ---------------------------------------------------------------------------------------------- */

static const struct nn_lora *get_lora(struct image_model *m, const char *path, struct err *e)
{
    struct cached_lora *slot = &m->lora[0];
    for (int i = 0; i < LORA_CACHE; i++) {
        struct cached_lora *c = &m->lora[i];
        if (c->path && strcmp(c->path, path) == 0) {
            c->used = ++m->lora_clock;
            return c->lora;
        }
        if (!c->path || (slot->path && c->used < slot->used)) slot = c;
    }
    struct nn_lora_target target[4];
    struct nn_lora *l;
    int n = m->p.kind->lora_targets(&m->p, target);
    if (!nn_lora_load(&l, m->p.dev, path, target, n, e)) {
        if (e->code == ERR_FORMAT) e->code = ERR_REQUEST; /* the request chose it */
        return NULL;
    }
    char *name = strdup(path);
    if (!name) {
        nn_lora_free(l);
        err_set(e, ERR_NOMEM, "no memory for adapter %s", path);
        return NULL;
    }
    nn_lora_free(slot->lora);
    free(slot->path);
    *slot = (struct cached_lora){ name, l, ++m->lora_clock };
    return l;
}

/* ---- the worker -------------------------------------------------------------------------------------------- */

static void run_job(struct image_model *m, struct image_job *j)
{
    struct err e = { 0 };
    struct nn_lora_use use[LORA_MOST];
    double start = clock_seconds();
    struct device *dev = m->p.dev;
    device_acquire(dev, POOL_IMAGE);
    bool ok = true;
    for (int i = 0; i < j->r.n_lora && ok; i++) {
        use[i] = (struct nn_lora_use){ get_lora(m, j->r.lora[i].path, &e), j->r.lora[i].weight };
        ok = use[i].lora != NULL;
    }
    device_stop_on(dev,
                   &j->cancel); /* adapters are kept for later requests; what follows is this one's alone */
    ok = ok && pipeline_draw(&(struct draw){ .p = &m->p,
                                             .r = &j->r,
                                             .lora = use,
                                             .n_lora = j->r.n_lora,
                                             .cancel = &j->cancel,
                                             .progress = on_progress,
                                             .finished = on_finished,
                                             .arg = j },
                             &e);
    device_release(dev);
    if (ok) {
        const double seconds = clock_seconds() - start;
        pthread_mutex_lock(&m->lock);
        m->n_drawn++;
        m->drawn_s += seconds;
        pthread_mutex_unlock(&m->lock);
        emit(j, (struct image_event){ .type = IMAGE_EV_DONE, .seconds = seconds });
    } else {
        if (e.code == ERR_IO) log_error("%s: %s", m->p.info.name, e.msg);
        emit(j, (struct image_event){ .type = IMAGE_EV_ERROR, .error = e });
    }
}

static void job_destroy(struct image_job *j)
{
    struct image_event ev;
    while (take(j, &ev)) image_event_free(&ev);
    request_free(&j->r);
    free(j);
}

/* Under the lock. */
static void leave_share(struct image_model *m, struct image_job *j)
{
    shares_ask(&m->shares, j->share, -1);
    shares_let_go(&m->shares, j->share);
    j->share = NULL;
}

/* Under the lock. A job that nobody has begun is out of the queue, and its place is free, when this returns true. */
static bool leave_queue(struct image_model *m, struct image_job *j)
{
    struct image_job **at = &m->head, *before = NULL;
    for (; *at && *at != j; at = &(*at)->next) before = *at;
    if (!*at) return false;
    *at = j->next;
    if (m->tail == j) m->tail = before;
    m->waiting--;
    return true;
}

/* Under the lock: of the share that goes first, the oldest. NULL: none waits. */
static struct image_job *next_job(const struct image_model *m)
{
    struct image_job *best = m->head;
    for (struct image_job *j = m->head; j; j = j->next)
        if (shares_before(j->share, best->share)) best = j;
    return best;
}

static void *worker_main(void *arg)
{
    struct image_model *m = arg;
    /* Where text cuts in (pool.h), its threads and those that send it get a core at once. */
    setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + 10);
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        struct image_job *j = next_job(m);
        if (!j) {
            pthread_cond_wait(&m->changed, &m->lock);
            continue;
        }
        leave_queue(m, j);
        /* All of it at once: others choose by it when this is done. */
        shares_served(j->share, (double)j->r.n * j->r.steps);
        j->running = true;
        bool drop = j->released;
        pthread_mutex_unlock(&m->lock);
        if (!drop) run_job(m, j);
        pthread_mutex_lock(&m->lock);
        j->running = false;
        leave_share(m, j);
        if (j->released) job_destroy(j);
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- the door ---------------------------------------------------------------------------------------------- */

bool image_load(struct image_model **out, const char *path, const struct image_options *o, struct device *dev,
                struct err *e)
{
    struct image_model *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for %s", path);
    if (o) m->o = *o;
    m->shares.size = sizeof(struct share);
    if (m->o.queue_limit <= 0) m->o.queue_limit = 64;
    if (m->o.max_pixels == 0) m->o.max_pixels = (size_t)4 << 20;
    device_acquire(dev, POOL_IMAGE_LOAD);
    bool ok = pipeline_load(&m->p, path, dev, e);
    if (ok && !pipeline_intact(&m->p, e)) {
        pipeline_close(&m->p);
        ok = false;
    }
    device_release(dev);
    if (!ok) {
        free(m);
        return false;
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    if (pthread_create(&m->worker, NULL, worker_main, m) != 0) {
        pipeline_close(&m->p);
        free(m);
        return err_set(e, ERR_NOMEM, "cannot start the worker thread of %s", path);
    }
    *out = m;
    return true;
}

void image_free(struct image_model *m)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->worker, NULL);
    for (struct image_job *j = m->head, *next; j; j = next) {
        next = j->next;
        leave_share(m, j);
        if (j->released) job_destroy(j);
    }
    for (int i = 0; i < LORA_CACHE; i++) {
        nn_lora_free(m->lora[i].lora);
        free(m->lora[i].path);
    }
    pipeline_close(&m->p);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    free(m);
}

bool image_intact(const struct image_model *m, struct err *e) { return pipeline_intact(&m->p, e); }

const struct image_info *image_info(const struct image_model *m) { return &m->p.info; }

bool image_submit(struct image_model *m, const struct image_request *r, void (*notify)(void *arg), void *arg,
                  struct image_job **out, const char **field, struct err *e)
{
    struct image_request full = *r;
    const char *unread;
    if (!field) field = &unread;
    if (!pipeline_check(&m->p, &full, field, e)) return false;
    *field = "size";
    if ((size_t)full.width * (size_t)full.height > m->o.max_pixels) {
        return err_set(e, ERR_REQUEST, "a picture may have at most %zu pixels, %dx%d has %zu",
                       m->o.max_pixels, full.width, full.height, (size_t)full.width * (size_t)full.height);
    }
    if ((size_t)full.draw_width * (size_t)full.draw_height > m->o.max_pixels) {
        return err_set(e, ERR_REQUEST, "a picture may have at most %zu pixels, %dx%d is to be drawn",
                       m->o.max_pixels, full.draw_width, full.draw_height);
    }
    *field = "loras";
    if (full.n_lora < 0 || full.n_lora > LORA_MOST || full.n_lora > LORA_CACHE) {
        return err_set(e, ERR_REQUEST, "at most %d adapters may be used at once, got %d", (int)LORA_CACHE,
                       full.n_lora);
    }
    *field = NULL;
    struct image_job *j = calloc(1, sizeof *j);
    if (!j || !request_copy(&m->p, &j->r, &full)) {
        if (j) request_free(&j->r);
        free(j);
        return err_set(e, ERR_NOMEM, "no memory for the request");
    }
    j->m = m;
    j->notify = notify;
    j->arg = arg;
    pthread_mutex_lock(&m->lock);
    bool full_up = m->waiting >= m->o.queue_limit;
    if (!full_up) j->share = shares_hold(&m->shares, &full.share);
    const bool no_memory = !full_up && !j->share;
    if (j->share) {
        shares_ask(&m->shares, j->share, 1);
        if (m->tail)
            m->tail->next = j;
        else
            m->head = j;
        m->tail = j;
        m->waiting++;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    if (full_up || no_memory) {
        request_free(&j->r);
        free(j);
        if (no_memory) return err_set(e, ERR_NOMEM, "no memory for the request");
        return err_set(e, ERR_BUSY, "%d pictures are waiting already; try again later", m->o.queue_limit);
    }
    *out = j;
    return true;
}

double image_mean_seconds(struct image_model *m)
{
    pthread_mutex_lock(&m->lock);
    double mean = m->n_drawn ? m->drawn_s / m->n_drawn : 0;
    pthread_mutex_unlock(&m->lock);
    return mean;
}

int image_waiting(struct image_model *m)
{
    pthread_mutex_lock(&m->lock);
    const int n = m->waiting;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void image_cancel(struct image_job *j)
{
    struct image_model *m = j->m;
    struct queued *q = calloc(1, sizeof *q);
    struct image_event ev = { .type = IMAGE_EV_ERROR };
    err_set(&ev.error, ERR_CANCELLED, "cancelled");
    j->cancel = true;
    pthread_mutex_lock(&m->lock);
    const bool left = leave_queue(m, j);
    if (left) leave_share(m, j);
    if (left) emit_locked(j, q, ev);
    pthread_mutex_unlock(&m->lock);
    if (!left) free(q);
}

void image_job_free(struct image_job *j)
{
    if (!j) return;
    struct image_model *m = j->m;
    pthread_mutex_lock(&m->lock);
    j->cancel = true;
    j->released = true;
    /* Otherwise the worker destroys it when it is done with it. */
    const bool left = leave_queue(m, j), now = left || (j->ended && !j->running);
    if (left) leave_share(m, j);
    if (now) job_destroy(j);
    pthread_mutex_unlock(&m->lock);
}
