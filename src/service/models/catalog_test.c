/* catalog_test.c - the built-in catalog, the names it answers to, and files that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/models/catalog.h"
#include "service/tools/tool_format.h"

#define F "accounts/fireworks/models/"

static void test_builtin(void **state)
{
    (void)state;
    struct err e = { ERR_NONE, "" };
    struct catalog *c;
    if (!catalog_load(&c, NULL, &e)) fail_msg("%s", e.msg);
    assert_true(catalog_count(c) >= 20);
    const struct catalog_model *m = catalog_find(c, F "deepseek-r1-basic");
    assert_non_null(m);
    assert_true(m->price_input == 0.55 && m->price_output == 2.19 && m->context == 163840 &&
                m->reasoning == THOUGHTS_INLINE && !m->tools);
    m = catalog_find(c, "flux-1-dev-fp8");
    assert_true(m && m->kind == MODEL_IMAGE && m->price_step == 0.0005 && m->steps == 28 &&
                m->guidance == 3.5 && m->sizes.n >= 9);
    m = catalog_find(c, "accounts/hearth/models/smollm2-135m-instruct");
    assert_true(m && m->context == 8192 && m->price_unit == PRICE_PER_1M_TOKENS);
    for (int i = 0; i < catalog_count(c); i++) {
        m = catalog_at(c, i);
        assert_true(m->created > 0 && (*m->source || !strcmp(m->owner, "hearth")) && *m->name &&
                    (m->kind == MODEL_IMAGE) == !m->context);
    }
    catalog_free(c);
}

static void test_names(void **state)
{
    (void)state;
    struct catalog *c;
    assert_true(catalog_load(&c, NULL, NULL));
    static const char *const same[] = {
        F "qwen3-30b-a3b",
        "qwen3-30b-a3b",
        "fireworks/qwen3-30b-a3b",
        "accounts/me/models/qwen3-30b-a3b",
        F F "qwen3-30b-a3b",
        F "qwen3-30b-a3b#accounts/me/deployments/d",
        "accounts/me/deployedModels/qwen3-30b-a3b-1f2e",
        "Qwen/Qwen3-30B-A3B",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const struct catalog_model *m = catalog_find(c, same[i]);
        if (!m || strcmp(m->id, F "qwen3-30b-a3b")) fail_msg("%s", same[i]);
    }
    assert_string_equal(catalog_find(c, "accounts/me/deployedModels/deepseek-r1-0528-abc")->id,
                        F "deepseek-r1-0528");
    assert_string_equal(catalog_find(c, "flux/dev")->id, "flux/dev");
    assert_string_equal(catalog_find(c, "SSD-1B")->id, F "SSD-1B");
    static const char *const none[] = { "",
                                        "#",
                                        "/",
                                        "accounts/",
                                        "accounts/a/models/",
                                        "dev",
                                        "qwen3",
                                        "qwen3-30b-a3b-1f2e",
                                        "accounts/fireworks/models/accounts" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (catalog_find(c, none[i])) fail_msg("\"%s\" found something", none[i]);
    catalog_free(c);
}

static void test_files(void **state)
{
    (void)state;
    struct catalog *c;
    assert_true(catalog_load(&c, NULL, NULL));
    const struct catalog_model *r1 = catalog_find(c, "deepseek-r1"),
                               *starter = catalog_find(c, "smollm2-135m-instruct");
    assert_true(catalog_owns_file(r1, "DeepSeek-R1") && catalog_owns_file(r1, "deepseek-r1") &&
                catalog_owns_file(r1, "DeepSeek-R1-Q4_K_M"));
    assert_false(catalog_owns_file(r1, "DeepSeek-R1-0528") ||
                 catalog_owns_file(r1, "DeepSeek-R1-Distill-Qwen-7B"));
    const struct catalog_model *dev = catalog_find(c, "flux-1-dev-fp8");
    assert_true(dev && catalog_owns_file(dev, "flux1-dev") &&
                catalog_owns_file(dev, "flux1-dev-fp8-e4m3fn") &&
                catalog_owns_file(dev, "flux1-dev_fp8_scaled") &&
                catalog_owns_file(dev, "flux1-dev-Q4_K_S") && catalog_owns_file(dev, "FLUX.1-dev"));
    assert_false(catalog_owns_file(dev, "flux1-dev-kontext_fp8_scaled") ||
                 catalog_owns_file(dev, "flux1-fill-dev"));
    assert_true(catalog_owns_file(starter, "SmolLM2-135M-Instruct.Q4_1") &&
                catalog_owns_file(starter, "smollm2-135m-instruct"));
    assert_false(catalog_owns_file(starter, "SmolLM2-135M"));
    catalog_free(c);
}

static void test_wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "models: 5\n", "expected a list" },
        { "models:\n  - name: x\n", ":2:5: \"id\" is missing" },
        { "models:\n  - id: \"\"\n", ":2:5: a model needs an id" },
        { "models:\n  - id: a\n    contxt: 5\n", ":3:5: there is no such key as \"contxt\"" },
        { "models:\n  - id: a\n    price: { unit: per_step, per_stp: 1 }\n",
          ":3:30: there is no such key as \"per_stp\"" },
        { "models:\n  - id: a\n    context: 5\n    context: 6\n", ":4:5: \"context\" stands there twice" },
        { "models:\n  - id: a\n    context: 5.5\n", "whole number" },
        { "models:\n  - id: a\n    reasoning: outline\n", "reasoning must be one of none|inline|split" },
        { "models:\n  - id: a\n    tools: smoke\n", "tools must be one of false|true|hermes|" },
        { "models:\n  - id: a\n    budgets: { huge: 5 }\n", "no such key as \"huge\"" },
        { "version: 2\nmodels: []\n", "version must be" },
        { "version: 1\n", "\"models\" is missing" },
        { "models: []\nmodel: []\n", "\"model\"" },
        { "models:\n  - id: a\n    context: many\n", "expected a whole number" },
        { "models:\n  - id: a\n    kind: text\n  - id: a\n    kind: text\n", "twice" },
        { "models:\n  - id: a\n    kind: sound\n", "kind must be" },
        { "models:\n  - id: a\n    kind: image\n    sizes: [128x128, big]\n", "WIDTHxHEIGHT" },
        { "models:\n  - id: a\n    kind: image\n    native: 128\n    sizes: [128x128]\n", "native must be" },
        { "models:\n  - id: a\n    kind: image\n    native: 128x128\n", "native needs sizes" },
        { "models: [\n", ":" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/hearth-catalog-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, cases[i].text, strlen(cases[i].text)), strlen(cases[i].text));
        close(fd);
        struct err e = { ERR_NONE, "" };
        struct catalog *c;
        bool ok = catalog_load(&c, path, &e);
        unlink(path);
        if (ok || !strstr(e.msg, cases[i].why)) fail_msg("%s -> %s", cases[i].text, e.msg);
    }
}

static void test_calls_and_budgets(void **state)
{
    (void)state;
    static const char text[] =
        "models:\n"
        "  - { id: a, tools: hermes, reasoning: split, budgets: { low: 100, high: 900 } }\n"
        "  - { id: b, tools: true }\n"
        "  - { id: c, tools: false }\n"
        "  - { id: d }\n";
    char path[] = "/tmp/hearth-catalog-XXXXXX";
    int fd = mkstemp(path);
    struct err e = { ERR_NONE, "" };
    struct catalog *c;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    if (!catalog_load(&c, path, &e)) fail_msg("%s", e.msg);
    unlink(path);
    const struct catalog_model *a = catalog_at(c, 0), *d = catalog_at(c, 3);
    assert_string_equal(catalog_calls_format(a), "hermes");
    assert_true(a->tools && a->reasoning == THOUGHTS_SPLIT);
    assert_true(catalog_at(c, 1)->tools && !catalog_calls_format(catalog_at(c, 1)));
    assert_true(!catalog_at(c, 2)->tools && !catalog_calls_format(catalog_at(c, 2)));
    assert_true(!d->tools && !catalog_calls_format(d) && d->reasoning == THOUGHTS_NONE);
    /* Every format has its word, and every word is a format. */
    int n = 0;
    while (tool_formats[n]) n++;
    for (int i = 0; i < n; i++) {
        const struct catalog_model m = { .calls = (enum catalog_calls)(CALLS_FORMATS + i) };
        assert_non_null(tool_format_named(catalog_calls_format(&m)));
        for (int k = 0; k < i; k++) {
            const struct catalog_model other = { .calls = (enum catalog_calls)(CALLS_FORMATS + k) };
            assert_string_not_equal(catalog_calls_format(&m), catalog_calls_format(&other));
        }
    }
    assert_int_equal(catalog_think_budget(a, "low"), 100);
    assert_int_equal(catalog_think_budget(a, "high"), 900);
    assert_int_equal(catalog_think_budget(a, "medium"), 8192);
    assert_int_equal(catalog_think_budget(d, "low"), 3000);
    assert_int_equal(catalog_think_budget(NULL, "minimal"), 512);
    assert_int_equal(catalog_think_budget(a, "xhigh"), -1);
    assert_int_equal(catalog_think_budget(NULL, ""), -1);
    catalog_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_builtin), cmocka_unit_test(test_names),
                                        cmocka_unit_test(test_files),
                                        cmocka_unit_test(test_calls_and_budgets),
                                        cmocka_unit_test(test_wrong_files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
