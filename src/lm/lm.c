#include "lm/lm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/machine.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/job.h"
#include "lm/kvcache.h"
#include "lm/prefix_key.h"
#include "lm/scheduler.h"
#include "lm/sight.h"
#include "lm/vector_head.h"

/* Full contexts that the cache holds: most sequences are far shorter, and what is not in use remembers prefixes. More of
 * it is memory that a busy server never gives back. */
enum { DEFAULT_CONTEXTS = 4 };

struct lm {
    struct weights *w;
    struct device *dev;
    const struct lm_arch *arch;
    struct lm_net *net;
    struct lm_shape shape;
    struct tokenizer *tok;
    struct constraint_cache *constraints;
    struct chat_template *tmpl;
    struct err tmpl_error;
    struct sight *sight; /* NULL: the model sees no pictures */
    struct vector_head *vector;
    struct kvcache *cache;
    struct prefix_store *prefixes; /* or NULL */
    struct scheduler *sched;
    struct lm_info info;
    char *name;
};

bool lm_supports(const char *model_type)
{
    for (int i = 0; i < lm_n_families; i++)
        for (int k = 0; k < lm_families[i]->n_members; k++) {
            const struct hparam_family *f = &lm_families[i]->member[k];
            if (strcmp(f->hf, model_type) == 0) return true;
            for (const char *const *larger = f->within; larger && *larger; larger++)
                if (strcmp(*larger, model_type) == 0) return true;
        }
    return false;
}

static const struct lm_arch *find_family(const struct weights *w, struct err *e)
{
    char known[400] = "";
    for (int i = 0; i < lm_n_families; i++) {
        const struct lm_arch *a = lm_families[i];
        if (hparams_member(a->member, a->n_members, w)) return a;
        for (int k = 0; k < a->n_members; k++) {
            const size_t len = strlen(known);
            const char *name = weights_gguf(w) ? a->member[k].gguf : a->member[k].hf;
            if (name) snprintf(known + len, sizeof known - len, "%s%s", len ? ", " : "", name);
        }
    }
    const struct gguf *g = weights_gguf(w);
    struct gguf_str s = g ? gguf_string(g, "general.architecture") : (struct gguf_str){ 0 };
    if (!g && weights_config(w)) {
        s.data = hparams_type(w);
        s.len = s.data ? strlen(s.data) : 0;
    }
    if (!s.data)
        return err_set(e, ERR_FORMAT, "nothing says which architecture this is: %s",
                       g ? "general.architecture is missing" : "config.json with a model_type is missing"),
               NULL;
    err_set(e, ERR_UNSUPPORTED, "architecture '%.*s' is not supported (these are: %s)",
            (int)(s.len < 60 ? s.len : 60), s.data, known);
    return NULL;
}

static char *model_name(const struct weights *w, const char *path)
{
    const struct gguf *g = weights_gguf(w);
    struct gguf_str s = g ? gguf_string(g, "general.name") : (struct gguf_str){ 0 };
    if (s.len) return strndup(s.data, s.len < 200 ? s.len : 200);
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t at = end;
    while (at > 0 && path[at - 1] != '/') at--;
    return strndup(path + at, end - at);
}

_Static_assert((int)LM_POOL_LAST + VECTOR_MEAN == LM_POOL_MEAN &&
                   (int)LM_POOL_LAST + VECTOR_FIRST == LM_POOL_FIRST &&
                   (int)LM_POOL_LAST + VECTOR_MAX == LM_POOL_MAX,
               "one order");

/* Texts go in whole: a step holds the longest, and of short ones so many that the weights are read for hundreds of rows at once. */
static void size_whole(const struct lm_shape *s, struct lm_options *o)
{
    enum { USUAL_ROWS = 1024 };
    if (o->n_ctx <= 0) o->n_ctx = s->n_ctx_train < LM_DEFAULT_CTX ? s->n_ctx_train : LM_DEFAULT_CTX;
    if (o->n_ctx > s->n_ctx_train) o->n_ctx = s->n_ctx_train;
    o->prefill_chunk = o->n_ctx > USUAL_ROWS ? o->n_ctx : USUAL_ROWS;
    o->max_batch = USUAL_ROWS / 4;
    o->speculate = LM_SPECULATE_OFF;
}

/* Context and pages: what was asked for, or what the machine affords. */
static bool size_cache(const struct device *dev, const struct lm_shape *s, const struct kv_plan *p,
                       struct lm_options *o, int *n_pages, struct err *e)
{
    const size_t page = kvcache_page_bytes(dev, o->kv_type, p, s);
    const bool ctx_given = o->n_ctx > 0;
    if (!ctx_given) o->n_ctx = s->n_ctx_train < LM_DEFAULT_CTX ? s->n_ctx_train : LM_DEFAULT_CTX;
    const bool bytes_given = o->kv_bytes > 0;
    if (o->kv_bytes > machine_memory())
        return err_set(e, ERR_LIMIT,
                       "a key/value cache of %zu MB is more than this machine's memory (%zu MB)",
                       o->kv_bytes >> 20, machine_memory() >> 20);
    /* One sequence must fit, with a page more of each group for the copy of shared last pages. */
    size_t one = (size_t)(kv_sequence_pages(p, o->n_ctx, o->prefill_chunk) + p->n_group);
    if (!bytes_given) {
        o->kv_bytes = machine_memory() / 4;
        const size_t contexts = (size_t)(o->max_batch < DEFAULT_CONTEXTS ? o->max_batch : DEFAULT_CONTEXTS);
        size_t all = page * one * contexts;
        if (all < o->kv_bytes) o->kv_bytes = all;
    }
    size_t n = o->kv_bytes / page;
    if (n > INT32_MAX / 2) n = INT32_MAX / 2;
    if (n < one && (ctx_given || bytes_given))
        return err_set(e, ERR_LIMIT,
                       "a context of %d tokens takes %zu MB of key/value cache, but only %zu MB are allowed",
                       o->n_ctx, one * page >> 20, o->kv_bytes >> 20);
    if (n < one) {
        int ctx = (o->n_ctx - 1) / KV_PAGE * KV_PAGE;
        while (ctx >= KV_PAGE * 2 && (size_t)(kv_sequence_pages(p, ctx, o->prefill_chunk) + p->n_group) > n)
            ctx -= KV_PAGE;
        if (ctx < KV_PAGE * 2) return err_set(e, ERR_NOMEM, "not enough memory for a key/value cache");
        o->n_ctx = ctx;
        log_warn("context limited to %d tokens by this machine's memory", o->n_ctx);
    }
    *n_pages = (int)n;
    return true;
}

static bool load_text(struct lm *m, struct err *e)
{
    const struct gguf *g = weights_gguf(m->w);
    if (!(g ? tokenizer_from_gguf(&m->tok, g, e) : tokenizer_from_dir(&m->tok, weights_dir(m->w), e)))
        return err_wrap(e, "tokenizer");
    if (!constraint_cache_new(&m->constraints, m->tok, e)) return false;
    const char *source = tokenizer_chat_template(m->tok);
    if (source && !chat_template_compile(&m->tmpl, source, strlen(source), &m->tmpl_error)) {
        if (m->tmpl_error.code == ERR_NOMEM) return err_set(e, ERR_NOMEM, "%s", m->tmpl_error.msg);
        log_warn("%s: the chat template of %s cannot be used: %s", m->name,
                 tokenizer_chat_template_from(m->tok), m->tmpl_error.msg);
    }
    return true;
}

static void fill_info(struct lm *m, const struct lm_options *o, size_t kv_bytes)
{
    const struct lm_shape *s = &m->shape;
    m->info = (struct lm_info){ .arch = m->arch->name,
                                .name = m->name,
                                .n_layer = s->n_layer,
                                .n_embd = s->n_embd,
                                .n_head = s->n_head,
                                .n_kv_head = s->n_kv_head,
                                .n_vocab = s->n_vocab,
                                .n_ctx = o->n_ctx,
                                .n_ctx_train = s->n_ctx_train,
                                .encoder = m->arch->engine->whole,
                                .n_vector = vector_head_n_out(m->vector),
                                .unit_vectors = vector_head_is_unit(m->vector),
                                .pooling = (enum lm_pooling)(LM_POOL_LAST + (int)vector_head_pool(m->vector)),
                                .weight_bytes = weights_bytes(m->w),
                                .kv_bytes = kv_bytes };
    for (size_t i = 0; i < weights_count(m->w); i++) m->info.n_params += tensor_elems(weights_at(m->w, i));
    m->info.n_score = vector_head_n_score(m->vector, &m->info.score_sigmoid);
    m->info.resident_bytes = m->arch->engine->bytes(m->net) + kv_bytes + vector_head_bytes(m->vector);
    if (!m->sight) return;
    m->info.weight_bytes += sight_weight_bytes(m->sight);
    m->info.resident_bytes += sight_bytes(m->sight);
}

/* Before anything is computed: a folder without a tokenizer has been pulled in part. */
static bool has_tokenizer(const struct weights *w, struct err *e)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "vocab.txt" };
    bool found = weights_gguf(w) != NULL;
    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++) {
        char *path;
        if (asprintf(&path, "%s%s", weights_dir(w), names[i]) < 0)
            return err_set(e, ERR_NOMEM, "no memory for a path");
        found = access(path, R_OK) == 0;
        free(path);
    }
    return found || err_set(e, ERR_FORMAT,
                            "the tokenizer is missing: no tokenizer.json, tokenizer.model or vocab.txt");
}

bool lm_check(const char *path, bool *sees, struct err *e)
{
    *sees = false;
    struct weights *w;
    struct lm_shape s;
    if (!weights_open(&w, path, e)) return false;
    const struct lm_arch *arch = find_family(w, e);
    bool ok = arch && arch->engine->check(arch, &s, w, e) && has_tokenizer(w, e) &&
              (!arch->sees || sight_check(w, NULL, s.n_embd, sees, e));
    weights_close(w);
    return ok;
}

/* Before memory is taken: whether there is a tower, and whether it fits. */
static bool check_sight(const struct lm *m, const char *mmproj, bool *sees, struct err *e)
{
    struct lm_shape s;
    *sees = false;
    if (!m->arch->sees && mmproj)
        return err_set(e, ERR_REQUEST, "--mmproj: models of the family %s see no pictures", m->arch->name);
    return !m->arch->sees ||
           (m->arch->engine->check(m->arch, &s, m->w, e) && sight_check(m->w, mmproj, s.n_embd, sees, e));
}

/* A cache that cannot be had is no reason not to serve: the log says why. */
static void open_prefixes(struct lm *m, const char *path, const struct lm_options *o,
                          const struct kv_plan *plan)
{
    unsigned char key[PREFIX_HASH];
    struct err e;
    if (!o->cache_dir || !*o->cache_dir || m->arch->engine->whole) return; /* an encoder has no cache */
    if (plan->n_group > 1) {
        log_info("%s: prefixes are not kept in %s: some of its layers see a window of the text alone",
                 m->name, o->cache_dir);
        return;
    }
    const size_t page = kvcache_page_bytes(m->dev, o->kv_type, plan, &m->shape);
    const size_t limit = o->cache_bytes ? o->cache_bytes : (size_t)LM_DEFAULT_CACHE;
    prefix_key(key, m->w, path, o->kv_type, page, o->n_ctx, device_isa(m->dev));
    if (!prefix_store_open(&m->prefixes, o->cache_dir, key, page, limit, &e))
        log_warn("%s: prefixes are not kept: %s", m->name, e.msg);
}

bool lm_load(struct lm **out, const char *path, const struct lm_options *options, struct device *dev,
             struct err *e)
{
    struct lm_options o = options ? *options : (struct lm_options){ 0 };
    if (o.mmproj && !*o.mmproj) o.mmproj = NULL;
    if (o.max_batch <= 0) o.max_batch = LM_DEFAULT_BATCH;
    if (o.queue_limit <= 0) o.queue_limit = LM_DEFAULT_QUEUE;
    if (o.prefill_chunk <= 0) o.prefill_chunk = LM_DEFAULT_CHUNK;
    if (o.max_batch > LM_MAX_BATCH || o.prefill_chunk > LM_MAX_CHUNK)
        return err_set(e, ERR_LIMIT, "max_batch %d (at most %d), prefill_chunk %d (at most %d)", o.max_batch,
                       LM_MAX_BATCH, o.prefill_chunk, LM_MAX_CHUNK);
    struct lm *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for a model");
    m->dev = dev;
    if (!weights_open(&m->w, path, e)) goto fail;
    m->name = model_name(m->w, path);
    if (!m->name) {
        err_set(e, ERR_NOMEM, "no memory for a model");
        goto fail;
    }
    m->arch = find_family(m->w, e);
    if (!m->arch || !has_tokenizer(m->w, e) || !load_text(m, e)) goto fail;

    bool sees;
    if (!check_sight(m, o.mmproj, &sees, e)) goto fail;
    const bool whole = m->arch->engine->whole;
    struct lm_shape first;
    if (whole && !m->arch->engine->check(m->arch, &first, m->w, e)) goto fail;
    if (whole) size_whole(&first, &o);
    device_acquire(dev, POOL_LOAD);
    bool ok = m->arch->engine->load(m->arch, &m->net, &m->shape, m->w, dev,
                                    scheduler_max_rows(o.max_batch, o.prefill_chunk), o.n_ctx, e) &&
              (!sees || sight_load(&m->sight, m->w, o.mmproj, m->tok, m->shape.n_embd, dev, e));
    device_release(dev);
    int n_pages = 0;
    if (!ok) goto fail;
    struct kv_plan plan = { .n_group = 0, .layers_each = 1 };
    if (!whole) kv_plan(&plan, &m->shape);
    if (whole) n_pages = 1; /* which nobody takes */
    if ((!whole && !size_cache(dev, &m->shape, &plan, &o, &n_pages, e)) ||
        !kvcache_new(&m->cache, dev, o.kv_type, &plan, &m->shape, n_pages, e) ||
        !vector_head_load(&m->vector, m->w, m->shape.n_embd, whole, e))
        goto fail;
    open_prefixes(m, path, &o, &plan);
    struct scheduler_config c = { .name = m->name,
                                  .arch = m->arch,
                                  .net = m->net,
                                  .shape = &m->shape,
                                  .dev = dev,
                                  .tok = m->tok,
                                  .cache = m->cache,
                                  .weights = m->w,
                                  .sight = m->sight,
                                  .vector_head = m->vector,
                                  .n_ctx = o.n_ctx,
                                  .max_batch = o.max_batch,
                                  .queue_limit = o.queue_limit,
                                  .prefill_chunk = o.prefill_chunk,
                                  .prefixes = m->prefixes,
                                  .speculate = o.speculate,
                                  .guess_rows = o.guess_rows };
    if (!weights_intact(m->w, e) || !scheduler_new(&m->sched, &c, e)) goto fail;
    fill_info(m, &o, (size_t)n_pages * kvcache_page_bytes(dev, o.kv_type, &plan, &m->shape));
    *out = m;
    return true;
fail:
    lm_free(m);
    return err_wrap(e, "%s", path);
}

void lm_free(struct lm *m)
{
    if (!m) return;
    scheduler_free(m->sched);
    prefix_store_close(m->prefixes);
    kvcache_free(m->cache);
    sight_free(m->sight);
    vector_head_free(m->vector);
    if (m->net) m->arch->engine->free(m->net);
    if (m->tmpl) chat_template_free(m->tmpl);
    constraint_cache_free(m->constraints);
    if (m->tok) tokenizer_free(m->tok);
    if (m->w) weights_close(m->w);
    free(m->name);
    free(m);
}

bool lm_intact(const struct lm *m, struct err *e)
{
    return weights_intact(m->w, e) && (!m->sight || sight_intact(m->sight, e));
}

bool lm_sees(const struct lm *m) { return m->sight != NULL; }
int32_t lm_picture_mark(const struct lm *m) { return m->sight ? sight_mark(m->sight) : -1; }

bool lm_picture_new(struct lm_picture **out, const struct lm *m, const struct image_pixels *px, bool whole,
                    struct err *e)
{
    return m->sight ? sight_picture(out, m->sight, px, whole, e)
                    : err_set(e, ERR_UNSUPPORTED, "%s sees no pictures", m->name);
}

const struct lm_info *lm_info(const struct lm *m) { return &m->info; }
const struct tokenizer *lm_tokenizer(const struct lm *m) { return m->tok; }
const struct chat_template *lm_chat_template(const struct lm *m) { return m->tmpl; }
struct constraint_cache *lm_constraints(const struct lm *m) { return m->constraints; }
const char *lm_chat_template_error(const struct lm *m)
{
    return m->tmpl_error.code != ERR_NONE ? m->tmpl_error.msg : NULL;
}

bool lm_submit_all(struct lm *m, const struct lm_request *r, const struct lm_prompt *prompts, int n,
                   void (*notify)(void *arg), void *arg, struct lm_job **jobs, struct err *e)
{
    struct terms *terms;
    if (m->info.encoder && r->pool == LM_POOL_NONE)
        return err_set(e, ERR_UNSUPPORTED, "%s is an encoder: it makes vectors of texts, and no text",
                       m->name);
    if (!terms_new(&terms, r, e)) return false;
    int made = 0;
    while (made < n &&
           job_new(&jobs[made], r, &prompts[made], terms, m->info.n_ctx, m->shape.n_vocab, notify, arg, e))
        made++;
    terms_unref(terms);
    const bool ok = made == n && scheduler_submit(m->sched, jobs, n, e);
    for (; !ok && made > 0; made--) job_unref(jobs[made - 1]);
    return ok;
}

bool lm_submit(struct lm *m, const struct lm_request *r, void (*notify)(void *arg), void *arg,
               struct lm_job **out, struct err *e)
{
    return lm_submit_all(m, r, &r->prompt, 1, notify, arg, out, e);
}

void lm_cancel(struct lm_job *j)
{
    if (!atomic_exchange(&j->cancelled, true)) scheduler_cancel(j->sched, j);
}

double lm_progress(const struct lm_job *j, int *queue_place)
{
    if (queue_place) *queue_place = atomic_load(&j->waits) ? scheduler_place(j->sched, j) : 0;
    return (double)atomic_load(&j->prompt_done) / j->n_prompt;
}

void lm_job_free(struct lm_job *j)
{
    if (!j) return;
    pthread_mutex_lock(&j->mu);
    const bool over = j->closed;
    pthread_mutex_unlock(&j->mu);
    if (!over) lm_cancel(j);
    pthread_mutex_lock(&j->notify_mu);
    j->notify = NULL;
    pthread_mutex_unlock(&j->notify_mu);
    job_unref(j);
}

void lm_stats(struct lm *m, struct lm_stats *out) { scheduler_stats(m->sched, out); }

bool lm_logits(struct lm *m, const int32_t *ids, int n, float *logits, struct err *e)
{
    const struct lm_request r = {
        .n = 1, .sampling = { .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n_top_logprobs = -1 }
    };
    const struct lm_prompt p = { .ids = ids, .n = n > 0 ? (size_t)n : 0 };
    struct terms *terms;
    struct lm_job *j;
    if (m->info.encoder) return err_set(e, ERR_UNSUPPORTED, "%s is an encoder: it has no logits", m->name);
    if (!terms_new(&terms, &r, e)) return false;
    bool ok = job_new(&j, &r, &p, terms, m->info.n_ctx, m->shape.n_vocab, NULL, NULL, e);
    terms_unref(terms);
    if (!ok) return false;
    j->raw_logits = logits;
    ok = scheduler_submit(m->sched, &j, 1, e);
    struct lm_event ev;
    while (ok && lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) {
            *e = ev.error;
            ok = false;
        }
        lm_event_free(&ev);
    }
    job_unref(j);
    return ok;
}
