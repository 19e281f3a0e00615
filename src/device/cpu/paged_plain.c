/* paged_plain.c - the definition of the paged cache and of attention over it, in plain C. */
#include "device/cpu/paged_attention.h"
#include "device/cpu/rope_rows.h"

static void put_half(unsigned char *p, size_t i, float f)
{
    uint16_t h = f32_to_f16(f);
    memcpy(p + 2 * i, &h, 2);
}

static float get_half(const unsigned char *p, size_t i)
{
    uint16_t h;
    memcpy(&h, p + 2 * i, 2);
    return f16_to_f32(h);
}

/* n <= 32 channels to int8: the scale as it is stored (f16), q[i] = nearest(x[i] / scale). */
static float round_block(const float *x, int n, int8_t q[32])
{
    float amax = 0.0f;
    for (int i = 0; i < n; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    float scale = f16_to_f32(f32_to_f16(amax / 127.0f));
    float inv = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int i = 0; i < 32; i++) {
        float v = i < n ? x[i] * inv : 0.0f;
        /* The f16 scale may be a little small: 127.06 must not become -128. NaN fails both tests and stays defined. */
        v = v > 127.0f ? 127.0f : v;
        v = v < -127.0f ? -127.0f : v;
        float t = v + 12582912.0f;
        uint32_t u;
        memcpy(&u, &t, sizeof u);
        q[i] = (int8_t)(u & 0xff);
    }
    return scale;
}

static void put(enum kv_type type, const struct paged_layout *l, unsigned char *piece, int t, const float *k,
                const float *v)
{
    if (type == KV_F16) {
        for (int d = 0; d < l->k_dim; d++) put_half(piece, (size_t)d * KV_PAGE + (size_t)t, k[d]);
        if (l->v_in_k) return;
        unsigned char *row = piece + l->v + (size_t)t * (size_t)l->v_pad * 2;
        for (int d = 0; d < l->v_pad; d++) put_half(row, (size_t)d, d < l->v_dim ? v[d] : 0.0f);
        return;
    }
    int8_t q[32];
    for (int b = 0; b < l->k_blocks; b++) {
        int n = l->k_dim - 32 * b < 32 ? l->k_dim - 32 * b : 32;
        put_half(piece + l->k_scales, (size_t)b * KV_PAGE + (size_t)t, round_block(k + 32 * b, n, q));
        for (int i = 0; i < n; i++) piece[(size_t)(32 * b + i) * KV_PAGE + (size_t)t] = (unsigned char)q[i];
    }
    for (int b = 0; b < l->v_blocks && !l->v_in_k; b++) {
        int n = l->v_dim - 32 * b < 32 ? l->v_dim - 32 * b : 32;
        put_half(piece + l->v_scales, (size_t)t * (size_t)l->v_blocks + (size_t)b,
                 round_block(v + 32 * b, n, q));
        memcpy(piece + l->v + (size_t)t * (size_t)l->v_pad + (size_t)(32 * b), q, 32);
    }
}

/* q8_0: the products of a block are summed, then times the token's scale joined to the sum. */
static float score(enum kv_type type, const struct paged_layout *l, const unsigned char *piece, int t,
                   const float *q)
{
    float s = 0.0f;
    if (type == KV_F16) {
        for (int d = 0; d < l->k_dim; d++)
            s = fmaf(q[d], get_half(piece, (size_t)d * KV_PAGE + (size_t)t), s);
        return s;
    }
    for (int b = 0; b < l->k_blocks; b++) {
        float part = 0.0f;
        for (int d = 32 * b; d < 32 * b + 32 && d < l->k_dim; d++)
            part = fmaf(q[d], (float)(int8_t)piece[(size_t)d * KV_PAGE + (size_t)t], part);
        s = fmaf(part, get_half(piece + l->k_scales, (size_t)b * KV_PAGE + (size_t)t), s);
    }
    return s;
}

/* As add_value(), where the values are the first rows of the keys. */
static void add_key(enum kv_type type, const struct paged_layout *l, const unsigned char *piece, int t,
                    float p, float *acc)
{
    for (int d = 0; d < l->v_dim; d++) {
        const size_t at = (size_t)d * KV_PAGE + (size_t)t;
        if (type == KV_F16) {
            acc[d] = fmaf(p, get_half(piece, at), acc[d]);
        } else {
            float ps = p * get_half(piece + l->k_scales, (size_t)(d / 32) * KV_PAGE + (size_t)t);
            acc[d] = fmaf(ps, (float)(int8_t)piece[at], acc[d]);
        }
    }
}

static void add_value(enum kv_type type, const struct paged_layout *l, const unsigned char *piece, int t,
                      float p, float *acc)
{
    if (l->v_in_k) {
        add_key(type, l, piece, t, p, acc);
        return;
    }
    if (type == KV_F16) {
        const unsigned char *row = piece + l->v + (size_t)t * (size_t)l->v_pad * 2;
        for (int d = 0; d < l->v_dim; d++) acc[d] = fmaf(p, get_half(row, (size_t)d), acc[d]);
        return;
    }
    const int8_t *row = (const int8_t *)piece + l->v + (size_t)t * (size_t)l->v_pad;
    for (int d = 0; d < l->v_dim; d++) {
        float ps = p * get_half(piece + l->v_scales, (size_t)t * (size_t)l->v_blocks + (size_t)(d / 32));
        acc[d] = fmaf(ps, (float)row[d], acc[d]);
    }
}

static void attend_one(const struct paged_tile *t, int i)
{
    const struct paged_layout *l = t->layout;
    float m = t->sink[i], sum = m > -INFINITY ? 1.0f : 0.0f, *acc = t->acc;
    for (int d = 0; d < l->v_dim; d++) acc[d] = 0.0f;
    for (int32_t page = t->first[i] / KV_PAGE; page <= t->last[i] / KV_PAGE; page++) {
        const unsigned char *piece = paged_piece(t->kv, l, t->page[page], t->kv_head);
        int lo = t->first[i] > page * KV_PAGE ? t->first[i] - page * KV_PAGE : 0;
        int hi = t->last[i] < page * KV_PAGE + KV_PAGE - 1 ? t->last[i] - page * KV_PAGE : KV_PAGE - 1;
        float p[KV_PAGE], m_new = m;
        for (int k = lo; k <= hi; k++) {
            p[k] = t->scale * score(t->kv->type, l, piece, k, t->q[i]);
            m_new = p[k] > m_new ? p[k] : m_new;
        }
        float f = fmath_exp(m - m_new);
        for (int k = 0; k < KV_PAGE; k++) p[k] = k < lo || k > hi ? 0.0f : fmath_exp(p[k] - m_new);
        float fold[16];
        for (int k = 0; k < 16; k++) fold[k] = p[k] + p[k + 16];
        for (int half = 8; half; half /= 2)
            for (int k = 0; k < half; k++) fold[k] += fold[k + half];
        sum = fmaf(sum, f, fold[0]);
        for (int d = 0; d < l->v_dim; d++) acc[d] *= f;
        for (int k = lo; k <= hi; k++) add_value(t->kv->type, l, piece, k, p[k], acc);
        m = m_new;
    }
    float inv = 1.0f / sum;
    for (int d = 0; d < l->v_dim; d++) t->out[i][d] = acc[d] * inv;
}

static void attend(const struct paged_tile *t)
{
    for (int i = 0; i < t->n; i++) attend_one(t, i);
}

static void rope(const struct rope_args *a, int64_t r0, int64_t r1, float *table)
{
    rope_rows(a, r0, r1, table);
}

const struct attn_kern attn_kern_plain = { rope, put, attend };
