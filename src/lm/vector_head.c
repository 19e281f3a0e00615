#include "lm/vector_head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/filemap.h"
#include "format/gguf.h"
#include "format/json_read.h"
#include "format/quant.h"

enum { MOST_STEPS = 8, MOST_WIDTH = 1 << 16 };

enum act { ACT_NONE, ACT_TANH, ACT_RELU, ACT_GELU };

/* y = act(w x + b), or x / |x| where w is NULL. */
struct step {
    float *w, *b; /* [n_out, n_in]; [n_out] or NULL */
    int n_in, n_out;
    enum act act;
};

struct vector_head {
    enum vector_pool pool;
    struct step step[MOST_STEPS];
    int n_step, n_embd;
    int n_score;
    bool sigmoid;
};

void vector_head_free(struct vector_head *h)
{
    if (!h) return;
    for (int i = 0; i < h->n_step; i++) {
        free(h->step[i].w);
        free(h->step[i].b);
    }
    free(h);
}

int vector_head_n_out(const struct vector_head *h)
{
    int n = h->n_embd;
    for (int i = 0; i < h->n_step; i++)
        if (h->step[i].w) n = h->step[i].n_out;
    return n;
}

enum vector_pool vector_head_pool(const struct vector_head *h) { return h->pool; }
bool vector_head_is_unit(const struct vector_head *h) { return h->n_step && !h->step[h->n_step - 1].w; }

int vector_head_n_score(const struct vector_head *h, bool *sigmoid)
{
    *sigmoid = h->sigmoid;
    return h->n_score;
}

size_t vector_head_bytes(const struct vector_head *h)
{
    size_t n = sizeof *h;
    for (int i = 0; i < h->n_step; i++)
        if (h->step[i].w) n += (size_t)h->step[i].n_out * ((size_t)h->step[i].n_in + 1) * sizeof(float);
    return n;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static float apply(enum act a, float x)
{
    switch (a) {
    case ACT_TANH: return tanhf(x);
    case ACT_RELU: return x > 0 || isnan(x) ? x : 0;
    case ACT_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case ACT_NONE: break;
    }
    return x;
}

static float dot(const float *a, const float *b, int n)
{
    enum { LANES = 16 };
    float sum[LANES] = { 0 }, total = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sum[k] += a[i + k] * b[i + k];
    for (int k = 0; k < LANES; k++) total += sum[k];
    for (; i < n; i++) total += a[i] * b[i];
    return total;
}

static void to_unit(float *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)v[i] * v[i];
    const double by = sum > 0 ? 1 / sqrt(sum) : 1;
    for (int i = 0; i < n; i++) v[i] = (float)(v[i] * by);
}

bool vector_head_run(const struct vector_head *h, float **v)
{
    int n = h->n_embd;
    for (int i = 0; i < h->n_step; i++) {
        const struct step *s = &h->step[i];
        if (!s->w) {
            to_unit(*v, n);
            continue;
        }
        float *y = malloc((size_t)s->n_out * sizeof *y);
        if (!y) return false;
        for (int o = 0; o < s->n_out; o++) {
            const float x = dot(s->w + (size_t)o * (size_t)s->n_in, *v, s->n_in);
            y[o] = apply(s->act, s->b ? x + s->b[o] : x);
        }
        free(*v);
        *v = y;
        n = s->n_out;
    }
    return true;
}

/* ---- layers of the files ------------------------------------------------------------------------------------------------- */

static float *floats_of(const struct tensor *t)
{
    float *f = malloc((size_t)tensor_elems(t) * sizeof *f);
    if (f) dequant_row(t->type, t->data, f, tensor_elems(t));
    return f;
}

static bool all_finite(const float *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(f[i])) return false;
    return true;
}

/* Adds a layer; bias NULL: none. */
static bool add_layer(struct vector_head *h, const struct tensor *w, const struct tensor *b, enum act act,
                      struct err *e)
{
    const int n_in = vector_head_n_out(h);
    if (h->n_step == MOST_STEPS)
        return err_set(e, ERR_UNSUPPORTED, "more than %d layers behind the pooling", MOST_STEPS);
    if (w->n_dims != 2 || w->dim[1] != n_in || w->dim[0] < 1 || w->dim[0] > MOST_WIDTH ||
        w->type == DT_F8_E5M2 || w->type > DT_NVFP4 || dtype_row_bytes(w->type, w->dim[1]) == 0)
        return err_set(e, ERR_FORMAT, "%s: expected a matrix [*, %d] of numbers", w->name, n_in);
    if (b && (b->n_dims != 1 || b->dim[0] != w->dim[0] || b->type > DT_BF16))
        return err_set(e, ERR_FORMAT, "%s: expected %lld numbers", b->name, (long long)w->dim[0]);
    struct step *s = &h->step[h->n_step++];
    *s = (struct step){ .w = floats_of(w), .b = b ? floats_of(b) : NULL, .act = act };
    s->n_in = n_in;
    s->n_out = (int)w->dim[0];
    if (!s->w || (b && !s->b)) return err_set(e, ERR_NOMEM, "no memory for %s", w->name);
    if (!all_finite(s->w, (size_t)n_in * (size_t)s->n_out) || (s->b && !all_finite(s->b, (size_t)s->n_out)))
        return err_set(e, ERR_FORMAT, "%s: a number is infinite or NaN: the file is damaged", w->name);
    return true;
}

static const char *last_part(const char *name)
{
    const char *dot = name ? strrchr(name, '.') : NULL;
    return dot ? dot + 1 : name ? name : "";
}

/* dir + "path/" of a module; NULL: no memory, or a path that leaves the folder. */
static char *module_dir(const char *dir, const char *path)
{
    char *out = NULL;
    if (strstr(path, "..") || path[0] == '/' || asprintf(&out, "%s%s%s", dir, path, *path ? "/" : "") < 0)
        return NULL;
    return out;
}

static bool add_dense(struct vector_head *h, const char *dir, struct err *e)
{
    static const struct {
        const char *name;
        enum act act;
    } acts[] = { { "Identity", ACT_NONE }, { "Tanh", ACT_TANH }, { "ReLU", ACT_RELU }, { "GELU", ACT_GELU } };
    struct weights *w;
    if (!weights_open(&w, dir, e)) return false;
    const char *name = json_string_value(json_object_get(weights_config(w), "activation_function"));
    const struct tensor *weight = weights_find(w, "linear.weight"), *bias = weights_find(w, "linear.bias");
    const size_t n = sizeof acts / sizeof *acts;
    size_t i = 0;
    while (name && i < n && strcmp(acts[i].name, last_part(name)) != 0) i++;
    const bool ok =
        i == n ? err_set(e, ERR_UNSUPPORTED, "%s: activation_function \"%.80s\" is not supported", dir, name)
        : !weight ? err_set(e, ERR_FORMAT, "%s: linear.weight is missing", dir)
                  : add_layer(h, weight, bias, name ? acts[i].act : ACT_TANH, e);
    weights_close(w);
    return ok;
}

/* ---- pooling ------------------------------------------------------------------------------------------------------------ */

/* What is not done here: an error for encoders, else a line in the log. */
static bool not_done(bool encoder, struct err *e, const char *where, const char *what)
{
    if (encoder) return err_set(e, ERR_UNSUPPORTED, "%s: %s is not supported", where, what);
    log_warn("%s: %s is not done here and is left out", where, what);
    return true;
}

static bool pooling_of_folder(struct vector_head *h, const char *dir, bool encoder, struct err *e)
{
    static const struct {
        const char *key, *mode;
        int pool; /* -1: not done here */
    } ways[] = {
        { "pooling_mode_cls_token", "cls", VECTOR_FIRST },
        { "pooling_mode_mean_tokens", "mean", VECTOR_MEAN },
        { "pooling_mode_max_tokens", "max", VECTOR_MAX },
        { "pooling_mode_lasttoken", "lasttoken", VECTOR_LAST },
        { "pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", -1 },
        { "pooling_mode_weightedmean_tokens", "weightedmean", -1 },
    };
    char *path = NULL;
    json_t *config = NULL;
    int said = 0;
    if (asprintf(&path, "%sconfig.json", dir) < 0) return err_set(e, ERR_NOMEM, "no memory for a path");
    bool ok = true;
    if (access(path, F_OK) == 0 && !json_read_file(&config, path, e)) ok = not_done(encoder, e, path, e->msg);
    const char *mode = json_string_value(json_object_get(config, "pooling_mode"));
    if (ok && !mode && json_object_get(config, "pooling_mode"))
        ok = not_done(encoder, e, path, "more than one way of pooling");
    bool known = !mode;
    for (size_t i = 0; ok && i < sizeof ways / sizeof *ways; i++) {
        if (mode ? strcmp(mode, ways[i].mode) != 0 : !json_is_true(json_object_get(config, ways[i].key)))
            continue;
        known = true;
        if (ways[i].pool < 0 || said++)
            ok = not_done(encoder, e, path, ways[i].pool < 0 ? ways[i].key : "more than one way of pooling");
        else
            h->pool = (enum vector_pool)ways[i].pool;
    }
    if (ok && !known) ok = not_done(encoder, e, path, mode);
    json_decref(config);
    free(path);
    return ok;
}

/* A file that is a list, as the only member of *out. */
static bool read_list(json_t **out, const char *path, struct err *e)
{
    struct filemap m;
    if (!filemap_open(&m, path, e)) return false;
    struct buf b = BUF_INIT(1 << 20);
    buf_puts(&b, "{\"list\":");
    buf_append(&b, (const char *)m.data, m.size);
    buf_puts(&b, "}");
    filemap_close(&m);
    const bool ok =
        b.failed ? err_set(e, ERR_LIMIT, "the file is too large") : json_read_text(out, b.data, b.len, e);
    buf_free(&b);
    return ok || err_wrap(e, "modules.json");
}

static bool read_modules(struct vector_head *h, const char *dir, bool encoder, struct err *e)
{
    char *path = NULL;
    json_t *list = NULL, *one;
    size_t i;
    bool pooled = false, ok = true;
    if (asprintf(&path, "%smodules.json", dir) < 0) return err_set(e, ERR_NOMEM, "no memory for a path");
    if (access(path, F_OK) == 0) ok = read_list(&list, path, e);
    json_array_foreach(json_object_get(list, "list"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "type")), *type = last_part(name);
        const char *at = json_string_value(json_object_get(one, "path"));
        char *sub = ok ? module_dir(dir, at ? at : "") : NULL;
        if (ok && !sub) ok = err_set(e, ERR_FORMAT, "%s: a module without a usable path", path);
        if (ok && strcmp(type, "Pooling") == 0) {
            ok = pooling_of_folder(h, sub, encoder, e);
            pooled = true;
        } else if (ok && strcmp(type, "Dense") == 0) {
            ok = add_dense(h, sub, e);
        } else if (ok && strcmp(type, "Normalize") == 0) {
            if (h->n_step == MOST_STEPS)
                ok = err_set(e, ERR_UNSUPPORTED, "%s: too many modules", path);
            else
                h->step[h->n_step++] = (struct step){ 0 };
        } else if (ok && strcmp(type, "Transformer") != 0) {
            ok = not_done(encoder, e, path, name ? name : "a module without a type");
        }
        free(sub);
    }
    json_decref(list);
    free(path);
    if (!ok || pooled) return ok;
    char *sub = module_dir(dir, "1_Pooling");
    ok = sub ? pooling_of_folder(h, sub, encoder, e) : err_set(e, ERR_NOMEM, "no memory for a path");
    free(sub);
    return ok;
}

/* ---- classifiers -------------------------------------------------------------------------------------------------------- */

/* The layers of each family's classifier over the first token. */
static const struct {
    const char *first, *second;
    enum act act; /* of the first */
} classifiers[] = {
    { "bert.pooler.dense", "classifier", ACT_TANH },
    { "classifier.dense", "classifier.out_proj", ACT_TANH }, /* RoBERTa */
    { "pre_classifier", "classifier", ACT_RELU },            /* DistilBERT */
    { "cls", "cls.output", ACT_TANH },                       /* GGUF */
};

static const struct tensor *part(const struct weights *w, const char *module, const char *what)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", module, what);
    return weights_find(w, name);
}

static bool read_classifier(struct vector_head *h, const struct weights *w, struct err *e)
{
    const size_t n = sizeof classifiers / sizeof *classifiers;
    size_t i = 0;
    while (i < n && !(part(w, classifiers[i].first, "weight") && part(w, classifiers[i].second, "weight")))
        i++;
    if (i == n) return err_set(e, ERR_FORMAT, "the layers of the classifier are missing");
    const char *first = classifiers[i].first, *second = classifiers[i].second;
    if (!add_layer(h, part(w, first, "weight"), part(w, first, "bias"), classifiers[i].act, e) ||
        !add_layer(h, part(w, second, "weight"), part(w, second, "bias"), ACT_NONE, e))
        return false;
    const json_t *config = weights_config(w);
    char path[4200];
    json_t *beside = NULL;
    struct err none = { 0 };
    snprintf(path, sizeof path, "%sconfig_sentence_transformers.json", weights_dir(w));
    if (config) (void)json_read_file(&beside, path, &none); /* there may be none */
    const char *act = json_string_value(json_object_get(beside, "activation_fn"));
    if (!act)
        act = json_string_value(
            json_object_get(json_object_get(config, "sentence_transformers"), "activation_fn"));
    if (!act) act = json_string_value(json_object_get(config, "sbert_ce_default_activation_function"));
    h->pool = VECTOR_FIRST;
    h->n_score = vector_head_n_out(h);
    h->sigmoid = act ? strcmp(last_part(act), "Sigmoid") == 0 : h->n_score == 1;
    const bool ok = !act || h->sigmoid || strcmp(last_part(act), "Identity") == 0 ||
                    err_set(e, ERR_UNSUPPORTED, "the activation \"%.80s\" of scores is not supported", act);
    json_decref(beside);
    return ok;
}

static bool is_classifier(const struct weights *w)
{
    static const char tail[] = "ForSequenceClassification";
    const char *class =
        json_string_value(json_array_get(json_object_get(weights_config(w), "architectures"), 0));
    const size_t n = class ? strlen(class) : 0;
    return n >= sizeof tail - 1 && strcmp(class + n - (sizeof tail - 1), tail) == 0;
}

/* GGUF's ARCH.pooling_type, by its numbers. */
static bool pooling_of_gguf(struct vector_head *h, const struct weights *w, bool encoder, struct err *e)
{
    enum { UNSAID = -1, NONE, MEAN, CLS, LAST, RANK };
    const struct gguf *g = weights_gguf(w);
    const struct gguf_str arch = gguf_string(g, "general.architecture");
    char key[100];
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)(arch.len < 60 ? arch.len : 60),
             arch.data ? arch.data : "");
    const int64_t type = gguf_int(g, key, UNSAID);
    switch (type) {
    case UNSAID:
    case NONE: return true;
    case MEAN: h->pool = VECTOR_MEAN; return true;
    case CLS: h->pool = VECTOR_FIRST; return true;
    case LAST: h->pool = VECTOR_LAST; return true;
    case RANK:
        if (encoder) return read_classifier(h, w, e);
        break;
    default: break;
    }
    char what[60];
    snprintf(what, sizeof what, "the way of pooling %lld", (long long)type);
    return not_done(encoder, e, key, what);
}

bool vector_head_load(struct vector_head **out, const struct weights *w, int n_embd, bool encoder,
                      struct err *e)
{
    struct vector_head *h = calloc(1, sizeof *h);
    if (!h) return err_set(e, ERR_NOMEM, "no memory for a model");
    h->pool = encoder ? VECTOR_MEAN : VECTOR_LAST;
    h->n_embd = n_embd;
    const bool ok = weights_gguf(w)               ? pooling_of_gguf(h, w, encoder, e)
                    : encoder && is_classifier(w) ? read_classifier(h, w, e)
                                                  : read_modules(h, weights_dir(w), encoder, e);
    if (ok)
        *out = h;
    else
        vector_head_free(h);
    return ok;
}
