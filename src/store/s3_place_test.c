/* s3_place_test.c - places of buckets that are good, and that are not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "store/blobs.h"
#include "store/s3_place.h"

static void test_good(void **state)
{
    static const char *const good[][3] = {
        { "s3://pictures", "http://127.0.0.1:9000", "http://127.0.0.1:9000/pictures/" },
        { "s3://pictures/", "http://127.0.0.1:9000/", "http://127.0.0.1:9000/pictures/" },
        { "s3://pictures/a/b=1", "https://[::1]:9000", "https://[::1]:9000/pictures/a/b=1/" },
        { "s3://my-bucket.x1/files/", "", "https://my-bucket.x1.s3.eu-west-1.amazonaws.com/files/" },
    };
    struct s3_place p;
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(s3_place_parse(&p, good[i][0], good[i][1], "eu-west-1", &e));
        assert_string_equal(p.base, good[i][2]);
    }
}

static void test_bad(void **state)
{
    static const char *const bad[][3] = {
        { "s3:", "", "eu-west-1" },
        { "s3://", "", "eu-west-1" },
        { "s3://ab", "", "eu-west-1" },
        { "s3://Pictures", "", "eu-west-1" },
        { "s3://-ab", "", "eu-west-1" },
        { "s3://ab-", "", "eu-west-1" },
        { "s3://a..b", "", "eu-west-1" },
        { "s3://a_b_c", "", "eu-west-1" },
        { "s3://pictures//a", "", "eu-west-1" },
        { "s3://pictures/../a", "", "eu-west-1" },
        { "s3://pictures/./a", "", "eu-west-1" },
        { "s3://pictures/a b", "", "eu-west-1" },
        { "s3://pictures/a?b", "", "eu-west-1" },
        { "s3://pictures/%2e", "", "eu-west-1" },
        { "s3://0123456789012345678901234567890123456789012345678901234567890123", "", "eu-west-1" },
        { "s3://pictures", "minio:9000", "eu-west-1" },
        { "s3://pictures", "ftp://minio", "eu-west-1" },
        { "s3://pictures", "http://", "eu-west-1" },
        { "s3://pictures", "http://minio/path", "eu-west-1" },
        { "s3://pictures", "http://user:pass@minio", "eu-west-1" },
        { "s3://pictures", "", "" },
        { "s3://pictures", "", "EU west" },
    };
    struct s3_place p;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = { ERR_NONE, "" };
        assert_false(s3_place_parse(&p, bad[i][0], bad[i][1], bad[i][2], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_true(*e.msg);
    }
    /* And a bucket that nobody gave a key for. */
    struct blobs *b;
    struct err e = { ERR_NONE, "" };
    assert_false(blobs_open(&b, "s3://pictures", &(struct blobs_options){ .s3_key = "id" }, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_non_null(strstr(e.msg, "s3-secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
