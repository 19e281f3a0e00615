#include "image/nn.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/lora.h"

enum item_kind { ITEM_MEMORY, ITEM_LINEAR, ITEM_CONV, ITEM_TABLE, ITEM_DEVICE };

/* ---- finding tensors --------------------------------------------------------------------------------------- */

struct nn_name nn_name(const char *fmt, ...)
{
    struct nn_name n;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n.s, sizeof n.s, fmt, ap);
    va_end(ap);
    return n;
}

__attribute__((format(printf, 2, 3))) static void problem(struct nn_source *s, const char *fmt, ...)
{
    char line[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (s->n_problems++ < 3) buf_printf(&s->problems, "%s%s", s->n_problems > 1 ? "; " : "", line);
}

void nn_source_free(struct nn_source *s) { buf_free(&s->problems); }

static bool nn_find(struct nn_source *s, const char *name, const struct tensor **t, struct nn_place *p)
{
    *p = (struct nn_place){ 0 };
    if (!s->locate) {
        snprintf(p->name, sizeof p->name, "%s", name);
    } else if (!s->locate(s->locate_arg, name, p)) {
        return false;
    }
    *t = weights_find(s->w, NN("%s%s", s->prefix ? s->prefix : "", p->name));
    if (!*t) return false;
    if (p->n_rows == 0) p->n_rows = (*t)->dim[0] - p->row0;
    return p->row0 >= 0 && p->n_rows > 0 && p->row0 + p->n_rows <= (*t)->dim[0];
}

bool nn_has(struct nn_source *s, const char *name)
{
    const struct tensor *t;
    struct nn_place p;
    return nn_find(s, name, &t, &p);
}

int64_t nn_dim(struct nn_source *s, const char *name, int i)
{
    const struct tensor *t;
    struct nn_place p;
    if (!nn_find(s, name, &t, &p) || i >= t->n_dims) return 0;
    if (p.transposed) i = i == 0 ? 1 : i == 1 ? 0 : i;
    return i == 0 && !p.transposed ? p.n_rows : t->dim[i];
}

bool nn_check(struct nn_source *s, struct err *e)
{
    if (s->n_problems == 0) return true;
    return err_set(e, ERR_FORMAT, "%s: %d tensors are missing or do not match: %s%s", s->what, s->n_problems,
                   s->problems.data ? s->problems.data : "out of memory", s->n_problems > 3 ? "; ..." : "");
}

int nn_config_int(const json_t *config, const char *key, int fallback)
{
    const json_t *v = json_object_get(config, key);
    if (!v || json_is_null(v)) return fallback;
    double i = json_is_number(v) ? json_number_value(v) : -1;
    return i >= INT32_MIN && i <= INT32_MAX && i == floor(i) ? (int)i : -1;
}

/* ---- ownership --------------------------------------------------------------------------------------------- */

static bool own(struct nn_owner *o, void *item, enum item_kind kind)
{
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        void **items = realloc(o->item, cap * sizeof *items);
        if (!items) return false;
        o->item = items;
        unsigned char *kinds = realloc(o->kind, cap);
        if (!kinds) return false;
        o->kind = kinds;
        o->cap = cap;
    }
    o->item[o->n] = item;
    o->kind[o->n++] = (unsigned char)kind;
    return true;
}

void nn_owner_free(struct nn_owner *o)
{
    for (size_t i = 0; i < o->n; i++) {
        if (o->kind[i] == ITEM_LINEAR) {
            linear_free(o->item[i]);
        } else if (o->kind[i] == ITEM_CONV) {
            conv_free(o->item[i]);
        } else if (o->kind[i] == ITEM_TABLE) {
            table_free(o->item[i]);
        } else if (o->kind[i] == ITEM_DEVICE) {
            device_free(o->dev, o->item[i]);
        } else {
            free(o->item[i]);
        }
    }
    for (int i = 0; i < o->n_linear; i++) {
        for (int k = 0; k < o->linear[i]->n_parts; k++) free(o->linear[i]->name[k]);
        free(o->linear[i]);
    }
    free(o->item);
    free(o->kind);
    free(o->linear);
    *o = (struct nn_owner){ 0 };
}

void nn_owner_rest(const struct nn_owner *o)
{
    for (int i = 0; i < o->n_linear; i++) {
        for (int k = 0; k < o->linear[i]->n_parts; k++) {
            if (o->linear[i]->view[k]) weights_forget(o->linear[i]->file, o->linear[i]->view[k]);
        }
    }
}

static void *own_memory(struct nn_owner *o, struct nn_source *s, size_t n, size_t size)
{
    size_t bytes;
    void *p = mem_mul(n, size, &bytes) ? malloc(bytes ? bytes : 1) : NULL;
    if (p && own(o, p, ITEM_MEMORY)) return p;
    free(p);
    problem(s, "no memory for %zu values", n);
    return NULL;
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

static bool is_float(enum dtype t)
{
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || t == DT_F8_E4M3 || t == DT_F8_E5M2;
}

/* Elements [first, first + n) of a tensor as f32. A row need not begin with a block (GGUF with its original shape restored). */
static void read_elements(const struct tensor *t, int64_t first, int64_t n, float *out)
{
    const struct dtype_info *info = dtype_info(t->type);
    int64_t block = info->block_elems;
    const unsigned char *at = (const unsigned char *)t->data + first / block * info->block_bytes;
    int64_t skip = first % block;
    if (skip == 0 && n % block == 0) {
        dequant_row(t->type, at, out, n);
        return;
    }
    float whole[256];
    for (; n > 0; at += info->block_bytes, skip = 0) {
        int64_t take = block - skip < n ? block - skip : n;
        dequant_row(t->type, at, whole, block);
        memcpy(out, whole + skip, (size_t)take * sizeof *out);
        out += take;
        n -= take;
    }
}

static bool readable(const struct tensor *t)
{
    return is_float(t->type) || (t->type >= DT_Q4_0 && t->type <= DT_IQ4_XS &&
                                 tensor_elems(t) % dtype_info(t->type)->block_elems == 0);
}

/* The F8 scale beside a weight, in any of its spellings, as f32: one value, or n_out of them, one a row. *scale is NULL where
 * there is none, or where the weights are not F8. */
static bool find_scale(struct nn_owner *o, struct nn_source *s, const struct tensor *weights,
                       const struct nn_place *place, int64_t n_out, const float **scale, bool *per_row)
{
    static const char *const suffix[] = { "scale_weight", "weight_scale" };
    static const char *const strange[] = { "weight_scale_inv", "weight_scale_2", "weight.scale", "scale",
                                           "scale_inv" };
    char file[sizeof place->name];
    *scale = NULL;
    *per_row = false;
    if (weights->type != DT_F8_E4M3 && weights->type != DT_F8_E5M2) return true;
    snprintf(file, sizeof file, "%s", place->name);
    size_t len = strlen(file);
    if (len < 7 || strcmp(file + len - 7, ".weight") != 0) return true;
    file[len - 7] = '\0';
    const char *prefix = s->prefix ? s->prefix : "";
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        if (!weights_find(s->w, NN("%s%s.%s", prefix, file, strange[i]))) continue;
        problem(s, "%s.%s: scales of this kind are not supported (scale_weight and weight_scale are)", file,
                strange[i]);
        return false;
    }
    for (size_t i = 0; i < 2; i++) {
        const struct tensor *t = weights_find(s->w, NN("%s%s.%s", prefix, file, suffix[i]));
        if (!t) continue;
        int64_t n = tensor_elems(t);
        *per_row = n > 1;
        if (!is_float(t->type) || (*per_row && n != weights->dim[0])) {
            problem(s, "%s.%s: expected one scale or one a row, the file has %lld", file, suffix[i],
                    (long long)n);
            return false;
        }
        float *v = own_memory(o, s, (size_t)(*per_row ? n_out : 1), sizeof *v);
        if (!v) return false;
        read_elements(t, *per_row ? place->row0 : 0, *per_row ? n_out : 1, v);
        *scale = v;
        return true;
    }
    return true;
}

/* A matrix as an f32 copy of the host's; free() it. NULL after noting why. */
static float *host_table(struct nn_owner *o, struct nn_source *s, const char *name, int64_t rows,
                         int64_t cols)
{
    const struct tensor *t;
    struct nn_place p;
    if (!nn_find(s, name, &t, &p)) {
        problem(s, "%s is missing", name);
        return NULL;
    }
    int64_t per_row = t->dim[0] > 0 ? tensor_elems(t) / t->dim[0] : 0;
    if (p.n_rows * per_row != rows * cols || rows <= 0 || cols <= 0) {
        problem(s, "%s: expected [%lld, %lld], the file has %lld values", name, (long long)rows,
                (long long)cols, (long long)(p.n_rows * per_row));
        return NULL;
    }
    if (!readable(t)) {
        problem(s, "%s: type %s is not read here", name, dtype_info(t->type)->name);
        return NULL;
    }
    const float *scale;
    bool scaled_rows;
    if (!find_scale(o, s, t, &p, p.n_rows, &scale, &scaled_rows)) return NULL;
    size_t bytes;
    float *v = mem_mul((size_t)(rows * cols), sizeof *v, &bytes) ? malloc(bytes) : NULL;
    if (!v) {
        problem(s, "%s: no memory for %lld values", name, (long long)(rows * cols));
        return NULL;
    }
    for (int64_t r = 0; r < p.n_rows; r++) {
        int64_t from = r;
        if (p.swap_halves) from = (r + p.n_rows / 2) % p.n_rows;
        read_elements(t, (p.row0 + from) * per_row, per_row, v + r * per_row);
        for (int64_t c = 0; scale && c < per_row; c++) v[r * per_row + c] *= scale[scaled_rows ? from : 0];
    }
    return v;
}

dev_float *nn_numbers(struct nn_owner *o, struct nn_source *s, const float *v, int64_t n)
{
    struct err e = { 0 };
    o->dev = s->dev;
    dev_float *p = device_floats(s->dev, (size_t)n, &e);
    if (p && own(o, p, ITEM_DEVICE)) {
        device_upload(s->dev, p, v, (size_t)n);
        return p;
    }
    device_free(s->dev, p);
    problem(s, "%s", p ? "no memory" : e.msg);
    return NULL;
}

dev_float *nn_table(struct nn_owner *o, struct nn_source *s, const char *name, int64_t rows, int64_t cols)
{
    float *v = host_table(o, s, name, rows, cols);
    dev_float *p = v ? nn_numbers(o, s, v, rows * cols) : NULL;
    free(v);
    return p;
}

dev_float *nn_vector(struct nn_owner *o, struct nn_source *s, const char *name, int64_t n)
{
    return nn_table(o, s, name, n, 1);
}

/* A copy of rows that do not lie in the file as the matrix needs them: transposed, or with swapped halves. */
static const void *rearranged(struct nn_owner *o, struct nn_source *s, const struct tensor *t,
                              const struct nn_place *p, int64_t n_out, int64_t n_in)
{
    size_t elem = (size_t)dtype_info(t->type)->block_bytes, row = dtype_row_bytes(t->type, n_in);
    unsigned char *copy = own_memory(o, s, (size_t)n_out, p->transposed ? (size_t)n_in * elem : row);
    if (!copy) return NULL;
    const unsigned char *src = t->data;
    for (int64_t r = 0; r < n_out; r++) {
        if (p->transposed) {
            for (int64_t c = 0; c < n_in; c++) {
                memcpy(copy + (size_t)(r * n_in + c) * elem, src + (size_t)(c * n_out + r) * elem, elem);
            }
        } else {
            int64_t from = p->row0 + (r + n_out / 2) % n_out;
            memcpy(copy + (size_t)r * row, src + (size_t)from * row, row);
        }
    }
    return copy;
}

/* Rows of the place as bf16, scaled: for what an operation does not take as the file has it. free() it; NULL after noting why. */
static uint16_t *unpacked(struct nn_source *s, const struct tensor *t, const struct nn_place *p,
                          const float *scale, bool scaled_rows)
{
    int64_t per_row = tensor_elems(t) / t->dim[0];
    size_t bytes;
    uint16_t *out = mem_mul((size_t)(p->n_rows * per_row), sizeof *out, &bytes) ? malloc(bytes) : NULL;
    float *row = malloc((size_t)per_row * sizeof *row);
    if (!out || !row) {
        problem(s, "%s: no memory for %lld values", t->name, (long long)(p->n_rows * per_row));
        free(out);
        out = NULL;
    }
    for (int64_t r = 0; out && r < p->n_rows; r++) {
        int64_t from = p->swap_halves ? (r + p->n_rows / 2) % p->n_rows : r;
        read_elements(t, (p->row0 + from) * per_row, per_row, row);
        float k = scale ? scale[scaled_rows ? from : 0] : 1;
        for (int64_t c = 0; c < per_row; c++) out[r * per_row + c] = f32_to_bf16(row[c] * k);
    }
    free(row);
    return out;
}

/* *temp: memory that the matrix lies in and that is freed once it is copied; NULL: none. */
static bool find_matrix(struct nn_owner *o, struct nn_source *s, const char *module, int64_t n_out,
                        int64_t n_in, struct matrix *m, const struct tensor **whole, void **temp)
{
    const struct tensor *t;
    struct nn_place p;
    if (!nn_find(s, NN("%s.weight", module), &t, &p)) {
        problem(s, "%s.weight is missing", module);
        return false;
    }
    /* A 1x1 convolution is a matrix too: old files store attention projections as [out, in, 1, 1]. */
    int64_t cols = t->dim[0] > 0 ? tensor_elems(t) / t->dim[0] : 0;
    int64_t have_out = p.transposed ? cols : p.n_rows, have_in = p.transposed ? t->dim[0] : cols;
    if (have_out != n_out || have_in != n_in) {
        problem(s, "%s.weight: expected [%lld, %lld], the file has [%lld, %lld]", module, (long long)n_out,
                (long long)n_in, (long long)have_out, (long long)have_in);
        return false;
    }
    if (!readable(t) || (p.transposed && !is_float(t->type))) {
        problem(s, "%s.weight: type %s is not read here", module, dtype_info(t->type)->name);
        return false;
    }
    *m = (struct matrix){ .type = t->type, .n_out = n_out, .n_in = n_in, .stay = s->stay };
    *whole = t;
    *temp = NULL;
    size_t row_bytes = dtype_row_bytes(t->type, cols);
    bool scaled_rows;
    if (!find_scale(o, s, t, &p, p.n_rows, &m->scale, &scaled_rows)) return false;
    if (!row_bytes) {
        m->type = DT_BF16;
        m->stay = false;
        m->data = *temp = unpacked(s, t, &p, NULL, false);
    } else if (p.transposed || p.swap_halves) {
        m->data = rearranged(o, s, t, &p, n_out, n_in);
        if (scaled_rows) {
            problem(s, "%s.weight: scales of rows that are stored in another order are not supported",
                    module);
            return false;
        }
    } else {
        m->data = (const unsigned char *)t->data + (size_t)p.row0 * row_bytes;
    }
    m->scale_rows = scaled_rows ? 1 : n_out;
    m->scale_cols = n_in;
    if (t->type == DT_F32 || (t->type == DT_F16 && s->exact)) s->f32 = true;
    return m->data != NULL;
}

static struct nn_linear *new_linear(struct nn_owner *o)
{
    if (o->n_linear == o->cap_linear) {
        int cap = o->cap_linear ? o->cap_linear * 2 : 64;
        struct nn_linear **p = realloc(o->linear, (size_t)cap * sizeof *p);
        if (!p) return NULL;
        o->linear = p;
        o->cap_linear = cap;
    }
    struct nn_linear *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->id = o->n_linear;
    o->linear[o->n_linear++] = l;
    return l;
}

struct nn_linear *nn_linear_load(struct nn_owner *o, struct nn_source *s, int n_parts,
                                 const char *const *part, const int64_t *rows, int64_t n_in,
                                 enum linear_join join, enum nn_bias bias)
{
    struct matrix m[NN_PARTS];
    const struct tensor *whole[NN_PARTS];
    void *temp[NN_PARTS] = { NULL };
    float *b = NULL;
    bool ok = true;
    int64_t n_out = 0;
    for (int i = 0; i < n_parts; i++) {
        ok &= find_matrix(o, s, part[i], rows[i], n_in, &m[i], &whole[i], &temp[i]);
        n_out += rows[i];
    }
    if (bias == NN_BIAS || (bias == NN_MAYBE_BIAS && nn_has(s, NN("%s.bias", part[0])))) {
        b = malloc((size_t)n_out * sizeof *b);
        int64_t at = 0;
        for (int i = 0; i < n_parts && b; i++) {
            float *v = host_table(o, s, NN("%s.bias", part[i]), rows[i], 1);
            if (v) memcpy(b + at, v, (size_t)rows[i] * sizeof *b);
            ok &= v != NULL;
            free(v);
            at += rows[i];
        }
        ok &= b != NULL;
    }
    struct nn_linear *l = NULL;
    if (ok) {
        struct err e = { 0 };
        struct linear *base = NULL;
        l = new_linear(o);
        if (!l || !linear_new(s->dev, &base, m, n_parts, join, b, s->exact ? 1 : 512, &e)) {
            problem(s, "%s.weight: %s", part[0], l ? e.msg : "no memory");
            l = NULL;
        } else if (!own(o, base, ITEM_LINEAR)) {
            linear_free(base);
            problem(s, "%s.weight: no memory", part[0]);
            l = NULL;
        } else {
            *l = (struct nn_linear){ .base = base,
                                     .n_in = n_in,
                                     .n_out = linear_n_out(base),
                                     .id = l->id,
                                     .n_parts = n_parts,
                                     .file = s->w };
            int64_t at = 0;
            for (int i = 0; i < n_parts; i++) {
                l->name[i] = strdup(part[i]);
                if (!l->name[i]) problem(s, "%s.weight: no memory", part[i]);
                l->row0[i] = at;
                l->rows[i] = rows[i];
                at += join == LINEAR_CONCAT ? rows[i] : 0;
                /* Rows of one tensor may serve several layers; its pages return from the file when they do. */
                if (linear_is_copy(base))
                    weights_forget(s->w, whole[i]);
                else
                    l->view[i] = whole[i];
                if (!temp[i] || linear_is_copy(base)) continue;
                if (!own(o, temp[i], ITEM_MEMORY)) problem(s, "%s.weight: no memory", part[i]);
                temp[i] = NULL;
            }
        }
    }
    for (int i = 0; i < n_parts; i++) free(temp[i]);
    free(b);
    return l;
}

struct nn_linear *nn_linear1(struct nn_owner *o, struct nn_source *s, const char *module, int64_t n_out,
                             int64_t n_in, enum nn_bias bias)
{
    return nn_linear_load(o, s, 1, &module, &n_out, n_in, LINEAR_CONCAT, bias);
}

struct table *nn_embedding(struct nn_owner *o, struct nn_source *s, const char *name, int64_t rows,
                           int64_t cols)
{
    const struct tensor *t;
    struct nn_place p;
    if (!nn_find(s, name, &t, &p)) {
        problem(s, "%s is missing", name);
        return NULL;
    }
    if (t->n_dims != 2 || t->dim[0] != rows || t->dim[1] != cols || !readable(t) ||
        !dtype_row_bytes(t->type, cols)) {
        problem(s, "%s: expected [%lld, %lld], the file has [%lld, %lld], %s", name, (long long)rows,
                (long long)cols, (long long)t->dim[0], (long long)t->dim[1], dtype_info(t->type)->name);
        return NULL;
    }
    struct matrix m = { .type = t->type, .n_out = rows, .n_in = cols, .data = t->data };
    bool scaled_rows;
    if (!find_scale(o, s, t, &p, rows, &m.scale, &scaled_rows)) return NULL;
    m.scale_rows = scaled_rows ? 1 : rows;
    m.scale_cols = cols;
    struct err e = { 0 };
    struct table *table = NULL;
    if (!table_new(s->dev, &table, &m, &e)) {
        problem(s, "%s: %s", name, e.msg);
    } else if (!own(o, table, ITEM_TABLE)) {
        table_free(table);
        table = NULL;
        problem(s, "%s: no memory", name);
    }
    return table;
}

struct conv *nn_conv(struct nn_owner *o, struct nn_source *s, const char *module, int n_out, int n_in, int k,
                     enum conv_use use, enum nn_bias bias)
{
    const struct tensor *t;
    struct nn_place p;
    if (!nn_find(s, NN("%s.weight", module), &t, &p)) {
        problem(s, "%s.weight is missing", module);
        return NULL;
    }
    bool shape =
        t->dim[0] == n_out && tensor_elems(t) == (int64_t)n_out * n_in * k * k && (t->n_dims == 4 || k == 1);
    if (!shape || !readable(t)) {
        problem(s, "%s.weight: expected [%d, %d, %d, %d], the file has %d dimensions from %lld, %s", module,
                n_out, n_in, k, k, t->n_dims, (long long)t->dim[0], dtype_info(t->type)->name);
        return NULL;
    }
    if (t->type == DT_F32 || (t->type == DT_F16 && s->exact)) s->f32 = true;
    const float *scale;
    bool scaled_rows;
    if (!find_scale(o, s, t, &p, n_out, &scale, &scaled_rows)) return NULL;
    /* Convolutions multiply narrow weights as bf16, so that scaling first costs them one rounding of the same size. */
    uint16_t *copy = NULL;
    if ((scale || !is_float(t->type)) && !(copy = unpacked(s, t, &p, scale, scaled_rows))) return NULL;
    float *b = NULL;
    if (bias == NN_BIAS || (bias == NN_MAYBE_BIAS && nn_has(s, NN("%s.bias", module)))) {
        b = host_table(o, s, NN("%s.bias", module), n_out, 1);
        if (!b) {
            free(copy);
            return NULL;
        }
    }
    struct conv *c = NULL;
    struct err e = { 0 };
    bool ok = conv_new(s->dev, &c, copy ? DT_BF16 : t->type, copy ? (const void *)copy : t->data, n_out, n_in,
                       k, k, 1, use | (s->exact ? CONV_EXACT : 0u), b, &e);
    free(copy);
    free(b);
    if (!ok) {
        problem(s, "%s: %s", module, e.msg);
        return NULL;
    }
    if (!own(o, c, ITEM_CONV)) {
        conv_free(c);
        problem(s, "%s: no memory", module);
        return NULL;
    }
    weights_forget(s->w, t);
    return c;
}

/* ---- running ----------------------------------------------------------------------------------------------- */

dev_float *nn_alloc(struct nn_ctx *c, int64_t n)
{
    dev_float *p = device_arena_floats(c->scratch, (size_t)n);
    if (!p) abort(); /* the network's own scratch formula was wrong: our mistake, not the input's */
    return p;
}

dev_int *nn_ids(struct nn_ctx *c, const int32_t *ids, int64_t n)
{
    dev_int *p = device_arena_ints(c->scratch, (size_t)n);
    if (!p) abort();
    device_upload_ints(c->dev, p, ids, (size_t)n);
    return p;
}

void nn_linear_run(struct nn_ctx *c, const struct nn_owner *o, const struct nn_linear *l,
                   struct linear_args a)
{
    a.w = l->base;
    bool touched = false;
    for (int i = 0; i < c->n_lora; i++) {
        touched |= c->lora[i].weight != 0 && nn_lora_branches(c->lora[i].lora, o, l->id) != NULL;
    }
    if (!touched) {
        op_linear(c->dev, &a);
        return;
    }

    const size_t mark = nn_mark(c);
    struct linear_args plain = a;
    plain.epi = EPI_STORE;
    plain.y = a.epi == EPI_STORE ? a.y : nn_alloc(c, a.n * l->n_out);
    plain.ldy = a.epi == EPI_STORE ? a.ldy : l->n_out;
    op_linear(c->dev, &plain);
    for (int i = 0; i < c->n_lora; i++) {
        if (c->lora[i].weight == 0) continue;
        const struct nn_lora_branch *b = nn_lora_branches(c->lora[i].lora, o, l->id);
        for (; b; b = b->next) {
            const size_t inner = nn_mark(c);
            dev_float *low = nn_alloc(c, a.n * b->rank);
            op_linear(c->dev, &(struct linear_args){ .w = b->a,
                                                     .x = a.x,
                                                     .ldx = a.ldx,
                                                     .y = low,
                                                     .ldy = b->rank,
                                                     .n = a.n,
                                                     .norm = a.norm,
                                                     .eps = a.eps });
            op_scale(c->dev, low, low, c->lora[i].weight * b->scale, a.n * b->rank);
            op_linear(c->dev, &(struct linear_args){ .w = b->b,
                                                     .x = low,
                                                     .ldx = b->rank,
                                                     .y = plain.y + b->row0,
                                                     .ldy = plain.ldy,
                                                     .n = a.n,
                                                     .epi = EPI_ADD });
            nn_reset(c, inner);
        }
    }
    if (a.epi != EPI_STORE) {
        op_epilogue(c->dev, &(struct epilogue_args){ .epi = a.epi,
                                                     .y = a.y,
                                                     .ldy = a.ldy,
                                                     .v = plain.y,
                                                     .ldv = plain.ldy,
                                                     .n = a.n,
                                                     .n_out = l->n_out,
                                                     .gate = a.gate });
    }
    nn_reset(c, mark);
}
