/* encoder_config.c - see encoder.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json_read.h"
#include "lm/encoder.h"

enum { NO_SUCH = -1 };

/* A number under any of its names, which families spell differently; `absent` (NO_SUCH: it is needed) where there is none. */
static int whole(const struct hparam_source *src, const char *gguf, const char *const *hf, int absent,
                 int max)
{
    const char *key = hf[0];
    for (size_t i = 0; !src->gguf && hf[i]; i++) {
        const json_t *v = json_object_get(src->config, hf[i]);
        if (v && !json_is_null(v)) key = hf[i];
    }
    const double x = hparams_number(src, gguf, key, absent);
    if (x == NO_SUCH) {
        hparams_complain(src->bad, "%s is missing", src->gguf ? gguf : key);
        return 1;
    }
    if (x >= 1 && x <= max && x == floor(x)) return (int)x;
    hparams_complain(src->bad, "%s is no whole number from 1 to %d", src->gguf ? gguf : key, max);
    return 1;
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void read_act(struct encoder_shape *x, const struct hparam_source *src)
{
    static const struct {
        const char *name;
        enum encoder_act act;
        bool gated;
    } acts[] = {
        { "gelu", ENCODER_GELU, false },
        { "gelu_new", ENCODER_GELU_TANH, false },
        { "gelu_pytorch_tanh", ENCODER_GELU_TANH, false },
        { "gelu_fast", ENCODER_GELU_TANH, false },
        { "relu", ENCODER_RELU, false },
        { "silu", ENCODER_SILU, false },
        { "swiglu", ENCODER_SILU, true },
    };
    static const char *const keys[] = { "hidden_act", "activation", "activation_function" };
    x->act = ENCODER_GELU;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *name = json_string_value(json_object_get(src->config, keys[k]));
        if (!name) continue;
        for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
            if (strcmp(acts[i].name, name) != 0) continue;
            x->act = acts[i].act;
            x->gated |= acts[i].gated;
            return;
        }
        hparams_complain(src->bad, "%s \"%.40s\" is not supported", keys[k], name);
        return;
    }
}

/* The switches of nomic-bert that would make another network of it. */
static void refuse_variants(const struct hparam_source *src)
{
    static const char *const off[] = { "prenorm",        "use_rms_norm",
                                       "parallel_block", "rotary_emb_interleaved",
                                       "qkv_proj_bias",  "mlp_fc1_bias",
                                       "mlp_fc2_bias" };
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (json_is_true(json_object_get(src->config, off[i])))
            hparams_complain(src->bad, "%s is not supported", off[i]);
    const char *kind = json_string_value(json_object_get(src->config, "position_embedding_type"));
    if (kind && strcmp(kind, "absolute") != 0)
        hparams_complain(src->bad, "position_embedding_type \"%.40s\" is not supported", kind);
    const json_t *scaling = json_object_get(src->config, "rotary_scaling_factor");
    if (scaling && !json_is_null(scaling))
        hparams_complain(src->bad, "rotary_scaling_factor is not supported");
    const double part = hparams_number(src, NULL, "rotary_emb_fraction", 1);
    if (part != 1) hparams_complain(src->bad, "a rotary_emb_fraction of %g is not supported", part);
}

static double theta_of(const struct hparam_source *src)
{
    const json_t *rope = json_object_get(src->config, "rope_parameters");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        hparams_complain(src->bad, "rope_type \"%.40s\" is not supported", type);
    const json_t *in = json_object_get(rope, "rope_theta");
    if (in) return json_read_number(in, NAN);
    return hparams_number(src, "rope.freq_base", "rotary_emb_base", src->gguf ? 10000 : 1000);
}

/* The number under `key` in a file beside the weights; NAN: there is none. */
static double length_of(const struct weights *w, const char *file, const char *key)
{
    struct err e = { 0 };
    char path[4200];
    json_t *config = NULL;
    snprintf(path, sizeof path, "%s%s", weights_dir(w), file);
    if (!json_read_file(&config, path, &e)) return NAN;
    const double n = json_read_number(json_object_get(config, key), NAN);
    json_decref(config);
    return n;
}

/* sentence-transformers cuts texts at a length of its own, which the model was trained with; else at the tokenizer's. */
static void cut_context(struct lm_shape *s, const struct weights *w)
{
    if (weights_gguf(w)) return;
    double n = length_of(w, "sentence_bert_config.json", "max_seq_length");
    if (isnan(n)) n = length_of(w, "tokenizer_config.json", "model_max_length");
    if (n >= 2 && n < s->n_ctx_train) s->n_ctx_train = (int)n;
}

bool encoder_config(struct lm_shape *out, struct encoder_shape *x_out, const struct hparam_family *f,
                    const struct weights *w, struct err *e)
{
    struct buf bad = BUF_INIT(4096);
    struct hparam_source src = { .gguf = weights_gguf(w), .config = weights_config(w), .bad = &bad };
    struct encoder_shape x = { .rotary = strcmp(f->hf, "nomic_bert") == 0 };
    struct lm_shape s = { .embd_scale = 1 };
    if (src.gguf) snprintf(src.arch, sizeof src.arch, "%s", f->gguf);
    s.n_layer =
        whole(&src, "block_count", NAMES("num_hidden_layers", "n_layers", "n_layer"), NO_SUCH, LM_MAX_LAYER);
    s.n_embd = whole(&src, "embedding_length", NAMES("hidden_size", "dim", "n_embd"), NO_SUCH, 1 << 16);
    s.n_head = whole(&src, "attention.head_count", NAMES("num_attention_heads", "n_heads", "n_head"), NO_SUCH,
                     1 << 12);
    s.n_ff = whole(&src, "feed_forward_length", NAMES("intermediate_size", "hidden_dim", "n_inner"),
                   4 * s.n_embd, 1 << 20);
    s.n_ctx_train = whole(&src, "context_length", NAMES("max_position_embeddings", "n_positions"),
                          x.rotary ? 2048 : 512, 1 << 20);
    if (s.n_embd % s.n_head || s.n_embd / s.n_head > 1024 || s.n_embd / s.n_head % 2)
        hparams_complain(&bad, "%d heads do not divide a width of %d evenly", s.n_head, s.n_embd);
    s.n_kv_head = s.n_head;
    s.head_dim = s.k_dim = s.v_dim = s.n_embd / s.n_head;
    const double eps = hparams_number(
        &src, "attention.layer_norm_epsilon",
        json_object_get(src.config, "layer_norm_eps") ? "layer_norm_eps" : "layer_norm_epsilon", 1e-12);
    if (!(eps >= 0 && eps < 1)) hparams_complain(&bad, "the norms' epsilon is no number from 0 to 1");
    s.eps = (float)eps;
    x.gated = x.rotary;
    if (x.rotary) x.act = ENCODER_SILU;
    if (!src.gguf) {
        read_act(&x, &src);
        refuse_variants(&src);
    }
    if (x.rotary && x.act != ENCODER_SILU)
        hparams_complain(&bad, "an activation other than silu is not supported");
    if (!src.gguf && (strcmp(f->hf, "roberta") == 0 || strcmp(f->hf, "xlm-roberta") == 0)) {
        x.first_pos = (int)hparams_number(&src, NULL, "pad_token_id", 1) + 1;
        if (x.first_pos < 1 || x.first_pos >= s.n_ctx_train)
            hparams_complain(&bad, "pad_token_id is outside the table of positions");
        else
            s.n_ctx_train -= x.first_pos;
    }
    if (x.rotary) {
        const double theta = theta_of(&src);
        if (!(theta >= 1 && theta <= 1e12)) hparams_complain(&bad, "the rotary base is no number from 1 on");
        s.rope[0] = (struct rope_spec){ .n_rot = s.head_dim, .theta = theta, .mscale = 1 };
        s.n_rope = 1;
        s.rope_layout = ROPE_HALF;
    }
    for (int il = 0; il < s.n_layer; il++) {
        s.layer[il].attn_scale = 1 / sqrtf((float)s.head_dim);
        s.layer[il].rope = x.rotary ? 0 : -1;
    }
    const bool ok = bad.len == 0 && !bad.failed;
    if (ok) {
        cut_context(&s, w);
        *out = s;
        *x_out = x;
    } else {
        if (bad.len >= 2) bad.data[bad.len - 2] = 0; /* the last separator */
        err_set(e, bad.data && strstr(bad.data, "not supported") ? ERR_UNSUPPORTED : ERR_FORMAT,
                "model configuration: %s", bad.len ? bad.data : "too many faults to list");
    }
    buf_free(&bad);
    return ok;
}
