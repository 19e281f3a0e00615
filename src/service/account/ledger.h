/* ledger.h - one row for every admitted request, for good: who asked what of whom, what was used, what it cost.
 *
 * Rows are only ever added. Each has the hash of the one before it in its own (chain.h), so that a row that was changed, taken out or moved is
 * found by ledger_verify(). Who can write to the store could make a whole new chain: note its head elsewhere now and then ("17:a3f0..."), and ask for it.
 *
 * Threads  any. */
#ifndef HEARTH_SERVICE_ACCOUNT_LEDGER_H
#define HEARTH_SERVICE_ACCOUNT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "service/account/chain.h"
#include "store/store.h"

enum { LEDGER_HASH = CHAIN_HASH };

/* TEXT(name, bytes with the 0) and NUMBER(name): the columns, in their order, which the hash has too. */
#define LEDGER_FIELDS(TEXT, NUMBER)                                                                          \
    TEXT(uid, 33) /* ours; `request` is what the client or we called it, and need not be alone */            \
    TEXT(request, 72)                                                                                        \
    NUMBER(ended_ms) /* Unix */                                                                              \
    TEXT(key_id, 20)                                                                                         \
    TEXT(project, 204)                                                                                       \
    TEXT(address, 46)                                                                                        \
    TEXT(dialect, 20)                                                                                        \
    TEXT(endpoint, 40)                                                                                       \
    TEXT(path, 200)                                                                                          \
    TEXT(model, 160)                                                                                         \
    NUMBER(prompt) /* tokens */                                                                              \
    NUMBER(cached) /* those of them that were not computed anew */                                           \
    NUMBER(completion)                                                                                       \
    NUMBER(reasoning) /* those of completion that were thought */                                            \
    NUMBER(pictures)                                                                                         \
    NUMBER(steps)                                                                                            \
    NUMBER(pixels)                                                                                           \
    NUMBER(cost) /* nano-dollars */                                                                          \
    NUMBER(queue_us)                                                                                         \
    NUMBER(first_us) /* until the first token; 0: none */                                                    \
    NUMBER(total_us)                                                                                         \
    NUMBER(status)                                                                                           \
    TEXT(how, 12) /* as end_how_name(), or "lost" */                                                         \
    LEDGER_LATER(TEXT, NUMBER)

/* Those that came later. In the hash they are as far as the last one that is not "", so that rows from before keep theirs. */
#define LEDGER_LATER(TEXT, NUMBER)                                                                           \
    TEXT(error, 30)        /* what was wrong, as OpenAI's codes call it; "" */                               \
    TEXT(seed, 24)         /* given or drawn: a whole number; "" where nothing was drawn */                  \
    TEXT(request_hash, 65) /* SHA-256 of the canonical body; "" where it could not be read */                \
    TEXT(model_hash, 65)   /* fingerprint.h's */                                                             \
    TEXT(answer_hash, 65)  /* SHA-256 of what was answered (essence.h), of recorded requests; "" */          \
    TEXT(route, 64)        /* who served a model that has a route: "here", an upstream's name; "" */

struct ledger_row {
    int64_t seq; /* from 1, without a gap */
#define TEXT(name, size) char name[size];
#define NUMBER(name) int64_t name;
    LEDGER_FIELDS(TEXT, NUMBER)
#undef TEXT
#undef NUMBER
    char hash[LEDGER_HASH]; /* of this row, the one before in it */
};

void ledger_uid(char uid[33]);

/* Adds a row inside a transaction of the writer; seq and hash are set. A row whose uid is there already is not added again, and
 * *added says so. */
bool ledger_append(struct session *c, struct ledger_row *row, bool *added, struct err *e);

/* Posts a row: durable soon, written to the log if it cannot be. False: it was not taken, and is in the log. also (may be NULL) runs in the
 * same transaction, once for a row; its arg lives as long as the store. */
typedef bool ledger_also(const void *arg, const struct ledger_row *row, struct session *c, struct err *e);
bool ledger_post(struct store *s, const struct ledger_row *row, ledger_also *also, const void *arg);

/* The same for who wants to know. told(arg, LEDGER_LATE) may come once before the other two, when the store is away; then one of the other two,
 * each from any thread; of a row that was not taken LEDGER_LOST, before this returns. */
enum ledger_news {
    LEDGER_KEPT, /* it is durable */
    LEDGER_LATE, /* it waits for the store to come back */
    LEDGER_LOST  /* it could not be kept, and is in the log */
};
typedef void ledger_told(void *arg, enum ledger_news news);
bool ledger_post_told(struct store *s, const struct ledger_row *row, ledger_also *also, const void *arg,
                      ledger_told *told, void *told_arg);

/* What a verification found: sums, and the head to note. */
struct ledger_sum {
    int64_t rows, prompt, completion, steps, pictures, cost;
    char head[LEDGER_HASH];
};
/* ERR_FORMAT names the first row that is not as it was written. noted: "SEQ:HASH" of an earlier head that must be in the chain, or "". */
bool ledger_verify(struct store *s, const char *noted, struct ledger_sum *out, struct err *e);

/* Every row from `from_ms` on and before `to_ms`, in order. */
bool ledger_each(struct store *s, int64_t from_ms, int64_t to_ms,
                 bool (*fn)(void *arg, const struct ledger_row *r, struct err *e), void *arg, struct err *e);

/* The same behind row `after` (0: from the first), and no more than `most` of them. */
bool ledger_page(struct store *s, int64_t after, int64_t from_ms, int64_t to_ms, int most,
                 bool (*fn)(void *arg, const struct ledger_row *r, struct err *e), void *arg, struct err *e);

/* The latest row of a request, by its uid or by its X-Request-Id. ERR_NOT_FOUND. */
bool ledger_find(struct store *s, const char *id, struct ledger_row *out, struct err *e);

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

enum usage_by {
    USAGE_BY_KEY,
    USAGE_BY_MODEL,
    USAGE_BY_DAY,
    USAGE_BY_PROJECT,
    USAGE_BY_ENDPOINT,
    USAGE_BY_ROUTE,
    N_USAGE_BY
};
extern const char *const usage_by_name[N_USAGE_BY]; /* "key", "model", ... */
#define USAGE_BY_WORDS "key|model|day|project|endpoint|route"

struct usage_line {
    const char *
        by; /* the key's id, the model ... "" where a request had none; a day as 2026-01-31. Until the function returns */
    int64_t requests, prompt, cached, completion, reasoning, pictures, steps, cost;
};
bool ledger_usage(struct store *s, enum usage_by by, int64_t from_ms, int64_t to_ms,
                  bool (*fn)(void *arg, const struct usage_line *l, struct err *e), void *arg, struct err *e);

#endif
