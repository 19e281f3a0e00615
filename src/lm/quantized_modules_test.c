/* What quantization_config says of modules, held against tensors that are there: each contradiction is one error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "lm/arch.h"
#include "lm/quantization.h"
#include "lm/quantized_modules.h"

#define Q_PROJ "model.layers.3.self_attn.q_proj"
#define EXPERT "model.layers.3.mlp.experts.7.gate_proj"

static const struct module_numbers plain = { .n_in = 256 },
                                   int4 = { .quantised = true, .bits = 4, .group = 128, .n_in = 256 },
                                   int4_row = { .quantised = true, .bits = 4, .group = 256, .n_in = 256 },
                                   int8 = { .quantised = true, .bits = 8, .group = 256, .n_in = 256 },
                                   fp8 = { .quantised = true, .bits = 8, .floating = true, .n_in = 256 },
                                   fp4 = { .quantised = true,
                                           .bits = 4,
                                           .floating = true,
                                           .group = 16,
                                           .n_in = 256 };

/* A folder with one file of no tensors, and configuration files beside it. */
static struct weights *folder(const char *config, const char *file, const char *text)
{
    char dir[] = "/tmp/hearth-modules-XXXXXX", path[4][120];
    assert_non_null(mkdtemp(dir));
    const char *name[] = { "model.safetensors", "config.json", file };
    const char *content[] = { "\2\0\0\0\0\0\0\0{}", config, text };
    for (int i = 0; i < 3; i++) {
        if (!name[i]) continue;
        snprintf(path[i], sizeof path[i], "%s/%s", dir, name[i]);
        FILE *f = fopen(path[i], "wb");
        assert_non_null(f);
        const size_t n = i ? strlen(content[i]) : 10;
        assert_int_equal(fwrite(content[i], 1, n, f), n);
        assert_int_equal(fclose(f), 0);
    }
    struct weights *w = NULL;
    struct err e = { 0 };
    if (!weights_open(&w, dir, &e)) fail_msg("%s", e.msg);
    for (int i = 0; i < 3; i++)
        if (name[i]) unlink(path[i]);
    rmdir(dir);
    return w;
}

/* NULL: it fits; else what the error is expected to say. `text` is quantization_config. */
static void holds_for(struct weights *w, const char *module, struct module_numbers has, const char *says)
{
    struct quantized_modules *q;
    struct err e = { 0 };
    if (!quantized_modules_open(&q, w, &e)) fail_msg("%s", e.msg);
    const bool ok = quantized_modules_check(q, module, &has, &e);
    if (ok && says) fail_msg("%s is taken; \"%s\" was to be said", module, says);
    if (!ok && !says) fail_msg("%s is refused: %s", module, e.msg);
    if (!ok && !strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    if (!ok && !strstr(e.msg, module)) fail_msg("\"%s\" does not name %s", e.msg, module);
    quantized_modules_close(q);
    weights_close(w);
}

static void holds(const char *text, const char *module, struct module_numbers has, const char *says)
{
    char config[1000];
    snprintf(config, sizeof config, "{\"quantization_config\": %s}", text);
    holds_for(folder(config, NULL, NULL), module, has, says);
}

#define LEFT_OUT "is quantised, and quantization_config leaves it out"
#define NOT_LEFT_OUT "is not quantised, and quantization_config does not leave it out"

static void test_compressed_tensors(void **state)
{
    (void)state;
#define CT(ignore, targets, numbers)                                                                         \
    "{\"quant_method\": \"compressed-tensors\", \"ignore\": [" ignore                                        \
    "], \"config_groups\": {\"group_0\": {\"targets\": [" targets "], \"weights\": {" numbers "}}}}"
#define INT4 "\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\", \"group_size\": 128"
    static const char linear[] = CT("\"lm_head\"", "\"Linear\"", INT4);
    holds(linear, Q_PROJ, int4, NULL);
    holds(linear, Q_PROJ, plain, NOT_LEFT_OUT);
    holds(linear, Q_PROJ, int8, "has numbers of 8 bits, quantization_config says 4");
    holds(linear, Q_PROJ, fp4, "has floating-point numbers, quantization_config says whole ones");
    holds(linear, Q_PROJ, int4_row, "has groups of 256 inputs, quantization_config says 128");
    holds(linear, "lm_head", plain, NULL);
    holds(linear, "lm_head", int4, LEFT_OUT);
    holds(linear, "language_model.lm_head", int4, LEFT_OUT);
    /* by name, whatever the model's wrapper is called; by regular expression from the beginning of the name */
    holds(CT("\"" Q_PROJ "\"", "\"Linear\"", INT4), "model.language_model.layers.3.self_attn.q_proj", plain,
          NULL);
    holds(CT("\"" Q_PROJ "\"", "\"Linear\"", INT4), "model.layers.30.self_attn.q_proj", plain, NOT_LEFT_OUT);
    holds(CT("\"re:.*self_attn.*\"", "\"Linear\"", INT4), Q_PROJ, plain, NULL);
    holds(CT("\"re:.*self_attn.*\"", "\"Linear\"", INT4), Q_PROJ, int4, LEFT_OUT);
    holds(CT("\"re:self_attn\"", "\"Linear\"", INT4), Q_PROJ, plain, NOT_LEFT_OUT);
    holds(CT("\"re:vision_model.*\"", "\"Linear\"", INT4), Q_PROJ, int4, NULL);
    /* targets: who is none of them is left out */
    holds(CT("", "\"re:.*experts.*\"", INT4), EXPERT, int4, NULL);
    holds(CT("", "\"re:.*experts.*\"", INT4), Q_PROJ, plain, NULL);
    holds(CT("", "\"re:.*experts.*\"", INT4), Q_PROJ, int4, LEFT_OUT);
    holds(CT("", "\"FusedMoE\"", INT4), Q_PROJ, int4, NULL); /* a class that may be anything */
    holds(CT("\"Llama4TextAttention\"", "\"Linear\"", INT4), Q_PROJ, plain, NULL);
    holds(CT("\"Llama4TextAttention\"", "\"Linear\"", INT4), Q_PROJ, int8, "8 bits");
    /* one scale a row */
#define ROW "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\", \"group_size\": null"
    holds(CT("", "\"Linear\"", ROW), Q_PROJ, int8, NULL);
    holds(CT("", "\"Linear\"", "\"num_bits\": 4, \"strategy\": \"channel\""), Q_PROJ, int4,
          "has groups of 128 inputs, quantization_config says 256");
    /* two groups: the first that has the module as a target */
    static const char two[] = "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": "
                              "{\"targets\": [\"re:.*q_proj$\"], "
                              "\"weights\": {\"num_bits\": 8}}, \"b\": {\"targets\": [\"Linear\"], "
                              "\"weights\": {\"num_bits\": 4}}}}";
    holds(two, Q_PROJ, int8, NULL);
    holds(two, Q_PROJ, int4, "4 bits, quantization_config says 8");
    holds(two, EXPERT, int4, NULL);
}

static void test_lists(void **state)
{
    (void)state;
    static const char fp8_lists[] = "{\"quant_method\": \"fp8\", \"modules_to_not_convert\": [\"lm_head\", "
                                    "\"model.layers.3.self_attn\", \"gate\"]}";
    holds(fp8_lists, Q_PROJ, plain, NULL);
    holds(fp8_lists, Q_PROJ, fp8, LEFT_OUT);
    holds(fp8_lists, "model.layers.31.self_attn.q_proj", fp8, NULL);
    holds(fp8_lists, "model.layers.31.self_attn.q_proj", plain, NOT_LEFT_OUT);
    holds(fp8_lists, EXPERT, fp8, NULL); /* "gate" is the router; or is gate_proj meant? */
    holds(fp8_lists, EXPERT, plain, NULL);
    holds(fp8_lists, "model.layers.3.mlp.up_proj", int8, "has whole numbers");
    holds("{\"quant_method\": \"fp8\"}", Q_PROJ, plain, NOT_LEFT_OUT);
    holds("{\"quant_method\": \"fp8\"}", "lm_head", plain, NULL);
    holds("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128}", Q_PROJ, int4, NULL);
    holds("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 64}", Q_PROJ, int4,
          "groups of 128 inputs");
    /* asterisks, as ModelOpt and Quark write them */
    static const char stars[] =
        "{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\", \"exclude_modules\": "
        "[\"model.layers.*.self_attn*\", \"*.3.mlp.experts.7\"]}";
    holds(stars, Q_PROJ, plain, NULL);
    holds(stars, Q_PROJ, fp4, LEFT_OUT);
    holds(stars, EXPERT, plain, NULL);
    holds(stars, "model.layers.3.mlp.experts.70.gate_proj", fp4, NULL);
    holds("{\"quant_method\": \"quark\", \"exclude\": [\"*q_proj\"]}", Q_PROJ, fp8, LEFT_OUT);
    holds("{\"quant_method\": \"quark\", \"exclude\": []}", Q_PROJ, plain,
          NULL); /* its layers have rules of their own */
    holds("{\"quant_method\": \"fbgemm_fp8\"}", Q_PROJ, plain, NULL);
}

static void test_gptq(void **state)
{
    (void)state;
#define GPTQ(more) "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128" more "}"
    holds(GPTQ(""), Q_PROJ, int4, NULL);
    holds(GPTQ(""), Q_PROJ, plain, NOT_LEFT_OUT);
    holds("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -1}", Q_PROJ, int4_row, NULL);
    holds("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 1024}", Q_PROJ, int4_row,
          NULL); /* past the row */
    holds("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -1}", Q_PROJ, int4,
          "groups of 128 inputs");
#define DYNAMIC                                                                                              \
    ", \"dynamic\": {\"-:.*\\\\.self_attn\\\\.\": {}, \"+:.*experts\": {\"bits\": 8, \"group_size\": -1}}"
    holds(GPTQ(DYNAMIC), Q_PROJ, plain, NULL);
    holds(GPTQ(DYNAMIC), Q_PROJ, int4, LEFT_OUT);
    holds(GPTQ(DYNAMIC), EXPERT, int8, NULL);
    holds(GPTQ(DYNAMIC), EXPERT, int4, "4 bits, quantization_config says 8");
    holds(GPTQ(DYNAMIC), "model.layers.3.mlp.up_proj", int4, NULL);
#define BLOCK ", \"modules_in_block_to_quantize\": [[\"self_attn.q_proj\", \"self_attn.k_proj\"]]"
    holds(GPTQ(BLOCK), Q_PROJ, int4, NULL);
    holds(GPTQ(BLOCK), Q_PROJ, plain, NOT_LEFT_OUT);
    holds(GPTQ(BLOCK), "model.layers.3.mlp.up_proj", plain, NULL);
    holds(GPTQ(BLOCK), "model.layers.3.mlp.up_proj", int4, LEFT_OUT);
}

/* Files of the tools' own. */
static void test_files(void **state)
{
    (void)state;
    static const char modelopt[] =
        "{\"producer\": {\"name\": \"modelopt\"}, \"quantization\": {\"quant_algo\": \"%s\", "
        "\"group_size\": 16, \"exclude_modules\": [\"lm_head\", \"*self_attn*\"]}}";
    char text[300];
    snprintf(text, sizeof text, modelopt, "NVFP4");
    holds_for(folder("{}", "hf_quant_config.json", text), EXPERT, fp4, NULL);
    holds_for(folder("{}", "hf_quant_config.json", text), EXPERT, plain, NOT_LEFT_OUT);
    holds_for(folder("{}", "hf_quant_config.json", text), Q_PROJ, fp4, LEFT_OUT);
    static const char gptq[] = "{\"bits\": 4, \"group_size\": 128, \"desc_act\": false}";
    holds_for(folder("{}", "quantize_config.json", gptq), Q_PROJ, int4, NULL);
    holds_for(folder("{}", "quantize_config.json", gptq), Q_PROJ, int8, "8 bits, quantization_config says 4");
    static const char awq[] =
        "{\"zero_point\": true, \"q_group_size\": 64, \"w_bit\": 4, \"version\": \"GEMM\"}";
    holds_for(folder("{}", "quant_config.json", awq), Q_PROJ, int4,
              "128 inputs, quantization_config says 64");
    /* config.json counts before them */
    holds_for(folder("{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 8}}",
                     "quantize_config.json", gptq),
              Q_PROJ, int8, NULL);

    struct err e = { 0 };
    struct weights *w = folder("{}", "hf_quant_config.json", text);
    assert_true(quantization_check(w, &e));
    assert_string_equal(quantization_method(w), "modelopt");
    weights_close(w);
    snprintf(text, sizeof text, modelopt, "W4A16_AWQ");
    w = folder("{}", "hf_quant_config.json", text);
    assert_false(quantization_check(w, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "'modelopt' (W4A16_AWQ)"));
    weights_close(w);
    w = folder("{\"quantization_config\": {\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"}}",
               "hf_quant_config.json", text);
    assert_false(quantization_check(w, &e));
    assert_string_equal(
        e.msg, "config.json says that weights are quantised as FP8, hf_quant_config.json as W4A16_AWQ");
    weights_close(w);
    w = folder("{}", "quant_config.json", "{\"w_bit\": 4, \"version\": \"GEMV\"}");
    assert_false(quantization_check(w, &e));
    assert_non_null(strstr(e.msg, "'awq' (GEMV)"));
    weights_close(w);
}

static void unreadable(const char *text, const char *says)
{
    char config[1000];
    snprintf(config, sizeof config,
             "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", %s}}", text);
    struct weights *w = folder(config, NULL, NULL);
    struct quantized_modules *q;
    struct err e = { 0 };
    assert_false(quantized_modules_open(&q, w, &e));
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    assert_int_equal(e.code, ERR_FORMAT);
    weights_close(w);
}

static void test_unreadable(void **state)
{
    (void)state;
    unreadable("\"ignore\": \"lm_head\"", "ignore is not a list of names");
    unreadable("\"ignore\": [\"lm_head\", 3]", "ignore is not a list of names");
    unreadable("\"ignore\": [\"re:(\"]", "'re:(' is not a regular expression");
    unreadable("\"config_groups\": [3]", "config_groups is not an object");
    unreadable("\"config_groups\": {\"group_0\": {\"targets\": [[]]}}", "targets is not a list of names");
}

/* From a folder to the error: the golden model, whose o_proj is plain and left out. */
static void test_whole_model(void **state)
{
    (void)state;
    static const struct {
        const char *ignore, *says;
    } cases[] = {
        { "[\"lm_head\", \"re:.*o_proj\"]", NULL },
        { "[\"lm_head\"]", "model.layers.0.self_attn.o_proj " NOT_LEFT_OUT },
        { "[\"lm_head\", \"re:.*o_proj\", \"re:.*up_proj\"]", "model.layers.0.mlp.up_proj " LEFT_OUT },
        { "[\"re:[\"]", "'re:[' is not a regular expression" },
    };
    char cwd[400], target[500];
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(target, sizeof target, "%s/tests/golden/lm/packed_w4/model.safetensors", cwd);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[] = "/tmp/hearth-modules-XXXXXX", config[100], file[100];
        assert_non_null(mkdtemp(dir));
        snprintf(config, sizeof config, "%s/config.json", dir);
        snprintf(file, sizeof file, "%s/model.safetensors", dir);
        json_t *c = json_load_file("tests/golden/lm/packed_w4/config.json", 0, NULL);
        json_object_set_new(json_object_get(c, "quantization_config"), "ignore",
                            json_loads(cases[i].ignore, 0, NULL));
        assert_int_equal(json_dump_file(c, config, 0), 0);
        json_decref(c);
        assert_int_equal(symlink(target, file), 0);
        struct weights *w;
        struct lm_shape s;
        struct err e = { 0 };
        if (!weights_open(&w, dir, &e)) fail_msg("%s", e.msg);
        const bool ok = lm_families[0]->engine->check(lm_families[0], &s, w, &e);
        weights_close(w);
        unlink(config);
        unlink(file);
        rmdir(dir);
        if (ok != !cases[i].says) fail_msg("%s: %s", cases[i].ignore, ok ? "taken" : e.msg);
        if (!ok && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR - 1); /* the faults are expected */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed_tensors),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_gptq),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_whole_model),
    };
    return cmocka_run_group_tests_name("quantised modules", tests, NULL, NULL);
}
