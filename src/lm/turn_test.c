/* Matrices of each element size, larger than a tile and no whole number of them, turned element by element. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "lm/turn.h"

static void turned(struct device *d, enum dtype type, int64_t n_in, int64_t n_out)
{
    struct err e = { 0 };
    const size_t size = dtype_row_bytes(type, 1), n = (size_t)(n_in * n_out);
    unsigned char *from = malloc(n * size);
    void *copy;
    assert_non_null(from);
    for (size_t i = 0; i < n * size; i++) from[i] = (unsigned char)(i * 37 + i / 251);
    struct matrix m = { .type = type, .n_out = n_out, .n_in = n_in, .data = from };
    if (!turn_matrix(d, &m, &copy, &e)) fail_msg("%s", e.msg);
    assert_ptr_equal(m.data, copy);
    for (int64_t o = 0; o < n_out; o++)
        for (int64_t i = 0; i < n_in; i++)
            assert_memory_equal((unsigned char *)copy + (size_t)(o * n_in + i) * size,
                                from + (size_t)(i * n_out + o) * size, size);
    free(copy);
    free(from);
}

static void test_turned(void **state)
{
    (void)state;
    static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3 };
    struct pool *pool;
    struct device *d;
    struct err e = { 0 };
    if (!pool_new(&pool, 2, &e) || !device_cpu_open(&d, pool, ~0u, &e)) fail_msg("%s", e.msg);
    pool_acquire(pool, POOL_LOAD);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        turned(d, types[i], 1, 1);
        turned(d, types[i], 64, 128);
        turned(d, types[i], 130, 67);
        turned(d, types[i], 5, 300);
    }
    /* blocks run along a row: they cannot be turned */
    struct matrix m = { .type = DT_Q8_0, .n_out = 32, .n_in = 32, .data = &m }, was = m;
    void *copy;
    assert_false(turn_matrix(d, &m, &copy, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_memory_equal(&m, &was, sizeof m);
    pool_release(pool);
    device_close(d);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_turned) };
    return cmocka_run_group_tests_name("turned matrices", tests, NULL, NULL);
}
