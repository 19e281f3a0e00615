/* Adapters as side branches against the same adapters merged into the weights by the reference (image_golden.py, lora()). */
#include "image/golden.h"

#include "image/flux.h"
#include "image/lora.h"
#include "image/unet.h"

enum { GRID_H = 3, GRID_W = 5, N_TEXT = 7, VALUES = GRID_H * GRID_W * 16 };

static struct golden g;

static void check(bool ok, const struct err *e)
{
    if (!ok) fail_msg("%s", e->msg);
}

struct tiny_flux {
    struct weights *w;
    struct nn_source s;
    struct flux_config k;
    struct flux *m;
    struct nn_lora_target target;
};

static void flux_open(struct tiny_flux *t, const char *file, bool bfl)
{
    static const char *const dot[] = { "transformer.", NULL };
    static const char *const flat[] = { "lora_unet_", NULL };
    struct err e = { 0 };
    json_t *config = golden_json(GOLDEN_DIR "flux_dev/config.json");
    check(flux_config_from_json(&t->k, config, &e), &e);
    json_decref(config);
    t->w = golden_weights(file);
    t->s = (struct nn_source){
        .dev = g.dev, .w = t->w, .what = file, .locate = bfl ? flux_locate_bfl : NULL, .locate_arg = &t->k
    };
    check(flux_load(&t->m, &t->k, &t->s, &e), &e);
    t->target = (struct nn_lora_target){ flux_owner(t->m), dot, flat, flux_locate_bfl, &t->k };
}

static void flux_close(struct tiny_flux *t)
{
    flux_free(t->m);
    nn_source_free(&t->s);
    weights_close(t->w);
}

static void velocity(const struct tiny_flux *t, const struct nn_lora_use *use, int n_use, float *out)
{
    struct weights *ref = golden_weights(GOLDEN_DIR "flux_dev/golden.safetensors");
    float *x = golden_floats(ref, "x", VALUES), *text = golden_floats(ref, "context", N_TEXT * 32);
    float *pooled = golden_floats(ref, "pooled", 24);
    struct nn_ctx c = { .dev = g.dev, .scratch = &g.scratch, .lora = use, .n_lora = n_use };
    assert_true(flux_forward(t->m, &c, x, GRID_H, GRID_W, text, N_TEXT, pooled, 0.73f, 3.5f, out, NULL));
    free(x);
    free(text);
    free(pooled);
    weights_close(ref);
}

static void test_flux(void **state)
{
    (void)state;
    static const char *const bases[] = { GOLDEN_DIR "flux_dev/model.safetensors",
                                         GOLDEN_DIR "flux_dev/bfl.safetensors" };
    struct weights *want = golden_weights(GOLDEN_DIR "lora/golden.safetensors");
    struct weights *plain = golden_weights(GOLDEN_DIR "flux_dev/golden.safetensors");
    struct err e = { 0 };
    float v[VALUES];
    for (int layout = 0; layout < 2; layout++) {
        struct tiny_flux t;
        struct nn_lora *peft, *kohya;
        flux_open(&t, bases[layout], layout == 1);
        check(nn_lora_load(&peft, g.dev, GOLDEN_DIR "lora/flux_peft.safetensors", &t.target, 1, &e), &e);
        check(nn_lora_load(&kohya, g.dev, GOLDEN_DIR "lora/flux_kohya.safetensors", &t.target, 1, &e), &e);
        assert_int_equal(nn_lora_applied(peft), 7);
        assert_int_equal(nn_lora_applied(kohya), 4);
        struct nn_lora_use both[] = { { peft, 0.8f }, { kohya, 0.8f } };
        velocity(&t, both, 1, v);
        golden_near("flux, peft", v, want, "flux_peft", VALUES, 1e-4);
        velocity(&t, both + 1, 1, v);
        golden_near("flux, kohya", v, want, "flux_kohya", VALUES, 1e-4);
        velocity(&t, both, 2, v);
        golden_near("flux, both at once", v, want, "flux_both", VALUES, 1e-4);
        both[0].weight = both[1].weight = 0;
        velocity(&t, both, 2, v);
        golden_near("flux, both at weight 0", v, plain, "velocity", VALUES, 1e-4);
        nn_lora_free(peft);
        nn_lora_free(kohya);
        flux_close(&t);
    }
    weights_close(want);
    weights_close(plain);
}

static void test_refusals(void **state)
{
    (void)state;
    struct tiny_flux t;
    struct nn_lora *l;
    struct err e = { 0 };
    flux_open(&t, GOLDEN_DIR "flux_dev/model.safetensors", false);
    assert_false(nn_lora_load(&l, g.dev, GOLDEN_DIR "lora/flux_dora.safetensors", &t.target, 1, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "dora_scale"));
    /* An adapter of another family: not one module fits. */
    assert_false(nn_lora_load(&l, g.dev, GOLDEN_DIR "lora/sdxl_ldm.safetensors", &t.target, 1, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_false(nn_lora_load(&l, g.dev, GOLDEN_DIR "lora/absent.safetensors", &t.target, 1, &e));
    flux_close(&t);
}

static void test_sdxl_names(void **state)
{
    (void)state;
    static const char *const flat[] = { "lora_unet_", NULL };
    static const char *const dot[] = { NULL };
    struct err e = { 0 };
    struct unet_config k;
    json_t *config = golden_json(GOLDEN_DIR "unet_sdxl/config.json");
    check(unet_config_from_json(&k, config, &e), &e);
    json_decref(config);
    struct weights *w = golden_weights(GOLDEN_DIR "unet_sdxl/model.float32.safetensors");
    struct weights *ref = golden_weights(GOLDEN_DIR "unet_sdxl/golden.safetensors");
    struct nn_source s = { .dev = g.dev, .w = w, .what = "UNet" };
    struct unet *m;
    check(unet_load(&m, &k, &s, &e), &e);
    struct nn_lora_target target = { unet_owner(m), dot, flat, unet_locate_ldm, &k };
    struct nn_lora *l[2];
    check(nn_lora_load(&l[0], g.dev, GOLDEN_DIR "lora/sdxl_ldm.safetensors", &target, 1, &e), &e);
    check(nn_lora_load(&l[1], g.dev, GOLDEN_DIR "lora/sdxl_diffusers.safetensors", &target, 1, &e), &e);
    assert_int_equal(nn_lora_applied(l[0]), 2);
    assert_int_equal(nn_lora_applied(l[1]), 2);
    struct nn_lora *none;
    assert_false(nn_lora_load(&none, g.dev, GOLDEN_DIR "lora/sdxl_foreign.safetensors", &target, 1, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "1 of its 3 adapter modules belong to no layer of this model"));
    assert_non_null(strstr(e.msg, "lora_unet_input_blocks_9_1_proj_in"));
    float *x = golden_floats(ref, "x", 6 * 10 * 4), *context = golden_floats(ref, "context", 5 * 12);
    float *pooled = golden_floats(ref, "pooled", 10), *ids = golden_floats(ref, "time_ids", 6),
          out[2][6 * 10 * 4];
    for (int i = 0; i < 2; i++) {
        struct nn_lora_use use = { l[i], 0.7f };
        struct nn_ctx c = { .dev = g.dev, .scratch = &g.scratch, .lora = &use, .n_lora = 1 };
        assert_true(unet_forward(m, &c, x, 6, 10, 613.0, context, 5, pooled, ids, out[i], NULL));
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    float *plain = golden_floats(ref, "out", 6 * 10 * 4);
    double moved = 0;
    for (int i = 0; i < 6 * 10 * 4; i++) moved += fabs(out[0][i] - plain[i]);
    assert_true(moved > 0.01); /* it did something */
    free(plain);
    free(x);
    free(context);
    free(pooled);
    free(ids);
    nn_lora_free(l[0]);
    nn_lora_free(l[1]);
    unet_free(m);
    nn_source_free(&s);
    weights_close(w);
    weights_close(ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_flux), cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_sdxl_names) };
    golden_open(&g);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_close(&g);
    return failed;
}
