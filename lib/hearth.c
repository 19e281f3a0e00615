/* hearth.c - include/hearth.h over the doors of the engines (lm/lm.h, image/image.h). */
#include "hearth.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/pool.h"
#include "base/version.h"
#include "image/image.h"
#include "lm/lm.h"

struct hearth_engine {
    struct pool *pool;
    struct device *text, *image; /* text cuts into pictures, so that each has a device (base/pool.h) */
};
struct hearth_text {
    struct lm *lm;
};
struct hearth_image {
    struct image_model *model;
};
struct hearth_stop {
    pthread_mutex_t lock;
    bool stopped;
    struct lm_job *text; /* what runs with it, or NULL */
    struct image_job *image;
};

/* ---- errors ---- */

static int fail(struct hearth_error *out, const struct err *e)
{
    static const int codes[] = {
        [ERR_NONE] = 0,          [ERR_NOMEM] = 1,        [ERR_IO] = 2,         [ERR_FORMAT] = 3,
        [ERR_LIMIT] = 4,         [ERR_REQUEST] = 5,      [ERR_NOT_FOUND] = 6,  [ERR_UNSUPPORTED] = 7,
        [ERR_CONTEXT] = 8,       [ERR_BUSY] = 9,         [ERR_CANCELLED] = 10, [ERR_UPSTREAM] = 2,
        [ERR_UPSTREAM_LATE] = 2, [ERR_UPSTREAM_BUSY] = 9
    };
    if (out) {
        out->code = codes[e->code];
        memcpy(out->message, e->msg,
               sizeof out->message < sizeof e->msg ? sizeof out->message : sizeof e->msg);
        out->message[sizeof out->message - 1] = 0;
    }
    return 0;
}

static int done(bool ok, struct hearth_error *out, const struct err *e) { return ok ? 1 : fail(out, e); }

/* What a caller's struct has of ours: the fields that it knows, zeros for the rest. */
static bool take(void *own, size_t n, const void *theirs, struct err *e)
{
    size_t size = 0;
    if (theirs) memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > 65536)
        return err_set(e, ERR_REQUEST, "the struct does not say its size; HEARTH_INIT makes one that does");
    memset(own, 0, n);
    memcpy(own, theirs, size < n ? size : n);
    return true;
}

const char *hearth_library_version(void) { return hearth_version; }
void hearth_free(void *p) { free(p); }

/* ---- the machine ---- */

int hearth_engine_open(struct hearth_engine **out, int threads, struct hearth_error *e)
{
    struct err why = { 0 };
    struct hearth_engine *g = calloc(1, sizeof *g);
    bool ok = g || err_set(&why, ERR_NOMEM, "out of memory");
    ok = ok && (threads >= 0 || err_set(&why, ERR_REQUEST, "threads must be 0 or more, got %d", threads));
    ok = ok && pool_new(&g->pool, threads, &why) && device_cpu_open(&g->text, g->pool, ~0U, &why) &&
         device_cpu_open(&g->image, g->pool, ~0U, &why);
    if (ok)
        *out = g;
    else
        hearth_engine_close(g);
    return done(ok, e, &why);
}

void hearth_engine_close(struct hearth_engine *g)
{
    if (!g) return;
    if (g->text) device_close(g->text);
    if (g->image) device_close(g->image);
    if (g->pool) pool_free(g->pool);
    free(g);
}

struct hearth_stop *hearth_stop_new(void)
{
    struct hearth_stop *s = calloc(1, sizeof *s);
    if (s) pthread_mutex_init(&s->lock, NULL);
    return s;
}

void hearth_stop_now(struct hearth_stop *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    if (s->text) lm_cancel(s->text);
    if (s->image) image_cancel(s->image);
    pthread_mutex_unlock(&s->lock);
}

void hearth_stop_free(struct hearth_stop *s)
{
    if (!s) return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* From now on s ends this; both NULL: nothing any more. */
static void stop_ends(struct hearth_stop *s, struct lm_job *text, struct image_job *image)
{
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->text = text;
    s->image = image;
    if (s->stopped && text) lm_cancel(text);
    if (s->stopped && image) image_cancel(image);
    pthread_mutex_unlock(&s->lock);
}

/* ---- text ---- */

int hearth_text_load(struct hearth_text **out, struct hearth_engine *g, const char *path, int context,
                     struct hearth_error *e)
{
    struct err why = { 0 };
    const struct lm_options o = { .n_ctx = context };
    struct hearth_text *t = calloc(1, sizeof *t);
    bool ok = t || err_set(&why, ERR_NOMEM, "out of memory");
    ok = ok && (context >= 0 || err_set(&why, ERR_REQUEST, "the context must be 0 or more, got %d", context));
    ok = ok && lm_load(&t->lm, path, &o, g->text, &why);
    if (ok)
        *out = t;
    else
        free(t);
    return done(ok, e, &why);
}

void hearth_text_free(struct hearth_text *t)
{
    if (!t) return;
    lm_free(t->lm);
    free(t);
}

int hearth_text_context(const struct hearth_text *t) { return lm_info(t->lm)->n_ctx; }

int hearth_tokenize(struct hearth_text *t, const char *text, size_t len, int32_t **ids, size_t *n,
                    struct hearth_error *e)
{
    struct err why = { 0 };
    struct token_list l = { 0 };
    const bool ok = tokenizer_encode(lm_tokenizer(t->lm), text, len, NULL, false, 0, &l, &why);
    if (ok)
        *ids = l.id, *n = l.n;
    else
        token_list_free(&l);
    return done(ok, e, &why);
}

int hearth_detokenize(struct hearth_text *t, const int32_t *ids, size_t n, char **text, size_t *len,
                      struct hearth_error *e)
{
    struct err why = { 0 };
    const struct tokenizer *tok = lm_tokenizer(t->lm);
    struct buf b = BUF_INIT(0);
    struct detok *d = NULL;
    const char *piece;
    size_t k;
    bool ok = detok_new(&d, tok, NULL, true, &why);
    for (size_t i = 0; ok && i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tokenizer_n_vocab(tok)) {
            ok = err_set(&why, ERR_REQUEST, "%d is no token of this model", (int)ids[i]);
        } else {
            detok_push(d, ids[i], &piece, &k);
            buf_append(&b, piece, k);
        }
    }
    if (ok) {
        detok_finish(d, &piece, &k);
        buf_append(&b, piece, k);
        const size_t all = b.len;
        char *s = detok_failed(d) ? NULL : buf_take(&b);
        ok = s || err_set(&why, ERR_NOMEM, "out of memory");
        if (ok) *text = s, *len = all;
    }
    detok_free(d);
    buf_free(&b);
    return done(ok, e, &why);
}

/* The conversation as the model's template prints it; control tokens in what was said are text. */
static bool encode_messages(struct hearth_text *t, const struct hearth_generate *g, struct token_list *l,
                            struct err *e)
{
    const struct chat_template *template = lm_chat_template(t->lm);
    const struct tokenizer *tok = lm_tokenizer(t->lm);
    const char *why = lm_chat_template_error(t->lm);
    if (!template)
        return err_set(e, ERR_UNSUPPORTED, "the model has no chat template%s%s; give it a prompt",
                       why ? " that can be used: " : "", why ? why : "");
    json_t *messages = json_array(), *ctx = json_object();
    int bad = !messages || !ctx;
    for (size_t i = 0; !bad && i < g->n_messages; i++) {
        const struct hearth_message *m = &g->messages[i];
        json_t *content = m->content ? json_string(m->content) : NULL;
        if (content && chat_template_content(template) == CONTENT_PARTS)
            content = json_pack("[{s:s, s:o}]", "type", "text", "text", content);
        json_t *one =
            content && m->role ? json_pack("{s:s, s:O}", "role", m->role, "content", content) : NULL;
        json_decref(content);
        bad |= !one || json_array_append_new(messages, one);
    }
    bad |= json_object_set(ctx, "messages", messages) ||
           json_object_set_new(ctx, "add_generation_prompt", json_true());
    const int32_t special[] = { tokenizer_bos(tok), tokenizer_eos(tok) };
    static const char *const names[] = { "bos_token", "eos_token" };
    for (int i = 0; !bad && i < 2; i++) {
        const char *text = special[i] >= 0 ? tokenizer_token_text(tok, special[i]) : NULL;
        if (text) bad |= json_object_set_new(ctx, names[i], json_string(text));
    }
    struct rendered r = { 0 };
    const struct render_options o = { .now_unix = (int64_t)time(NULL) };
    const bool ok = (!bad || err_set(e, ERR_REQUEST, "a message needs a role and a content in UTF-8")) &&
                    chat_template_render(template, ctx, &o, &r, e) &&
                    tokenizer_encode(tok, r.text, r.len, r.data, true, 0, l, e);
    free(r.text);
    free(r.data);
    json_decref(messages);
    json_decref(ctx);
    return ok;
}

static bool run_text(struct lm_job *job, hearth_piece_fn fn, void *arg, struct hearth_used *used,
                     struct err *e)
{
    struct lm_event ev;
    bool ok = true, wanted = true;
    while (lm_wait(job, &ev)) {
        if (ev.type == LM_EV_TEXT && ev.len && fn && wanted && !fn(arg, ev.text, ev.len)) {
            wanted = false;
            lm_cancel(job);
        }
        if (ev.type == LM_EV_CHOICE_END)
            used->finish = ev.finish == LM_FINISH_LENGTH ? 1 : ev.finish == LM_FINISH_CANCELLED ? 2 : 0;
        if (ev.type == LM_EV_DONE) {
            used->prompt_tokens = ev.usage.prompt_tokens;
            used->generated_tokens = ev.usage.completion_tokens;
        }
        if (ev.type == LM_EV_ERROR) ok = err_set(e, ev.error.code, "%s", ev.error.msg);
        lm_event_free(&ev);
    }
    if (!wanted || (!ok && e->code == ERR_CANCELLED)) {
        used->finish = 2;
        ok = true;
    }
    return ok;
}

int hearth_generate(struct hearth_text *t, const struct hearth_generate *theirs, hearth_piece_fn fn,
                    void *arg, struct hearth_used *used, struct hearth_error *e)
{
    struct err why = { 0 };
    struct hearth_generate g;
    struct hearth_used u = { .finish = 2 };
    struct token_list l = { 0 };
    struct lm_job *job = NULL;
    size_t used_size = sizeof u;
    bool ok = take(&g, sizeof g, theirs, &why);
    if (ok && used) used_size = used->size;
    ok = ok &&
         ((used_size >= sizeof used_size && used_size <= 65536) ||
          err_set(&why, ERR_REQUEST, "the struct does not say its size; HEARTH_INIT makes one that does"));
    ok = ok &&
         (!g.prompt != !g.messages || err_set(&why, ERR_REQUEST, "give a prompt or messages, and not both"));
    ok = ok && (g.prompt ? tokenizer_encode(lm_tokenizer(t->lm), g.prompt, strlen(g.prompt), NULL, false,
                                            TOK_BOS, &l, &why)
                         : encode_messages(t, &g, &l, &why));
    const int room = ok ? lm_info(t->lm)->n_ctx - (int)(l.n < INT32_MAX ? l.n : INT32_MAX) : 0;
    ok = ok && (room > 0 || err_set(&why, ERR_CONTEXT, "the prompt has %zu tokens, and the context is %d",
                                    l.n, lm_info(t->lm)->n_ctx));
    if (ok) {
        const struct lm_request r = {
            .prompt = { .ids = l.id,
                        .n = l.n,
                        .max_tokens = g.max_tokens > 0 && g.max_tokens < room ? g.max_tokens : room },
            .n = 1,
            .sampling = { .temperature = g.temperature,
                          .top_k = g.top_k,
                          .top_p = g.top_p > 0 ? g.top_p : 1,
                          .typical_p = 1,
                          .repetition_penalty = 1,
                          .seed = g.seed,
                          .n_top_logprobs = -1 },
            .stop = g.stop_strings,
            .n_stop = (int)g.n_stop_strings,
        };
        ok = sampler_check(&r.sampling, &why) && lm_submit(t->lm, &r, NULL, NULL, &job, &why);
    }
    if (ok) {
        stop_ends(g.stop, job, NULL);
        ok = run_text(job, fn, arg, &u, &why);
        stop_ends(g.stop, NULL, NULL);
    }
    if (job) lm_job_free(job);
    token_list_free(&l);
    if (ok && used) {
        u.size = used_size;
        memcpy(used, &u, used_size < sizeof u ? used_size : sizeof u);
    }
    return done(ok, e, &why);
}

/* ---- pictures ---- */

int hearth_image_load(struct hearth_image **out, struct hearth_engine *g, const char *path,
                      struct hearth_error *e)
{
    struct err why = { 0 };
    struct hearth_image *m = calloc(1, sizeof *m);
    bool ok = m || err_set(&why, ERR_NOMEM, "out of memory");
    ok = ok && image_load(&m->model, path, NULL, g->image, &why);
    if (ok)
        *out = m;
    else
        free(m);
    return done(ok, e, &why);
}

void hearth_image_free(struct hearth_image *m)
{
    if (!m) return;
    image_free(m->model);
    free(m);
}

int hearth_draw(struct hearth_image *m, const struct hearth_draw *theirs, hearth_step_fn fn, void *arg,
                struct hearth_picture *out, struct hearth_error *e)
{
    struct err why = { 0 };
    struct hearth_draw d;
    struct image_job *job = NULL;
    struct image_event ev;
    struct hearth_picture p = { 0 };
    bool ok = take(&d, sizeof d, theirs, &why);
    ok = ok && (d.prompt || err_set(&why, ERR_REQUEST, "a picture needs a prompt"));
    if (ok) {
        const struct image_request r = { .prompt = d.prompt,
                                         .negative_prompt = d.negative,
                                         .width = d.width,
                                         .height = d.height,
                                         .n = 1,
                                         .steps = d.steps,
                                         .guidance = d.guidance,
                                         .seed = d.seed };
        ok = image_submit(m->model, &r, NULL, NULL, &job, NULL, &why);
    }
    if (ok) stop_ends(d.stop, NULL, job);
    while (ok && image_wait(job, &ev)) {
        if (ev.type == IMAGE_EV_PROGRESS && fn && !fn(arg, ev.step, ev.steps)) {
            image_cancel(job);
            fn = NULL;
        }
        if (ev.type == IMAGE_EV_IMAGE) {
            p = (struct hearth_picture){ ev.image.width, ev.image.height, ev.image.pixels };
            ev.image.pixels = NULL;
        }
        if (ev.type == IMAGE_EV_ERROR) ok = err_set(&why, ev.error.code, "%s", ev.error.msg);
        image_event_free(&ev);
    }
    if (job) {
        stop_ends(d.stop, NULL, NULL);
        image_job_free(job);
    }
    ok = ok && (p.rgb || err_set(&why, ERR_CANCELLED, "the drawing was cancelled"));
    if (ok)
        *out = p;
    else
        free(p.rgb);
    return done(ok, e, &why);
}
