#include "lm/rope_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json_read.h"

static const struct gguf_value *gguf_key(const struct gguf *g, const char *arch, const char *key)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    return gguf_find(g, full);
}

bool rope_gguf_number(const struct gguf *g, const char *arch, const char *key, double *out)
{
    const struct gguf_value *v = gguf_key(g, arch, key);
    if (!v || v->n == 0 || v->type == GGUF_STRING) return false;
    *out = gguf_value_float(v, 0, NAN);
    for (uint64_t i = 1; i < v->n && i < 1000; i++)
        if (gguf_value_float(v, i, NAN) != *out) *out = NAN;
    return true;
}

static bool scaling_type(struct rope_spec *r, const char *type, size_t len, struct buf *bad)
{
    static const struct {
        const char *name;
        enum rope_scaling scaling;
    } known[] = {
        { "none", ROPE_SCALING_NONE },       { "default", ROPE_SCALING_NONE },
        { "linear", ROPE_SCALING_LINEAR },   { "llama3", ROPE_SCALING_LLAMA3 },
        { "yarn", ROPE_SCALING_YARN },       { "longrope", ROPE_SCALING_LONG },
        { "su", ROPE_SCALING_LONG }, /* as Phi 3 was published first */
        { "dynamic", ROPE_SCALING_DYNAMIC },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) != len || memcmp(known[i].name, type, len) != 0) continue;
        r->scaling = known[i].scaling;
        return true;
    }
    return buf_printf(
               bad, "rope scaling '%.*s' is not supported (linear, llama3, yarn, longrope and dynamic are); ",
               (int)(len > 40 ? 40 : len), type),
           false;
}

/* A count of channels that rope_check() will refuse where x is none. */
static int channels(double x) { return x >= 0 && x <= 1 << 20 && x == floor(x) ? (int)x : -1; }

/* Layers with a window turn by a base of their own, and are never scaled. */
static void local_rope(struct lm_shape *s, double theta)
{
    s->rope[1] = (struct rope_spec){
        .mscale = 1, .theta = theta, .n_rot = s->rope[0].n_rot, .factor = 1, .n_ctx_orig = s->n_ctx_train
    };
    s->n_rope = 2;
}

bool rope_take_lists(struct rope_spec *r, const float *near, const float *far, int64_t n)
{
    if (!near || !far || n > ROPE_FACTORS) return r->scaling != ROPE_SCALING_LONG || r->n_factor > 0;
    r->scaling = ROPE_SCALING_LONG; /* converters name none beside the lists */
    r->n_factor = (int)n;
    memcpy(r->near, near, (size_t)n * sizeof *near);
    memcpy(r->far, far, (size_t)n * sizeof *far);
    return true;
}

void rope_from_gguf(struct lm_shape *s, const struct gguf *g, const char *arch,
                    const struct rope_absent *absent, struct buf *bad)
{
#define NUMBER(key, otherwise) (rope_gguf_number(g, arch, "rope." key, &v) ? v : (otherwise))
    double v;
    struct rope_spec *r = &s->rope[0];
    s->n_rope = 1;
    r->mscale = 1;
    r->theta = NUMBER("freq_base", absent->theta > 0 ? absent->theta : 10000);
    r->n_rot = channels(NUMBER("dimension_count", s->head_dim));
    r->factor = NUMBER("scaling.factor", 0);
    const struct gguf_value *type = gguf_key(g, arch, "rope.scaling.type");
    if (type && type->type == GGUF_STRING && type->n) {
        scaling_type(r, type->s[0].data, type->s[0].len, bad);
    } else if ((r->factor = NUMBER("scale_linear", r->factor)) > 0) {
        r->scaling = ROPE_SCALING_LINEAR; /* files from before rope.scaling.type */
    }
    if (r->factor == 0) r->factor = 1;
    r->n_ctx_orig = NUMBER("scaling.original_context_length", s->n_ctx_train);
    r->low = NUMBER("scaling.low_freq_factor", 1);
    r->high = NUMBER("scaling.high_freq_factor", 4);
    r->beta_fast = NUMBER("scaling.yarn_beta_fast", 32);
    r->beta_slow = NUMBER("scaling.yarn_beta_slow", 1);
    /* ggml's convention: attn_factor multiplies the magnitude that yarn gives by itself. */
    r->mscale = NUMBER("scaling.attn_factor", 1);
    if (r->scaling == ROPE_SCALING_YARN) r->mscale *= rope_yarn_mscale(r->factor);
    if (absent->theta_local > 0) local_rope(s, NUMBER("freq_base_swa", absent->theta_local));
#undef NUMBER
}

/* ---- config.json -------------------------------------------------------------------------------------------------- */

const json_t *rope_config(const json_t *config)
{
    const json_t *old = json_object_get(config, "rope_scaling");
    return json_object_size(old) ? old : json_object_get(config, "rope_parameters");
}

/* {"full_attention": {...}, "sliding_attention": {...}}: an object for each kind of layer? */
static bool by_kind(const json_t *p)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)p, key, v)
    {
        if (json_is_object(v)) return true;
    }
    return false;
}

/* The one set of parameters that all kinds have. */
static const json_t *of_all_kinds(const json_t *p, struct buf *bad)
{
    const json_t *one = NULL;
    const char *key;
    json_t *kind;
    if (!by_kind(p)) return p;
    json_object_foreach((json_t *)p, key, kind)
    {
        if (strcmp(key, "full_attention") != 0 && strcmp(key, "sliding_attention") != 0)
            buf_printf(bad, "rope_parameters.%.40s is not supported beside those of kinds of layers; ", key);
        else if (one && !json_equal(one, kind))
            buf_puts(bad, "rope_parameters that differ between kinds of layers are not supported; ");
        else
            one = kind;
    }
    return one;
}

/* As the reference does it: a key that is null or 0 counts as absent where it says so. */
static double number(const json_t *p, const char *key, double otherwise)
{
    const json_t *v = json_object_get(p, key);
    return !v || json_is_null(v) ? otherwise : json_read_number(v, NAN);
}

/* Lists of longrope, each of an entry for a pair of channels. */
static void read_list(float *out, const struct rope_spec *r, const json_t *p, const char *key,
                      struct buf *bad)
{
    const json_t *list = json_object_get(p, key), *one;
    const size_t wanted = (size_t)(r->n_rot > 0 ? r->n_rot : 0) / 2;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) != wanted || wanted > ROPE_FACTORS) {
        buf_printf(bad,
                   "rope %s: a list of %zu numbers is needed (at most %d), one for each pair of channels "
                   "that rotates; ",
                   key, wanted, ROPE_FACTORS);
        return;
    }
    json_array_foreach(list, i, one)
    {
        out[i] = (float)json_read_number(one, NAN);
        if (!(out[i] > 0 && out[i] < 1e6f))
            buf_printf(bad, "rope %s: entry %zu is not supported (a number above 0 is needed); ", key, i);
    }
}

static void read_long(struct rope_spec *r, const struct lm_shape *s, const json_t *p, struct buf *bad)
{
    read_list(r->near, r, p, "short_factor", bad);
    read_list(r->far, r, p, "long_factor", bad);
    r->n_factor = r->n_rot / 2;
    if (!(r->factor > 0)) r->factor = s->n_ctx_train / r->n_ctx_orig;
    r->mscale = number(p, "attention_factor", rope_long_mscale(r->factor, r->n_ctx_orig));
}

static double yarn_magnitude(double factor, double m) { return factor > 1 ? 0.1 * m * log(factor) + 1 : 1; }

/* One embedding from its object p; theta where p names no base. */
static void read_parameters(struct rope_spec *r, const struct lm_shape *s, const json_t *p, const json_t *c,
                            double theta, double share, struct buf *bad)
{
    *r = (struct rope_spec){ .mscale = 1 };
    r->theta = number(p, "rope_theta", theta);
    r->factor = number(p, "factor", 0);
    const char *type = json_string_value(json_object_get(p, "rope_type"));
    if (!type) type = json_string_value(json_object_get(p, "type"));
    if (type) scaling_type(r, type, strlen(type), bad);
    /* most families' reference rotates whole heads whatever partial_rotary_factor says, and cannot run with it under scaling */
    const double part =
        number(p, "partial_rotary_factor", number(c, "partial_rotary_factor", share > 0 ? share : 1));
    r->n_rot = share > 0 ? channels(floor(s->head_dim * part)) : s->head_dim;
    if (r->scaling != ROPE_SCALING_NONE && part != 1 && !(share > 0))
        buf_printf(bad, "partial_rotary_factor %g with rope scaling is not supported; ", part);
    r->n_ctx_orig = number(c, "original_max_position_embeddings",
                           number(p, "original_max_position_embeddings", s->n_ctx_train));
    const bool llama3 = r->scaling == ROPE_SCALING_LLAMA3;
    r->low = number(p, "low_freq_factor", llama3 ? NAN : 1);
    r->high = number(p, "high_freq_factor", llama3 ? NAN : 4);
    r->beta_fast = number(p, "beta_fast", 0);
    r->beta_slow = number(p, "beta_slow", 0);
    if (r->beta_fast == 0) r->beta_fast = 32;
    if (r->beta_slow == 0) r->beta_slow = 1;
    r->yarn_exact = json_is_false(json_object_get(p, "truncate"));
    if (r->scaling == ROPE_SCALING_YARN) {
        if (!(r->factor > 0)) r->factor = s->n_ctx_train / r->n_ctx_orig;
        const double m = number(p, "mscale", 0), all = number(p, "mscale_all_dim", 0);
        const double own = m != 0 && all != 0 ? yarn_magnitude(r->factor, m) / yarn_magnitude(r->factor, all)
                                              : rope_yarn_mscale(r->factor);
        r->mscale = number(p, "attention_factor", own);
    }
    if (r->scaling == ROPE_SCALING_LONG) read_long(r, s, p, bad);
    /* the reference's dynamic rule begins at max_position_embeddings, whatever it was before */
    if (r->scaling == ROPE_SCALING_DYNAMIC) r->n_ctx_orig = s->n_ctx_train;
}

/* The family has two embeddings: rope_parameters by kind, to which an older file's rope_scaling adds for the layers that see all. */
static void two_from_config(struct lm_shape *s, const json_t *c, const struct rope_absent *absent,
                            struct buf *bad)
{
    const json_t *p = json_object_get(c, "rope_parameters"), *old = json_object_get(c, "rope_scaling");
    const json_t *given = json_object_get(p, "full_attention");
    if (json_object_size(p) && !by_kind(p))
        buf_puts(bad, "rope_parameters that are not by kind of layer (full_attention, sliding_attention) are "
                      "not supported in this family; ");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)p, key, v)
    {
        if (strcmp(key, "full_attention") != 0 && strcmp(key, "sliding_attention") != 0)
            buf_printf(bad, "rope_parameters.%.40s is not supported; ", key);
    }
    json_t *full = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    if (!full || (json_is_object(old) && json_object_update(full, (json_t *)old) != 0))
        buf_puts(bad, "no memory for rope_parameters; ");
    read_parameters(&s->rope[0], s, full, c, number(c, "rope_theta", absent->theta), absent->part, bad);
    json_decref(full);
    read_parameters(&s->rope[1], s, json_object_get(p, "sliding_attention"), c,
                    number(c, "rope_local_base_freq", absent->theta_local), absent->part, bad);
    s->n_rope = 2;
}

void rope_from_config(struct lm_shape *s, const json_t *c, const struct rope_absent *absent, struct buf *bad)
{
    if (absent->theta_local > 0) {
        two_from_config(s, c, absent, bad);
        return;
    }
    read_parameters(&s->rope[0], s, of_all_kinds(rope_config(c), bad), c,
                    number(c, "rope_theta", absent->theta), absent->part, bad);
    s->n_rope = 1;
}

static void check_one(const struct lm_shape *s, const struct rope_spec *r, struct buf *bad)
{
    if (r->n_rot < 2 || r->n_rot > s->head_dim || r->n_rot % 2)
        buf_printf(bad, "rotary dimension %d does not fit head dimension %d; ", r->n_rot, s->head_dim);
    if (!(r->theta > 1 && r->theta < 1e12)) buf_printf(bad, "rope base %g; ", r->theta);
    if (r->scaling != ROPE_SCALING_NONE && !(r->factor > 0 && r->factor < 1e6))
        buf_printf(bad, "rope scaling factor %g; ", r->factor);
    if (!(r->n_ctx_orig >= 1 && r->n_ctx_orig < 1e9))
        buf_printf(bad, "rope original context %g; ", r->n_ctx_orig);
    if (r->scaling == ROPE_SCALING_LLAMA3 && !(r->low > 0 && r->high >= r->low))
        buf_printf(bad, "rope low_freq_factor %g, high_freq_factor %g; ", r->low, r->high);
    if (!(r->mscale > 0 && r->mscale < 100)) buf_printf(bad, "rope magnitude %g; ", r->mscale);
    if (r->scaling == ROPE_SCALING_YARN && !(r->beta_slow > 0 && r->beta_fast > r->beta_slow))
        buf_printf(bad, "yarn beta_fast %g, beta_slow %g; ", r->beta_fast, r->beta_slow);
}

void rope_check(const struct lm_shape *s, struct buf *bad)
{
    for (int i = 0; i < s->n_rope; i++) check_one(s, &s->rope[i], bad);
}
