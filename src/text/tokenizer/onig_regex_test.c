/* Translated patterns against Oniguruma itself: how the tokenizers library splits texts with them (tests/golden/tokenizer/regex.json, made
 * by tools/reference/tokenizer/make_regex.py, which also says the format). With a file as its argument, that one: the script writes as
 * many random patterns as one likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/onig_regex.h"
#include "text/tokenizer/pretoken.h"

static const char *path = "tests/golden/tokenizer/regex.json";
static struct unicode *u;
static int n_bad, n_refused;

static bool note(void *arg, const char *s, size_t n, struct err *e)
{
    (void)e;
    json_array_append_new(arg, json_stringn(s, n));
    return true;
}

static void bad(const char *pattern, const char *text, const char *what, const json_t *got)
{
    char *list = got ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
    if (n_bad++ < 40)
        print_error("%s\n  on \"%s\": %s %s\n", pattern, text ? text : "", what, list ? list : "");
    free(list);
}

static void check_text(const struct pretoken *p, const char *pattern, const json_t *row)
{
    const json_t *text = json_array_get(row, 0), *want = json_array_get(row, 1);
    struct pretoken_run run = { 0 };
    struct err e = { 0 };
    json_t *got = json_array();
    if (!pretoken_split(p, &run, json_string_value(text), json_string_length(text), true, note, got, &e))
        bad(pattern, json_string_value(text), e.msg, NULL);
    else if (!json_equal(got, want))
        bad(pattern, json_string_value(text), "other pieces", got);
    json_decref(got);
    pretoken_run_free(&run);
}

static void check_pattern(const json_t *one)
{
    const json_t *v = json_object_get(one, "pattern"), *row;
    const char *pattern = json_string_value(v);
    bool invert = json_is_true(json_object_get(one, "invert")),
         refused = json_is_true(json_object_get(one, "refused"));
    enum split_behavior b = (enum split_behavior)json_integer_value(json_object_get(one, "behavior"));
    struct pretoken *p = NULL;
    struct err e = { 0 };
    assert_true(pretoken_new(&p, u, &e));
    if (pretoken_add(p, pattern, json_string_length(v), b, invert, true, &e)) {
        if (refused) bad(pattern, NULL, "is taken", NULL);
        size_t i;
        json_array_foreach(json_object_get(one, "texts"), i, row) check_text(p, pattern, row);
    } else {
        assert_true(e.code == ERR_UNSUPPORTED && e.msg[0]);
        if (!refused && !json_is_true(json_object_get(one, "may"))) bad(pattern, NULL, e.msg, NULL);
        n_refused++;
    }
    pretoken_free(p);
}

static void test_reference(void **state)
{
    (void)state;
    json_error_t why;
    json_t *all = json_load_file(path, JSON_ALLOW_NUL, &why), *one;
    if (!all) fail_msg("%s: line %d: %s", path, why.line, why.text);
    size_t i;
    json_array_foreach(all, i, one) check_pattern(one);
    print_message("%zu patterns, %d of them refused\n", json_array_size(all), n_refused);
    assert_true(json_array_size(all) > 100);
    json_decref(all);
    if (n_bad) fail_msg("%d differences from the reference", n_bad);
}

/* Any bytes that are UTF-8 end in a translation or in a refusal that says why, and never without end. */
static void test_cut_short(void **state)
{
    (void)state;
    static const char *const whole[] = {
        "(?<a>x{2,3}+|[^\\p{L}[b-d]&&\\w]*)\\k<a>(?i:\\u0041\\x{42}[[:alpha:]-])",
        "(?x) a # b\n (?=c)(?!d)(?<=e)(?<!f)(?>g)\\xE3\\x81\\x82\\o{101}\\p{^Han}"
    };
    for (size_t k = 0; k < 2; k++)
        for (size_t from = 0; whole[k][from]; from++)
            for (size_t n = 0; n <= strlen(whole[k] + from); n++) {
                struct buf out = BUF_INIT(1 << 20);
                struct err e = { 0 };
                char *copy = malloc(n + 1); /* the checker sees a byte too many */
                memcpy(copy, whole[k] + from, n);
                if (!onig_regex_translate(copy, n, &out, &e)) assert_true(e.code != ERR_NONE && e.msg[0]);
                free(copy);
                buf_free(&out);
            }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reference), cmocka_unit_test(test_cut_short) };
    struct err e = { 0 };
    if (argc > 1) path = argv[1];
    u = unicode_new(&e);
    if (!u) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(u);
    return failed;
}
