/* float_body.h - the float kernels that compilers turn into vectors by themselves. Included once by each file that
 * defines a table, so that the same text is compiled for each instruction set; static, and nothing else included. */
#ifndef HEARTH_DEVICE_CPU_FLOAT_BODY_H
#define HEARTH_DEVICE_CPU_FLOAT_BODY_H

#include "device/cpu/epilogue.h"
#include "device/cpu/float_kern.h"

#define KB_BF16 32 /* values of k in a k block */
#define KB_F32 16

/* Rounds to nearest even; a NaN stays one. Like f32_to_bf16(), without a branch. */
static inline uint16_t body_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    const uint32_t r = (u + 0x7fffu + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : r);
}

/* Maps up to 32 values into v. */
static inline void body_map(float *restrict v, const float *restrict x, int64_t i0, int n,
                            const struct row_map *map)
{
    if (!map || !map->mul) {
        for (int i = 0; i < n; i++) v[i] = x[i];
    } else {
        const float *mul = map->mul + i0, inv = map->inv;
        if (map->add) {
            const float *add = map->add + i0;
            for (int i = 0; i < n; i++) v[i] = x[i] * inv * mul[i] + add[i];
        } else {
            for (int i = 0; i < n; i++) v[i] = x[i] * inv * mul[i];
        }
    }
    if (map && map->silu)
        for (int i = 0; i < n; i++) v[i] = fmath_silu(v[i]);
}

static inline void body_pack_row_bf16(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                                      const struct row_map *map)
{
    for (int64_t i = 0; i < n; i += KB_BF16, dst += step) {
        const int len = n - i < KB_BF16 ? (int)(n - i) : KB_BF16;
        float v[KB_BF16] = { 0 };
        uint16_t h[KB_BF16];
        if (len == KB_BF16)
            body_map(v, x + i, i, KB_BF16, map);
        else
            body_map(v, x + i, i, len, map);
        for (int l = 0; l < KB_BF16; l++) h[l] = body_bf16(v[l]);
        memcpy(dst, h, sizeof h);
    }
}

static inline void body_pack_row_f32(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                                     const struct row_map *map)
{
    for (int64_t i = 0; i < n; i += KB_F32, dst += step) {
        const int len = n - i < KB_F32 ? (int)(n - i) : KB_F32;
        float v[KB_F32] = { 0 };
        body_map(v, x + i, i, len, map);
        memcpy(dst, v, sizeof v);
    }
}

/* Without a branch, and without denormal floats on the way, which cost a hundred cycles each. */
static inline float body_e4m3(uint8_t v)
{
    const uint32_t mag = v & 0x7fu, sign = (uint32_t)(v & 0x80u) << 24;
    uint32_t u = (mag << 20) + (120u << 23), small;
    const float f = (float)(int32_t)mag * 0x1p-9f;
    memcpy(&small, &f, sizeof small);
    u = mag < 8 ? small : u;
    u = mag == 0x7f ? 0x7fc00000u : u;
    return fmath_bits(u | sign);
}

/* Up to 32 values of one row as f32. */
static inline void body_load(float v[KB_BF16], const unsigned char *row, enum dtype type, int64_t i, int n)
{
    if (type == DT_F32) {
        memcpy(v, row + i * 4, (size_t)n * 4);
    } else if (type == DT_BF16) {
        uint16_t h[KB_BF16];
        memcpy(h, row + i * 2, (size_t)n * 2);
        for (int l = 0; l < n; l++) v[l] = bf16_to_f32(h[l]);
    } else if (type == DT_F8_E4M3) {
        for (int l = 0; l < n; l++) v[l] = body_e4m3(row[i + l]);
    } else {
        dequant_row(type, row + (size_t)i * (type == DT_F16 ? 2 : 1), v, n);
    }
}

static inline void body_pack_panel_bf16(unsigned char *dst, const unsigned char *const row[16],
                                        enum dtype type, int64_t n)
{
    for (int64_t i = 0; i < n; i += KB_BF16, dst += TILE_BYTES) {
        const int len = n - i < KB_BF16 ? (int)(n - i) : KB_BF16;
        uint16_t h[16][KB_BF16];
        for (int c = 0; c < 16; c++) {
            float v[KB_BF16] = { 0 };
            body_load(v, row[c], type, i, len);
            for (int l = 0; l < KB_BF16; l++) h[c][l] = body_bf16(v[l]);
        }
        for (int k = 0; k < KB_BF16 / 2; k++)
            for (int c = 0; c < 16; c++) memcpy(dst + (k * 16 + c) * 4, &h[c][2 * k], 4);
    }
}

static inline void body_pack_panel_f32(unsigned char *dst, const unsigned char *const row[16],
                                       enum dtype type, int64_t n)
{
    for (int64_t i = 0; i < n; i += KB_F32, dst += TILE_BYTES) {
        const int len = n - i < KB_F32 ? (int)(n - i) : KB_F32;
        for (int c = 0; c < 16; c++) {
            float v[KB_BF16] = { 0 };
            body_load(v, row[c], type, i, len);
            for (int l = 0; l < KB_F32; l++) memcpy(dst + (l * 16 + c) * 4, &v[l], sizeof *v);
        }
    }
}

static inline void body_pack_panel_f16(unsigned char *dst, const unsigned char *const row[16],
                                       enum dtype type, int64_t n)
{
    for (int64_t i = 0; i < n; i += KB_F32, dst += TILE_BYTES / 2) {
        const int len = n - i < KB_F32 ? (int)(n - i) : KB_F32;
        uint16_t h[KB_F32][16] = { 0 };
        for (int c = 0; c < 16; c++)
            for (int l = 0; l < len; l++) {
                float f;
                if (type == DT_F16) {
                    memcpy(&h[l][c], row[c] + (i + l) * 2, sizeof **h);
                } else {
                    memcpy(&f, row[c] + (i + l) * 4, sizeof f);
                    h[l][c] = f32_to_f16(f);
                }
            }
        memcpy(dst, h, sizeof h);
    }
}

/* Without a branch, as body_e4m3(). */
static inline float body_f16(uint16_t h)
{
    const uint32_t mag = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t u = (mag << 13) + (112u << 23), small;
    const float f = (float)(int32_t)mag * 0x1p-24f;
    memcpy(&small, &f, sizeof small);
    u = mag < 0x400 ? small : u;
    u = mag >= 0x7c00 ? (mag << 13) | 0x7f800000u : u;
    return fmath_bits(u | sign);
}

static inline void body_pack_b_bf16(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k,
                                    int n)
{
    const int nk_padded = (n_k + KB_BF16 - 1) / KB_BF16 * KB_BF16;
    for (int j = 0; j < n; j += 16, dst += b_panel) {
        const int cols = n - j < 16 ? n - j : 16;
        for (int k = 0; k < nk_padded; k += 2) {
            uint16_t h[32] = { 0 };
            if (k + 1 < n_k && cols == 16) {
                for (int c = 0; c < 16; c++) {
                    h[2 * c] = body_bf16(x[k * ldx + j + c]);
                    h[2 * c + 1] = body_bf16(x[(k + 1) * ldx + j + c]);
                }
            } else {
                for (int c = 0; c < cols; c++) {
                    if (k < n_k) h[2 * c] = body_bf16(x[k * ldx + j + c]);
                    if (k + 1 < n_k) h[2 * c + 1] = body_bf16(x[(k + 1) * ldx + j + c]);
                }
            }
            memcpy(dst + k / 2 * 64, h, sizeof h);
        }
    }
}

static inline void body_pack_b_f32(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k,
                                   int n)
{
    const int nk_padded = (n_k + KB_F32 - 1) / KB_F32 * KB_F32;
    for (int j = 0; j < n; j += 16, dst += b_panel) {
        const int cols = n - j < 16 ? n - j : 16;
        for (int k = 0; k < nk_padded; k++) {
            float v[16] = { 0 };
            if (k < n_k) memcpy(v, x + k * ldx + j, (size_t)cols * sizeof *v);
            memcpy(dst + k * 64, v, sizeof v);
        }
    }
}

/* The largest and the sum go through 16 lanes, so that the order is that of vector registers. */
static inline float body_max(const float *restrict x, int n)
{
    float m[16];
    for (int l = 0; l < 16; l++) m[l] = -INFINITY;
    int i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (int l = 0; i + l < n; l++) m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) m[l] = m[l + half] > m[l] ? m[l + half] : m[l];
    return m[0];
}

static inline float body_fold(float acc[16])
{
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) acc[l] += acc[l + half];
    return acc[0];
}

/* The probabilities of query r of the block, not yet divided by the sum, back into its scores. */
static inline void body_softmax_row(const struct softmax_rows *s, int r)
{
    float *restrict x = s->score + r * s->ld;
    const int64_t seen = s->causal_limit + r + 1;
    const int n = seen < 0 ? 0 : seen < s->n_keys ? (int)seen : s->n_keys;
    const float scale = s->scale;
    if (s->bias) {
        const float *restrict b = s->bias + r * s->ld_bias;
        for (int i = 0; i < n; i++) x[i] = x[i] * scale + b[i];
    } else {
        for (int i = 0; i < n; i++) x[i] *= scale;
    }
    const float block = body_max(x, n), max = block > s->max[r] ? block : s->max[r];
    for (int i = n; i < s->n_padded; i++) x[i] = 0.0f;
    if (max == -INFINITY) { /* every key so far is masked */
        for (int i = 0; i < n; i++) x[i] = 0.0f;
        s->shrink[r] = 1.0f;
        return;
    }
    s->shrink[r] = s->max[r] == max ? 1.0f : fmath_exp(s->max[r] - max);
    s->max[r] = max;
    for (int i = 0; i < n; i++) x[i] = fmath_exp(x[i] - max);
    float acc[16] = { 0 };
    for (int i = 0; i + 16 <= s->n_padded; i += 16) /* a multiple of a k block */
        for (int l = 0; l < 16; l++) acc[l] += x[i + l];
    s->sum[r] = s->sum[r] * s->shrink[r] + body_fold(acc);
}

static inline void body_softmax_bf16(const struct softmax_rows *s, unsigned char *p, ptrdiff_t p_group)
{
    for (int r = 0; r < s->n; r++) {
        body_softmax_row(s, r);
        const float *x = s->score + r * s->ld;
        unsigned char *dst = p + r / 16 * p_group + r % 16 * TILE_ROW_BYTES;
        for (int i = 0; i < s->n_padded; i += KB_BF16, dst += TILE_BYTES) {
            uint16_t h[KB_BF16];
            for (int l = 0; l < KB_BF16; l++) h[l] = body_bf16(x[i + l]);
            memcpy(dst, h, sizeof h);
        }
    }
}

static inline void body_softmax_f32(const struct softmax_rows *s, unsigned char *p, ptrdiff_t p_group)
{
    for (int r = 0; r < s->n; r++) {
        body_softmax_row(s, r);
        const float *x = s->score + r * s->ld;
        unsigned char *dst = p + r / 16 * p_group + r % 16 * 64;
        for (int i = 0; i < s->n_padded; i += KB_F32, dst += TILE_BYTES) memcpy(dst, x + i, 64);
    }
}

static inline void body_finish(enum epilogue epi, float *y, float *v, float *v2, const float *scale,
                               const float *scale2, const float *bias, const float *bias2, const float *gate,
                               int n)
{
    if (scale)
        for (int i = 0; i < n; i++) v[i] *= scale[i];
    if (scale2)
        for (int i = 0; i < n; i++) v2[i] *= scale2[i];
    epilogue_run(epi, y, v, v2, bias, bias2, gate, n);
}

static inline void body_add_scaled(float *sum, const float *part, const float *scale, int n, bool add)
{
    if (add)
        for (int i = 0; i < n; i++) sum[i] += part[i] * scale[i];
    else
        for (int i = 0; i < n; i++) sum[i] = part[i] * scale[i];
}

static inline void body_store_far(float *y, const float *v, const float *bias, int n)
{
    for (int i = 0; i < n; i++) y[i] = v[i] + bias[i];
}

static inline float body_rms_inv(const float *x, int64_t n, float eps) { return epilogue_rms_inv(x, n, eps); }

static inline void body_rmsnorm_row(float *y, const float *x, int64_t n, const float *w, float eps)
{
    const float inv = epilogue_rms_inv(x, n, eps);
    if (w)
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * inv * w[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * inv;
}

static inline void body_layernorm_row(float *y, const float *x, int64_t n, const float *w, const float *b,
                                      float eps, const float *scale, const float *shift)
{
    float acc[16] = { 0 };
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) acc[l] += x[i + l];
    for (int l = 0; i + l < n; l++) acc[l] += x[i + l];
    const float mean = body_fold(acc) / (float)n;
    float sq[16] = { 0 };
    for (i = 0; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) sq[l] += (x[i + l] - mean) * (x[i + l] - mean);
    for (int l = 0; i + l < n; l++) sq[l] += (x[i + l] - mean) * (x[i + l] - mean);
    const float inv = 1.0f / sqrtf(body_fold(sq) / (float)n + eps);
    for (i = 0; i < n; i++) y[i] = (x[i] - mean) * inv;
    if (w)
        for (i = 0; i < n; i++) y[i] *= w[i];
    if (b)
        for (i = 0; i < n; i++) y[i] += b[i];
    if (scale)
        for (i = 0; i < n; i++) y[i] *= 1.0f + scale[i];
    if (shift)
        for (i = 0; i < n; i++) y[i] += shift[i];
}

static inline void body_moments(double *s, double *q, float *tmp, const float *x, int64_t n, int c,
                                const float *x0)
{
    float *restrict fs = tmp, *restrict fq = tmp + c;
    for (int64_t p0 = 0; p0 < n; p0 += 64) {
        const int64_t end = p0 + 64 < n ? p0 + 64 : n;
        for (int i = 0; i < c; i++) fs[i] = fq[i] = 0.0f;
        for (int64_t p = p0; p < end; p++)
            for (int i = 0; i < c; i++) {
                const float v = x[p * c + i] - x0[i];
                fs[i] += v;
                fq[i] += v * v;
            }
        for (int i = 0; i < c; i++) {
            s[i] += (double)fs[i];
            q[i] += (double)fq[i];
        }
    }
}

static inline void body_rope_row(float *x, int n_head, int head_dim, const float *cos, const float *sin,
                                 const float *head_norm, float eps)
{
    for (int h = 0; h < n_head; h++, x += head_dim) {
        if (head_norm) {
            const float inv = epilogue_rms_inv(x, head_dim, eps);
            for (int i = 0; i < head_dim; i++) x[i] = x[i] * inv * head_norm[i];
        }
        for (int i = 0; i < head_dim / 2; i++) {
            const float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * cos[i] - b * sin[i];
            x[2 * i + 1] = a * sin[i] + b * cos[i];
        }
    }
}

static inline void body_silu(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = fmath_silu(x[i]);
}

static inline void body_add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static inline void body_axpby(float *y, const float *x, float a, float b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i] + b * y[i];
}

static inline void body_scale_shift(float *y, const float *x, int c, const float *scale, const float *shift,
                                    bool silu)
{
    if (silu)
        for (int i = 0; i < c; i++) y[i] = fmath_silu(x[i] * scale[i] + shift[i]);
    else
        for (int i = 0; i < c; i++) y[i] = x[i] * scale[i] + shift[i];
}

static inline void body_clamp(float *y, int64_t n, float max)
{
    for (int64_t i = 0; i < n; i++) y[i] = y[i] > max ? max : y[i];
}

static inline void body_scale_row(float *y, const float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * by;
}

static inline void body_depthwise(float *y, const float *const *x, const float *w, int n_tap, int c,
                                  const float *bias)
{
    for (int i0 = 0; i0 < c; i0 += 64) {
        const int n = c - i0 < 64 ? c - i0 : 64;
        float acc[64];
        for (int i = 0; i < n; i++) acc[i] = bias[i0 + i];
        for (int t = 0; t < n_tap; t++)
            if (x[t])
                for (int i = 0; i < n; i++) acc[i] += x[t][i0 + i] * w[(int64_t)t * c + i0 + i];
        for (int i = 0; i < n; i++) y[i0 + i] = acc[i];
    }
}

/* What every table takes from here; a file adds its name, its products and what it does better. */
#define FLOAT_BODY_TABLE                                                                                     \
    .pack_row_f32 = body_pack_row_f32, .pack_b_f32 = body_pack_b_f32, .softmax_f32 = body_softmax_f32,       \
    .finish = body_finish, .add_scaled = body_add_scaled, .rms_inv = body_rms_inv,                           \
    .rmsnorm_row = body_rmsnorm_row, .layernorm_row = body_layernorm_row, .moments = body_moments,           \
    .rope_row = body_rope_row, .silu = body_silu, .add = body_add, .axpby = body_axpby,                      \
    .scale_shift = body_scale_shift, .clamp = body_clamp, .scale_row = body_scale_row,                       \
    .depthwise = body_depthwise
#define FLOAT_BODY_PACKING                                                                                   \
    .store_far = body_store_far, .pack_row_bf16 = body_pack_row_bf16, .softmax_bf16 = body_softmax_bf16,     \
    .pack_panel_bf16 = body_pack_panel_bf16, .pack_panel_f32 = body_pack_panel_f32,                          \
    .pack_b_bf16 = body_pack_b_bf16, .pack_row_f16 = body_pack_row_f32,                                      \
    .pack_panel_f16 = body_pack_panel_f16

#endif
