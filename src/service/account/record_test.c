/* record_test.c - what is kept of a request and its answer: bodies of every kind there and back, with another seed, and what is said of
 * a record that cannot be made, found or used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/account/record.h"

#define JSON "{\"Content-Type\":\"application/json\"}"
#define FORM "{\"Content-Type\":\"multipart/form-data; boundary=x\"}"
#define PART "--x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--x--\r\n"
#define SEED(n) "--x\r\nContent-Disposition: form-data; name=\"seed\"\r\n\r\n" n "\r\n"

static char dir[64], path[80];
static struct store *store;

static bool put(void *arg, struct session *c, struct err *e) { return record_put(arg, c, e); }

/* Made of a request with this body and an answer, put into the store and read back. */
static void keep(const char *uid, const char *headers, const char *body, struct record *back)
{
    struct recording from = {
        .headers = strdup(headers), .body = BUF_INIT(0), .type = "application/json", .answer = BUF_INIT(0)
    };
    struct record r;
    struct err e = { ERR_NONE, "" };
    char hash[65];
    assert_true(buf_puts(&from.body, body) && buf_puts(&from.answer, "{\"id\":1,\"b\":2}"));
    assert_true(record_make(&r, uid, 5, "/v1/x", &from, hash));
    assert_null(from.headers); /* they are the record's now */
    assert_int_equal(strlen(hash), 64);
    if (!store_write(store, put, &r, &e) || !record_get(store, uid, back, &e)) fail_msg("%s", e.msg);
    assert_string_equal(back->answer, "{\"b\":2}");
    assert_string_equal(back->path, "/v1/x");
    assert_int_equal(back->body.len, strlen(body));
    if (*body) assert_memory_equal(back->body.data, body, strlen(body));
    record_free(&r);
    buf_free(&from.answer);
}

static void test_seeds(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *body, *seed, *again; /* again NULL: refused */
    } cases[] = {
        { JSON, "{\"a\":1,\"seed\":3}", "7", "{\"a\":1,\"seed\":7}" },
        { JSON, "{\"a\":1}", "", "{\"a\":1}" },
        { JSON, "[1]", "7", NULL },
        { JSON, "", "7", NULL },
        { "{}", "{\"a\":1}", "7", "{\"a\":1,\"seed\":7}" }, /* a body of no type is JSON */
        { FORM, PART, "7", SEED("7") PART },
        { FORM, PART, "", PART },
        { FORM, SEED("3") PART, "7", SEED("3") PART }, /* the form's own holds */
        { FORM, "", "7", NULL },
        { FORM, "no form", "7", NULL },
        { FORM, "no\nform", "7", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct record back;
        struct buf again = BUF_INIT(0);
        struct err e = { ERR_NONE, "" };
        char uid[33];
        snprintf(uid, sizeof uid, "%032zu", i);
        keep(uid, cases[i].headers, cases[i].body, &back);
        const bool ok = record_with_seed(&back, cases[i].seed, &again, &e);
        assert_int_equal(ok, cases[i].again != NULL);
        if (ok)
            assert_string_equal(again.data, cases[i].again);
        else
            assert_true(e.code == ERR_FORMAT && strstr(e.msg, "the recorded body is no "));
        buf_free(&again);
        record_free(&back);
    }
}

/* An answer that was too long to be kept: the request is, with no answer and no hash, so that nobody takes it for the same. */
static void test_too_long(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct recording from = { .headers = strdup(JSON), .body = BUF_INIT(0), .answer = BUF_INIT(0) };
        struct record r;
        char hash[65] = "x";
        strcpy(from.type, "application/json");
        from.answer.failed = i == 0; /* otherwise it is empty, which is no JSON */
        assert_true(record_make(&r, "u", 5, "/v1/x", &from, hash));
        assert_string_equal(hash, "");
        assert_string_equal(r.answer, "");
        record_free(&r);
    }
    struct recording bare = { .headers = NULL, .type = "image/png", .answer = BUF_INIT(0) };
    struct record r;
    char hash[65];
    assert_false(record_make(&r, "u", 5, "/v1/x", &bare, hash)); /* there was no memory for its headers */
    assert_null(r.path);
}

static bool run_sql(void *arg, struct session *c, struct err *e)
{
    return session_run(c, arg, STORE_NO_ARGS, NULL, NULL, e);
}

static void test_got(void **state)
{
    (void)state;
    struct record back;
    struct err e = { ERR_NONE, "" };
    assert_false(record_get(store, "nobody", &back, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "--record"));
    keep("changed", FORM, PART, &back);
    record_free(&back);
    assert_true(store_write(store, run_sql, "UPDATE records SET body = '!' WHERE uid = 'changed'", &e));
    assert_false(record_get(store, "changed", &back, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "changed has a body that is not base64"));
    assert_null(back.path);
}

static int set_up(void **state)
{
    struct err e;
    (void)state;
    strcpy(dir, "/tmp/hearth-record-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/a.db", dir);
    return store_open(&store, path, &(struct store_options){ .busy_s = 120 }, &e) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    store_close(store);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_seeds), cmocka_unit_test(test_too_long),
                                        cmocka_unit_test(test_got) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
