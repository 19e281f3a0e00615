/* Packed matrices whose configuration promises what the numbers do not keep. (What they stand for is held against the reference in
 * golden_test.c.) */
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

/* Loads a golden model with members of its quantization_config replaced. */
static bool load_with(const char *golden, json_t *members, struct err *e)
{
    char dir[] = "/tmp/hearth-packed-XXXXXX", config[100], file[100], from[200], target[600], cwd[400];
    assert_non_null(mkdtemp(dir));
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    snprintf(from, sizeof from, "tests/golden/lm/%s/config.json", golden);
    snprintf(target, sizeof target, "%s/tests/golden/lm/%s/model.safetensors", cwd, golden);
    json_t *c = json_load_file(from, 0, NULL);
    assert_int_equal(json_object_update(json_object_get(c, "quantization_config"), members), 0);
    assert_int_equal(json_dump_file(c, config, 0), 0);
    assert_int_equal(symlink(target, file), 0);
    json_decref(c);
    json_decref(members);

    struct pool *pool;
    struct device *d = NULL;
    struct weights *w;
    struct lm_net *net;
    struct lm_shape s;
    if (!pool_new(&pool, 1, e) || !device_cpu_open(&d, pool, 0, e)) fail_msg("%s", e->msg);
    bool ok = false;
    if (weights_open(&w, dir, e)) {
        ok = lm_families[0]->engine->load(lm_families[0], &net, &s, w, d, 8, 64, e);
        if (ok) lm_families[0]->engine->free(net);
        weights_close(w);
    }
    device_close(d);
    pool_free(pool);
    unlink(config);
    unlink(file);
    rmdir(dir);
    return ok;
}

static void refused(const char *golden, json_t *members, const char *says)
{
    struct err e = { 0 };
    if (load_with(golden, members, &e)) fail_msg("%s: accepted", golden);
    if (!strstr(e.msg, says)) fail_msg("%s: \"%s\" does not say \"%s\"", golden, e.msg, says);
    assert_int_equal(e.code, ERR_FORMAT);
}

static void taken(const char *golden, json_t *members)
{
    struct err e = { 0 };
    if (!load_with(golden, members, &e)) fail_msg("%s: %s", golden, e.msg);
}

/* `sym` tells the two formats apart, whose zero points differ by one: a file under the wrong name is not read one step off. */
static void test_middle(void **state)
{
    (void)state;
    static const char says[] = ".qzeros: zero points that are not the middle, although `sym` is true";
    taken("packed_gptq_8", json_object());
    refused("packed_gptq_8", json_pack("{s:s}", "checkpoint_format", "gptq_v2"), says);
    refused("packed_gptq_2_sym", json_pack("{s:s}", "checkpoint_format", "gptq_v2"), says);
    refused("packed_gptq_2", json_pack("{s:b}", "sym", 1), says);
    refused("packed_gptq_3", json_pack("{s:b}", "sym", 1), says);
    refused("packed_gptq_row", json_pack("{s:b}", "sym", 1), says);
    /* where modules differ, the words at the top are not theirs */
    taken("packed_gptq", json_pack("{s:b,s:{s:{}}}", "sym", 1, "dynamic", "-:.*lm_head"));
}

static void test_order(void **state)
{
    (void)state;
    static const char says[] = ".g_idx: an order of inputs, although desc_act is false";
    taken("packed_gptq_order", json_object());
    refused("packed_gptq_order", json_pack("{s:b}", "desc_act", 0), says);
    refused("packed_gptq_3", json_pack("{s:b}", "desc_act", 0), says);
    taken("packed_gptq", json_pack("{s:b}", "desc_act", 1)); /* the order may be the inputs' own */
}

static void test_bits_and_groups(void **state)
{
    (void)state;
    refused("packed_gptq_3", json_pack("{s:i}", "bits", 4),
            "has numbers of 3 bits, quantization_config says 4");
    refused("packed_gptq_2", json_pack("{s:i}", "bits", 3),
            "has numbers of 2 bits, quantization_config says 3");
    refused("packed_gptq_row", json_pack("{s:i}", "group_size", 64),
            "has groups of 128 inputs, quantization_config says 64");
    refused("packed_awq", json_pack("{s:i}", "bits", 8), "has numbers of 4 bits, quantization_config says 8");
}

int main(void)
{
    log_set_level(LOG_ERROR - 1); /* the faults are expected */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_middle),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_bits_and_groups),
    };
    return cmocka_run_group_tests_name("packed matrices", tests, NULL, NULL);
}
