/* UTF-8, classes and normal forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <uninorm.h>

#include "text/unicode.h"

static struct unicode *u;

static int set_up(void **state)
{
    (void)state;
    struct err e;
    return (u = unicode_new(&e)) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(u);
    return 0;
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        uint32_t cp;
        unsigned class;
    } cases[] = {
        { 'A', UC_UPPER },
        { 'z', UC_LOWER },
        { '5', UC_NUMBER },
        { ' ', UC_SPACE },
        { '\n', UC_SPACE },
        { 0x0b, UC_SPACE },
        { 0x1c, 0 },
        { '!', UC_PUNCT },
        { '$', UC_SYMBOL },
        { 0x85, UC_SPACE },
        { 0xaa, UC_CASELESS },
        { 0x1c5, UC_UPPER },
        { 0x2b0, UC_CASELESS },
        { 0x4e2d, UC_CASELESS },
        { 0x180e, 0 },
        { 0x3000, UC_SPACE },
        { 0x200b, 0 },
        { 0x0301, UC_MARK | UC_NFC },
        { 0x20ac, UC_SYMBOL },
        { 0x2163, UC_NUMBER },
        { 0x1161, UC_CASELESS | UC_NFC },
        { 0x212b, UC_UPPER | UC_NFC },
        { 0x10ffff, 0 },
        { 0xe000, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(unicode_class(u, cases[i].cp), cases[i].class);
    size_t run = 0; /* the table is the runs */
    for (uint32_t c = 0; c < 0x110000; c++) {
        while (run + 1 < n_unicode_runs && unicode_runs[run + 1] >> 9 <= c) run++;
        if (unicode_class(u, c) != (unicode_runs[run] & 511)) fail_msg("U+%04X", (unsigned)c);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        unsigned n = utf8_put(c, s), k;
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if (surrogate) {
            assert_int_equal(utf8_step((unsigned char *)s, n), -1);
            continue;
        }
        assert_int_equal(utf8_step((unsigned char *)s, n), n);
        assert_int_equal(utf8_get((unsigned char *)s, &k), c);
        assert_int_equal(k, n);
        for (unsigned i = 1; i < n; i++) assert_int_equal(utf8_step((unsigned char *)s, i), 0);
    }
    static const struct {
        const char *bad, *good;
    } cases[] = {
        { "a\xff"
          "b",
          "a\uFFFD"
          "b" },
        { "\xe2\x82", "\uFFFD" },
        { "\xe2\x82x", "\uFFFDx" },
        { "\xf0\x9f\x98\xf0\x9f\x98\x80", "\uFFFD\U0001F600" },
        { "\xc0\x80", "\uFFFD\uFFFD" },
        { "\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD" },
        { "\xe0\x80\x80", "\uFFFD\uFFFD\uFFFD" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct masked m = { 0 };
        struct err e;
        assert_true(utf8_repair(cases[i].bad, NULL, strlen(cases[i].bad), &m, &e));
        assert_int_equal(m.len, strlen(cases[i].good));
        assert_memory_equal(m.text, cases[i].good, m.len);
        masked_free(&m);
    }
}

/* Normalising run by run gives what normalising the whole gives. */
static void test_forms(void **state)
{
    (void)state;
    static const uint32_t alphabet[] = { 'a',    'e',     ' ',    0xe9,   0x301,  0x323,  0x308,
                                         0x345,  0x1100,  0x1161, 0x11a8, 0xac00, 0x212b, 0x2126,
                                         0x958,  0x93c,   0x9be,  0x9c7,  0xf71,  0xf72,  0x1e9b,
                                         0x4e2d, 0x1d15e, 0xfb1d, 0x344,  0x1f642 };
    static const struct {
        enum unicode_form form;
        uninorm_t ref;
    } forms[] = { { FORM_NFC, UNINORM_NFC },
                  { FORM_NFD, UNINORM_NFD },
                  { FORM_NFKC, UNINORM_NFKC },
                  { FORM_NFKD, UNINORM_NFKD } };
    unsigned seed = 9;
    for (int round = 0; round < 20000; round++) {
        char s[200];
        size_t n = 0, len = 0;
        for (int i = 0; i < 12; i++) {
            seed = seed * 1664525 + 1013904223;
            n += utf8_put(alphabet[(seed >> 9) % (sizeof alphabet / sizeof *alphabet)], s + n);
        }
        struct masked m = { 0 };
        struct err e;
        int k = round % 4;
        uint8_t *want = u8_normalize(forms[k].ref, (uint8_t *)s, n, NULL, &len);
        assert_non_null(want);
        assert_true(unicode_normalize(u, forms[k].form, s, NULL, n, &m, &e));
        assert_int_equal(m.len, len);
        assert_memory_equal(m.text, want, len);
        if (len != n || memcmp(s, want, n) != 0) assert_true(unicode_may_change(u, forms[k].form, s, n));
        masked_free(&m);
        free(want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_classes), cmocka_unit_test(test_utf8),
                                        cmocka_unit_test(test_forms) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
