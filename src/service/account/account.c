/* account.c - see account.h. */
#include "service/account/account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "service/account/ages.h"
#include "service/account/budget_events.h"
#include "service/account/budgets.h"
#include "service/account/journal.h"
#include "service/account/ledger.h"
#include "service/account/line_answer.h"
#include "service/account/money.h"
#include "service/account/record.h"
#include "service/account/row.h"
#include "service/account/tracker.h"

/* The prices that held from a moment on. A request is settled by those that it was reserved by, so that older ones are kept. */
struct price_table {
    double from_s; /* of the clock that nobody sets */
    struct prices *is;
    struct price_table *older;
};

struct account {
    struct store *store;
    struct keyring *keyring;
    _Atomic(struct price_table *) prices;
    struct time_source time;
    struct ages ages; /* of reservations */
    struct journal *journal;
    char *tracker;         /* NULL: none */
    atomic_bool untracked; /* it could not be written, and the log has that */
};

/* ---- what killed servers left -------------------------------------------------------------------------------------- */

static bool take_number(void *arg, const struct store_row *r, struct err *e)
{
    (void)e;
    *(int64_t *)arg = r->v[0].number;
    return true;
}

/* A number that tells one store's journals from another's. *id is the one to give it where it has none. */
static bool name_store(void *arg, struct session *c, struct err *e)
{
    int64_t *id = arg;
    return session_run(c, "INSERT INTO meta (name, value) VALUES ('id', $1) ON CONFLICT (name) DO NOTHING",
                       STORE_ARGS(STORE_V(*id)), NULL, NULL, e) &&
           session_run(c, "SELECT value FROM meta WHERE name = 'id'", STORE_NO_ARGS, take_number, id, e);
}

struct left {
    struct account *account;
    const struct ledger_row *rows;
    int n, n_added;
};

static bool add_left(void *arg, struct session *c, struct err *e)
{
    struct left *l = arg;
    l->n_added = 0;
    for (int i = 0; i < l->n; i++) {
        struct ledger_row r = l->rows[i];
        bool added;
        if (!ledger_append(c, &r, &added, e)) return false;
        if (added && !budget_settle_reserved(c, r.uid, r.cost, e)) return false;
        l->n_added += added;
    }
    return true;
}

static bool take_left(void *arg, const struct ledger_row *rows, int n, struct err *e)
{
    struct left l = { arg, rows, n, 0 };
    if (!store_write(l.account->store, add_left, &l, e)) return false;
    if (l.n_added)
        log_warn("a server was killed with %d requests under way: the ledger has them now", l.n_added);
    return true;
}

static bool open_journal(struct account *a, const char *folder, struct err *e)
{
    int64_t id;
    rng_os(&id, sizeof id);
    id &= INT64_MAX;
    return store_write(a->store, name_store, &id, e) &&
           journal_open(&a->journal, folder, id, take_left, a, e);
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

bool account_set_prices(struct account *a, const struct catalog *c, const char *path, struct err *e)
{
    struct price_table *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "out of memory");
    if (!prices_open(&t->is, c, path, e)) {
        free(t);
        return false;
    }
    t->older = atomic_load(&a->prices);
    t->from_s = time_seconds(&a->time);
    atomic_store(&a->prices, t);
    return true;
}

bool account_open(struct account **out, const struct account_options *o, struct err *e)
{
    struct account *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    a->time = o->time;
    const bool tracks = o->tracker && *o->tracker;
    a->tracker = tracks ? strdup(o->tracker) : NULL;
    ages_init(&a->ages, (int64_t)(o->reserved_s * 1000), time_seconds(&a->time), time_unix_ms(&a->time));
    if ((!tracks || a->tracker || err_set(e, ERR_NOMEM, "out of memory")) &&
        account_set_prices(a, o->catalog, o->prices, e) &&
        store_open(&a->store, o->store, &(struct store_options){ 0 }, e) &&
        keyring_open(&a->keyring, a->store, e) && open_journal(a, o->journal, e)) {
        *out = a;
        return true;
    }
    account_close(a);
    return false;
}

void account_close(struct account *a)
{
    if (!a) return;
    keyring_stop(a->keyring); /* it reads the store, which may not go under it */
    store_close(a->store);    /* writes what is waiting, which may look at keys and clears the journal */
    journal_close(a->journal);
    keyring_close(a->keyring);
    for (struct price_table *t = atomic_load(&a->prices), *older; t; t = older) {
        older = t->older;
        prices_close(t->is);
        free(t);
    }
    ages_free(&a->ages);
    free(a->tracker);
    free(a);
}

const char *account_where(const struct account *a) { return store_where(a->store); }
struct keyring *account_keyring(struct account *a) { return a->keyring; }
struct store *account_store(const struct account *a) { return a->store; }

void account_name(const struct account *a, struct identity *is)
{
    if (*is->batch)
        line_uid(is->batch, is->line, is->uid);
    else
        ledger_uid(is->uid);
    is->asked_ms = a ? time_unix_ms(&a->time) : clock_unix_ms();
}

bool account_enter(struct account *a, struct account_refusal *r)
{
    struct err away;
    *r = (struct account_refusal){ .why = ACCOUNT_AWAY };
    if (!store_away(a->store, &away)) return true;
    snprintf(r->msg, sizeof r->msg, "what is used cannot be written down now; try again later");
    return false;
}

/* ---- budgets ------------------------------------------------------------------------------------------------------- */

/* A price that begins while a request runs is not its price: it costs no more than what was reserved for it. */
struct price account_price(const struct account *a, const char *model, const struct identity *is)
{
    const struct price_table *t = atomic_load(&a->prices);
    if (!is) return prices_of(t->is, model, time_unix_ms(&a->time));
    while (t->older && is->started < t->from_s) t = t->older;
    const struct price p = prices_of(t->is, model, is->asked_ms);
    return *is->batch ? price_in_batch(&p) : p;
}

/* Whose budgets a request is paid from: its key's and its project's. n 0: nobody's. */
struct payers {
    char key[PRINCIPAL_ID + 8], project[260];
    struct budget_one v[2];
    int n;
};

static void payers_of(const struct key_record *k, struct payers *p)
{
    p->n = 0;
    if (!k) return;
    snprintf(p->key, sizeof p->key, "key:%s", k->id);
    snprintf(p->project, sizeof p->project, "project:%s", k->project);
    if (budget_rules_any(&k->budgets)) p->v[p->n++] = (struct budget_one){ p->key, &k->budgets };
    if (*k->project && budget_rules_any(&k->project_budgets))
        p->v[p->n++] = (struct budget_one){ p->project, &k->project_budgets };
}

struct reservation {
    const char *id;
    struct payers who;
    int64_t nano, now_ms;
    struct age_bounds alive; /* reservations outside are of servers that are no more */
    bool again;              /* a killed server may have reserved for it: what it did is taken back */
    enum budget_answer answer;
    struct budget_hit hit;
};

/* What killed servers have left is looked at when it stands in the way. */
static bool reserve(void *arg, struct session *c, struct err *e)
{
    struct reservation *j = arg;
    int64_t released;
    if (j->again && !budget_settle_reserved(c, j->id, 0, e)) return false;
    if (!budget_reserve(c, j->id, j->who.v, j->who.n, j->nano, j->now_ms, &j->answer, &j->hit, e))
        return false;
    if (j->answer != BUDGET_SPENT) return true;
    if (!budget_release(c, &j->alive, &released, e)) return false;
    if (released && !budget_reserve(c, j->id, j->who.v, j->who.n, j->nano, j->now_ms, &j->answer, &j->hit, e))
        return false;
    return j->answer != BUDGET_SPENT || budget_events_refused(c, &j->hit, j->now_ms, e);
}

static void describe(const struct reservation *j, char *out, size_t cap)
{
    const struct budget_hit *h = &j->hit;
    char limit[MONEY_TEXT], spent[MONEY_TEXT], reserved[MONEY_TEXT], nano[MONEY_TEXT];
    snprintf(out, cap,
             "%s: the budget of %s dollars (%s) has %s spent and %s reserved, and this may cost up to %s",
             h->owner, money_print(h->limit, limit), period_name(h->period), money_print(h->spent, spent),
             money_print(h->reserved, reserved), money_print(j->nano, nano));
}

static void reservation_of(struct account *a, const struct identity *is, int64_t nano, struct reservation *j)
{
    *j = (struct reservation){
        .id = is->uid, .nano = nano, .now_ms = time_unix_ms(&a->time), .again = *is->batch != 0
    };
    payers_of(is->who.key, &j->who);
    j->alive = ages_look(&a->ages, time_seconds(&a->time), j->now_ms);
}

/* ok: the store could be asked. */
static bool answer(const struct reservation *j, bool ok, struct account_refusal *r)
{
    *r = (struct account_refusal){ .why = ACCOUNT_AWAY };
    if (!ok) {
        snprintf(r->msg, sizeof r->msg, "the budget cannot be looked at now; try again later");
        return false;
    }
    if (j->answer != BUDGET_OPEN) describe(j, r->msg, sizeof r->msg);
    if (j->answer != BUDGET_SPENT) return true;
    r->why = ACCOUNT_SPENT;
    r->again_ms = j->hit.again_ms;
    return false;
}

bool account_reserve(struct account *a, const struct identity *is, const char *model,
                     const struct usage *worst, struct account_refusal *r)
{
    const struct price price = account_price(a, model, is);
    return account_reserve_cost(a, is, price_cost(&price, worst), r);
}

bool account_reserve_cost(struct account *a, const struct identity *is, int64_t nano,
                          struct account_refusal *r)
{
    struct reservation j;
    struct err e;
    reservation_of(a, is, nano, &j);
    return answer(&j, !j.who.n || store_write(a->store, reserve, &j, &e), r);
}

static bool free_reserved(void *id, struct session *c, struct err *e)
{
    return budget_settle_reserved(c, id, 0, e);
}

bool account_release(struct account *a, const struct identity *is)
{
    struct err e;
    char id[sizeof is->uid];
    memcpy(id, is->uid, sizeof id);
    return !is->who.key || store_write(a->store, free_reserved, id, &e);
}

static bool look_for_room(void *arg, struct session *c, struct err *e)
{
    struct reservation *j = arg;
    return budget_look(c, j->who.v, j->who.n, j->nano, j->now_ms, &j->answer, &j->hit, e);
}

/* Where there is none, killed servers may have left what stands in the way. */
static bool make_room(void *arg, struct session *c, struct err *e)
{
    struct reservation *j = arg;
    return reserve(j, c, e) && (j->answer == BUDGET_SPENT || budget_settle_reserved(c, j->id, 0, e));
}

bool account_has_room(struct account *a, const struct identity *is, const char *model,
                      struct account_refusal *r)
{
    const struct price price = account_price(a, model, is);
    struct reservation j;
    struct err e;
    reservation_of(a, is, price_cost(&price, &(struct usage){ .prompt_tokens = 1 }), &j);
    bool ok = !j.who.n || store_read(a->store, look_for_room, &j, &e);
    if (ok && j.answer == BUDGET_SPENT) ok = store_write(a->store, make_room, &j, &e);
    if (ok && j.answer == BUDGET_WARNS) j.answer = BUDGET_OPEN; /* that is said when it is reserved */
    return answer(&j, ok, r);
}

/* In the transaction of its row, so that the two never say different things. */
static bool settle(const void *key, const struct ledger_row *row, struct session *c, struct err *e)
{
    struct payers who;
    payers_of(key, &who);
    return budget_settle(c, row->uid, who.v, who.n, row->cost, row->ended_ms, e) &&
           budget_events_settled(c, who.v, who.n, row->ended_ms, e);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static int64_t micros(double seconds) { return seconds > 0 ? (int64_t)(seconds * 1e6) : 0; }

static void row_of(const struct account *a, const struct ending *e, struct ledger_row *r)
{
    const struct usage *u = &e->usage;
    const struct key_record *k = e->of.who.key;
    *r = (struct ledger_row){ .ended_ms = time_unix_ms(&a->time),
                              .prompt = u->prompt_tokens,
                              .cached = u->cached_tokens,
                              .completion = u->completion_tokens,
                              .reasoning = u->reasoning_tokens,
                              .pictures = u->pictures,
                              .steps = u->steps,
                              .pixels = u->pixels,
                              .queue_us = micros(u->queue_s),
                              .first_us = micros(u->ttft_s),
                              .total_us = micros(e->seconds),
                              .status = e->status };
    const struct price price = account_price(a, e->model, &e->of);
    r->cost = e->priced ? e->cost : price_cost(&price, u);
    memcpy(r->uid, e->of.uid, sizeof r->uid);
    row_text(r->request, sizeof r->request, e->of.id);
    row_text(r->key_id, sizeof r->key_id, e->of.who.id);
    row_text(r->project, sizeof r->project, k ? k->project : "");
    row_text(r->address, sizeof r->address, e->of.address);
    row_text(r->dialect, sizeof r->dialect, e->of.dialect);
    row_text(r->endpoint, sizeof r->endpoint, e->of.endpoint);
    row_text(r->path, sizeof r->path, e->path);
    row_text(r->model, sizeof r->model, e->model);
    row_text(r->how, sizeof r->how, end_how_name(e->how));
    row_text(r->error, sizeof r->error, e->error ? e->error : "");
    row_text(r->seed, sizeof r->seed, e->seed);
    row_text(r->request_hash, sizeof r->request_hash, e->request_hash);
    row_text(r->model_hash, sizeof r->model_hash, e->model_hash);
    row_text(r->route, sizeof r->route, e->route);
}

/* Until it has ended: what is known when nobody will ever say how it went. */
void account_begun(struct account *a, struct ending *e)
{
    struct ledger_row r;
    if (*e->of.batch) return; /* it is asked again, and pays then */
    row_of(a, e, &r);
    row_text(r.how, sizeof r.how, "lost");
    e->slot = journal_put(a->journal, e->slot, &r);
}

struct booking {
    struct account *account;
    int slot;
    void (*told)(void *arg); /* NULL: nobody waits, or not any more */
    void *arg;
    const struct key_record *key;
    bool settles, recorded, answers;
    struct record record;
    struct line_answer answer; /* of a line of a batch */
    struct ledger_row row;
};

/* Opened for each line, so that whoever rotates logs needs to tell nobody. */
static void track(struct account *a, const struct ledger_row *row)
{
    struct buf b = BUF_INIT(16 << 10);
    tracker_line(&b, row);
    if (b.len) {
        const int fd = open(a->tracker, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        const bool ok = fd >= 0 && !b.failed && write(fd, b.data, b.len) == (ssize_t)b.len;
        if (!ok && !atomic_exchange(&a->untracked, true))
            log_error(
                "tracker log %s: %s; lines are left out, `hearth ledger export --lines tracker` has them",
                a->tracker, strerror(errno));
        if (ok) atomic_store(&a->untracked, false);
        if (fd >= 0) close(fd);
    }
    buf_free(&b);
}

static void booked(void *arg, enum ledger_news news)
{
    struct booking *b = arg;
    if (news == LEDGER_KEPT) journal_clear(b->account->journal, b->slot);
    if (news == LEDGER_KEPT && b->account->tracker) track(b->account, &b->row);
    if (b->told) b->told(b->arg);
    b->told = NULL;
    if (news == LEDGER_LATE) return;
    if (b->recorded) record_free(&b->record);
    if (b->answers) line_answer_free(&b->answer);
    free(b); /* what was lost stays in the journal */
}

static bool also(const void *arg, const struct ledger_row *row, struct session *c, struct err *e)
{
    const struct booking *b = arg;
    return (!b->settles || settle(b->key, row, c, e)) && (!b->recorded || record_put(&b->record, c, e)) &&
           (!b->answers || line_answer_put(&b->answer, c, e));
}

/* A line that is asked again pays nothing for this time: what was reserved for it is given back. */
static bool release(void *arg, struct session *c, struct err *e)
{
    return budget_settle_reserved(c, arg, 0, e);
}

static void released(void *arg, const struct err *e)
{
    (void)e;
    free(arg);
}

static void give_back(struct account *a, const struct ending *e)
{
    char *uid = strdup(e->of.uid);
    if (uid && !store_post(a->store, release, released, uid, NULL)) free(uid);
}

void account_book(void *arg, struct ending *e, void (*told)(void *told_arg), void *told_arg)
{
    struct account *a = arg;
    struct payers who;
    struct ledger_row r;
    payers_of(e->of.who.key, &who);
    if (*e->of.batch && !e->answer.len) {
        if (who.n) give_back(a, e);
        if (told) told(told_arg);
        return;
    }
    row_of(a, e, &r);
    struct booking *b = calloc(1, sizeof *b);
    if (*e->of.batch && !b) { /* asked again when there is memory */
        if (told) told(told_arg);
        return;
    }
    /* Only what came to its end can be made again. */
    const bool recorded = b && e->recording && e->how == END_DONE &&
                          record_make(&b->record, r.uid, r.ended_ms, r.path, e->recording, r.answer_hash);
    const int slot = *e->of.batch ? -1 : journal_put(a->journal, e->slot, &r);
    if (b) {
        b->account = a;
        b->row = r;
        b->slot = slot;
        b->told = told;
        b->arg = told_arg;
        b->key = e->of.who.key;
        b->settles = who.n > 0;
        b->recorded = recorded;
        b->answers = *e->of.batch != 0;
        if (b->answers) line_answer_take(&b->answer, e);
        ledger_post_told(a->store, &r, also, b, booked, b);
    } else {
        ledger_post(a->store, &r, who.n ? settle : NULL, e->of.who.key);
        if (told) told(told_arg);
    }
}
