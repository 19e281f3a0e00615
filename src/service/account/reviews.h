/* reviews.h - what a safety policy holds for a person: the words of a request, who sent them, and what was decided.
 *
 * What is decided holds for the same words from the same key under the same policy: a review's id is a hash of these, so that a request that
 * is sent again, to whichever endpoint, finds what was said of it. Decisions are forgotten after REVIEWS_KEPT_DAYS; what is held stays.
 * Threads  any; both may wait for the store. */
#ifndef HEARTH_SERVICE_ACCOUNT_REVIEWS_H
#define HEARTH_SERVICE_ACCOUNT_REVIEWS_H

#include "service/account/audit.h"
#include "store/store.h"

enum {
    REVIEW_ID = 40,
    REVIEW_TEXT = 16 << 10, /* bytes of the words that are kept */
    REVIEW_REASON = 200,    /* of why it was refused */
    REVIEWS_MOST = 10000,   /* that are held at a time */
    REVIEWS_KEPT_DAYS = 90
};
enum review_state { REVIEW_HELD, REVIEW_APPROVED, REVIEW_REFUSED };
extern const char *const review_states[3]; /* "held", "approved", "refused" */

struct review_wish {
    const char *who, *project, *address,
        *endpoint;              /* the principal's id; "" where there is none of the others */
    const char *policy, *words; /* what was found */
    const char *text; /* all that was read; of what is longer than REVIEW_TEXT the beginning is kept */
    size_t len;
};
/* What was decided, and the reason; what nobody has seen is held from now on. ERR_BUSY: the store is away, or REVIEWS_MOST wait. */
bool review_ask(struct store *s, const struct review_wish *w, int64_t now_ms, char id[REVIEW_ID],
                enum review_state *state, char reason[REVIEW_REASON], struct err *e);

/* Texts until the function that is given the row returns. */
struct review {
    const char *id;
    int64_t made_ms, decided_ms; /* 0: it is held */
    const char *state, *who, *project, *address, *endpoint, *policy, *words, *text, *reason, *decided_by;
};
typedef bool review_fn(void *arg, const struct review *r, struct err *e);
/* Up to `most` in the order in which they came, behind the one with the id `after` ("": from the first); state NULL: all. */
bool review_each(struct store *s, const char *state, const char *after, int most, review_fn *fn, void *arg,
                 struct err *e);
/* ERR_NOT_FOUND: there is none. */
bool review_find(struct store *s, const char *id, review_fn *fn, void *arg, struct err *e);
/* Also over what was decided before. ERR_NOT_FOUND; ERR_REQUEST: the reason is too long, or missing where it is refused. */
bool review_decide(struct store *s, const char *id, bool approve, const char *reason, const struct actor *by,
                   int64_t now_ms, struct err *e);

#endif
