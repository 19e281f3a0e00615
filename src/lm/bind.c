#include "lm/bind.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

void bind_open(struct binding *t, const struct weights *w, const int64_t *dim)
{
    *t = (struct binding){ .w = w, .prefix = "", .dim = dim, .bad = BUF_INIT(64 << 10) };
    /* Multimodal exports wrap the language model. */
    static const char *const prefixes[] = { "", "language_model.", "model.language_model." };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char name[96];
        snprintf(name, sizeof name, "%smodel.embed_tokens.weight", prefixes[i]);
        if (weights_find(w, name)) t->prefix = prefixes[i];
    }
}

void bind_fault(struct binding *t, const char *fmt, ...)
{
    char line[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_printf(&t->bad, "%s\n", line); /* full: the count still tells */
    t->n_bad++;
}

bool bind_close(struct binding *t, struct err *e)
{
    bool ok = t->n_bad == 0;
    if (!ok) {
        int shown = 0;
        char first[300] = "";
        char *save = NULL;
        for (char *line = strtok_r(t->bad.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            log_error("model tensors: %s", line);
            size_t used = strlen(first);
            if (used + strlen(line) + 3 > sizeof first) continue;
            snprintf(first + used, sizeof first - used, "%s%s", shown++ ? "; " : "", line);
        }
        err_set(e, ERR_FORMAT, "%d tensor%s do%s not fit the model's configuration: %s%s", t->n_bad,
                t->n_bad == 1 ? "" : "s", t->n_bad == 1 ? "es" : "", first, shown < t->n_bad ? "; ..." : "");
    }
    buf_free(&t->bad);
    return ok;
}

bool bind_check_quantization(const json_t *config, struct err *e)
{
    const json_t *q = json_object_get(config, "quantization_config");
    if (!json_is_object(q)) return true;
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    static const char *const known[] = { "fp8", "fbgemm_fp8", "compressed-tensors" };
    for (size_t i = 0; method && i < sizeof known / sizeof *known; i++)
        if (strcmp(method, known[i]) == 0) return true; /* the tensors' own types tell the rest */
    return err_set(
        e, ERR_UNSUPPORTED,
        "weights quantised with '%s' cannot be read; use a GGUF, BF16, F16 or FP8 version of this model",
        method ? method : "an unnamed method");
}

/* Puts numbers for {l} and {e}; false when the name gets too long. */
static bool spell(char *out, size_t cap, const char *prefix, const char *pattern, int il, int ie)
{
    int n = snprintf(out, cap, "%s", prefix);
    size_t len = n < 0 ? cap : (size_t)n;
    for (const char *p = pattern; *p && len + 1 < cap;) {
        if (p[0] == '{' && (p[1] == 'l' || p[1] == 'e') && p[2] == '}') {
            n = snprintf(out + len, cap - len, "%d", p[1] == 'l' ? il : ie);
            len += n < 0 ? cap : (size_t)n;
            p += 3;
        } else {
            out[len++] = *p++;
            out[len] = 0;
        }
    }
    return len + 1 < cap;
}

static bool readable(enum dtype type)
{
    return type <= DT_IQ4_XS && type != DT_F8_E5M2; /* floats and quantised blocks */
}

static void shape_text(char *out, size_t cap, const int64_t *dim, int n)
{
    size_t len = 0;
    out[0] = 0;
    for (int i = 0; i < n && len < cap; i++) {
        int k = dim[i] < 0 ? snprintf(out + len, cap - len, "%s*", i ? "," : "")
                           : snprintf(out + len, cap - len, "%s%lld", i ? "," : "", (long long)dim[i]);
        len += k < 0 ? cap : (size_t)k;
    }
}

static void find_scale(struct binding *t, struct tensor_slot *s)
{
    const int64_t n_out = s->t->dim[0], n_in = s->t->dim[1];
    static const char *const suffix[] = { "_scale_inv", "_scale" };
    char name[300];
    for (int i = 0; i < 2 && !s->scale; i++) {
        snprintf(name, sizeof name, "%s%s", s->t->name, suffix[i]);
        s->scale = weights_find(t->w, name);
    }
    if (s->t->n_dims != 2) {
        bind_fault(t, "%s: stacked FP8 experts are not supported", s->t->name);
        return;
    }
    if (!s->scale) return; /* plain e4m3 values */
    if (s->scale->type > DT_BF16) {
        bind_fault(t, "%s: scale of type %s", name, dtype_info(s->scale->type)->name);
        return;
    }
    const json_t *block =
        json_object_get(json_object_get(weights_config(t->w), "quantization_config"), "weight_block_size");
    int64_t br = json_integer_value(json_array_get(block, 0)),
            bc = json_integer_value(json_array_get(block, 1));
    if (br <= 0 || br > 1 << 20) br = 128;
    if (bc <= 0 || bc > 1 << 20) bc = 128;
    const int64_t elems = tensor_elems(s->scale), rows = s->scale->dim[0], cols = s->scale->dim[1];
    if (elems == 1) {
        s->scale_rows = n_out, s->scale_cols = n_in;
    } else if (elems == n_out && rows == n_out) {
        s->scale_rows = 1, s->scale_cols = n_in;
    } else if (s->scale->n_dims == 2 && rows == (n_out + br - 1) / br && cols == (n_in + bc - 1) / bc) {
        s->scale_rows = br, s->scale_cols = bc;
    } else {
        char got[80];
        shape_text(got, sizeof got, s->scale->dim, s->scale->n_dims);
        bind_fault(
            t, "%s: scale [%s] is neither one number, one a row, nor one a %lldx%lld block of [%lld,%lld]",
            name, got, (long long)br, (long long)bc, (long long)n_out, (long long)n_in);
    }
}

static void resolve_one(struct binding *t, const struct tensor_spec *spec, int il, int ie,
                        struct tensor_slot *s)
{
    const bool gguf = weights_gguf(t->w) != NULL;
    const char *pattern = gguf ? spec->gguf : spec->hf;
    char name[256];
    *s = (struct tensor_slot){ 0 };
    if (!pattern) return;
    const bool fits = spell(name, sizeof name, gguf ? "" : t->prefix, pattern, il, ie);
    const struct tensor *f = fits ? weights_find(t->w, name) : NULL;
    if (!f) {
        if (spec->need == TENSOR_NEEDED) bind_fault(t, "%s is missing", name);
        return;
    }
    int64_t want[TENSOR_SPEC_DIMS];
    int n = 0;
    for (; n < TENSOR_SPEC_DIMS && spec->dim[n]; n++) want[n] = t->dim[spec->dim[n]];
    bool same = f->n_dims == n;
    for (int i = 0; same && i < n; i++) same = want[i] < 0 || want[i] == f->dim[i];
    if (!same) {
        char a[80], b[80];
        shape_text(a, sizeof a, want, n);
        shape_text(b, sizeof b, f->dim, f->n_dims);
        bind_fault(t, "%s: expected [%s], the file has [%s]", name, a, b);
        return;
    }
    if (!readable(f->type) || (n == 1 && f->type > DT_BF16)) {
        bind_fault(t, "%s: type %s cannot be used here", name, dtype_info(f->type)->name);
        return;
    }
    if (dtype_row_bytes(f->type, f->dim[n - 1]) == 0) {
        bind_fault(t, "%s: rows of %lld are not whole %s blocks", name, (long long)f->dim[n - 1],
                   dtype_info(f->type)->name);
        return;
    }
    s->t = f;
    if (f->type == DT_F8_E4M3) find_scale(t, s);
}

void bind_resolve(struct binding *t, const struct tensor_spec *spec, int n_spec, int il, int ie,
                  struct tensor_slot *slots)
{
    for (int i = 0; i < n_spec; i++) {
        struct tensor_slot s;
        resolve_one(t, &spec[i], il, ie, &s);
        if (s.t || !slots[spec[i].slot].t)
            slots[spec[i].slot] = s; /* two rows may name one slot differently */
    }
}

static size_t floats_cost(const struct tensor *t)
{
    return arena_cost((size_t)tensor_elems(t), sizeof(float));
}

size_t slot_cost(const struct tensor_slot *s)
{
    if (!s->t) return 0;
    return (s->t->n_dims == 1 ? floats_cost(s->t) : 0) + (s->scale ? floats_cost(s->scale) : 0);
}

static float *to_floats(const struct tensor *t, struct arena *a)
{
    float *f = arena_new(a, float, (size_t)tensor_elems(t));
    if (f) dequant_row(t->type, t->data, f, tensor_elems(t));
    return f;
}

float *slot_floats(const struct tensor_slot *s, struct arena *a) { return s->t ? to_floats(s->t, a) : NULL; }

struct matrix slot_matrix(const struct tensor_slot *s, int ie, struct arena *a)
{
    const struct tensor *t = s->t;
    const int64_t n_out = t->dim[t->n_dims - 2], n_in = t->dim[t->n_dims - 1];
    const size_t expert_bytes = dtype_row_bytes(t->type, n_in) * (size_t)n_out;
    struct matrix m = { .type = t->type,
                        .n_out = n_out,
                        .n_in = n_in,
                        .data = (const unsigned char *)t->data + (size_t)ie * expert_bytes };
    if (s->scale) {
        m.scale = to_floats(s->scale, a);
        m.scale_rows = s->scale_rows;
        m.scale_cols = s->scale_cols;
    }
    return m;
}
