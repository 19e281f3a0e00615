/* projects_test.c - the rules of a project: kept, changed in part, known with its keys, gone. */
#include "store/test_places.h"

#include "service/account/keyring.h"
#include "service/account/money.h"
#include "service/account/projects.h"

#define NOW INT64_C(1750000000000)

static const struct key_record *key_of(struct keyring *r, const char *key)
{
    struct principal p;
    struct err e = { ERR_NONE, "" };
    if (!keyring_refresh(r, &e)) fail_msg("%s", e.msg);
    principal_of_key(&p, key, strlen(key));
    return keyring_find(r, p.hash);
}

static void each_life(struct places *p, enum place kind)
{
    const struct key_wish w = { .name = "",
                                .project = "web",
                                .scopes = "",
                                .addresses = "",
                                .limits = "",
                                .budgets = "",
                                .tags = "",
                                .weight = 3,
                                .priority = -2 };
    struct err e = { ERR_NONE, "" };
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct project_list l;
    struct keyring *r = NULL;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(key_new(s, &w, NOW, key, id, &e));
    assert_true(keyring_open(&r, s, &e));
    const struct key_record *k = key_of(r, key);
    assert_true(k && k->weight == 3 && k->priority == -2 && !limit_rules_any(&k->project_limits) &&
                !budget_rules_any(&k->project_budgets));
    assert_true(project_list(s, NULL, &l, &e) && l.n == 0);
    assert_false(project_list(s, "web", &l, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);

    assert_true(project_set(s, "web", "requests/minute=5", "total=2", NULL, NOW, &e));
    assert_true(project_set(s, "a", NULL, NULL, NULL, NOW, &e));
    const struct key_record *with = key_of(r, key);
    assert_ptr_not_equal(with, k);
    assert_int_equal(with->project_limits.most[LIMITED_REQUESTS][PERIOD_MINUTE], 5);
    assert_int_equal(with->project_budgets.most[PERIOD_TOTAL], 2 * MONEY_DOLLAR);
    assert_ptr_equal(key_of(r, key), with); /* nothing changed */
    /* One kind of rules alone. */
    assert_true(project_set(s, "web", NULL, "day=1:soft", NULL, NOW + 5, &e));
    assert_true(project_list(s, "web", &l, &e) && l.n == 1);
    assert_string_equal(l.v[0].limits, "requests/minute=5");
    assert_string_equal(l.v[0].budgets, "day=1:soft");
    assert_true(l.v[0].made_ms == NOW && l.v[0].n_keys == 1);
    project_list_free(&l);
    assert_true(project_list(s, NULL, &l, &e) && l.n == 2);
    assert_string_equal(l.v[0].name, "a");
    project_list_free(&l);

    assert_false(project_set(s, "web", "requests=5", NULL, NULL, NOW, &e) ||
                 project_set(s, "web", NULL, "day", NULL, NOW, &e));
    assert_false(project_set(s, "", NULL, NULL, NULL, NOW, &e) ||
                 project_set(s, "a\nb", NULL, NULL, NULL, NOW, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_true(project_remove(s, "web", NULL, NOW + 9, &e));
    assert_false(limit_rules_any(&key_of(r, key)->project_limits));
    assert_false(project_remove(s, "web", NULL, NOW + 9, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    keyring_close(r);
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
