/* paged_many.h - attention of many queries over pages whose values are the beginning of their keys, a part of paged_body.h: the queries
 * are the lanes.
 *
 * Scores [token][query] and results [channel][query] are made by one product, of a page's keys (each element of which goes to all lanes;
 * widened to f32 block by block in the first cache) and of a matrix with a row of queries for each channel, or each token. The keys
 * need not be turned over to serve as values, which took a fifth of the time, and a softmax over tokens is vertical. Where values
 * stand apart, the other form is as fast. The sums and their order are those of paged_plain.c for each lane. */
#ifndef HEARTH_DEVICE_CPU_PAGED_MANY_H
#define HEARTH_DEVICE_CPU_PAGED_MANY_H

#define MANY_ROWS                                                                                            \
    (V_LANES == 8 ? 4 : 8) /* with three registers of queries each, their sums fit the register file */
#define MANY_REGS 3
#define MANY_DEEP 64 /* channels of keys that are widened at once */

struct many {
    const struct paged_layout *l;
    int ld;                                        /* queries, up to whole registers */
    const float *q;                                /* [k_dim][ld] */
    float *acc;                                    /* [v_pad][ld] */
    _Alignas(64) float s[KV_PAGE * PAGED_QUERIES]; /* [token][ld] scores, then weights */
    float ps[KV_PAGE * PAGED_QUERIES];             /* q8_0: weights times the scales of a block of values */
    float f[PAGED_QUERIES], max[PAGED_QUERIES], sum[PAGED_QUERIES];
    float wide[MANY_DEEP * KV_PAGE];
};

/* out[r][c] for MANY_ROWS rows r and C registers c: the sum over i < n of a[i * step + r * row] x[i][c], on top of what is there times
 * f (keep; f NULL: as it is), or from 0. scale: it is one for each row, and the sum is multiplied by it and then added. */
INLINE void many_block(const int C, float *restrict out, int ld, const float *restrict a, const int step,
                       const int row, const float *restrict x, int n, const bool keep,
                       const float *restrict f, const float *restrict scale)
{
    vf sum[MANY_ROWS][MANY_REGS];
    for (int r = 0; r < MANY_ROWS; r++)
        for (int c = 0; c < C; c++) {
            sum[r][c] = keep && !scale ? vf_load(out + r * ld + V_LANES * c) : vf_zero();
            if (f) sum[r][c] = vf_mul(sum[r][c], vf_load(f + V_LANES * c));
        }
    for (int i = 0; i < n; i++, a += step, x += ld) {
        vf v[MANY_REGS];
        for (int c = 0; c < C; c++) v[c] = vf_load(x + V_LANES * c);
        for (int r = 0; r < MANY_ROWS; r++) {
            const vf w = vf_set1(a[r * row]);
            for (int c = 0; c < C; c++) sum[r][c] = vf_fma(w, v[c], sum[r][c]);
        }
    }
    for (int r = 0; r < MANY_ROWS; r++)
        for (int c = 0; c < C; c++) {
            float *to = out + r * ld + V_LANES * c;
            if (scale) sum[r][c] = vf_fma(sum[r][c], vf_set1(scale[r]), keep ? vf_load(to) : vf_zero());
            vf_store(to, sum[r][c]);
        }
}

/* `rows` of out, a multiple of MANY_ROWS, for all queries. */
INLINE void many_product(float *out, int ld, int rows, const float *a, const int step, const int row,
                         const float *x, int n, const bool keep, const float *f, const float *scale)
{
    for (int c = 0; c < ld;) {
        const int left = (ld - c) / V_LANES;
        const int regs = left <= MANY_REGS ? left : left == MANY_REGS + 1 ? 2 : MANY_REGS;
        for (int r = 0; r < rows; r += MANY_ROWS) {
#define CALL(C)                                                                                              \
    many_block(C, out + r * ld + c, ld, a + r * row, step, row, x + c, n, keep, f ? f + c : NULL,            \
               scale ? scale + r : NULL)
            switch (regs) {
            case 1: CALL(1); break;
            case 2: CALL(2); break;
            default: CALL(3); break;
            }
#undef CALL
        }
        c += regs * V_LANES;
    }
}

/* Channels [d, d + n) of a page's keys as f32. */
INLINE void many_widen(const enum form as, float *wide, const unsigned char *piece, int d, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < VECTORS; j++)
            vf_store(wide + i * KV_PAGE + V_LANES * j,
                     load_form(as, piece, (size_t)(d + i), KV_PAGE, (size_t)(V_LANES * j)));
}

INLINE void many_scores(const enum kv_type type, struct many *w, const unsigned char *piece)
{
    const struct paged_layout *l = w->l;
    const enum form as = type == KV_F16 ? AS_F16 : AS_I8;
    const int deep = type == KV_F16 ? MANY_DEEP : 32; /* q8_0: so many share a scale */
    for (int d = 0; d < l->k_dim; d += deep) {
        const int n = l->k_dim - d < deep ? l->k_dim - d : deep;
        const float *q = w->q + (size_t)d * (size_t)w->ld;
        float scale[KV_PAGE];
        many_widen(as, w->wide, piece, d, n);
        if (type == KV_Q8_0)
            for (int j = 0; j < VECTORS; j++)
                vf_store(
                    scale + V_LANES * j,
                    vf_half(piece + l->k_scales + 2 * ((size_t)d / 32 * KV_PAGE + (size_t)(V_LANES * j))));
        many_product(w->s, w->ld, KV_PAGE, w->wide, KV_PAGE, 1, q, n, d > 0, NULL,
                     type == KV_Q8_0 ? scale : NULL);
    }
}

/* Tokens [lo, hi] alone have weights. */
INLINE void many_values(const enum kv_type type, struct many *w, const unsigned char *piece, int lo, int hi)
{
    const struct paged_layout *l = w->l;
    const enum form as = type == KV_F16 ? AS_F16 : AS_I8;
    for (int d = 0; d < l->v_pad; d += 32) {
        float *acc = w->acc + (size_t)d * (size_t)w->ld;
        const float *p = w->s;
        if (type == KV_Q8_0) {
            for (int t = lo; t <= hi; t++) {
                uint16_t bits;
                memcpy(&bits, piece + l->k_scales + ((size_t)(d / 32) * KV_PAGE + (size_t)t) * 2, 2);
                const vf scale = vf_set1(half_value(bits));
                for (int c = 0; c < w->ld; c += V_LANES)
                    vf_store(w->ps + t * w->ld + c, vf_mul(vf_load(w->s + t * w->ld + c), scale));
            }
            p = w->ps;
        }
        const int n = l->v_dim - d < 32 ? l->v_dim - d : 32;
        many_widen(as, w->wide, piece, d, n);
        memset(w->wide + n * KV_PAGE, 0, (size_t)((32 - n) * KV_PAGE) * sizeof *w->wide);
        many_product(acc, w->ld, 32, w->wide + lo, 1, KV_PAGE, p + lo * w->ld, hi - lo + 1, true, w->f, NULL);
    }
}

/* Scores to weights; w->f becomes what the results so far are multiplied by. Tokens that a query does not see are -infinity. */
INLINE void many_soften(struct many *w, float scale)
{
    for (int c = 0; c < w->ld; c += V_LANES) {
        float *s = w->s + c;
        vf top = vf_load(w->max + c);
        for (int t = 0; t < KV_PAGE; t++) {
            const vf v = vf_mul(vf_load(s + t * w->ld), vf_set1(scale));
            vf_store(s + t * w->ld, v);
            top = vf_max(top, v);
        }
        float m[V_LANES], f[V_LANES];
        vf_store(m, top);
        for (int i = 0; i < V_LANES; i++) {
            const bool none = m[i] == -INFINITY; /* not a token seen yet */
            f[i] = none ? 0.0f : w->max[c + i] - m[i];
            w->max[c + i] = m[i];
            m[i] = none ? 0.0f : m[i];
        }
        for (int i = 0; i < V_LANES; i++) w->f[c + i] = fmath_exp_low(f[i]);
        for (int t = 0; t < KV_PAGE; t++)
            for (int i = 0; i < V_LANES; i++) s[t * w->ld + i] = fmath_exp_low(s[t * w->ld + i] - m[i]);
        vf v[KV_PAGE / 2];
        for (int t = 0; t < KV_PAGE / 2; t++)
            v[t] = vf_add(vf_load(s + t * w->ld), vf_load(s + (t + KV_PAGE / 2) * w->ld));
        for (int half = KV_PAGE / 4; half; half /= 2)
            for (int t = 0; t < half; t++) v[t] = vf_add(v[t], v[t + half]);
        vf_store(w->sum + c, vf_fma(vf_load(w->sum + c), vf_load(w->f + c), v[0]));
    }
}

INLINE void attend_many(const enum kv_type type, const struct paged_tile *t)
{
    const struct paged_layout *l = t->layout;
    struct many w;
    w.l = l;
    w.ld = (t->n + V_LANES - 1) / V_LANES * V_LANES;
    w.acc = t->acc;
    float *q = t->acc + (size_t)w.ld * (size_t)l->v_pad;
    w.q = q;
    int32_t first = t->first[0], last = t->last[0];
    for (int i = 0; i < w.ld; i++) {
        w.max[i] = i < t->n ? t->sink[i] : 0.0f;
        w.sum[i] = i < t->n && t->sink[i] > -INFINITY ? 1.0f : 0.0f;
    }
    for (int i = 0; i < t->n; i++) {
        first = t->first[i] < first ? t->first[i] : first;
        last = t->last[i] > last ? t->last[i] : last;
    }
    memset(t->acc, 0, (size_t)w.ld * (size_t)(l->v_pad + l->k_dim) * sizeof *t->acc);
    enum { TURN = 64 }; /* channels that are turned over at once, within the first cache */
    for (int d0 = 0; d0 < l->k_dim; d0 += TURN)
        for (int i = 0; i < t->n; i++)
            for (int d = d0; d < d0 + TURN && d < l->k_dim; d++) q[d * w.ld + i] = t->q[i][d];
    for (int32_t page = first / KV_PAGE; page <= last / KV_PAGE; page++) {
        const unsigned char *piece = paged_piece(t->kv, l, t->page[page], t->kv_head);
        int page_lo = KV_PAGE, page_hi = -1; /* tokens that any query sees */
        many_scores(type, &w, piece);
        /* Before the scale, which is positive, as it would be after it. */
        for (int i = 0; i < t->n; i++) {
            int lo = t->first[i] - page * KV_PAGE, hi = t->last[i] - page * KV_PAGE;
            if (lo < 0) lo = 0;
            if (hi > KV_PAGE - 1) hi = KV_PAGE - 1;
            for (int k = 0; k < KV_PAGE && (lo > 0 || hi < KV_PAGE - 1); k++)
                if (k < lo || k > hi) w.s[k * w.ld + i] = -INFINITY;
            if (lo > hi) continue;
            if (lo < page_lo) page_lo = lo;
            if (hi > page_hi) page_hi = hi;
        }
        many_soften(&w, t->scale);
        many_values(type, &w, piece, page_lo, page_hi);
    }
    for (int d0 = 0; d0 < l->v_dim; d0 += TURN)
        for (int i = 0; i < t->n; i++) {
            const float inv = 1.0f / w.sum[i];
            for (int d = d0; d < d0 + TURN && d < l->v_dim; d++) t->out[i][d] = w.acc[d * w.ld + i] * inv;
        }
}

#endif
