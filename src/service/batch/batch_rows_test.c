/* batch_rows_test.c - files and batches on every kind of store: whose they are, in pages, from state to state, and to their end. */
#include "store/test_places.h"

#include "service/account/line_answer.h"
#include "service/batch/batch_rows.h"

#define NOW INT64_C(1750000000000)

static struct file_row file(const char *id, const char *owner, int64_t bytes, int64_t made_ms)
{
    struct file_row r = { .bytes = bytes, .start = 7, .made_ms = made_ms };
    snprintf(r.id, sizeof r.id, "%s", id);
    snprintf(r.owner, sizeof r.owner, "%s", owner);
    snprintf(r.name, sizeof r.name, "n");
    snprintf(r.purpose, sizeof r.purpose, "batch");
    return r;
}

/* Ids with a space behind each. */
static void note_file(void *arg, const struct file_row *r)
{
    snprintf((char *)arg + strlen(arg), 100 - strlen(arg), "%s ", r->id);
}
static void note_batch(void *arg, const struct batch_row *r)
{
    snprintf((char *)arg + strlen(arg), 100 - strlen(arg), "%s ", r->id);
}
static void note_id(void *arg, const char *id) { snprintf((char *)arg + strlen(arg), 50, "%s ", id); }

static void expect_files(struct store *s, const char *after, bool ascending, int limit, const char *want,
                         bool want_more)
{
    char got[100] = "";
    bool more;
    struct err e = { 0 };
    const struct file_page p = { "me", "", after, ascending, limit, NOW };
    if (!file_rows_list(s, &p, note_file, got, &more, &e)) fail_msg("%s", e.msg);
    assert_string_equal(got, want);
    assert_int_equal(more, want_more);
}

static void each_files(struct places *p, enum place kind)
{
    char where[200], got[100] = "";
    struct err e = { 0 };
    struct file_row r = file("f-a", "me", 60, NOW - 5), of;
    bool known, more;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    if (!file_rows_add(s, &r, 100, &e)) fail_msg("%s", e.msg);
    r = file("f-b", "me", 41, NOW - 4);
    assert_false(file_rows_add(s, &r, 100, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    r.bytes = 40;
    r.expires_ms = NOW + 1000;
    assert_true(file_rows_add(s, &r, 100, &e));
    r = file("f-c", "me", 0, NOW - 4); /* of the same moment */
    assert_true(file_rows_add(s, &r, 100, &e));
    r = file("f-d", "other", 100, NOW - 3);
    assert_true(file_rows_add(s, &r, 100, &e));

    expect_files(s, "", false, 10, "f-c f-b f-a ", false);
    expect_files(s, "", true, 2, "f-a f-b ", true);
    expect_files(s, "f-b", true, 2, "f-c ", false);
    expect_files(s, "f-c", false, 1, "f-b ", true);
    struct file_page page = { "me", "batch_output", "", true, 9, NOW };
    assert_true(file_rows_list(s, &page, note_file, got, &more, &e) && !*got);
    page = (struct file_page){ "me", "", "f-d", true, 9, NOW };
    assert_false(file_rows_list(s, &page, note_file, got, &more, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);

    assert_true(file_rows_get(s, "me", "f-b", NOW, &of, &e) && of.bytes == 40 && of.start == 7);
    assert_false(file_rows_get(s, "me", "f-b", NOW + 1000, &of, &e)); /* its time is over */
    assert_false(file_rows_get(s, "me", "f-d", NOW, &of, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(file_rows_get(s, NULL, "f-d", NOW, &of, &e));
    assert_true(file_rows_known(s, "f-b", &known, &e) && known);
    assert_true(file_rows_expire(s, NOW + 2000, note_id, got, &e));
    assert_string_equal(got, "f-b ");
    assert_true(file_rows_known(s, "f-b", &known, &e) && !known);
    assert_false(file_rows_remove(s, "me", "f-d", &e));
    assert_true(file_rows_remove(s, "me", "f-a", &e));
    assert_false(file_rows_remove(s, "me", "f-a", &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    store_close(s);
}

static void add_batch(struct store *s, const char *id, const char *owner, int64_t made_ms)
{
    struct err e = { 0 };
    char metadata[] = "{\"a\":\"b\"}";
    struct batch_row r = {
        .metadata = metadata, .window_s = 60, .made_ms = made_ms, .expires_ms = made_ms + 60000
    };
    snprintf(r.id, sizeof r.id, "%s", id);
    snprintf(r.owner, sizeof r.owner, "%s", owner);
    snprintf(r.asker, sizeof r.asker, "key:k");
    snprintf(r.address, sizeof r.address, "127.0.0.1");
    snprintf(r.endpoint, sizeof r.endpoint, "/v1/embeddings");
    snprintf(r.input_file, sizeof r.input_file, "f-in");
    if (!batch_rows_add(s, &r, &e)) fail_msg("%s", e.msg);
}

static bool put_answer(void *arg, struct session *c, struct err *e) { return line_answer_put(arg, c, e); }

static void answer(struct store *s, const char *batch, int64_t line, int status)
{
    struct err e = { 0 };
    char body[] = "{}";
    struct line_answer a = { .line = line, .status = status, .body = body };
    snprintf(a.batch, sizeof a.batch, "%s", batch);
    snprintf(a.request, sizeof a.request, "r%d", (int)line);
    if (!store_write(s, put_answer, &a, &e)) fail_msg("%s", e.msg);
}

static bool note_answer(void *arg, const struct batch_answer *a, struct err *e)
{
    (void)e;
    snprintf((char *)arg + strlen(arg), 100 - strlen(arg), "%d:%d:%s:%s ", (int)a->line, (int)a->status,
             a->request, a->body);
    return true;
}

static void note_line(void *arg, int64_t line) { *(int64_t *)arg += line; }

static bool look(void *arg, struct session *c, struct err *e)
{
    bool *has = arg;
    return batch_lines_has(c, "b-a", 9, &has[0], e) && batch_lines_has(c, "b-a", 8, &has[1], e);
}

static void each_batches(struct places *p, enum place kind)
{
    char where[200], got[100] = "";
    struct err e = { 0 };
    struct batch_row r;
    bool moved, more, has[2];
    int64_t sum = 0;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    add_batch(s, "b-a", "me", NOW);
    add_batch(s, "b-b", "me", NOW + 1);
    add_batch(s, "b-c", "other", NOW + 2);
    assert_true(batch_rows_get(s, "me", "b-a", &r, &e) && r.state == BATCH_VALIDATING && r.window_s == 60);
    assert_string_equal(r.metadata, "{\"a\":\"b\"}");
    assert_string_equal(r.asker, "key:k");
    batch_row_free(&r);
    assert_false(batch_rows_get(s, "me", "b-c", &r, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(batch_rows_list(s, "me", "", 1, note_batch, got, &more, &e) && more);
    assert_true(batch_rows_list(s, "me", "b-b", 5, note_batch, got, &more, &e) && !more);
    assert_string_equal(got, "b-b b-a ");
    assert_false(batch_rows_list(s, "me", "b-c", 5, note_batch, got, &more, &e));
    *got = 0;
    assert_true(batch_rows_open(s, 2, note_batch, got, &e));
    assert_string_equal(got, "b-a b-b ");

    assert_true(batch_rows_move(s, "b-a", BATCH_VALIDATING, BATCH_IN_PROGRESS, NOW + 5, 3, NULL, &moved, &e));
    assert_true(moved);
    assert_true(batch_rows_move(s, "b-a", BATCH_VALIDATING, BATCH_IN_PROGRESS, NOW + 6, 3, NULL, &moved, &e));
    assert_false(moved);
    struct file_row in = file("f-in", "me", 1, NOW), out = file("f-out", "me", 2, NOW);
    assert_true(file_rows_add(s, &in, 10, &e));
    assert_false(file_rows_remove(s, "me", "f-in", &e)); /* it is being read */
    assert_int_equal(e.code, ERR_REQUEST);

    answer(s, "b-a", 9, 404);
    answer(s, "b-a", 1, 200);
    answer(s, "b-a", 1, 500); /* the first one stays */
    assert_true(batch_rows_get(s, NULL, "b-a", &r, &e));
    assert_true(r.total == 3 && r.done == 1 && r.failed == 1 && r.at_ms[BATCH_IN_PROGRESS] == NOW + 5);
    batch_row_free(&r);
    assert_true(batch_lines_each(s, "b-a", note_line, &sum, &e) && sum == 10);
    *got = 0;
    assert_true(batch_lines_page(s, "b-a", 0, 1, note_answer, got, &e));
    assert_true(batch_lines_page(s, "b-a", 1, 5, note_answer, got, &e));
    assert_string_equal(got, "1:200:r1:{} 9:404:r9:{} ");
    assert_true(store_read(s, look, has, &e) && has[0] && !has[1]);

    assert_false(batch_rows_cancel(s, "other", "b-a", NOW, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(batch_rows_cancel(s, "me", "b-a", NOW + 7, &e));
    assert_true(batch_rows_cancel(s, "me", "b-a", NOW + 8, &e));
    assert_true(batch_rows_move(s, "b-a", BATCH_IN_PROGRESS, BATCH_FINALIZING, NOW, -1, NULL, &moved, &e));
    assert_false(moved);
    for (int i = 0; i < 2; i++) /* once more after a kill */
        if (!batch_rows_close(s, "b-a", BATCH_CANCELLED, NOW + 9, &out, NULL, &e)) fail_msg("%s", e.msg);
    assert_true(batch_rows_get(s, "me", "b-a", &r, &e) && r.state == BATCH_CANCELLED &&
                r.at_ms[BATCH_CANCELLING] == NOW + 7 && r.at_ms[BATCH_CANCELLED] == NOW + 9);
    assert_string_equal(r.output_file, "f-out");
    assert_string_equal(r.error_file, "");
    batch_row_free(&r);
    sum = 0;
    assert_true(batch_lines_each(s, "b-a", note_line, &sum, &e) && sum == 0);
    assert_false(batch_rows_cancel(s, "me", "b-a", NOW, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_true(batch_rows_move(s, "b-b", BATCH_VALIDATING, BATCH_FAILED, NOW, -1, "[1]", &moved, &e) &&
                moved);
    assert_true(batch_rows_get(s, "me", "b-b", &r, &e) && r.state == BATCH_FAILED);
    assert_string_equal(r.errors, "[1]");
    batch_row_free(&r);
    store_close(s);
}

static void test_files(void **state)
{
    for (int kind = 0; kind < N_PLACES; kind++) each_files(*state, (enum place)kind);
}

static void test_batches(void **state)
{
    for (int kind = 0; kind < N_PLACES; kind++) each_batches(*state, (enum place)kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_files), cmocka_unit_test(test_batches) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
