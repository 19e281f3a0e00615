/* endpoint_rules_test.c - limits of endpoints: read, found under the routes' names, refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service/account/endpoint_rules.h"
#include "service/account/gate.h"

static void test_found(void **state)
{
    (void)state;
    struct endpoint_rules r;
    struct err e = { ERR_NONE, "" };
    assert_true(endpoint_rules_parse(&r, GATE_ENDPOINT_LIMITS, &e));
    assert_int_equal(endpoint_rules_of(&r, "express-image")->most[LIMITED_REQUESTS][PERIOD_QUARTER], 50);
    assert_int_equal(endpoint_rules_of(&r, "express-chat")->most[LIMITED_REQUESTS][PERIOD_QUARTER], 100);
    assert_null(endpoint_rules_of(&r, "chat"));
    assert_true(endpoint_rules_parse(
        &r, "image-generation:steps/day=9, chat:concurrency=2,image-generation:concurrency=1", &e));
    const struct limit_rules *l = endpoint_rules_of(&r, "image generation");
    assert_true(r.n == 2 && l && l->concurrency == 1 && l->most[LIMITED_STEPS][PERIOD_DAY] == 9);
    assert_null(endpoint_rules_of(&r, "image"));
    assert_null(endpoint_rules_of(&r, "image generations"));
    assert_true(endpoint_rules_parse(&r, "", &e) && r.n == 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "requests/minute=5",
                                       "chat",
                                       "chat:",
                                       ":requests/minute=5",
                                       "chat:requests=5",
                                       "chat:requests/minute=5,",
                                       "Chat:concurrency=1",
                                       "chat:concurrency=1,chat:concurrency=2",
                                       "a-name-that-is-longer-than-forty-characters:concurrency=1" };
    struct endpoint_rules r;
    struct err e = { ERR_NONE, "" };
    char many[2000] = "";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (endpoint_rules_parse(&r, bad[i], &e)) fail_msg("%s was taken", bad[i]);
        assert_int_equal(e.code, ERR_REQUEST);
    }
    for (int i = 0; i < ENDPOINT_RULES_MAX + 1; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%s%c%c:concurrency=1", i ? "," : "",
                 'a' + i / 26, 'a' + i % 26);
    assert_false(endpoint_rules_parse(&r, many, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_found), cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
