/* Names, sizes and memory from config.json and from GGUF metadata; nonsense in either is left out. */
#include "format/model_summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "format/gguf.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/model_summary_test_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = { "model.safetensors", "config.json", "m.gguf" };
    for (size_t i = 0; i < 3; i++) unlink(in_dir(names[i]));
    return rmdir(dir);
}

static void summary_of(struct model_summary *s, const char *path)
{
    struct weights *w;
    struct err e = { 0 };
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    model_summary_read(s, w);
    weights_close(w);
}

static void summary_of_config(struct model_summary *s, const char *tensor, const char *config)
{
    char header[200], file[256];
    uint64_t n =
        (uint64_t)snprintf(header, sizeof header,
                           "{\"%s\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}", tensor);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0, 12);
    write_file("model.safetensors", file, 8 + n + 12);
    if (config) write_file("config.json", config, strlen(config));
    summary_of(s, dir);
}

static void config_of_a_llama(void **state)
{
    (void)state;
    struct model_summary s;
    summary_of_config(
        &s, "x",
        "{\"model_type\":\"llama\",\"_name_or_path\":\"a/b\",\"num_hidden_layers\":32,\"hidden_size\":4096,"
        "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"vocab_size\":128256,"
        "\"intermediate_size\":14336,\"max_position_embeddings\":131072}");
    assert_string_equal(s.arch, "llama");
    assert_string_equal(s.name, "a/b");
    assert_string_equal(s.type, "BF16");
    assert_true(s.n_params == 6 && s.weight_bytes == 12 && s.type_count[DT_BF16] == 1);
    assert_true(s.head_dim == 128 && s.kv_elems == 32 * 8 * 256);
    assert_int_equal(model_summary_kv_bytes(&s, 8192, 32, false), INT64_C(8192) * 65536 * 2);
    assert_int_equal(model_summary_kv_bytes(&s, 8161, 32, false),
                     INT64_C(8192) * 65536 * 2); /* whole pages */
    assert_int_equal(model_summary_kv_bytes(&s, 8192, 32, true), INT64_C(8192) * 65536 / 32 * 34);
}

static void config_with_latent_attention(void **state)
{
    (void)state;
    struct model_summary s;
    summary_of_config(
        &s, "x",
        "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"num_hidden_layers\":61,\"hidden_size\":7168,"
        "\"num_attention_heads\":128,\"num_key_value_heads\":128,\"kv_lora_rank\":512,"
        "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_experts\":256,\"num_experts_per_tok\":8,"
        "\"vocab_size\":129280}");
    assert_string_equal(s.arch, "DeepseekV3ForCausalLM");
    assert_true(s.n_expert == 256 && s.n_expert_used == 8);
    assert_int_equal(s.kv_elems, 61 * 576);
}

static void nonsense_is_left_out(void **state)
{
    (void)state;
    struct model_summary s;
    summary_of_config(
        &s, "x",
        "{\"model_type\":\"a\\nb\",\"text_config\":{\"num_hidden_layers\":2147483648,\"hidden_size\":-1,"
        "\"num_attention_heads\":2147483647,\"num_key_value_heads\":2147483648,\"head_dim\":2147483648,"
        "\"vocab_size\":99999999999999,\"max_position_embeddings\":\"many\"}}");
    assert_string_equal(s.arch, "");
    assert_true(s.n_embd == 0 && s.n_vocab == 0 && s.n_ctx_train == 0);
    assert_int_equal(s.kv_elems, 0); /* the product does not fit */
    assert_int_equal(model_summary_kv_bytes(&s, INT64_C(1) << 40, 32, true), 0);
}

static void family_from_tensor_names(void **state)
{
    (void)state;
    struct model_summary s;
    summary_of_config(&s, "double_blocks.0.img_attn.qkv.weight", NULL);
    assert_string_equal(s.arch, "flux");
    assert_int_equal(s.n_layer, 0);
}

static void put(struct buf *b, uint64_t v, size_t n) { buf_append(b, &v, n); }

static void put_str(struct buf *b, const char *s)
{
    put(b, strlen(s), 8);
    buf_puts(b, s);
}

static void gguf_with_heads_for_each_layer(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
    } ints[] = { { "toy.block_count", 3 },
                 { "toy.embedding_length", 64 },
                 { "toy.attention.head_count", 4 },
                 { "toy.context_length", 2048 } };
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "GGUF");
    put(&b, 3, 4);
    put(&b, 0, 8);
    put(&b, 6, 8);
    put_str(&b, "general.architecture");
    put(&b, GGUF_STRING, 4);
    put_str(&b, "toy");
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        put_str(&b, ints[i].key);
        put(&b, GGUF_U32, 4);
        put(&b, ints[i].value, 4);
    }
    put_str(&b, "toy.attention.head_count_kv"); /* the middle layer has no attention */
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_U32, 4);
    put(&b, 3, 8);
    put(&b, 2, 4);
    put(&b, 0, 4);
    put(&b, 4, 4);
    write_file("m.gguf", b.data, b.len);
    buf_free(&b);
    struct model_summary s;
    summary_of(&s, in_dir("m.gguf"));
    assert_string_equal(s.arch, "toy");
    assert_true(s.n_layer == 3 && s.head_dim == 16 && s.n_kv_head == 4 && s.n_ctx_train == 2048);
    assert_int_equal(s.kv_elems, (2 + 0 + 4) * 32);
}

int main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(config_of_a_llama),
        IN_DIR(config_with_latent_attention),
        IN_DIR(nonsense_is_left_out),
        IN_DIR(family_from_tensor_names),
        IN_DIR(gguf_with_heads_for_each_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
