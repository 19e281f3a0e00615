/* shares_test.c - work is dealt by weight and priority, whoever asks more; who was away saved nothing up; a place that was given up is not asked
 * back at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/shares.h"

static struct share *hold(struct shares *s, uint64_t id, int weight, int priority)
{
    struct share *h = shares_hold(s, &(struct share_claim){ id, weight, priority });
    assert_non_null(h);
    return h;
}

static void test_by_weight(void **state)
{
    (void)state;
    struct shares s = { .size = sizeof(struct share) };
    struct share *h[] = { hold(&s, 1, 0, 0), hold(&s, 2, 3, 0), hold(&s, 3, 4, 0) };
    double had[3] = { 0 };
    for (int i = 0; i < 3; i++) shares_ask(&s, h[i], 1 + 10 * i);
    for (uint64_t k = 0; k < 10000; k++) {
        int next = 0;
        for (int i = 1; i < 3; i++)
            if (shares_before(h[i], h[next])) next = i;
        const double work = 1 + philox_uniform(7, 1, k) * 30; /* however long each is */
        shares_served(h[next], work);
        had[next] += work;
    }
    const double all = had[0] + had[1] + had[2];
    assert_true(had[0] / all > 0.12 && had[0] / all < 0.13);
    assert_true(had[1] / all > 0.37 && had[1] / all < 0.38);
    for (int i = 0; i < 3; i++) shares_let_go(&s, h[i]);
    assert_null(s.first);
}

static void test_away(void **state)
{
    (void)state;
    struct shares s = { .size = sizeof(struct share) };
    struct share *a = hold(&s, 1, 1, 0), *b = hold(&s, 2, 2, 0);
    assert_ptr_equal(hold(&s, 1, 1, 0), a); /* the same, twice */
    shares_ask(&s, a, 1);
    shares_served(a, 100);
    shares_ask(&s, b, 1);
    assert_true(b->served == 100); /* it saved nothing up */
    assert_false(shares_before(a, b) || shares_before(b, a));
    shares_served(b, 100);
    assert_true(b->served == 150 && shares_before(a, b));
    shares_ask(&s, b, -1);
    shares_ask(&s, b, 1);
    assert_true(b->served == 150); /* and it does not get rid of what it had */
    shares_let_go(&s, a);
    assert_non_null(s.first->next);
    shares_let_go(&s, a);
    shares_let_go(&s, b);
    assert_null(s.first);
}

static void test_entitled(void **state)
{
    (void)state;
    struct shares s = { .size = sizeof(struct share) };
    struct share *a = hold(&s, 1, 1, 0), *b = hold(&s, 2, 1, 0), *first = hold(&s, 3, 1, 1),
                 *heavy = hold(&s, 4, 3, 0);
    assert_true(shares_entitled(a, 0, b, 2, 100) && shares_entitled(a, 1, b, 3, 100));
    assert_false(shares_entitled(a, 0, b, 1, 100) || shares_entitled(a, 2, b, 3, 100) ||
                 shares_entitled(a, 0, a, 9, 100) || shares_entitled(a, 0, b, 0, 100));
    assert_true(shares_entitled(first, 5, a, 1, 100));
    assert_false(shares_entitled(a, 0, first, 5, 100));
    assert_true(shares_entitled(heavy, 1, a, 1, 100)); /* 2 of 3 against 1 of 1 */
    assert_false(shares_entitled(heavy, 2, a, 1, 100) || shares_entitled(a, 0, heavy, 3, 100));
    shares_served(b, 101);
    assert_true(shares_entitled(a, 0, b, 1, 100)); /* its turn */
    assert_false(shares_entitled(b, 0, a, 9, 100));
    /* Whatever they had and have: a place goes one way. */
    for (uint64_t k = 0; k < 20000; k++) {
        int n[2], w[2];
        for (int i = 0; i < 2; i++) {
            n[i] = (int)(philox_uniform(3, 4 * k + (uint64_t)i, 0) * 6);
            w[i] = 1 + (int)(philox_uniform(3, 4 * k + 2 + (uint64_t)i, 1) * 4);
        }
        struct share x = { .weight = w[0], .served = philox_uniform(5, k, 0) * 300 },
                     y = { .weight = w[1], .served = philox_uniform(5, k, 1) * 300 };
        if (shares_entitled(&x, n[0], &y, n[1], 100))
            assert_false(shares_entitled(&y, n[1] - 1, &x, n[0] + 1, 100));
    }
    shares_let_go(&s, a);
    shares_let_go(&s, b);
    shares_let_go(&s, first);
    shares_let_go(&s, heavy);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_by_weight), cmocka_unit_test(test_away),
                                        cmocka_unit_test(test_entitled) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
