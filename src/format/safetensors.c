#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/json_scan.h"

#define MAX_NOTES 4096

struct note {
    const char *key, *value;
};

struct safetensors {
    struct tensor_table tensors;
    struct note *notes;
    size_t n_notes;
    char *pool; /* the header's strings */
};

/* The header in parsing, and the bytes behind it. */
struct parser {
    struct safetensors *st;
    struct json_scan js;
    const char *start;   /* of the header */
    const uint8_t *body; /* what data_offsets count from */
    size_t body_bytes;
};

static bool bad_json(const struct parser *p, const char *expected, struct err *e)
{
    return err_set(e, ERR_FORMAT, "header: expected %s at byte %zu", expected, (size_t)(p->js.p - p->start));
}

/* Spelled as in the format's own list. */
static bool dtype_of(const char *name, enum dtype *out)
{
    static const enum dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_I64,
                                        DT_I32, DT_I16, DT_I8,   DT_U8,      DT_BOOL,    DT_F64 };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(dtype_info(types[i])->name, name) == 0) {
            *out = types[i];
            return true;
        }
    }
    return false;
}

static bool parse_dtype(struct parser *p, struct tensor *t, struct err *e)
{
    char *name;
    size_t len;
    if (!json_scan_string(&p->js, &name, &len)) return bad_json(p, "a string as dtype", e);
    if (dtype_of(name, &t->type)) return true;
    if (!name_is_printable(name, len) || len > 32)
        return err_set(e, ERR_FORMAT, "its dtype is no known name");
    return err_set(
        e, ERR_UNSUPPORTED,
        "dtype %s is not supported (supported: F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U8 BOOL)",
        name);
}

static bool parse_shape(struct parser *p, struct tensor *t, struct err *e)
{
    if (!json_scan_char(&p->js, '[')) return bad_json(p, "a list as shape", e);
    t->n_dims = 0;
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) t->dim[i] = 1;
    if (json_scan_char(&p->js, ']')) return true;
    do {
        uint64_t n;
        if (!json_scan_u64(&p->js, &n)) return bad_json(p, "a dimension", e);
        if (n > INT64_MAX)
            return err_set(e, ERR_FORMAT, "dimension %llu is too large", (unsigned long long)n);
        if (t->n_dims == TENSOR_MAX_DIMS) {
            return err_set(e, ERR_UNSUPPORTED, "expected at most %d dimensions, the file has more",
                           TENSOR_MAX_DIMS);
        }
        t->dim[t->n_dims++] = (int64_t)n;
    } while (json_scan_char(&p->js, ','));
    return json_scan_char(&p->js, ']') || bad_json(p, "] after the shape", e);
}

static bool parse_offsets(struct parser *p, uint64_t offset[2], struct err *e)
{
    bool ok = json_scan_char(&p->js, '[') && json_scan_u64(&p->js, &offset[0]) &&
              json_scan_char(&p->js, ',') && json_scan_u64(&p->js, &offset[1]) && json_scan_char(&p->js, ']');
    return ok || bad_json(p, "data_offsets as two numbers", e);
}

static bool check_tensor(const struct parser *p, struct tensor *t, const uint64_t offset[2], struct err *e)
{
    int64_t elems;
    size_t bytes;
    if (!tensor_size(t->type, t->dim, t->n_dims, &bytes, &elems, e)) return false;
    if (offset[0] > offset[1] || offset[1] > p->body_bytes) {
        return err_set(
            e, ERR_FORMAT,
            "its data_offsets are %llu to %llu, the file has %zu bytes of data: it is truncated or damaged",
            (unsigned long long)offset[0], (unsigned long long)offset[1], p->body_bytes);
    }
    if (offset[1] - offset[0] != bytes) {
        return err_set(e, ERR_FORMAT, "expected %zu bytes for %lld elements of %s, the file gives it %llu",
                       bytes, (long long)elems, dtype_info(t->type)->name,
                       (unsigned long long)(offset[1] - offset[0]));
    }
    t->data = p->body + offset[0];
    t->bytes = bytes;
    return true;
}

static bool parse_tensor(struct parser *p, struct tensor *t, struct err *e)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    if (!json_scan_char(&p->js, '{')) return bad_json(p, "an object", e);
    uint64_t offset[2] = { 0, 0 };
    int seen = 0;
    for (bool first = true;;) {
        char *key, *pool = p->js.pool;
        size_t len;
        bool more;
        if (!json_scan_key(&p->js, &first, &more, &key, &len)) return bad_json(p, "a key", e);
        if (!more) break;
        int field = strcmp(key, "dtype") == 0 ? DTYPE : strcmp(key, "shape") == 0 ? SHAPE : 0;
        if (strcmp(key, "data_offsets") == 0) field = OFFSETS;
        if (seen & field) return err_set(e, ERR_FORMAT, "%s is there twice", key);
        seen |= field;
        bool ok;
        switch (field) {
        case DTYPE: ok = parse_dtype(p, t, e); break;
        case SHAPE: ok = parse_shape(p, t, e); break;
        case OFFSETS: ok = parse_offsets(p, offset, e); break;
        default: ok = json_scan_skip(&p->js) || bad_json(p, "a value", e);
        }
        if (!ok) return false;
        p->js.pool = pool; /* nothing of this entry is kept as text */
    }
    if (seen != (DTYPE | SHAPE | OFFSETS))
        return err_set(e, ERR_FORMAT, "expected dtype, shape and data_offsets");
    return check_tensor(p, t, offset, e);
}

static bool parse_notes(struct parser *p, struct err *e)
{
    struct safetensors *st = p->st;
    if (st->notes) return err_set(e, ERR_FORMAT, "header: __metadata__ is there twice");
    if (!json_scan_char(&p->js, '{')) return bad_json(p, "an object as __metadata__", e);
    size_t cap = 16;
    st->notes = malloc(cap * sizeof *st->notes);
    if (!st->notes) return err_set(e, ERR_NOMEM, "no memory for __metadata__");
    for (bool first = true;;) {
        char *key, *value;
        size_t len;
        bool more;
        if (!json_scan_key(&p->js, &first, &more, &key, &len)) return bad_json(p, "a key in __metadata__", e);
        if (!more) return true;
        if (!json_scan_string(&p->js, &value, &len)) return bad_json(p, "a string in __metadata__", e);
        if (st->n_notes == MAX_NOTES) return err_set(e, ERR_LIMIT, "header: more than %d notes", MAX_NOTES);
        if (st->n_notes == cap) {
            struct note *grown = realloc(st->notes, 2 * cap * sizeof *grown);
            if (!grown) return err_set(e, ERR_NOMEM, "no memory for __metadata__");
            st->notes = grown;
            cap *= 2;
        }
        st->notes[st->n_notes++] = (struct note){ key, value };
    }
}

static bool parse_header(struct parser *p, struct err *e)
{
    if (!json_scan_char(&p->js, '{')) return bad_json(p, "an object", e);
    for (bool first = true;;) {
        char *name;
        size_t len;
        bool more;
        if (!json_scan_key(&p->js, &first, &more, &name, &len)) return bad_json(p, "a tensor's name", e);
        if (!more) break;
        if (strcmp(name, "__metadata__") == 0) {
            if (!parse_notes(p, e)) return false;
            continue;
        }
        if (!name_is_printable(name, len)) {
            return err_set(e, ERR_FORMAT,
                           "the name of tensor %zu (%zu bytes) is not printable text of 1 to 255 bytes",
                           p->st->tensors.n, len);
        }
        struct tensor t = { .name = name };
        if (!parse_tensor(p, &t, e)) return err_wrap(e, "tensor %s", name);
        if (!tensor_table_add(&p->st->tensors, &t, e)) return false;
    }
    return json_scan_end(&p->js) || bad_json(p, "nothing after the object", e);
}

static bool parse_file(struct safetensors *st, const uint8_t *data, size_t size, struct err *e)
{
    uint64_t n;
    if (size < sizeof n) return err_set(e, ERR_FORMAT, "not a safetensors file: it has %zu bytes", size);
    memcpy(&n, data, sizeof n);
    if (n > SAFETENSORS_MAX_HEADER || n > size - sizeof n) {
        return err_set(
            e, ERR_FORMAT,
            "expected a header of at most %zu bytes, the file says %llu: truncated or not safetensors",
            size - sizeof n < SAFETENSORS_MAX_HEADER ? size - sizeof n : SAFETENSORS_MAX_HEADER,
            (unsigned long long)n);
    }
    const char *header = (const char *)data + sizeof n;
    if (!utf8_is_valid(header, (size_t)n)) return err_set(e, ERR_FORMAT, "the header is not valid UTF-8");
    st->pool = malloc((size_t)n + 1);
    if (!st->pool)
        return err_set(e, ERR_NOMEM, "no memory for a header of %llu bytes", (unsigned long long)n);
    struct parser p = {
        .st = st,
        .js = { .p = header, .end = header + n, .pool = st->pool },
        .start = header,
        .body = data + sizeof n + n,
        .body_bytes = size - sizeof n - (size_t)n,
    };
    if (!parse_header(&p, e) || !tensor_table_seal(&st->tensors, e)) return false;
    if (st->tensors.bytes != p.body_bytes) { /* disjoint and inside, so a gap or a tail is the only way */
        return err_set(e, ERR_FORMAT, "expected %zu bytes of data for its tensors, the file has %zu",
                       st->tensors.bytes, p.body_bytes);
    }
    return true;
}

bool safetensors_parse(struct safetensors **out, const uint8_t *data, size_t size, struct err *e)
{
    struct safetensors *st = calloc(1, sizeof *st);
    if (!st) return err_set(e, ERR_NOMEM, "no memory to read a safetensors file");
    if (!parse_file(st, data, size, e)) {
        safetensors_free(st);
        return false;
    }
    *out = st;
    return true;
}

void safetensors_free(struct safetensors *s)
{
    if (!s) return;
    tensor_table_free(&s->tensors);
    free(s->notes);
    free(s->pool);
    free(s);
}

const struct tensor_table *safetensors_tensors(const struct safetensors *s) { return &s->tensors; }

size_t safetensors_note_count(const struct safetensors *s) { return s->n_notes; }

void safetensors_note_at(const struct safetensors *s, size_t i, const char **key, const char **value)
{
    *key = s->notes[i].key;
    *value = s->notes[i].value;
}

const char *safetensors_note(const struct safetensors *s, const char *key)
{
    for (size_t i = 0; i < s->n_notes; i++) {
        if (strcmp(s->notes[i].key, key) == 0) return s->notes[i].value;
    }
    return NULL;
}
