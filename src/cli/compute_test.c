/* compute_test.c - what --device may say, and what it opens on a machine with a GPU and on one without. */
#include "cli/compute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = { "",          "gpu",      "cuda:", "cuda:x", "cuda:-1",
                                       "cuda:1024", "cuda:0x1", "cpu0",  "CUDA" };
    struct pool *pool;
    struct device *d = NULL;
    struct err e = { 0 };
    assert_true(pool_new(&pool, 1, &e));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(compute_open(&d, pool, bad[i], &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_non_null(strstr(e.msg, "--device is cpu, auto, cuda or cuda:N"));
    }
    assert_true(compute_open(&d, pool, "cpu", &e));
    assert_non_null(strstr(device_name(d), "cpu "));
    device_close(d);
    assert_true(compute_open(&d, pool, "auto", &e)); /* whichever it is */
    device_close(d);
    if (compute_open(&d, pool, "cuda:1023", &e)) fail_msg("there are not that many");
    assert_true(strncmp(e.msg, "--device cuda:1023: ", 20) == 0);
    assert_true(e.code == ERR_UNSUPPORTED || e.code == ERR_NOT_FOUND);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
