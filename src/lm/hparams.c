#include "lm/hparams.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "format/json_read.h"
#include "lm/rope_config.h"

#define F(x) offsetof(struct lm_shape, x)
#define MAX_WINDOW_LAYERS 28 /* of the Qwen families, where the key is absent */

enum absent {
    NEEDED = -1, /* an error */
    DERIVED = 0,
};

/* When config.json has no such key the family's own column counts (hparam_family.absent). */
struct spec {
    const char *gguf, *hf; /* "a|b": either */
    size_t field;          /* an int of struct lm_shape */
    int64_t min, max;
    enum absent gguf_absent;
};

/* Bounds far above any published model, so that products of a few of these fit 64 bits. */
/* clang-format off */
static const struct spec plain[] = {
    /* GGUF key                   config.json key             field           min  max       absent in GGUF */
    { "block_count",              "num_hidden_layers",        F(n_layer),     1,   1000,     NEEDED  },
    { "embedding_length",         "hidden_size",              F(n_embd),      1,   1 << 20,  NEEDED  },
    { "attention.head_count",     "num_attention_heads",      F(n_head),      1,   1 << 14,  NEEDED  },
    { "attention.head_count_kv",  "num_key_value_heads",      F(n_kv_head),   1,   1 << 14,  DERIVED },
    { "attention.key_length",     "head_dim",                 F(head_dim),    2,   1 << 12,  DERIVED },
    { "context_length",           "max_position_embeddings",  F(n_ctx_train), 1,   1 << 28,  NEEDED  },
    { "feed_forward_length",      "intermediate_size",        F(n_ff),        1,   1 << 22,  DERIVED },
};
static const struct spec routed[] = {
    { "expert_count",               "num_experts|num_local_experts", F(n_expert),      0, 1 << 12, DERIVED },
    { "expert_used_count",          "num_experts_per_tok",           F(n_expert_used), 0, 1 << 12, DERIVED },
    { "expert_feed_forward_length", "moe_intermediate_size",         F(n_ff_expert),   1, 1 << 22, DERIVED },
};
/* clang-format on */

const json_t *hparams_config(const struct weights *w)
{
    static const char *const inner[] = { "text_config", "llm_config", "language_config" };
    const json_t *c = weights_config(w);
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        const json_t *text = json_object_get(c, inner[i]);
        if (json_is_object(text)) return text;
    }
    return c;
}

const char *hparams_type(const struct weights *w)
{
    static const struct {
        const char *whole, *text;
    } parts[] = {
        { "llava", "llama" },       { "llava_next", "llama" },      { "llava_next_video", "llama" },
        { "vipllava", "llama" },    { "video_llava", "llama" },     { "idefics3", "llama" },
        { "smolvlm", "llama" },     { "janus", "llama" },           { "deepseek_vl", "llama" },
        { "mistral3", "mistral" },  { "llava_onevision", "qwen2" }, { "internvl", "qwen2" },
        { "qwen2_audio", "qwen2" }, { "audioflamingo3", "qwen2" },  { "ovis2", "qwen2" },
    };
    const json_t *whole = weights_config(w), *text = hparams_config(w);
    const char *type = json_string_value(json_object_get(text, "model_type"));
    if (type && text == whole && strcmp(type, "mistral") == 0 && json_object_get(text, "layer_types"))
        return "ministral";
    if (type || text == whole) return type;
    type = json_string_value(json_object_get(whole, "model_type"));
    for (size_t i = 0; type && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].whole, type) == 0) return parts[i].text;
    return NULL;
}

static bool describes(const struct hparam_family *f, const struct weights *w)
{
    const struct gguf *g = weights_gguf(w);
    if (g) {
        struct gguf_str s = gguf_string(g, "general.architecture");
        return f->gguf && s.len == strlen(f->gguf) && memcmp(s.data, f->gguf, s.len) == 0;
    }
    const char *type = hparams_type(w);
    return type && strcmp(type, f->hf) == 0;
}

const struct hparam_family *hparams_member(const struct hparam_family *family, int n, const struct weights *w)
{
    for (int i = 0; i < n; i++)
        if (describes(&family[i], w)) return &family[i];
    return NULL;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------ */

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

static void set(struct lm_shape *s, size_t field, int value)
{
    memcpy((char *)s + field, &value, sizeof value);
}

static int get(const struct lm_shape *s, size_t field)
{
    int value;
    memcpy(&value, (const char *)s + field, sizeof value);
    return value;
}

static void check_and_set(struct lm_shape *out, const struct spec *t, const char *key, double v,
                          struct buf *bad)
{
    if (v >= (double)t->min && v <= (double)t->max && v == floor(v)) {
        set(out, t->field, (int)v);
        return;
    }
    if (isnan(v))
        complain(bad, "%s is not one number", key);
    else
        complain(bad, "%s is %g, expected a whole number from %lld to %lld", key, v, (long long)t->min,
                 (long long)t->max);
    set(out, t->field, (int)t->min);
}

static void ints_from_gguf(struct lm_shape *out, const struct gguf *g, const char *arch, const struct spec *t,
                           int n, struct buf *bad)
{
    for (int i = 0; i < n; i++) {
        double v;
        if (rope_gguf_number(g, arch, t[i].gguf, &v)) {
            check_and_set(out, &t[i], t[i].gguf, v, bad);
        } else if (t[i].gguf_absent == NEEDED) {
            complain(bad, "%s is missing", t[i].gguf);
            set(out, t[i].field, (int)t[i].min);
        }
    }
}

static void ints_from_config(struct lm_shape *out, const json_t *c, const struct lm_shape *absent,
                             const struct spec *t, int n, struct buf *bad)
{
    for (int i = 0; i < n; i++) {
        const char *bar = strchr(t[i].hf, '|'), *key = bar ? bar + 1 : t[i].hf;
        const json_t *v = bar ? json_object_getn(c, t[i].hf, (size_t)(bar - t[i].hf)) : NULL;
        if (!v) v = json_object_get(c, key);
        const bool derived = t[i].field == F(n_kv_head) || t[i].field == F(head_dim);
        if (!v)
            set(out, t[i].field, get(absent, t[i].field));
        else if (json_is_null(v)) /* "none of its own" where the number follows from others */
            set(out, t[i].field, derived ? 0 : get(absent, t[i].field));
        else
            check_and_set(out, &t[i], key, json_read_number(v, NAN), bad);
    }
}

/* ---- layers that differ ------------------------------------------------------------------------------------------- */

static bool switched_on(const json_t *c) { return json_is_true(json_object_get(c, "use_sliding_window")); }

/* The window that the configuration names, whichever layers have it; 0: none. */
static int window_of(const struct hparam_family *f, const json_t *c, struct buf *bad)
{
    if (f->window == WINDOW_NONE || (f->window >= WINDOW_SWITCHED && !switched_on(c))) return 0;
    const json_t *v = json_object_get(c, "sliding_window");
    if (!v) return f->absent.window;
    if (json_is_null(v)) return 0;
    const double x = json_read_number(v, NAN);
    if (x >= 0 && x <= 1 << 28 && x == floor(x)) return (int)x;
    complain(bad, "sliding_window is no whole number of tokens");
    return 0;
}

static bool obeys_types(const struct hparam_family *f)
{
    return f->window == WINDOW_LISTED || f->window == WINDOW_LAYERS;
}

static bool slides(const json_t *type)
{
    return json_is_string(type) && strcmp(json_string_value(type), "sliding_attention") == 0;
}

/* layer_types of the families that obey it: a known kind for every layer. */
static void check_layer_types(const struct lm_shape *s, const struct hparam_family *f, const json_t *c,
                              struct buf *bad)
{
    const json_t *types = json_object_get(c, "layer_types"), *one;
    size_t i;
    if (!obeys_types(f) || !types || json_is_null(types)) return;
    if (!json_is_array(types) || json_array_size(types) != (size_t)s->n_layer) {
        complain(bad, "layer_types has %zu entries for %d layers", json_array_size(types), s->n_layer);
        return;
    }
    json_array_foreach(types, i, one)
    {
        const char *type = json_string_value(one);
        if (type && (strcmp(type, "full_attention") == 0 || strcmp(type, "attention") == 0)) continue;
        if (!slides(one))
            complain(bad,
                     "layer_types: \"%.40s\" is not supported (full_attention and sliding_attention are)",
                     type ? type : "(not a string)");
        else if (!s->window)
            complain(bad, "layer_types has sliding_attention, but no sliding_window is switched on");
    }
}

int hparams_window(const struct lm_shape *s, const struct hparam_family *f, const struct weights *w, int il)
{
    const json_t *c = hparams_config(w);
    if (!obeys_types(f) || !s->window) return s->window;
    const json_t *types = json_object_get(c, "layer_types");
    if (json_is_array(types)) return slides(json_array_get(types, (size_t)il)) ? s->window : 0;
    if (f->window == WINDOW_LISTED) return s->window;
    return il >= json_read_number(json_object_get(c, "max_window_layers"), MAX_WINDOW_LAYERS) ? s->window : 0;
}

static void check_sparsity(const struct hparam_family *f, const json_t *c, struct buf *bad)
{
    if (!f->mixed) return;
    const json_t *step = json_object_get(c, "decoder_sparse_step"), *dense, *one;
    size_t i;
    if (step && (!json_is_integer(step) || json_integer_value(step) < 1))
        complain(bad, "decoder_sparse_step is no whole number above 0");
    dense = json_object_get(c, "mlp_only_layers");
    if (dense && !json_is_null(dense) && !json_is_array(dense))
        complain(bad, "mlp_only_layers is not a list of layers");
    json_array_foreach(dense, i, one)
    {
        if (!json_is_integer(one)) complain(bad, "mlp_only_layers is not a list of layers");
    }
}

bool hparams_routed(const struct lm_shape *s, const struct hparam_family *f, const struct weights *w, int il)
{
    const json_t *c = hparams_config(w), *one;
    size_t i;
    if (!s->n_expert) return false;
    if (!c || !f->mixed) return true;
    json_array_foreach(json_object_get(c, "mlp_only_layers"), i, one)
    {
        if (json_integer_value(one) == il) return false;
    }
    const json_t *step = json_object_get(c, "decoder_sparse_step");
    return !step || (il + 1) % json_integer_value(step) == 0;
}

struct hparam_biases hparams_biases(const struct hparam_family *f, const struct weights *w)
{
    const json_t *c = hparams_config(w);
    const bool attention = f->bias >= BIAS_ATTENTION && json_is_true(json_object_get(c, "attention_bias"));
    return (struct hparam_biases){
        .qkv = attention || f->bias == BIAS_QKV,
        .out = attention,
        .mlp = f->bias == BIAS_ATTENTION_MLP && json_is_true(json_object_get(c, "mlp_bias")),
    };
}

bool hparams_renorm(const struct hparam_family *f, const struct weights *w)
{
    return f->renorm || weights_gguf(w) || json_is_true(json_object_get(hparams_config(w), "norm_topk_prob"));
}

enum hparam_tied hparams_tied(const struct weights *w)
{
    const json_t *both[] = { weights_config(w), hparams_config(w) };
    enum hparam_tied tied = TIED_UNSAID;
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(both[i], "tie_word_embeddings");
        if (json_is_true(v)) return TIED_YES;
        if (json_is_false(v)) tied = TIED_NO;
    }
    return tied;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

/* The one activation these networks have here. Another would load and answer nonsense. */
static void check_activation(const json_t *config, struct buf *bad)
{
    const json_t *act = json_object_get(config, "hidden_act");
    if (!act || json_is_null(act)) return;
    const char *name = json_string_value(act);
    if (name && (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)) return;
    complain(bad, "hidden_act '%.40s' is not supported (silu is)", name ? name : "(not a string)");
}

static void read_gguf(struct lm_shape *t, const struct gguf *g, struct buf *bad)
{
    char arch[64];
    double v;
    struct gguf_str a = gguf_string(g, "general.architecture");
    snprintf(arch, sizeof arch, "%.*s", (int)(a.len < 60 ? a.len : 60), a.data ? a.data : "");
    ints_from_gguf(t, g, arch, plain, sizeof plain / sizeof *plain, bad);
    ints_from_gguf(t, g, arch, routed, sizeof routed / sizeof *routed, bad);
    if (!t->n_kv_head) t->n_kv_head = t->n_head;
    if (!t->head_dim) t->head_dim = t->n_embd / t->n_head;
    if (rope_gguf_number(g, arch, "attention.value_length", &v) && v != t->head_dim)
        complain(bad, "attention.value_length is %g, but attention.key_length %d: they cannot differ here", v,
                 t->head_dim);
    if (rope_gguf_number(g, arch, "attention.layer_norm_rms_epsilon", &v))
        t->eps = (float)v;
    else
        complain(bad, "attention.layer_norm_rms_epsilon is missing");
    rope_from_gguf(t, g, arch, bad);
}

static void read_config(struct lm_shape *t, const struct hparam_family *f, const json_t *c, struct buf *bad)
{
    ints_from_config(t, c, &f->absent, plain, sizeof plain / sizeof *plain, bad);
    if (f->absent.n_expert) /* with fewer rows where experts are as wide as the dense network */
        ints_from_config(t, c, &f->absent, routed, f->absent.n_ff_expert ? 3 : 2, bad);
    if (!t->n_kv_head) t->n_kv_head = t->n_head;
    if (!t->head_dim) t->head_dim = t->n_embd / t->n_head;
    const json_t *eps = json_object_get(c, "rms_norm_eps");
    t->eps = eps ? (float)json_read_number(eps, NAN) : f->absent.eps;
    t->window = window_of(f, c, bad);
    check_layer_types(t, f, c, bad);
    check_sparsity(f, c, bad);
    check_activation(c, bad);
    if (json_object_size(json_object_get(c, "per_layer_config")))
        complain(bad, "per_layer_config: layers that differ in their configuration are not supported");
    rope_from_config(t, c, f->absent.rope.theta, bad);
}

bool hparams_read(struct lm_shape *s, const struct hparam_family *f, const struct weights *w, struct err *e)
{
    struct buf bad = BUF_INIT(4096);
    struct lm_shape t = { 0 };
    if (weights_gguf(w))
        read_gguf(&t, weights_gguf(w), &bad);
    else
        read_config(&t, f, hparams_config(w), &bad);
    if (!t.n_ff && !t.n_ff_expert) complain(&bad, "feed_forward_length is missing");
    if (!t.n_ff_expert) {
        t.n_ff_expert = t.n_ff;
        if (weights_gguf(w) && f->absent.n_ff_expert && t.n_expert_used) t.n_ff_expert /= t.n_expert_used;
    }
    if (weights_gguf(w) && f->absent.n_ff_expert && !t.n_expert) complain(&bad, "expert_count is missing");
    rope_check(&t, &bad);
    if (t.n_head % t.n_kv_head) complain(&bad, "%d heads over %d key/value heads", t.n_head, t.n_kv_head);
    if (!(t.eps >= 0 && t.eps < 0.1f)) complain(&bad, "norm epsilon %g", (double)t.eps);
    if (t.n_expert && (t.n_expert_used < 1 || t.n_expert_used > t.n_expert))
        complain(&bad, "%d experts a token of %d", t.n_expert_used, t.n_expert);
    bool ok = bad.len == 0 && !bad.failed;
    if (!ok) {
        if (bad.len >= 2) bad.data[bad.len - 2] = 0; /* the last separator */
        /* what is valid elsewhere but not offered here says so */
        const bool unsupported = bad.data && strstr(bad.data, "not supported");
        err_set(e, unsupported ? ERR_UNSUPPORTED : ERR_FORMAT, "model configuration: %s",
                bad.len ? bad.data : "too many faults to list");
    } else {
        *s = t;
    }
    buf_free(&bad);
    return ok;
}
