/* Whole tokenizer folders as they are published, each with one thing that is easy to read wrongly: ids, ends and templates against the
 * reference (tests/golden/tokenizer/files/NAME/expect.json, made by tools/reference/tokenizer/make_files.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"

#define FILES "tests/golden/tokenizer/files/"

static int n_bad; /* of one folder; every difference is printed before the test fails */

static void check_ids(const struct tokenizer *t, const char *name, const json_t *one, const char *key,
                      unsigned flags)
{
    const json_t *text = json_object_get(one, "text"), *want = json_object_get(one, key);
    if (!want) return;
    struct token_list l = { 0 };
    struct err e = { 0 };
    if (!tokenizer_encode(t, json_string_value(text), json_string_length(text), NULL, true, flags, &l, &e)) {
        print_error("%s: \"%s\": %s\n", name, json_string_value(text), e.msg);
        n_bad++;
        return;
    }
    bool same = l.n == json_array_size(want);
    for (size_t i = 0; same && i < l.n; i++) same = l.id[i] == json_integer_value(json_array_get(want, i));
    if (!same) {
        n_bad++;
        print_error("%s: %s of \"%s\"\n  got ", name, key, json_string_value(text));
        for (size_t i = 0; i < l.n; i++) print_error(" %d", (int)l.id[i]);
        print_error("\n  want");
        for (size_t i = 0; i < json_array_size(want); i++)
            print_error(" %d", (int)json_integer_value(json_array_get(want, i)));
        print_error("\n");
    }
    token_list_free(&l);
}

static void check_string(const char *name, const char *what, const char *got, const json_t *want)
{
    if (!want || strcmp(got ? got : "(none)", json_string_value(want)) == 0) return;
    print_error("%s: %s is \"%s\", not \"%s\"\n", name, what, got ? got : "(none)", json_string_value(want));
    n_bad++;
}

static void check_all(const struct tokenizer *t, const char *name, const json_t *want)
{
    json_t *one;
    size_t i;
    const char *key;
    json_array_foreach(json_object_get(want, "texts"), i, one)
    {
        check_ids(t, name, one, "ids", 0);
        check_ids(t, name, one, "around", TOK_BOS);
    }
    json_object_foreach(json_object_get(want, "names"), key, one)
    {
        check_string(name, key, tokenizer_named(t, key), one);
    }
    check_string(name, "the template", tokenizer_chat_template(t), json_object_get(want, "template"));
    check_string(name, "its place", tokenizer_chat_template_from(t), json_object_get(want, "from"));
    const json_t *eos = json_object_get(want, "eos");
    if (eos && (tokenizer_eos(t) != json_integer_value(eos) || !tokenizer_is_end(t, tokenizer_eos(t)))) {
        print_error("%s: the end is %d\n", name, (int)tokenizer_eos(t));
        n_bad++;
    }
}

static void check_folder(const char *name)
{
    char path[400];
    json_error_t why;
    struct tokenizer *t = NULL;
    struct err e = { 0 };
    snprintf(path, sizeof path, FILES "%s/expect.json", name);
    json_t *want = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!want) fail_msg("%s: line %d: %s", path, why.line, why.text);
    snprintf(path, sizeof path, FILES "%s", name);
    const json_t *error = json_object_get(want, "error");
    n_bad = 0;
    if (!tokenizer_from_dir(&t, path, &e)) {
        if (!error) fail_msg("%s: %s", name, e.msg);
        if (!strstr(e.msg, json_string_value(error))) fail_msg("%s: the error is \"%s\"", name, e.msg);
        json_decref(want);
        return;
    }
    if (error) fail_msg("%s: taken, where the error should say \"%s\"", name, json_string_value(error));
    check_all(t, name, want);
    tokenizer_free(t);
    /* the same as a GGUF file, where there is one */
    struct weights *w = NULL;
    snprintf(path, sizeof path, FILES "%s/tokenizer.gguf", name);
    if (access(path, F_OK) == 0) {
        if (!weights_open(&w, path, &e) || !tokenizer_from_gguf(&t, weights_gguf(w), &e))
            fail_msg("%s: %s", path, e.msg);
        snprintf(path, sizeof path, "%s as GGUF", name);
        check_all(t, path, want);
        tokenizer_free(t);
        weights_close(w);
    }
    json_decref(want);
    if (n_bad) fail_msg("%s: %d differences from the reference", name, n_bad);
}

static void test_folder(void **state) { check_folder(*state); }

int main(void)
{
    struct CMUnitTest tests[256];
    struct dirent **entry;
    int n = 0, found = scandir(FILES, &entry, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        if (entry[i]->d_name[0] == '.' || n == 256) continue;
        tests[n++] =
            (struct CMUnitTest){ strdup(entry[i]->d_name), test_folder, NULL, NULL, entry[i]->d_name };
        tests[n - 1].initial_state = (void *)tests[n - 1].name;
    }
    if (n < 4) {
        fprintf(stderr, "%s: no folders to test\n", FILES);
        return 1;
    }
    int failed = _cmocka_run_group_tests("tokenizer files", tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) free((void *)tests[i].name);
    for (int i = 0; i < found; i++) free(entry[i]);
    if (found >= 0) free(entry);
    return failed;
}
