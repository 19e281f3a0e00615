/* prices_test.c - the figures of the catalog's prices, as hosted services' own examples compute them with floating point, to the
 * nano-dollar; and prices of one's own, each from its day on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service/account/money.h"
#include "service/account/prices.h"
#include "service/models/catalog.h"

static struct catalog *catalog(void)
{
    struct catalog *c = NULL;
    struct err e;
    assert_true(catalog_load(&c, NULL, &e));
    return c;
}

/* calculate_cost() of a tracker of completions: tokens / 1_000_000 * price, both ways. */
static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double input, output;
    } table[] = { { "accounts/fireworks/models/deepseek-r1-0528", 3.00, 8.00 },
                  { "accounts/fireworks/models/qwen3-235b-a22b", 0.22, 0.88 },
                  { "accounts/fireworks/models/llama4-maverick-instruct-basic", 0.22, 0.88 },
                  { "accounts/fireworks/models/llama4-scout-instruct-basic", 0.15, 0.60 },
                  { "accounts/fireworks/models/deepseek-v3", 0.90, 0.90 },
                  { "accounts/fireworks/models/deepseek-r1-basic", 0.55, 2.19 } };
    static const int counts[][2] = { { 0, 0 },          { 1, 0 },
                                     { 0, 1 },          { 12, 3 },
                                     { 1000, 500 },     { 163840, 0 },
                                     { 999983, 77777 }, { 2000000000, 2000000000 } };
    struct catalog *c = catalog();
    struct prices *p;
    struct err e;
    assert_true(prices_open(&p, c, "", &e));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            const struct price price = prices_of(p, table[i].model, 0);
            const struct usage u = { .prompt_tokens = counts[k][0],
                                     .completion_tokens = counts[k][1],
                                     .cached_tokens = counts[k][0] / 3,
                                     .reasoning_tokens = counts[k][1] / 2 };
            const double dollars = counts[k][0] / 1e6 * table[i].input + counts[k][1] / 1e6 * table[i].output;
            assert_int_equal(price_cost(&price, &u), llround(dollars * 1e9));
        }
    prices_close(p);
    catalog_free(c);
}

/* calculate_cost() of a tracker of pictures: price * steps * pictures. */
static void test_pictures(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double step;
        int steps;
        int64_t nano; /* of one picture */
    } table[] = { { "flux-1-dev-fp8", 0.0005, 28, 14000000 },
                  { "flux-1-schnell-fp8", 0.00035, 4, 1400000 },
                  { "flux-1-schnell-fp8", 0.00035, 6, 2100000 },
                  { "stable-diffusion-xl-1024-v1-0", 0.00013, 30, 3900000 },
                  { "playground-v2-5-1024px-aesthetic", 0.00013, 30, 3900000 } };
    struct catalog *c = catalog();
    struct prices *p;
    struct err e;
    assert_true(prices_open(&p, c, "", &e));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int n = 1; n <= 4; n++) {
            const struct catalog_model *m = catalog_find(c, table[i].model);
            assert_non_null(m);
            const struct price price = prices_of(p, m->id, 0);
            const struct usage u = { .pictures = n, .steps = n * table[i].steps };
            assert_int_equal(price_cost(&price, &u), n * table[i].nano);
            assert_int_equal(price_cost(&price, &u), llround(table[i].step * table[i].steps * n * 1e9));
        }
    const struct price none = prices_of(p, "a model of this machine", 0);
    assert_int_equal(price_cost(&none, &(struct usage){ .prompt_tokens = 9, .steps = 9, .pictures = 9 }), 0);
    prices_close(p);
    catalog_free(c);
}

static void test_file(void **state)
{
    (void)state;
    static const char file[] =
        "prices:\n"
        "  - { model: deepseek-v3, since: 2026-01-01, input: 1, cached_input: 0.25, output: 2 }\n"
        "  - { model: deepseek-v3, since: 2026-03-01, input: 0.0004, output: 0 }\n"
        "  - { model: mine, per_step: 0.000000001, per_picture: 0.04 }\n";
    const int64_t january = INT64_C(1767225600000), march = INT64_C(1772323200000);
    const char *v3 = "accounts/fireworks/models/deepseek-v3";
    struct catalog *c = catalog();
    struct prices *p;
    struct err e;
    assert_true(prices_parse(&p, c, "p.yaml", file, strlen(file), &e));
    const struct usage u = { .prompt_tokens = 1000000, .cached_tokens = 400000, .completion_tokens = 10 };
    const int64_t when[] = { january - 1, january, march - 1, march, INT64_MAX };
    const int64_t cost[] = { 900009000, 600000000 + 100000000 + 20000, 600000000 + 100000000 + 20000, 400000,
                             400000 };
    for (int i = 0; i < 5; i++) {
        const struct price price = prices_of(p, v3, when[i]);
        assert_int_equal(price_cost(&price, &u), cost[i]);
    }
    struct price price = prices_of(p, "mine", 0);
    assert_int_equal(price_cost(&price, &(struct usage){ .steps = 7, .pictures = 2 }), 80000007);
    /* 0.0004 dollars a million are 0.4 nano-dollars a token: rounded once, at the end. */
    price = prices_of(p, v3, march);
    const int64_t rounded[] = { 0, 0, 1, 1, 2, 2 };
    for (int n = 0; n < 6; n++)
        assert_int_equal(price_cost(&price, &(struct usage){ .prompt_tokens = n }), rounded[n]);
    price = (struct price){ .picture = MONEY_MAX };
    assert_true(price_cost(&price, &(struct usage){ .pictures = 1000 }) == MONEY_MAX);
    prices_close(p);
    static const char *const bad[] = { "",
                                       "[]",
                                       "prices: 3",
                                       "prices: []\nmore: 1",
                                       "prices: [{input: 1}]",
                                       "prices: [{model: a, inptu: 1}]",
                                       "prices: [{model: a, input: -1}]",
                                       "prices: [{model: a, since: 2026-02-30}]",
                                       "prices: [{model: a, since: May}]",
                                       "prices: [{model: a, per_step: 1e-3}]" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(prices_parse(&p, c, "p.yaml", bad[i], strlen(bad[i]), &e));
        assert_non_null(strstr(e.msg, "p.yaml"));
    }
    assert_false(prices_open(&p, c, "/no/such.yaml", &e));
    catalog_free(c);
}

/* A line of a batch pays a part: the catalog's, or that of a price of one's own, which is all of it where it says nothing. */
static void test_batches(void **state)
{
    (void)state;
    static const char text[] =
        "prices:\n"
        "  - { model: a, input: 0.000001, output: 3, per_picture: 0.01, batch: 0.25 }\n"
        "  - { model: b, input: 1, output: 3 }\n";
    static const char *const wrong[] = { "0", "1.5", "-1", "half" };
    const struct usage u = { .prompt_tokens = 1000000, .completion_tokens = 3, .pictures = 1 };
    struct catalog *c = catalog();
    struct prices *p;
    struct err e;
    assert_true(prices_parse(&p, c, "mine", text, sizeof text - 1, &e));
    struct price whole = prices_of(p, "a", 0), part = price_in_batch(&whole);
    assert_int_equal(price_cost(&whole, &u), 1000 + 9000 + 10000000);
    assert_int_equal(price_cost(&part, &u), 250 + 2250 + 2500000);
    whole = prices_of(p, "b", 0), part = price_in_batch(&whole);
    assert_int_equal(price_cost(&whole, &u), price_cost(&part, &u));
    whole = prices_of(p, "accounts/fireworks/models/deepseek-v3", 0), part = price_in_batch(&whole);
    assert_int_equal(part.input * 2, whole.input);
    prices_close(p);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char one[100];
        const int n = snprintf(one, sizeof one, "prices:\n  - { model: a, input: 1, batch: %s }\n", wrong[i]);
        assert_false(prices_parse(&p, c, "mine", one, (size_t)n, &e));
        assert_non_null(strstr(e.msg, "batch"));
    }
    catalog_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_texts), cmocka_unit_test(test_pictures),
                                        cmocka_unit_test(test_file), cmocka_unit_test(test_batches) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
