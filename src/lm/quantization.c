#include "lm/quantization.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lm/hparams.h"

#define ADVICE "use a GGUF, BF16, F16 or FP8 version of this model"

/* ---- what the configuration says ---------------------------------------------------------------------------------- */

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* {"quant_method": null, "bits": null}: what a tool writes that was given nothing. */
static bool all_null(const json_t *q)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)q, key, v)
    {
        if (!json_is_null(v)) return false;
    }
    return json_is_object(q);
}

static bool means_nothing(const json_t *q)
{
    if (json_is_string(q)) return !json_string_length(q) || strcasecmp(json_string_value(q), "none") == 0;
    return !q || json_is_null(q) || json_is_false(q) || all_null(q) ||
           strcasecmp(text(q, "quant_method"), "none") == 0;
}

/* What the tool's own file says; ModelOpt's is one level down. */
static const json_t *of_file(const struct weights *w)
{
    const char *file = NULL;
    const json_t *q = weights_quantization_file(w, &file);
    if (q && strcmp(file, "hf_quant_config.json") == 0) q = json_object_get(q, "quantization");
    return means_nothing(q) ? NULL : q;
}

const json_t *quantization_of(const struct weights *w)
{
    static const char *const keys[] = { "quantization_config", "compression_config" };
    const json_t *where[] = { hparams_config(w), weights_config(w) };
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 2; k++) {
            const json_t *q = json_object_get(where[i], keys[k]);
            if (!means_nothing(q)) return q;
        }
    return of_file(w);
}

const char *quantization_method(const struct weights *w)
{
    const json_t *q = quantization_of(w);
    const char *method = text(q, "quant_method"), *file = "";
    if (*method) return method;
    if (json_is_true(json_object_get(q, "load_in_4bit")) || json_is_true(json_object_get(q, "load_in_8bit")))
        return "bitsandbytes";
    if (*text(q, "quant_algo")) return "modelopt";
    if (!q || q != of_file(w)) return "";
    (void)weights_quantization_file(w, &file);
    return strcmp(file, "quantize_config.json") == 0 ? "gptq"
           : strcmp(file, "quant_config.json") == 0  ? "awq"
                                                     : "";
}

/* compressed-tensors: what the first group that has it says of its weights. */
static const json_t *of_weights(const json_t *q, const char *key)
{
    const char *name;
    json_t *group;
    json_object_foreach(json_object_get(q, "config_groups"), name, group)
    {
        const json_t *v = json_object_get(json_object_get(group, "weights"), key);
        if (v && !json_is_null(v)) return v;
    }
    return NULL;
}

void quantization_block(const struct weights *w, int64_t *rows, int64_t *cols)
{
    const json_t *q = quantization_of(w), *block = json_object_get(q, "weight_block_size");
    if (!json_is_array(block)) block = of_weights(q, "block_structure");
    const int64_t group = json_integer_value(of_weights(q, "group_size"));
    int64_t r = json_integer_value(json_array_get(block, 0)),
            c = json_integer_value(json_array_get(block, 1));
    if (!json_is_array(block) && group > 0) r = 1, c = group;
    *rows = r > 0 && r <= 1 << 20 ? r : 128;
    *cols = c > 0 && c <= 1 << 20 ? c : 128;
}

/* One group of compressed-tensors, or all of them: numbers of a kind that is read. NULL, or what else it is. */
static const char *other_format(const json_t *format, const json_t *weights)
{
    static const char *const fine[] = { "float-quantized",     "naive-quantized", "dense",
                                        "pack-quantized",      "int-quantized",   "nvfp4-pack-quantized",
                                        "mxfp4-pack-quantized" };
    const char *name = json_string_value(format);
    bool known = !name;
    for (size_t i = 0; name && i < sizeof fine / sizeof *fine; i++) known |= strcmp(name, fine[i]) == 0;
    if (!known && strcmp(name, "mixed-precision") != 0) return name;
    const json_t *bits = json_object_get(weights, "num_bits");
    if (json_is_integer(bits) && json_integer_value(bits) != 8 && json_integer_value(bits) != 4)
        return "neither 4 bits nor 8";
    return NULL;
}

static const char *other_anywhere(const json_t *q)
{
    const char *name, *other = other_format(json_object_get(q, "format"), NULL);
    json_t *group;
    json_object_foreach(json_object_get(q, "config_groups"), name, group)
    {
        if (!other) other = other_format(json_object_get(group, "format"), json_object_get(group, "weights"));
    }
    const char *sparse = text(json_object_get(q, "sparsity_config"), "format");
    if (!other && *sparse && strcmp(sparse, "dense") != 0) other = sparse;
    if (!other && json_object_size(json_object_get(json_object_get(q, "transform_config"), "config_groups")))
        other = "with transforms";
    return other;
}

static bool refuse(const char *method, const char *kind, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "weights quantised with '%.40s'%s%.40s%s cannot be read; " ADVICE,
                   method, *kind ? " (" : "", kind, *kind ? ")" : "");
}

/* By what the block says. The names of methods whose tensors are read are few; what is not known could mean anything. */
static bool check_block(const json_t *q, const char *method, struct err *e)
{
    const char *algo = text(q, "quant_algo");
    if (strcmp(method, "fp8") == 0 || strcmp(method, "fbgemm_fp8") == 0 || strcmp(method, "quark") == 0 ||
        strcmp(method, "mxfp4") == 0)
        return true;
    if (strcmp(method, "modelopt") == 0)
        return !*algo || strncasecmp(algo, "FP8", 3) == 0 || strcasecmp(algo, "NVFP4") == 0 ||
               refuse(method, algo, e);
    if (strcmp(method, "compressed-tensors") == 0) {
        const char *other = other_anywhere(q);
        return !other || refuse(method, other, e);
    }
    if (strcmp(method, "gptq") == 0) {
        const char *format = text(q, "checkpoint_format");
        const bool read = !*format || strcmp(format, "gptq") == 0 || strcmp(format, "gptq_v2") == 0;
        return read || refuse(method, format, e);
    }
    if (strcmp(method, "awq") == 0) {
        const char *version = text(q, "version");
        return !*version || strcasecmp(version, "gemm") == 0 || refuse(method, version, e);
    }
    return refuse(*method ? method : "an unnamed method", "", e);
}

/* ---- what lies in the files --------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* What this tensor can only be a part of; NULL: nothing of that sort. */
static const char *packed_kind(const struct tensor *t)
{
    static const struct {
        const char *tail, *kind;
    } tails[] = {
        { ".quant_state.bitsandbytes__nf4", "bitsandbytes NF4" },
        { ".quant_state.bitsandbytes__fp4", "bitsandbytes FP4" },
        { ".weight.absmax", "bitsandbytes" },
        { ".SCB", "bitsandbytes, 8 bits" },
        { ".W_q", "HQQ" },
        { ".codebooks", "AQLM" },
    };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends_with(t->name, tails[i].tail)) return tails[i].kind;
    if (t->n_dims >= 2 && ends_with(t->name, "_proj.weight") && t->type >= DT_I64 && t->type <= DT_I16)
        return dtype_info(t->type)->name;
    return NULL;
}

static bool check_tensors(const struct weights *w, struct err *e)
{
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        const char *kind = packed_kind(t);
        if (kind)
            return err_set(e, ERR_UNSUPPORTED, "weights quantised as %s (%.120s) cannot be read; " ADVICE,
                           kind, t->name);
    }
    return true;
}

bool quantization_check(const struct weights *w, struct err *e)
{
    if (weights_gguf(w)) return true;
    const json_t *q = quantization_of(w);
    if (q && !json_is_object(q)) return refuse("an unnamed method", "", e);
    const json_t *file = of_file(w);
    const char *a = text(q, "quant_algo"), *b = text(file, "quant_algo");
    if (file && q != file && *a && *b && strcasecmp(a, b) != 0)
        return err_set(e, ERR_FORMAT,
                       "config.json says that weights are quantised as %.60s, hf_quant_config.json as %.60s",
                       a, b);
    return (!q || check_block(q, quantization_method(w), e)) && check_tensors(w, e);
}
