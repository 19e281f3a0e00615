/* advice_test.c - in mode "seed" the answers are those of the guides' own functions, over all their cases (tools/reference/seed_functions.py
 * asked them); in the better mode nothing costs more than may be spent, and a word that no rule knows is refused. */
#include "service/advice/advice.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/advice/prompts.h"

static struct catalog *catalog;
static struct advice *advice;
static struct styles *styles;
static json_t *cases;

static int load(void **state)
{
    (void)state;
    struct err e;
    json_error_t why;
    cases = json_load_file("tests/golden/advice/cases.json", 0, &why);
    assert_non_null(cases);
    if (!catalog_load(&catalog, NULL, &e) || !advice_load(&advice, NULL, catalog, &e) ||
        !styles_load(&styles, NULL, &e))
        fail_msg("%s", e.msg);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(cases);
    styles_free(styles);
    advice_free(advice);
    catalog_free(catalog);
    return 0;
}

static const char *word(const json_t *c, const char *name)
{
    return json_string_value(json_object_get(c, name));
}

/* A number of the reference's answer; what it does not say is not said here. */
static void same_number(const json_t *answer, const char *name, double ours)
{
    const json_t *v = json_object_get(answer, name);
    if (!v)
        assert_true(ours < 0);
    else if (fabs(json_number_value(v) - ours) > 1e-9 * fabs(ours))
        fail_msg("%s: %g, should be %g", name, ours, json_number_value(v));
}

static void same_word(const json_t *answer, const char *name, const char *ours)
{
    const char *v = word(answer, name);
    if (v)
        assert_string_equal(ours, v);
    else
        assert_null(ours);
}

/* The cases of a list, of which there are some. */
static json_t *list(const char *name)
{
    json_t *l = json_object_get(cases, name);
    assert_true(json_array_size(l) > 0);
    return l;
}

static void test_texts(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(list("text"), i, c)
    {
        struct advised out;
        struct err e;
        const struct text_question q = { word(c, "task"), word(c, "complexity"), word(c, "budget"),
                                         ADVICE_SEED };
        const json_t *p = json_object_get(c, "parameters");
        assert_true(advise_text(advice, &q, &out, &e));
        assert_string_equal(out.says, word(c, "model"));
        assert_string_equal(out.model->id, word(c, "model"));
        same_number(p, "temperature", out.temperature);
        same_number(p, "top_p", out.top_p);
        same_number(p, "top_k", out.top_k);
        same_number(p, "max_tokens", out.max_tokens);
    }
}

static struct image_question asked(void)
{
    return (struct image_question){ .dollars = -1, .steps = -1, .guidance = -1, .mode = ADVICE_SEED };
}

static void same_parameters(const json_t *p, const struct advised *out)
{
    same_number(p, "steps", out->steps);
    same_number(p, "guidance_scale", out->guidance);
    same_word(p, "size", out->size);
}

static void test_pictures(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    struct advised out;
    struct err e;
    json_array_foreach(list("image_parameters"), i, c)
    {
        struct image_question q = asked();
        q.model = word(c, "model");
        q.use_case = word(c, "use_case");
        assert_true(advise_image(advice, &q, &out, &e));
        same_parameters(json_object_get(c, "parameters"), &out);
    }
    json_array_foreach(list("use_case"), i, c)
    {
        struct image_question q = asked();
        q.use_case = word(c, "use_case");
        q.dollars = json_number_value(json_object_get(c, "dollars"));
        assert_true(advise_image(advice, &q, &out, &e));
        assert_string_equal(out.says, word(c, "says"));
    }
    json_array_foreach(list("quality"), i, c)
    {
        struct image_question q = asked();
        const json_t *a = json_object_get(c, "answer");
        q.quality = word(c, "quality");
        q.dollars = json_number_value(json_object_get(c, "dollars"));
        assert_true(advise_image(advice, &q, &out, &e));
        assert_string_equal(out.says, word(a, "model"));
        same_number(a, "steps", out.steps);
        same_number(a, "estimated_cost", (double)out.nano / 1e9);
    }
    static const char *const ways[] = { "speed", "better" };
    for (int way = 0; way < 2; way++) json_array_foreach(list(ways[way]), i, c)
        {
            struct image_question q = asked();
            const json_t *given = json_object_get(c, "given"), *a = json_object_get(c, "answer");
            q.priority = way ? "quality" : "speed";
            q.model = word(given, "model");
            if (json_object_get(given, "steps"))
                q.steps = (int)json_integer_value(json_object_get(given, "steps"));
            if (json_object_get(given, "guidance_scale"))
                q.guidance = json_number_value(json_object_get(given, "guidance_scale"));
            assert_true(advise_image(advice, &q, &out, &e));
            assert_string_equal(out.says, word(a, "model"));
            same_parameters(a, &out);
        }
}

static void test_batches(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    struct image_plan plan;
    struct err e;
    json_array_foreach(list("batch"), i, c)
    {
        const json_t *a = json_object_get(c, "answer"), *config = json_object_get(a, "recommended_config");
        assert_true(advise_batch(advice, NULL, json_integer_value(json_object_get(c, "n")),
                                 json_number_value(json_object_get(c, "dollars")), ADVICE_SEED, &plan, &e));
        assert_string_equal(plan.each.says, word(config, "model"));
        same_number(config, "steps", plan.each.steps);
        same_number(a, "total_estimated_cost", (double)plan.nano / 1e9);
        same_number(a, "images_per_dollar", plan.images_a_dollar);
    }
}

static void test_costs(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(list("picture_cost"), i, c)
    {
        const struct catalog_model *m = catalog_find(catalog, word(c, "model"));
        const json_t *cost = json_object_get(c, "cost");
        assert_non_null(m);
        if (json_is_null(cost)) continue; /* the guide has no price of it */
        same_number(c, "cost",
                    (double)(advice_picture_cost(m, (int)json_integer_value(json_object_get(c, "steps"))) *
                             json_integer_value(json_object_get(c, "n"))) /
                        1e9);
    }
}

static void test_prompts(void **state)
{
    (void)state;
    size_t i, k;
    json_t *c, *w;
    struct err e;
    json_array_foreach(list("enhance"), i, c)
    {
        struct buf b = BUF_INIT(0);
        assert_true(styles_enhance(styles, word(c, "prompt"), word(c, "style"),
                                   json_is_true(json_object_get(c, "quality")), false, &b, &e));
        assert_string_equal(b.data, word(c, "answer"));
        buf_free(&b);
    }
    json_array_foreach(list("negative"), i, c)
    {
        struct buf b = BUF_INIT(0);
        struct str_list avoid = { 0 };
        json_array_foreach(json_object_get(c, "avoid"), k, w)
            assert_true(str_list_add(&avoid, json_string_value(w), json_string_length(w), &e));
        assert_true(styles_negative(styles, &avoid, &b, &e));
        assert_string_equal(b.data, word(c, "answer"));
        str_list_clear(&avoid);
        buf_free(&b);
    }
    struct buf b = BUF_INIT(0);
    assert_false(styles_enhance(styles, "p", "no such", true, true, &b, &e));
    assert_non_null(strstr(e.msg, "watercolor"));
    assert_true(styles_enhance(styles, "p", "none", false, true, &b, &e));
    assert_string_equal(b.data, "p");
    buf_clear(&b);
    assert_true(styles_enhance(styles, "p", NULL, false, true, &b, &e));
    assert_string_equal(b.data, "p, highly detailed, sharp focus, professional photography");
    buf_free(&b);
}

/* The holes of the literal rules. */
static void test_better(void **state)
{
    (void)state;
    struct advised out;
    struct err e;
    for (int tenth = 0; tenth < 400; tenth++) /* hundredths of a cent */
        for (int k = 0; k < 3; k++) {
            static const char *const qualities[] = { "highest", "good", "any" };
            struct image_question q = asked();
            q.mode = ADVICE_BEST;
            q.quality = qualities[k];
            q.dollars = tenth * 1e-4;
            assert_true(advise_image(advice, &q, &out, &e));
            assert_true(out.steps > 0 && out.size && out.guidance >= 0);
            assert_int_equal(out.over, q.dollars < 0.0014 - 1e-12); /* four steps of the cheapest */
            if (!out.over) assert_true(out.nano <= llround(q.dollars * 1e9));
            if (k == 0 && q.dollars >= 0.014 - 1e-12)
                assert_string_equal(out.model->id, "accounts/fireworks/models/flux-1-dev-fp8");
            if (k == 1) assert_string_equal(out.model->id, "accounts/fireworks/models/flux-1-schnell-fp8");
        }
    struct image_question q = asked();
    q.mode = ADVICE_BEST;
    q.quality = "highest";
    q.dollars = 0.0145; /* enough for it, and the literal rules ask for more */
    assert_true(advise_image(advice, &q, &out, &e));
    assert_int_equal(out.steps, 28);
    q.dollars = 0.0101; /* fewer steps bring it within */
    assert_true(advise_image(advice, &q, &out, &e));
    assert_string_equal(out.says, "accounts/fireworks/models/flux-1-dev-fp8");
    assert_int_equal(out.steps, 20);
    q.quality = "splendid";
    assert_false(advise_image(advice, &q, &out, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_non_null(strstr(e.msg, "highest|good|any"));
    q = asked();
    q.mode = ADVICE_BEST;
    q.use_case = "commercial_photography";
    q.dollars = 0.012; /* the tier's model costs 0.014 with its usual steps */
    assert_true(advise_image(advice, &q, &out, &e));
    assert_true(out.nano <= 12000000 && !out.over);
    assert_false(advise_text(advice, &(struct text_question){ .task = "gardening" }, &out, &e));
    assert_non_null(strstr(e.msg, "speed_critical"));
    assert_true(advise_text(advice, &(struct text_question){ .task = "reasoning", .complexity = "medium" },
                            &out, &e));
    assert_int_not_equal(out.model->reasoning, THOUGHTS_NONE);
    struct image_plan plan;
    assert_true(advise_batch(advice, "good", 1000, 1.0, ADVICE_BEST, &plan, &e));
    assert_true(plan.over); /* 1.40 */
    assert_int_equal(plan.affordable, 714);
    assert_true(advise_batch(advice, "highest", 100, 1.4, ADVICE_BEST, &plan, &e));
    assert_false(plan.over);
    assert_int_equal(plan.nano, 1400000000);
    assert_int_equal(plan.affordable, -1);
    assert_false(advise_batch(advice, "good", 0, 1.0, ADVICE_BEST, &plan, &e));
    assert_false(advise_batch(advice, "good", INT64_MAX / 2, 1.0, ADVICE_BEST, &plan, &e));
}

/* A catalog of one model: the rules that name others are left out, and what then has no answer says so. */
static void test_other_catalog(void **state)
{
    (void)state;
    char path[] = "/tmp/hearth-advice-XXXXXX";
    const int fd = mkstemp(path);
    struct catalog *c;
    struct advice *a;
    struct advised out;
    struct err e = { 0 };
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    assert_non_null(f);
    fputs("version: 1\nmodels: [{ id: accounts/fireworks/models/deepseek-v3, kind: text }]\n", f);
    fclose(f);
    if (!catalog_load(&c, path, &e) || !advice_load(&a, NULL, c, &e)) fail_msg("%s", e.msg);
    assert_true(advise_text(a, &(struct text_question){ .task = "speed_critical" }, &out, &e));
    assert_string_equal(out.model->id, "accounts/fireworks/models/deepseek-v3");
    assert_false(advise_text(a, &(struct text_question){ .task = "creative" }, &out, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    struct image_question q = asked();
    struct image_plan plan;
    static const char *const words[] = { "good", "social_media", "speed" };
    for (int i = 0; i < 6; i++) {
        q = asked();
        q.mode = i % 2 ? ADVICE_SEED : ADVICE_BEST;
        *(i / 2 == 0 ? &q.quality : i / 2 == 1 ? &q.use_case : &q.priority) = words[i / 2];
        q.dollars = 1;
        assert_false(advise_image(a, &q, &out, &e));
        assert_true(e.msg[0]);
    }
    assert_false(advise_batch(a, NULL, 3, 1, ADVICE_BEST, &plan, &e));
    advice_free(a);
    catalog_free(c);
    remove(path);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "version: 2\n", "version" },
        { "version: 1\ntiers: { high: 1, medium: 0 }\n", "text_models" },
        { "version: 1\ntiers: { high: 1, medium: 0 }\ntext_models: [{ model: nobody }]\ntext_parameters: [{ "
          "top_k: 1 }]\n"
          "image_use_cases: [{ model: SSD-1B }]\nimage_budgets: [{ model: SSD-1B }]\nimage_scores: [{ model: "
          "SSD-1B }]\n"
          "image_parameters: [{ steps: 3 }]\n",
          "3:17: the catalog has no model nobody" },
        { "version: 1\ntiers: { high: 1, medium: 0 }\ntext_models: [{ model: SSD-1B }]\ntext_parameters: [{ "
          "top_k: 1 }]\n"
          "image_use_cases: [{ model: SSD-1B }]\nimage_budgets: [{ model: SSD-1B }]\nimage_scores: [{ model: "
          "SSD-1B }]\n"
          "image_parameters: [{ steps: 3 }]\n",
          "not a model for text" },
        { "version: 1\ntiers: { high: 1, medium: 0 }\ntext_models: [{ task: a, model: deepseek-v3 "
          "}]\ntext_parameters: [{ top_k: 1 }]\n"
          "image_use_cases: [{ model: SSD-1B }]\nimage_budgets: [{ model: SSD-1B }]\nimage_scores: [{ model: "
          "SSD-1B }]\n"
          "image_parameters: [{ steps: 3 }]\n",
          "the last rule must ask for nothing" },
    };
    char path[] = "/tmp/hearth-advice-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct advice *a = NULL;
        struct err e = { 0 };
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(bad[i].text, f);
        fclose(f);
        assert_false(advice_load(&a, path, catalog, &e));
        if (!strstr(e.msg, bad[i].why)) fail_msg("case %zu: %s", i, e.msg);
    }
    struct styles *s = NULL;
    struct err e = { 0 };
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("version: 1\nstyles: { a: [b] }\ndefault: c\n", f);
    fclose(f);
    assert_false(styles_load(&s, path, &e));
    assert_non_null(strstr(e.msg, "there is no style c"));
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),     cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_batches),   cmocka_unit_test(test_costs),
        cmocka_unit_test(test_prompts),   cmocka_unit_test(test_better),
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_other_catalog),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
