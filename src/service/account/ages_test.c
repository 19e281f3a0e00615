/* ages_test.c - what may be of less than an age ago, while the clock is set to and fro. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "service/account/ages.h"

enum { AGE = 1000 };
#define NOW INT64_C(1750000000000)

static void bounds_are(struct ages *a, double now_s, int64_t unix_ms, int64_t first, int64_t last)
{
    const struct age_bounds b = ages_look(a, now_s, unix_ms);
    assert_int_equal(b.first_ms, first);
    assert_int_equal(b.last_ms, last);
}

static void test_steady(void **state)
{
    struct ages a;
    (void)state;
    ages_init(&a, AGE, 5, NOW);
    /* What others stamped before it began may be of any time ahead. */
    bounds_are(&a, 5, NOW, NOW - AGE, INT64_MAX);
    bounds_are(&a, 5.5, NOW + 500, NOW + 500 - AGE, INT64_MAX);
    bounds_are(&a, 6.5, NOW + 1500, NOW + 1500 - AGE, INT64_MAX);
    bounds_are(&a, 6.5, NOW + 1500, NOW + 1500 - AGE, NOW + 1500 + AGE);
    ages_free(&a);
}

static void test_ahead(void **state)
{
    const int64_t jump = 3600000;
    struct ages a;
    (void)state;
    ages_init(&a, AGE, 0, NOW);
    bounds_are(&a, 0.4, NOW + 400 + jump, NOW + 400 - AGE, INT64_MAX); /* by the clock as it was */
    bounds_are(&a, 0.9, NOW + 900 + jump, NOW + 900 - AGE, INT64_MAX);
    bounds_are(&a, 1.1, NOW + 1100 + jump, NOW + 1100 - AGE, INT64_MAX);
    bounds_are(&a, 2.2, NOW + 2200 + jump, NOW + 2200 - AGE, NOW + 2200 + jump + AGE);
    /* An age after the last time that another clock was seen, only the new one counts. */
    bounds_are(&a, 3.3, NOW + 3300 + jump, NOW + 3300 + jump - AGE, NOW + 3300 + jump + AGE);
    ages_free(&a);
}

static void test_back(void **state)
{
    const int64_t back = 31 * INT64_C(86400000);
    struct ages a;
    (void)state;
    ages_init(&a, AGE, 0, NOW);
    ages_look(&a, 1, NOW + 1000);
    bounds_are(&a, 1.5, NOW + 1500 - back, NOW + 1500 - back - AGE, NOW + 1500 + AGE);
    ages_look(&a, 2, NOW + 2000 - back);
    ages_look(&a, 3, NOW + 3000 - back);
    bounds_are(&a, 3.5, NOW + 3500 - back, NOW + 3500 - back - AGE, NOW + 3500 - back + AGE);
    ages_free(&a);
}

/* Nobody looked for long: what was seen last still counts, once. */
static void test_rare(void **state)
{
    struct ages a;
    (void)state;
    ages_init(&a, AGE, 0, NOW);
    bounds_are(&a, 100, NOW + 200000, NOW + 100000 - AGE, INT64_MAX);
    bounds_are(&a, 101, NOW + 201000, NOW + 101000 - AGE, NOW + 201000 + AGE);
    bounds_are(&a, 102, NOW + 202000, NOW + 202000 - AGE, NOW + 202000 + AGE);
    ages_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_steady), cmocka_unit_test(test_ahead),
                                        cmocka_unit_test(test_back), cmocka_unit_test(test_rare) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
