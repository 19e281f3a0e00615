/* isa_test.c - HEARTH_ISA: every level is what it says or is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/isa.h"

static void test_levels(void **state)
{
    (void)state;
    const unsigned has = isa_detect();
    unsigned below = 0;
    for (int i = 0; i < ISA_LEVELS; i++) {
        unsigned isa = ~0u;
        struct err e = { 0 };
        assert_int_equal(setenv("HEARTH_ISA", isa_level[i].name, 1), 0);
        below |= isa_level[i].bit;
        assert_int_equal(isa_mask(i), below);
        const bool offered = (has & isa_level[i].bit) == isa_level[i].bit;
        assert_int_equal(isa_choose(&isa, &e), offered);
        assert_int_equal(isa, offered ? has & below : ~0u);
        if (offered) continue;
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, isa_level[i].name));
    }
    assert_int_equal(isa_mask(0), 0);
}

static void test_other_values(void **state)
{
    (void)state;
    unsigned isa = ~0u;
    struct err e = { 0 };
    static const char *const wrong[] = { "AVX2", "avx", "avx2 ", "sse", "0" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(setenv("HEARTH_ISA", wrong[i], 1), 0);
        assert_false(isa_choose(&isa, &e));
        assert_int_equal(e.code, ERR_REQUEST);
        assert_int_equal(isa, ~0u);
    }
    assert_int_equal(setenv("HEARTH_ISA", "", 1), 0);
    assert_true(isa_choose(&isa, &e));
    assert_int_equal(isa, isa_detect());
    assert_int_equal(unsetenv("HEARTH_ISA"), 0);
    assert_true(isa_choose(&isa, &e));
    assert_int_equal(isa, isa_detect());
}

/* A set without its base is none; the sets of an architecture stand on one another. */
static void test_closed(void **state)
{
    (void)state;
    assert_int_equal(isa_closed(0), 0);
    assert_int_equal(isa_closed(ISA_AVXVNNI | ISA_AVX512 | ISA_AVX512BF16 | ISA_AMX), 0);
    assert_int_equal(isa_closed(ISA_AVX2 | ISA_AVX512 | ISA_AMX), ISA_AVX2 | ISA_AVX512);
    assert_int_equal(isa_closed(ISA_NEON | ISA_I8MM | ISA_ARMBF16), ISA_NEON);
    assert_int_equal(isa_closed(ISA_DOTPROD | ISA_I8MM), 0);
    for (int i = 0; i < ISA_LEVELS; i++) assert_int_equal(isa_closed(isa_mask(i)), isa_mask(i));
    assert_int_equal(isa_closed(isa_detect()), isa_detect());
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_levels), cmocka_unit_test(test_other_values),
                                        cmocka_unit_test(test_closed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
