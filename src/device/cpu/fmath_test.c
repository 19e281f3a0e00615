/* fmath_test.c - the bounds that fmath.h names, on floats spread over all of a range, and the values at its ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "device/cpu/fmath.h"

/* The distance of got from what it should be, in units in the last place of that. */
static double ulps(float got, double want)
{
    int e;
    (void)frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, e - 24);
}

/* Every so many-th float, of both signs: a prime, so that no bit of the mantissa stays as it is. */
#define STRIDE 4099

static void test_exp(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t u = 0; u <= 0x42b00000u; u += STRIDE) /* to 88 */
        for (int sign = 0; sign < 2; sign++) {
            const float x = fmath_bits(u | (uint32_t)sign << 31);
            if (x < -87.0f) continue;
            const double d = ulps(fmath_exp(x), exp((double)x));
            worst = d > worst ? d : worst;
        }
    print_message("exp: %.3f ulp\n", worst);
    assert_true(worst < 2.0);
}

static void test_exp_at_the_ends(void **state)
{
    (void)state;
    assert_true(fmath_exp(0.0f) == 1.0f);
    assert_true(fmath_exp(-0.0f) == 1.0f);
    assert_true(fmath_exp(-87.0f) > 0.0f);
    const float below[] = { nextafterf(-87.0f, -INFINITY), -88.0f, -1e30f, -INFINITY };
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        assert_int_equal(fmath_word(fmath_exp(below[i])), 0);
    const float top = fmath_exp(88.0f), above[] = { nextafterf(88.0f, INFINITY), 1e30f, INFINITY };
    for (size_t i = 0; i < sizeof above / sizeof *above; i++) assert_true(fmath_exp(above[i]) == top);
    assert_true(isnan(fmath_exp(NAN)));
    assert_true(isnan(fmath_exp(-NAN)));
}

/* For softmax: the bits of the other. */
static void test_exp_low(void **state)
{
    (void)state;
    for (uint32_t u = 0; u <= 0x7f800000u; u += STRIDE) {
        const float x = fmath_bits(u | 0x80000000u);
        assert_int_equal(fmath_word(fmath_exp_low(x)), fmath_word(fmath_exp(x)));
    }
    for (uint32_t u = fmath_word(-86.0f); u <= fmath_word(-88.0f); u++) /* where it ends */
        assert_int_equal(fmath_word(fmath_exp_low(fmath_bits(u))), fmath_word(fmath_exp(fmath_bits(u))));
    assert_int_equal(fmath_word(fmath_exp_low(0.0f)), fmath_word(1.0f));
    assert_int_equal(fmath_word(fmath_exp_low(-INFINITY)), 0);
    assert_true(isnan(fmath_exp_low(NAN)));
    assert_true(isnan(fmath_exp_low(-NAN)));
}

static void test_erf(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t u = 0x00800000u; u <= 0x41000000u; u += STRIDE) { /* to 8 */
        const float x = fmath_bits(u);
        const double d = ulps(fmath_erf(x), erf((double)x));
        worst = d > worst ? d : worst;
        assert_true(fmath_erf(-x) == -fmath_erf(x));
    }
    print_message("erf: %.3f ulp\n", worst);
    assert_true(worst < 2.0);
    assert_true(fmath_erf(0.0f) == 0.0f);
    assert_true(fmath_erf(INFINITY) == 1.0f);
    assert_true(fmath_erf(-INFINITY) == -1.0f);
    assert_true(isnan(fmath_erf(NAN)));
}

static void test_activations(void **state)
{
    (void)state;
    for (int i = -4000; i <= 4000; i++) {
        const float x = (float)i / 64.0f;
        const double d = (double)x, z = sqrt(2 / M_PI) * (d + 0.044715 * d * d * d);
        const double bound = 1e-6 * (fabs(d) + 1e-6);
        assert_true(fabs((double)fmath_silu(x) - d / (1 + exp(-d))) < bound);
        assert_true(fabs((double)fmath_gelu_erf(x) - 0.5 * d * (1 + erf(d * M_SQRT1_2))) < bound);
        assert_true(fabs((double)fmath_gelu_tanh(x) - 0.5 * d * (1 + tanh(z))) < bound);
        assert_true(fabs((double)fmath_quick_gelu(x) - d / (1 + exp(-1.702 * d))) < bound);
    }
}

static void test_sincos(void **state)
{
    (void)state;
    for (int i = 0; i <= 1 << 20; i += 61) {
        const float x = (float)i + (float)(i % 7) / 8.0f;
        float s, c;
        fmath_sincos(x, &s, &c);
        assert_true(fabs((double)s - sin((double)x)) < 1.5e-7);
        assert_true(fabs((double)c - cos((double)x)) < 1.5e-7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp), cmocka_unit_test(test_exp_at_the_ends), cmocka_unit_test(test_exp_low),
        cmocka_unit_test(test_erf), cmocka_unit_test(test_activations),     cmocka_unit_test(test_sincos)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
