/* Scaled pictures against Pillow's, byte for byte (tools/reference/resample_golden.py). */
#include "image/golden.h"
#include "image/resample.h"

static void test_as_pillow(void **state)
{
    (void)state;
    struct weights *w = golden_weights(GOLDEN_DIR "resample.safetensors");
    int n = 0;
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *want = weights_at(w, i), *src;
        char kind[16];
        int w2, h2;
        struct err e = { 0 };
        if (sscanf(want->name, "%15[a-z]_%dx%d", kind, &w2, &h2) != 3) continue;
        src = weights_find(w, kind);
        assert_non_null(src);
        int channels = src->n_dims == 3 ? (int)src->dim[2] : 1;
        size_t bytes = (size_t)w2 * (size_t)h2 * (size_t)channels;
        unsigned char *got = malloc(bytes);
        assert_non_null(got);
        if (!resample_lanczos(got, w2, h2, src->data, (int)src->dim[1], (int)src->dim[0], channels, &e))
            fail_msg("%s", e.msg);
        for (size_t k = 0; k < bytes; k++) {
            if (got[k] != ((const unsigned char *)want->data)[k])
                fail_msg("%s: byte %zu differs", want->name, k);
        }
        free(got);
        n++;
    }
    assert_true(n >= 12);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_as_pillow) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
