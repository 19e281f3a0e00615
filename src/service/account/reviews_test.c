/* reviews_test.c - what is held for a person: asked again, decided, decided anew, read in pages, forgotten; on every kind of store. */
#include "store/test_places.h"

#include "service/account/reviews.h"

#define NOW INT64_C(1750000000000)
#define DAY INT64_C(86400000)

static const struct actor boss = { "key_boss", "127.0.0.1" };

static struct review_wish wish(const char *who, const char *text)
{
    return (struct review_wish){ .who = who,
                                 .project = "web",
                                 .address = "10.0.0.1",
                                 .endpoint = "/v1/chat/completions",
                                 .policy = "strict",
                                 .words = "weapon",
                                 .text = text,
                                 .len = strlen(text) };
}

static enum review_state ask(struct store *s, const char *who, const char *text, int64_t now,
                             char id[REVIEW_ID], char reason[REVIEW_REASON])
{
    struct err e = { ERR_NONE, "" };
    enum review_state state;
    const struct review_wish w = wish(who, text);
    if (!review_ask(s, &w, now, id, &state, reason, &e)) fail_msg("%s", e.msg);
    return state;
}

struct seen {
    int n;
    char first[REVIEW_ID], last[REVIEW_ID], text[100];
    size_t len;
};

static bool see(void *arg, const struct review *r, struct err *e)
{
    struct seen *s = arg;
    (void)e;
    if (!s->n++) snprintf(s->first, sizeof s->first, "%s", r->id);
    snprintf(s->last, sizeof s->last, "%s", r->id);
    snprintf(s->text, sizeof s->text, "%s", r->text);
    s->len = strlen(r->text);
    return true;
}

static struct seen list(struct store *s, const char *state, const char *after, int most)
{
    struct err e = { ERR_NONE, "" };
    struct seen seen = { .n = 0 };
    if (!review_each(s, state, after, most, see, &seen, &e)) fail_msg("%s", e.msg);
    return seen;
}

static void each_life(struct places *p, enum place kind)
{
    struct err e = { ERR_NONE, "" };
    char where[200], a[REVIEW_ID], b[REVIEW_ID], c[REVIEW_ID], reason[REVIEW_REASON],
        longer[REVIEW_REASON + 1];
    struct seen seen = { .n = 0 };
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_int_equal(ask(s, "key_1", "a weapon", NOW, a, reason), REVIEW_HELD);
    assert_int_equal(ask(s, "key_1", "a weapon", NOW + 5, b, reason),
                     REVIEW_HELD); /* once more: the same row */
    assert_string_equal(a, b);
    assert_int_equal(ask(s, "key_2", "a weapon", NOW + 1, b, reason),
                     REVIEW_HELD); /* another key's is another */
    assert_int_equal(ask(s, "key_1", "a weapon.", NOW + 1, c, reason), REVIEW_HELD); /* and other words are */
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(list(s, "held", "", 10).n, 3);

    assert_true(review_decide(s, a, true, "", &boss, NOW + 9, &e));
    assert_true(review_decide(s, b, false, "not \"here\"", &boss, NOW + 9, &e));
    assert_int_equal(ask(s, "key_1", "a weapon", NOW, a, reason), REVIEW_APPROVED);
    assert_int_equal(ask(s, "key_2", "a weapon", NOW, b, reason), REVIEW_REFUSED);
    assert_string_equal(reason, "not \"here\"");
    assert_true(review_decide(s, a, false, "no", &boss, NOW + 10, &e)); /* after all */
    assert_int_equal(ask(s, "key_1", "a weapon", NOW, a, reason), REVIEW_REFUSED);

    assert_false(review_decide(s, b, false, "", &boss, NOW, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    memset(longer, 'x', REVIEW_REASON);
    longer[REVIEW_REASON] = 0;
    assert_false(review_decide(s, b, true, longer, &boss, NOW, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_false(review_decide(s, "review_none", true, "", &boss, NOW, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_false(review_find(s, "review_none", see, &seen, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(review_find(s, c, see, &seen, &e));
    assert_string_equal(seen.text, "a weapon.");

    /* In pages, in the order in which they came. */
    const struct seen all = list(s, NULL, "", 10), one = list(s, NULL, "", 1),
                      rest = list(s, NULL, one.last, 10);
    assert_int_equal(all.n, 3);
    assert_string_equal(all.first, a);
    assert_int_equal(one.n, 1);
    assert_int_equal(rest.n, 2);
    assert_string_equal(rest.last, all.last);
    assert_int_equal(list(s, "refused", "", 10).n, 2);
    assert_int_equal(list(s, "refused", a, 10).n, 1);

    /* The beginning of what is long, in whole characters; and decisions are forgotten. */
    char *text = malloc(3 * REVIEW_TEXT);
    assert_non_null(text);
    strcpy(text, "x");
    while (strlen(text) < 2 * REVIEW_TEXT) memcpy(text + strlen(text), "\xc3\xa9\0", 3);
    assert_int_equal(ask(s, "key_1", text, NOW + 91 * DAY, b, reason), REVIEW_HELD);
    free(text);
    assert_true(review_find(s, b, see, &seen, &e));
    assert_int_equal(seen.len, REVIEW_TEXT - 1);
    assert_int_equal(list(s, NULL, "", 10).n, 2); /* the two that are held */
    store_close(s);
}

static void test_life(void **state)
{
    for (int kind = 0; kind < N_PLACES; kind++) each_life(*state, (enum place)kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_life) };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
