/* Ranks and factors of every module as PEFT itself gives them (tools/reference/peft_golden.py), and what is refused. */
#include "image/golden.h"
#include "image/lora_peft.h"

/* A file with one tensor and a note. */
static struct weights *adapter(const char *note)
{
    char path[] = "/tmp/hearth-peft-XXXXXX.safetensors";
    int fd = mkstemps(path, 12);
    assert_true(fd >= 0);
    json_t *head = json_pack("{s:{s:s}, s:{s:s, s:[i,i], s:[i,i]}}", "__metadata__", "lora_adapter_metadata",
                             note, "x.lora_A.weight", "dtype", "F32", "shape", 1, 1, "data_offsets", 0, 4);
    char *text = json_dumps(head, JSON_COMPACT);
    assert_non_null(text);
    FILE *f = fdopen(fd, "wb");
    uint64_t n = strlen(text);
    float zero = 0;
    assert_int_equal(fwrite(&n, 1, 8, f) + fwrite(text, 1, n, f) + fwrite(&zero, 1, 4, f), n + 12);
    fclose(f);
    struct weights *w = golden_weights(path);
    remove(path);
    free(text);
    json_decref(head);
    return w;
}

static void test_as_peft(void **state)
{
    (void)state;
    json_t *cases = golden_json(GOLDEN_DIR "lora/patterns.json"), *c, *want;
    const char *name;
    size_t i;
    int n = 0;
    json_array_foreach(cases, i, c)
    {
        /* As diffusers writes it: every key behind the network's name. */
        json_t *config = json_object_get(c, "config"), *note = json_object(), *v;
        json_object_foreach(config, name, v) json_object_set(note, nn_name("unet.%s", name).s, v);
        char *text = json_dumps(note, 0);
        struct weights *w = adapter(text);
        struct lora_peft *p;
        struct err e = { 0 };
        if (!lora_peft_read(&p, w, "a", &e)) fail_msg("%s", e.msg);
        json_object_foreach(json_object_get(c, "modules"), name, want)
        {
            int64_t rank = json_integer_value(json_array_get(want, 0));
            double factor = json_number_value(json_array_get(want, 1));
            float got, alpha = 2;
            struct nn_name module = nn_name("unet.%s", name);
            if (!lora_peft_scale(p, module.s, rank, NULL, &got, &e)) fail_msg("%s", e.msg);
            if (fabs(got - factor) > 1e-6 * factor) fail_msg("%zu: %s: %g, PEFT: %g", i, name, got, factor);
            /* What a file says of the module itself counts before its note. */
            bool stabilised = json_is_true(json_object_get(config, "use_rslora"));
            assert_true(lora_peft_scale(p, module.s, rank, &alpha, &got, &e));
            assert_true(fabs(got - 2 / (stabilised ? sqrt((double)rank) : (double)rank)) < 1e-6);
            assert_false(lora_peft_scale(p, module.s, rank + 1, NULL, &got, &e));
            assert_non_null(strstr(e.msg, name));
            /* Another network is not spoken of: alpha is the rank. */
            assert_true(lora_peft_scale(p, nn_name("text_encoder.%s", name).s, 3, NULL, &got, &e));
            assert_true(got == 1);
            n++;
        }
        lora_peft_free(p);
        weights_close(w);
        free(text);
        json_decref(note);
    }
    assert_true(n > 300);
    json_decref(cases);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        { "{", "lora_adapter_metadata" },
        { "[1]", "expected an object" },
        { "{\"unet.r\": \"4\"}", "unet.r is not a number" },
        { "{\"unet.alpha_pattern\": [1]}", "unet.alpha_pattern is not an object" },
        { "{\"unet.alpha_pattern\": {\"to_(q\": 4}}", "\"to_(q\" is not a regular expression" },
        { "{\"unet.rank_pattern\": {\"to_q\": \"4\"}}", "\"to_q\" has no number" },
        { "{\"unet.use_dora\": true}", "use_dora" },
        { "{\"unet.peft_type\": \"LOHA\"}", "peft_type: LOHA" },
        { "{\"unet.init_lora_weights\": \"pissa_niter_4\"}", "init_lora_weights: pissa_niter_4" },
        { "{\"unet.bias\": \"all\"}", "bias: all" },
        { "{\"unet.layer_replication\": [[0, 4]]}", "layer_replication" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weights *w = adapter(bad[i][0]);
        struct lora_peft *p;
        struct err e = { 0 };
        if (lora_peft_read(&p, w, "a", &e)) fail_msg("%s was taken", bad[i][0]);
        if (!strstr(e.msg, bad[i][1])) fail_msg("\"%s\" does not say \"%s\"", e.msg, bad[i][1]);
        weights_close(w);
    }
}

/* A pattern that backtracks without end is given up and named. */
static void test_bounded(void **state)
{
    (void)state;
    struct weights *w = adapter("{\"unet.alpha_pattern\": {\"(a|aa)+\": 4}, \"unet.lora_alpha\": 1}");
    struct lora_peft *p;
    struct err e = { 0 };
    float got;
    assert_true(lora_peft_read(&p, w, "a", &e));
    assert_false(
        lora_peft_scale(p, "unet.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 1, NULL, &got, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "(a|aa)+"));
    lora_peft_free(p);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_as_peft), cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_bounded) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
