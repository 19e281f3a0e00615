/* The GGUF reader on a file by the reference package, on files cut short and damaged at every byte, and on lies. */
#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "format/tensor_table.h"

static uint8_t *load(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s (tests run from the root of the repository)", path);
    uint8_t *data = malloc(1 << 16);
    assert_non_null(data);
    *n = fread(data, 1, 1 << 16, f);
    fclose(f);
    return data;
}

#define TINY "tests/golden/readers/tiny.gguf"

static void reads_what_the_reference_wrote(void **state)
{
    (void)state;
    size_t n;
    uint8_t *data = load(TINY, &n);
    struct gguf *g;
    struct err e = { 0 };
    if (!gguf_parse(&g, data, n, &e)) fail_msg("%s", e.msg);

    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_int(g, "t.u8", 0), 200);
    assert_int_equal(gguf_int(g, "t.i8", 0), -5);
    assert_int_equal(gguf_int(g, "t.u16", 0), 60000);
    assert_int_equal(gguf_int(g, "t.i16", 0), -30000);
    assert_int_equal(gguf_int(g, "t.u32", 0), 4000000000);
    assert_int_equal(gguf_int(g, "t.i32", 0), -7);
    assert_int_equal(gguf_int(g, "t.i64", 0), -(INT64_C(1) << 40));
    assert_int_equal(gguf_int(g, "t.u64", -1), -1); /* does not fit: the fallback */
    assert_true(gguf_float(g, "t.f32", 0) == 0.5 && gguf_float(g, "t.f64", 0) == 1e-9);
    assert_true(gguf_float(g, "t.i32", 0) == -7.0);
    assert_int_equal(gguf_int(g, "t.f32", 42), 42);
    assert_true(gguf_bool(g, "t.bool", false) && !gguf_bool(g, "absent", false) &&
                gguf_bool(g, "t.u8", true));
    struct gguf_str s = gguf_string(g, "t.str");
    assert_int_equal(s.len, 7);
    assert_memory_equal(s.data,
                        "h\xc3\xa9"
                        "arth",
                        7);
    assert_null(gguf_string(g, "t.u8").data);
    assert_null(gguf_string(g, "t.strings").data);

    const struct gguf_value *v = gguf_find(g, "t.strings");
    assert_true(v && v->is_array && v->n == 3 && v->type == GGUF_STRING);
    assert_true(v && v->s && v->s[1].len == 0 && v->s[2].len == 8 &&
                memcmp(v->s[2].data, "merge me", 8) == 0);
    v = gguf_find(g, "t.ints");
    assert_true(v && v->n == 3 && gguf_value_int(v, 1, 0) == -2 && gguf_value_int(v, 3, 99) == 99);
    assert_int_equal(gguf_int(g, "t.ints", 5), 5);

    const struct tensor_table *tab = gguf_tensors(g);
    assert_int_equal(tab->n, 3);
    const struct tensor *t = tensor_table_find(tab, "mat.f16");
    assert_true(t && t->type == DT_F16 && t->n_dims == 2 && t->dim[0] == 2 && t->dim[1] == 3 &&
                t->bytes == 12);
    float y[6];
    dequant_row(t->type, t->data, y, 6);
    for (int i = 0; i < 6; i++) assert_true(y[i] == (float)i);
    t = tensor_table_find(tab, "mat.q8");
    assert_true(t && t->type == DT_Q8_0 && t->dim[0] == 3 && t->dim[1] == 64 && t->bytes == 3 * 68);
    assert_null(tensor_table_find(tab, "mat"));
    gguf_free(g);
    free(data);
}

/* In a block of exactly its size, so that the address checker sees one byte too far. */
static bool parse_copy(const uint8_t *data, size_t n, struct err *e)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    struct gguf *g;
    bool ok = gguf_parse(&g, copy, n, e);
    if (ok) {
        const struct tensor_table *tab = gguf_tensors(g);
        unsigned sum = 0;
        for (size_t i = 0; i < tab->n; i++) {
            const uint8_t *p = tab->t[i].data;
            if (tab->t[i].bytes) sum += p[0] + (unsigned)p[tab->t[i].bytes - 1];
        }
        (void)*(volatile unsigned *)&sum;
        gguf_free(g);
    }
    free(copy);
    return ok;
}

static void truncated_anywhere_is_refused(void **state)
{
    (void)state;
    size_t n;
    uint8_t *data = load(TINY, &n);
    size_t end = n; /* of the last tensor; padding follows it */
    struct gguf *g;
    assert_true(gguf_parse(&g, data, n, NULL));
    const struct tensor *last = tensor_table_find(gguf_tensors(g), "mat.q8");
    end = (size_t)((const uint8_t *)last->data - data) + last->bytes;
    gguf_free(g);
    for (size_t i = 0; i < n; i++) {
        struct err e = { 0 };
        bool ok = parse_copy(data, i, &e);
        if (i < end && (ok || !e.msg[0])) fail_msg("cut at byte %zu of %zu was accepted", i, n);
    }
    free(data);
}

static void damaged_anywhere_is_survived(void **state)
{
    (void)state;
    static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    size_t n;
    uint8_t *data = load(TINY, &n);
    for (size_t i = 0; i < n; i++) {
        uint8_t was = data[i];
        for (size_t j = 0; j < sizeof values; j++) {
            data[i] = values[j];
            parse_copy(data, n, NULL);
        }
        data[i] = was;
    }
    free(data);
}

/* ---- lies ------------------------------------------------------------------------------------------------------ */

static void put_u32(struct buf *b, uint32_t v) { buf_append(b, &v, 4); }
static void put_u64(struct buf *b, uint64_t v) { buf_append(b, &v, 8); }
static void put_str(struct buf *b, const char *s)
{
    put_u64(b, strlen(s));
    buf_puts(b, s);
}
static void put_header(struct buf *b, uint64_t n_tensors, uint64_t n_kv)
{
    buf_puts(b, "GGUF");
    put_u32(b, 3);
    put_u64(b, n_tensors);
    put_u64(b, n_kv);
}
static void put_kv_u32(struct buf *b, const char *key, uint32_t v)
{
    put_str(b, key);
    put_u32(b, GGUF_U32);
    put_u32(b, v);
}
static void put_tensor(struct buf *b, const char *name, int n_dims, int64_t d0, int64_t d1, uint32_t type,
                       uint64_t at)
{
    put_str(b, name);
    put_u32(b, (uint32_t)n_dims);
    if (n_dims > 0) put_u64(b, (uint64_t)d0);
    for (int i = 1; i < n_dims; i++) put_u64(b, (uint64_t)d1);
    put_u32(b, type);
    put_u64(b, at);
}
static void put_data(struct buf *b, size_t n)
{
    while (b->len % 32) buf_putc(b, 0);
    while (n--) buf_putc(b, 1);
}

static void wrong_magic(struct buf *b) { buf_puts(b, "GGML and then some"); }
static void old_version(struct buf *b)
{
    buf_puts(b, "GGUF");
    put_u32(b, 1);
}
static void big_endian(struct buf *b)
{
    buf_puts(b, "GGUF");
    put_u32(b, 0x03000000);
}
static void huge_counts(struct buf *b) { put_header(b, UINT64_MAX, 1), put_data(b, 64); }
static void huge_kv(struct buf *b) { put_header(b, 0, UINT64_MAX / 2), put_data(b, 64); }
static void long_string(struct buf *b)
{
    put_header(b, 0, 1);
    put_str(b, "k");
    put_u32(b, GGUF_STRING);
    put_u64(b, UINT64_MAX);
    put_data(b, 64);
}
static void long_array(struct buf *b)
{
    put_header(b, 0, 1);
    put_str(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_U64);
    put_u64(b, UINT64_C(0x2000000000000001)); /* times 8 wraps to 8 */
    put_data(b, 64);
}
static void long_string_array(struct buf *b)
{
    put_header(b, 0, 1);
    put_str(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_STRING);
    put_u64(b, UINT64_C(1) << 60);
    put_data(b, 64);
}
static void nested_array(struct buf *b)
{
    put_header(b, 0, 1);
    put_str(b, "k");
    put_u32(b, GGUF_ARRAY);
    put_u32(b, GGUF_ARRAY);
    put_u64(b, 1);
    put_data(b, 64);
}
static void unknown_value(struct buf *b)
{
    put_header(b, 0, 1);
    put_str(b, "k");
    put_u32(b, 13);
    put_data(b, 64);
}
static void key_twice(struct buf *b)
{
    put_header(b, 0, 2);
    put_kv_u32(b, "some.key", 1);
    put_kv_u32(b, "some.key", 2);
}
static void key_unprintable(struct buf *b)
{
    put_header(b, 0, 1);
    put_kv_u32(b, "new\nline", 1);
}
static void odd_alignment(struct buf *b)
{
    put_header(b, 0, 1);
    put_kv_u32(b, "general.alignment", 24);
}
static void zero_alignment(struct buf *b)
{
    put_header(b, 0, 1);
    put_kv_u32(b, "general.alignment", 0);
}
static void many_dims(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 5, 1, 1, 0, 0);
    put_data(b, 64);
}
static void zero_dim(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 2, 4, 0, 0, 0);
    put_data(b, 64);
}
static void negative_dim(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 2, 4, -4, 0, 0);
    put_data(b, 64);
}
static void huge_dims(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 2, INT64_C(1) << 32, INT64_C(1) << 32, 0, 0);
    put_data(b, 64);
}
static void huge_bytes(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, INT64_MAX, 1, 0, 0);
    put_data(b, 64);
}
static void half_block(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 2, 48, 2, 2, 0);
    put_data(b, 256);
}
static void unknown_type(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 32, 1, 77, 0);
    put_data(b, 256);
}
static void removed_type(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 32, 1, 4, 0);
    put_data(b, 256);
}
static void known_type(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 256, 1, 15, 0);
    put_data(b, 256);
}
static void misaligned(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 4, 1, 0, 4);
    put_data(b, 256);
}
static void outside(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 8, 1, 0, 64);
    put_data(b, 95);
}
static void far_outside(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "t", 1, 8, 1, 0, UINT64_MAX - 31);
    put_data(b, 256);
}
static void overlapping(struct buf *b)
{
    put_header(b, 3, 0);
    put_tensor(b, "a", 1, 16, 1, 0, 64);
    put_tensor(b, "b", 1, 8, 1, 0, 0);
    put_tensor(b, "c", 1, 8, 1, 0, 96);
    put_data(b, 256);
}
static void name_twice(struct buf *b)
{
    put_header(b, 2, 0);
    put_tensor(b, "same", 1, 8, 1, 0, 0);
    put_tensor(b, "same", 1, 8, 1, 0, 32);
    put_data(b, 256);
}
static void empty_name(struct buf *b)
{
    put_header(b, 1, 0);
    put_tensor(b, "", 1, 8, 1, 0, 0);
    put_data(b, 256);
}

static void lies_are_named(void **state)
{
    (void)state;
    static const struct {
        void (*make)(struct buf *);
        const char *message;
    } cases[] = {
        { wrong_magic, "does not begin with \"GGUF\"" },
        { old_version, "expected GGUF version 2 or 3, the file has 1" },
        { big_endian, "big-endian" },
        { huge_counts, "do not fit a file of" },
        { huge_kv, "do not fit a file of" },
        { long_string, "metadata key k: string: runs past the end" },
        { long_array, "metadata key k: array: runs past the end" },
        { long_string_array, "metadata key k: array of strings: runs past the end" },
        { nested_array, "metadata key k: an array of arrays" },
        { unknown_value, "metadata key k: unknown value type 13" },
        { key_twice, "metadata key some.key is there twice" },
        { key_unprintable, "metadata key 0 (8 bytes) is not printable" },
        { odd_alignment, "general.alignment: expected a power of two" },
        { zero_alignment, "general.alignment: expected a power of two" },
        { many_dims, "tensor t: expected at most 4 dimensions, the file has 5" },
        { zero_dim, "tensor t: dimension 1 is 0" },
        { negative_dim, "tensor t: dimension 1 is -4" },
        { huge_dims, "tensor t: the product of its dimensions" },
        { huge_bytes, "tensor t: its size in bytes" },
        { half_block, "tensor t: Q4_0 needs rows of a multiple of 32 elements, the file has 48" },
        { unknown_type, "tensor t: unknown tensor type 77" },
        { removed_type, "tensor t: unknown tensor type 4" },
        { known_type, "tensor t: type Q8_K is not supported" },
        { misaligned, "tensor t: offset 4 is not a multiple of the alignment 32" },
        { outside, "tensor t: expected 32 bytes at 64 of the data, the file has 95: it is truncated" },
        { far_outside, "it is truncated" },
        { overlapping, "tensors a and c overlap" },
        { name_twice, "tensor same is there twice" },
        { empty_name, "the name of tensor 0 (0 bytes)" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = BUF_INIT(0);
        cases[i].make(&b);
        struct err e = { 0 };
        if (parse_copy((const uint8_t *)b.data, b.len, &e)) fail_msg("accepted: %s", cases[i].message);
        if (!strstr(e.msg, cases[i].message))
            fail_msg("expected \"%s\", got \"%s\"", cases[i].message, e.msg);
        buf_free(&b);
    }
}

static void odd_but_valid_is_read(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(0);
    put_header(&b, 2, 1); /* descending offsets, a wider alignment, a tensor that ends where the file ends */
    put_kv_u32(&b, "general.alignment", 64);
    put_tensor(&b, "late", 1, 3, 1, 0, 64);
    put_tensor(&b, "early", 1, 16, 1, 0, 0);
    while (b.len % 64) buf_putc(&b, 0);
    for (int i = 0; i < 76; i++) buf_putc(&b, 1);
    struct err e = { 0 };
    if (!parse_copy((const uint8_t *)b.data, b.len, &e)) fail_msg("%s", e.msg);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_reference_wrote), cmocka_unit_test(truncated_anywhere_is_refused),
        cmocka_unit_test(damaged_anywhere_is_survived),   cmocka_unit_test(lies_are_named),
        cmocka_unit_test(odd_but_valid_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
