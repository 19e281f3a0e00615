/* paged_body.h - the paged cache and attention over it for machines with vectors. An instruction set's file defines the
 * vector operations below for its width, includes this, and exports the table; the sums are those of paged_plain.c.
 *
 *     V_LANES (4, 8 or 16), V_GROUP   lanes of a register; queries whose two registers of sums each fit the file (6 or 8)
 *     vf; vf_zero() vf_set1(f) vf_load(p) vf_store(p, v) vf_fma(a, b, c) vf_mul(a, b)
 *     vf_add(a, b) vf_max(a, b)
 *     vf_top(v) vf_sum(v)          over the lanes; the sum folds the upper half onto the lower until one is left
 *     vf_tops(v) vf_sums(v)        these of V_LANES vectors at v, each in its lane
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
        if (l->v_in_k) return;
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
    for (int b = 0; b < l->v_blocks && !l->v_in_k; b++) {
        int n = l->v_dim - 32 * b < 32 ? l->v_dim - 32 * b : 32;
        uint16_t scale = round_block(v + 32 * b, n, q);
        memcpy(piece + l->v_scales + ((size_t)t * (size_t)l->v_blocks + (size_t)b) * 2, &scale, 2);
        memcpy(piece + l->v + (size_t)t * (size_t)l->v_pad + (size_t)(32 * b), q, 32);
    }
}

/* Queries go through a page in groups of at most V_GROUP, whose sums of two registers a query fit the register file. A lone group reads
 * the page as it is stored; several read it widened to f32, block after block in the first cache, so that it is widened once. */
enum form { AS_F16, AS_I8, AS_F32 };

/* Columns [at, at + V_LANES) of row `row` of a page's piece with `ld` elements a row. */
INLINE vf load_form(const enum form form, const unsigned char *p, size_t row, size_t ld, size_t at)
{
    const size_t i = row * ld + at;
    return form == AS_F16 ? vf_half(p + 2 * i) : form == AS_I8 ? vf_i8(p + i) : vf_load((const float *)p + i);
}

/* Scores of G queries and W registers of tokens from `at` on, with channels [0, n) of keys at k: added to s, or begun there (first).
 * q [n][step]: the queries beside each other. scale (q8_0, NULL: none): of the block that the channels are. */
INLINE void score_block(const int G, const int W, const enum form form, float (*s)[KV_PAGE], int at,
                        const unsigned char *k, int n, const float *q, int step, const unsigned char *scale,
                        bool first, const unsigned char *ahead)
{
    vf sum[V_GROUP][VECTORS];
    for (int i = 0; i < G; i++)
        for (int j = 0; j < W; j++) sum[i][j] = first || scale ? vf_zero() : vf_load(s[i] + at + V_LANES * j);
    for (int d = 0; d < n; d++, q += step) {
        vf x[VECTORS];
        if (ahead) __builtin_prefetch(ahead + 64 * d);
        for (int j = 0; j < W; j++) x[j] = load_form(form, k, (size_t)d, KV_PAGE, (size_t)(at + V_LANES * j));
        for (int i = 0; i < G; i++) {
            const vf v = vf_set1(q[i]);
            for (int j = 0; j < W; j++) sum[i][j] = vf_fma(v, x[j], sum[i][j]);
        }
    }
    for (int i = 0; i < G; i++)
        for (int j = 0; j < W; j++) {
            float *to = s[i] + at + V_LANES * j;
            if (scale)
                sum[i][j] = vf_fma(sum[i][j], vf_half(scale + 2 * (at + V_LANES * j)),
                                   first ? vf_zero() : vf_load(to));
            vf_store(to, sum[i][j]);
        }
}

/* Two registers of channels of G results: acc[i] = acc[i] * f[i] (f NULL: not), then + p[i][t] v[t] over tokens [lo, hi]. ld_v: elements
 * of a token's values. ahead: what comes next in memory, `lines` of it for each token. */
INLINE void value_block(const int G, const enum form form, float *acc, int ld, const unsigned char *v,
                        int ld_v, int at, const float (*p)[KV_PAGE], const float *f, int lo, int hi,
                        const unsigned char *ahead, int lines)
{
    vf sum[V_GROUP][2];
    for (int i = 0; i < G; i++)
        for (int j = 0; j < 2; j++)
            sum[i][j] = vf_mul(vf_load(acc + (size_t)i * (size_t)ld + V_LANES * j), vf_set1(f[i]));
    for (int t = lo; t <= hi; t++) {
        if (ahead)
            for (int i = 0; i < lines; i++) __builtin_prefetch(ahead + 64 * (t * lines + i));
        const vf v0 = load_form(form, v, (size_t)t, (size_t)ld_v, (size_t)at),
                 v1 = load_form(form, v, (size_t)t, (size_t)ld_v, (size_t)(at + V_LANES));
        for (int i = 0; i < G; i++) {
            const vf x = vf_set1(p[i][t]);
            sum[i][0] = vf_fma(x, v0, sum[i][0]);
            sum[i][1] = vf_fma(x, v1, sum[i][1]);
        }
    }
    for (int i = 0; i < G; i++)
        for (int j = 0; j < 2; j++) vf_store(acc + (size_t)i * (size_t)ld + V_LANES * j, sum[i][j]);
}

/* Scores of a group for a whole page; few queries take all of its tokens at a time. */
INLINE void score_page(const int G, const enum form form, float (*s)[KV_PAGE], const unsigned char *k, int n,
                       const float *q, int step, const unsigned char *scale, bool first,
                       const unsigned char *ahead)
{
    if (G * VECTORS <= 2 * V_GROUP) {
        score_block(G, VECTORS, form, s, 0, k, n, q, step, scale, first, ahead);
        return;
    }
    for (int at = 0; at < KV_PAGE; at += 2 * V_LANES)
        score_block(G, 2, form, s, at, k, n, q, step, scale, first, at ? NULL : ahead);
}

/* CALL(g) with g a constant. */
#if V_GROUP == 6
#define WITH_GROUP(g, CALL)                                                                                  \
    switch (g) {                                                                                             \
    case 1: CALL(1); break;                                                                                  \
    case 2: CALL(2); break;                                                                                  \
    case 3: CALL(3); break;                                                                                  \
    case 4: CALL(4); break;                                                                                  \
    case 5: CALL(5); break;                                                                                  \
    default: CALL(6); break;                                                                                 \
    }
#elif V_GROUP == 8
#define WITH_GROUP(g, CALL)                                                                                  \
    switch (g) {                                                                                             \
    case 1: CALL(1); break;                                                                                  \
    case 2: CALL(2); break;                                                                                  \
    case 3: CALL(3); break;                                                                                  \
    case 4: CALL(4); break;                                                                                  \
    case 5: CALL(5); break;                                                                                  \
    case 6: CALL(6); break;                                                                                  \
    case 7: CALL(7); break;                                                                                  \
    default: CALL(8); break;                                                                                 \
    }
#else
#error "V_GROUP is 6 or 8"
#endif

#define MOST_GROUPS ((PAGED_QUERIES + V_GROUP - 1) / V_GROUP)
#define DEEP 64 /* channels of a block of keys */

/* What a tile's walk keeps. */
struct walk {
    const struct paged_layout *l;
    int n, groups;
    int at[MOST_GROUPS + 1]; /* where a group's queries begin; groups are of nearly the same size */
    const float *q;          /* [group][k_dim][queries of the group] */
    float *acc;              /* [n, v_pad] */
    _Alignas(64) float s[PAGED_QUERIES][KV_PAGE]; /* scores, then weights */
    float ps[PAGED_QUERIES][KV_PAGE];             /* q8_0: weights times the scales of a block of values */
    float f[PAGED_QUERIES];
    float wide[DEEP * KV_PAGE]; /* a block of keys or values as f32 */
};

/* s[i][t] = q[i] . k[t] for the 32 tokens of a page. */
INLINE void scores(const enum kv_type type, struct walk *w, const unsigned char *piece)
{
    const struct paged_layout *l = w->l;
    const bool lone = w->groups == 1;
    const enum form as = type == KV_F16 ? AS_F16 : AS_I8;
    const size_t elem = type == KV_F16 ? 2 : 1;
    const int deep = type == KV_F16 ? DEEP : 32; /* q8_0: so many share a scale */
    for (int d = 0; d < l->k_dim; d += deep) {
        const int n = l->k_dim - d < deep ? l->k_dim - d : deep;
        const unsigned char *k = piece + (size_t)d * KV_PAGE * elem;
        const unsigned char *scale =
            type == KV_F16 ? NULL : piece + l->k_scales + (size_t)d / 32 * KV_PAGE * 2;
        /* The values come next: a line of them for each channel. */
        const unsigned char *ahead = piece + l->v + 64 * (size_t)d;
        if (lone) {
            if (w->n > 4) ahead = NULL;
#define CALL(G) score_page(G, as, w->s, k, n, w->q + d * (G), G, scale, d == 0, ahead)
            WITH_GROUP(w->n, CALL)
#undef CALL
            continue;
        }
        for (int i = 0; i < n; i++) {
            __builtin_prefetch(ahead + 64 * i);
            for (int j = 0; j < VECTORS; j++)
                vf_store(w->wide + i * KV_PAGE + V_LANES * j,
                         load_form(as, k, (size_t)i, KV_PAGE, (size_t)(V_LANES * j)));
        }
        for (int i = 0; i < w->groups; i++) {
            const int q0 = w->at[i], g = w->at[i + 1] - q0;
            const float *q = w->q + (size_t)q0 * (size_t)l->k_dim;
#define CALL(G)                                                                                              \
    score_page(G, AS_F32, w->s + q0, (const unsigned char *)w->wide, n, q + d * (G), G, scale, d == 0, NULL)
            WITH_GROUP(g, CALL)
#undef CALL
        }
    }
}

/* Channels [d, d + 2 V_LANES) of tokens [lo, hi], of keys whose first channels are the values, turned to [token][channel]. */
INLINE void turn_keys(const enum form as, float *wide, const unsigned char *piece,
                      const struct paged_layout *l, int d, int lo, int hi)
{
    float row[KV_PAGE];
    for (int i = 0; i < 2 * V_LANES; i++) {
        for (int j = 0; j < VECTORS; j++)
            vf_store(row + V_LANES * j,
                     d + i < l->v_dim ? load_form(as, piece, (size_t)(d + i), KV_PAGE, (size_t)(V_LANES * j))
                                      : vf_zero());
        for (int t = lo; t <= hi; t++) wide[t * 2 * V_LANES + i] = row[t];
    }
}

/* acc[i] = acc[i] * f[i] + sum over t in [lo, hi] of p[i][t] v[t]. */
INLINE void values(const enum kv_type type, struct walk *w, const unsigned char *piece,
                   const unsigned char *next, int lo, int hi)
{
    const struct paged_layout *l = w->l;
    const bool lone = w->groups == 1 && !l->v_in_k;
    const enum form as = type == KV_F16 ? AS_F16 : AS_I8;
    const unsigned char *v = piece + l->v;
    /* Meanwhile the next page's keys: so many lines for each of the 32 tokens. */
    const int lines = (l->k_dim * (type == KV_F16 ? 2 : 1) + 63) / 64;
    const float(*p)[KV_PAGE] = (const float(*)[KV_PAGE])w->s;
    for (int d = 0; d < l->v_pad; d += 2 * V_LANES) {
        if (type == KV_Q8_0 && d % 32 == 0) {
            float scale[KV_PAGE];
            for (int t = lo; t <= hi; t++) {
                uint16_t bits;
                const size_t of_v = l->v_scales + ((size_t)t * (size_t)l->v_blocks + (size_t)(d / 32)) * 2,
                             of_k = l->k_scales + ((size_t)(d / 32) * KV_PAGE + (size_t)t) * 2;
                memcpy(&bits, piece + (l->v_in_k ? of_k : of_v), 2);
                scale[t] = half_value(bits);
            }
            for (int i = 0; i < w->n; i++)
                for (int t = lo; t <= hi; t++) w->ps[i][t] = w->s[i][t] * scale[t];
            p = (const float(*)[KV_PAGE])w->ps;
        }
        if (lone) {
            const unsigned char *ahead = w->n <= 4 && d == 0 ? next : NULL;
#define CALL(G) value_block(G, as, w->acc + d, l->v_pad, v, l->v_pad, d, p, w->f, lo, hi, ahead, lines)
            WITH_GROUP(w->n, CALL)
#undef CALL
            continue;
        }
        if (l->v_in_k) turn_keys(as, w->wide, piece, l, d, lo, hi);
        for (int t = lo; t <= hi && !l->v_in_k; t++) {
            for (int i = 0; d == 0 && i < lines; i++) __builtin_prefetch(next + 64 * (t * lines + i));
            for (int j = 0; j < 2; j++)
                vf_store(w->wide + t * 2 * V_LANES + V_LANES * j,
                         load_form(as, v, (size_t)t, (size_t)l->v_pad, (size_t)(d + V_LANES * j)));
        }
        for (int i = 0; i < w->groups; i++) {
            const int q0 = w->at[i], g = w->at[i + 1] - q0;
            float *acc = w->acc + (size_t)q0 * (size_t)l->v_pad + d;
#define CALL(G)                                                                                              \
    value_block(G, AS_F32, acc, l->v_pad, (const unsigned char *)w->wide, 2 * V_LANES, 0, p + q0, w->f + q0, \
                lo, hi, NULL, 0)
            WITH_GROUP(g, CALL)
#undef CALL
        }
    }
}

/* Scores times the scale, tokens outside [lo, hi] to -infinity; the largest of these and of max. */
INLINE float mask_scores(float *s, int lo, int hi, float scale, float max)
{
    vf v[VECTORS];
    for (int j = 0; j < VECTORS; j++) v[j] = vf_mul(vf_load(s + V_LANES * j), vf_set1(scale));
    for (int j = 0; j < VECTORS; j++) vf_store(s + V_LANES * j, v[j]);
    if (lo > 0 || hi < KV_PAGE - 1) {
        for (int k = 0; k < KV_PAGE; k++) s[k] = k < lo || k > hi ? -INFINITY : s[k];
        for (int j = 0; j < VECTORS; j++) v[j] = vf_load(s + V_LANES * j);
    }
    vf top = v[0];
    for (int j = 1; j < VECTORS; j++) top = vf_max(top, v[j]);
    const float t = vf_top(top);
    return t > max ? t : max;
}

/* Scores to weights; their sum, lanes t and t + 16, then halves. */
INLINE float soften(float *restrict s, float max)
{
    vf v[VECTORS];
    for (int k = 0; k < KV_PAGE; k++) s[k] = fmath_exp_low(s[k] - max);
    for (int j = 0; j < VECTORS; j++) v[j] = vf_load(s + V_LANES * j);
    for (int half = VECTORS / 2; half; half /= 2)
        for (int j = 0; j < half; j++) v[j] = vf_add(v[j], v[j + half]);
    return vf_sum(v[0]);
}

/* Scores to weights of n <= V_LANES queries that all see the whole page: what folds one query's vector to a value folds those of all. f:
 * what the results so far are multiplied by. Of max, sum and f all lanes are read and written. A function of its own, so that the
 * exponential's constants stay in registers. */
static __attribute__((noinline)) void soften_lot(float (*restrict s)[KV_PAGE], int n, float scale,
                                                 float *restrict max, float *restrict sum, float *restrict f)
{
    vf fold[V_LANES];
    for (int i = 0; i < V_LANES; i++) fold[i] = vf_zero();
    for (int i = 0; i < n; i++) {
        vf v[VECTORS];
        for (int j = 0; j < VECTORS; j++) {
            v[j] = vf_mul(vf_load(s[i] + V_LANES * j), vf_set1(scale));
            vf_store(s[i] + V_LANES * j, v[j]);
        }
        fold[i] = v[0];
        for (int j = 1; j < VECTORS; j++) fold[i] = vf_max(fold[i], v[j]);
    }
    const vf before = vf_load(max), top = vf_max(vf_tops(fold), before);
    vf_store(max, top);
    vf_store(f, vf_fma(vf_set1(-1.0f), top, before));
    for (int i = 0; i < V_LANES; i++) f[i] = fmath_exp_low(f[i]);
    for (int i = 0; i < n; i++) {
        vf v[VECTORS];
        for (int k = 0; k < KV_PAGE; k++) s[i][k] = fmath_exp_low(s[i][k] - max[i]);
        for (int j = 0; j < VECTORS; j++) v[j] = vf_load(s[i] + V_LANES * j);
        for (int half = VECTORS / 2; half; half /= 2)
            for (int j = 0; j < half; j++) v[j] = vf_add(v[j], v[j + half]);
        fold[i] = v[0];
    }
    vf_store(sum, vf_fma(vf_load(sum), vf_load(f), vf_sums(fold)));
}

/* The same of a tile's queries that see tokens [lo, hi] of the page: none where lo > hi. */
INLINE void soften_seen(struct walk *w, const struct paged_tile *t, int32_t page, float *max, float *sum,
                        int *page_lo, int *page_hi)
{
    bool sees[PAGED_QUERIES];
    const int whole = (t->n + 7) / 8 * 8; /* vectors without an end */
    for (int i = 0; i < whole; i++) w->f[i] = 0.0f;
    for (int i = 0; i < t->n; i++) {
        int lo = t->first[i] - page * KV_PAGE, hi = t->last[i] - page * KV_PAGE;
        if (lo < 0) lo = 0;
        if (hi > KV_PAGE - 1) hi = KV_PAGE - 1;
        sees[i] = lo <= hi;
        if (!sees[i]) { /* nothing here: as if the page were not there */
            memset(w->s[i], 0, sizeof w->s[i]);
            continue;
        }
        const float top = mask_scores(w->s[i], lo, hi, t->scale, max[i]);
        w->f[i] = max[i] - top;
        max[i] = top;
        if (lo < *page_lo) *page_lo = lo;
        if (hi > *page_hi) *page_hi = hi;
    }
    for (int i = 0; i < whole; i++) w->f[i] = fmath_exp_low(w->f[i]);
    for (int i = 0; i < t->n; i++)
        if (sees[i]) sum[i] = fmaf(sum[i], w->f[i], soften(w->s[i], max[i]));
}

#include "device/cpu/paged_many.h"

INLINE void attend_type(const enum kv_type type, const struct paged_tile *t)
{
    const struct paged_layout *l = t->layout;
    struct walk w; /* set piece by piece: a lone query has no use for most of it */
    w.l = l;
    w.n = t->n;
    w.groups = (t->n + V_GROUP - 1) / V_GROUP;
    w.acc = t->acc;
    float max[PAGED_QUERIES], sum[PAGED_QUERIES];
    int32_t first = t->first[0], last = t->last[0];
    int32_t all_from = first, all_to = last; /* what every query sees */
    for (int i = 0; i < PAGED_QUERIES; i++) max[i] = sum[i] = 0.0f;
    for (int i = 0; i < t->n; i++) {
        max[i] = t->sink[i];
        sum[i] = max[i] > -INFINITY ? 1.0f : 0.0f;
        first = t->first[i] < first ? t->first[i] : first;
        last = t->last[i] > last ? t->last[i] : last;
        all_from = t->first[i] > all_from ? t->first[i] : all_from;
        all_to = t->last[i] < all_to ? t->last[i] : all_to;
    }
    memset(t->acc, 0, (size_t)t->n * (size_t)l->v_pad * sizeof *t->acc);
    float *q = t->acc + (size_t)t->n * (size_t)l->v_pad;
    w.q = q;
    for (int g = 0; g <= w.groups; g++) w.at[g] = t->n * g / w.groups;
    for (int g = 0; g < w.groups; g++) {
        for (int d = 0; d < l->k_dim; d++)
            for (int i = w.at[g]; i < w.at[g + 1]; i++) *q++ = t->q[i][d];
    }
    for (int32_t page = first / KV_PAGE; page <= last / KV_PAGE; page++) {
        const unsigned char *piece = paged_piece(t->kv, l, t->page[page], t->kv_head);
        int page_lo = KV_PAGE, page_hi = -1; /* tokens that any query sees */
        scores(type, &w, piece);
        const bool whole = all_from <= page * KV_PAGE && page * KV_PAGE + KV_PAGE - 1 <= all_to;
        if (whole && 2 * t->n >= V_LANES) {
            page_lo = 0;
            page_hi = KV_PAGE - 1;
            for (int i = 0; i < t->n; i += V_LANES)
                soften_lot(w.s + i, t->n - i < V_LANES ? t->n - i : V_LANES, t->scale, max + i, sum + i,
                           w.f + i);
        } else {
            soften_seen(&w, t, page, max, sum, &page_lo, &page_hi);
        }
        const unsigned char *next =
            page < last / KV_PAGE ? paged_piece(t->kv, l, t->page[page + 1], t->kv_head) : piece;
        values(type, &w, piece, next, page_lo, page_hi);
    }
    for (int i = 0; i < t->n; i++) {
        float inv = 1.0f / sum[i], *restrict out = t->out[i];
        const float *restrict acc = t->acc + (size_t)i * (size_t)l->v_pad;
        for (int d = 0; d < l->v_dim; d++) out[d] = acc[d] * inv;
    }
}

static void attend_f16(const struct paged_tile *t) { attend_type(KV_F16, t); }
static void attend_q8(const struct paged_tile *t) { attend_type(KV_Q8_0, t); }
static void attend_many_f16(const struct paged_tile *t) { attend_many(KV_F16, t); }
static void attend_many_q8(const struct paged_tile *t) { attend_many(KV_Q8_0, t); }

/* Do queries fill registers? A few lanes without one cost less than turning the keys over. */
static bool are_many(const struct paged_tile *t)
{
    const int lanes = (t->n + V_LANES - 1) / V_LANES * V_LANES;
    return t->layout->v_in_k && t->n > V_GROUP && t->n * 4 >= lanes * 3;
}

static void attend(const struct paged_tile *t)
{
    const bool f16 = t->kv->type == KV_F16;
    if (are_many(t))
        (f16 ? attend_many_f16 : attend_many_q8)(t);
    else
        (f16 ? attend_f16 : attend_q8)(t);
}

static void rope(const struct rope_args *a, int64_t r0, int64_t r1, float *table)
{
    rope_rows(a, r0, r1, table);
}

#endif
