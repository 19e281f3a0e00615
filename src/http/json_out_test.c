/* json_out_test.c - what is written as it stands in a reply. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "http/json_out.h"

/* The vectors of RFC 4648, and libsodium's answer for every length around the blocks it is written in. */
static void test_base64(void **state)
{
    (void)state;
    static const char *const rfc[][2] = { { "", "" },
                                          { "f", "Zg==" },
                                          { "fo", "Zm8=" },
                                          { "foo", "Zm9v" },
                                          { "foob", "Zm9vYg==" },
                                          { "fooba", "Zm9vYmE=" },
                                          { "foobar", "Zm9vYmFy" } };
    for (size_t i = 0; i < sizeof rfc / sizeof *rfc; i++) {
        struct buf b = BUF_INIT(0);
        json_out_base64(&b, rfc[i][0], strlen(rfc[i][0]));
        assert_string_equal(b.data, rfc[i][1]);
        buf_free(&b);
    }
    enum { MOST = 7000 };
    unsigned char bytes[MOST];
    char *want = malloc(2 * MOST);
    for (size_t i = 0; i < MOST; i++) bytes[i] = (unsigned char)(i * 167 + (i >> 8) * 13);
    for (size_t n = 3060; n<MOST; n += n> 3080 && n < 6130 ? 997 : 1) {
        struct buf b = BUF_INIT(0);
        json_out_base64(&b, bytes, n);
        sodium_bin2base64(want, 2 * MOST, bytes, n, sodium_base64_VARIANT_ORIGINAL);
        assert_int_equal(b.len, strlen(want));
        assert_string_equal(b.data, want);
        buf_free(&b);
    }
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_base64) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
