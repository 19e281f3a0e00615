#include "lm/bind.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lm/quantization.h"

void bind_open(struct binding *t, const struct weights *w, const int64_t *dim)
{
    *t = (struct binding){ .w = w, .body = "model.", .head = "", .dim = dim, .bad = BUF_INIT(64 << 10) };
    static const struct {
        const char *body, *head;
    } names[] = {
        { "model.", "" },
        { "model.language_model.", "" },                /* pictures and text, transformers 4.52 and later */
        { "language_model.model.", "language_model." }, /* and before */
        { "model.language_model.model.", "model.language_model." },
        { "language_model.", "" },
        { "model.text_model.", "" }, /* Idefics */
        { "", "" },                  /* the network without its head's wrapper */
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[96];
        snprintf(name, sizeof name, "%snorm.weight", names[i].body);
        if (!weights_find(w, name)) continue;
        t->body = names[i].body;
        t->head = names[i].head;
        snprintf(name, sizeof name, "%slm_head.weight", t->head);
        if (!weights_find(w, name)) t->head = ""; /* some exports move the head alone */
        return;
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
        err_set(e, strstr(first, "not supported") ? ERR_UNSUPPORTED : ERR_FORMAT,
                "%d tensor%s do%s not fit the model's configuration: %s%s", t->n_bad,
                t->n_bad == 1 ? "" : "s", t->n_bad == 1 ? "es" : "", first, shown < t->n_bad ? "; ..." : "");
    }
    buf_free(&t->bad);
    quantized_modules_close(t->modules);
    return ok;
}

/* Puts numbers for {l} and {e}, and for a Hugging Face name what this file has for "model."; false when the name gets too long. */
static bool spell(char *out, size_t cap, const struct binding *t, const char *pattern, int il, int ie)
{
    static const char body[] = "model.";
    size_t len = 0;
    int n = 0;
    out[0] = 0;
    if (!weights_gguf(t->w)) {
        const bool in_body = strncmp(pattern, body, sizeof body - 1) == 0;
        n = snprintf(out, cap, "%s", in_body ? t->body : t->head);
        len = n < 0 ? cap : (size_t)n;
        if (in_body) pattern += sizeof body - 1;
    }
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
    return type <= DT_NVFP4 && type != DT_F8_E5M2; /* floats and quantised blocks */
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

/* Scales, norms and biases are few numbers: one that is none spoils everything behind it. */
static bool all_finite(const struct tensor *f, bool positive, int64_t *where)
{
    float row[256];
    const int64_t n = tensor_elems(f);
    const size_t size = dtype_row_bytes(f->type, 1);
    for (int64_t at = 0; at < n; at += 256) {
        const int64_t k = n - at < 256 ? n - at : 256;
        dequant_row(f->type, (const unsigned char *)f->data + (size_t)at * size, row, k);
        for (int64_t i = 0; i < k; i++) {
            if (isfinite(row[i]) && !(positive && row[i] < 0)) continue;
            *where = at + i;
            return false;
        }
    }
    return true;
}

static void check_scale(struct binding *t, const struct tensor *scale)
{
    int64_t where;
    if (!all_finite(scale, true, &where))
        bind_fault(t, "%s: number %lld is negative, infinite or NaN: the file is damaged", scale->name,
                   (long long)where);
}

/* A scale under a name whose meaning is not known here: without it the numbers would be read for what they are not. */
static bool has_other_scale(struct binding *t, const struct tensor *f)
{
    static const char *const gguf[] = { ".scale", NULL };
    static const char *const hf[] = { ".scale",        ".scales",        ".scale_weight",
                                      ".weight.scale", ".weight_scales", NULL };
    static const char tail[] = ".weight";
    const size_t n = strlen(f->name), m = sizeof tail - 1;
    if (n <= m || strcmp(f->name + n - m, tail) != 0) return false;
    for (const char *const *other = weights_gguf(t->w) ? gguf : hf; *other; other++) {
        char name[300];
        snprintf(name, sizeof name, "%.*s%s", (int)(n - m), f->name, *other);
        if (!weights_find(t->w, name)) continue;
        bind_fault(t, "%s: a scale of this name is not supported", name);
        return true;
    }
    return false;
}

static void out_and_in(const struct tensor_slot *s, int64_t *n_out, int64_t *n_in)
{
    const int64_t *last = s->t->dim + s->t->n_dims - 2;
    *n_out = last[s->in_out ? 1 : 0];
    *n_in = last[s->in_out ? 0 : 1];
}

/* Of stacked experts: one number an expert, or one a row of each. */
static bool stacked_scale(struct tensor_slot *s, int64_t n_out, int64_t n_in)
{
    const int64_t n_expert = s->t->dim[0], elems = tensor_elems(s->scale);
    s->scale_rows = elems == n_expert ? n_out : 1;
    s->scale_cols = n_in;
    return s->scale->dim[0] == n_expert && (elems == n_expert || elems == n_expert * n_out);
}

/* NAME.scale beside NAME.weight: what llama.cpp keeps of NVFP4's one number for a matrix, or for each expert. NULL: absent. */
static const struct tensor *whole_scale(const struct binding *t, const struct tensor *f, char *name,
                                        size_t cap)
{
    static const char tail[] = ".weight";
    const size_t n = strlen(f->name), m = sizeof tail - 1;
    if (n <= m || strcmp(f->name + n - m, tail) != 0) return NULL;
    snprintf(name, cap, "%.*s.scale", (int)(n - m), f->name);
    return weights_find(t->w, name);
}

static void find_scale(struct binding *t, struct tensor_slot *s)
{
    int64_t n_out, n_in;
    out_and_in(s, &n_out, &n_in);
    static const char *const suffix[] = { "_scale_inv", "_scale" };
    char name[300];
    if (s->t->type == DT_NVFP4) s->scale = whole_scale(t, s->t, name, sizeof name);
    if (s->t->type == DT_NVFP4 && !s->scale) return; /* its own scales say all */
    for (int i = 0; i < 2 && !s->scale; i++) {
        snprintf(name, sizeof name, "%s%s", s->t->name, suffix[i]);
        s->scale = weights_find(t->w, name);
    }
    if (!s->scale) { /* plain e4m3 values, where nothing says otherwise */
        if (has_other_scale(t, s->t)) return;
        if (quantization_of(t->w))
            bind_fault(t,
                       "%s is F8_E4M3 and has no scale, although quantization_config says that it is scaled",
                       s->t->name);
        return;
    }
    if (s->scale->type > DT_BF16) {
        bind_fault(t, "%s: scale of type %s", name, dtype_info(s->scale->type)->name);
        return;
    }
    if (s->t->n_dims == 3) {
        if (stacked_scale(s, n_out, n_in)) {
            check_scale(t, s->scale);
            return;
        }
        char got[80];
        shape_text(got, sizeof got, s->scale->dim, s->scale->n_dims);
        bind_fault(
            t, "%s: scale [%s] is not supported: neither one number an expert nor one a row of [%lld,%lld]",
            name, got, (long long)n_out, (long long)n_in);
        return;
    }
    int64_t br, bc;
    quantization_block(t->w, &br, &bc);
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
        return;
    }
    check_scale(t, s->scale);
}

/* What may be packed is read by layers.c: projections, experts and the head. */
static bool may_be_packed(const char *name)
{
    static const char *const tails[] = { "_proj.weight", "lm_head.weight", ".w1.weight", ".w2.weight",
                                         ".w3.weight",   ".fc1.weight",    ".fc2.weight" };
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (n >= strlen(tails[i]) && strcmp(name + n - strlen(tails[i]), tails[i]) == 0) return true;
    return false;
}

/* true: the matrix is packed, or a fault. */
static bool resolve_packed(struct binding *t, const struct tensor_spec *spec, const char *name,
                           struct tensor_slot *s)
{
    struct err e = { 0 };
    struct packed p;
    if (weights_gguf(t->w) || !spec->dim[1]) return false;
    const int64_t d0 = t->dim[spec->dim[0]], d1 = t->dim[spec->dim[1]], d2 = t->dim[spec->dim[2]];
    const bool stacked = spec->dim[2] && spec->need & TENSOR_IN_OUT, by_turns = spec->need & TENSOR_BY_TURNS;
    if (!stacked && (spec->dim[2] || !may_be_packed(name))) return false;
    if (!(stacked ? packed_find_experts(t->w, name, d0, d2, d1, by_turns, &p, &e)
                  : packed_find(t->w, name, d0, d1, &p, &e))) {
        bind_fault(t, "%s", e.msg);
        return true;
    }
    if (p.form == PACKED_NONE) return false;
    if (strstr(name, ".kv_b_proj.")) {
        bind_fault(t, "%s: keys and values of latents that are packed are not supported", p.data->name);
        return true;
    }
    s->t = p.data;
    s->packed = p;
    s->by_turns = by_turns;
    return true;
}

/* Held against what the configuration says of the module. */
static void check_module(struct binding *t, const char *name, const struct tensor_slot *s)
{
    struct err e = { 0 };
    char module[256];
    const struct packed *p = &s->packed;
    struct module_numbers has = { .quantised = p->form || s->t->type == DT_F8_E4M3 };
    if (!t->modules_read && !quantized_modules_open(&t->modules, t->w, &e)) bind_fault(t, "%s", e.msg);
    t->modules_read = true;
    if (!t->modules) return;
    if (p->form) {
        has.bits = p->bits;
        has.floating = p->form == PACKED_FP4;
        has.n_in = p->n_in;
        has.group = p->n_in / p->n_groups;
    } else if (has.quantised) {
        has.bits = 8;
        has.floating = true;
        has.n_in = s->t->dim[1];
    }
    snprintf(module, sizeof module, "%.*s", (int)(strlen(name) - strlen(".weight")), name);
    if (!quantized_modules_check(t->modules, module, &has, &e)) bind_fault(t, "%s", e.msg);
}

static void resolve_one(struct binding *t, const struct tensor_spec *spec, int il, int ie,
                        struct tensor_slot *s)
{
    const bool gguf = weights_gguf(t->w) != NULL;
    const char *pattern = gguf ? spec->gguf : spec->hf;
    char name[256];
    *s = (struct tensor_slot){ 0 };
    if (!pattern) return;
    const bool fits = spell(name, sizeof name, t, pattern, il, ie);
    const bool module =
        !gguf && spec->dim[1] && !spec->dim[2] && may_be_packed(name) &&
        (strncmp(pattern, "model.", strlen("model.")) == 0 || strcmp(pattern, "lm_head.weight") == 0);
    if (fits && resolve_packed(t, spec, name, s)) {
        if (module && s->packed.form) check_module(t, name, s);
        return;
    }
    const struct tensor *f = fits ? weights_find(t->w, name) : NULL;
    if (!f) {
        if (!(spec->need & TENSOR_OPTIONAL)) bind_fault(t, "%s is missing", name);
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
    int64_t where;
    if (n == 1 && !all_finite(f, false, &where)) {
        bind_fault(t, "%s: number %lld is infinite or NaN: the file is damaged", name, (long long)where);
        return;
    }
    s->t = f;
    s->in_out = (spec->need & TENSOR_IN_OUT) != 0;
    s->by_turns = (spec->need & TENSOR_BY_TURNS) != 0;
    if (f->type == DT_F8_E4M3 || (f->type == DT_NVFP4 && n > 1))
        find_scale(t, s);
    else if (weights_gguf(t->w) && n > 1)
        (void)has_other_scale(t, f);
    if (module) check_module(t, name, s);
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

static int by_address(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;
    return (x > y) - (x < y);
}

static bool is_of_others(const struct weights *w, const char *name, const char *body)
{
    static const char *const parts[] = {
        "rotary_emb.", ".masked_bias", ".input_scale", ".weight_shape", ".input_global_scale",
        ".qzeros",     ".g_idx",       ".k_scale",     ".v_scale",      "output_scale"
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i])) return true;
    return !weights_gguf(w) && strcmp(body, "model.") != 0 && strncmp(name, body, strlen(body)) != 0;
}

/* The tensors of n slots, sorted by address; the caller's. NULL: no memory. */
static const struct tensor **all_used(const struct tensor_slot *slots, size_t n, size_t *n_used)
{
    const struct tensor **used = malloc((6 * n + 1) * sizeof *used);
    *n_used = 0;
    for (size_t i = 0; used && i < n; i++) {
        if (slots[i].t) used[(*n_used)++] = slots[i].t;
        if (slots[i].scale) used[(*n_used)++] = slots[i].scale;
        const struct packed *p = &slots[i].packed;
        const struct tensor *parts[] = { p->scale, p->zero, p->order, p->whole };
        for (size_t k = 0; p->form && k < sizeof parts / sizeof *parts; k++)
            if (parts[k]) used[(*n_used)++] = parts[k];
    }
    if (used) qsort(used, *n_used, sizeof *used, by_address);
    return used;
}

static bool is_used(const struct tensor *f, const struct tensor **used, size_t n_used)
{
    return bsearch(&f, used, n_used, sizeof *used, by_address) != NULL;
}

/* What follows "model.layers.N." or "blk.N." with N in [lo, hi); NULL: the name is another one. */
static const char *in_layers(const struct binding *t, const char *name, int lo, int hi)
{
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s%s", weights_gguf(t->w) ? "" : t->body,
             weights_gguf(t->w) ? "blk." : "layers.");
    const size_t n = strlen(prefix);
    char *end;
    if (strncmp(name, prefix, n) != 0) return NULL;
    const long il = strtol(name + n, &end, 10);
    return end > name + n && *end == '.' && il >= lo && il < hi ? end + 1 : NULL;
}

void bind_other_norms(struct binding *t, int n_layer, const struct tensor_slot *slots, size_t n)
{
    size_t n_used;
    const struct tensor **used = all_used(slots, n, &n_used);
    if (!used) {
        bind_fault(t, "no memory to look at %zu tensors", n);
        return;
    }
    for (size_t i = 0; i < weights_count(t->w); i++) {
        const struct tensor *f = weights_at(t->w, i);
        const char *rest = in_layers(t, f->name, 0, n_layer);
        if (rest && strstr(rest, "norm") && !is_used(f, used, n_used))
            bind_fault(t, "%s: a norm that is not supported in this architecture", f->name);
    }
    free(used);
}

size_t bind_unused(const struct weights *w, const struct tensor_slot *slots, size_t n, int lo, int hi,
                   char *names, size_t cap)
{
    struct binding t;
    size_t n_used, n_unused = 0, len = 0;
    const struct tensor **used = all_used(slots, n, &n_used);
    names[0] = 0;
    if (!used) return 0; /* a note in the log is not worth an error */
    bind_open(&t, w, NULL);
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *f = weights_at(w, i);
        if (is_used(f, used, n_used) || is_of_others(w, f->name, t.body)) continue;
        if (in_layers(&t, f->name, lo, hi)) continue;
        const size_t need = strlen(f->name) + (n_unused ? 2 : 0);
        if (len + need < cap)
            len += (size_t)snprintf(names + len, cap - len, "%s%s", n_unused ? ", " : "", f->name);
        n_unused++;
    }
    free(used);
    return n_unused;
}

size_t slot_cost(const struct tensor_slot *s)
{
    if (!s->t || !s->scale || s->packed.form) return 0;
    const size_t n = s->t->n_dims == 3 ? (size_t)s->t->dim[0] : 1; /* each expert's apart */
    return n * arena_cost((size_t)tensor_elems(s->scale) / n, sizeof(float));
}

float *slot_floats(const struct tensor_slot *s)
{
    if (!s->t) return NULL;
    float *f = calloc((size_t)tensor_elems(s->t), sizeof *f);
    if (f) dequant_row(s->t->type, s->t->data, f, tensor_elems(s->t));
    return f;
}

struct matrix slot_matrix(const struct tensor_slot *s, int ie, struct arena *a)
{
    const struct tensor *t = s->t;
    int64_t n_out, n_in;
    out_and_in(s, &n_out, &n_in);
    const size_t expert_bytes =
        dtype_row_bytes(t->type, t->dim[t->n_dims - 1]) * (size_t)t->dim[t->n_dims - 2];
    struct matrix m = { .type = t->type,
                        .n_out = n_out,
                        .n_in = n_in,
                        .data = (const unsigned char *)t->data + (size_t)ie * expert_bytes };
    if (s->scale) {
        const int64_t n = tensor_elems(s->scale) / (t->n_dims == 3 ? t->dim[0] : 1);
        const size_t at = dtype_row_bytes(s->scale->type, 1) * (size_t)(ie * n);
        float *scale = arena_new(a, float, (size_t)n);
        if (scale) dequant_row(s->scale->type, (const unsigned char *)s->scale->data + at, scale, n);
        m.scale = scale;
        m.scale_rows = s->scale_rows;
        m.scale_cols = s->scale_cols;
    }
    return m;
}
