/* audit_test.c - the chain of what administrators did, on every kind of store: whole, and with each thing that can be done to it found. */
#include "store/test_places.h"

#include "service/account/audit.h"

static bool run_sql(void *arg, struct session *c, struct err *e)
{
    return session_run(c, arg, STORE_NO_ARGS, NULL, NULL, e);
}

static void run(struct store *s, const char *sql)
{
    struct err e;
    if (!store_write(s, run_sql, (void *)sql, &e)) fail_msg("%s", e.msg);
}

static bool add_one(void *arg, struct session *c, struct err *e)
{
    const struct audit_row row = { .at_ms = 1750000000000,
                                   .who = "key_1",
                                   .from = "::1",
                                   .act = arg,
                                   .target = "key_2",
                                   .before = "",
                                   .after = "{}" };
    return audit_add(c, &row, e);
}

static void add(struct store *s, const char *act)
{
    struct err e;
    if (!store_write(s, add_one, (void *)act, &e)) fail_msg("%s", e.msg);
}

static void whole(struct store *s, const char *noted, int64_t rows, struct chain_head *head)
{
    struct err e;
    if (!audit_verify(s, noted, head, &e)) fail_msg("%s", e.msg);
    assert_int_equal(head->seq, rows);
}

static void broken(struct store *s, const char *noted, enum err_code code, const char *words)
{
    struct chain_head head;
    struct err e = { ERR_NONE, "" };
    if (audit_verify(s, noted, &head, &e)) fail_msg("it is whole, not \"%s\"", words);
    if (!strstr(e.msg, words)) fail_msg("%s", e.msg);
    assert_int_equal(e.code, code);
}

static bool nth(void *arg, const struct audit_row *r, struct err *e)
{
    (void)e;
    ++*(int *)arg;
    assert_int_equal(r->seq, *(int *)arg);
    assert_int_equal(strlen(r->hash), CHAIN_HASH - 1);
    return true;
}

static bool refuse(void *arg, const struct audit_row *r, struct err *e)
{
    (void)arg, (void)r;
    return err_set(e, ERR_LIMIT, "enough");
}

static void each_chain(struct places *p, enum place kind)
{
    char where[200], noted[100];
    struct chain_head head, later;
    struct err e = { ERR_NONE, "" };
    int n = 0;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    whole(s, "", 0, &head);
    add(s, "one"), add(s, "two");
    whole(s, "", 2, &head);
    snprintf(noted, sizeof noted, "2:%s", head.hash);
    add(s, "three");
    whole(s, noted, 3, &later);
    assert_true(audit_each(s, 0, 10, nth, &n, &e));
    assert_int_equal(n, 3);
    assert_false(audit_each(s, 0, 10, refuse, NULL, &e));
    assert_string_equal(e.msg, "enough");
    static const struct {
        const char *harm, *words, *heal;
    } harms[] = {
        { "UPDATE audit SET target = 'x' WHERE seq = 2", "row 2 (two of x)",
          "UPDATE audit SET target = 'key_2' WHERE seq = 2" },
        { "UPDATE audit SET at_ms = 5 WHERE seq = 1", "row 1 (one",
          "UPDATE audit SET at_ms = 1750000000000 WHERE seq = 1" },
        { "UPDATE audit SET seq = 9 WHERE seq = 2", "row 2 is missing; 3 follows 1",
          "UPDATE audit SET seq = 2 WHERE seq = 9" },
        { "UPDATE audit SET hash = '' WHERE seq = 3", "row 3 (three", NULL },
        { "DELETE FROM audit WHERE seq = 3", "ends at row 2, but row 3 was written last", NULL },
        { "UPDATE audit_head SET seq = 2", "ends at row 2, but row 2 was written last", NULL },
        { "UPDATE audit_head SET one = 2", "but row -1 was written last", NULL },
    };
    for (size_t i = 0; i < sizeof harms / sizeof *harms; i++) {
        run(s, harms[i].harm);
        broken(s, "", ERR_FORMAT, harms[i].words);
        if (!harms[i].heal) continue;
        run(s, harms[i].heal);
        whole(s, noted, 3, &head);
    }
    assert_false(store_write(s, add_one, "four", &e));
    assert_non_null(strstr(e.msg, "head is missing"));
    static const char *const no_heads[] = { "x", "0:", "2", "2:abc" };
    for (size_t i = 0; i < sizeof no_heads / sizeof *no_heads; i++)
        broken(s, no_heads[i], ERR_REQUEST, "is no head");
    store_close(s);
}

/* A chain that somebody made anew is whole, but is not the one that was noted. */
static void each_anew(struct places *p, enum place kind)
{
    char where[200], noted[100], none[100];
    struct chain_head head;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    add(s, "one");
    whole(s, "", 1, &head);
    snprintf(noted, sizeof noted, "1:%s", head.hash);
    snprintf(none, sizeof none, "7:%s", head.hash);
    broken(s, none, ERR_FORMAT, "row 7 is not the one");
    run(s, "DELETE FROM audit");
    broken(s, "", ERR_FORMAT, "ends at row 0, but row 1");
    run(s, "UPDATE audit_head SET seq = 0, hash = ''");
    add(s, "another");
    whole(s, "", 1, &head);
    broken(s, noted, ERR_FORMAT, "row 1 is not the one");
    store_close(s);
}

/* Rows of before there was a chain: whole without hashes, and in the first one behind them. */
static void each_older(struct places *p, enum place kind)
{
    char where[200];
    struct chain_head head;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    for (int i = 1; i <= 2; i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "INSERT INTO audit VALUES (%d, 7, 'who', '', 'act', 'key_2', '', '{}', '')",
                 i);
        run(s, sql);
    }
    whole(s, "", 2, &head);
    add(s, "three");
    whole(s, "", 3, &head);
    run(s, "UPDATE audit SET who = 'another' WHERE seq = 1");
    broken(s, "", ERR_FORMAT, "row 3 (three of key_2) or one before it");
    run(s, "UPDATE audit SET who = 'who' WHERE seq = 1");
    run(s, "DELETE FROM audit WHERE seq = 1");
    broken(s, "", ERR_FORMAT, "row 1 is missing");
    store_close(s);
}

static void test_each(void **state)
{
    static void (*const each[])(struct places *, enum place) = { each_chain, each_anew, each_older };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int k = 0; k < N_PLACES; k++) each[i](*state, (enum place)k);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
