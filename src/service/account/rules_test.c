/* rules_test.c - what a person writes for a key: money, periods, addresses, scopes, limits, budgets; what is taken and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service/account/address_list.h"
#include "service/account/items.h"
#include "service/account/money.h"
#include "service/account/period.h"
#include "service/account/rules.h"
#include "service/account/scopes.h"

static void test_money(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t nano;
        const char *printed;
    } good[] = { { "0", 0, "0" },
                 { "1", MONEY_DOLLAR, "1" },
                 { "1.50", 1500000000, "1.5" },
                 { "0.00035", 350000, "0.00035" },
                 { "0.000000001", 1, "0.000000001" },
                 { "0.0000000010", 1, "0.000000001" },
                 { "4000000000.999999999", MONEY_MAX + 999999999, "4000000000.999999999" } };
    static const char *const bad[] = { "",   "-1",           "1.",         ".5", "1,5", "1e3",
                                       "$1", "0.0000000001", "4000000001", " 1", "1 " };
    char text[MONEY_TEXT];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t nano = -1;
        assert_true(money_parse(good[i].text, &nano));
        assert_int_equal(nano, good[i].nano);
        assert_string_equal(money_print(nano, text), good[i].printed);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t nano = 7;
        assert_false(money_parse(bad[i], &nano));
        assert_int_equal(nano, 7);
    }
    assert_string_equal(money_print(-1500000000, text), "-1.5");
    assert_string_equal(money_print(INT64_MIN, text), "-9223372036.854775808");
}

static void test_periods(void **state)
{
    (void)state;
    const int64_t t = INT64_C(1709251199999); /* 2024-02-29T23:59:59.999Z */
    assert_int_equal(period_start(PERIOD_MINUTE, t), INT64_C(1709251140000));
    assert_int_equal(period_end(PERIOD_MINUTE, t), t + 1);
    assert_int_equal(period_start(PERIOD_QUARTER, t), INT64_C(1709250300000));
    assert_int_equal(period_end(PERIOD_QUARTER, t), t + 1);
    assert_int_equal(period_start(PERIOD_DAY, t), INT64_C(1709164800000));
    assert_int_equal(period_end(PERIOD_DAY, t), t + 1);
    assert_int_equal(period_start(PERIOD_MONTH, t), INT64_C(1706745600000));
    assert_int_equal(period_end(PERIOD_MONTH, t), t + 1);
    assert_int_equal(period_end(PERIOD_MONTH, INT64_C(1703980800000)),
                     INT64_C(1704067200000)); /* over the new year */
    assert_int_equal(period_start(PERIOD_TOTAL, t), 0);
    assert_true(period_end(PERIOD_TOTAL, t) == INT64_MAX);
    for (int p = 0; p < N_PERIODS; p++) {
        enum period back;
        assert_true(period_parse(period_name((enum period)p), &back));
        assert_int_equal(back, p);
    }
    enum period none;
    assert_false(period_parse("week", &none));
}

static void test_addresses(void **state)
{
    (void)state;
    struct address_list l = { .n = 0 };
    struct err e = { ERR_NONE, "" };
    assert_true(address_list_has(&l, "192.0.2.1"));
    assert_true(address_list_has(&l, "what"));
    assert_true(address_list_parse(&l, " 10.0.0.0/8, 192.0.2.7 ,2001:db8::/32,::1, 172.16.0.0/12", &e));
    static const char *const in[] = { "10.255.0.1",       "192.0.2.7", "::ffff:10.1.2.3",
                                      "2001:db8:ffff::9", "::1",       "172.31.9.9" };
    static const char *const out[] = { "11.0.0.1",      "192.0.2.8", "2001:db9::", "::2", "172.32.0.0",
                                       "9.255.255.255", "",          "10.0.0",     "x" };
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) assert_true(address_list_has(&l, in[i]));
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) assert_false(address_list_has(&l, out[i]));
    assert_true(address_list_parse(&l, "0.0.0.0/0", &e));
    assert_true(address_list_has(&l, "8.8.8.8"));
    assert_false(address_list_has(&l, "2001:db8::1"));
    assert_true(address_list_parse(&l, "::/0", &e));
    assert_true(address_list_has(&l, "8.8.8.8"));
    static const char *const bad[] = { "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/",   "10.0.0.1/8",
                                       "10.0.0/8",    "host",        "::/129",      "2001:db8::1/32",
                                       "1.2.3.4,,",   ",",           "1.2.3.4/8/8", "10.0.0.0/08x",
                                       "1.2.3.4," };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct address_list before = l;
        assert_false(address_list_parse(&l, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_memory_equal(&l, &before, sizeof l);
    }
    char many[ADDRESS_LIST_MAX * 9 + 20] = "";
    for (int i = 0; i <= ADDRESS_LIST_MAX; i++) strcat(many, i ? ",1.2.3.4" : "1.2.3.4");
    assert_false(address_list_parse(&l, many, &e));
    assert_true(address_list_parse(&l, "", &e));
    assert_int_equal(l.n, 0);
}

static void test_scopes(void **state)
{
    (void)state;
    struct scopes s = { .admin = false };
    struct err e = { ERR_NONE, "" };
    assert_true(scopes_parse(&s, "", &e));
    assert_true(scopes_model(&s, "x") && scopes_endpoint(&s, "chat") && !s.admin);
    scopes_free(&s);
    assert_true(scopes_parse(
        &s, "model:flux-*, endpoint:chat,endpoint:image-generation, model:accounts/a/models/q?", &e));
    assert_false(s.admin);
    assert_true(scopes_model(&s, "accounts/fireworks/models/flux-1-dev-fp8"));
    assert_true(scopes_model(&s, "flux-"));
    assert_true(scopes_model(&s, "accounts/a/models/q3"));
    assert_false(scopes_model(&s, "accounts/b/models/q3"));
    assert_true(scopes_endpoint(&s, "chat"));
    assert_true(scopes_endpoint(&s, "image generation"));
    assert_true(scopes_endpoint(&s, NULL));
    assert_false(scopes_endpoint(&s, "chats"));
    assert_false(scopes_endpoint(&s, "cha"));
    assert_false(scopes_endpoint(&s, "completions"));
    scopes_free(&s);
    assert_true(scopes_parse(&s, "admin", &e));
    assert_true(s.admin && scopes_model(&s, "x") && scopes_endpoint(&s, "chat"));
    scopes_free(&s);
    static const char *const bad[] = { "Admin", "model:",   "endpoint:", "endpoint:Chat",
                                       "chat",  "models:x", "admin,",    "model:a,,admin" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(scopes_parse(&s, bad[i], &e));
        assert_null(s.text);
    }
    char item[ITEM_MAX + 20];
    memset(item, 'a', sizeof item);
    memcpy(item, "model:", 6);
    item[sizeof item - 1] = 0;
    assert_false(scopes_parse(&s, item, &e));
    assert_non_null(strstr(e.msg, "longer than"));
}

static void test_limits(void **state)
{
    (void)state;
    struct limit_rules r;
    struct err e = { ERR_NONE, "" };
    assert_true(limit_rules_parse(&r, "", &e));
    assert_false(limit_rules_any(&r));
    assert_true(limit_rules_parse(
        &r, "requests/minute=60, generated-tokens/day=100000,concurrency=4, pictures/15-minutes=50", &e));
    assert_int_equal(r.most[LIMITED_REQUESTS][PERIOD_MINUTE], 60);
    assert_int_equal(r.most[LIMITED_GENERATED][PERIOD_DAY], 100000);
    assert_int_equal(r.most[LIMITED_PICTURES][PERIOD_QUARTER], 50);
    assert_int_equal(r.concurrency, 4);
    assert_int_equal(r.most[LIMITED_STEPS][PERIOD_MONTH], 0);
    assert_true(limit_rules_any(&r));
    assert_true(limit_rules_parse(&r, "steps/month=1", &e));
    assert_true(limit_rules_any(&r));
    assert_string_equal(limited_name(LIMITED_PROMPT), "prompt-tokens");
    static const char *const bad[] = { "requests=60",
                                       "requests/minute",
                                       "requests/minute=",
                                       "requests/minute=0",
                                       "requests/minute=-1",
                                       "requests/minute=6x",
                                       "requests/week=1",
                                       "tokens/minute=1",
                                       "requests/total=1",
                                       "concurrency",
                                       "concurrency=0",
                                       "concurrency/minute=1",
                                       "requests/minute=1,requests/minute=2",
                                       "requests/minute=1000000000000001",
                                       ",",
                                       "concurrency=1,concurrency=1" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct limit_rules before = r;
        assert_false(limit_rules_parse(&r, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_memory_equal(&r, &before, sizeof r);
    }
}

static void test_budgets(void **state)
{
    (void)state;
    struct budget_rules r;
    struct err e = { ERR_NONE, "" };
    assert_true(budget_rules_parse(&r, "", &e));
    assert_false(budget_rules_any(&r));
    assert_true(budget_rules_parse(&r, "day=1.50, month=20:soft,total=0:hard", &e));
    assert_int_equal(r.most[PERIOD_DAY], 1500000000);
    assert_int_equal(r.most[PERIOD_MONTH], 20 * MONEY_DOLLAR);
    assert_int_equal(r.most[PERIOD_TOTAL], 0);
    assert_int_equal(r.most[PERIOD_MINUTE], -1);
    assert_true(r.soft[PERIOD_MONTH] && !r.soft[PERIOD_DAY] && !r.soft[PERIOD_TOTAL]);
    assert_true(budget_rules_any(&r));
    static const char *const bad[] = { "day",          "day=",         "day=x",       "minute=1",
                                       "15-minutes=1", "day=1:hardly", "day=1,day=2", "week=1",
                                       "=1",           "day=1,",       "day=-1" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(budget_rules_parse(&r, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_int_equal(r.most[PERIOD_DAY], 1500000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_money),  cmocka_unit_test(test_periods), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_scopes), cmocka_unit_test(test_limits),  cmocka_unit_test(test_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
