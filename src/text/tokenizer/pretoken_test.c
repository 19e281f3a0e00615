/* The hand-written scanners against PCRE2 on the same patterns, and how splits join. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/tokenizer/pretoken.h"
#include "text/tokenizer/pretoken_scan.h"

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

/* Pieces with a bar between them. */
static bool note(void *arg, const char *s, size_t n, struct err *e)
{
    struct buf *b = arg;
    (void)e;
    if (b->len) buf_puts(b, "\x01|");
    return buf_append(b, s, n);
}

static struct buf split(const struct pretoken *p, const char *s, size_t n)
{
    struct pretoken_run run = { 0 };
    struct buf b = BUF_INIT(0);
    struct err e = { 0 };
    if (!pretoken_split(p, &run, s, n, true, note, &b, &e)) fail_msg("%s", e.msg);
    pretoken_run_free(&run);
    return b;
}

static struct pretoken *of_pattern(const char *pattern, enum split_behavior behavior, bool invert, bool pcre2)
{
    struct pretoken *p = NULL;
    struct err e = { 0 };
    if (!pretoken_new(&p, u, &e) || !pretoken_add(p, pattern, strlen(pattern), behavior, invert, pcre2, &e))
        fail_msg("%s", e.msg);
    return p;
}

/* Random text out of what the patterns tell apart. Only characters that Unicode 14 knew: PCRE2's tables are of that age. */
static size_t random_text(unsigned *seed, char *out)
{
    /* clang-format off */
    static const char *const parts[] = {
        "<|endoftext|>", "<|startoftext|>",
        "a",      "b",          "s",          "S",          "t",          "ll",     "LL",     "Re",
        "ve",     "M",          "d",          "A",          "B",          "Z",      "'",      "'",
        "'s",     "'S",         "'\u017f",    "1",          "2",          "42",     "\u00bd", "\u0663",
        "\u2163", " ",          " ",          "  ",         "\t",         "\n",     "\r",     "\r\n",
        "\n\n",   "\v",         "\u00a0",     "\u3000",     "\xc2\x85",   "\u2028", "\u180e", ".",
        ",",      "!",          "-",          "/",          "//",         "(",      ")",      "_",
        "$",      "+",          "\u20ac",     "\u2014",     "\u00e9",     "\u00c9", "\u01c5", "\u02b0",
        "\u4e2d", "\u9fa5",     "\u9fa6",     "\u3042",     "\u30ab",     "\u30ff", "\u3100", "\u303f",
        "\uac00", "\u05d0",     "\u0301",     "\u0303",     "\u0e01",     "\u0e33", "\u200d", "\u200b",
        "\ufeff", "\U0001F642", "\U0001F469", "\U0001D518", "\U0001D54F", "\x01",   "\x7f",   "\U000E0001",
        "<",      "|",          ">",          "\u2581",
    };
    /* clang-format on */
    size_t n = 0;
    int count = 1 + (int)((*seed = *seed * 1664525 + 1013904223) >> 27);
    for (int i = 0; i < count; i++) {
        *seed = *seed * 1664525 + 1013904223;
        const char *p = parts[(*seed >> 8) % (sizeof parts / sizeof *parts)];
        for (; *p; p++) out[n++] = *p;
    }
    return n;
}

static void test_scanners(void **state)
{
    (void)state;
    const char *const patterns[] = { scan_pattern_gpt2,   scan_pattern_llama3,   scan_pattern_qwen2,
                                     scan_pattern_o200k,  scan_pattern_deepseek, scan_pattern_numbers3,
                                     scan_pattern_number, scan_pattern_cjk,      scan_pattern_clip };
    unsigned seed = 5;
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
        assert_non_null(scan_find(patterns[k], strlen(patterns[k])));
        struct pretoken *fast = of_pattern(patterns[k], SPLIT_ISOLATED, false, false);
        struct pretoken *slow = of_pattern(patterns[k], SPLIT_ISOLATED, false, true);
        for (int i = 0; i < 20000; i++) {
            char text[600];
            size_t n = random_text(&seed, text);
            struct buf a = split(fast, text, n), b = split(slow, text, n);
            if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)
                fail_msg("pattern %zu:\n scanner %s\n PCRE2   %s", k, a.data, b.data);
            buf_free(&a);
            buf_free(&b);
        }
        pretoken_free(fast);
        pretoken_free(slow);
    }
}

static void check(struct pretoken *p, const char *text, const char *want)
{
    struct buf got = split(p, text, strlen(text));
    char *plain = malloc(got.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < got.len; i++)
        if (got.data[i] != 1) plain[n++] = got.data[i];
    plain[n] = 0;
    assert_string_equal(plain, want);
    free(plain);
    buf_free(&got);
    pretoken_free(p);
}

static void test_behaviors(void **state)
{
    (void)state;
    const char *t = "the-final--countdown-";
    check(of_pattern("-", SPLIT_ISOLATED, false, false), t, "the|-|final|-|-|countdown|-");
    check(of_pattern("-", SPLIT_REMOVED, false, false), t, "the|final|countdown");
    check(of_pattern("-", SPLIT_MERGED_WITH_PREVIOUS, false, false), t, "the-|final-|-|countdown-");
    check(of_pattern("-", SPLIT_MERGED_WITH_NEXT, false, false), t, "the|-final|-|-countdown|-");
    check(of_pattern("-", SPLIT_CONTIGUOUS, false, false), t, "the|-|final|--|countdown|-");
    check(of_pattern("[a-z]+", SPLIT_REMOVED, true, false), t, "the|final|countdown");
    check(of_pattern("[a-z]+", SPLIT_CONTIGUOUS, true, false), t, "the|-|final|--|countdown|-");
    check(of_pattern("x*", SPLIT_ISOLATED, false, false), "aéxxb", "a|é|xx|b");
    check(of_pattern("\\s+", SPLIT_ISOLATED, false, false),
          "a\u180e \xc2\x85"
          "b",
          "a\u180e| \xc2\x85|b");
    struct err e = { 0 };
    struct pretoken *p = of_pattern("\\d", SPLIT_ISOLATED, false, false);
    assert_true(pretoken_add_literal(p, "ab", 2, SPLIT_MERGED_WITH_NEXT, false, &e));
    check(p, "1abx2aabab", "1|abx|2|a|ab|ab");
}

/* As the tokenizers library splits; by hand from the patterns. */
static void test_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        { "qwen2", " The year is 2024, not 12345.", " The| year| is| |2|0|2|4|,| not| |1|2|3|4|5|." },
        { "deepseek-v3", " The year is 2024, not 12345.", " The| year| is| |202|4|,| not| |123|45|." },
        { "smollm", "don't DON'T I'll", "don|'t| DON|'|T| I|'ll" },
        { "deepseek-v3", "don't DON'T I'll", "don|'t| DON|'T| I|'ll" },
        { "qwen2", "foo(bar[1]);\n\n\tif", "foo|(bar|[|1|]);\n\n|\tif" },
        { "smollm", "foo(bar[1]);\n\n\tif", "foo|(|bar|[|1|]);|\n\n|\t|if" },
        { "deepseek-v3", "東京都は2024年の首都です。", "東京都は|202|4|年の首都です|。" },
        { "qwen2", "a.b_c --x <think>\n\n", "a|.b|_c| --|x| <|think|>\n\n" },
        { "smollm", "a.b_c --x <think>\n\n", "a|.|b|_|c| --|x| <|think|>|\n\n" },
        { "llama-bpe", "1234567 a\n \n b", "123|456|7| a|\n \n| b" },
        { "tekken", "CamelCase don't 12", "Camel|Case| don|'t| |1|2" },
        { "llama4", "CamelCaseHTTPServer don't x//\ny", "Camel|Case|HTTPServer| don't| x|//\n|y" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pretoken *p = NULL;
        struct err e = { 0 };
        assert_true(pretoken_new(&p, u, &e));
        assert_true(pretoken_add_named(p, cases[i].name, strlen(cases[i].name), NULL, &e));
        check(p, cases[i].text, cases[i].want);
    }
    struct pretoken *p = NULL;
    struct err e = { 0 };
    assert_true(pretoken_new(&p, u, &e));
    assert_false(pretoken_add_named(p, "gpt", 3, NULL, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_false(pretoken_add(p, "(", 1, SPLIT_ISOLATED, false, false, &e));
    pretoken_free(p);
}

static bool note_length(void *arg, const char *s, size_t n, struct err *e)
{
    (void)s, (void)e;
    return json_array_append_new(arg, json_integer((json_int_t)n)) == 0;
}

/* The names of GGUF files against the tokenizers library (tools/reference/tokenizer/make_pre_names.py). */
static void test_names_reference(void **state)
{
    (void)state;
    json_error_t why;
    json_t *all = json_load_file("tests/golden/tokenizer/pre_names.json", 0, &why), *rows;
    if (!all) fail_msg("line %d: %s", why.line, why.text);
    const json_t *texts = json_object_get(all, "texts");
    const char *name;
    int bad = 0;
    json_object_foreach(all, name, rows)
    {
        if (rows == texts) continue;
        struct pretoken *p = NULL;
        struct pretoken_run run = { 0 };
        struct err e = { 0 };
        assert_true(pretoken_new(&p, u, &e));
        if (!pretoken_add_named(p, name, strlen(name), NULL, &e)) fail_msg("%s: %s", name, e.msg);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *t = json_array_get(texts, i);
            json_t *got = json_array();
            assert_true(pretoken_split(p, &run, json_string_value(t), json_string_length(t), true,
                                       note_length, got, &e));
            if (!json_equal(got, json_array_get(rows, i))) {
                char *list = json_dumps(got, JSON_COMPACT);
                print_error("%s cuts \"%s\" into %s\n", name, json_string_value(t), list);
                free(list);
                bad++;
            }
            json_decref(got);
        }
        pretoken_run_free(&run);
        pretoken_free(p);
    }
    assert_true(json_object_size(all) > 50);
    json_decref(all);
    assert_int_equal(bad, 0);
}

/* A pattern that backtracks without end gives up with an error. */
static void test_limit(void **state)
{
    (void)state;
    struct pretoken *p = of_pattern("(a+)+$", SPLIT_ISOLATED, false, false);
    struct pretoken_run run = { 0 };
    struct buf b = BUF_INIT(0);
    struct err e = { 0 };
    char text[64];
    memset(text, 'a', sizeof text);
    text[63] = 'b';
    assert_false(pretoken_split(p, &run, text, sizeof text, true, note, &b, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    pretoken_run_free(&run);
    buf_free(&b);
    pretoken_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scanners), cmocka_unit_test(test_behaviors),
        cmocka_unit_test(test_named),    cmocka_unit_test(test_names_reference),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
