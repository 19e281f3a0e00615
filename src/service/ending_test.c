/* ending_test.c - an ending comes once, after the last one that holds it, with what all of them said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "service/ending.h"

struct seen {
    atomic_int n;
    int completion_tokens, steps, status;
    enum end_how how;
    char id[PRINCIPAL_ID], model[40], note[40], path[40];
};

static void look(void *arg, const struct ending *e)
{
    struct seen *s = arg;
    s->completion_tokens = e->usage.completion_tokens;
    s->steps = e->usage.steps;
    s->status = e->status;
    s->how = e->how;
    strcpy(s->id, e->of.who.id);
    strcpy(s->model, e->model);
    strcpy(s->note, e->note);
    strcpy(s->path, e->path);
    atomic_fetch_add(&s->n, 1);
}

static void test_once(void **state)
{
    (void)state;
    struct seen a = { 0 }, b = { 0 };
    struct ending_sinks sinks = { .v = { { look, &a }, { look, &b } }, .n = 2 };
    struct identity of = { .id = "req_1", .endpoint = "chat" };
    char path[] = "/v1/x";
    principal_of_key(&of.who, "k", 1);
    struct ending *e = ending_open(&sinks, &of, path);
    path[1] = '?';
    ending_hold(e);
    ending_hold(e);
    assert_int_equal(sinks.open, 1);
    ending_model(e, "m");
    ending_went(e, END_LEFT, 499, "gone");
    ending_let_go(e); /* the connection */
    ending_use(e, &(struct usage){ .completion_tokens = 3 });
    ending_let_go(e); /* a job that the cancel reached */
    assert_int_equal(a.n, 0);
    ending_use(e, &(struct usage){ .completion_tokens = 4, .steps = 2 });
    ending_let_go(e);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 1);
    assert_int_equal(sinks.open, 0);
    assert_int_equal(a.completion_tokens, 7);
    assert_int_equal(a.steps, 2);
    assert_int_equal(a.status, 499);
    assert_int_equal(a.how, END_LEFT);
    assert_string_equal(a.model, "m");
    assert_string_equal(a.note, "gone");
    assert_string_equal(a.path, "/v1/x");
    assert_string_equal(a.id, of.who.id);
}

struct books {
    struct seen seen;
    int told;
    double seconds;
};

static void take(void *arg, struct ending *e, void (*told)(void *), void *told_arg)
{
    struct books *b = arg;
    look(&b->seen, e);
    b->seconds = e->seconds;
    if (told) told(told_arg);
}

static void count(void *arg) { ++*(int *)arg; }

/* The books have a request once: when its answer is whole, or at its end. */
static void test_books(void **state)
{
    (void)state;
    struct seen end = { 0 };
    struct books b = { 0 };
    struct ending_sinks sinks = { .v = { { look, &end } }, .n = 1, .books = { take, &b } };
    const struct identity of = { .endpoint = "chat" };
    struct ending *e = ending_open(&sinks, &of, "/");
    assert_int_equal(e->slot, -1);
    ending_hold(e);
    assert_false(ending_book(e, END_DONE, 200, "", count, &b.told)); /* a job is at work */
    ending_use(e, &(struct usage){ .completion_tokens = 3 });
    ending_let_go(e);
    assert_int_equal(b.seen.n, 0);
    assert_true(ending_book(e, END_DONE, 200, "made", count, &b.told));
    assert_int_equal(b.told, 1);
    assert_int_equal(b.seen.completion_tokens, 3);
    assert_int_equal(b.seen.how, END_DONE);
    assert_string_equal(b.seen.note, "made");
    assert_false(ending_book(e, END_DONE, 200, "", count, &b.told)); /* once */
    ending_went(e, END_LEFT, 499, "its reader left"); /* the log has it, the books are closed */
    ending_let_go(e);
    assert_int_equal(end.how, END_LEFT);
    assert_int_equal(b.seen.n, 1);
    e = ending_open(&sinks, &of, "/"); /* one that never came to an answer */
    ending_went(e, END_LEFT, 499, "");
    ending_let_go(e);
    assert_int_equal(b.seen.n, 2);
    assert_int_equal(b.seen.how, END_LEFT);
    assert_int_equal(b.told, 1);
    sinks.books.take = NULL;
    e = ending_open(&sinks, &of, "/");
    assert_false(ending_book(e, END_DONE, 200, "", count, &b.told));
    ending_let_go(e);
    assert_false(ending_book(NULL, END_DONE, 200, "", count, &b.told));
    assert_int_equal(end.n, 3);
}

static void *worker(void *arg)
{
    struct ending *e = arg;
    ending_use(e, &(struct usage){ .completion_tokens = 1 });
    ending_let_go(e);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { N = 8, ROUNDS = 200 };
    struct seen s = { 0 };
    struct ending_sinks sinks = { .v = { { look, &s } }, .n = 1 };
    const struct identity of = { .endpoint = "chat" };
    for (int r = 0; r < ROUNDS; r++) {
        pthread_t t[N];
        struct ending *e = ending_open(&sinks, &of, "/");
        for (int i = 0; i < N; i++) {
            ending_hold(e);
            assert_int_equal(pthread_create(&t[i], NULL, worker, e), 0);
        }
        ending_let_go(e);
        for (int i = 0; i < N; i++) pthread_join(t[i], NULL);
        assert_int_equal(s.n, r + 1);
        assert_int_equal(s.completion_tokens, N);
    }
}

/* What the command line does not count. */
static void test_nobody(void **state)
{
    (void)state;
    ending_hold(NULL);
    ending_use(NULL, &(struct usage){ .steps = 1 });
    ending_model(NULL, "m");
    ending_went(NULL, END_DONE, 200, "");
    ending_let_go(NULL);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < N_END_HOW; i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(end_how_name(i), end_how_name(k));
}

static void test_principals(void **state)
{
    (void)state;
    struct principal a, b, none, empty;
    principal_of_key(&a, "first-key and more", 9);
    principal_of_key(&b, "first-key", 9);
    assert_memory_equal(a.hash, b.hash, PRINCIPAL_HASH);
    assert_string_equal(a.id, b.id);
    assert_int_equal(strlen(a.id), 14);
    assert_null(strstr(a.id, "first"));
    principal_of_key(&b, "second-key", 10);
    assert_memory_not_equal(a.hash, b.hash, PRINCIPAL_HASH);
    assert_string_not_equal(a.id, b.id);
    principal_of_key(&none, NULL, 0);
    principal_of_key(&empty, "", 0);
    assert_string_equal(none.id, "anonymous");
    assert_memory_equal(none.hash, empty.hash, PRINCIPAL_HASH);
    assert_false(a.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),  cmocka_unit_test(test_threads),    cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_names), cmocka_unit_test(test_principals), cmocka_unit_test(test_books),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
