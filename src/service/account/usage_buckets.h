/* usage_buckets.h - the ledger's sums by spans of time and by who, what and whose: what an account's usage is read from. */
#ifndef HEARTH_SERVICE_ACCOUNT_USAGE_BUCKETS_H
#define HEARTH_SERVICE_ACCOUNT_USAGE_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

/* What was used in one span by one key with one model at one endpoint. Texts until the function that is given it returns. */
struct usage_part {
    int64_t start_ms; /* of its span: a multiple of the width */
    const char *project, *key, *model, *endpoint;
    int64_t requests, failed; /* failed: those that were not done */
    int64_t prompt, cached, completion, pictures, cost;
};

/* Whose rows; "" or NULL: everybody's. */
bool usage_buckets(struct store *s, const char *key, int64_t width_ms, int64_t from_ms, int64_t to_ms,
                   bool (*fn)(void *arg, const struct usage_part *p, struct err *e), void *arg,
                   struct err *e);

/* Whether an endpoint, as the ledger has it, makes pictures. */
bool usage_draws(const char *endpoint);

#endif
