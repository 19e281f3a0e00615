/* Model folders that do not fit together: refused with one error that names everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "lm/arch.h"
#include "lm/bind.h"

#define GOLDEN "tests/golden/lm/llama3/"

/* Loads the golden model with one member of its config.json replaced (or removed: NULL). */
static bool load_with(const char *key, json_t *value, struct err *e)
{
    char dir[] = "/tmp/hearth-bind-XXXXXX", file[100], link[100], target[500], cwd[400];
    assert_non_null(mkdtemp(dir));
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(file, sizeof file, "%s/config.json", dir);
    snprintf(link, sizeof link, "%s/model.safetensors", dir);
    snprintf(target, sizeof target, "%s/" GOLDEN "model.safetensors", cwd);
    json_t *config = json_load_file(GOLDEN "config.json", 0, NULL);
    assert_non_null(config);
    if (value)
        json_object_set_new(config, key, value);
    else
        json_object_del(config, key);
    assert_int_equal(json_dump_file(config, file, 0), 0);
    assert_int_equal(symlink(target, link), 0);
    json_decref(config);

    struct pool *pool;
    struct device *d = NULL;
    struct weights *w;
    struct lm_net *net;
    struct lm_shape s;
    if (!pool_new(&pool, 1, e) || !device_cpu_open(&d, pool, 0, e)) fail_msg("%s", e->msg);
    bool ok = false;
    if (weights_open(&w, link, e)) {
        ok = lm_families[0]->engine->load(lm_families[0], &net, &s, w, d, 8, 64, e);
        if (ok) lm_families[0]->engine->free(net);
        weights_close(w);
    }
    device_close(d);
    pool_free(pool);
    unlink(file);
    unlink(link);
    rmdir(dir);
    return ok;
}

static void refused(const char *key, json_t *value, enum err_code code, const char *says)
{
    struct err e = { 0 };
    if (load_with(key, value, &e)) fail_msg("%s: accepted", key);
    if (!strstr(e.msg, says)) fail_msg("%s: \"%s\" does not say \"%s\"", key, e.msg, says);
    assert_int_equal(e.code, code);
}

static void test_as_it_is(void **state)
{
    (void)state;
    struct err e;
    assert_true(load_with("unknown_key", json_true(), &e));
    assert_true(load_with("num_key_value_heads", json_integer(2), &e));
}

static void test_shapes(void **state)
{
    (void)state;
    /* heads are checked against rows: 2 layers of k and v */
    refused("num_key_value_heads", json_integer(3), ERR_FORMAT, "4 tensors do not fit");
    refused("num_key_value_heads", json_integer(3), ERR_FORMAT,
            "k_proj.weight: expected [24,48], the file has [16,48]");
    refused("intermediate_size", json_integer(80), ERR_FORMAT, "6 tensors do not fit");
    refused("num_hidden_layers", json_integer(3), ERR_FORMAT,
            "model.layers.2.self_attn.q_proj.weight is missing");
    refused("hidden_size", json_integer(64), ERR_FORMAT, "do not fit the model's configuration");
}

static void test_numbers(void **state)
{
    (void)state;
    refused("hidden_size", NULL, ERR_FORMAT,
            "norm.weight: expected [4096], the file has [48]"); /* Llama's own */
    refused("num_hidden_layers", json_integer(-1), ERR_FORMAT, "num_hidden_layers is -1");
    refused("num_hidden_layers", json_integer(1 << 30), ERR_FORMAT, "a whole number from 1 to 512");
    refused("num_attention_heads", json_real(6.5), ERR_FORMAT, "num_attention_heads is 6.5");
    refused("num_key_value_heads", json_integer(4), ERR_FORMAT, "6 heads over 4 key/value heads");
    refused("head_dim", json_string("eight"), ERR_FORMAT, "head_dim is not one number");
    refused("intermediate_size", NULL, ERR_FORMAT, "gate_proj.weight: expected [11008,48]");
    refused("rms_norm_eps", json_string("NaN"), ERR_FORMAT, "norm epsilon"); /* as json_read gives it */
    refused("num_hidden_layers", json_string("Infinity"), ERR_FORMAT, "num_hidden_layers is inf");
    refused("rms_norm_eps", json_real(-1), ERR_FORMAT, "norm epsilon");
}

static void test_rope(void **state)
{
    (void)state;
    refused("rope_parameters", json_pack("{s:s,s:f}", "rope_type", "spiral", "factor", 2.0), ERR_UNSUPPORTED,
            "'spiral' is not supported");
    refused("rope_parameters", json_pack("{s:s}", "type", "linear"), ERR_FORMAT, "rope scaling factor");
    refused("rope_parameters",
            json_pack("{s:s,s:f,s:f}", "rope_type", "yarn", "factor", 2.0, "beta_slow", -1.0), ERR_FORMAT,
            "yarn");
    refused("rope_parameters", json_pack("{s:f}", "rope_theta", -3.0), ERR_FORMAT, "rope base");
}

static void test_activation(void **state)
{
    (void)state;
    refused("hidden_act", json_string("relu2"), ERR_UNSUPPORTED, "hidden_act 'relu2' is not supported");
    refused("hidden_act", json_integer(3), ERR_UNSUPPORTED, "hidden_act");
    /* not this family's key, but somebody's word for what the network computes */
    refused("hidden_activation", json_string("gelu_pytorch_tanh"), ERR_UNSUPPORTED,
            "hidden_activation 'gelu_pytorch_tanh' is not supported");
    refused("hidden_activation", json_string("relu2"), ERR_UNSUPPORTED, "hidden_activation 'relu2'");
    struct err e;
    assert_true(load_with("hidden_activation", json_string("silu"), &e));
    assert_true(load_with("hidden_act", json_string("gelu"), &e));
    assert_true(load_with("hidden_act", json_string("swish"), &e));
    assert_true(load_with("hidden_act", json_null(), &e));
}

static void test_quantisation(void **state)
{
    (void)state;
    static const char key[] = "quantization_config";
    refused(key, json_pack("{s:s}", "quant_method", "hqq"), ERR_UNSUPPORTED, "'hqq'");
    refused(key, json_pack("{s:s,s:s}", "quant_method", "gptq", "checkpoint_format", "marlin"),
            ERR_UNSUPPORTED, "'gptq' (marlin)");
    refused(key, json_pack("{s:s,s:s}", "quant_method", "awq", "version", "gemv"), ERR_UNSUPPORTED,
            "'awq' (gemv)");
    refused(key, json_pack("{s:s,s:s}", "quant_method", "compressed-tensors", "format", "marlin-24"),
            ERR_UNSUPPORTED, "'compressed-tensors' (marlin-24)");
    refused(key,
            json_pack("{s:s,s:s,s:{s:{s:{s:i,s:s}}}}", "quant_method", "compressed-tensors", "format",
                      "pack-quantized", "config_groups", "group_0", "weights", "num_bits", 3, "type", "int"),
            ERR_UNSUPPORTED, "'compressed-tensors' (neither 4 bits nor 8)");
    refused(key, json_pack("{s:s,s:s}", "quant_method", "modelopt", "quant_algo", "W4A8_AWQ"),
            ERR_UNSUPPORTED, "(W4A8_AWQ)");
    refused(key, json_pack("{s:b}", "load_in_4bit", 1), ERR_UNSUPPORTED, "'bitsandbytes'");
    refused(key, json_pack("{s:i}", "bits", 4), ERR_UNSUPPORTED, "'an unnamed method'");
    refused(key, json_string("int4"), ERR_UNSUPPORTED, "'an unnamed method'");
    /* words for nothing, and blocks that say nothing of these modules */
    struct err e;
    assert_true(load_with(key, json_object(), &e));
    assert_true(load_with(key, json_null(), &e));
    assert_true(load_with(key, json_string("none"), &e));
    assert_true(load_with(key, json_pack("{s:n,s:n}", "quant_method", "bits"), &e));
    assert_true(load_with(key, json_pack("{s:s}", "quant_method", "none"), &e));
    assert_true(load_with(key, json_pack("{s:s}", "quant_method", "quark"), &e));
    assert_true(load_with(
        key, json_pack("{s:s,s:s}", "quant_method", "compressed-tensors", "format", "float-quantized"), &e));
}

/* ---- tensors that are not what the configuration promises ------------------------------------------------------------------ */

/* The FP8 golden's file with every `from` in its header replaced by `to`, of the same length, and the numbers of `tensor`
 * overwritten by `value`. */
static void write_changed(const char *out, const char *from, const char *to, const char *tensor, float value)
{
    FILE *in = fopen("tests/golden/lm/llama_fp8/model.safetensors", "rb");
    assert_non_null(in);
    static char all[200 << 10];
    const size_t size = fread(all, 1, sizeof all, in);
    uint64_t n;
    memcpy(&n, all, sizeof n);
    assert_true(size < sizeof all && n < size);
    json_t *header = json_loadb(all + 8, n, 0, NULL);
    const json_t *at = json_object_get(json_object_get(header, tensor), "data_offsets");
    const size_t first = 8 + n + (size_t)json_integer_value(json_array_get(at, 0));
    if (at) memcpy(all + first, &value, sizeof value);
    json_decref(header);
    fclose(in);
    for (char *p = all + 8; from && (p = memmem(p, (size_t)(all + 8 + n - p), from, strlen(from)));)
        memcpy(p, to, strlen(to));
    FILE *f = fopen(out, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(all, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static bool load_changed(const char *from, const char *to, const char *tensor, float value,
                         const char *config_text, struct err *e)
{
    char dir[] = "/tmp/hearth-bind-XXXXXX", file[100], config[100];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    snprintf(config, sizeof config, "%s/config.json", dir);
    write_changed(file, from, to, tensor, value);
    json_t *c = json_load_file("tests/golden/lm/llama_fp8/config.json", 0, NULL);
    json_t *q = config_text ? json_loads(config_text, 0, NULL) : NULL;
    if (q) json_object_set_new(c, "quantization_config", q);
    assert_int_equal(json_dump_file(c, config, 0), 0);
    json_decref(c);
    struct weights *w;
    struct lm_shape s;
    bool ok = weights_open(&w, dir, e);
    if (ok) {
        ok = lm_families[0]->engine->check(lm_families[0], &s, w, e);
        weights_close(w);
    }
    unlink(file);
    unlink(config);
    rmdir(dir);
    return ok;
}

static void test_scales(void **state)
{
    (void)state;
    static const char q_scale[] = "model.layers.0.self_attn.q_proj.weight_scale_inv";
    struct err e = { 0 };
    if (!load_changed(NULL, NULL, q_scale, 0.01f, NULL, &e)) fail_msg("%s", e.msg);
    /* promised, and absent */
    assert_false(load_changed("weight_scale_inv", "weight_other_one", "", 0, NULL, &e));
    assert_non_null(strstr(e.msg, "q_proj.weight is F8_E4M3 and has no scale"));
    assert_int_equal(e.code, ERR_FORMAT);
    /* under a name that says nothing here */
    assert_false(load_changed(".weight_scale_inv\"", ".scale_weight\"    ", "", 0, "{}", &e));
    assert_non_null(strstr(e.msg, "q_proj.scale_weight: a scale of this name is not supported"));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    /* nothing promised: plain e4m3 values */
    if (!load_changed("weight_scale_inv", "weight_other_one", "", 0, "{}", &e)) fail_msg("%s", e.msg);
    /* whichever library made them, scales are scales */
    if (!load_changed(NULL, NULL, "", 0, "{\"quant_method\": \"modelopt\", \"weight_block_size\": [32, 32]}",
                      &e))
        fail_msg("%s", e.msg);
    if (!load_changed(
            NULL, NULL, "", 0,
            "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"group_0\": {\"weights\": "
            "{\"type\": \"float\", \"num_bits\": 8, \"block_structure\": [32, 32]}}}}",
            &e))
        fail_msg("%s", e.msg);
    /* numbers that are none */
    static const float bad[] = { NAN, INFINITY, -1.0f };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(load_changed(NULL, NULL, q_scale, bad[i], NULL, &e));
        assert_non_null(strstr(e.msg, "q_proj.weight_scale_inv: number 0 is negative, infinite or NaN"));
    }
}

/* What has no place in the network is named; what other programs keep there is not. */
static void test_unused_tensors(void **state)
{
    (void)state;
    struct weights *w;
    struct err e = { 0 };
    char names[300];
    if (!weights_open(&w, GOLDEN "model.safetensors", &e)) fail_msg("%s", e.msg);
    struct tensor_slot slots[64] = { { 0 } };
    size_t n = 0;
    const struct tensor *left[] = { weights_find(w, "lm_head.weight"), weights_find(w, "model.norm.weight") };
    assert_true(weights_count(w) < 64);
    for (size_t i = 0; i < weights_count(w); i++)
        if (weights_at(w, i) != left[0] && weights_at(w, i) != left[1]) slots[n++].t = weights_at(w, i);
    assert_int_equal(bind_unused(w, slots, n, 0, 0, names, sizeof names), 2);
    assert_non_null(strstr(names, "lm_head.weight"));
    assert_non_null(strstr(names, "model.norm.weight"));
    slots[n++].t = left[0];
    slots[0].scale = left[1];
    assert_int_equal(bind_unused(w, slots, n, 0, 0, names, sizeof names), 0);
    assert_string_equal(names, "");
    weights_close(w);
}

/* A norm that this family has no place for would make another network. */
static void test_other_norms(void **state)
{
    (void)state;
    struct err e = { 0 };
    assert_false(load_changed("0.self_attn.q_proj.weight_scale_inv", "0.self_attn.q_norm.weight_scale_inv",
                              "", 0, NULL, &e));
    if (!strstr(e.msg, "q_norm.weight_scale_inv: a norm that is not supported")) fail_msg("%s", e.msg);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}

/* Known by their tensors where config.json does not say so. */
static void test_packed_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
        enum err_code code;
    } kinds[] = {
        { "weight_scale_inv", "zz.weight.absmax", "quantised as bitsandbytes", ERR_UNSUPPORTED },
        { "\"F8_E4M3\"", "\"I8\"     ", "whole numbers without a weight_scale", ERR_FORMAT },
        { "\"F8_E4M3\"", "\"I16\"    ", "", ERR_FORMAT },
    };
    struct err e;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        e = (struct err){ 0 };
        assert_false(load_changed(kinds[i].from, kinds[i].to, "", 0, "{}", &e));
        if (!strstr(e.msg, kinds[i].says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, kinds[i].says);
        assert_int_equal(e.code, kinds[i].code);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR - 1); /* the faults are expected */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_it_is),       cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_quantisation),   cmocka_unit_test(test_activation),
        cmocka_unit_test(test_scales),         cmocka_unit_test(test_packed_tensors),
        cmocka_unit_test(test_unused_tensors), cmocka_unit_test(test_other_norms),
    };
    return cmocka_run_group_tests_name("binding", tests, NULL, NULL);
}
