/* paged_body.h - the paged cache and attention over it for machines with vectors. An instruction set's file defines the
 * vector operations below for its width, includes this, and exports the table; the sums are those of paged_plain.c.
 *
 *     V_LANES (8 or 16), vf; vf_zero() vf_set1(f) vf_load(p) vf_store(p, v) vf_fma(a, b, c) vf_mul(a, b)
 *     vf_add(a, b) vf_sub(a, b) vf_max(a, b)
 *     vf_top(v) vf_sum(v)          over the lanes; the sum folds the upper half onto the lower until one is left
 *     vf_half(p) vf_i8(p)          V_LANES halves or int8 as f32
 *     put_half(p, x, n) half_bits(f) half_value(h)      conversions to and from f16 */
#ifndef HEARTH_DEVICE_CPU_PAGED_BODY_H
#define HEARTH_DEVICE_CPU_PAGED_BODY_H

#include "device/cpu/paged_attention.h"
#include "device/cpu/rope_rows.h"

#define INLINE static inline __attribute__((always_inline))
#define VECTORS (KV_PAGE / V_LANES) /* registers for one score of each token of a page */

/* n channels as int8 and the scale's bits. */
INLINE uint16_t round_block(const float *restrict x, int n, int8_t q[32])
{
    float m[8] = { 0 };
    for (int i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        m[i & 7] = a > m[i & 7] ? a : m[i & 7];
    }
    float amax = 0.0f;
    for (int i = 0; i < 8; i++) amax = m[i] > amax ? m[i] : amax;
    uint16_t bits = half_bits(amax / 127.0f);
    float scale = half_value(bits);
    float inv = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int i = 0; i < 32; i++) {
        float v = i < n ? x[i] * inv : 0.0f;
        v = v > 127.0f ? 127.0f : v;
        v = v < -127.0f ? -127.0f : v;
        float t = v + 12582912.0f;
        uint32_t u;
        memcpy(&u, &t, sizeof u);
        q[i] = (int8_t)(u & 0xff);
    }
    return bits;
}

static void put(enum kv_type type, const struct paged_layout *l, unsigned char *piece, int t, const float *k,
                const float *v)
{
    if (type == KV_F16) {
        uint16_t column[32];
        for (int d0 = 0; d0 < l->k_dim; d0 += 32) {
            int n = l->k_dim - d0 < 32 ? l->k_dim - d0 : 32;
            put_half(column, k + d0, n);
            unsigned char *dst = piece + ((size_t)d0 * KV_PAGE + (size_t)t) * 2;
            for (int d = 0; d < n; d++) memcpy(dst + (size_t)d * KV_PAGE * 2, &column[d], 2);
        }
        uint16_t *row = (uint16_t *)(piece + l->v) + (size_t)t * (size_t)l->v_pad;
        put_half(row, v, l->v_dim);
        for (int d = l->v_dim; d < l->v_pad; d++) row[d] = 0;
        return;
    }
    int8_t q[32];
    for (int b = 0; b < l->k_blocks; b++) {
        int n = l->k_dim - 32 * b < 32 ? l->k_dim - 32 * b : 32;
        uint16_t scale = round_block(k + 32 * b, n, q);
        memcpy(piece + l->k_scales + ((size_t)b * KV_PAGE + (size_t)t) * 2, &scale, 2);
        for (int i = 0; i < n; i++) piece[(size_t)(32 * b + i) * KV_PAGE + (size_t)t] = (unsigned char)q[i];
    }
    for (int b = 0; b < l->v_blocks; b++) {
        int n = l->v_dim - 32 * b < 32 ? l->v_dim - 32 * b : 32;
        uint16_t scale = round_block(v + 32 * b, n, q);
        memcpy(piece + l->v_scales + ((size_t)t * (size_t)l->v_blocks + (size_t)b) * 2, &scale, 2);
        memcpy(piece + l->v + (size_t)t * (size_t)l->v_pad + (size_t)(32 * b), q, 32);
    }
}

/* s[i][t] = q[i] . k[t] for the 32 tokens of a page and NQ queries. */
INLINE void scores(const int NQ, const enum kv_type type, const struct paged_layout *l,
                   const unsigned char *piece, const float *const *q, float (*s)[KV_PAGE])
{
    const unsigned char *ahead = piece + l->v; /* the values come next: a line of them for each channel */
    vf total[PAGED_QUERIES][VECTORS];
    for (int i = 0; i < NQ; i++)
        for (int j = 0; j < VECTORS; j++) total[i][j] = vf_zero();
    if (type == KV_F16) {
        for (int d = 0; d < l->k_dim; d++, piece += KV_PAGE * 2) {
            vf k[VECTORS];
            if (NQ <= 4) __builtin_prefetch(ahead + 64 * d);
            for (int j = 0; j < VECTORS; j++) k[j] = vf_half(piece + 2 * V_LANES * j);
            for (int i = 0; i < NQ; i++)
                for (int j = 0; j < VECTORS; j++) total[i][j] = vf_fma(vf_set1(q[i][d]), k[j], total[i][j]);
        }
    } else {
        const unsigned char *scale = piece + l->k_scales;
        for (int b = 0; b < l->k_blocks; b++, scale += KV_PAGE * 2) {
            vf part[PAGED_QUERIES][VECTORS];
            for (int i = 0; i < NQ; i++)
                for (int j = 0; j < VECTORS; j++) part[i][j] = vf_zero();
            for (int d = 32 * b; d < 32 * b + 32 && d < l->k_dim; d++, piece += KV_PAGE) {
                vf k[VECTORS];
                for (int j = 0; j < VECTORS; j++) k[j] = vf_i8(piece + V_LANES * j);
                for (int i = 0; i < NQ; i++)
                    for (int j = 0; j < VECTORS; j++) part[i][j] = vf_fma(vf_set1(q[i][d]), k[j], part[i][j]);
            }
            for (int i = 0; i < NQ; i++)
                for (int j = 0; j < VECTORS; j++)
                    total[i][j] = vf_fma(part[i][j], vf_half(scale + 2 * V_LANES * j), total[i][j]);
        }
    }
    for (int i = 0; i < NQ; i++)
        for (int j = 0; j < VECTORS; j++) vf_store(s[i] + V_LANES * j, total[i][j]);
}

/* Scores to weights of this page, tokens outside [lo, hi] to 0; the factor for what was summed before. */
INLINE float soften(float *restrict s, int lo, int hi, float scale, float *m, float *sum)
{
    vf v[VECTORS];
    for (int j = 0; j < VECTORS; j++) v[j] = vf_mul(vf_load(s + V_LANES * j), vf_set1(scale));
    if (lo > 0 || hi < KV_PAGE - 1) {
        for (int j = 0; j < VECTORS; j++) vf_store(s + V_LANES * j, v[j]);
        for (int k = 0; k < KV_PAGE; k++) s[k] = k < lo || k > hi ? -INFINITY : s[k];
        for (int j = 0; j < VECTORS; j++) v[j] = vf_load(s + V_LANES * j);
    }
    vf top = v[0];
    for (int j = 1; j < VECTORS; j++) top = vf_max(top, v[j]);
    float t = vf_top(top), m_new = t > *m ? t : *m;
    float f = fmath_exp(*m - m_new);
    for (int j = 0; j < VECTORS; j++) vf_store(s + V_LANES * j, vf_sub(v[j], vf_set1(m_new)));
    for (int k = 0; k < KV_PAGE; k++) s[k] = fmath_exp(s[k]);
    /* lanes t and t + 16, then halves */
    for (int j = 0; j < VECTORS; j++) v[j] = vf_load(s + V_LANES * j);
    for (int half = VECTORS / 2; half; half /= 2)
        for (int j = 0; j < half; j++) v[j] = vf_add(v[j], v[j + half]);
    *sum = fmaf(*sum, f, vf_sum(v[0]));
    *m = m_new;
    return f;
}

/* acc[i] = acc[i] * f[i] + sum over t in [lo, hi] of p[i][t] v[t], for 2 registers of channels at a time. */
INLINE void values(const int NQ, const enum kv_type type, const struct paged_layout *l,
                   const unsigned char *piece, const unsigned char *next, int lo, int hi,
                   const float (*p)[KV_PAGE], const float *f, float *acc)
{
    /* Meanwhile the next page's keys: so many lines for each of the 32 tokens. */
    int lines = (l->k_dim * (type == KV_F16 ? 2 : 1) + 63) / 64;
    for (int d = 0; d < l->v_pad; d += 2 * V_LANES) {
        vf a[PAGED_QUERIES][2];
        for (int i = 0; i < NQ; i++)
            for (int j = 0; j < 2; j++)
                a[i][j] =
                    vf_mul(vf_load(acc + (size_t)i * (size_t)l->v_pad + d + V_LANES * j), vf_set1(f[i]));
        for (int t = lo; t <= hi; t++) {
            size_t at = (size_t)t * (size_t)l->v_pad + (size_t)d;
            if (NQ <= 4 && d == 0)
                for (int i = 0; i < lines; i++) __builtin_prefetch(next + 64 * (t * lines + i));
            if (type == KV_F16) {
                vf v0 = vf_half(piece + l->v + 2 * at), v1 = vf_half(piece + l->v + 2 * at + 2 * V_LANES);
                for (int i = 0; i < NQ; i++) {
                    a[i][0] = vf_fma(vf_set1(p[i][t]), v0, a[i][0]);
                    a[i][1] = vf_fma(vf_set1(p[i][t]), v1, a[i][1]);
                }
            } else {
                uint16_t bits;
                memcpy(&bits, piece + l->v_scales + ((size_t)t * (size_t)l->v_blocks + (size_t)(d / 32)) * 2,
                       2);
                float scale = half_value(bits);
                vf v0 = vf_i8(piece + l->v + at), v1 = vf_i8(piece + l->v + at + V_LANES);
                for (int i = 0; i < NQ; i++) {
                    a[i][0] = vf_fma(vf_set1(p[i][t] * scale), v0, a[i][0]);
                    a[i][1] = vf_fma(vf_set1(p[i][t] * scale), v1, a[i][1]);
                }
            }
        }
        for (int i = 0; i < NQ; i++)
            for (int j = 0; j < 2; j++)
                vf_store(acc + (size_t)i * (size_t)l->v_pad + d + V_LANES * j, a[i][j]);
    }
}

INLINE void attend_fixed(const int NQ, const enum kv_type type, const struct paged_tile *t)
{
    const struct paged_layout *l = t->layout;
    float m[PAGED_QUERIES], sum[PAGED_QUERIES], f[PAGED_QUERIES];
    _Alignas(64) float s[PAGED_QUERIES][KV_PAGE];
    int32_t first = t->first[0], last = t->last[0];
    for (int i = 0; i < NQ; i++) {
        m[i] = -INFINITY;
        sum[i] = 0.0f;
        first = t->first[i] < first ? t->first[i] : first;
        last = t->last[i] > last ? t->last[i] : last;
    }
    memset(t->acc, 0, (size_t)NQ * (size_t)l->v_pad * sizeof *t->acc);
    for (int32_t page = first / KV_PAGE; page <= last / KV_PAGE; page++) {
        const unsigned char *piece = paged_piece(t->kv, l, t->page[page], t->kv_head);
        int page_lo = KV_PAGE, page_hi = -1; /* tokens that any query sees */
        scores(NQ, type, l, piece, t->q, s);
        for (int i = 0; i < NQ; i++) {
            int lo = t->first[i] - page * KV_PAGE, hi = t->last[i] - page * KV_PAGE;
            if (lo < 0) lo = 0;
            if (hi > KV_PAGE - 1) hi = KV_PAGE - 1;
            f[i] = 1.0f;
            if (lo > hi) { /* it sees nothing here: as if the page were not there */
                memset(s[i], 0, sizeof s[i]);
                continue;
            }
            f[i] = soften(s[i], lo, hi, t->scale, &m[i], &sum[i]);
            if (lo < page_lo) page_lo = lo;
            if (hi > page_hi) page_hi = hi;
        }
        const unsigned char *next =
            page < last / KV_PAGE ? paged_piece(t->kv, l, t->page[page + 1], t->kv_head) : piece;
        values(NQ, type, l, piece, next, page_lo, page_hi, (const float(*)[KV_PAGE])s, f, t->acc);
    }
    for (int i = 0; i < NQ; i++) {
        float inv = 1.0f / sum[i], *restrict out = t->out[i];
        const float *restrict acc = t->acc + (size_t)i * (size_t)l->v_pad;
        for (int d = 0; d < l->v_dim; d++) out[d] = acc[d] * inv;
    }
}

#define CASES(type)                                                                                          \
    switch (t->n) {                                                                                          \
    case 1: attend_fixed(1, type, t); return;                                                                \
    case 2: attend_fixed(2, type, t); return;                                                                \
    case 3: attend_fixed(3, type, t); return;                                                                \
    case 4: attend_fixed(4, type, t); return;                                                                \
    case 5: attend_fixed(5, type, t); return;                                                                \
    case 6: attend_fixed(6, type, t); return;                                                                \
    case 7: attend_fixed(7, type, t); return;                                                                \
    case 8: attend_fixed(8, type, t); return;                                                                \
    }
static void attend_f16(const struct paged_tile *t) { CASES(KV_F16) }
static void attend_q8(const struct paged_tile *t) { CASES(KV_Q8_0) }

static void attend(const struct paged_tile *t)
{
    if (t->kv->type == KV_F16)
        attend_f16(t);
    else
        attend_q8(t);
}

static void rope(const struct rope_args *a, int64_t r0, int64_t r1, float *table)
{
    rope_rows(a, r0, r1, table);
}

#endif
