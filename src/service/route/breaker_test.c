/* breaker_test.c - when an upstream is left alone and asked again, and how much is asked again, with times that the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "service/route/breaker.h"

static void test_breaker(void **state)
{
    (void)state;
    struct breaker b = { .state = BREAKER_CLOSED };
    for (int i = 0; i < 2; i++) breaker_failed(&b, 3, 10, 100);
    assert_true(breaker_take(&b, 100));
    breaker_passed(&b); /* only failures in a row count */
    for (int i = 0; i < 3; i++) breaker_failed(&b, 3, 10, 100);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_false(breaker_take(&b, 109));
    breaker_failed(&b, 3, 10, 109); /* one that was sent before: it does not stay open for longer */
    assert_true(breaker_would(&b, 110));
    assert_true(breaker_take(&b, 110));
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_false(breaker_take(&b, 110)); /* one alone tries */
    breaker_failed(&b, 3, 10, 111);
    assert_false(breaker_take(&b, 120));
    assert_true(breaker_take(&b, 121));
    breaker_unknown(&b, 122); /* its client left: the next one tries */
    assert_true(breaker_take(&b, 122));
    breaker_passed(&b);
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_true(breaker_take(&b, 122) && breaker_take(&b, 122));
    breaker_unknown(&b, 123);
    assert_int_equal(b.state, BREAKER_CLOSED);
}

static void test_retries_are_a_share(void **state)
{
    (void)state;
    struct retry_budget b = { 0 };
    int retries = 0;
    for (int i = 0; i < 1000; i++) {
        retry_budget_earn(&b, 0.125);
        retries += retry_budget_take(&b);
    }
    assert_int_equal(retries, 125);
    for (int i = 0; i < 1000; i++) retry_budget_earn(&b, 0.125);
    for (retries = 0; retry_budget_take(&b);) retries++;
    assert_int_equal(retries, RETRY_SAVED); /* a quiet time saves no more */
}

static void test_delays(void **state)
{
    (void)state;
    assert_true(retry_delay(0.5, 8, 0, 0.5) == 0.25 && retry_delay(0.5, 8, 3, 0.5) == 2);
    assert_true(retry_delay(0.5, 8, 4, 0.5) == 4 && retry_delay(0.5, 8, 1000000, 0.5) == 4);
    assert_true(retry_delay(0.5, 8, 2, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_breaker),
                                        cmocka_unit_test(test_retries_are_a_share),
                                        cmocka_unit_test(test_delays) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
