/* Which files a path stands for, and what happens when they do not fit together. Files are made in a fresh folder. */
#include "format/weights.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "format/gguf.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/weights_test_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void write_text(const char *name, const char *text) { write_file(name, text, strlen(text)); }

/* A safetensors file with F32 tensors of one element, `names` separated by spaces; their value is `value`. */
static void write_st(const char *name, const char *names, float value)
{
    struct buf header = BUF_INIT(0), file = BUF_INIT(0);
    char list[128];
    snprintf(list, sizeof list, "%s", names);
    size_t n = 0;
    buf_puts(&header, "{\"__metadata__\":{\"from\":\"");
    buf_printf(&header, "%s\"}", name);
    char *rest = list;
    for (char *t; (t = strsep(&rest, " "));) {
        buf_printf(&header, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", t, 4 * n,
                   4 * n + 4);
        n++;
    }
    buf_puts(&header, "}");
    uint64_t len = header.len;
    buf_append(&file, &len, 8);
    buf_append(&file, header.data, header.len);
    for (size_t i = 0; i < n; i++) buf_append(&file, &value, 4);
    write_file(name, file.data, file.len);
    buf_free(&header);
    buf_free(&file);
}

static void put(struct buf *b, uint64_t v, size_t n) { buf_append(b, &v, n); }

static void put_str(struct buf *b, const char *s)
{
    put(b, strlen(s), 8);
    buf_puts(b, s);
}

/* A GGUF file with one F32 tensor of one element, as part no of count. */
static void write_gguf(const char *name, const char *tensor, int no, int count, int total)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "GGUF");
    put(&b, 3, 4);
    put(&b, 1, 8);
    put(&b, count ? 3 : 0, 8);
    if (count) {
        const char *keys[] = { "split.no", "split.count", "split.tensors.count" };
        int values[] = { no, count, total };
        for (int i = 0; i < 3; i++) {
            put_str(&b, keys[i]);
            put(&b, GGUF_U16, 4);
            put(&b, (uint64_t)values[i], 2);
        }
    }
    put_str(&b, tensor);
    put(&b, 1, 4);
    put(&b, 1, 8);
    put(&b, 0, 4);
    put(&b, 0, 8);
    while (b.len % 32) buf_putc(&b, 0);
    put(&b, 0, 4);
    write_file(name, b.data, b.len);
    buf_free(&b);
}

static struct weights *open_ok(const char *path, size_t n)
{
    struct weights *w;
    struct err e = { 0 };
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    if (weights_count(w) != n) fail_msg("%s: expected %zu tensors, found %zu", path, n, weights_count(w));
    return w;
}

static void open_fails(const char *path, const char *message)
{
    struct weights *w = NULL;
    struct err e = { 0 };
    if (weights_open(&w, path, &e)) fail_msg("%s was accepted, expected: %s", path, message);
    if (!strstr(e.msg, message)) fail_msg("expected \"%s\", got \"%s\"", message, e.msg);
    assert_null(w);
}

static float value_of(const struct weights *w, const char *name)
{
    const struct tensor *t = weights_find(w, name);
    assert_non_null(t);
    float v;
    memcpy(&v, t->data, sizeof v);
    return v;
}

static void single_files(void **state)
{
    (void)state;
    write_st("one.safetensors", "a b", 1.5f);
    write_text("config.json", "{\"model_type\":\"llama\"}");
    struct weights *w = open_ok(in_dir("one.safetensors"), 2);
    assert_true(value_of(w, "b") == 1.5f && weights_bytes(w) == 8 && !weights_find(w, "c") &&
                !weights_gguf(w));
    assert_string_equal(json_string_value(json_object_get(weights_config(w), "model_type")), "llama");
    assert_string_equal(weights_note(w, "from"), "one.safetensors");
    assert_null(weights_note(w, "absent"));
    assert_string_equal(weights_at(w, 1)->name, "b");
    char want[80];
    snprintf(want, sizeof want, "%s/", dir);
    assert_string_equal(weights_dir(w), want);
    weights_forget(w, weights_at(w, 0));
    assert_true(value_of(w, "a") == 1.5f); /* comes back from the file */
    weights_close(w);

    write_gguf("one.gguf", "x", 0, 0, 0);
    w = open_ok(in_dir("one.gguf"), 1);
    assert_true(weights_gguf(w) && !weights_config(w) && !weights_note(w, "from"));
    weights_close(w);
    write_gguf("blob-without-a-name", "x", 0, 0, 0);
    weights_close(open_ok(in_dir("blob-without-a-name"), 1));
    write_st("blob2", "a", 1);
    weights_close(open_ok(in_dir("blob2"), 1));
    weights_close(open_ok("tests/golden/readers/tiny.gguf", 3));
}

static void folders(void **state)
{
    (void)state;
    open_fails(dir, "holds no .safetensors or .gguf file");
    write_gguf("m-Q4.gguf", "x", 0, 0, 0);
    write_gguf("mmproj-m.gguf", "y", 0, 0, 0);
    struct weights *w = open_ok(dir, 1);
    assert_non_null(weights_find(w, "x"));
    weights_close(w);
    write_gguf("m-Q8.gguf", "x", 0, 0, 0);
    open_fails(dir, "holds several models, among them m-Q4.gguf and m-Q8.gguf");

    write_st("part1.safetensors", "a", 1);
    write_st("part2.safetensors", "b", 2);
    w = open_ok(dir, 2);
    assert_true(value_of(w, "a") == 1 && value_of(w, "b") == 2);
    weights_close(w);
    write_st("part3.safetensors", "b", 3);
    open_fails(dir, "tensor b is in more than one file, among them part3.safetensors");

    write_st("model.safetensors", "c", 4); /* the usual name wins over whatever else lies there */
    w = open_ok(dir, 1);
    assert_true(value_of(w, "c") == 4);
    weights_close(w);

    /* Also over an index that has stayed behind, whether what it names is there or not. */
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"c\":\"model-00001-of-00002.safetensors\"}}");
    w = open_ok(dir, 1);
    assert_true(value_of(w, "c") == 4);
    weights_close(w);
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"c\":\"");
    weights_close(open_ok(dir, 1));

    /* An index decides where two files have the same name; what it leaves out is still there. Python may have written it. */
    assert_int_equal(unlink(in_dir("model.safetensors")), 0);
    write_st("part4.safetensors", "c", 4);
    write_text("model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":8,\"x\":[NaN,-Infinity]},\"weight_map\":"
               "{\"a\":\"part1.safetensors\",\"b\":\"part3.safetensors\","
               "\"c\":\"part4.safetensors\"}}");
    w = open_ok(dir, 3);
    assert_true(value_of(w, "a") == 1 && value_of(w, "b") == 3 && value_of(w, "c") == 4);
    weights_close(w);
    weights_close(open_ok(in_dir("model.safetensors.index.json"), 3));
}

static void image_pipeline_folder(void **state)
{
    (void)state;
    write_text("model_index.json", "{}");
    open_fails(dir, "holds an image pipeline");
}

static void numbered_safetensors(void **state)
{
    (void)state;
    write_st("model-00001-of-00002.safetensors", "a", 1);
    open_fails(dir, "model-00002-of-00002.safetensors is missing, one of the 2 files");
    write_st("model-00002-of-00002.safetensors", "b", 2);
    weights_close(open_ok(dir, 2));
    weights_close(open_ok(in_dir("model-00002-of-00002.safetensors"), 2));
}

static void split_gguf(void **state)
{
    (void)state;
    write_gguf("m-00001-of-00003.gguf", "a", 0, 3, 3);
    write_gguf("m-00002-of-00003.gguf", "b", 1, 3, 3);
    open_fails(in_dir("m-00001-of-00003.gguf"), "m-00003-of-00003.gguf is missing, one of the 3 files");
    write_gguf("m-00003-of-00003.gguf", "c", 2, 3, 3);
    struct weights *w = open_ok(in_dir("m-00001-of-00003.gguf"), 3);
    assert_true(weights_find(w, "a") && weights_find(w, "c") &&
                gguf_int(weights_gguf(w), "split.no", -1) == 0);
    weights_close(w);
    weights_close(open_ok(dir, 3));

    write_gguf("m-00003-of-00003.gguf", "c", 1, 3, 3);
    open_fails(dir, "m-00003-of-00003.gguf: by its name expected part 3 of 3, the file says part 2 of 3");
    write_gguf("m-00003-of-00003.gguf", "c", 2, 3, 3);
    write_gguf("m-00001-of-00003.gguf", "a", 0, 3, 4);
    open_fails(dir, "expected 4 tensors in all parts, found 3");
    write_gguf("m-00001-of-00003.gguf", "b", 0, 3, 3);
    open_fails(dir, "tensor b is in more than one file");
    write_gguf("alone.gguf", "a", 0, 2, 2);
    open_fails(in_dir("alone.gguf"), "by its name expected part 1 of 1, the file says part 1 of 2");
    write_gguf("n-00001-of-99999.gguf", "a", 0, 2, 2);
    open_fails(in_dir("n-00001-of-99999.gguf"), "more than 4096 weight files");
}

static void bad_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "is empty" },
        { "[]", "not a JSON object" },
        { "{}", "expected a weight_map" },
        { "{\"weight_map\":{}}", "expected a weight_map" },
        { "{\"weight_map\":[]}", "weight_map is not an object" },
        { "{\"weight_map\":{\"a\":1}}", "weight_map: not valid JSON after 0 entries" },
        { "{\"weight_map\":{\"a\":\"s.safetensors\"", "weight_map: not valid JSON after 1 entries" },
        { "{\"weight_map\":{\"a\":\"s.safetensors\"}}x", "expected nothing after" },
        { "{\"weight_map\":{\"a\":\"../s.safetensors\"}}",
          "a: expected the name of a .safetensors file in the same" },
        { "{\"weight_map\":{\"a\":\"/etc/s.safetensors\"}}", "a: expected the name of" },
        { "{\"weight_map\":{\"a\":\"sub/s.safetensors\"}}", "a: expected the name of" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "a: expected the name of" },
        { "{\"weight_map\":{\"a\":\"\"}}", "a: expected the name of" },
        { "{\"weight_map\":{\"a\":\"index.json\"}}", "a: expected the name of" },
        { "{\"weight_map\":{\"a\\n\":\"s.safetensors\"}}", "entry 0 has no printable name" },
        { "{\"weight_map\":{\"a\":\"missing.safetensors\"}}", "missing.safetensors is missing" },
        { "{\"weight_map\":{\"z\":\"s.safetensors\"}}",
          "the index lists z in s.safetensors, which does not have it" },
        { "{\"weight_map\":{\"a\":\"s.safetensors\",\"a\":\"t.safetensors\"}}",
          "the index lists a in s.safetensors and in t.safetensors" },
    };
    write_st("s.safetensors", "a", 1);
    write_st("t.safetensors", "a", 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("model.safetensors.index.json", cases[i].text);
        open_fails(dir, cases[i].message);
    }
}

static void not_model_files(void **state)
{
    (void)state;
    open_fails(in_dir("absent"), "No such file");
    write_text("empty.gguf", "");
    open_fails(in_dir("empty.gguf"), "is empty");
    write_text("lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    open_fails(in_dir("lfs.safetensors"), "lfs.safetensors: a Git LFS pointer");
    write_text("page.gguf", "<!DOCTYPE html><html>");
    open_fails(in_dir("page.gguf"), "page.gguf: not a GGUF file");
    write_text("page.safetensors", "<!DOCTYPE html><html>");
    open_fails(in_dir("page.safetensors"), "page.safetensors: expected a header of at most");
    write_text("pytorch_model.bin", "PK\x03\x04 and so on");
    open_fails(in_dir("pytorch_model.bin"), "PyTorch pickle");
    assert_int_equal(mkdir(in_dir("pickles"), 0700), 0);
    write_text("pickles/pytorch_model-00001-of-00002.bin", "PK\x03\x04 and so on");
    write_text("pickles/config.json", "{}");
    open_fails(in_dir("pickles"), "holds its weights as pytorch_model-00001-of-00002.bin, a PyTorch pickle");
    write_text("lost.safetensors.index.json", "{\"weight_map\":{\"a\":\"lost-2.safetensors\"}}");
    open_fails(in_dir("lost.safetensors.index.json"),
               "lost-2.safetensors is missing, one of the 1 files of this model");
    assert_int_equal(mkfifo(in_dir("fifo.gguf"), 0600), 0);
    open_fails(in_dir("fifo.gguf"), "not a regular file");
    assert_int_equal(symlink("loop.gguf", in_dir("loop.gguf")), 0);
    open_fails(in_dir("loop.gguf"), "cannot open");

    write_st("model.safetensors", "a", 1);
    write_text("config.json", "{\"a\":");
    open_fails(in_dir("model.safetensors"), "config.json: line 1");
    write_text("config.json", "[1]");
    open_fails(in_dir("model.safetensors"), "config.json: expected an object");
}

int main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(single_files),         IN_DIR(folders),    IN_DIR(image_pipeline_folder),
        IN_DIR(numbered_safetensors), IN_DIR(split_gguf), IN_DIR(bad_indexes),
        IN_DIR(not_model_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
