/* Every element type against the reference's values (tests/golden/quant, made by tools/reference/make_quant.py). */
#include "format/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static unsigned char *load(const char *name, size_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "tests/golden/quant/%s.bin", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s (tests run from the root of the repository)", path);
    unsigned char *data = malloc(1 << 20);
    assert_non_null(data);
    *n = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

/* Same value bit for bit, any NaN for a NaN. */
static bool same(float a, float b) { return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b); }

/* A type's blocks as the reference reads them, but for `tolerance` of each value (0: the same bits). */
static void match_reference(enum dtype type, float tolerance)
{
    enum { N = 1024 };
    const struct dtype_info *info = dtype_info(type);
    size_t n, raw = dtype_row_bytes(type, N);
    unsigned char *data = load(info->name, &n);
    assert_int_equal(n, raw + N * sizeof(float));
    float want[N], got[N];
    memcpy(want, data + raw, sizeof want);
    for (size_t shift = 0; shift < 2; shift++) { /* the source may lie at an odd address */
        memmove(data + shift, data, raw);
        dequant_row(type, data + shift, got, N);
        for (int i = 0; i < N; i++) {
            if (tolerance > 0 ? fabsf(want[i] - got[i]) <= tolerance * fabsf(want[i]) : want[i] == got[i])
                continue;
            fail_msg("%s[%d]: %.9g, the reference has %.9g", info->name, i, (double)got[i], (double)want[i]);
        }
    }
    free(data);
}

static void blocks_match_reference(void **state)
{
    (void)state;
    static const enum dtype rounded[] = { DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0,   DT_Q2_K,
                                          DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS };
    static const enum dtype exact[] = { DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ1_S,
                                        DT_IQ1_M,   DT_TQ1_0,  DT_TQ2_0, DT_MXFP4,   DT_NVFP4 };
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) match_reference(rounded[i], 1e-6f);
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) match_reference(exact[i], 0);
}

static void halves_match_reference(void **state)
{
    (void)state;
    size_t n;
    unsigned char *data = load("f16", &n);
    size_t count = n / 6;
    assert_true(count > 500 && n % 6 == 0);
    for (size_t i = 0; i < count; i++) {
        float f;
        uint16_t want;
        memcpy(&f, data + 4 * i, 4);
        memcpy(&want, data + 4 * count + 2 * i, 2);
        if (f32_to_f16(f) != want) fail_msg("%.9g: %04x, numpy has %04x", (double)f, f32_to_f16(f), want);
    }
    free(data);
    for (uint32_t h = 0; h < 65536; h++) { /* every half survives the way there and back */
        float f = f16_to_f32((uint16_t)h);
        if (isnan(f)) {
            assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0 && isnan(f16_to_f32(f32_to_f16(f))));
        } else {
            assert_int_equal(f32_to_f16(f), h);
        }
    }
}

static void fp8_matches_reference(void **state)
{
    (void)state;
    size_t n;
    unsigned char *data = load("fp8", &n);
    assert_int_equal(n, 2 * 256 * sizeof(float));
    for (int i = 0; i < 256; i++) {
        float e4m3, e5m2;
        memcpy(&e4m3, data + 4 * i, 4);
        memcpy(&e5m2, data + 4 * (256 + i), 4);
        assert_true(same(f8_e4m3_to_f32((uint8_t)i), e4m3));
        assert_true(same(f8_e5m2_to_f32((uint8_t)i), e5m2));
    }
    free(data);
}

static void bf16_rounds_to_even(void **state)
{
    (void)state;
    assert_int_equal(f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);            /* halfway, down to even */
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81); /* above halfway */
    assert_int_equal(f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);          /* halfway, up to even */
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
    assert_true(same(bf16_to_f32(f32_to_bf16(INFINITY)), INFINITY));
}

static void integers_convert(void **state)
{
    (void)state;
    float y[2];
    dequant_row(DT_I64, (const int64_t[]){ -3, 1 << 20 }, y, 2);
    assert_true(y[0] == -3.0f && y[1] == 1048576.0f);
    dequant_row(DT_I8, (const int8_t[]){ -128, 127 }, y, 2);
    assert_true(y[0] == -128.0f && y[1] == 127.0f);
    dequant_row(DT_F64, (const double[]){ 0.5, -2.0 }, y, 2);
    assert_true(y[0] == 0.5f && y[1] == -2.0f);
}

static void rows_are_whole_blocks(void **state)
{
    (void)state;
    assert_int_equal(dtype_row_bytes(DT_Q4_0, 64), 36);
    assert_int_equal(dtype_row_bytes(DT_Q4_0, 65), 0);
    assert_int_equal(dtype_row_bytes(DT_Q6_K, 512), 420);
    assert_int_equal(dtype_row_bytes(DT_F32, -1), 0);
    assert_int_equal(dtype_row_bytes(DT_F64, INT64_MAX), 0);
    for (int t = 0; t < DT_COUNT; t++) assert_non_null(dtype_info((enum dtype)t)->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_match_reference), cmocka_unit_test(halves_match_reference),
        cmocka_unit_test(fp8_matches_reference),  cmocka_unit_test(bf16_rounds_to_even),
        cmocka_unit_test(integers_convert),       cmocka_unit_test(rows_are_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
