/* webhooks_test.c - signatures, waiting, and whose turn it is; deliveries to a receiver are tests/e2e/test_webhooks.py. */
#include "store/test_places.h"

#include "service/account/webhooks.h"

/* The example of the Standard Webhooks' own libraries. */
static void test_signature(void **state)
{
    char out[WEBHOOKS_SIGNATURE];
    struct webhooks_key k;
    struct err e = { ERR_NONE, "" };
    (void)state;
    assert_true(webhooks_key_parse(&k, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &e));
    assert_int_equal(k.len, 24);
    webhooks_sign(&k, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", out);
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void test_secrets(void **state)
{
    static const char *const bad[] = {
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqr",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS*",
        "whsec_"
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    };
    struct webhooks_key k;
    struct err e = { ERR_NONE, "" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(webhooks_key_parse(&k, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_true(!*bad[i] || strlen(bad[i]) < 12 || !strstr(e.msg, bad[i]));
    }
}

/* Twice as long each time up to an hour, less up to a half by chance. */
static void test_wait(void **state)
{
    (void)state;
    for (int tries = 0; tries < 80; tries++) {
        const int64_t most = tries < 12 ? 1000LL << tries : 3600000;
        const int64_t whole = most < 3600000 ? most : 3600000;
        assert_int_equal(webhooks_wait_ms(tries, 0), whole);
        assert_int_equal(webhooks_wait_ms(tries, UINT32_MAX), whole - whole / 2);
        assert_in_range(webhooks_wait_ms(tries, UINT32_MAX / 2), whole / 2, whole);
    }
}

static void test_refused(void **state)
{
    char where[200];
    char *url[] = { (char *)"ftp://host/" };
    struct webhooks *w;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    struct webhooks_options o = { .urls = { url, 1 },
                                  .secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                  .days = 1 };
    assert_false(webhooks_open(&w, s, &o, &e));
    assert_non_null(strstr(e.msg, "https://"));
    o.secret = "none";
    assert_false(webhooks_open(&w, s, &o, &e));
    assert_non_null(strstr(e.msg, "whsec_"));
    o.urls.n = 0;
    o.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_true(webhooks_open(&w, s, &o, &e));
    webhooks_close(w);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_signature), cmocka_unit_test(test_secrets),
                                        cmocka_unit_test(test_wait), cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
