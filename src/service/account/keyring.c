/* keyring.c - see keyring.h. */
#include "service/account/keyring.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/wait.h"
#include "format/json_memory.h"
#include "service/account/events.h"
#include "service/account/items.h"
#include "service/account/key_json.h"

enum { NAME_MAX_BYTES = 200, LOOK_S = 1 };

/* ---- a record ------------------------------------------------------------------------------------------------------ */

/* A key with the rules of its project, where that has some. */
#define SELECT_KEYS                                                                                          \
    "SELECT k.id, k.hash, k.hint, k.name, k.project, k.scopes, k.addresses, k.limits, k.budgets, k.tags, "   \
    "k.made_ms, k.expires_ms, k.revoked_ms, k.weight, k.priority, COALESCE(p.limits, ''), "                  \
    "COALESCE(p.budgets, '') FROM keys k LEFT JOIN projects p ON p.name = k.project "
enum {
    C_ID,
    C_HASH,
    C_HINT,
    C_NAME,
    C_PROJECT,
    C_SCOPES,
    C_ADDRESSES,
    C_LIMITS,
    C_BUDGETS,
    C_TAGS,
    C_MADE,
    C_EXPIRES,
    C_REVOKED,
    C_WEIGHT,
    C_PRIORITY,
    C_PROJECT_LIMITS,
    C_PROJECT_BUDGETS
};

static void record_free(struct key_record *k)
{
    free(k->name);
    free(k->project);
    free(k->tags);
    free(k->addresses_text);
    free(k->limits_text);
    free(k->budgets_text);
    free(k->project_limits_text);
    free(k->project_budgets_text);
    scopes_free(&k->scopes);
    free(k);
}

/* NULL with an error: also when what stands in the store is not understood, which says that a newer program wrote it. */
static struct key_record *record_new(const struct store_row *r, struct err *e)
{
    struct key_record *k = calloc(1, sizeof *k);
    if (!k) {
        err_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    snprintf(k->id, sizeof k->id, "%s", r->v[C_ID].text);
    snprintf(k->hash, sizeof k->hash, "%s", r->v[C_HASH].text);
    snprintf(k->hint, sizeof k->hint, "%s", r->v[C_HINT].text);
    k->name = strdup(r->v[C_NAME].text);
    k->project = strdup(r->v[C_PROJECT].text);
    k->tags = strdup(r->v[C_TAGS].text);
    k->addresses_text = strdup(r->v[C_ADDRESSES].text);
    k->limits_text = strdup(r->v[C_LIMITS].text);
    k->budgets_text = strdup(r->v[C_BUDGETS].text);
    k->made_ms = r->v[C_MADE].number;
    k->expires_ms = r->v[C_EXPIRES].number;
    k->revoked_ms = r->v[C_REVOKED].number;
    k->weight = (int)r->v[C_WEIGHT].number;
    k->priority = (int)r->v[C_PRIORITY].number;
    k->project_limits_text = strdup(r->v[C_PROJECT_LIMITS].text);
    k->project_budgets_text = strdup(r->v[C_PROJECT_BUDGETS].text);
    size_t n;
    bool ok = k->name && k->project && k->tags && k->addresses_text && k->limits_text && k->budgets_text &&
              k->project_limits_text && k->project_budgets_text;
    if (!ok) err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && (!sodium_hex2bin(k->bytes, sizeof k->bytes, k->hash, strlen(k->hash), NULL, &n, NULL) ||
                err_set(e, ERR_FORMAT, "its hash is none"));
    ok = ok && scopes_parse(&k->scopes, r->v[C_SCOPES].text, e) &&
         address_list_parse(&k->addresses, k->addresses_text, e) &&
         limit_rules_parse(&k->limits, k->limits_text, e) &&
         budget_rules_parse(&k->budgets, k->budgets_text, e) &&
         limit_rules_parse(&k->project_limits, k->project_limits_text, e) &&
         budget_rules_parse(&k->project_budgets, k->project_budgets_text, e);
    if (ok) return k;
    err_wrap(e, "key %s in the store", k->id);
    record_free(k);
    return NULL;
}

static bool same_record(const struct key_record *a, const struct key_record *b)
{
    return !strcmp(a->id, b->id) && !strcmp(a->hash, b->hash) && !strcmp(a->name, b->name) &&
           !strcmp(a->project, b->project) && !strcmp(a->tags, b->tags) &&
           !strcmp(a->scopes.text, b->scopes.text) && !strcmp(a->addresses_text, b->addresses_text) &&
           !strcmp(a->limits_text, b->limits_text) && !strcmp(a->budgets_text, b->budgets_text) &&
           !strcmp(a->project_limits_text, b->project_limits_text) &&
           !strcmp(a->project_budgets_text, b->project_budgets_text) && a->weight == b->weight &&
           a->priority == b->priority && a->expires_ms == b->expires_ms && a->revoked_ms == b->revoked_ms;
}

enum key_answer key_may(const struct key_record *k, int64_t now_ms, const char *address, const char *endpoint)
{
    if (k->revoked_ms) return KEY_REVOKED;
    if (k->expires_ms && now_ms >= k->expires_ms) return KEY_EXPIRED;
    if (!address_list_has(&k->addresses, address)) return KEY_ELSEWHERE;
    return scopes_endpoint(&k->scopes, endpoint) ? KEY_GOOD : KEY_NOT_FOR_THIS;
}

/* ---- lists of them ------------------------------------------------------------------------------------------------- */

static bool list_add(struct key_list *l, struct key_record *k, struct err *e)
{
    struct key_record **v = realloc(l->v, ((size_t)l->n + 1) * sizeof(struct key_record *));
    if (!v) {
        record_free(k);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    l->v = v;
    v[l->n++] = k;
    return true;
}

static bool list_row(void *arg, const struct store_row *r, struct err *e)
{
    struct key_record *k = record_new(r, e);
    return k && list_add(arg, k, e);
}

struct list_job {
    const char *id;
    struct key_list *out;
};

static bool list_read(void *arg, struct session *c, struct err *e)
{
    const struct list_job *j = arg;
    if (!j->id)
        return session_run(c, SELECT_KEYS "ORDER BY k.made_ms, k.id", STORE_NO_ARGS, list_row, j->out, e);
    return session_run(c, SELECT_KEYS "WHERE k.id = $1", STORE_ARGS(STORE_V(j->id)), list_row, j->out, e);
}

bool key_list(struct store *s, const char *id, struct key_list *out, struct err *e)
{
    *out = (struct key_list){ .n = 0 };
    bool ok = store_read(s, list_read, &(struct list_job){ id, out }, e);
    if (ok && id && !out->n)
        ok = err_set(e, ERR_NOT_FOUND, "there is no key \"%.40s\"; `hearth keys list` has them", id);
    if (!ok) key_list_free(out);
    return ok;
}

struct page_job {
    const char *after;
    int64_t most, made_ms; /* of the key `after` */
    struct key_list *out;
    bool found;
};

static bool take_made(void *arg, const struct store_row *r, struct err *e)
{
    struct page_job *j = arg;
    (void)e;
    j->made_ms = r->v[0].number;
    j->found = true;
    return true;
}

static bool page_read(void *arg, struct session *c, struct err *e)
{
    struct page_job *j = arg;
    j->made_ms = INT64_MIN;
    if (*j->after && !session_run(c, "SELECT made_ms FROM keys WHERE id = $1", STORE_ARGS(STORE_V(j->after)),
                                  take_made, j, e))
        return false;
    return session_run(
        c,
        SELECT_KEYS
        "WHERE k.made_ms > $1 OR (k.made_ms = $1 AND k.id > $2) ORDER BY k.made_ms, k.id LIMIT $3",
        STORE_ARGS(STORE_V(j->made_ms), STORE_V(j->after), STORE_V(j->most)), list_row, j->out, e);
}

bool key_page(struct store *s, const char *after, int most, struct key_list *out, struct err *e)
{
    struct page_job j = { .after = after, .most = most, .out = out };
    *out = (struct key_list){ .n = 0 };
    const bool ok = store_read(s, page_read, &j, e) &&
                    (!*after || j.found || err_set(e, ERR_NOT_FOUND, "there is no key \"%.40s\"", after));
    if (!ok) key_list_free(out);
    return ok;
}

void key_list_free(struct key_list *l)
{
    for (int i = 0; i < l->n; i++) record_free(l->v[i]);
    free(l->v);
    *l = (struct key_list){ .n = 0 };
}

/* ---- administration ------------------------------------------------------------------------------------------------ */

/* "hk-" and 43 letters and digits: 256 bits. */
static void secret_new(char key[KEY_TEXT], char hash[KEY_HASH_TEXT])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    struct principal p;
    memcpy(key, "hk-", 3);
    for (int i = 3; i < 46; i++) key[i] = letters[randombytes_uniform(sizeof letters - 1)];
    key[46] = 0;
    principal_of_key(&p, key, 46);
    sodium_bin2hex(hash, KEY_HASH_TEXT, p.hash, sizeof p.hash);
}

static bool plain_text(const char *what, const char *s, struct err *e)
{
    if (strlen(s) > NAME_MAX_BYTES)
        return err_set(e, ERR_REQUEST, "the %s may have at most %d bytes", what, NAME_MAX_BYTES);
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return err_set(e, ERR_REQUEST, "the %s has a control character in it", what);
    return true;
}

static bool wish_ok(const struct key_wish *w, int64_t now_ms, struct err *e)
{
    struct scopes scopes;
    struct address_list addresses;
    struct limit_rules limits;
    struct budget_rules budgets;
    char item[ITEM_MAX];
    bool bad;
    if (!plain_text("name", w->name, e) || !plain_text("project", w->project, e) ||
        !plain_text("list of tags", w->tags, e) || !plain_text("list of scopes", w->scopes, e))
        return false;
    for (const char *p = w->tags; items_next(&p, item, &bad, e);)
        if (!strchr(item, '=') || *item == '=')
            return err_set(e, ERR_REQUEST, "\"%.80s\" is no tag: NAME=VALUE is", item);
    if (bad) return false;
    if (w->weight < 0 || w->weight > KEY_WEIGHT_MAX)
        return err_set(e, ERR_REQUEST, "the weight is a number from 1 to %d", KEY_WEIGHT_MAX);
    if (w->priority < -KEY_PRIORITY_MAX || w->priority > KEY_PRIORITY_MAX)
        return err_set(e, ERR_REQUEST, "the priority is a number from %d to %d", -KEY_PRIORITY_MAX,
                       KEY_PRIORITY_MAX);
    if (w->expires_ms && w->expires_ms <= now_ms)
        return err_set(e, ERR_REQUEST, "the key would have expired already");
    if (!address_list_parse(&addresses, w->addresses, e) || !limit_rules_parse(&limits, w->limits, e) ||
        !budget_rules_parse(&budgets, w->budgets, e) || !scopes_parse(&scopes, w->scopes, e))
        return false;
    scopes_free(&scopes);
    return true;
}

static bool bump(struct session *c, struct err *e)
{
    return session_run(c, "UPDATE meta SET value = value + 1 WHERE name = 'keys'", STORE_NO_ARGS, NULL, NULL,
                       e);
}

struct change {
    const struct key_wish *w;
    const struct actor *by;
    const char *id;
    char hash[KEY_HASH_TEXT], hint[8];
    int64_t now_ms;
    bool found;
};

/* A key as JSON text, "" where there is none; malloc'ed. */
static bool describe(struct session *c, const char *id, int64_t now_ms, char **text, json_t **json,
                     struct err *e)
{
    struct key_list l = { .n = 0 };
    if (!list_read(&(struct list_job){ id, &l }, c, e)) {
        key_list_free(&l);
        return false;
    }
    json_t *o = l.n ? key_json(l.v[0], now_ms) : NULL;
    *text = o ? json_memory_dumps(o, JSON_COMPACT) : l.n ? NULL : strdup("");
    *json = o;
    key_list_free(&l);
    if (*text) return true;
    json_decref(o);
    return err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
}

/* Writes down what was done, and tells others. */
static bool tell(struct session *c, const struct change *j, const char *act, const char *before,
                 struct err *e)
{
    static const struct actor program = { "hearth", "" };
    const struct actor *by = j->by ? j->by : &program;
    char *after;
    json_t *now;
    if (!describe(c, j->id, j->now_ms, &after, &now, e)) return false;
    const bool ok = audit_add(c,
                              &(struct audit_row){ .at_ms = j->now_ms,
                                                   .who = by->who,
                                                   .from = by->from,
                                                   .act = act,
                                                   .target = j->id,
                                                   .before = before,
                                                   .after = after },
                              e) &&
                    events_add(c, act, "", now, j->now_ms, e);
    json_decref(now);
    free(after);
    return ok;
}

/* Changes a key by `change`, between two looks at it. *found says whether there was one that it could be done to. */
static bool change_key(struct session *c, struct change *j, const char *act,
                       bool (*change)(struct session *c, struct change *j, struct err *e), struct err *e)
{
    char *before;
    json_t *was;
    j->found = false;
    if (!describe(c, j->id, j->now_ms, &before, &was, e)) return false;
    bool ok = change(c, j, e);
    if (ok && j->found) ok = tell(c, j, act, before, e) && bump(c, e);
    json_decref(was);
    free(before);
    return ok;
}

static bool insert_key(void *arg, struct session *c, struct err *e)
{
    const struct change *j = arg;
    const struct key_wish *w = j->w;
    const char *hash = j->hash, *hint = j->hint;
    return session_run(c,
                       "INSERT INTO keys (id, hash, hint, name, project, scopes, addresses, limits, budgets, "
                       "tags, made_ms, "
                       "expires_ms, revoked_ms, weight, priority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, "
                       "$9, $10, $11, $12, 0, "
                       "$13, $14)",
                       STORE_ARGS(STORE_V(j->id), STORE_V(hash), STORE_V(hint), STORE_V(w->name),
                                  STORE_V(w->project), STORE_V(w->scopes), STORE_V(w->addresses),
                                  STORE_V(w->limits), STORE_V(w->budgets), STORE_V(w->tags),
                                  STORE_V(j->now_ms), STORE_V(w->expires_ms),
                                  STORE_V(w->weight ? w->weight : 1), STORE_V(w->priority)),
                       NULL, NULL, e) &&
           tell(c, j, "key.created", "", e) && bump(c, e);
}

static void change_secret(struct change *j, char key[KEY_TEXT])
{
    secret_new(key, j->hash);
    snprintf(j->hint, sizeof j->hint, "%s", key + strlen(key) - 4);
}

bool key_new(struct store *s, const struct key_wish *w, int64_t now_ms, char key[KEY_TEXT],
             char id[PRINCIPAL_ID], struct err *e)
{
    unsigned char r[5];
    char new_id[PRINCIPAL_ID], new_key[KEY_TEXT];
    struct change j = { .w = w, .by = w->by, .id = new_id, .now_ms = now_ms };
    if (!wish_ok(w, now_ms, e)) return false;
    rng_os(r, sizeof r);
    snprintf(new_id, sizeof new_id, "key_%02x%02x%02x%02x%02x", r[0], r[1], r[2], r[3], r[4]);
    change_secret(&j, new_key);
    if (!store_write(s, insert_key, &j, e)) return false;
    memcpy(key, new_key, KEY_TEXT);
    memcpy(id, new_id, PRINCIPAL_ID);
    return true;
}

static bool set_secret(struct session *c, struct change *j, struct err *e)
{
    const char *hash = j->hash, *hint = j->hint;
    if (!session_run(c, "UPDATE keys SET hash = $1, hint = $2 WHERE id = $3 AND revoked_ms = 0",
                     STORE_ARGS(STORE_V(hash), STORE_V(hint), STORE_V(j->id)), NULL, NULL, e))
        return false;
    j->found = session_changed(c) == 1;
    return true;
}

static bool rotate_key(void *arg, struct session *c, struct err *e)
{
    return change_key(c, arg, "key.rotated", set_secret, e);
}

#define NONE_TO_CHANGE "there is no key \"%.40s\" that is not revoked; `hearth keys list` has them"

bool key_rotate(struct store *s, const char *id, const struct actor *by, int64_t now_ms, char key[KEY_TEXT],
                struct err *e)
{
    char new_key[KEY_TEXT];
    struct change j = { .by = by, .id = id, .now_ms = now_ms };
    change_secret(&j, new_key);
    if (!store_write(s, rotate_key, &j, e)) return false;
    if (!j.found) return err_set(e, ERR_NOT_FOUND, NONE_TO_CHANGE, id);
    memcpy(key, new_key, KEY_TEXT);
    return true;
}

/* What the wish leaves open is as the key has it. */
static bool set_rules(struct session *c, struct change *j, struct err *e)
{
    struct key_list l = { .n = 0 };
    bool ok = list_read(&(struct list_job){ j->id, &l }, c, e);
    if (!ok || !l.n || l.v[0]->revoked_ms) {
        key_list_free(&l);
        return ok;
    }
    const struct key_record *k = l.v[0];
    struct key_wish w = *j->w;
    const bool kept = w.expires_ms == KEY_EXPIRES_KEPT;
    if (!w.name) w.name = k->name;
    if (!w.project) w.project = k->project;
    if (!w.scopes) w.scopes = k->scopes.text;
    if (!w.addresses) w.addresses = k->addresses_text;
    if (!w.limits) w.limits = k->limits_text;
    if (!w.budgets) w.budgets = k->budgets_text;
    if (!w.tags) w.tags = k->tags;
    if (!w.weight) w.weight = k->weight;
    if (w.priority == KEY_PRIORITY_KEPT) w.priority = k->priority;
    if (kept) w.expires_ms = 0; /* it may have expired long ago */
    ok = wish_ok(&w, j->now_ms, e);
    if (kept) w.expires_ms = k->expires_ms;
    ok = ok &&
         session_run(c,
                     "UPDATE keys SET name = $1, project = $2, scopes = $3, addresses = $4, limits = $5, "
                     "budgets = $6, tags = $7, expires_ms = $8, weight = $9, priority = $10 WHERE id = $11",
                     STORE_ARGS(STORE_V(w.name), STORE_V(w.project), STORE_V(w.scopes), STORE_V(w.addresses),
                                STORE_V(w.limits), STORE_V(w.budgets), STORE_V(w.tags), STORE_V(w.expires_ms),
                                STORE_V(w.weight), STORE_V(w.priority), STORE_V(j->id)),
                     NULL, NULL, e);
    j->found = ok;
    key_list_free(&l);
    return ok;
}

static bool change_rules(void *arg, struct session *c, struct err *e)
{
    return change_key(c, arg, "key.changed", set_rules, e);
}

bool key_change(struct store *s, const char *id, const struct key_wish *w, int64_t now_ms, struct err *e)
{
    struct change j = { .w = w, .by = w->by, .id = id, .now_ms = now_ms };
    return store_write(s, change_rules, &j, e) && (j.found || err_set(e, ERR_NOT_FOUND, NONE_TO_CHANGE, id));
}

static bool set_revoked(struct session *c, struct change *j, struct err *e)
{
    if (!session_run(c, "UPDATE keys SET revoked_ms = $1 WHERE id = $2 AND revoked_ms = 0",
                     STORE_ARGS(STORE_V(j->now_ms), STORE_V(j->id)), NULL, NULL, e))
        return false;
    j->found = session_changed(c) == 1;
    return true;
}

static bool found_row(void *arg, const struct store_row *r, struct err *e)
{
    (void)r, (void)e;
    *(bool *)arg = true;
    return true;
}

/* Nothing is done to one that was revoked before, and nothing said of it. */
static bool revoke_key(void *arg, struct session *c, struct err *e)
{
    struct change *j = arg;
    return change_key(c, j, "key.revoked", set_revoked, e) &&
           session_run(c, "SELECT 1 FROM keys WHERE id = $1", STORE_ARGS(STORE_V(j->id)), found_row,
                       &j->found, e);
}

bool key_revoke(struct store *s, const char *id, const struct actor *by, int64_t now_ms, struct err *e)
{
    struct change j = { .by = by, .id = id, .now_ms = now_ms };
    if (!store_write(s, revoke_key, &j, e)) return false;
    return j.found || err_set(e, ERR_NOT_FOUND, "there is no key \"%.40s\"; `hearth keys list` has them", id);
}

/* ---- the keyring --------------------------------------------------------------------------------------------------- */

struct keyring {
    struct store *store;
    pthread_mutex_t refreshing; /* one at a time; taken before lock */
    pthread_mutex_t lock;       /* guards what follows */
    pthread_cond_t closes;
    struct key_record **v; /* by hash, ascending */
    int n;
    int64_t version; /* of the store's keys */
    bool closing, running;
    struct key_list retired; /* changed or gone; requests may hold them */
    pthread_t thread;
};

static int by_hash(const void *a, const void *b)
{
    const struct key_record *const *x = a, *const *y = b;
    return memcmp((*x)->bytes, (*y)->bytes, PRINCIPAL_HASH);
}

const struct key_record *keyring_find(struct keyring *r, const unsigned char hash[PRINCIPAL_HASH])
{
    struct key_record wanted, *p = &wanted;
    memcpy(wanted.bytes, hash, PRINCIPAL_HASH);
    pthread_mutex_lock(&r->lock);
    struct key_record **found =
        r->n ? bsearch(&p, r->v, (size_t)r->n, sizeof(struct key_record *), by_hash) : NULL;
    const struct key_record *k = found ? *found : NULL;
    pthread_mutex_unlock(&r->lock);
    return k;
}

const struct key_record *keyring_find_id(struct keyring *r, const char *id)
{
    const struct key_record *k = NULL;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < r->n && !k; i++)
        if (!strcmp(r->v[i]->id, id)) k = r->v[i];
    pthread_mutex_unlock(&r->lock);
    return k;
}

struct look {
    int64_t version;
    struct key_list keys;
    int64_t known;
};

static bool look_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool look(void *arg, struct session *c, struct err *e)
{
    struct look *l = arg;
    if (!session_run(c, "SELECT value FROM meta WHERE name = 'keys'", STORE_NO_ARGS, look_number, &l->version,
                     e))
        return false;
    return l->version == l->known || list_read(&(struct list_job){ NULL, &l->keys }, c, e);
}

/* A record that is as it was stays the same one, so that what is kept for requests grows only with changes. */
static bool replace(struct keyring *r, struct look *l, struct err *e)
{
    struct key_list *new = &l->keys;
    struct key_list retired = r->retired;
    struct key_record **v = realloc(retired.v, (size_t)(retired.n + r->n + 1) * sizeof(struct key_record *));
    if (!v) return err_set(e, ERR_NOMEM, "out of memory");
    r->retired.v = v;
    if (new->n) qsort(new->v, (size_t) new->n, sizeof(struct key_record *), by_hash);
    pthread_mutex_lock(&r->lock);
    for (int i = 0, k = 0; i < r->n; i++) {
        while (k < new->n && by_hash(&new->v[k], &r->v[i]) < 0) k++;
        if (k < new->n && same_record(new->v[k], r->v[i])) {
            record_free(new->v[k]);
            new->v[k] = r->v[i];
        } else {
            r->retired.v[r->retired.n++] = r->v[i];
        }
    }
    free(r->v);
    r->v = new->v;
    r->n = new->n;
    r->version = l->version;
    pthread_mutex_unlock(&r->lock);
    *new = (struct key_list){ .n = 0 };
    return true;
}

bool keyring_refresh(struct keyring *r, struct err *e)
{
    pthread_mutex_lock(&r->refreshing);
    struct look l = { .known = r->version };
    bool ok = store_read(r->store, look, &l, e);
    if (ok && l.version != r->version) ok = replace(r, &l, e);
    key_list_free(&l.keys);
    pthread_mutex_unlock(&r->refreshing);
    return ok;
}

static void *keyring_main(void *arg)
{
    struct keyring *r = arg;
    bool failed = false;
    for (;;) {
        const struct timespec end = wait_end(LOOK_S);
        pthread_mutex_lock(&r->lock);
        if (!r->closing) wait_until(&r->closes, &r->lock, &end);
        const bool over = r->closing;
        pthread_mutex_unlock(&r->lock);
        if (over) return NULL;
        struct err e = { ERR_NONE, "" };
        const bool ok = keyring_refresh(r, &e);
        if (!ok && !failed) log_warn("keys cannot be looked up, and those that are known go on: %s", e.msg);
        failed = !ok;
    }
}

bool keyring_open(struct keyring **out, struct store *s, struct err *e)
{
    struct keyring *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    r->store = s;
    r->version = -1;
    pthread_mutex_init(&r->refreshing, NULL);
    pthread_mutex_init(&r->lock, NULL);
    wait_init(&r->closes);
    bool ok =
        (sodium_init() >= 0 || err_set(e, ERR_IO, "libsodium could not be started")) && keyring_refresh(r, e);
    if (ok) {
        r->running = !pthread_create(&r->thread, NULL, keyring_main, r);
        if (!r->running) ok = err_set(e, ERR_NOMEM, "no thread could be started for the keys");
    }
    if (ok)
        *out = r;
    else
        keyring_close(r);
    return ok;
}

void keyring_stop(struct keyring *r)
{
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->closes);
    pthread_mutex_unlock(&r->lock);
    if (r->running) pthread_join(r->thread, NULL);
    r->running = false;
}

void keyring_close(struct keyring *r)
{
    if (!r) return;
    keyring_stop(r);
    for (int i = 0; i < r->n; i++) record_free(r->v[i]);
    free(r->v);
    key_list_free(&r->retired);
    pthread_cond_destroy(&r->closes);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->refreshing);
    free(r);
}
