/* The classifier against the probabilities that the original runtime gives for four pictures (nsfwjs 4.3.0; value / 255). */
#include "format/filemap.h"
#include "format/image_file.h"
#include "image/golden.h"
#include "image/image.h"

static struct golden g;

static const struct {
    const char *name;
    float want[5];
} cases[] = {
    { "gradient", { 0.887411f, 0.020243f, 0.087355f, 0.004046f, 0.000945f } },
    { "checker", { 0.007135f, 0.000646f, 0.991710f, 0.000443f, 0.000065f } },
    { "noise", { 0.094820f, 0.008854f, 0.879101f, 0.014918f, 0.002307f } },
    { "skin", { 0.354044f, 0.005935f, 0.639943f, 0.000059f, 0.000019f } },
};

static void test_original_probabilities(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct image_classifier *m = NULL;
    if (!image_classifier_load(&m, "models/nsfw/mobilenet_v2_nsfw.safetensors", g.dev, &e))
        fail_msg("%s", e.msg);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct filemap f;
        struct image_pixels picture;
        if (!filemap_open(&f, NN("tests/golden/nsfw/%s.png", cases[i].name), &e) ||
            !image_file_decode(f.data, f.size, 3, &IMAGE_LIMITS_DEFAULT, &picture, &e))
            fail_msg("%s", e.msg);
        filemap_close(&f);
        float p[5];
        if (!image_classify(m, &(struct image_rgb){ picture.width, picture.height, picture.data }, p, &e))
            fail_msg("%s", e.msg);
        for (int k = 0; k < 5; k++) {
            if (!(fabsf(p[k] - cases[i].want[k]) < 0.01f))
                fail_msg("%s, class %d: %.4f, expected %.4f", cases[i].name, k, p[k], cases[i].want[k]);
        }
        free(picture.data);
    }
    image_classifier_free(m);
}

static void test_pictures_of_any_size(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct image_classifier *m = NULL;
    if (!image_classifier_load(&m, "models/nsfw/mobilenet_v2_nsfw.safetensors", g.dev, &e))
        fail_msg("%s", e.msg);
    struct image_rgb picture = { 37, 501, malloc((size_t)37 * 501 * 3) };
    assert_non_null(picture.pixels);
    for (int i = 0; i < 37 * 501 * 3; i++) picture.pixels[i] = (unsigned char)(i * 7);
    float p[5], sum = 0;
    if (!image_classify(m, &picture, p, &e)) fail_msg("%s", e.msg);
    for (int k = 0; k < 5; k++) sum += p[k];
    assert_true(fabsf(sum - 1) < 1e-5f);
    free(picture.pixels);
    image_classifier_free(m);
    assert_false(image_classifier_load(&m, "tests/golden/image/t5/model.safetensors", g.dev, &e));
    assert_int_equal(e.code, ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_original_probabilities),
                                        cmocka_unit_test(test_pictures_of_any_size) };
    golden_open(&g);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_close(&g);
    return failed;
}
