/* audit.c - see audit.h. */
#include "service/account/audit.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define NAMES "seq, at_ms, who, from_address, act, target, before_json, after_json"

static void hash_row(const struct audit_row *r, int64_t seq, const char *before, char out[CHAIN_HASH])
{
    const char *const texts[] = { r->who, r->from, r->act, r->target, r->before, r->after };
    struct chain c;
    chain_begin(&c, before, seq);
    chain_number(&c, r->at_ms);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) chain_text(&c, texts[i]);
    chain_end(&c, out);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

struct each {
    int64_t after, most;
    bool (*fn)(void *arg, const struct audit_row *row, struct err *e);
    void *arg;
};

static bool take(void *arg, const struct store_row *r, struct err *e)
{
    const struct each *j = arg;
    const struct store_value *v = r->v;
    const struct audit_row row = { v[0].number, v[1].number, v[2].text, v[3].text, v[4].text,
                                   v[5].text,   v[6].text,   v[7].text, v[8].text };
    return j->fn(j->arg, &row, e);
}

static bool read_rows(void *arg, struct session *c, struct err *e)
{
    struct each *j = arg;
    return session_run(c, "SELECT " NAMES ", hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
                       STORE_ARGS(STORE_V(j->after), STORE_V(j->most)), take, j, e);
}

bool audit_each(struct store *s, int64_t after, int most,
                bool (*fn)(void *arg, const struct audit_row *row, struct err *e), void *arg, struct err *e)
{
    struct each j = { after, most, fn, arg };
    return store_read(s, read_rows, &j, e);
}

/* ---- adding -------------------------------------------------------------------------------------------------------- */

/* arg: the head, which goes on to this row. */
static bool go_on(void *arg, const struct audit_row *r, struct err *e)
{
    struct chain_head *h = arg;
    char hash[CHAIN_HASH];
    (void)e;
    hash_row(r, r->seq, h->hash, hash);
    *h = (struct chain_head){ .seq = r->seq };
    memcpy(h->hash, hash, sizeof hash);
    return true;
}

bool audit_add(struct session *c, const struct audit_row *r, struct err *e)
{
    struct chain_head head = { .seq = -1 };
    struct each all = { 0, INT64_MAX, go_on, &head };
    char new_hash[CHAIN_HASH];
    /* Changed to what it is: in a database that servers share, the next one waits here for this transaction's end. */
    if (!session_run(c, "UPDATE audit_head SET seq = seq WHERE one = 1 RETURNING seq, hash", STORE_NO_ARGS,
                     chain_head_row, &head, e))
        return false;
    if (head.seq < 0) return err_set(e, ERR_FORMAT, "the audit's head is missing: `hearth audit verify`");
    if (!head.seq && !read_rows(&all, c, e)) return false; /* those of before there was a chain */
    const int64_t seq = head.seq + 1;
    hash_row(r, seq, head.hash, new_hash);
    const char *hash = new_hash;
    return session_run(c, "INSERT INTO audit (" NAMES ", hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                       STORE_ARGS(STORE_V(seq), STORE_V(r->at_ms), STORE_V(r->who), STORE_V(r->from),
                                  STORE_V(r->act), STORE_V(r->target), STORE_V(r->before), STORE_V(r->after),
                                  STORE_V(hash)),
                       NULL, NULL, e) &&
           session_run(c, "UPDATE audit_head SET seq = $1, hash = $2 WHERE one = 1",
                       STORE_ARGS(STORE_V(seq), STORE_V(hash)), NULL, NULL, e);
}

/* ---- verifying ----------------------------------------------------------------------------------------------------- */

struct verify {
    struct chain_head at, noted;
    bool chained, noted_seen; /* chained: a row with a hash was seen, and behind it all have one */
};

static bool verify_row(void *arg, const struct audit_row *r, struct err *e)
{
    struct verify *v = arg;
    if (r->seq != v->at.seq + 1)
        return err_set(e, ERR_FORMAT, "the audit: row %" PRId64 " is missing; %" PRId64 " follows %" PRId64,
                       v->at.seq + 1, r->seq, v->at.seq);
    go_on(&v->at, r, e);
    v->chained |= *r->hash != 0;
    if (v->chained && strcmp(v->at.hash, r->hash) != 0)
        return err_set(e, ERR_FORMAT,
                       "the audit: row %" PRId64
                       " (%.40s of %.60s) or one before it is not as it was written, or "
                       "not in its place",
                       r->seq, r->act, r->target);
    if (r->seq == v->noted.seq) v->noted_seen = !strcmp(v->at.hash, v->noted.hash);
    return true;
}

static bool verify_read(void *arg, struct session *c, struct err *e)
{
    struct verify *v = arg;
    struct each all = { 0, INT64_MAX, verify_row, v };
    struct chain_head head = { .seq = -1 };
    v->at = (struct chain_head){ .seq = 0 };
    v->chained = v->noted_seen = false;
    if (!read_rows(&all, c, e) || !session_run(c, "SELECT seq, hash FROM audit_head WHERE one = 1",
                                               STORE_NO_ARGS, chain_head_row, &head, e))
        return false;
    /* Before the first act since there is a chain, its head is none. */
    const bool old = !head.seq && !v->chained;
    if (!old && (head.seq != v->at.seq || strcmp(head.hash, v->at.hash) != 0))
        return err_set(e, ERR_FORMAT,
                       "the audit ends at row %" PRId64 ", but row %" PRId64 " was written last", v->at.seq,
                       head.seq);
    return v->noted_seen || !v->noted.seq ||
           err_set(e, ERR_FORMAT,
                   "row %" PRId64 " is not the one whose hash was noted: the chain was made anew, or cut",
                   v->noted.seq);
}

bool audit_verify(struct store *s, const char *noted, struct chain_head *head, struct err *e)
{
    struct verify v = { .noted = { .seq = 0 } };
    if (!chain_head_parse(noted, &v.noted, e) || !store_read(s, verify_read, &v, e)) return false;
    *head = v.at;
    return true;
}
