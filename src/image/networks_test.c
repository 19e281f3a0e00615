/* Every network against diffusers and transformers on tiny checkpoints: tools/reference/image_golden.py makes them. */
#include "image/golden.h"

#include "image/clip.h"
#include "image/flux.h"
#include "image/t5.h"
#include "image/unet.h"
#include "image/vae.h"

/* The bounds that a network in such weights has to keep. */
static const double F32 = 1e-4, NARROW = 1e-2;

static struct golden g;

static struct nn_ctx context(void) { return (struct nn_ctx){ .dev = g.dev, .scratch = &g.scratch }; }

static void check(bool ok, const struct err *e)
{
    if (!ok) fail_msg("%s", e->msg);
}

/* ---- CLIP -------------------------------------------------------------------------------------------------- */

static void clip_case(const char *dir, const char *file, bool openclip)
{
    struct err e = { 0 };
    char path[128];
    struct clip_config k;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = golden_json(path);
    check(clip_config_from_json(&k, config, NULL, &e), &e);
    json_decref(config);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    struct weights *w = golden_weights(path);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);

    struct nn_source s = { .dev = g.dev,
                           .w = w,
                           .what = file,
                           .prefix = openclip ? "conditioner.embedders.1.model." : "",
                           .locate = openclip ? clip_locate_openclip : NULL,
                           .locate_arg = &k };
    struct clip *m = NULL;
    check(clip_load(&m, &k, &s, &e), &e);
    int n, width = k.n_proj ? k.n_proj : k.n_embd;
    int32_t *ids = golden_ids(ref, "ids", &n);
    float *hidden = malloc((size_t)(n * k.n_embd) * sizeof *hidden),
          *pooled = malloc((size_t)width * sizeof *pooled);
    struct nn_ctx c = context();
    clip_encode(m, &c, ids, n, 1, hidden, pooled);
    golden_near("penultimate", hidden, ref, "penultimate", n * k.n_embd, F32);
    golden_near("pooled", pooled, ref, "pooled", width, F32);
    clip_encode(m, &c, ids, n, 2, hidden, NULL);
    golden_near("clip_skip 1", hidden, ref, "skip2", n * k.n_embd, F32);
    clip_encode(m, &c, ids, n, 0, hidden, NULL);
    golden_near("last, normed", hidden, ref, "last", n * k.n_embd, F32);
    assert_int_equal(nn_mark(&c), 0);
    free(hidden);
    free(pooled);
    free(ids);
    clip_free(m);
    nn_source_free(&s);
    weights_close(w);
    weights_close(ref);
}

static void test_clip_l(void **state)
{
    (void)state;
    clip_case(GOLDEN_DIR "clip_l", "model.safetensors", false);
}

static void test_clip_g(void **state)
{
    (void)state;
    clip_case(GOLDEN_DIR "clip_g", "model.safetensors", false);
    clip_case(GOLDEN_DIR "clip_g", "openclip.safetensors", true);
}

/* ---- T5 ---------------------------------------------------------------------------------------------------- */

static void test_t5_buckets(void **state)
{
    (void)state;
    static const int want[][2] = { { -200, 15 }, { -128, 15 }, { -64, 14 }, { -20, 10 },
                                   { -12, 9 },   { -8, 8 },    { -7, 7 },   { -1, 1 },
                                   { 0, 0 },     { 1, 17 },    { 7, 23 },   { 8, 24 },
                                   { 12, 25 },   { 20, 26 },   { 64, 30 },  { 128, 31 } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(t5_bucket(want[i][0], 32, 128), want[i][1]);
}

static void test_t5(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct t5_config k, shapes;
    json_t *config = golden_json(GOLDEN_DIR "t5/config.json");
    check(t5_config_from_json(&k, config, &e), &e);
    json_decref(config);
    struct weights *w = golden_weights(GOLDEN_DIR "t5/model.safetensors");
    struct weights *ref = golden_weights(GOLDEN_DIR "t5/golden.safetensors");
    struct nn_source s = { .dev = g.dev, .w = w, .what = "t5" };
    check(t5_config_from_shapes(&shapes, &s, &e), &e);
    assert_memory_equal(&shapes, &k, sizeof k);
    struct t5 *m = NULL;
    check(t5_load(&m, &k, &s, &e), &e);
    int n;
    int32_t *ids = golden_ids(ref, "ids", &n);
    float *hidden = malloc((size_t)(n * k.n_embd) * sizeof *hidden);
    struct nn_ctx c = context();
    t5_encode(m, &c, ids, n, hidden);
    golden_near("hidden", hidden, ref, "hidden", n * k.n_embd, F32);
    free(hidden);
    free(ids);
    t5_free(m);
    nn_source_free(&s);
    weights_close(w);
    weights_close(ref);
}

/* ---- FLUX -------------------------------------------------------------------------------------------------- */

enum { GRID_H = 3, GRID_W = 5, N_TEXT = 7, CHANNELS = 16 };

/* The velocity of a tiny FLUX in one of its file forms; `config` is the folder's or read off the shapes. */
static void flux_velocity(const char *dir, const char *file, bool bfl, float *velocity)
{
    struct err e = { 0 };
    char path[128];
    struct flux_config k, shapes;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = golden_json(path);
    check(flux_config_from_json(&k, config, &e), &e);
    json_decref(config);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    struct weights *w = golden_weights(path);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);
    struct nn_source s = {
        .dev = g.dev, .w = w, .what = file, .locate = bfl ? flux_locate_bfl : NULL, .locate_arg = &k
    };
    check(flux_config_from_shapes(&shapes, &s, bfl, &e), &e);
    /* The axes' split is not in the file; everything else must be read off it. */
    memcpy(shapes.axes, k.axes, sizeof k.axes);
    assert_memory_equal(&shapes, &k, sizeof k);

    struct flux *m = NULL;
    check(flux_load(&m, &k, &s, &e), &e);
    float *x = golden_floats(ref, "x", GRID_H * GRID_W * CHANNELS),
          *text = golden_floats(ref, "context", N_TEXT * 32);
    float *pooled = golden_floats(ref, "pooled", 24);
    struct nn_ctx c = context();
    atomic_bool stop = false;
    assert_true(flux_forward(m, &c, x, GRID_H, GRID_W, text, N_TEXT, pooled, 0.73f, 3.5f, velocity, &stop));
    stop = true;
    assert_false(flux_forward(m, &c, x, GRID_H, GRID_W, text, N_TEXT, pooled, 0.73f, 3.5f, text, &stop));
    assert_int_equal(nn_mark(&c), 0);
    free(x);
    free(text);
    free(pooled);
    flux_free(m);
    nn_source_free(&s);
    weights_close(w);
    weights_close(ref);
}

static void flux_case(const char *dir, const char *file, bool bfl, const char *want, double bound)
{
    float v[GRID_H * GRID_W * CHANNELS];
    char path[128];
    flux_velocity(dir, file, bfl, v);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);
    golden_near(file, v, ref, want, GRID_H * GRID_W * CHANNELS, bound);
    weights_close(ref);
}

static void test_flux(void **state)
{
    (void)state;
    const char *dev = GOLDEN_DIR "flux_dev";
    flux_case(dev, "model.safetensors", false, "velocity", F32);
    flux_case(dev, "bfl.safetensors", true, "velocity", F32);
    flux_case(dev, "model.bfloat16.safetensors", false, "velocity_bf16", NARROW);
    flux_case(dev, "bfl_fp8.safetensors", true, "velocity_fp8_plain", NARROW);
    flux_case(dev, "bfl_fp8_scaled.safetensors", true, "velocity_fp8_scaled", NARROW);
    flux_case(GOLDEN_DIR "flux_schnell", "model.safetensors", false, "velocity", F32);
}

static void test_flux_layouts_agree(void **state)
{
    (void)state;
    float a[GRID_H * GRID_W * CHANNELS], b[GRID_H * GRID_W * CHANNELS];
    flux_velocity(GOLDEN_DIR "flux_dev", "model.safetensors", false, a);
    flux_velocity(GOLDEN_DIR "flux_dev", "bfl.safetensors", true, b);
    assert_memory_equal(a, b, sizeof a);
}

/* ---- VAE --------------------------------------------------------------------------------------------------- */

static void vae_case(const char *dir, int n_latent)
{
    enum { LH = 12, LW = 20, H = 24, W = 40 };
    static const char *const files[] = { "model.safetensors", "ldm.safetensors" };
    struct err e = { 0 };
    char path[128];
    struct vae_config k;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = golden_json(path);
    check(vae_config_from_json(&k, config, &e), &e);
    json_decref(config);
    assert_int_equal(k.n_latent, n_latent);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);
    float *latent = golden_floats(ref, "latent", n_latent * LH * LW),
          *image = golden_floats(ref, "image", H * W * 3);
    float *noise = golden_floats(ref, "noise", n_latent * LH * LW);
    float decoded[2][H * W * 3], encoded[16 * LH * LW];

    for (int layout = 0; layout < 2; layout++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[layout]);
        struct weights *w = golden_weights(path);
        struct nn_source s = {
            .dev = g.dev, .w = w, .what = path, .locate = layout ? vae_locate_ldm : NULL, .locate_arg = &k
        };
        struct vae *m = NULL;
        check(vae_load(&m, &k, &s, &e), &e);
        check(vae_decode(m, g.dev, latent, LH, LW, 0, decoded[layout], NULL, &e), &e);
        golden_near("decoded", decoded[layout], ref, "decoded", H * W * 3, F32);
        check(vae_encode(m, g.dev, image, H, W, NULL, encoded, NULL, &e), &e);
        golden_near("encoded mean", encoded, ref, "mean", n_latent * LH * LW, F32);
        check(vae_encode(m, g.dev, image, H, W, noise, encoded, NULL, &e), &e);
        golden_near("encoded sample", encoded, ref, "sample", n_latent * LH * LW, F32);

        if (layout == 0) {
            /* Tiles are an approximation, but away from seams and with one tile for all it is the same picture. */
            float *tiled = malloc(sizeof decoded[0]);
            check(vae_decode(m, g.dev, latent, LH, LW, LW, tiled, NULL, &e), &e);
            assert_memory_equal(tiled, decoded[0], sizeof decoded[0]);
            check(vae_decode(m, g.dev, latent, LH, LW, 8, tiled, NULL, &e), &e);
            double diff = 0, norm = 0;
            for (int i = 0; i < H * W * 3; i++) {
                diff += pow(tiled[i] - decoded[0][i], 2);
                norm += pow(decoded[0][i], 2);
            }
            assert_true(isfinite(diff) && diff < norm);
            free(tiled);
        }
        atomic_bool stop = true;
        assert_false(vae_decode(m, g.dev, latent, LH, LW, 0, decoded[1], &stop, &e));
        assert_int_equal(e.code, ERR_CANCELLED);
        if (layout == 1) check(vae_decode(m, g.dev, latent, LH, LW, 0, decoded[1], NULL, &e), &e);
        vae_free(m);
        nn_source_free(&s);
        weights_close(w);
    }
    assert_memory_equal(decoded[0], decoded[1], sizeof decoded[0]); /* the two layouts, bit for bit */
    free(latent);
    free(image);
    free(noise);
    weights_close(ref);
}

static void test_vae(void **state)
{
    (void)state;
    vae_case(GOLDEN_DIR "vae_sdxl", 4);
    vae_case(GOLDEN_DIR "vae_flux", 16);
    vae_case(GOLDEN_DIR "vae_f16", 4); /* all bits of F16 count: the bound of F32 */
}

/* ---- UNet -------------------------------------------------------------------------------------------------- */

enum { UH = 6, UW = 10 };

static void unet_case(const char *dir, const char *file, bool ldm, double bound, float *out)
{
    struct err e = { 0 };
    char path[128];
    struct unet_config k;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = golden_json(path);
    check(unet_config_from_json(&k, config, &e), &e);
    json_decref(config);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    struct weights *w = golden_weights(path);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);
    struct nn_source s = {
        .dev = g.dev, .w = w, .what = file, .locate = ldm ? unet_locate_ldm : NULL, .locate_arg = &k
    };
    struct unet *m = NULL;
    check(unet_load(&m, &k, &s, &e), &e);
    float *x = golden_floats(ref, "x", UH * UW * 4), *context = golden_floats(ref, "context", 5 * 12);
    float *pooled = golden_floats(ref, "pooled", 10), *ids = golden_floats(ref, "time_ids", 6);
    struct device_arena scratch;
    check(device_arena_init(&scratch, g.dev, unet_scratch(m, UH, UW, 5), &e), &e);
    struct nn_ctx c = { .dev = g.dev, .scratch = &scratch };
    atomic_bool stop = false;
    assert_true(unet_forward(m, &c, x, UH, UW, 613.0, context, 5, pooled, ids, out, &stop));
    assert_int_equal(scratch.at.used, 0);
    golden_near(file, out, ref, "out", UH * UW * 4, bound);
    stop = true;
    assert_false(unet_forward(m, &c, x, UH, UW, 613.0, context, 5, pooled, ids, x, &stop));
    device_arena_free(&scratch);
    free(x);
    free(context);
    free(pooled);
    free(ids);
    unet_free(m);
    nn_source_free(&s);
    weights_close(w);
    weights_close(ref);
}

static void test_unet(void **state)
{
    (void)state;
    static const char *const dirs[] = { GOLDEN_DIR "unet_sdxl", GOLDEN_DIR "unet_ssd" };
    float a[UH * UW * 4], b[UH * UW * 4];
    unet_case(dirs[0], "model.float32.safetensors", false, F32, a);
    for (int i = 0; i < 2; i++) {
        unet_case(dirs[i], "model.safetensors", false, NARROW, a);
        unet_case(dirs[i], "ldm.safetensors", true, NARROW, b);
        assert_memory_equal(a, b, sizeof a);
    }
}

/* ---- what does not match is named -------------------------------------------------------------------------- */

static void test_missing_tensors_are_reported(void **state)
{
    (void)state;
    struct err e = { 0 };
    json_t *config = golden_json(GOLDEN_DIR "flux_dev/config.json");
    struct flux_config k;
    check(flux_config_from_json(&k, config, &e), &e);
    json_decref(config);
    struct weights *w = golden_weights(GOLDEN_DIR "flux_schnell/model.safetensors");
    struct nn_source s = { .dev = g.dev, .w = w, .what = "FLUX transformer" };
    struct flux *m = NULL;
    assert_false(flux_load(&m, &k, &s, &e)); /* dev asked for, schnell given */
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "guidance_embedder.linear_1.weight is missing"));
    nn_source_free(&s);
    k.guidance = false;
    k.n_pooled = 25;
    s = (struct nn_source){ .dev = g.dev, .w = w, .what = "FLUX transformer" };
    assert_false(flux_load(&m, &k, &s, &e));
    assert_non_null(strstr(e.msg, "expected [16, 25], the file has [16, 24]"));
    nn_source_free(&s);
    weights_close(w);
}

/* Every key of the reference's classes has been looked at: keys.json lists them (tools/reference/variant_golden.py). */
static void test_configuration_keys(void **state)
{
    (void)state;
    static const struct {
        const char *class;
        bool (*knows)(const char *key);
        size_t least;
    } of[] = { { "UNet2DConditionModel", unet_config_knows, 48 },
               { "AutoencoderKL", vae_config_knows, 18 },
               { "FluxTransformer2DModel", flux_config_knows, 11 } };
    json_t *doc = golden_json("tests/golden/pipelines/variants/keys.json");
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        const json_t *list = json_object_get(doc, of[i].class), *key;
        size_t k;
        assert_true(json_array_size(list) >= of[i].least);
        json_array_foreach(list, k, key)
        {
            if (!of[i].knows(json_string_value(key)))
                fail_msg("%s: %s is not known", of[i].class, json_string_value(key));
        }
        assert_false(of[i].knows("a_new_key"));
    }
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration_keys),
        cmocka_unit_test(test_clip_l),
        cmocka_unit_test(test_clip_g),
        cmocka_unit_test(test_t5_buckets),
        cmocka_unit_test(test_t5),
        cmocka_unit_test(test_flux),
        cmocka_unit_test(test_flux_layouts_agree),
        cmocka_unit_test(test_vae),
        cmocka_unit_test(test_unet),
        cmocka_unit_test(test_missing_tensors_are_reported),
    };
    golden_open(&g);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_close(&g);
    return failed;
}
