#include "lm/hparams.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define F(x) offsetof(struct lm_shape, x)

/* Bounds far above any published model, so that products of a few of these fit 64 bits. */
/* clang-format off */
static const struct hparam_spec common[] = {
    /* GGUF key                   config.json key             field           min  max       when absent */
    { "block_count",              "num_hidden_layers",        F(n_layer),     1,   1000,     HPARAM_NEEDED },
    { "embedding_length",         "hidden_size",              F(n_embd),      1,   1 << 20,  HPARAM_NEEDED },
    { "attention.head_count",     "num_attention_heads",      F(n_head),      1,   1 << 14,  HPARAM_NEEDED },
    { "attention.head_count_kv",  "num_key_value_heads",      F(n_kv_head),   1,   1 << 14,  0             },
    { "attention.key_length",     "head_dim",                 F(head_dim),    2,   1 << 12,  0             },
    { "context_length",           "max_position_embeddings",  F(n_ctx_train), 1,   1 << 28,  2048          },
    { "attention.sliding_window", "sliding_window",           F(window),      0,   1 << 28,  0             },
};
/* clang-format on */

const json_t *hparams_config(const struct weights *w)
{
    const json_t *c = weights_config(w);
    const json_t *text = json_object_get(c, "text_config");
    return json_is_object(text) ? text : c;
}

bool hparams_is(const struct weights *w, const char *gguf, const char *hf)
{
    const struct gguf *g = weights_gguf(w);
    if (g) {
        struct gguf_str s = gguf_string(g, "general.architecture");
        return gguf && s.len == strlen(gguf) && memcmp(s.data, gguf, s.len) == 0;
    }
    const char *type = json_string_value(json_object_get(hparams_config(w), "model_type"));
    return hf && type && strcmp(type, hf) == 0;
}

/* Both kinds of metadata behind one question. */
struct source {
    const struct gguf *g;
    const json_t *cfg;
    char arch[64];
};

static const struct gguf_value *gguf_key(const struct source *s, const char *key)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", s->arch, key);
    return gguf_find(s->g, full);
}

/* false: absent. A list of equal numbers (per-layer head counts) counts as that number. */
static bool read_number(const struct source *s, const char *gguf, const char *hf, double *out)
{
    if (s->g) {
        const struct gguf_value *v = gguf ? gguf_key(s, gguf) : NULL;
        if (!v || v->n == 0 || v->type == GGUF_STRING) return false;
        *out = gguf_value_float(v, 0, NAN);
        for (uint64_t i = 1; i < v->n && i < 1000; i++)
            if (gguf_value_float(v, i, NAN) != *out) *out = NAN;
        return true;
    }
    const char *bar = hf ? strchr(hf, '|') : NULL;
    const json_t *v = NULL;
    if (bar) v = json_object_getn(s->cfg, hf, (size_t)(bar - hf));
    if (hf && !v) v = json_object_get(s->cfg, bar ? bar + 1 : hf);
    if (!v || json_is_null(v)) return false;
    *out = json_is_number(v) ? json_number_value(v) : json_is_boolean(v) ? json_is_true(v) : NAN;
    return true;
}

static double number(const struct source *s, const char *gguf, const char *hf, double fallback)
{
    double v;
    return read_number(s, gguf, hf, &v) ? v : fallback;
}

/* Adds "TEXT; " once: two rows of a table may read the same key. */
static void complain(struct buf *bad, const char *fmt, ...)
{
    char line[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (!bad->data || !strstr(bad->data, line)) buf_printf(bad, "%s; ", line);
}

static void read_ints(struct lm_shape *out, const struct source *s, const struct hparam_spec *t, int n,
                      struct buf *bad)
{
    for (int i = 0; i < n; i++) {
        double v;
        if (!read_number(s, t[i].gguf, t[i].hf, &v)) {
            if (t[i].fallback == HPARAM_NEEDED) complain(bad, "%s is missing", s->g ? t[i].gguf : t[i].hf);
            v = t[i].fallback == HPARAM_NEEDED ? (double)t[i].min : (double)t[i].fallback;
        } else if (!(v >= (double)t[i].min && v <= (double)t[i].max) || v != floor(v)) {
            const char *key = s->g ? t[i].gguf : t[i].hf;
            if (isnan(v))
                complain(bad, "%s is not one number", key);
            else
                complain(bad, "%s is %g, expected a whole number from %lld to %lld", key, v,
                         (long long)t[i].min, (long long)t[i].max);
            v = (double)t[i].min;
        }
        int value = (int)v;
        memcpy((char *)out + t[i].field, &value, sizeof value);
    }
}

/* ---- rotary embedding ------------------------------------------------------------------------------------------- */

static bool scaling_type(struct rope_spec *r, const char *type, size_t len, struct buf *bad)
{
    static const struct {
        const char *name;
        enum rope_scaling scaling;
    } known[] = {
        { "none", ROPE_SCALING_NONE },     { "default", ROPE_SCALING_NONE },
        { "linear", ROPE_SCALING_LINEAR }, { "llama3", ROPE_SCALING_LLAMA3 },
        { "yarn", ROPE_SCALING_YARN },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) != len || memcmp(known[i].name, type, len) != 0) continue;
        r->scaling = known[i].scaling;
        return true;
    }
    return buf_printf(bad, "rope scaling '%.*s' is not supported (linear, llama3 and yarn are); ",
                      (int)(len > 40 ? 40 : len), type),
           false;
}

static void rope_from_gguf(struct lm_shape *s, const struct source *src, struct buf *bad)
{
    struct rope_spec *r = &s->rope;
    r->theta = number(src, "rope.freq_base", NULL, 10000);
    r->n_rot = (int)number(src, "rope.dimension_count", NULL, s->head_dim);
    r->factor = number(src, "rope.scaling.factor", NULL, 0);
    const struct gguf_value *type = gguf_key(src, "rope.scaling.type");
    if (type && type->type == GGUF_STRING && type->n) {
        scaling_type(r, type->s[0].data, type->s[0].len, bad);
    } else if ((r->factor = number(src, "rope.scale_linear", NULL, r->factor)) > 0) {
        r->scaling = ROPE_SCALING_LINEAR; /* files from before rope.scaling.type */
    }
    r->n_ctx_orig = number(src, "rope.scaling.original_context_length", NULL, s->n_ctx_train);
    r->low = number(src, "rope.scaling.low_freq_factor", NULL, 1);
    r->high = number(src, "rope.scaling.high_freq_factor", NULL, 4);
    r->beta_fast = number(src, "rope.scaling.yarn_beta_fast", NULL, 32);
    r->beta_slow = number(src, "rope.scaling.yarn_beta_slow", NULL, 1);
    /* ggml's convention: attn_factor multiplies the magnitude that yarn gives by itself. */
    if (r->scaling == ROPE_SCALING_YARN)
        r->mscale = number(src, "rope.scaling.attn_factor", NULL, 1) * rope_yarn_mscale(r->factor);
}

/* Old style: rope_theta beside rope_scaling {type|rope_type, factor, ...}; new: rope_parameters with all of it inside. */
static void rope_from_config(struct lm_shape *s, const struct source *src, struct buf *bad)
{
    struct rope_spec *r = &s->rope;
    const json_t *p = json_object_get(src->cfg, "rope_parameters");
    if (!json_is_object(p)) p = json_object_get(src->cfg, "rope_scaling");
    const struct source in = { .cfg = json_is_object(p) ? p : NULL };
    r->theta = number(&in, NULL, "rope_theta", number(src, NULL, "rope_theta", 10000));
    r->n_rot =
        s->head_dim; /* these families' reference rotates whole heads whatever partial_rotary_factor says */
    r->factor = number(&in, NULL, "factor", 0);
    const char *type = json_string_value(json_object_get(p, "rope_type"));
    if (!type) type = json_string_value(json_object_get(p, "type"));
    if (type) scaling_type(r, type, strlen(type), bad);
    r->n_ctx_orig = number(&in, NULL, "original_max_position_embeddings",
                           number(src, NULL, "original_max_position_embeddings", s->n_ctx_train));
    r->low = number(&in, NULL, "low_freq_factor", 1);
    r->high = number(&in, NULL, "high_freq_factor", 4);
    r->beta_fast = number(&in, NULL, "beta_fast", 32);
    r->beta_slow = number(&in, NULL, "beta_slow", 1);
    r->yarn_exact = json_is_false(json_object_get(p, "truncate"));
    if (r->scaling == ROPE_SCALING_YARN) {
        if (!(r->factor > 0)) r->factor = s->n_ctx_train / r->n_ctx_orig;
        double m = number(&in, NULL, "mscale", 0), all = number(&in, NULL, "mscale_all_dim", 0);
        double own = m != 0 && all != 0 ? (0.1 * m * log(r->factor) + 1) / (0.1 * all * log(r->factor) + 1)
                                        : rope_yarn_mscale(r->factor);
        r->mscale = number(&in, NULL, "attention_factor", own);
    }
}

static void rope_check(const struct lm_shape *s, struct buf *bad)
{
    const struct rope_spec *r = &s->rope;
    if (r->n_rot < 2 || r->n_rot > s->head_dim || r->n_rot % 2)
        buf_printf(bad, "rotary dimension %d does not fit head dimension %d; ", r->n_rot, s->head_dim);
    if (!(r->theta > 1 && r->theta < 1e12)) buf_printf(bad, "rope base %g; ", r->theta);
    if (r->scaling != ROPE_SCALING_NONE && !(r->factor > 0 && r->factor < 1e6))
        buf_printf(bad, "rope scaling factor %g; ", r->factor);
    if (!(r->n_ctx_orig >= 1 && r->n_ctx_orig < 1e9))
        buf_printf(bad, "rope original context %g; ", r->n_ctx_orig);
    if (r->scaling == ROPE_SCALING_LLAMA3 && !(r->low > 0 && r->high >= r->low))
        buf_printf(bad, "rope low_freq_factor %g, high_freq_factor %g; ", r->low, r->high);
    if (r->scaling == ROPE_SCALING_YARN &&
        !(r->beta_slow > 0 && r->beta_fast > r->beta_slow && r->mscale > 0 && r->mscale < 100))
        buf_printf(bad, "yarn beta_fast %g, beta_slow %g, magnitude %g; ", r->beta_fast, r->beta_slow,
                   r->mscale);
}

int hparams_window(const struct lm_shape *s, const struct weights *w, bool opt_in, int il)
{
    const json_t *c = hparams_config(w);
    if (!c || !opt_in) return s->window;
    if (!json_is_true(json_object_get(c, "use_sliding_window"))) return 0;
    const json_t *types = json_object_get(c, "layer_types");
    if (json_is_array(types)) {
        const char *type = json_string_value(json_array_get(types, (size_t)il));
        return type && strcmp(type, "sliding_attention") == 0 ? s->window : 0;
    }
    const json_t *from = json_object_get(c, "max_window_layers");
    return json_is_integer(from) && il < json_integer_value(from) ? 0 : s->window;
}

/* The one activation these networks have here. Another would load and answer nonsense. */
static void check_activation(const json_t *config, struct buf *bad)
{
    const json_t *act = json_object_get(config, "hidden_act");
    if (!act || json_is_null(act)) return;
    const char *name = json_string_value(act);
    if (name && (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)) return;
    buf_printf(bad, "hidden_act '%.40s' is not supported (silu is); ", name ? name : "(not a string)");
}

bool hparams_read(struct lm_shape *s, const struct weights *w, const struct hparam_spec *more, int n_more,
                  struct err *e)
{
    struct source src = { .g = weights_gguf(w), .cfg = hparams_config(w) };
    if (src.g) {
        struct gguf_str a = gguf_string(src.g, "general.architecture");
        snprintf(src.arch, sizeof src.arch, "%.*s", (int)(a.len < 60 ? a.len : 60), a.data ? a.data : "");
    }
    struct buf bad = BUF_INIT(4096);
    struct lm_shape t = { 0 };
    read_ints(&t, &src, common, sizeof common / sizeof *common, &bad);
    read_ints(&t, &src, more, n_more, &bad);
    if (!t.n_kv_head) t.n_kv_head = t.n_head;
    if (!t.head_dim) t.head_dim = t.n_embd / t.n_head;
    t.eps = (float)number(&src, "attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6);
    t.rope.mscale = 1;
    if (src.g)
        rope_from_gguf(&t, &src, &bad);
    else
        rope_from_config(&t, &src, &bad);
    rope_check(&t, &bad);
    check_activation(src.cfg, &bad);
    if (t.n_head % t.n_kv_head) buf_printf(&bad, "%d heads over %d key/value heads; ", t.n_head, t.n_kv_head);
    if (!(t.eps >= 0 && t.eps < 0.1f)) buf_printf(&bad, "norm epsilon %g; ", (double)t.eps);
    if (t.n_expert && (t.n_expert_used < 1 || t.n_expert_used > t.n_expert))
        buf_printf(&bad, "%d experts a token of %d; ", t.n_expert_used, t.n_expert);
    bool ok = bad.len == 0 && !bad.failed;
    if (!ok) {
        if (bad.len >= 2) bad.data[bad.len - 2] = 0; /* the last separator */
        err_set(e, ERR_FORMAT, "model configuration: %s", bad.len ? bad.data : "too many faults to list");
    } else {
        *s = t;
    }
    buf_free(&bad);
    return ok;
}
