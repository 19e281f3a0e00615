/* The safetensors reader on a file by the reference package, on damage at every byte, and on lies. */
#include "format/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

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

#define TINY "tests/golden/readers/tiny.safetensors"

static void reads_what_the_reference_wrote(void **state)
{
    (void)state;
    size_t n;
    uint8_t *data = load(TINY, &n);
    struct safetensors *s;
    struct err e = { 0 };
    if (!safetensors_parse(&s, data, n, &e)) fail_msg("%s", e.msg);
    const struct tensor_table *tab = safetensors_tensors(s);
    assert_int_equal(tab->n, 7);

    float y[6];
    const struct tensor *t = tensor_table_find(tab, "f32");
    assert_true(t && t->type == DT_F32 && t->n_dims == 2 && t->dim[0] == 2 && t->dim[1] == 3 &&
                t->dim[2] == 1);
    dequant_row(t->type, t->data, y, 6);
    for (int i = 0; i < 6; i++) assert_true(y[i] == (float)i);
    t = tensor_table_find(tab, "bf16");
    dequant_row(t->type, t->data, y, 2);
    assert_true(y[0] == 1.0f && y[1] == -2.0f);
    t = tensor_table_find(tab, "f8");
    assert_int_equal(t->type, DT_F8_E4M3);
    dequant_row(t->type, t->data, y, 1);
    assert_true(y[0] == 1.5f);
    t = tensor_table_find(tab, "scalar");
    assert_true(t->n_dims == 0 && t->bytes == 4 && tensor_elems(t) == 1);
    t = tensor_table_find(tab, "empty");
    assert_true(t->bytes == 0 && t->dim[0] == 0 && t->dim[1] == 4);
    t = tensor_table_find(tab, "ids");
    assert_true(t->type == DT_I64 && t->bytes == 16);
    t = tensor_table_find(tab, "flag");
    assert_true(t->type == DT_BOOL && t->bytes == 2);

    assert_string_equal(safetensors_note(s, "format"), "pt");
    assert_string_equal(safetensors_note(s, "note"), "line\n\"quoted\" \xc3\xbc");
    assert_null(safetensors_note(s, "absent"));
    safetensors_free(s);
    free(data);
}

/* In a block of exactly its size, so that the address checker sees one byte too far. */
static bool parse_copy(const uint8_t *data, size_t n, struct err *e)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    struct safetensors *s;
    bool ok = safetensors_parse(&s, copy, n, e);
    if (ok) {
        const struct tensor_table *tab = safetensors_tensors(s);
        unsigned sum = 0;
        for (size_t i = 0; i < tab->n; i++) {
            const uint8_t *p = tab->t[i].data;
            if (tab->t[i].bytes) sum += p[0] + (unsigned)p[tab->t[i].bytes - 1];
        }
        (void)*(volatile unsigned *)&sum;
        safetensors_free(s);
    }
    free(copy);
    return ok;
}

static void truncated_anywhere_is_refused(void **state)
{
    (void)state;
    size_t n;
    uint8_t *data = load(TINY, &n);
    for (size_t i = 0; i < n; i++) {
        struct err e = { 0 };
        if (parse_copy(data, i, &e) || !e.msg[0]) fail_msg("cut at byte %zu of %zu was accepted", i, n);
    }
    free(data);
}

static void damaged_anywhere_is_survived(void **state)
{
    (void)state;
    static const uint8_t values[] = { 0x00, '0', '9', '"', '\\', '[', '}', 0x80, 0xff };
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

static bool parse_text(const char *header, size_t body, struct err *e)
{
    uint64_t n = strlen(header);
    uint8_t *data = calloc(1, 8 + n + 1 + body);
    assert_non_null(data);
    memcpy(data, &n, 8);
    memcpy(data + 8, header, n + 1); /* the body's zeros take the place of the NUL */
    bool ok = parse_copy(data, 8 + n + body, e);
    free(data);
    return ok;
}

#define T(name, dtype, shape, from, to)                                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void lies_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t body;
        const char *message;
    } cases[] = {
        { "", 0, "header: expected an object at byte 0" },
        { "[]", 0, "header: expected an object" },
        { "{", 0, "header: expected a tensor's name" },
        { "{} x", 0, "header: expected nothing after the object" },
        { "{\"a\":1}", 0, "tensor a: header: expected an object" },
        { "{\"a\":{}}", 0, "tensor a: expected dtype, shape and data_offsets" },
        { "{" T("a", "F32", "[2]", 0, 8) ",}", 8, "header: expected a tensor's name" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 8, 16) "}", 16, "tensor a is there twice" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12, "tensors a and b overlap" },
        { "{" T("a", "F32", "[2]", 8, 16) "," T("b", "F32", "[2]", 0, 8) "," T("c", "F32", "[1]", 4, 8) "}",
          16, "tensors b and c overlap" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 12, 20) "}", 20,
          "expected 16 bytes of data for its tensors, the file has 20" },
        { "{" T("a", "F32", "[2]", 0, 8) "}", 9, "expected 8 bytes of data for its tensors, the file has 9" },
        { "{" T("a", "F32", "[2]", 0, 8) "}", 7,
          "tensor a: its data_offsets are 0 to 8, the file has 7 bytes" },
        { "{" T("a", "F32", "[3]", 0, 8) "}", 8,
          "tensor a: expected 12 bytes for 3 elements of F32, the file gives it 8" },
        { "{" T("a", "F32", "[2]", 8, 0) "}", 8, "tensor a: its data_offsets are 8 to 0" },
        { "{" T("a", "F32", "[2]", 0, 18446744073709551615) "}", 8, "tensor a: its data_offsets" },
        { "{" T("a", "F32", "[2]", 0, 18446744073709551616) "}", 8,
          "tensor a: header: expected data_offsets" },
        { "{" T("a", "F32", "[2]", 0, 8.0) "}", 8, "tensor a: header: expected data_offsets" },
        { "{" T("a", "F32", "[-2]", 0, 8) "}", 8, "tensor a: header: expected a dimension" },
        { "{" T("a", "F32", "[4294967296,4294967296]", 0, 8) "}", 8,
          "tensor a: the product of its dimensions" },
        { "{" T("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, "tensor a: its size in bytes" },
        { "{" T("a", "F32", "[18446744073709551615]", 0, 8) "}", 8,
          "tensor a: dimension 18446744073709551615" },
        { "{" T("a", "F32", "[1,1,1,1,1,2]", 0, 8) "}", 8, "tensor a: expected at most 5 dimensions" },
        { "{" T("a", "U32", "[2]", 0, 8) "}", 8, "tensor a: dtype U32 is not supported" },
        { "{" T("a", "Q4_0", "[32]", 0, 18) "}", 18, "tensor a: dtype Q4_0 is not supported" },
        { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\"}}", 0, "tensor a: dtype is there twice" },
        { "{" T("", "F32", "[2]", 0, 8) "}", 8, "the name of tensor 0 (0 bytes) is not printable" },
        { "{" T("a\\nb", "F32", "[2]", 0, 8) "}", 8, "the name of tensor 0 (3 bytes) is not printable" },
        { "{" T("a\\u0000b", "F32", "[2]", 0, 8) "}", 8, "header: expected a tensor's name" },
        { "{" T("a\\ud800b", "F32", "[2]", 0, 8) "}", 8, "header: expected a tensor's name" },
        { "{" T("a\xff", "F32", "[2]", 0, 8) "}", 8, "the header is not valid UTF-8" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "header: expected a string in __metadata__" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "header: __metadata__ is there twice" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        if (parse_text(cases[i].header, cases[i].body, &e)) fail_msg("accepted: %s", cases[i].header);
        if (!strstr(e.msg, cases[i].message))
            fail_msg("expected \"%s\", got \"%s\"", cases[i].message, e.msg);
    }
    uint8_t lie[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }; /* a header of 2^64 - 1 bytes */
    struct err e = { 0 };
    assert_false(parse_copy(lie, sizeof lie, &e));
    assert_non_null(strstr(e.msg, "expected a header of at most 8 bytes"));
}

static void odd_but_valid_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t body;
    } cases[] = {
        { "{}", 0 },
        { " { } \n", 0 },
        { "{" T("b", "F32", "[2]", 8, 16) "," T("a", "F32", "[2]", 0, 8) "}", 16 },
        { "{" T("\\ud83d\\ude00", "U8", "[]", 0, 1) "}", 1 },
        { "{\"a\":{\"data_offsets\":[0,1],\"x\":[{\"y\":-1.5e3},null,true,\"z\"],\"shape\":[1],\"dtype\":"
          "\"I8\"}}",
          1 },
        { "{" T("e", "F32", "[0]", 0, 0) "," T("a", "F32", "[1]", 0, 4) "," T("f", "F32", "[0]", 4, 4) "}",
          4 },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("e", "F32", "[0]", 0, 0) "}", 4 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        if (!parse_text(cases[i].header, cases[i].body, &e)) fail_msg("%s: %s", cases[i].header, e.msg);
    }
}

static void depth_is_bounded(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    char *deep = malloc(n + 64);
    assert_non_null(deep);
    size_t at = (size_t)sprintf(deep, "{\"a\":{\"x\":");
    memset(deep + at, '[', n);
    deep[at + n] = '\0';
    struct err e = { 0 };
    assert_false(parse_text(deep, 0, &e));
    assert_non_null(strstr(e.msg, "tensor a: header: expected a value"));
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_reference_wrote), cmocka_unit_test(truncated_anywhere_is_refused),
        cmocka_unit_test(damaged_anywhere_is_survived),   cmocka_unit_test(lies_are_named),
        cmocka_unit_test(odd_but_valid_is_read),          cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
