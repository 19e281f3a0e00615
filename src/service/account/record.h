/* record.h - recorded requests in the store, by their uid in the ledger: what `hearth replay` makes again.
 *
 * The body is as it came, a form's in base64; of the answer its essence (essence.h), without ids, times and the bytes of pictures. A key is never
 * kept. Records are not in the chain of hashes, but their hashes are: the row has the request's and the answer's. */
#ifndef HEARTH_SERVICE_ACCOUNT_RECORD_H
#define HEARTH_SERVICE_ACCOUNT_RECORD_H

#include "base/buf.h"
#include "service/recording.h"
#include "store/store.h"

struct record {
    char uid[33];
    int64_t made_ms;
    char *path, *headers; /* headers: a JSON object */
    struct buf body;      /* as it came */
    char *answer_type;    /* Content-Type */
    char *answer;         /* essence, "" where it could not be told */
};

/* Out of what was recorded. ok false: no memory, and nothing is kept. *answer_hash is "" where the answer has no essence. */
bool record_make(struct record *out, const char *uid, int64_t made_ms, const char *path,
                 struct recording *from, char answer_hash[65]);
bool record_put(const struct record *r, struct session *c,
                struct err *e); /* inside a transaction of the writer */
/* ERR_NOT_FOUND: that request was not recorded. */
bool record_get(struct store *s, const char *uid, struct record *out, struct err *e);
void record_free(struct record *r);

/* The same request with this seed ("" leaves it as it is) in place of its own, as JSON or in its form. */
bool record_with_seed(const struct record *r, const char *seed, struct buf *body, struct err *e);

#endif
