#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/name_table.h"
#include "format/tensor_table.h"

/* Smallest encodings, so that a count can be refused before memory is reserved for it. */
#define MIN_KV_BYTES (8 + 1 + 4 + 1)         /* key length, key, type, value */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 4 + 8) /* name length, name, n_dims, type, offset */
#define DEFAULT_ALIGNMENT 32
#define MAX_ALIGNMENT (1 << 20)

struct gguf {
    uint32_t version;
    struct gguf_value *kv;
    size_t n_kv;
    struct gguf_str *scalar; /* [n_kv]: what the `s` of a single string points to */
    struct name_table keys;
    struct tensor_table tensors;
    char *names; /* the tensors' names, NUL-terminated one after the other */
};

struct reader {
    const uint8_t *data;
    size_t size, at; /* at <= size */
};

static size_t left(const struct reader *r) { return r->size - r->at; }

static bool take(struct reader *r, void *dst, size_t n)
{
    if (left(r) < n) return false;
    memcpy(dst, r->data + r->at, n);
    r->at += n;
    return true;
}

static bool take_str(struct reader *r, struct gguf_str *s)
{
    uint64_t len;
    if (!take(r, &len, 8) || len > left(r)) return false;
    *s = (struct gguf_str){ (const char *)r->data + r->at, (size_t)len };
    r->at += (size_t)len;
    return true;
}

static bool ends_early(const struct reader *r, const char *what, struct err *e)
{
    return err_set(e, ERR_FORMAT,
                   "%s: runs past the end of the file (%zu bytes, at byte %zu): truncated or not GGUF", what,
                   r->size, r->at);
}

/* ---- metadata ------------------------------------------------------------------------------------------------ */

#define FILE_TYPE_STRING 8
#define FILE_TYPE_ARRAY 9
#define FILE_TYPE_COUNT 13

/* Bytes of a scalar by its type in the file; 0 for strings and arrays. The enum has the file's numbers. */
static const uint8_t scalar_bytes[FILE_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};
_Static_assert(GGUF_STRING == FILE_TYPE_STRING && GGUF_ARRAY == FILE_TYPE_ARRAY &&
                   GGUF_F64 == FILE_TYPE_COUNT - 1,
               "the enum is the file's own numbering");

static bool parse_strings(struct reader *r, struct gguf_value *v, struct err *e)
{
    /* 8 bytes of length each: n is bounded by the file, so the table is at most twice its size. */
    struct gguf_str *table = v->n <= left(r) / 8 ? malloc((size_t)(v->n ? v->n : 1) * sizeof *table) : NULL;
    if (!table) {
        if (v->n > left(r) / 8) return ends_early(r, "array of strings", e);
        return err_set(e, ERR_NOMEM, "no memory for %llu strings", (unsigned long long)v->n);
    }
    v->s = table;
    for (uint64_t i = 0; i < v->n; i++) {
        if (!take_str(r, &table[i])) return ends_early(r, "string of an array", e);
    }
    return true;
}

static bool parse_value(struct reader *r, struct gguf_value *v, struct gguf_str *scalar, struct err *e)
{
    uint32_t type;
    if (!take(r, &type, 4)) return ends_early(r, "type", e);
    v->n = 1;
    if (type == FILE_TYPE_ARRAY) {
        v->is_array = true;
        if (!take(r, &type, 4) || !take(r, &v->n, 8)) return ends_early(r, "array", e);
        if (type == FILE_TYPE_ARRAY)
            return err_set(e, ERR_UNSUPPORTED, "an array of arrays is not supported");
    }
    if (type >= FILE_TYPE_COUNT) return err_set(e, ERR_FORMAT, "unknown value type %u", type);
    v->type = (enum gguf_type)type;
    if (type == FILE_TYPE_STRING) {
        if (v->is_array) return parse_strings(r, v, e);
        v->s = scalar;
        return take_str(r, scalar) || ends_early(r, "string", e);
    }
    if (v->n > left(r) / scalar_bytes[type]) return ends_early(r, v->is_array ? "array" : "value", e);
    v->data = r->data + r->at;
    r->at += (size_t)v->n * scalar_bytes[type];
    return true;
}

static bool parse_metadata(struct gguf *g, struct reader *r, struct err *e)
{
    for (size_t i = 0; i < g->n_kv; i++) {
        struct gguf_value *v = &g->kv[i];
        if (!take_str(r, &v->key)) return ends_early(r, "metadata key", e);
        if (!name_is_printable(v->key.data, v->key.len)) {
            return err_set(e, ERR_FORMAT,
                           "metadata key %zu (%zu bytes) is not printable text of 1 to 255 bytes", i,
                           v->key.len);
        }
        if (name_table_add(&g->keys, v->key.data, v->key.len, i) != NAME_TABLE_NONE) {
            return err_set(e, ERR_FORMAT, "metadata key %.*s is there twice", (int)v->key.len, v->key.data);
        }
        if (!parse_value(r, v, &g->scalar[i], e)) {
            return err_wrap(e, "metadata key %.*s", (int)v->key.len, v->key.data);
        }
    }
    return true;
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int type; /* -1: known to us by name only */
} file_types[] = {
    [0] = { "F32", DT_F32 },          [1] = { "F16", DT_F16 },
    [2] = { "Q4_0", DT_Q4_0 },        [3] = { "Q4_1", DT_Q4_1 },
    [6] = { "Q5_0", DT_Q5_0 },        [7] = { "Q5_1", DT_Q5_1 },
    [8] = { "Q8_0", DT_Q8_0 },        [9] = { "Q8_1", -1 },
    [10] = { "Q2_K", DT_Q2_K },       [11] = { "Q3_K", DT_Q3_K },
    [12] = { "Q4_K", DT_Q4_K },       [13] = { "Q5_K", DT_Q5_K },
    [14] = { "Q6_K", DT_Q6_K },       [15] = { "Q8_K", -1 },
    [16] = { "IQ2_XXS", DT_IQ2_XXS }, [17] = { "IQ2_XS", DT_IQ2_XS },
    [18] = { "IQ3_XXS", DT_IQ3_XXS }, [19] = { "IQ1_S", DT_IQ1_S },
    [20] = { "IQ4_NL", DT_IQ4_NL },   [21] = { "IQ3_S", DT_IQ3_S },
    [22] = { "IQ2_S", DT_IQ2_S },     [23] = { "IQ4_XS", DT_IQ4_XS },
    [24] = { "I8", DT_I8 },           [25] = { "I16", DT_I16 },
    [26] = { "I32", DT_I32 },         [27] = { "I64", DT_I64 },
    [28] = { "F64", DT_F64 },         [29] = { "IQ1_M", DT_IQ1_M },
    [30] = { "BF16", DT_BF16 },       [34] = { "TQ1_0", DT_TQ1_0 },
    [35] = { "TQ2_0", DT_TQ2_0 },     [39] = { "MXFP4", DT_MXFP4 },
    [40] = { "NVFP4", DT_NVFP4 },     [41] = { "Q1_0", -1 },
};

static bool dtype_of(uint32_t type, enum dtype *out, struct err *e)
{
    if (type >= sizeof file_types / sizeof *file_types || !file_types[type].name) {
        return err_set(e, ERR_FORMAT, "unknown tensor type %u", type);
    }
    if (file_types[type].type < 0) {
        return err_set(
            e, ERR_UNSUPPORTED,
            "type %s is not supported (supported: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K..Q6_K IQ1_S.."
            "IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4)",
            file_types[type].name);
    }
    *out = (enum dtype)file_types[type].type;
    return true;
}

/* Shape, type and place of one tensor; `data` is still the offset from the start of the data section. */
static bool parse_tensor(struct reader *r, struct tensor *t, uint64_t *offset, struct err *e)
{
    uint32_t n_dims, type;
    if (!take(r, &n_dims, 4)) return ends_early(r, "shape", e);
    if (n_dims > 4) return err_set(e, ERR_FORMAT, "expected at most 4 dimensions, the file has %u", n_dims);
    t->n_dims = (int)n_dims;
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) t->dim[i] = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        int64_t n;
        if (!take(r, &n, 8)) return ends_early(r, "shape", e);
        if (n < 1) return err_set(e, ERR_FORMAT, "dimension %u is %lld", i, (long long)n);
        t->dim[n_dims - 1 - i] = n; /* the file has the fastest first */
    }
    int64_t elems;
    if (!take(r, &type, 4) || !take(r, offset, 8)) return ends_early(r, "type and offset", e);
    return dtype_of(type, &t->type, e) && tensor_size(t->type, t->dim, t->n_dims, &t->bytes, &elems, e);
}

/* First pass: the descriptions. Their data can be placed only when the last of them, and so the start of the data
 * section, is known. Until then `data` is NULL and the offset waits in offsets[]. */
static bool parse_descriptions(struct gguf *g, struct reader *r, size_t n, uint64_t *offsets, struct err *e)
{
    char *name = g->names;
    for (size_t i = 0; i < n; i++) {
        struct gguf_str s;
        if (!take_str(r, &s)) return ends_early(r, "tensor name", e);
        if (!name_is_printable(s.data, s.len)) {
            return err_set(e, ERR_FORMAT,
                           "the name of tensor %zu (%zu bytes) is not printable text of 1 to 255 bytes", i,
                           s.len);
        }
        memcpy(name, s.data, s.len);
        name[s.len] = '\0';
        struct tensor t = { .name = name };
        name += s.len + 1;
        if (!parse_tensor(r, &t, &offsets[i], e)) return err_wrap(e, "tensor %s", t.name);
        if (!tensor_table_add(&g->tensors, &t, e)) return false;
    }
    return true;
}

static bool place(struct gguf *g, const struct reader *r, const uint64_t *offsets, struct err *e)
{
    int64_t alignment = DEFAULT_ALIGNMENT;
    if (gguf_find(g, "general.alignment")) {
        alignment = gguf_int(g, "general.alignment", -1);
        if (alignment < 8 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1))) {
            return err_set(e, ERR_FORMAT, "general.alignment: expected a power of two from 8 to %d",
                           MAX_ALIGNMENT);
        }
    }
    size_t start = (r->at + (size_t)alignment - 1) / (size_t)alignment * (size_t)alignment;
    size_t room = start < r->size ? r->size - start : 0;
    for (size_t i = 0; i < g->tensors.n; i++) {
        struct tensor *t = &g->tensors.t[i];
        if (offsets[i] % (uint64_t)alignment) {
            return err_set(e, ERR_FORMAT, "tensor %s: offset %llu is not a multiple of the alignment %lld",
                           t->name, (unsigned long long)offsets[i], (long long)alignment);
        }
        if (offsets[i] > room || t->bytes > room - offsets[i]) {
            return err_set(
                e, ERR_FORMAT,
                "tensor %s: expected %zu bytes at %llu of the data, the file has %zu: it is truncated",
                t->name, t->bytes, (unsigned long long)offsets[i], room);
        }
        t->data = r->data + start + (size_t)offsets[i];
    }
    return true;
}

/* Image networks' weights whose rows are no whole number of blocks are stored as rows of 256 elements, with a key that holds the
 * shape they came in. With that shape back, a row may begin inside a block. */
static bool restore_shapes(struct gguf *g, struct err *e)
{
    static const char prefix[] = "comfy.gguf.orig_shape.";
    for (size_t i = 0; i < g->tensors.n; i++) {
        struct tensor *t = &g->tensors.t[i];
        char key[sizeof prefix + 256];
        int len = snprintf(key, sizeof key, "%s%s", prefix, t->name);
        const struct gguf_value *v = len < (int)sizeof key ? gguf_find(g, key) : NULL;
        if (!v) continue;
        int64_t left = tensor_elems(t);
        bool ok = v->is_array && v->n >= 1 && v->n <= TENSOR_MAX_DIMS;
        for (uint64_t k = 0; ok && k < v->n; k++) {
            int64_t d = gguf_value_int(v, k, 0);
            ok = d >= 1 && left % d == 0;
            if (ok) left /= d;
        }
        if (!ok || left != 1)
            return err_set(e, ERR_FORMAT, "%s does not fit the tensor's %lld elements", key,
                           (long long)tensor_elems(t));
        t->n_dims = (int)v->n;
        for (int k = 0; k < TENSOR_MAX_DIMS; k++)
            t->dim[k] = k < t->n_dims ? gguf_value_int(v, (uint64_t)k, 1) : 1;
    }
    return true;
}

static bool parse_tensors(struct gguf *g, struct reader *r, size_t n, struct err *e)
{
    size_t room =
        n * 256 < left(r) ? n * 256 : left(r); /* 255 bytes and the NUL; and all of it lies in the file */
    g->names = malloc(room + 1);
    uint64_t *offsets = calloc(n ? n : 1, sizeof *offsets);
    bool ok = (g->names && offsets) || err_set(e, ERR_NOMEM, "no memory for a table of %zu tensors", n);
    ok = ok && parse_descriptions(g, r, n, offsets, e) && place(g, r, offsets, e) && restore_shapes(g, e);
    free(offsets);
    return ok && tensor_table_seal(&g->tensors, e);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static bool parse_file(struct gguf *g, struct reader *r, struct err *e)
{
    char magic[4];
    uint64_t n_tensors, n_kv;
    if (!take(r, magic, 4) || memcmp(magic, "GGUF", 4) != 0) {
        return err_set(e, ERR_FORMAT, "not a GGUF file: it does not begin with \"GGUF\"");
    }
    if (!take(r, &g->version, 4)) return ends_early(r, "version", e);
    if (g->version == 0x02000000 || g->version == 0x03000000) {
        return err_set(e, ERR_UNSUPPORTED, "a big-endian GGUF file is not supported");
    }
    if (g->version != 2 && g->version != 3) {
        return err_set(e, ERR_UNSUPPORTED, "expected GGUF version 2 or 3, the file has %u", g->version);
    }
    if (!take(r, &n_tensors, 8) || !take(r, &n_kv, 8)) return ends_early(r, "counts", e);
    if (n_kv > left(r) / MIN_KV_BYTES || n_tensors > left(r) / MIN_TENSOR_BYTES) {
        return err_set(e, ERR_FORMAT, "%llu metadata entries and %llu tensors do not fit a file of %zu bytes",
                       (unsigned long long)n_kv, (unsigned long long)n_tensors, r->size);
    }
    g->n_kv = (size_t)n_kv;
    g->kv = calloc(g->n_kv ? g->n_kv : 1, sizeof *g->kv);
    g->scalar = calloc(g->n_kv ? g->n_kv : 1, sizeof *g->scalar);
    if (!g->kv || !g->scalar || !name_table_init(&g->keys, g->n_kv)) {
        return err_set(e, ERR_NOMEM, "no memory for %zu metadata entries", g->n_kv);
    }
    return parse_metadata(g, r, e) && parse_tensors(g, r, (size_t)n_tensors, e);
}

bool gguf_parse(struct gguf **out, const uint8_t *data, size_t size, struct err *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_NOMEM, "no memory to read a GGUF file");
    struct reader r = { .data = data, .size = size };
    if (!parse_file(g, &r, e)) {
        gguf_free(g);
        return false;
    }
    *out = g;
    return true;
}

void gguf_free(struct gguf *g)
{
    if (!g) return;
    for (size_t i = 0; g->kv && i < g->n_kv; i++) {
        if (g->kv[i].is_array) free((void *)g->kv[i].s);
    }
    free(g->kv);
    free(g->scalar);
    name_table_free(&g->keys);
    tensor_table_free(&g->tensors);
    free(g->names);
    free(g);
}

const struct tensor_table *gguf_tensors(const struct gguf *g) { return &g->tensors; }

uint32_t gguf_version(const struct gguf *g) { return g->version; }

/* ---- looking things up --------------------------------------------------------------------------------------- */

size_t gguf_count(const struct gguf *g) { return g->n_kv; }

const struct gguf_value *gguf_at(const struct gguf *g, size_t i) { return &g->kv[i]; }

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    size_t i = name_table_find(&g->keys, key, strlen(key));
    return i == NAME_TABLE_NONE ? NULL : &g->kv[i];
}

#define READ_INT(ctype)                                                                                      \
    do {                                                                                                     \
        ctype x;                                                                                             \
        memcpy(&x, at, sizeof x);                                                                            \
        return (int64_t)x;                                                                                   \
    } while (0)

int64_t gguf_value_int(const struct gguf_value *v, uint64_t i, int64_t fallback)
{
    if (i >= v->n || !v->data) return fallback;
    const uint8_t *at = (const uint8_t *)v->data + i * scalar_bytes[v->type];
    switch (v->type) {
    case GGUF_U8: READ_INT(uint8_t);
    case GGUF_I8: READ_INT(int8_t);
    case GGUF_U16: READ_INT(uint16_t);
    case GGUF_I16: READ_INT(int16_t);
    case GGUF_U32: READ_INT(uint32_t);
    case GGUF_I32: READ_INT(int32_t);
    case GGUF_I64: READ_INT(int64_t);
    case GGUF_BOOL: return *at != 0;
    case GGUF_U64: {
        uint64_t x;
        memcpy(&x, at, sizeof x);
        return x <= INT64_MAX ? (int64_t)x : fallback;
    }
    default: return fallback;
    }
}

double gguf_value_float(const struct gguf_value *v, uint64_t i, double fallback)
{
    if (i >= v->n || !v->data) return fallback;
    const uint8_t *at = (const uint8_t *)v->data + i * scalar_bytes[v->type];
    if (v->type == GGUF_F32) {
        float x;
        memcpy(&x, at, sizeof x);
        return (double)x;
    }
    if (v->type == GGUF_F64) {
        double x;
        memcpy(&x, at, sizeof x);
        return x;
    }
    int64_t x = gguf_value_int(v, i, INT64_MIN);
    return x > -(INT64_C(1) << 53) && x < INT64_C(1) << 53 ? (double)x : fallback;
}

/* The scalar under a key; NULL when it is absent or an array. */
static const struct gguf_value *scalar_at(const struct gguf *g, const char *key)
{
    const struct gguf_value *v = gguf_find(g, key);
    return v && !v->is_array ? v : NULL;
}

int64_t gguf_int(const struct gguf *g, const char *key, int64_t fallback)
{
    const struct gguf_value *v = scalar_at(g, key);
    return v ? gguf_value_int(v, 0, fallback) : fallback;
}

double gguf_float(const struct gguf *g, const char *key, double fallback)
{
    const struct gguf_value *v = scalar_at(g, key);
    return v ? gguf_value_float(v, 0, fallback) : fallback;
}

bool gguf_bool(const struct gguf *g, const char *key, bool fallback)
{
    int64_t x = gguf_int(g, key, fallback);
    return x == 0 || x == 1 ? x == 1 : fallback;
}

struct gguf_str gguf_string(const struct gguf *g, const char *key)
{
    const struct gguf_value *v = scalar_at(g, key);
    return v && v->type == GGUF_STRING ? *v->s : (struct gguf_str){ NULL, 0 };
}
