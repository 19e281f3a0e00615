/* T5 tokenizers with other normalizers and pre-tokenizers, against the tokenizers library:
 * tools/reference/t5_normalizer_golden.py makes t5_normalizers.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "text/tokenizer/t5_tokenizer.h"

#include <jansson.h>

#define BASE "tests/golden/pipelines/flux_dev/tokenizer_2/"

enum { MAX_IDS = 64 };

/* A folder with the base's tokenizer.json but for the fields of `change`, loaded. */
static struct t5_tokenizer *load(const json_t *change, struct err *e)
{
    char dir[] = "/tmp/hearth-t5-XXXXXX", path[64];
    struct t5_tokenizer *t = NULL;
    assert_non_null(mkdtemp(dir));
    json_t *file = json_load_file(BASE "tokenizer.json", 0, NULL);
    assert_non_null(file);
    static const char *const fields[] = { "normalizer", "pre_tokenizer" };
    for (int i = 0; i < 2; i++) {
        json_t *v = json_object_get(change, fields[i]);
        if (v) json_object_set(file, fields[i], v);
    }
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(json_dump_file(file, path, 0), 0);
    json_decref(file);
    t5_tokenizer_load(&t, dir, e);
    unlink(path);
    rmdir(dir);
    return t;
}

static void test_cases(void **state)
{
    const json_t *doc = *state, *texts = json_object_get(doc, "texts"), *one;
    size_t i;
    assert_true(json_array_size(json_object_get(doc, "cases")) >= 24);
    json_array_foreach(json_object_get(doc, "cases"), i, one)
    {
        struct err e = { 0 };
        struct t5_tokenizer *t = load(one, &e);
        if (!t) fail_msg("case %zu: %s", i, e.msg);
        for (size_t k = 0; k < json_array_size(texts); k++) {
            const json_t *text = json_array_get(texts, k),
                         *want = json_array_get(json_object_get(one, "ids"), k);
            int32_t ids[MAX_IDS];
            size_t used, n = json_array_size(want);
            assert_true(n >= 1 && n < MAX_IDS);
            if (!t5_tokenizer_encode(t, json_string_value(text), json_string_length(text), ids, MAX_IDS,
                                     &used, &e))
                fail_msg("case %zu, text %zu: %s", i, k, e.msg);
            if (used + 1 != n) fail_msg("case %zu, text %zu: %zu tokens, expected %zu", i, k, used, n - 1);
            for (size_t j = 0; j < n; j++)
                if (ids[j] != json_integer_value(json_array_get(want, j)))
                    fail_msg("case %zu, text %zu: token %zu is %d, expected %d", i, k, j, (int)ids[j],
                             (int)json_integer_value(json_array_get(want, j)));
        }
        t5_tokenizer_free(t);
    }
}

static void test_refusals(void **state)
{
    static const char *const names[] = { "Nmt", "BertNormalizer", "[a-c]+", "Whitespace", "Punctuation" };
    const json_t *list = json_object_get(*state, "refused");
    assert_int_equal(json_array_size(list), sizeof names / sizeof *names);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct err e = { 0 };
        assert_null(load(json_array_get(list, i), &e));
        if (e.code != ERR_UNSUPPORTED || !strstr(e.msg, names[i])) fail_msg("%s: %s", names[i], e.msg);
    }
}

int main(void)
{
    json_t *doc = json_load_file("tests/golden/tokenizer/t5_normalizers.json", 0, NULL);
    if (!doc) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_cases, doc),
        cmocka_unit_test_prestate(test_refusals, doc),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(doc);
    return failed;
}
