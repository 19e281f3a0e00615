#include "lm/hparams.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "format/json_read.h"
#include "lm/rope_config.h"

#define F(x) offsetof(struct lm_shape, x), offsetof(struct hparam_numbers, x)
#define MAX_WINDOW_LAYERS 28 /* of the Qwen families, where the key is absent */

struct spec {
    const char *gguf, *hf; /* "a|b": either */
    size_t field, absent;  /* an int of struct lm_shape; of struct hparam_numbers */
    int64_t min, max;
    bool derived; /* where neither the file nor the family has a number it follows from others */
};

/* Bounds far above any published model, so that products of a few of these fit 64 bits. */
/* clang-format off */
static const struct spec plain[] = {
    /* GGUF key                   config.json key             field           min  max           derived */
    { "block_count",              "num_hidden_layers",        F(n_layer),     1,   LM_MAX_LAYER, false },
    { "embedding_length",         "hidden_size",              F(n_embd),      1,   1 << 20,      false },
    { "attention.head_count",     "num_attention_heads",      F(n_head),      1,   1 << 14,      false },
    { "attention.head_count_kv",  "num_key_value_heads",      F(n_kv_head),   1,   1 << 14,      true  },
    { "attention.key_length",     "head_dim",                 F(head_dim),    2,   1 << 12,      true  },
    { "context_length",           "max_position_embeddings",  F(n_ctx_train), 1,   1 << 28,      false },
    { "feed_forward_length",      "intermediate_size",        F(n_ff),        1,   1 << 22,      true  },
};
static const struct spec routed[] = {
    { "expert_count",               "num_experts|num_local_experts", F(n_expert),      0, 1 << 12, true },
    { "expert_used_count",          "num_experts_per_tok",           F(n_expert_used), 0, 1 << 12, true },
    { "expert_feed_forward_length", "moe_intermediate_size",         F(n_ff_expert),   1, 1 << 22, true },
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

static const char *type_of(const json_t *c) { return json_string_value(json_object_get(c, "model_type")); }

const char *hparams_type(const struct weights *w)
{
    const json_t *whole = weights_config(w), *text = hparams_config(w);
    const char *type = type_of(text);
    if (type && text == whole && strcmp(type, "mistral") == 0 && json_object_get(text, "layer_types"))
        return "ministral";
    return type ? type : type_of(whole);
}

static bool among(const char *const *list, const char *s)
{
    for (; list && *list; list++)
        if (strcmp(*list, s) == 0) return true;
    return false;
}

static bool describes(const struct hparam_family *f, const struct weights *w)
{
    const struct gguf *g = weights_gguf(w);
    if (g) {
        struct gguf_str s = gguf_string(g, "general.architecture");
        return f->gguf && s.len == strlen(f->gguf) && memcmp(s.data, f->gguf, s.len) == 0;
    }
    const char *type = hparams_type(w);
    if (!type) return false;
    return type_of(hparams_config(w)) ? strcmp(type, f->hf) == 0 : among(f->within, type);
}

const struct hparam_family *hparams_member(const struct hparam_family *family, int n, const struct weights *w)
{
    for (int i = 0; i < n; i++)
        if (describes(&family[i], w)) return &family[i];
    return NULL;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------ */

/* Once: two rows of a table may read the same key. */
void hparams_complain(struct buf *bad, const char *fmt, ...)
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

static int get(const struct hparam_numbers *n, size_t field)
{
    int value;
    memcpy(&value, (const char *)n + field, sizeof value);
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
        hparams_complain(bad, "%s is not one number", key);
    else
        hparams_complain(bad, "%s is %g, expected a whole number from %lld to %lld", key, v,
                         (long long)t->min, (long long)t->max);
    set(out, t->field, (int)t->min);
}

static void ints_from_gguf(struct lm_shape *out, const struct hparam_source *src,
                           const struct hparam_numbers *absent, const struct spec *t, int n)
{
    for (int i = 0; i < n; i++) {
        double v;
        if (rope_gguf_number(src->gguf, src->arch, t[i].gguf, &v)) {
            check_and_set(out, &t[i], t[i].gguf, v, src->bad);
            continue;
        }
        int otherwise = get(absent, t[i].absent);
        if (!otherwise && !t[i].derived) {
            hparams_complain(src->bad, "%s is missing", t[i].gguf);
            otherwise = (int)t[i].min;
        }
        set(out, t[i].field, otherwise);
    }
}

static void ints_from_config(struct lm_shape *out, const struct hparam_source *src,
                             const struct hparam_numbers *absent, const struct spec *t, int n)
{
    for (int i = 0; i < n; i++) {
        const json_t *c = src->config;
        const char *bar = strchr(t[i].hf, '|'), *key = bar ? bar + 1 : t[i].hf;
        const json_t *v = bar ? json_object_getn(c, t[i].hf, (size_t)(bar - t[i].hf)) : NULL;
        if (!v) v = json_object_get(c, key);
        const bool derived = t[i].field == offsetof(struct lm_shape, n_kv_head) ||
                             t[i].field == offsetof(struct lm_shape, head_dim);
        if (!v)
            set(out, t[i].field, get(absent, t[i].absent));
        else if (json_is_null(v)) /* "none of its own" where the number follows from others */
            set(out, t[i].field, derived ? 0 : get(absent, t[i].absent));
        else
            check_and_set(out, &t[i], key, json_read_number(v, NAN), src->bad);
    }
}

double hparams_number(const struct hparam_source *src, const char *gguf, const char *hf, double absent)
{
    double x;
    if (src->gguf) return gguf && rope_gguf_number(src->gguf, src->arch, gguf, &x) ? x : absent;
    const json_t *v = hf ? json_object_get(src->config, hf) : NULL;
    return !v || json_is_null(v) ? absent : json_read_number(v, NAN);
}

int hparams_whole(const struct hparam_source *src, const char *gguf, const char *hf, int absent, int min,
                  int max)
{
    const double x = hparams_number(src, gguf, hf, absent);
    if (x >= min && x <= max && x == floor(x)) return (int)x;
    hparams_complain(src->bad, "%s is no whole number from %d to %d", src->gguf ? gguf : hf, min, max);
    return min;
}

bool hparams_switch(const struct hparam_source *src, const char *hf, bool absent)
{
    const json_t *v = json_object_get(src->config, hf);
    if (!v || json_is_null(v)) return absent;
    if (!json_is_boolean(v)) hparams_complain(src->bad, "%s is neither true nor false", hf);
    return json_is_true(v);
}

/* ---- layers that differ ------------------------------------------------------------------------------------------- */

static bool switched_on(const json_t *c) { return json_is_true(json_object_get(c, "use_sliding_window")); }

static bool is_count(double x, double max) { return x >= 0 && x <= max && x == floor(x); }

/* The window that the file names, whichever layers have it; 0: none. */
static int window_of(const struct hparam_family *f, const struct hparam_source *src)
{
    double x;
    if (src->gguf) {
        if (f->window != WINDOW_PATTERN) return 0;
        x = hparams_number(src, "attention.sliding_window", NULL, f->absent_gguf.window);
    } else {
        if (f->window == WINDOW_NONE || (f->window >= WINDOW_SWITCHED && !switched_on(src->config))) return 0;
        const json_t *v = json_object_get(src->config, "sliding_window");
        x = !v ? f->absent.window : json_is_null(v) ? 0 : json_read_number(v, NAN);
    }
    if (is_count(x, 1 << 28)) return (int)x;
    hparams_complain(src->bad, "sliding_window is no whole number of tokens");
    return 0;
}

static bool obeys_types(const struct hparam_family *f)
{
    return f->window == WINDOW_LISTED || f->window == WINDOW_PATTERN || f->window == WINDOW_LAYERS;
}

static bool slides(const json_t *type)
{
    return json_is_string(type) && strcmp(json_string_value(type), "sliding_attention") == 0;
}

/* layer_types: a known kind for every layer, also where the family passes over which it is; a kind that is not known might be no
 * attention at all. */
static void check_layer_types(const struct lm_shape *s, const struct hparam_family *f,
                              const struct hparam_source *src, int window)
{
    const json_t *types = json_object_get(src->config, "layer_types"), *one;
    size_t i;
    if (!types || json_is_null(types) || among(f->keys, "layer_types")) return; /* or its hook reads them */
    if (obeys_types(f) && (!json_is_array(types) || json_array_size(types) != (size_t)s->n_layer)) {
        hparams_complain(src->bad, "layer_types has %zu entries for %d layers", json_array_size(types),
                         s->n_layer);
        return;
    }
    json_array_foreach(types, i, one)
    {
        const char *type = json_string_value(one);
        if (type && (strcmp(type, "full_attention") == 0 || strcmp(type, "attention") == 0)) continue;
        if (!slides(one))
            hparams_complain(
                src->bad,
                "layer_types: \"%.40s\" is not supported (full_attention and sliding_attention are)",
                type ? type : "(not a string)");
        else if (!window && obeys_types(f))
            hparams_complain(src->bad,
                             "layer_types has sliding_attention, but no sliding_window is switched on");
    }
}

/* Every n-th layer sees all; or a list of yes and no, a layer each, in newer GGUF files. */
static bool slides_by_pattern(const struct hparam_family *f, const struct hparam_source *src, int il)
{
    static const char key[] = "attention.sliding_window_pattern";
    const struct hparam_numbers *absent = src->gguf ? &f->absent_gguf : &f->absent;
    char full[128];
    snprintf(full, sizeof full, "%s.%s", src->arch, key);
    const struct gguf_value *v = src->gguf ? gguf_find(src->gguf, full) : NULL;
    if (v && v->is_array) {
        if ((uint64_t)il < v->n) return gguf_value_int(v, (uint64_t)il, 0) != 0;
        hparams_complain(src->bad, "%s has %llu entries", key, (unsigned long long)v->n);
        return false;
    }
    const double n = hparams_number(src, key, "sliding_window_pattern", absent->window_pattern);
    if (n >= 1 && is_count(n, LM_MAX_LAYER)) return (il + 1) % (int)n != 0;
    hparams_complain(src->bad, "sliding_window_pattern is no whole number of layers");
    return false;
}

static int window_of_layer(const struct hparam_family *f, const struct hparam_source *src, int window, int il)
{
    if (!window || f->window == WINDOW_ALL || f->window == WINDOW_SWITCHED) return window;
    const json_t *types = json_object_get(src->config, "layer_types");
    if (json_is_array(types)) return slides(json_array_get(types, (size_t)il)) ? window : 0;
    if (f->window == WINDOW_LISTED) return window;
    if (f->window == WINDOW_PATTERN) return slides_by_pattern(f, src, il) ? window : 0;
    return il >= hparams_number(src, NULL, "max_window_layers", MAX_WINDOW_LAYERS) ? window : 0;
}

static void check_sparsity(const struct hparam_family *f, const json_t *c, struct buf *bad)
{
    if (!f->mixed) return;
    const json_t *step = json_object_get(c, "decoder_sparse_step"), *dense, *one;
    size_t i;
    if (step && (!json_is_integer(step) || json_integer_value(step) < 1))
        hparams_complain(bad, "decoder_sparse_step is no whole number above 0");
    dense = json_object_get(c, "mlp_only_layers");
    if (dense && !json_is_null(dense) && !json_is_array(dense))
        hparams_complain(bad, "mlp_only_layers is not a list of layers");
    json_array_foreach(dense, i, one)
    {
        if (!json_is_integer(one)) hparams_complain(bad, "mlp_only_layers is not a list of layers");
    }
}

static bool routed_layer(const struct lm_shape *s, const struct hparam_family *f, const json_t *c, int il)
{
    const json_t *one;
    size_t i;
    if (!s->n_expert) return false;
    if (!c || !f->mixed) return true;
    json_array_foreach(json_object_get(c, "mlp_only_layers"), i, one)
    {
        if (json_integer_value(one) == il) return false;
    }
    const json_t *step = json_object_get(c, "decoder_sparse_step");
    return !json_is_integer(step) || json_integer_value(step) < 1 || (il + 1) % json_integer_value(step) == 0;
}

/* The records, as far as fields of the family say it. */
static void fill_layers(struct lm_shape *s, const struct hparam_family *f, const struct hparam_source *src)
{
    const int window = window_of(f, src);
    if (src->config) check_layer_types(s, f, src, window);
    for (int il = 0; il < s->n_layer; il++) {
        struct lm_layer_shape *l = &s->layer[il];
        *l = (struct lm_layer_shape){ .window = window_of_layer(f, src, window, il),
                                      .attn_scale = 1.0f / sqrtf((float)s->head_dim),
                                      .routed = routed_layer(s, f, src->config, il) };
        l->rope = s->n_rope > 1 && l->window ? 1 : 0;
    }
}

struct hparam_biases hparams_biases(const struct hparam_family *f, const struct weights *w)
{
    const json_t *c = hparams_config(w);
    const json_t *asked = json_object_get(c, "attention_bias");
    const bool attention = f->bias >= BIAS_QKV_ASKED && (asked ? json_is_true(asked) : f->biased);
    return (struct hparam_biases){
        .qkv = attention || f->bias == BIAS_QKV,
        .out = attention && f->bias >= BIAS_ATTENTION,
        .mlp = f->bias == BIAS_ATTENTION_MLP && json_is_true(json_object_get(c, "mlp_bias")),
    };
}

/* Do the chosen experts' weights sum to one? */
static bool renorm(const struct hparam_family *f, const struct weights *w)
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

/* In words of transformers' ACT2FN: the same function has several. */
static bool act_named(const char *name, enum lm_act *act)
{
    static const struct {
        const char *name;
        enum lm_act act;
    } known[] = {
        { "silu", ACT_SILU },
        { "swish", ACT_SILU },
        { "gelu", ACT_GELU_ERF },
        { "gelu_python", ACT_GELU_ERF },
        { "gelu_pytorch_tanh", ACT_GELU_TANH },
        { "gelu_new", ACT_GELU_TANH },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *act = known[i].act;
        return true;
    }
    return false;
}

/* The reference reads one key; another that names another activation would load and answer nonsense somewhere. */
static void read_activation(struct lm_shape *s, const struct hparam_family *f, const json_t *config,
                            struct buf *bad)
{
    static const char *const keys[] = { "hidden_act", "hidden_activation", "activation_function",
                                        "mlp_hidden_act" };
    const char *own = f->act_key ? f->act_key : keys[0];
    s->act = f->act;
    for (int pass = 0; pass < 2; pass++) /* its own first: the others are held against it */
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            const json_t *v = json_object_get(config, keys[i]);
            if (!v || json_is_null(v) || (strcmp(keys[i], own) == 0) != (pass == 0)) continue;
            const char *name = json_string_value(v);
            enum lm_act act = ACT_SILU;
            if (!name || !act_named(name, &act))
                hparams_complain(bad, "%s '%.40s' is not supported (silu, gelu and gelu_pytorch_tanh are)",
                                 keys[i], name ? name : "(not a string)");
            else if (pass == 0)
                s->act = act;
            else if (act != s->act)
                hparams_complain(bad, "%s '%.40s' is not supported: it is another activation than %s has",
                                 keys[i], name, own);
        }
}

static void read_gguf(struct lm_shape *t, const struct hparam_family *f, const struct hparam_source *src)
{
    double v;
    ints_from_gguf(t, src, &f->absent_gguf, plain, sizeof plain / sizeof *plain);
    ints_from_gguf(t, src, &f->absent_gguf, routed, sizeof routed / sizeof *routed);
    if (!t->n_kv_head) t->n_kv_head = t->n_head;
    if (!t->head_dim) t->head_dim = t->n_embd / t->n_head;
    v = hparams_number(src, "attention.value_length", NULL, t->head_dim);
    if (v != t->head_dim && !f->own_values)
        hparams_complain(src->bad,
                         "attention.value_length is %g, but attention.key_length %d: they cannot differ here",
                         v, t->head_dim);
    t->eps = (float)f->absent_gguf.eps;
    if (rope_gguf_number(src->gguf, src->arch, "attention.layer_norm_rms_epsilon", &v))
        t->eps = (float)v;
    else if (!f->absent_gguf.eps)
        hparams_complain(src->bad, "attention.layer_norm_rms_epsilon is missing");
    t->act = f->act;
    const struct hparam_numbers *a = &f->absent_gguf;
    rope_from_gguf(t, src->gguf, src->arch, &(struct rope_absent){ a->theta, a->theta_local, a->part },
                   src->bad);
}

static void read_config(struct lm_shape *t, const struct hparam_family *f, const struct hparam_source *src)
{
    const json_t *c = src->config;
    ints_from_config(t, src, &f->absent, plain, sizeof plain / sizeof *plain);
    if (f->absent.n_expert) /* with fewer rows where experts are as wide as the dense network */
        ints_from_config(t, src, &f->absent, routed, f->absent.n_ff_expert ? 3 : 2);
    if (!t->n_kv_head) t->n_kv_head = t->n_head;
    if (!t->head_dim) t->head_dim = t->n_embd / t->n_head;
    const json_t *eps = json_object_get(c, "rms_norm_eps");
    t->eps = (float)(eps ? json_read_number(eps, NAN) : f->absent.eps);
    check_sparsity(f, c, src->bad);
    read_activation(t, f, c, src->bad);
    if (json_object_size(json_object_get(c, "per_layer_config")))
        hparams_complain(src->bad,
                         "per_layer_config: layers that differ in their configuration are not supported");
    const struct hparam_numbers *a = &f->absent;
    rope_from_config(t, c, &(struct rope_absent){ a->theta, a->theta_local, a->part }, src->bad);
}

static void check(const struct lm_shape *t, const struct hparam_family *f, bool gguf, struct buf *bad)
{
    if (!t->n_ff && !t->n_ff_expert) hparams_complain(bad, "feed_forward_length is missing");
    if (gguf && f->absent.n_ff_expert && !t->n_expert) hparams_complain(bad, "expert_count is missing");
    rope_check(t, bad);
    if (t->n_head % t->n_kv_head)
        hparams_complain(bad, "%d heads over %d key/value heads", t->n_head, t->n_kv_head);
    if (!(t->eps >= 0 && t->eps < 0.1f)) hparams_complain(bad, "norm epsilon %g", (double)t->eps);
    if (t->n_expert && (t->n_expert_used < 1 || t->n_expert_used > t->n_expert))
        hparams_complain(bad, "%d experts a token of %d", t->n_expert_used, t->n_expert);
    const struct lm_routing *r = &t->routing;
    if (t->n_expert &&
        (r->n_group < 1 || r->n_group > ROUTE_GROUPS || t->n_expert % r->n_group || r->n_group_used < 1 ||
         r->n_group_used > r->n_group || t->n_expert / r->n_group * r->n_group_used < t->n_expert_used))
        hparams_complain(bad, "%d experts in %d groups, of which %d hold the %d of a token", t->n_expert,
                         r->n_group, r->n_group_used, t->n_expert_used);
    if (!(r->scale > 0 && r->scale < 1e6f))
        hparams_complain(bad, "weights of experts are scaled by %g", (double)r->scale);
    if (t->k_dim < 1 || t->v_dim < 1 || (t->v_in_k && t->v_dim > t->k_dim))
        hparams_complain(bad, "keys of %d channels and values of %d", t->k_dim, t->v_dim);
    for (int il = 0; il < t->n_layer; il++) {
        const struct lm_layer_shape *l = &t->layer[il];
        if (!(l->attn_scale > 0 && l->attn_scale < 1e6f))
            hparams_complain(bad, "attention is scaled by %g", (double)l->attn_scale);
        if (l->window < 0 || l->chunk < 0 || l->rope < -1 || l->rope >= t->n_rope ||
            (l->routed && !t->n_expert))
            hparams_complain(bad, "layer %d: window %d, chunk %d, rotary embedding %d, %d experts", il,
                             l->window, l->chunk, l->rope, t->n_expert);
    }
}

bool hparams_read(struct lm_shape *s, const struct hparam_family *f, const struct weights *w, struct err *e)
{
    struct buf bad = BUF_INIT(4096);
    struct lm_shape t = { .embd_scale = 1 };
    struct hparam_source src = { .gguf = weights_gguf(w), .config = hparams_config(w), .bad = &bad };
    if (src.gguf) {
        const struct gguf_str a = gguf_string(src.gguf, "general.architecture");
        snprintf(src.arch, sizeof src.arch, "%.*s", (int)(a.len < 60 ? a.len : 60), a.data ? a.data : "");
        read_gguf(&t, f, &src);
    } else {
        read_config(&t, f, &src);
    }
    if (!t.n_ff_expert) {
        t.n_ff_expert = t.n_ff;
        if (src.gguf && f->absent.n_ff_expert && t.n_expert_used) t.n_ff_expert /= t.n_expert_used;
    }
    t.k_dim = t.v_dim = t.head_dim;
    t.routing = (struct lm_routing){ .renorm = renorm(f, w), .n_group = 1, .n_group_used = 1 };
    t.routing.group_best = 1;
    t.routing.scale = 1;
    fill_layers(&t, f, &src);
    if (f->layers) f->layers(&t, &src);
    check(&t, f, src.gguf != NULL, &bad);
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
