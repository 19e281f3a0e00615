/* keyring_test.c - keys in each kind of store: made, shown once, found by their hash, changed under a running keyring. */
#include "store/test_places.h"

#include "service/account/events.h"
#include "service/account/keyring.h"

#define NOW INT64_C(1750000000000)

static const struct key_wish plain = {
    .name = "", .project = "", .scopes = "", .addresses = "", .limits = "", .budgets = "", .tags = ""
};

static const struct key_record *find(struct keyring *r, const char *key)
{
    struct principal p;
    principal_of_key(&p, key, strlen(key));
    return keyring_find(r, p.hash);
}

static void each_life(struct places *p, enum place kind)
{
    char where[200], key[KEY_TEXT], other[KEY_TEXT], id[PRINCIPAL_ID], other_id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct keyring *r;
    struct key_list l;
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(keyring_open(&r, s, &e));
    struct key_wish w = plain;
    w.name = "the \xc3\xbc"
             "ber key's \"name\"";
    w.project = "shop";
    w.scopes = "model:flux*,endpoint:chat";
    w.addresses = "10.0.0.0/8";
    w.limits = "requests/minute=60";
    w.budgets = "day=1.5";
    w.tags = "team=blue,cost=7";
    w.expires_ms = NOW + 1000;
    assert_true(key_new(s, &w, NOW, key, id, &e));
    assert_true(key_new(s, &plain, NOW + 1, other, other_id, &e));
    assert_int_equal(strlen(key), 46);
    assert_true(!strncmp(key, "hk-", 3) && !strncmp(id, "key_", 4));
    assert_string_not_equal(key, other);
    assert_true(keyring_refresh(r, &e));

    const struct key_record *k = find(r, key), *k2 = find(r, other);
    assert_non_null(k);
    assert_non_null(k2);
    assert_null(find(r, "hk-other"));
    assert_string_equal(k->id, id);
    assert_string_equal(k->name, w.name);
    assert_string_equal(k->project, "shop");
    assert_string_equal(k->tags, w.tags);
    assert_string_equal(k->hint, key + 42);
    assert_int_equal(k->limits.most[LIMITED_REQUESTS][PERIOD_MINUTE], 60);
    assert_int_equal(k->budgets.most[PERIOD_DAY], 1500000000);
    assert_int_equal(key_may(k, NOW, "10.1.1.1", "chat"), KEY_GOOD);
    assert_int_equal(key_may(k, NOW + 1000, "10.1.1.1", "chat"), KEY_EXPIRED);
    assert_int_equal(key_may(k, NOW, "11.1.1.1", "chat"), KEY_ELSEWHERE);
    assert_int_equal(key_may(k, NOW, "10.1.1.1", "completions"), KEY_NOT_FOR_THIS);
    assert_int_equal(key_may(k2, INT64_MAX, "?", "anything"), KEY_GOOD);

    assert_true(key_rotate(s, id, NULL, NOW + 4, key, &e));
    assert_true(keyring_refresh(r, &e));
    const struct key_record *rotated = find(r, key);
    assert_non_null(rotated);
    assert_ptr_not_equal(rotated, k);
    assert_string_equal(rotated->id, k->id);
    assert_string_equal(k->project, "shop"); /* who holds the old record still may */
    assert_ptr_equal(find(r, other), k2);    /* what did not change is the same record */
    assert_true(key_revoke(s, id, NULL, NOW + 5, &e));
    assert_true(key_revoke(s, id, NULL, NOW + 9, &e)); /* again: stays as it was */
    assert_false(key_rotate(s, id, NULL, NOW + 10, other, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(keyring_refresh(r, &e));
    assert_int_equal(key_may(find(r, key), NOW, "10.1.1.1", "chat"), KEY_REVOKED);
    assert_int_equal(find(r, key)->revoked_ms, NOW + 5);

    assert_true(key_list(s, NULL, &l, &e));
    assert_int_equal(l.n, 2);
    assert_string_equal(l.v[0]->id, id);
    assert_string_equal(l.v[1]->id, other_id);
    key_list_free(&l);
    assert_true(key_list(s, other_id, &l, &e));
    assert_int_equal(l.n, 1);
    key_list_free(&l);
    assert_false(key_list(s, "key_none", &l, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_false(key_revoke(s, "key_none", NULL, NOW, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    keyring_close(r);
    store_close(s);
}

/* ---- what is told of it -------------------------------------------------------------------------------------------- */

struct told {
    char acts[200]; /* "key.created by cli:anna from ; ..." */
    int n;
    char last_before[600], last_after[600];
};

static bool add_told(void *arg, const struct audit_row *row, struct err *e)
{
    struct told *t = arg;
    size_t n = strlen(t->acts);
    (void)e;
    assert_int_equal(row->seq, ++t->n);
    assert_int_equal(row->at_ms, NOW + row->seq);
    snprintf(t->acts + n, sizeof t->acts - n, "%s by %s from %s; ", row->act, row->who, row->from);
    snprintf(t->last_before, sizeof t->last_before, "%s", row->before);
    snprintf(t->last_after, sizeof t->last_after, "%s", row->after);
    return true;
}

struct read_events {
    char types[200];
    int64_t last;
};

static bool read_events(void *arg, struct session *c, struct err *e)
{
    struct read_events *t = arg;
    struct event ev;
    bool found;
    for (int64_t at = 0; events_next(c, at, &ev, &found, e); at = ev.seq) {
        if (!found) return events_last(c, &t->last, e);
        const size_t n = strlen(t->types);
        snprintf(t->types + n, sizeof t->types - n, "%s ", ev.type);
        json_t *o = json_loads(ev.body, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(o, "type")), ev.type);
        assert_non_null(json_object_get(json_object_get(o, "data"), "id"));
        json_decref(o);
        event_free(&ev);
    }
    return false;
}

/* Each act has its row and its event; what came to nothing has none. */
static void each_told(struct places *p, enum place kind)
{
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    const struct actor anna = { "cli:anna", "" }, bert = { "key_b", "10.0.0.1" };
    struct err e = { ERR_NONE, "" };
    struct told t = { .n = 0 };
    struct read_events events = { .last = 0 };
    struct key_list l;
    struct key_wish w = plain,
                    change = { .expires_ms = KEY_EXPIRES_KEPT, .priority = KEY_PRIORITY_KEPT, .by = &bert };
    places_new(p, kind, where, sizeof where);
    struct store *s = places_store(where);
    w.by = &anna;
    w.name = "first";
    w.weight = 3;
    w.priority = -2;
    w.expires_ms = NOW + 3;
    assert_true(key_new(s, &w, NOW + 1, key, id, &e));
    assert_true(key_rotate(s, id, &bert, NOW + 2, key, &e));
    change.name = "second";
    change.limits = "concurrency=1";
    assert_true(key_change(s, id, &change, NOW + 3, &e)); /* expired, and stays so */
    assert_true(key_list(s, id, &l, &e));
    assert_int_equal(l.v[0]->weight, 3);
    assert_int_equal(l.v[0]->priority, -2);
    key_list_free(&l);
    change.limits = "concurrency=none";
    assert_false(key_change(s, id, &change, NOW + 4, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_true(key_revoke(s, id, NULL, NOW + 4, &e));
    assert_true(key_revoke(s, id, NULL, NOW + 5, &e));
    change.limits = NULL;
    assert_false(key_change(s, id, &change, NOW + 5, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_false(key_rotate(s, id, NULL, NOW + 5, key, &e));
    assert_true(audit_each(s, 0, 3, add_told, &t, &e));
    assert_int_equal(t.n, 3);
    assert_non_null(strstr(t.last_before, "\"name\":\"first\""));
    assert_non_null(strstr(t.last_after, "\"name\":\"second\""));
    assert_non_null(strstr(t.last_after, "\"limits\":\"concurrency=1\""));
    assert_non_null(strstr(t.last_after, "\"state\":\"expired\""));
    assert_true(audit_each(s, 3, 100, add_told, &t, &e));
    assert_string_equal(t.acts, "key.created by cli:anna from ; key.rotated by key_b from 10.0.0.1; "
                                "key.changed by key_b from 10.0.0.1; key.revoked by hearth from ; ");
    assert_true(store_read(s, read_events, &events, &e));
    assert_string_equal(events.types, "key.created key.rotated key.changed key.revoked ");
    assert_int_equal(events.last, 4);
    store_close(s);
}

static void test_told(void **state)
{
    for (int k = 0; k < N_PLACES; k++) each_told(*state, (enum place)k);
}

/* Of a key nothing but its hash is in the file. */
static void test_only_hashes(void **state)
{
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(key_new(s, &plain, NOW, key, id, &e));
    store_close(s);
    FILE *f = fopen(where, "r");
    static char bytes[1 << 20];
    assert_non_null(f);
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_non_null(memmem(bytes, n, id, strlen(id)));
    for (size_t at = 3; at + 8 < 46; at++) assert_null(memmem(bytes, n, key + at, 8));
}

static void test_refused(void **state)
{
    char where[200], key[KEY_TEXT] = "as it was", id[PRINCIPAL_ID];
    struct key_list l;
    struct err e = { ERR_NONE, "" };
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    struct key_wish bad[16];
    for (int i = 0; i < 16; i++) bad[i] = plain;
    char name[300];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    bad[0].name = name;
    bad[1].project = "a\nb";
    bad[2].scopes = "everything";
    bad[3].addresses = "here";
    bad[4].limits = "requests=1";
    bad[5].budgets = "day=much";
    bad[6].tags = "blue";
    bad[7].tags = "a=b,,c=d";
    bad[8].expires_ms = NOW;
    bad[9].tags = "a=b\x7f";
    bad[10].scopes = "model:a\x01";
    bad[11].tags = "=b";
    bad[12].weight = -1;
    bad[13].weight = KEY_WEIGHT_MAX + 1;
    bad[14].priority = -KEY_PRIORITY_MAX - 1;
    bad[15].priority = KEY_PRIORITY_MAX + 1;
    for (int i = 0; i < 16; i++) {
        assert_false(key_new(s, &bad[i], NOW, key, id, &e));
        assert_int_equal(e.code, ERR_REQUEST);
    }
    assert_string_equal(key, "as it was");
    assert_true(key_list(s, NULL, &l, &e));
    assert_int_equal(l.n, 0);
    key_list_free(&l);
    store_close(s);
}

static bool spoil(void *arg, struct session *c, struct err *e)
{
    return session_run(c, arg, STORE_NO_ARGS, NULL, NULL, e) &&
           session_run(c, "UPDATE meta SET value = value + 1 WHERE name = 'keys'", STORE_NO_ARGS, NULL, NULL,
                       e);
}

static void write_sql(struct store *s, const char *sql)
{
    struct err e;
    if (!store_write(s, spoil, (void *)sql, &e)) fail_msg("%s: %s", sql, e.msg);
}

/* What another hand wrote into the store is not taken for no limit. */
static void test_spoilt(void **state)
{
    static const struct {
        const char *spoils, *mends;
    } sql[] = {
        { "UPDATE keys SET scopes = 'everything'", "UPDATE keys SET scopes = ''" },
        { "UPDATE keys SET addresses = 'here'", "UPDATE keys SET addresses = ''" },
        { "UPDATE keys SET limits = 'requests'", "UPDATE keys SET limits = ''" },
        { "UPDATE keys SET budgets = 'day=much'", "UPDATE keys SET budgets = ''" },
        { "UPDATE projects SET limits = 'requests'", "UPDATE projects SET limits = ''" },
        { "UPDATE projects SET budgets = 'day=much'", "UPDATE projects SET budgets = ''" },
        { "UPDATE keys SET hash = 'xyz'", NULL },
    };
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct keyring *r, *second;
    struct key_list l;
    struct key_wish w = plain;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    w.project = "p";
    assert_true(key_new(s, &w, NOW, key, id, &e));
    write_sql(s, "INSERT INTO projects (name, limits, budgets, made_ms) VALUES ('p', '', '', 0)");
    assert_true(keyring_open(&r, s, &e));
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        write_sql(s, sql[i].spoils);
        assert_false(keyring_refresh(r, &e));
        assert_non_null(strstr(e.msg, id));
        assert_non_null(find(r, key)); /* those that are known go on */
        assert_false(keyring_open(&second, s, &e));
        assert_false(key_list(s, NULL, &l, &e));
        if (!sql[i].mends) break;
        write_sql(s, sql[i].mends);
        if (!keyring_refresh(r, &e)) fail_msg("%s", e.msg);
    }
    keyring_close(r);
    store_close(s);
}

/* Whatever is changed of a key, who asks next gets a new record; where nothing was, it is the same one. */
static void test_changes(void **state)
{
    static const char *const sql[] = {
        "UPDATE keys SET id = 'key_other'",
        "UPDATE keys SET hash = upper(hash)",
        "UPDATE keys SET name = 'n'",
        "UPDATE keys SET project = 'p'",
        "UPDATE keys SET tags = 'a=b'",
        "UPDATE keys SET scopes = 'endpoint:chat'",
        "UPDATE keys SET addresses = '::1'",
        "UPDATE keys SET limits = 'concurrency=1'",
        "UPDATE keys SET budgets = 'day=1'",
        "INSERT INTO projects (name, limits, budgets, made_ms) VALUES ('p', 'concurrency=1', '', 0)",
        "UPDATE projects SET budgets = 'day=1'",
        "UPDATE keys SET weight = 2",
        "UPDATE keys SET priority = 1",
        "UPDATE keys SET expires_ms = 7",
        "UPDATE keys SET revoked_ms = 7",
    };
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct keyring *r;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(key_new(s, &plain, NOW, key, id, &e));
    assert_true(keyring_open(&r, s, &e));
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        const struct key_record *was = find(r, key);
        assert_non_null(was);
        write_sql(s, "UPDATE keys SET name = name");
        if (!keyring_refresh(r, &e)) fail_msg("%s", e.msg);
        assert_ptr_equal(find(r, key), was);
        write_sql(s, sql[i]);
        if (!keyring_refresh(r, &e)) fail_msg("%s: %s", sql[i], e.msg);
        if (find(r, key) == was) fail_msg("not seen: %s", sql[i]);
    }
    const struct key_record *k = find(r, key);
    assert_string_equal(k->id, "key_other");
    assert_int_equal(k->project_budgets.most[PERIOD_DAY], 1000000000);
    assert_int_equal(k->revoked_ms, 7);
    keyring_close(r);
    store_close(s);
}

/* A change names what it changes; the rest stays. */
static void test_change(void **state)
{
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct key_list l;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    assert_true(key_new(s, &plain, NOW, key, id, &e));
    const struct key_wish all = { .name = "n",
                                  .project = "p",
                                  .scopes = "endpoint:chat",
                                  .addresses = "::1",
                                  .limits = "concurrency=1",
                                  .budgets = "day=1",
                                  .tags = "a=b",
                                  .weight = 5,
                                  .priority = 3,
                                  .expires_ms = NOW + 9 },
                          none = { .expires_ms = KEY_EXPIRES_KEPT, .priority = KEY_PRIORITY_KEPT };
    assert_true(key_change(s, id, &all, NOW, &e));
    assert_true(key_change(s, id, &none, NOW, &e));
    assert_true(key_list(s, id, &l, &e));
    const struct key_record *k = l.v[0];
    assert_string_equal(k->name, "n");
    assert_string_equal(k->project, "p");
    assert_string_equal(k->scopes.text, "endpoint:chat");
    assert_string_equal(k->addresses_text, "::1");
    assert_string_equal(k->limits_text, "concurrency=1");
    assert_string_equal(k->budgets_text, "day=1");
    assert_string_equal(k->tags, "a=b");
    assert_int_equal(k->weight, 5);
    assert_int_equal(k->priority, 3);
    assert_int_equal(k->expires_ms, NOW + 9);
    key_list_free(&l);
    assert_false(key_change(s, "key_none", &all, NOW, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    store_close(s);
}

/* Pages go on behind the last key of the one before, also among keys of the same moment. */
static void test_pages(void **state)
{
    char where[200], key[KEY_TEXT], id[3][PRINCIPAL_ID], seen[3 * PRINCIPAL_ID] = "";
    struct err e = { ERR_NONE, "" };
    struct key_list l;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where);
    for (int i = 0; i < 3; i++) assert_true(key_new(s, &plain, NOW, key, id[i], &e));
    const char *after = "";
    for (int i = 0; i < 3; i++) {
        assert_true(key_page(s, after, 1, &l, &e));
        assert_int_equal(l.n, 1);
        strcat(seen, l.v[0]->id);
        for (int n = 0; n < 3; n++)
            if (!strcmp(id[n], l.v[0]->id)) after = id[n];
        key_list_free(&l);
    }
    for (int n = 0; n < 3; n++) assert_non_null(strstr(seen, id[n]));
    assert_true(key_page(s, after, 1, &l, &e));
    assert_int_equal(l.n, 0);
    key_list_free(&l);
    assert_false(key_page(s, "key_none", 5, &l, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(l.n, 0);
    store_close(s);
}

/* Another program's change is seen without being asked for. */
static void test_looks_by_itself(void **state)
{
    char where[200], key[KEY_TEXT], id[PRINCIPAL_ID];
    struct err e = { ERR_NONE, "" };
    struct keyring *r;
    places_new(*state, PLACE_SQLITE, where, sizeof where);
    struct store *s = places_store(where), *other = places_store(where);
    assert_true(keyring_open(&r, s, &e));
    assert_true(key_new(other, &plain, NOW, key, id, &e));
    for (int i = 0; !find(r, key); i++) {
        assert_true(i < 1000);
        places_sleep_ms(20);
    }
    keyring_close(r);
    store_close(other);
    store_close(s);
}

static void test_life(void **state)
{
    for (int k = 0; k < N_PLACES; k++) each_life(*state, (enum place)k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),    cmocka_unit_test(test_told),   cmocka_unit_test(test_only_hashes),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_spoilt), cmocka_unit_test(test_looks_by_itself),
        cmocka_unit_test(test_changes), cmocka_unit_test(test_change), cmocka_unit_test(test_pages)
    };
    return cmocka_run_group_tests(tests, places_setup, places_teardown);
}
