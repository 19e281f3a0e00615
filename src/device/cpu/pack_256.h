/* pack_256.h - panels of weights (float_kern.h) with AVX2: rows become columns in registers, eight by eight. Static; included by
 * gemm_avx2.c, after immintrin.h. What is left of a row's last k block goes the way of plain C. */
#ifndef HEARTH_DEVICE_CPU_PACK_256_H
#define HEARTH_DEVICE_CPU_PACK_256_H

#include "device/cpu/float_body.h"

/* Dword j of v[i] becomes dword i of v[j]. */
static inline __attribute__((always_inline)) void transpose8(__m256i v[8])
{
    __m256i t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) v[i] = t[i];
}

/* As body_bf16(), in the upper halves of the dwords. */
static inline __attribute__((always_inline)) __m256i rounded_high(__m256 f)
{
    const __m256i u = _mm256_castps_si256(f);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    return _mm256_blendv_epi8(r, nan, _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q)));
}

/* 16 e4m3 values as bf16, exactly: the exponent's bias moves by 120; the subnormals come from a table. */
static inline __attribute__((always_inline)) __m256i e4m3_16(__m128i b)
{
    const __m256i w = _mm256_cvtepu8_epi16(b), mag = _mm256_and_si256(w, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(w, _mm256_set1_epi16(0x80)), 8);
    const __m256i small = _mm256_broadcastsi128_si256(
        _mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
    const __m256i bytes = _mm256_add_epi16(_mm256_mullo_epi16(mag, _mm256_set1_epi16(0x0202)),
                                           _mm256_set1_epi16(0x0100)); /* of the table, for mag < 8 */
    __m256i v = _mm256_add_epi16(_mm256_slli_epi16(mag, 4), _mm256_set1_epi16(0x3c00));
    v = _mm256_blendv_epi8(v, _mm256_shuffle_epi8(small, bytes),
                           _mm256_cmpgt_epi16(_mm256_set1_epi16(8), mag));
    v = _mm256_blendv_epi8(v, _mm256_set1_epi16(0x7fc0), _mm256_cmpeq_epi16(mag, _mm256_set1_epi16(0x7f)));
    return _mm256_or_si256(v, sign);
}

static inline __attribute__((always_inline)) __m256i rounded_16(__m256 lo, __m256 hi)
{
    return _mm256_permute4x64_epi64(
        _mm256_packus_epi32(_mm256_srli_epi32(rounded_high(lo), 16), _mm256_srli_epi32(rounded_high(hi), 16)),
        0xd8);
}

static inline __attribute__((always_inline)) __m256i halves_16(__m256i h)
{
    return rounded_16(_mm256_cvtph_ps(_mm256_castsi256_si128(h)),
                      _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)));
}

/* 16 values from p on as bf16. */
static inline __attribute__((always_inline)) __m256i bf16_16(const unsigned char *p, enum dtype type)
{
    const __m256i *v = (const __m256i *)(const void *)p;
    const __m128i *bytes = (const __m128i *)(const void *)p;
    const float *f = (const float *)(const void *)p;
    switch (type) {
    case DT_BF16: return _mm256_loadu_si256(v);
    case DT_F16: return halves_16(_mm256_loadu_si256(v));
    case DT_F8_E4M3: return e4m3_16(_mm_loadu_si128(bytes));
    case DT_F8_E5M2: /* the upper byte of a half */
        return halves_16(_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(bytes)), 8));
    default: return rounded_16(_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8));
    }
}

/* Dwords [8 * half, 8 * half + 8) of a k block's rows, as columns: out[dword][16 rows]. LOAD(p): eight of the row at p. */
#define PACK_HALF(DST, LOAD)                                                                                 \
    for (int side = 0; side < 2; side++) {                                                                   \
        __m256i v[8];                                                                                        \
        for (int r = 0; r < 8; r++) v[r] = LOAD(row[side * 8 + r]);                                          \
        transpose8(v);                                                                                       \
        for (int k = 0; k < 8; k++)                                                                          \
            _mm256_storeu_si256((__m256i *)(void *)((DST) + k * 64 + side * 32), v[k]);                      \
    }

static inline __attribute__((always_inline)) void bf16_panel(unsigned char *dst,
                                                             const unsigned char *const row[16],
                                                             const enum dtype type, const size_t elem,
                                                             int64_t n)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32, dst += TILE_BYTES)
        for (int half = 0; half < 2; half++) {
#define LOAD_BF16(p) bf16_16((p) + (size_t)(i + 16 * half) * elem, type)
            PACK_HALF(dst + half * 512, LOAD_BF16)
#undef LOAD_BF16
        }
    if (i == n) return;
    const unsigned char *rest[16];
    for (int c = 0; c < 16; c++) rest[c] = row[c] + (size_t)i * elem;
    body_pack_panel_bf16(dst, rest, type, n - i);
}

static void pack_panel_bf16(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                            int64_t n)
{
    switch (type) {
    case DT_BF16: bf16_panel(dst, row, DT_BF16, 2, n); return;
    case DT_F16: bf16_panel(dst, row, DT_F16, 2, n); return;
    case DT_F8_E4M3: bf16_panel(dst, row, DT_F8_E4M3, 1, n); return;
    case DT_F8_E5M2: bf16_panel(dst, row, DT_F8_E5M2, 1, n); return;
    default: bf16_panel(dst, row, DT_F32, 4, n); return;
    }
}

#define LOAD_DWORDS(p) _mm256_loadu_si256((const __m256i *)(const void *)((p) + at))

static void pack_panel_f32(unsigned char *dst, const unsigned char *const row[16], enum dtype type, int64_t n)
{
    int64_t i = 0;
    for (; type == DT_F32 && i + 16 <= n; i += 16, dst += TILE_BYTES)
        for (int half = 0; half < 2; half++) {
            const size_t at = (size_t)(i + 8 * half) * 4;
            PACK_HALF(dst + half * 512, LOAD_DWORDS)
        }
    if (i == n) return;
    const unsigned char *rest[16];
    for (int c = 0; c < 16; c++) rest[c] = row[c] + (size_t)i * 4;
    body_pack_panel_f32(dst, i ? rest : row, type, n - i);
}

/* Pairs of k come out of the transposition; their two halves are rows of the panel. */
static void pack_panel_f16(unsigned char *dst, const unsigned char *const row[16], enum dtype type, int64_t n)
{
    const __m256i apart =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    int64_t i = 0;
    for (; type == DT_F16 && i + 16 <= n; i += 16, dst += TILE_BYTES / 2) {
        const size_t at = (size_t)i * 2;
        unsigned char pairs[8 * 64];
        PACK_HALF(pairs, LOAD_DWORDS)
        for (int k = 0; k < 8; k++) {
            const __m256i *from = (const __m256i *)(const void *)(pairs + k * 64);
            const __m256i a =
                _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_loadu_si256(from), apart), 0xd8);
            const __m256i b =
                _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_loadu_si256(from + 1), apart), 0xd8);
            _mm256_storeu_si256((__m256i *)(void *)(dst + k * 64), _mm256_permute2x128_si256(a, b, 0x20));
            _mm256_storeu_si256((__m256i *)(void *)(dst + k * 64 + 32),
                                _mm256_permute2x128_si256(a, b, 0x31));
        }
    }
    if (i == n) return;
    const unsigned char *rest[16];
    for (int c = 0; c < 16; c++) rest[c] = row[c] + (size_t)i * 2;
    body_pack_panel_f16(dst, i ? rest : row, type, n - i);
}
#undef LOAD_DWORDS
#undef PACK_HALF

#endif
