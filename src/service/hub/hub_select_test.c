/* Which files of a listing are picked, and which listings are refused. */
#include "service/hub/hub_select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Names separated by spaces, selected by `which`; the picked ones must be `want`, in order. */
static void picks(const char *names, const char *which, const char *want)
{
    struct hub_list l = { 0 };
    struct err e = { 0 };
    char *all = strdup(names), *rest = all, got[1024] = "";
    assert_non_null(all);
    for (char *name; (name = strsep(&rest, " "));) assert_true(hub_list_add(&l, name, 1, "", &e));
    if (!hub_select(&l, which, &e)) {
        if (!strstr(e.msg, want)) fail_msg("%s: %s", names, e.msg);
    } else {
        for (size_t i = 0; i < l.n; i++) {
            if (!l.v[i].wanted) continue;
            if (got[0]) strcat(got, " ");
            strcat(got, l.v[i].path);
        }
        assert_string_equal(got, want);
    }
    hub_list_free(&l);
    free(all);
}

static void language_models(void **state)
{
    (void)state;
    picks("README.md config.json model.safetensors tokenizer.json tokenizer.model pytorch_model.bin "
          "tf_model.h5",
          NULL, "config.json model.safetensors tokenizer.json tokenizer.model");
    picks("config.json consolidated.safetensors model-00001-of-00002.safetensors "
          "model-00002-of-00002.safetensors "
          "model.safetensors.index.json params.json original/consolidated.00.pth chat_template.jinja LICENSE",
          NULL,
          "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
          "model.safetensors.index.json params.json chat_template.jinja LICENSE");
    picks("config.json weights.safetensors model.gguf", NULL, "config.json weights.safetensors");
    picks("config.json model.safetensors model.fp16.safetensors", NULL, "config.json model.safetensors");
    picks("config.json pytorch_model.bin", NULL, "PyTorch pickles are not read");
    picks("onnx/model.safetensors config.json", NULL, "no .safetensors at its top");
}

static void quantisations(void **state)
{
    (void)state;
    picks("m-Q8_0.gguf m-Q4_K_M.gguf m-Q4_K_S.gguf mmproj-m-Q4_K_M.gguf", NULL, "m-Q4_K_M.gguf");
    picks("m.Q8_0.gguf m.f16.gguf", NULL, "m.Q8_0.gguf");
    picks("m-UD-IQ1_S.gguf", NULL, "m-UD-IQ1_S.gguf");
    picks("m-Q4_K_M.gguf m-Q4_K.gguf", "q4_k", "m-Q4_K.gguf");
    picks("m-Q4_0_4_4.gguf", "Q4_0", "no file or quantisation \"Q4_0\"");
    picks("a/m-Q8_0-00001-of-00002.gguf a/m-Q8_0-00002-of-00002.gguf b/m-Q2_K.gguf", "Q8_0",
          "a/m-Q8_0-00001-of-00002.gguf a/m-Q8_0-00002-of-00002.gguf");
    picks("m-00001-of-00002.gguf m-00002-of-00002.gguf m.gguf", "m-00002-of-00002.gguf",
          "m-00001-of-00002.gguf m-00002-of-00002.gguf");
    picks("x.safetensors y.safetensors", "y.safetensors", "y.safetensors");
    picks("x.safetensors", "absent.safetensors", "no file or quantisation");
}

static void pipelines(void **state)
{
    (void)state;
    picks(
        "model_index.json flux1-dev.safetensors ae.safetensors transformer/config.json "
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors "
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors "
        "transformer/diffusion_pytorch_model.safetensors.index.json vae/diffusion_pytorch_model.safetensors "
        "tokenizer/vocab.json tokenizer/merges.txt tokenizer_2/spiece.model scheduler/scheduler_config.json "
        "dev_grid.jpg",
        NULL,
        "model_index.json transformer/config.json "
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors "
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors "
        "transformer/diffusion_pytorch_model.safetensors.index.json vae/diffusion_pytorch_model.safetensors "
        "tokenizer/vocab.json tokenizer/merges.txt tokenizer_2/spiece.model scheduler/scheduler_config.json");
    picks("model_index.json unet/a.safetensors unet/a.fp16.safetensors unet/a.non_ema.safetensors "
          "vae/b.fp16.safetensors",
          NULL, "model_index.json unet/a.safetensors vae/b.fp16.safetensors");
    picks("model_index.json unet/a.safetensors vae/b.safetensors vae_1_0/b.safetensors vae_1_0/config.json "
          "safety_checker/model.safetensors text_encoder_2/model.safetensors null_encoder/config.json",
          NULL, "model_index.json unet/a.safetensors vae/b.safetensors text_encoder_2/model.safetensors");
    picks("model_index.json unet/diffusion_pytorch_model.bin", NULL, "no weights as safetensors or GGUF");
}

static void listings(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message; /* NULL: fine */
        size_t n;
    } cases[] = {
        { "[]", NULL, 0 },
        { "[{\"type\":\"file\",\"path\":\"a/b.json\",\"size\":3,\"oid\":\"x\"}]", NULL, 1 },
        { "[{\"type\":\"directory\",\"path\":\"..\"},{\"type\":\"file\",\"path\":\".gitattributes\",\"size\":"
          "1}]",
          NULL, 0 },
        { "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"lfs\":null}]", NULL, 1 },
        { "{}", "not a JSON array", 0 },
        { "[", "not valid JSON", 0 },
        { "[1]", "without type and path", 0 },
        { "[{\"type\":\"file\",\"path\":7}]", "without type and path", 0 },
        { "[{\"type\":\"file\",\"path\":\"a\"}]", "has no size", 0 },
        { "[{\"type\":\"file\",\"path\":\"a\",\"size\":-1}]", "has no size", 0 },
        { "[{\"type\":\"file\",\"path\":\"../a\",\"size\":1}]", "not safe", 0 },
        { "[{\"type\":\"file\",\"path\":\"/a\",\"size\":1}]", "not safe", 0 },
        { "[{\"type\":\"file\",\"path\":\".ssh/a\",\"size\":1}]", "not safe", 0 },
        { "[{\"type\":\"file\",\"path\":\"a/\",\"size\":1}]", "not safe", 0 },
        { "[{\"type\":\"file\",\"path\":\"\",\"size\":1}]", "not safe", 0 },
        { "[{\"type\":\"file\",\"path\":\"a\\tb\",\"size\":1}]", "not safe", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hub_list l = { 0 };
        struct err e = { 0 };
        bool ok = hub_list_parse(&l, cases[i].json, strlen(cases[i].json), &e);
        if (ok != !cases[i].message) fail_msg("%s: %s", cases[i].json, ok ? "accepted" : e.msg);
        if (cases[i].message && !strstr(e.msg, cases[i].message)) fail_msg("%s: %s", cases[i].json, e.msg);
        if (ok) assert_int_equal(l.n, cases[i].n);
        hub_list_free(&l);
    }
    struct hub_list l = { 0 };
    char sum[65] = "";
    for (int i = 0; i < 64; i++) sum[i] = "0123456789abcdef"[i % 16];
    char json[256];
    strcpy(json, "[{\"type\":\"file\",\"path\":\"a.gguf\",\"size\":1,\"lfs\":{\"size\":7,\"oid\":\"");
    strcat(strcat(json, sum), "\"}}]");
    assert_true(hub_list_parse(&l, json, strlen(json), NULL));
    assert_true(l.n == 1 && l.v[0].size == 7 && strcmp(l.v[0].sha256, sum) == 0);
    hub_list_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language_models),
        cmocka_unit_test(quantisations),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(listings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
