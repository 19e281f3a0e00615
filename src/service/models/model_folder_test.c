/* model_folder_test.c - folders as people have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/models/model_folder.h"

static char root[] = "/tmp/hearth-models-XXXXXX";

static void put(const char *path, size_t bytes)
{
    char full[300];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++) fputc('x', f);
    fclose(f);
}

static int make(void **state)
{
    (void)state;
    if (!mkdtemp(root)) return -1;
    put("plain.gguf", 10);
    put("single/Some-Model.Q4_1.gguf", 20);
    put("several/a-Q4.gguf", 5);
    put("several/a-Q8.gguf", 6);
    put("split/big-00001-of-00003.gguf", 1);
    put("split/big-00002-of-00003.gguf", 2);
    put("split/big-00003-of-00003.gguf", 4);
    put("folder/config.json", 1);
    put("folder/model-1.safetensors", 30);
    put("folder/model-2.safetensors", 3);
    put("picture/model_index.json", 1);
    put("picture/other-layout.safetensors", 500);
    put("picture/unet/diffusion_pytorch_model.safetensors", 40);
    put("picture/unet/diffusion_pytorch_model.fp16.safetensors", 20);
    put("picture/text_encoder_2/model-00001-of-00002.safetensors", 5);
    put("picture/text_encoder_2/model-00002-of-00002.safetensors", 6);
    put("picture/safety_checker/model.safetensors", 100);
    put("owner/repo/config.json", 1);
    put("owner/repo/model.safetensors", 7);
    put(".fetching/x.gguf", 1);
    put("single/.part.gguf", 1);
    put("single/mmproj-model.gguf", 1);
    put("adapter.safetensors", 9); /* no image checkpoint: passed over */
    put("notes.txt", 1);
    put("empty/readme", 1);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void test_scan(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
        bool image;
    } want[] = { { "a-Q4", 5, false },    { "a-Q8", 6, false },   { "folder", 33, false },
                 { "picture", 31, true }, { "plain", 10, false }, { "repo", 7, false },
                 { "single", 20, false }, { "split", 7, false } };
    struct installed_list l;
    struct err e = { ERR_NONE, "" };
    if (!model_folder_scan(root, &l, &e)) fail_msg("%s", e.msg);
    assert_int_equal(l.n, sizeof want / sizeof *want);
    for (int i = 0; i < l.n; i++) {
        assert_string_equal(l.v[i].name, want[i].name);
        assert_int_equal(l.v[i].bytes, want[i].bytes);
        assert_int_equal(l.v[i].image, want[i].image);
    }
    assert_string_equal(l.v[6].file, "Some-Model.Q4_1");
    assert_non_null(strstr(l.v[7].path, "big-00001-of-00003.gguf"));
    installed_list_free(&l);
    assert_true(model_folder_scan("/dev/null/none", &l, &e));
    assert_int_equal(l.n, 0);
    installed_list_free(&l);
}

static void test_by_path(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name, *why;
    } cases[] = { { "single", "single", NULL },        { "plain.gguf", "plain", NULL },
                  { "folder/", "folder", NULL },       { "several", NULL, "several models" },
                  { "empty", NULL, "holds no model" }, { "none", NULL, "No such file" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[300];
        struct installed m;
        struct err e = { ERR_NONE, "" };
        snprintf(path, sizeof path, "%s/%s", root, cases[i].path);
        bool ok = model_folder_at(path, &m, &e);
        assert_int_equal(ok, cases[i].name != NULL);
        if (!ok && !strstr(e.msg, cases[i].why)) fail_msg("%s", e.msg);
        if (!ok) continue;
        assert_string_equal(m.name, cases[i].name);
        installed_free(&m);
    }
}

/* What is no file is not opened (a FIFO would wait for a writer that never comes), links in circles end, and a folder that may not be
 * read hides no others. */
static void test_what_is_no_model(void **state)
{
    (void)state;
    static char dir[] = "/tmp/hearth-odd-XXXXXX";
    char path[300], command[100];
    struct installed_list l;
    struct err e = { ERR_NONE, "" };
    assert_non_null(mkdtemp(dir));
    const struct {
        const char *name, *to; /* to: NULL for a FIFO, "/" at its end for a folder */
    } odd[] = {
        { "fifo.gguf", NULL },
        { "folder", "/" },
        { "folder/fifo.gguf", NULL },
        { "inner.gguf", "/" },
        { "self", "." },
        { "round", "round" },
        { "lost.gguf", "nowhere" },
        { "device", "/" },
        { "device/x.gguf", "/dev/zero" },
        { "shut", "/" },
        { "fifo.safetensors", NULL },
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, odd[i].name);
        int rc = !odd[i].to               ? mkfifo(path, 0600)
                 : strcmp(odd[i].to, "/") ? symlink(odd[i].to, path)
                                          : mkdir(path, 0755);
        assert_int_equal(rc, 0);
    }
    struct installed m;
    bool sees;
    snprintf(path, sizeof path, "%s/fifo.gguf", dir);
    if (model_folder_at(path, &m, &e)) { /* by hand it is taken at its word, and refused by its reader */
        assert_false(model_folder_check(&m, &sees, &e));
        installed_free(&m);
    }
    assert_non_null(strstr(e.msg, "not a regular file"));
    snprintf(path, sizeof path, "%s/shut", dir);
    assert_int_equal(chmod(path, 0) | chmod(dir, 0755), 0);
    uid_t me = geteuid();
    if (!me) assert_int_equal(seteuid(65534), 0); /* root reads everything */
    bool ok = model_folder_scan(dir, &l, &e);
    if (!me) assert_int_equal(seteuid(me), 0);
    if (!ok) fail_msg("%s", e.msg);
    assert_int_equal(l.n, 0);
    assert_non_null(strstr(l.unread, "shut: Permission denied"));
    installed_list_free(&l);
    chmod(path, 0700);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scan), cmocka_unit_test(test_by_path),
                                        cmocka_unit_test(test_what_is_no_model) };
    return cmocka_run_group_tests(tests, make, clean);
}
