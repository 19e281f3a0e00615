/* yaml_read_test.c - what is taken, what is refused and where the error says it is, and structs filled by a table. */
#include "format/yaml_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"

static void test_tree(void **state)
{
    (void)state;
    static const char text[] =
        "# a comment\nname: hearth\nlist:\n  - one\n  - [2, '']\nmap: { a: b }\nempty:\n";
    struct yaml_doc d = { 0 };
    struct err e = { ERR_NONE, "" };
    if (!yaml_read_text(&d, "f", text, sizeof text - 1, &e)) fail_msg("%s", e.msg);
    assert_int_equal(d.root.kind, YAML_KIND_MAP);
    assert_int_equal(d.root.n, 4);
    assert_string_equal(yaml_member(&d.root, "name")->text, "hearth");
    const struct yaml_tree *list = yaml_member(&d.root, "list");
    assert_true(list->kind == YAML_KIND_LIST && list->n == 2 && list->line == 3 && list->column == 1);
    assert_true(list->item[0].line == 4 && list->item[0].column == 5 && !list->item[0].key);
    assert_true(list->item[1].n == 2 && !*list->item[1].item[1].text);
    assert_string_equal(yaml_member(yaml_member(&d.root, "map"), "a")->text, "b");
    assert_string_equal(yaml_member(&d.root, "empty")->text, "");
    assert_null(yaml_member(&d.root, "nam"));
    assert_null(yaml_member(list, "one"));
    yaml_bad(&d, &list->item[1], &e, "no %s", "good");
    assert_string_equal(e.msg, "f:5:5: no good");
    yaml_doc_free(&d);
    assert_true(yaml_read_text(&d, "f", "", 0, &e) && d.root.kind == YAML_KIND_NONE);
    yaml_doc_free(&d);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        size_t len; /* 0: to the end */
    } cases[] = {
        { "a: 1\nb: 2\na: 3\n", "f:3:1: \"a\" stands there twice", 0 },
        { "x:\n  - { k: 1, k: 2 }\n", "f:2:13: \"k\" stands there twice", 0 },
        { "a: &b 1\n", "f:1:4: anchors are not supported here", 0 },
        { "a: *b\n", "f:1:4: aliases are not supported here", 0 },
        { "&b a: 1\n", "f:1:1: anchors are not supported here", 0 },
        { "a: !!str 1\n", "f:1:4: tags are not supported here", 0 },
        { "a: 1\n---\nb: 1\n", "f:2:1: a second document", 0 },
        { "[a]: 1\n", "f:1:1: expected `name: value`", 0 },
        { "a: \"b\\0c\"\n", "f:1:4: a text holds a zero byte", 0 },
        { "a: [1, 2\nb: 3\n", "f:2:2: ", 0 },
        { "a: \t- b\n\tc", "f:", 0 },
        { "a: \xff\xfe", "byte 3", 0 },
        { "a\0b: 1\n", "f: byte 1: ", 7 },
        { "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "f:1:17: nested deeper than 16", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct yaml_doc d = { 0 };
        struct err e = { ERR_NONE, "" };
        const size_t len = cases[i].len ? cases[i].len : strlen(cases[i].text);
        if (yaml_read_text(&d, "f", cases[i].text, len, &e)) fail_msg("taken: %s", cases[i].text);
        if (!strstr(e.msg, cases[i].why)) fail_msg("%s -> %s", cases[i].text, e.msg);
        assert_int_equal(e.code, ERR_FORMAT);
        assert_null(d.name);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct yaml_doc d = { 0 };
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(16 << 20);
    for (int i = 0; i <= YAML_READ_KEYS; i++) buf_printf(&b, "k%d: 1\n", i);
    assert_false(yaml_read_text(&d, "f", b.data, b.len, &e));
    assert_string_equal(e.msg, "f:4097:1: a mapping of more than 4096 names");
    b.len = 0;
    for (int i = 0; i < YAML_READ_NODES; i++) buf_puts(&b, "-\n");
    assert_false(yaml_read_text(&d, "f", b.data, b.len, &e));
    assert_string_equal(e.msg, "f:200000:2: more than 200000 values");
    while (b.len <= YAML_READ_BYTES) buf_puts(&b, "# a long comment that says nothing\n");
    assert_false(yaml_read_text(&d, "f", b.data, b.len, &e));
    assert_string_equal(e.msg, "f: larger than 4194304 bytes");

    char path[] = "/tmp/hearth-yaml-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, b.data, b.len), b.len);
    close(fd);
    assert_false(yaml_read_file(&d, path, &e));
    assert_non_null(strstr(e.msg, ": larger than 4194304 bytes"));
    unlink(path);
    buf_free(&b);
    assert_false(yaml_read_file(&d, path, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_false(yaml_read_file(&d, "/tmp", &e));
    assert_string_equal(e.msg, "/tmp: a folder, not a YAML file");
}

struct thing {
    char *name, *note;
    struct str_list tags;
    int64_t big;
    int n;
    double x;
    bool on;
    enum { RED, GREEN } colour;
    const struct yaml_tree *rest;
};
#define F(f) offsetof(struct thing, f)
static const struct yaml_row inner[] = {
    { .key = "n", .type = YAML_INT, .offset = F(n), .min = -5, .max = 5 },
    { .key = "note", .type = YAML_STR, .offset = F(note) },
    { .key = NULL },
};
static const struct yaml_row rows[] = {
    { .key = "name", .type = YAML_STR, .offset = F(name), .needed = true },
    { .key = "tags", .type = YAML_STRS, .offset = F(tags) },
    { .key = "big", .type = YAML_WHOLE, .offset = F(big) },
    { .key = "x", .type = YAML_NUMBER, .offset = F(x) },
    { .key = "on", .type = YAML_BOOL, .offset = F(on) },
    { .key = "colour", .type = YAML_WORD, .offset = F(colour), .words = "red|green" },
    { .key = "inner", .type = YAML_WITHIN, .within = inner },
    { .key = "rest", .type = YAML_TREE, .offset = F(rest) },
    { .key = NULL },
};

static bool fill(const char *text, struct yaml_doc *d, struct thing *t, struct err *e)
{
    *t = (struct thing){ .x = 7 };
    *d = (struct yaml_doc){ 0 };
    *e = (struct err){ ERR_NONE, "" };
    return yaml_read_text(d, "f", text, strlen(text), e) && yaml_fill(d, &d->root, rows, t, e);
}

static void test_fill(void **state)
{
    (void)state;
    struct yaml_doc d;
    struct thing t;
    struct err e;
    if (!fill("name: a\ntags: [b, c]\nbig: 671026419200\nx: -0.0\non: true\ncolour: green\ninner: {n: -5, "
              "note: hi}\nrest: [1]\n",
              &d, &t, &e))
        fail_msg("%s", e.msg);
    assert_string_equal(t.name, "a");
    assert_string_equal(t.tags.v[1], "c");
    assert_true(t.big == 671026419200 && t.x == 0 && t.on && t.colour == GREEN && t.n == -5);
    assert_string_equal(t.note, "hi");
    assert_int_equal(t.rest->n, 1);
    yaml_fill_free(rows, &t);
    yaml_doc_free(&d);
    assert_true(fill("name: a\n", &d, &t, &e));
    assert_true(t.x == 7 && !*t.note && !t.rest && !t.tags.n);
    yaml_fill_free(rows, &t);
    yaml_doc_free(&d);

    static const struct {
        const char *text, *why;
    } cases[] = {
        { "tags: []\n", "f:1:1: \"name\" is missing" },
        { "name: a\nnam: b\n", "f:2:1: there is no such key as \"nam\" here" },
        { "name: a\ninner:\n  x: 1\n", "f:3:3: there is no such key as \"x\" here" },
        { "name: [a]\n", "f:1:1: name: expected one value" },
        { "name: a\ntags: b\n", "f:2:1: tags: expected a list" },
        { "name: a\ntags: [{b: c}]\n", "f:2:8: tags: expected a list of values" },
        { "name: a\nbig: 1.5\n", "f:2:1: big: expected a whole number" },
        { "name: a\nbig:\n", "f:2:1: big: expected a whole number" },
        { "name: a\nbig: -1\n", "f:2:1: big: expected a number that is not negative, got -1" },
        { "name: a\nbig: 1e19\n", "f:2:1: big must be from 0 to 9e+18, got 1e19" },
        { "name: a\nx: inf\n", "f:2:1: x: expected a number" },
        { "name: a\non: yes\n", "f:2:1: on: expected true or false" },
        { "name: a\ncolour: blue\n", "f:2:1: colour must be one of red|green, got \"blue\"" },
        { "name: a\ncolour: \"\"\n", "f:2:1: colour must be one of red|green, got \"\"" },
        { "name: a\ninner: {n: 6}\n", "f:2:9: n must be from -5 to 5, got 6" },
        { "name: a\ninner: 5\n", "f:2:1: inner: expected `name: value` lines" },
        { "- a\n", "f:1:1: expected `name: value` lines" },
        { "", "f: expected `name: value` lines" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (fill(cases[i].text, &d, &t, &e)) fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.msg, cases[i].why);
        yaml_fill_free(rows, &t);
        yaml_doc_free(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_tree), cmocka_unit_test(test_refused),
                                        cmocka_unit_test(test_limits), cmocka_unit_test(test_fill) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
