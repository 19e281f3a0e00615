/* Model folders that do not fit together: refused with one error that names everything. */
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
        ok = lm_arch_llama.load(&net, &s, w, d, 8, e);
        if (ok) lm_arch_llama.free(net);
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
    refused("hidden_size", NULL, ERR_FORMAT, "hidden_size is missing");
    refused("num_hidden_layers", json_integer(-1), ERR_FORMAT, "num_hidden_layers is -1");
    refused("num_hidden_layers", json_integer(1 << 30), ERR_FORMAT, "a whole number from 1 to 1000");
    refused("num_attention_heads", json_real(6.5), ERR_FORMAT, "num_attention_heads is 6.5");
    refused("num_key_value_heads", json_integer(4), ERR_FORMAT, "6 heads over 4 key/value heads");
    refused("head_dim", json_string("eight"), ERR_FORMAT, "head_dim is not one number");
    refused("intermediate_size", NULL, ERR_FORMAT, "configuration: intermediate_size is missing");
    refused("rms_norm_eps", json_real(-1), ERR_FORMAT, "norm epsilon");
}

static void test_rope(void **state)
{
    (void)state;
    refused("rope_parameters", json_pack("{s:s,s:f}", "rope_type", "dynamic", "factor", 2.0), ERR_FORMAT,
            "'dynamic' is not supported");
    refused("rope_parameters", json_pack("{s:s}", "type", "linear"), ERR_FORMAT, "rope scaling factor");
    refused("rope_parameters",
            json_pack("{s:s,s:f,s:f}", "rope_type", "yarn", "factor", 2.0, "beta_slow", -1.0), ERR_FORMAT,
            "yarn");
    refused("rope_parameters", json_pack("{s:f}", "rope_theta", -3.0), ERR_FORMAT, "rope base");
}

static void test_activation(void **state)
{
    (void)state;
    refused("hidden_act", json_string("gelu"), ERR_FORMAT, "hidden_act 'gelu' is not supported");
    refused("hidden_act", json_integer(3), ERR_FORMAT, "hidden_act");
    struct err e;
    assert_true(load_with("hidden_act", json_string("swish"), &e));
    assert_true(load_with("hidden_act", json_null(), &e));
}

static void test_quantisation(void **state)
{
    (void)state;
    refused("quantization_config", json_pack("{s:s}", "quant_method", "gptq"), ERR_UNSUPPORTED, "'gptq'");
}

int main(void)
{
    log_set_level(LOG_ERROR - 1); /* the faults are expected */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_it_is),     cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_rope),
        cmocka_unit_test(test_quantisation), cmocka_unit_test(test_activation),
    };
    return cmocka_run_group_tests_name("binding", tests, NULL, NULL);
}
