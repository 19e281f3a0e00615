/* rows_512.h - rows of activations with AVX-512: exponentials, softmax, and packing. Static; included once by each AVX-512
 * file of the float kernels, after to_bf16() (see gemm_512.h). */
#ifndef HEARTH_DEVICE_CPU_ROWS_512_H
#define HEARTH_DEVICE_CPU_ROWS_512_H

/* The lower four terms of Taylor's polynomial of 2^r, below p of the fifth and higher ones. */
INLINE __m512 exp2_low(__m512 p, __m512 r)
{
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55041087e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40226507e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93147181e-1f));
    return _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
}

/* 2^r for |r| <= 1/2 times 2^n: Taylor's polynomial, within 3e-6; 0 where u = r + n < -126. For u <= 0. */
INLINE __m512 exp2_16(__m512 u)
{
    const __m512 n = _mm512_roundscale_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 r = _mm512_sub_ps(u, n);
    __m512 p = _mm512_set1_ps(1.33335581e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.61812911e-3f));
    p = exp2_low(p, r);
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(u, _mm512_set1_ps(-126.0f), _CMP_GE_OQ), p, n);
}

/* e^x as in fmath_exp(), for |x| <= 87; NaN stays NaN. */
INLINE __m512 exp_16(__m512 x)
{
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    __m512 p = _mm512_set1_ps(1.98756912e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.39819995e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.33345205e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16657962e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66666657e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.00000000e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* x / (1 + e^-x) to 13 bits, for what is rounded to bf16 next; the ends need no care: 1 / (1 + inf) is 0. */
INLINE __m512 silu_16(__m512 x)
{
    const __m512 u = _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f));
    const __m512 n = _mm512_roundscale_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 r = _mm512_sub_ps(u, n);
    __m512 p = _mm512_set1_ps(9.61812911e-3f);
    p = exp2_low(p, r);
    return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_scalef_ps(p, n))));
}

INLINE __m512 map_16(const float *x, int64_t i, __mmask16 m, const struct row_map *map)
{
    __m512 v = _mm512_maskz_loadu_ps(m, x + i);
    if (map && map->mul) {
        v = _mm512_mul_ps(_mm512_mul_ps(v, _mm512_set1_ps(map->inv)), _mm512_maskz_loadu_ps(m, map->mul + i));
        if (map->add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, map->add + i));
    }
    return map && map->silu ? silu_16(v) : v; /* zeros stay zero */
}

/* 32 floats that will be read after the next 4 KB: rows come from memory, and the processor does not look past a page by itself. */
INLINE void fetch_row(const float *x)
{
    _mm_prefetch((const char *)x + 4096, _MM_HINT_T0);
    _mm_prefetch((const char *)x + 4096 + 64, _MM_HINT_T0);
}

static void pack_row_bf16(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                          const struct row_map *map)
{
    for (int64_t i = 0; i < n; i += 32, dst += step) {
        const uint32_t m = n - i >= 32 ? 0xffffffffu : (1u << (n - i)) - 1;
        fetch_row(x + i);
        const __m512 lo = map_16(x, i, (__mmask16)m, map), hi = map_16(x, i + 16, (__mmask16)(m >> 16), map);
        _mm512_storeu_si512(dst, to_bf16(lo, hi));
    }
}

/* One row of scores in n_vec registers (n_vec is a constant where this is inlined); lanes of m[] are keys to be seen. */
INLINE void softmax_row(const struct softmax_rows *s, int r, unsigned char *dst, const __mmask16 m[8],
                        const int n_vec)
{
    const float *x = s->score + r * s->ld;
    const __m512 scale = _mm512_set1_ps(s->scale), none = _mm512_set1_ps(-INFINITY);
    __m512 v[8], top = none, sum = _mm512_setzero_ps();
    for (int i = 0; i < n_vec; i++) v[i] = _mm512_mask_mul_ps(none, m[i], _mm512_loadu_ps(x + i * 16), scale);
    if (s->bias)
        for (int i = 0; i < n_vec; i++)
            v[i] = _mm512_add_ps(v[i], _mm512_maskz_loadu_ps(m[i], s->bias + r * s->ld_bias + i * 16));
    for (int i = 0; i < n_vec; i++) top = _mm512_max_ps(top, v[i]);
    const float block = _mm512_reduce_max_ps(top), max = block > s->max[r] ? block : s->max[r];
    if (max == -INFINITY) { /* every key so far is masked */
        s->shrink[r] = 1.0f;
        for (int i = 0; i < n_vec; i += 2)
            _mm512_storeu_si512(dst + i / 2 * TILE_BYTES, _mm512_setzero_si512());
        return;
    }
    s->shrink[r] = s->max[r] == max ? 1.0f : fmath_exp(s->max[r] - max);
    s->max[r] = max;
    top = _mm512_set1_ps(max);
    for (int i = 0; i < n_vec; i++) {
        v[i] = exp2_16(_mm512_mul_ps(_mm512_sub_ps(v[i], top), _mm512_set1_ps(1.44269504f)));
        sum = _mm512_add_ps(sum, v[i]);
    }
    for (int i = 0; i < n_vec; i += 2) _mm512_storeu_si512(dst + i / 2 * TILE_BYTES, to_bf16(v[i], v[i + 1]));
    s->sum[r] = s->sum[r] * s->shrink[r] + _mm512_reduce_add_ps(sum);
}

static void softmax_bf16(const struct softmax_rows *s, unsigned char *p, ptrdiff_t p_group)
{
    __mmask16 m[8] = { 0 };
    for (int r = 0; r < s->n; r++) {
        const int64_t seen = s->causal_limit + r + 1;
        const int n = seen < 0 ? 0 : seen < s->n_keys ? (int)seen : s->n_keys;
        if (r == 0 || n < s->n_keys || s->causal_limit + r < s->n_keys)
            for (int i = 0; i < 8; i++)
                m[i] = n >= i * 16 + 16 ? 0xffff : n > i * 16 ? (__mmask16)((1u << (n - i * 16)) - 1) : 0;
        unsigned char *dst = p + r / 16 * p_group + r % 16 * TILE_ROW_BYTES;
        switch (s->n_padded / 32) {
        case 1: softmax_row(s, r, dst, m, 2); break;
        case 2: softmax_row(s, r, dst, m, 4); break;
        case 3: softmax_row(s, r, dst, m, 6); break;
        default: softmax_row(s, r, dst, m, 8); break;
        }
    }
}

/* Past the caches: a picture larger than they are would only be read into them to be overwritten. The locked instruction
 * with which the pool ends a job orders these stores for the other threads. */
static void store_far(float *y, const float *v, const float *bias, int n)
{
    int i = 0;
    for (; i < n && ((uintptr_t)(y + i) & 63); i++) y[i] = v[i] + bias[i];
    for (; i + 16 <= n; i += 16)
        _mm512_stream_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(v + i), _mm512_loadu_ps(bias + i)));
    for (; i < n; i++) y[i] = v[i] + bias[i];
}

#define FLOAT_512_ROWS .store_far = store_far, .pack_row_bf16 = pack_row_bf16, .softmax_bf16 = softmax_bf16

#endif
