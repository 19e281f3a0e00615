/* ledger.c - see ledger.h. */
#include "service/account/ledger.h"

#include <inttypes.h>
#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/rng.h"
#include "service/account/chain.h"
#include "service/account/row.h"

enum { PAGE = 1000 };
#define COUNT(...) +1
enum { N_FIELDS = 0 LEDGER_FIELDS(COUNT, COUNT) };
enum { N_LATER = 0 LEDGER_LATER(COUNT, COUNT), N_FIRST = N_FIELDS - N_LATER };
_Static_assert(N_FIELDS == 29, "the statement below has a place for each");

#define NAME_TEXT(name, size) #name ", "
#define NAME_NUMBER(name) #name ", "
#define NAMES LEDGER_FIELDS(NAME_TEXT, NAME_NUMBER)

void ledger_uid(char uid[33])
{
    unsigned char r[16];
    rng_os(r, sizeof r);
    sodium_bin2hex(uid, 33, r, sizeof r);
}

static void hash_row(const struct ledger_row *r, const char *before, char out[LEDGER_HASH])
{
    struct chain c;
    chain_begin(&c, before, r->seq);
    int n = N_FIELDS;
    while (n > N_FIRST && !*row_value(r, &row_fields[n - 1]).text) n--;
    for (int i = 0; i < n; i++) {
        const struct store_value v = row_value(r, &row_fields[i]);
        if (v.text)
            chain_text(&c, v.text);
        else
            chain_number(&c, v.number);
    }
    chain_end(&c, out);
}

/* ---- adding -------------------------------------------------------------------------------------------------------- */

bool ledger_append(struct session *c, struct ledger_row *row, bool *added, struct err *e)
{
    struct chain_head head = { .seq = -1 };
    struct store_value v[N_FIELDS + 2];
    /* Changed to what it is: in a database that servers share, the next one waits here for this transaction's end. */
    if (!session_run(c, "UPDATE ledger_head SET seq = seq WHERE one = 1 RETURNING seq, hash", STORE_NO_ARGS,
                     chain_head_row, &head, e))
        return false;
    if (head.seq < 0) return err_set(e, ERR_FORMAT, "the ledger's head is missing: `hearth ledger verify`");
    row->seq = head.seq + 1;
    hash_row(row, head.hash, row->hash);
    for (int i = 0; i < N_FIELDS; i++) v[i] = row_value(row, &row_fields[i]);
    v[N_FIELDS] = store_number(row->seq);
    v[N_FIELDS + 1] = store_text(row->hash);
    if (!session_run(
            c,
            "INSERT INTO ledger (" NAMES
            "seq, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, "
            "$16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31) ON CONFLICT "
            "(uid) DO NOTHING",
            v, N_FIELDS + 2, NULL, NULL, e))
        return false;
    const char *hash = row->hash;
    *added = session_changed(c) > 0;
    return !*added || session_run(c, "UPDATE ledger_head SET seq = $1, hash = $2 WHERE one = 1",
                                  STORE_ARGS(STORE_V(row->seq), STORE_V(hash)), NULL, NULL, e);
}

struct posted {
    struct ledger_row row;
    ledger_also *also;
    const void *arg;
    ledger_told *told; /* NULL: nobody wants to know */
    void *told_arg;
};

static bool append_posted(void *arg, struct session *c, struct err *e)
{
    struct posted *p = arg;
    bool added;
    return ledger_append(c, &p->row, &added, e) && (!added || !p->also || p->also(p->arg, &p->row, c, e));
}

/* So that nothing is lost that could not be written: a person can still read it. */
static void log_row(const struct ledger_row *r, const char *why)
{
    log_error("a row of the ledger could not be kept (%s): %s ended_ms=%" PRId64
              " key=%s model=%s prompt=%" PRId64 " cached=%" PRId64 " completion=%" PRId64
              " reasoning=%" PRId64 " steps=%" PRId64 " pictures=%" PRId64 " cost=%" PRId64 " how=%s",
              why, r->uid, r->ended_ms, r->key_id, r->model, r->prompt, r->cached, r->completion,
              r->reasoning, r->steps, r->pictures, r->cost, r->how);
}

static void tell(const struct posted *p, enum ledger_news news)
{
    if (p->told) p->told(p->told_arg, news);
}

static void posted_late(void *arg) { tell(arg, LEDGER_LATE); }

static void posted_done(void *arg, const struct err *e)
{
    struct posted *p = arg;
    if (e) log_row(&p->row, e->msg);
    tell(p, e ? LEDGER_LOST : LEDGER_KEPT);
    free(p);
}

bool ledger_post_told(struct store *s, const struct ledger_row *row, ledger_also *also, const void *arg,
                      ledger_told *told, void *told_arg)
{
    struct err e = { ERR_NOMEM, "out of memory" };
    struct posted *p = malloc(sizeof *p);
    if (p) *p = (struct posted){ *row, also, arg, told, told_arg };
    if (p && store_post_late(s, append_posted, posted_done, posted_late, p, &e)) return true;
    log_row(row, e.msg);
    if (told) told(told_arg, LEDGER_LOST);
    free(p);
    return false;
}

bool ledger_post(struct store *s, const struct ledger_row *row, ledger_also *also, const void *arg)
{
    return ledger_post_told(s, row, also, arg, NULL, NULL);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void take_row(const struct store_row *from, struct ledger_row *r)
{
    memset(r, 0, sizeof *r);
    for (int i = 0; i < N_FIELDS; i++) row_take(r, &row_fields[i], &from->v[i]);
    r->seq = from->v[N_FIELDS].number;
    snprintf(r->hash, sizeof r->hash, "%s", from->v[N_FIELDS + 1].text);
}

struct page {
    bool (*fn)(void *arg, const struct ledger_row *r, struct err *e);
    void *arg;
    int64_t last; /* seq */
    int n;
};

static bool page_row(void *arg, const struct store_row *from, struct err *e)
{
    struct page *p = arg;
    struct ledger_row r;
    take_row(from, &r);
    p->last = r.seq;
    p->n++;
    return p->fn(p->arg, &r, e);
}

/* In pages, because one of the databases gives out a result only when it has the whole of it. */
static bool each_row(struct session *c, int64_t from_ms, int64_t to_ms, struct page *p, struct err *e)
{
    p->last = INT64_MIN;
    do {
        p->n = 0;
        if (!session_run(
                c,
                "SELECT " NAMES
                "seq, hash FROM ledger WHERE seq > $1 AND ended_ms >= $2 AND ended_ms < $3 ORDER BY seq "
                "LIMIT $4",
                STORE_ARGS(STORE_V(p->last), STORE_V(from_ms), STORE_V(to_ms), STORE_V(PAGE)), page_row, p,
                e))
            return false;
    } while (p->n == PAGE);
    return true;
}

struct each {
    struct page page;
    int64_t from_ms, to_ms;
};

static bool each_read(void *arg, struct session *c, struct err *e)
{
    struct each *j = arg;
    return each_row(c, j->from_ms, j->to_ms, &j->page, e);
}

bool ledger_each(struct store *s, int64_t from_ms, int64_t to_ms,
                 bool (*fn)(void *arg, const struct ledger_row *r, struct err *e), void *arg, struct err *e)
{
    struct each j = { { .fn = fn, .arg = arg }, from_ms, to_ms };
    return store_read(s, each_read, &j, e);
}

struct part {
    struct page page;
    int64_t after, from_ms, to_ms, most;
};

static bool part_read(void *arg, struct session *c, struct err *e)
{
    struct part *j = arg;
    return session_run(
        c,
        "SELECT " NAMES
        "seq, hash FROM ledger WHERE seq > $1 AND ended_ms >= $2 AND ended_ms < $3 ORDER BY seq "
        "LIMIT $4",
        STORE_ARGS(STORE_V(j->after), STORE_V(j->from_ms), STORE_V(j->to_ms), STORE_V(j->most)), page_row,
        &j->page, e);
}

bool ledger_page(struct store *s, int64_t after, int64_t from_ms, int64_t to_ms, int most,
                 bool (*fn)(void *arg, const struct ledger_row *r, struct err *e), void *arg, struct err *e)
{
    struct part j = { { .fn = fn, .arg = arg }, after, from_ms, to_ms, most };
    return store_read(s, part_read, &j, e);
}

struct find {
    const char *id;
    struct ledger_row *row;
    bool found;
};

static bool found_row(void *arg, const struct store_row *from, struct err *e)
{
    struct find *f = arg;
    (void)e;
    take_row(from, f->row);
    f->found = true;
    return true;
}

static bool find_read(void *arg, struct session *c, struct err *e)
{
    struct find *f = arg;
    return session_run(c,
                       "SELECT " NAMES "seq, hash FROM ledger WHERE uid = $1 OR request = $1 ORDER BY seq "
                       "DESC LIMIT 1",
                       STORE_ARGS(STORE_V(f->id)), found_row, f, e);
}

bool ledger_find(struct store *s, const char *id, struct ledger_row *out, struct err *e)
{
    struct find f = { id, out, false };
    return store_read(s, find_read, &f, e) &&
           (f.found || err_set(e, ERR_NOT_FOUND, "the ledger has no row of \"%.80s\"", id));
}

/* ---- verifying ----------------------------------------------------------------------------------------------------- */

struct verify {
    struct chain_head at, noted;
    struct ledger_sum sum;
    bool noted_seen;
};

static bool verify_row(void *arg, const struct ledger_row *r, struct err *e)
{
    struct verify *v = arg;
    char hash[LEDGER_HASH];
    if (r->seq != v->at.seq + 1)
        return err_set(e, ERR_FORMAT, "the ledger: row %" PRId64 " is missing; %" PRId64 " follows %" PRId64,
                       v->at.seq + 1, r->seq, v->at.seq);
    hash_row(r, v->at.hash, hash);
    if (strcmp(hash, r->hash) != 0)
        return err_set(e, ERR_FORMAT,
                       "the ledger: row %" PRId64
                       " (request %s) is not as it was written, or not in its place",
                       r->seq, r->request);
    v->at.seq = r->seq;
    memcpy(v->at.hash, hash, sizeof hash);
    if (r->seq == v->noted.seq) v->noted_seen = !strcmp(hash, v->noted.hash);
    v->sum.rows++;
    v->sum.prompt += r->prompt;
    v->sum.completion += r->completion;
    v->sum.steps += r->steps;
    v->sum.pictures += r->pictures;
    v->sum.cost += r->cost;
    return true;
}

static bool verify_read(void *arg, struct session *c, struct err *e)
{
    struct verify *v = arg;
    struct page p = { .fn = verify_row, .arg = v };
    struct chain_head head = { .seq = -1 };
    if (!each_row(c, INT64_MIN, INT64_MAX, &p, e) ||
        !session_run(c, "SELECT seq, hash FROM ledger_head WHERE one = 1", STORE_NO_ARGS, chain_head_row,
                     &head, e))
        return false;
    if (head.seq != v->at.seq || strcmp(head.hash, v->at.hash) != 0)
        return err_set(e, ERR_FORMAT,
                       "the ledger ends at row %" PRId64 ", but row %" PRId64 " was written last", v->at.seq,
                       head.seq);
    return v->noted_seen || !v->noted.seq ||
           err_set(e, ERR_FORMAT,
                   "row %" PRId64 " is not the one whose hash was noted: the chain was made anew, or cut",
                   v->noted.seq);
}

bool ledger_verify(struct store *s, const char *noted, struct ledger_sum *out, struct err *e)
{
    struct verify v = { .at = { .seq = 0 } };
    if (!chain_head_parse(noted, &v.noted, e) || !store_read(s, verify_read, &v, e)) return false;
    *out = v.sum;
    memcpy(out->head, v.at.hash, sizeof out->head);
    return true;
}

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

struct sums {
    enum usage_by by;
    int64_t from_ms, to_ms;
    bool (*fn)(void *arg, const struct usage_line *l, struct err *e);
    void *arg;
};

static bool sums_row(void *arg, const struct store_row *r, struct err *e)
{
    const struct sums *j = arg;
    char day[32];
    const struct store_value *v = r->v;
    struct usage_line l = { v[0].text,   v[1].number, v[2].number, v[3].number, v[4].number,
                            v[5].number, v[6].number, v[7].number, v[8].number };
    if (!l.by) {
        const time_t t = (time_t)(v[0].number * 86400);
        struct tm tm;
        strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&t, &tm));
        l.by = day;
    }
    return j->fn(j->arg, &l, e);
}

const char *const usage_by_name[N_USAGE_BY] = { "key", "model", "day", "project", "endpoint", "route" };

static bool sums_read(void *arg, struct session *c, struct err *e)
{
#define SUMS(what)                                                                                           \
    "SELECT " what ", count(*), sum(prompt), sum(cached), sum(completion), sum(reasoning), sum(pictures), "  \
    "sum(steps), sum(cost) "                                                                                 \
    "FROM ledger WHERE ended_ms >= $1 AND ended_ms < $2 GROUP BY " what " ORDER BY " what
    static const char *const sql[N_USAGE_BY] = { [USAGE_BY_KEY] = SUMS("key_id"),
                                                 [USAGE_BY_MODEL] = SUMS("model"),
                                                 [USAGE_BY_DAY] = SUMS("ended_ms / 86400000"),
                                                 [USAGE_BY_PROJECT] = SUMS("project"),
                                                 [USAGE_BY_ENDPOINT] = SUMS("endpoint"),
                                                 [USAGE_BY_ROUTE] = SUMS("route") };
#undef SUMS
    struct sums *j = arg;
    return session_run(c, sql[j->by], STORE_ARGS(STORE_V(j->from_ms), STORE_V(j->to_ms)), sums_row, j, e);
}

bool ledger_usage(struct store *s, enum usage_by by, int64_t from_ms, int64_t to_ms,
                  bool (*fn)(void *arg, const struct usage_line *l, struct err *e), void *arg, struct err *e)
{
    return store_read(s, sums_read, &(struct sums){ by, from_ms, to_ms, fn, arg }, e);
}
