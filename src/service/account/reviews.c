/* reviews.c - see reviews.h. */
#include "service/account/reviews.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HASH = 16 };
#define DAY_MS INT64_C(86400000)

const char *const review_states[3] = { "held", "approved", "refused" };

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "out of memory"); }

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static void add(crypto_generichash_state *h, const char *s, size_t n)
{
    const uint64_t len = n; /* in front, so that no two rows of texts look alike */
    crypto_generichash_update(h, (const unsigned char *)&len, sizeof len);
    crypto_generichash_update(h, (const unsigned char *)s, n);
}

static void make_id(const struct review_wish *w, char id[REVIEW_ID])
{
    unsigned char hash[HASH];
    crypto_generichash_state h;
    crypto_generichash_init(&h, NULL, 0, HASH);
    add(&h, w->who, strlen(w->who));
    add(&h, w->policy, strlen(w->policy));
    add(&h, w->text, w->len);
    crypto_generichash_final(&h, hash, HASH);
    int n = snprintf(id, REVIEW_ID, "review_");
    for (int i = 0; i < HASH; i++) n += snprintf(id + n, (size_t)(REVIEW_ID - n), "%02x", hash[i]);
}

/* The beginning, whole characters, without what no database takes. NULL: no memory. */
static char *beginning(const char *text, size_t len)
{
    size_t n = len;
    if (n > REVIEW_TEXT)
        for (n = REVIEW_TEXT; n && ((unsigned char)text[n] & 0xc0) == 0x80;) n--;
    char *out = malloc(n + 1);
    if (!out) return NULL;
    memcpy(out, text, n);
    out[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (!out[i]) out[i] = ' ';
    return out;
}

struct asking {
    const struct review_wish *w;
    const char *id, *text;
    int64_t now_ms;
    bool found;
    enum review_state state;
    char *reason;
};

static bool take_state(void *arg, const struct store_row *r, struct err *e)
{
    struct asking *a = arg;
    a->found = true;
    snprintf(a->reason, REVIEW_REASON, "%s", r->v[1].text);
    for (int i = 0; i < 3; i++) {
        if (strcmp(review_states[i], r->v[0].text) != 0) continue;
        a->state = (enum review_state)i;
        return true;
    }
    return err_set(e, ERR_FORMAT, "the review %s is neither held nor decided", a->id);
}

static bool look(void *arg, struct session *c, struct err *e)
{
    struct asking *a = arg;
    a->found = false;
    return session_run(c, "SELECT state, reason FROM reviews WHERE id = $1", STORE_ARGS(STORE_V(a->id)),
                       take_state, a, e);
}

static bool take_count(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

static bool hold(void *arg, struct session *c, struct err *e)
{
    struct asking *a = arg;
    const struct review_wish *w = a->w;
    int64_t held = 0;
    if (!look(a, c, e)) return false;
    if (a->found) return true; /* somebody was quicker */
    if (!session_run(c, "DELETE FROM reviews WHERE state <> 'held' AND decided_ms < $1",
                     STORE_ARGS(STORE_V(a->now_ms - REVIEWS_KEPT_DAYS * DAY_MS)), NULL, NULL, e) ||
        !session_run(c, "SELECT count(*) FROM reviews WHERE state = 'held'", STORE_NO_ARGS, take_count, &held,
                     e))
        return false;
    if (held >= REVIEWS_MOST)
        return err_set(e, ERR_LIMIT,
                       "%d requests wait for a person already; try again when some of them are decided",
                       REVIEWS_MOST);
    a->state = REVIEW_HELD;
    a->reason[0] = 0;
    return session_run(c,
                       "INSERT INTO reviews (id, made_ms, state, who, project, address, endpoint, policy, "
                       "words, text, reason, decided_ms, "
                       "decided_by) VALUES ($1, $2, 'held', $3, $4, $5, $6, $7, $8, $9, '', 0, '')",
                       STORE_ARGS(STORE_V(a->id), STORE_V(a->now_ms), STORE_V(w->who), STORE_V(w->project),
                                  STORE_V(w->address), STORE_V(w->endpoint), STORE_V(w->policy),
                                  STORE_V(w->words), STORE_V(a->text)),
                       NULL, NULL, e);
}

bool review_ask(struct store *s, const struct review_wish *w, int64_t now_ms, char id[REVIEW_ID],
                enum review_state *state, char reason[REVIEW_REASON], struct err *e)
{
    char *text = beginning(w->text, w->len);
    struct asking a = { .w = w, .id = id, .text = text, .now_ms = now_ms, .reason = reason };
    if (!text) return no_memory(e);
    make_id(w, id);
    reason[0] = 0;
    const bool ok = store_read(s, look, &a, e) && (a.found || store_write(s, hold, &a, e));
    if (ok) *state = a.state;
    if (!ok && e->code == ERR_LIMIT) e->code = ERR_BUSY;
    free(text);
    return ok;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

#define COLUMNS                                                                                              \
    "SELECT id, made_ms, state, who, project, address, endpoint, policy, words, text, reason, decided_ms, "  \
    "decided_by FROM reviews "

struct reading {
    const char *state, *after, *id;
    int most;
    review_fn *fn;
    void *arg;
    bool found;
};

static bool take_row(void *arg, const struct store_row *r, struct err *e)
{
    struct reading *j = arg;
    j->found = true;
    return j->fn(j->arg,
                 &(struct review){ .id = r->v[0].text,
                                   .made_ms = r->v[1].number,
                                   .state = r->v[2].text,
                                   .who = r->v[3].text,
                                   .project = r->v[4].text,
                                   .address = r->v[5].text,
                                   .endpoint = r->v[6].text,
                                   .policy = r->v[7].text,
                                   .words = r->v[8].text,
                                   .text = r->v[9].text,
                                   .reason = r->v[10].text,
                                   .decided_ms = r->v[11].number,
                                   .decided_by = r->v[12].text },
                 e);
}

static bool read_one(void *arg, struct session *c, struct err *e)
{
    struct reading *j = arg;
    return session_run(c, COLUMNS "WHERE id = $1", STORE_ARGS(STORE_V(j->id)), take_row, j, e);
}

static bool read_all(void *arg, struct session *c, struct err *e)
{
    struct reading *j = arg;
    /* Behind one that is gone meanwhile there is nothing: whoever pages begins again. */
    if (j->state)
        return session_run(
            c,
            COLUMNS "WHERE state = $1 AND ($2 = '' OR made_ms > (SELECT made_ms FROM reviews WHERE id = $2) "
                    "OR (id > $2 AND "
                    "made_ms = (SELECT made_ms FROM reviews WHERE id = $2))) ORDER BY made_ms, id LIMIT $3",
            STORE_ARGS(STORE_V(j->state), STORE_V(j->after), STORE_V(j->most)), take_row, j, e);
    return session_run(c,
                       COLUMNS "WHERE ($1 = '' OR made_ms > (SELECT made_ms FROM reviews WHERE id = $1) OR "
                               "(id > $1 AND made_ms = (SELECT "
                               "made_ms FROM reviews WHERE id = $1))) ORDER BY made_ms, id LIMIT $2",
                       STORE_ARGS(STORE_V(j->after), STORE_V(j->most)), take_row, j, e);
}

bool review_each(struct store *s, const char *state, const char *after, int most, review_fn *fn, void *arg,
                 struct err *e)
{
    struct reading j = { .state = state, .after = after, .most = most, .fn = fn, .arg = arg };
    return store_read(s, read_all, &j, e);
}

static bool not_found(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "there is no review \"%.60s\"", id);
}

bool review_find(struct store *s, const char *id, review_fn *fn, void *arg, struct err *e)
{
    struct reading j = { .id = id, .fn = fn, .arg = arg };
    return store_read(s, read_one, &j, e) && (j.found || not_found(id, e));
}

/* ---- deciding ------------------------------------------------------------------------------------------------------ */

struct deciding {
    const char *id, *state, *reason;
    const struct actor *by;
    int64_t now_ms;
    bool found;
};

static bool take_before(void *arg, const struct store_row *r, struct err *e)
{
    char **text = arg;
    json_t *o = json_pack("{s:s, s:s}", "state", r->v[0].text, "reason", r->v[1].text);
    *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return *text || no_memory(e);
}

static bool decide(void *arg, struct session *c, struct err *e)
{
    struct deciding *d = arg;
    char *before = NULL, *after = NULL;
    json_t *o = json_pack("{s:s, s:s}", "state", d->state, "reason", d->reason);
    after = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    bool ok = after || err_set(e, ERR_REQUEST, "the reason is no UTF-8");
    ok = ok && session_run(c, "SELECT state, reason FROM reviews WHERE id = $1", STORE_ARGS(STORE_V(d->id)),
                           take_before, &before, e);
    d->found = before != NULL;
    if (ok && d->found)
        ok = session_run(
                 c,
                 "UPDATE reviews SET state = $1, reason = $2, decided_ms = $3, decided_by = $4 WHERE id = $5",
                 STORE_ARGS(STORE_V(d->state), STORE_V(d->reason), STORE_V(d->now_ms), STORE_V(d->by->who),
                            STORE_V(d->id)),
                 NULL, NULL, e) &&
             audit_add(c,
                       &(struct audit_row){ .at_ms = d->now_ms,
                                            .who = d->by->who,
                                            .from = d->by->from,
                                            .act = "review.decided",
                                            .target = d->id,
                                            .before = before,
                                            .after = after },
                       e);
    free(before);
    free(after);
    return ok;
}

bool review_decide(struct store *s, const char *id, bool approve, const char *reason, const struct actor *by,
                   int64_t now_ms, struct err *e)
{
    struct deciding d = { .id = id,
                          .state = review_states[approve ? REVIEW_APPROVED : REVIEW_REFUSED],
                          .reason = reason,
                          .by = by,
                          .now_ms = now_ms };
    if (!approve && !*reason) return err_set(e, ERR_REQUEST, "say why it is refused: the client is told");
    if (strlen(reason) >= REVIEW_REASON)
        return err_set(e, ERR_REQUEST, "a reason has %d bytes at most", REVIEW_REASON - 1);
    return store_write(s, decide, &d, e) && (d.found || not_found(id, e));
}
