/* Schedules against diffusers' and noise against PyTorch's: tools/reference/schedule_golden.py makes schedules.json. */
#include "image/golden.h"
#include "image/noise.h"
#include "image/schedule.h"

enum { VALUES = 6 };

static json_t *doc;
static struct golden g;

static void floats(const json_t *list, float *out, size_t n)
{
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) out[i] = (float)json_number_value(json_array_get(list, i));
}

static void near_values(size_t at, const char *what, const float *got, const json_t *list, size_t n)
{
    float want[VALUES];
    floats(list, want, n);
    for (size_t i = 0; i < n; i++) {
        /* The references step in single precision. */
        if (!(fabsf(got[i] - want[i]) <= 1e-4f * (1 + fabsf(want[i])))) {
            fail_msg("case %zu, %s[%zu]: %g, expected %g", at, what, i, got[i], want[i]);
        }
    }
}

static void run_case(size_t at, const json_t *k)
{
    struct err e = { 0 };
    struct schedule_config c;
    struct schedule *s = NULL;
    const char *class = json_string_value(json_object_get(k, "class"));
    if (!schedule_config_from_json(&c, json_object_get(k, "config"), class, &e))
        fail_msg("case %zu: %s", at, e.msg);
    const json_t *sigmas = json_object_get(k, "sigmas"), *times = json_object_get(k, "times");
    int asked = (int)json_integer_value(json_object_get(k, "steps"));
    int tokens = (int)json_integer_value(json_object_get(k, "tokens")), steps = (int)json_array_size(times);
    if (!schedule_new(&s, g.dev, &c, c.sampler, asked, tokens, VALUES, &e))
        fail_msg("case %zu: %s", at, e.msg);
    if (schedule_steps(s) != steps) fail_msg("case %zu: %d steps, expected %d", at, schedule_steps(s), steps);
    for (int i = 0; json_array_size(sigmas) && i <= steps; i++) {
        double want = json_number_value(json_array_get(sigmas, (size_t)i));
        if (!(fabs(schedule_sigma(s, i) - want) <= 2e-5 * (1 + want)))
            fail_msg("case %zu: sigma %d is %g, expected %g", at, i, schedule_sigma(s, i), want);
    }
    double unit = c.sampler == SAMPLER_FLOW_EULER ? 1000 : 1; /* diffusers counts flow time in thousandths */
    for (int i = 0; i < steps; i++) {
        double want = json_number_value(json_array_get(times, (size_t)i));
        if (!(fabs(schedule_time(s, i) * unit - want) <= 1e-3 * (1 + fabs(want) / 100)))
            fail_msg("case %zu: time %d is %g, expected %g", at, i, schedule_time(s, i) * unit, want);
    }
    static const float unit_noise[VALUES] = { 0.5f, -1.25f, 2.0f, 0.1f, -3.0f, 0.9f };
    float x[VALUES], out[VALUES], noise[VALUES];
    for (int i = 0; i < VALUES; i++) x[i] = unit_noise[i] * (float)schedule_start(s);
    near_values(at, "start", x, json_object_get(k, "start"), 1);
    for (int i = 0; i < steps; i++) {
        float scale = (float)schedule_input_scale(s, i);
        for (int v = 0; v < VALUES; v++) out[v] = 0.3f * (x[v] * scale) + 0.1f;
        bool wants = schedule_wants_noise(s);
        /* Where the reference draws none, its factor is 0. */
        memset(noise, 0, sizeof noise);
        bool drawn = json_array_size(json_array_get(json_object_get(k, "noise"), (size_t)i)) > 0;
        if (wants && drawn) floats(json_array_get(json_object_get(k, "noise"), (size_t)i), noise, VALUES);
        schedule_step(s, i, x, out, wants ? noise : NULL);
        if (i == steps / 2) near_values(at, "middle", x, json_object_get(k, "middle"), VALUES);
    }
    near_values(at, "end", x, json_object_get(k, "end"), VALUES);
    schedule_free(s);
}

static void test_trajectories(void **state)
{
    (void)state;
    const json_t *cases = json_object_get(doc, "cases");
    assert_true(json_array_size(cases) > 700);
    for (size_t i = 0; i < json_array_size(cases); i++) run_case(i, json_array_get(cases, i));
    printf("  %zu trajectories\n", json_array_size(cases));
}

/* What is not followed is refused by the name of its key. */
static void test_refusals(void **state)
{
    (void)state;
    const json_t *list = json_object_get(doc, "refused");
    assert_true(json_array_size(list) >= 30);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *k = json_array_get(list, i);
        const char *names = json_string_value(json_object_get(k, "names"));
        struct schedule_config c;
        struct err e = { 0 };
        if (schedule_config_from_json(&c, json_object_get(k, "config"), NULL, &e))
            fail_msg("refusal %zu (%s) was taken", i, names);
        if (!strstr(e.msg, names)) fail_msg("refusal %zu does not name %s: %s", i, names, e.msg);
    }
}

/* Every key of every class of the reference has been looked at. */
static void test_keys(void **state)
{
    (void)state;
    const json_t *classes = json_object_get(doc, "keys"), *list, *key;
    const char *class;
    size_t i;
    assert_true(json_object_size(classes) >= 18);
    json_object_foreach((json_t *)classes, class, list)
    {
        json_array_foreach(list, i, key)
        {
            if (!schedule_config_knows(json_string_value(key)))
                fail_msg("%s: %s is not known", class, json_string_value(key));
        }
    }
    assert_false(schedule_config_knows("use_something_new"));
    assert_true(schedule_config_knows("_diffusers_version"));
}

static void test_published_numbers(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct schedule *s = NULL;
    struct schedule_config flux = schedule_config_flux(false), sdxl = schedule_config_sdxl();
    assert_true(schedule_new(&s, g.dev, &flux, flux.sampler, 28, 4096, VALUES, &e));
    static const double want[] = { 1.0, 0.988409, 0.976222, 0.963394 };
    for (int i = 0; i < 4; i++) assert_true(fabs(schedule_sigma(s, i) - want[i]) < 1e-6);
    assert_true(fabs(schedule_sigma(s, 27) - 0.104721) < 1e-6);
    assert_int_equal(schedule_begin(s, 0.6), 11);
    assert_int_equal(schedule_begin(s, 1.0), 0);
    schedule_free(s);
    assert_true(schedule_new(&s, g.dev, &sdxl, sdxl.sampler, 30, 0, VALUES, &e));
    assert_true(fabs(schedule_sigma(s, 0) - 11.47685) < 1e-4 && fabs(schedule_start(s) - 11.52033) < 1e-4);
    float clean[VALUES] = { 1, 2, 3, 4, 5, 6 }, noise[VALUES] = { 1, -1, 1, -1, 1, -1 }, out[VALUES];
    schedule_add_noise(s, 30, out, clean, noise);
    assert_memory_equal(out, clean, sizeof out);
    schedule_free(s);
    assert_false(schedule_new(&s, g.dev, &sdxl, sdxl.sampler, 0, 0, VALUES, &e));
    assert_int_equal(e.code, ERR_REQUEST);
}

static void test_noise(void **state)
{
    (void)state;
    const json_t *list = json_object_get(doc, "noise");
    assert_true(json_array_size(list) >= 7);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *k = json_array_get(list, i);
        size_t n = (size_t)json_integer_value(json_object_get(k, "n"));
        float *v = malloc(n * sizeof *v);
        struct noise *drawn = malloc(sizeof *drawn);
        assert_true(v && drawn);
        noise_seed(drawn, (uint64_t)json_integer_value(json_object_get(k, "seed")));
        noise_fill(drawn, v, n);
        double sum = 0;
        for (size_t j = 0; j < n; j++) sum += v[j];
        const json_t *head = json_object_get(k, "head"), *tail = json_object_get(k, "tail");
        for (size_t j = 0; j < json_array_size(head); j++) {
            double want = json_number_value(json_array_get(head, j));
            if (fabs(v[j] - want) > 2e-6 * (1 + fabs(want)))
                fail_msg("noise %zu[%zu]: %g, expected %g", i, j, v[j], want);
        }
        for (size_t j = 0; j < 4; j++) {
            assert_true(fabs(v[n - 4 + j] - json_number_value(json_array_get(tail, j))) < 1e-5);
        }
        assert_true(fabs(sum - json_number_value(json_object_get(k, "sum"))) < 1e-3);
        free(v);
        free(drawn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trajectories), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_keys),         cmocka_unit_test(test_published_numbers),
        cmocka_unit_test(test_noise),
    };
    doc = json_load_file(GOLDEN_DIR "schedules.json", 0, NULL);
    if (!doc) return 1;
    golden_open(&g);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_close(&g);
    json_decref(doc);
    return failed;
}
