/* Pictures to tiles against transformers' processor (tests/golden/lm/llama4_pictures, tools/reference/llama4_pictures_golden.py): how they are cut,
 * and every value of every tile, to the bit; rules that this engine does not know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/weights.h"
#include "lm/pictures.h"

#define DIR "tests/golden/lm/llama4_pictures/"

static int at(const json_t *row, size_t i) { return (int)json_integer_value(json_array_get(row, i)); }

static void test_cuts(void **state)
{
    (void)state;
    json_t *all = json_load_file(DIR "cuts.json", 0, NULL), *row;
    size_t i;
    const json_t *cuts = json_object_get(all, "cuts");
    assert_true(json_array_size(cuts) > 400);
    json_array_foreach(cuts, i, row)
    {
        struct picture_rules r = picture_rules_default(at(row, 0));
        r.max_tiles = at(row, 1);
        r.fill_grid = at(row, 2);
        const struct picture_cut c = picture_cut(&r, at(row, 3), at(row, 4), false);
        if (c.rows != at(row, 5) || c.cols != at(row, 6) || c.width != at(row, 7) || c.height != at(row, 8))
            fail_msg("%d x %d of tiles %d, at most %d%s: grid %d x %d, scaled to %d x %d; expected %d x %d, "
                     "%d x %d",
                     at(row, 3), at(row, 4), at(row, 0), at(row, 1), at(row, 2) ? ", filled" : "", c.rows,
                     c.cols, c.width, c.height, at(row, 5), at(row, 6), at(row, 7), at(row, 8));
    }
    json_decref(all);
}

/* Values of a tile against bf16 ones. */
static void same_tile(const struct picture_rules *r, const unsigned char *tile, const uint16_t *want, int n,
                      int k)
{
    const size_t values = 3 * (size_t)r->tile * (size_t)r->tile;
    float *got = malloc(values * sizeof *got);
    picture_normalise(got, tile, r);
    for (size_t i = 0; i < values; i++) {
        const uint32_t bits = (uint32_t)want[i] << 16;
        if (memcmp(&bits, &got[i], sizeof bits) == 0) continue;
        float w;
        memcpy(&w, &bits, sizeof w);
        fail_msg("picture %d, tile %d, value %zu: %.5f, expected %.5f", n, k, i, (double)got[i], (double)w);
    }
    free(got);
}

static void test_tiles(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct weights *golden;
    int n = 0, tiles_seen = 0;
    if (!weights_open(&golden, DIR "tiles.safetensors", &e)) fail_msg("%s", e.msg);
    for (;; n++) {
        char name[3][16];
        const struct tensor *t[3];
        for (int i = 0; i < 3; i++) {
            snprintf(name[i], sizeof name[i], "%c%d", "ptw"[i], n);
            t[i] = weights_find(golden, name[i]);
        }
        if (!t[0]) break;
        assert_true(t[1] && t[2]);
        struct picture_rules r = picture_rules_default(24);
        r.max_tiles = n % 2 ? 16 : 5;
        r.fill_grid = n == 6;
        const struct image_pixels px = { (int)t[0]->dim[1], (int)t[0]->dim[0], 3,
                                         (unsigned char *)(uintptr_t)t[0]->data };
        const size_t bytes = (size_t)3 * 24 * 24;
        for (int whole = 0; whole < 2; whole++) {
            const struct picture_cut c = picture_cut(&r, px.width, px.height, whole);
            const uint16_t *want = t[1 + whole]->data;
            unsigned char *tiles;
            assert_int_equal(picture_cut_tiles(&c), whole ? 1 : t[1]->dim[0]);
            if (!picture_tiles(&tiles, &r, &c, &px, &e)) fail_msg("%s", e.msg);
            for (int k = 0; k < picture_cut_tiles(&c); k++, tiles_seen++)
                same_tile(&r, tiles + (size_t)k * bytes, want + (size_t)k * bytes, n, k);
            free(tiles);
        }
    }
    assert_int_equal(n, 10);
    assert_true(tiles_seen > 40);
    weights_close(golden);
}

static void refused(const char *rules, const char *says)
{
    struct err e = { 0 };
    struct picture_rules r = picture_rules_default(24);
    json_t *o = json_loads(rules, 0, NULL);
    assert_non_null(o);
    if (picture_rules_read(&r, o, &e)) fail_msg("%s: accepted", rules);
    if (!strstr(e.msg, says)) fail_msg("%s: \"%s\" does not say \"%s\"", rules, e.msg, says);
    json_decref(o);
}

static void test_rules(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct picture_rules r = picture_rules_default(24);
    json_t *o = json_loads(
        "{\"size\": {\"height\": 24, \"width\": 24}, \"max_patches\": 9, \"resample\": 2,"
        " \"image_mean\": [0.1, 0.2, 0.3], \"image_std\": [1, 2, 3], \"resize_to_max_canvas\": true}",
        0, NULL);
    if (!picture_rules_read(&r, o, &e)) fail_msg("%s", e.msg);
    assert_int_equal(r.max_tiles, 9);
    assert_true(r.fill_grid);
    assert_true(r.mean[2] == 0.3F && r.std[1] == 2);
    json_decref(o);
    refused("{\"size\": {\"height\": 24, \"width\": 28}}", "another size than the tower's 24");
    refused("{\"max_patches\": 0}", "max_patches");
    refused("{\"max_patches\": 1e9}", "max_patches");
    refused("{\"resample\": 3}", "resample");
    refused("{\"do_normalize\": false}", "do_normalize");
    refused("{\"image_std\": [0, 1, 1]}", "image_std");
    refused("{\"image_mean\": [0.5]}", "image_mean");
    refused("{\"rescale_factor\": -1}", "rescale_factor");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_cuts), cmocka_unit_test(test_tiles),
                                        cmocka_unit_test(test_rules) };
    return cmocka_run_group_tests_name("pictures to tiles", tests, NULL, NULL);
}
