#include "format/model_summary.h"

#include <stdio.h>
#include <string.h>

#include "format/gguf.h"
#include "format/name_table.h"

/* Counts that a file may claim; above, it is nonsense and is left out. */
#define MAX_COUNT (INT64_C(1) << 31)

static void set_text(char *dst, size_t cap, const char *text, size_t len)
{
    dst[0] = '\0';
    if (len < cap && name_is_printable(text, len)) {
        memcpy(dst, text, len);
        dst[len] = '\0';
    }
}

/* 0 when it does not fit. */
static int64_t product(int64_t a, int64_t b)
{
    int64_t n;
    return __builtin_mul_overflow(a, b, &n) ? 0 : n;
}

static int64_t sane(int64_t v) { return v >= 0 && v <= MAX_COUNT ? v : 0; }

/* ---- GGUF ------------------------------------------------------------------------------------------------------ */

/* ARCH.key: a number, or the largest of an array with one for each layer. */
static int64_t arch_int(const struct gguf *g, const char *arch, const char *key, int64_t fallback)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    const struct gguf_value *v = gguf_find(g, full);
    if (!v) return fallback;
    int64_t most = 0;
    for (uint64_t i = 0; i < v->n; i++) {
        int64_t n = sane(gguf_value_int(v, i, 0));
        if (n > most) most = n;
    }
    return most;
}

/* Key/value heads over all layers; hybrid models list a count for each layer. */
static int64_t arch_sum(const struct gguf *g, const char *arch, const char *key, int64_t n_layer,
                        int64_t each)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    const struct gguf_value *v = gguf_find(g, full);
    if (!v || !v->is_array) return each * n_layer;
    int64_t sum = 0;
    for (uint64_t i = 0; i < v->n && i < (uint64_t)n_layer; i++) sum += sane(gguf_value_int(v, i, 0));
    return sum;
}

static void read_gguf(struct model_summary *s, const struct gguf *g)
{
    s->format = "GGUF";
    struct gguf_str text = gguf_string(g, "general.name");
    set_text(s->name, sizeof s->name, text.data, text.len);
    text = gguf_string(g, "general.architecture");
    set_text(s->arch, sizeof s->arch, text.data, text.len);

    s->n_layer = arch_int(g, s->arch, "block_count", 0);
    s->n_embd = arch_int(g, s->arch, "embedding_length", 0);
    s->n_head = arch_int(g, s->arch, "attention.head_count", 0);
    s->n_kv_head = arch_int(g, s->arch, "attention.head_count_kv", s->n_head);
    s->head_dim = arch_int(g, s->arch, "attention.key_length", s->n_head ? s->n_embd / s->n_head : 0);
    s->v_dim = arch_int(g, s->arch, "attention.value_length", s->head_dim);
    s->n_ff = arch_int(g, s->arch, "feed_forward_length", 0);
    s->n_ctx_train = arch_int(g, s->arch, "context_length", 0);
    s->n_expert = arch_int(g, s->arch, "expert_count", 0);
    s->n_expert_used = arch_int(g, s->arch, "expert_used_count", 0);
    s->kv_lora_rank = arch_int(g, s->arch, "attention.kv_lora_rank", 0);
    s->rope_dim = arch_int(g, s->arch, "rope.dimension_count", 0);
    s->n_vocab = arch_int(g, s->arch, "vocab_size", 0);
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    if (tokens && tokens->is_array) s->n_vocab = sane((int64_t)tokens->n);

    int64_t heads = arch_sum(g, s->arch, "attention.head_count_kv", s->n_layer, s->n_kv_head);
    s->kv_elems = product(heads, s->head_dim + s->v_dim);
}

/* ---- config.json ----------------------------------------------------------------------------------------------- */

/* The first of several spellings that is there and is a number. */
static int64_t config_int(const json_t *c, const char *const *keys, int64_t fallback)
{
    for (; *keys; keys++) {
        const json_t *v = json_object_get(c, *keys);
        if (json_is_integer(v)) return sane(json_integer_value(v));
    }
    return fallback;
}
#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void read_config(struct model_summary *s, const json_t *c)
{
    const json_t *arch = json_object_get(c, "model_type");
    if (!json_is_string(arch)) arch = json_array_get(json_object_get(c, "architectures"), 0);
    if (!json_is_string(arch)) arch = json_object_get(c, "_class_name");
    if (json_is_string(arch))
        set_text(s->arch, sizeof s->arch, json_string_value(arch), json_string_length(arch));
    const json_t *name = json_object_get(c, "_name_or_path");
    if (json_is_string(name))
        set_text(s->name, sizeof s->name, json_string_value(name), json_string_length(name));

    static const char *const inner[] = { "text_config", "llm_config", "language_config" };
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        const json_t *text = json_object_get(c, inner[i]);
        if (!json_is_object(text)) continue;
        c = text;
        break;
    }
    if (!json_is_integer(json_object_get(c, "vocab_size"))) return; /* an image network */
    s->n_layer = config_int(c, KEYS("num_hidden_layers", "num_layers", "n_layer"), 0);
    s->n_embd = config_int(c, KEYS("hidden_size", "d_model", "n_embd"), 0);
    s->n_head = config_int(c, KEYS("num_attention_heads", "num_heads", "n_head"), 0);
    s->n_kv_head = config_int(c, KEYS("num_key_value_heads"), s->n_head);
    s->head_dim = config_int(c, KEYS("head_dim", "d_kv"), s->n_head ? s->n_embd / s->n_head : 0);
    s->v_dim = config_int(c, KEYS("v_head_dim"), s->head_dim);
    s->n_ff = config_int(c, KEYS("intermediate_size", "d_ff"), 0);
    s->n_vocab = config_int(c, KEYS("vocab_size"), 0);
    s->n_ctx_train = config_int(c, KEYS("max_position_embeddings", "n_positions"), 0);
    s->n_expert = config_int(c, KEYS("n_routed_experts", "num_local_experts", "num_experts"), 0);
    s->n_expert_used = config_int(c, KEYS("num_experts_per_tok"), 0);
    s->kv_lora_rank = config_int(c, KEYS("kv_lora_rank"), 0);
    s->rope_dim = config_int(c, KEYS("qk_rope_head_dim"), s->head_dim);
    s->kv_elems = product(s->n_layer * s->n_kv_head, s->head_dim + s->v_dim);
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

static void read_names(struct model_summary *s, const struct weights *w)
{
    static const struct {
        const char *tensor, *arch;
    } known[] = {
        { "double_blocks.0.img_attn.qkv.weight", "flux" },
        { "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "flux" },
        { "model.diffusion_model.label_emb.0.0.weight", "sdxl" },
        { "model.diffusion_model.input_blocks.0.0.weight", "stable-diffusion" },
        { "encoder.block.0.layer.0.SelfAttention.q.weight", "t5" },
        { "text_model.encoder.layers.0.self_attn.q_proj.weight", "clip" },
        { "decoder.conv_in.weight", "vae" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (weights_find(w, known[i].tensor)) {
            snprintf(s->arch, sizeof s->arch, "%s", known[i].arch);
            return;
        }
    }
}

static void count_tensors(struct model_summary *s, const struct weights *w)
{
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        s->type_count[t->type]++;
        s->type_bytes[t->type] += t->bytes;
        if (t->type < DT_I64 || t->type == DT_F64) s->n_params += tensor_elems(t);
    }
    size_t most = 0;
    s->type = "";
    for (int t = 0; t < DT_COUNT; t++) {
        if (s->type_bytes[t] > most) {
            most = s->type_bytes[t];
            s->type = dtype_info((enum dtype)t)->name;
        }
    }
}

void model_summary_read(struct model_summary *s, const struct weights *w)
{
    *s = (struct model_summary){ .format = "safetensors", .weight_bytes = weights_bytes(w) };
    count_tensors(s, w);
    if (weights_gguf(w)) {
        read_gguf(s, weights_gguf(w));
    } else if (weights_config(w)) {
        read_config(s, weights_config(w));
    }
    if (!s->arch[0]) read_names(s, w);
    /* Latent attention keeps one compressed vector and one rotated key, shared by all heads. */
    if (s->kv_lora_rank) s->kv_elems = s->n_layer * (s->kv_lora_rank + s->rope_dim);
}

int64_t model_summary_kv_bytes(const struct model_summary *s, int64_t n_ctx, int page, bool q8_0)
{
    int64_t n = product((n_ctx + page - 1) / page * page, s->kv_elems);
    return q8_0 ? product(n / 32, dtype_info(DT_Q8_0)->block_bytes) : product(n, 2);
}
