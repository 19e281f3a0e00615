/* kept_responses.h - responses that were said, so that they can be asked for and gone on from: in memory, as long as the server runs; with a store
 * there, over restarts and for all servers of that store. Until a response is written down, memory has it.
 *
 * Bounds   in memory so many bytes and so many responses at most, in a store so many of each owner; the oldest go first. None is given out
 *          longer than its time.
 * Owners   each belongs to who asked for it. To anyone else it is not there.
 * Threads  any. kept_responses_put() never waits; with a store the others do. */
#ifndef HEARTH_SERVICE_KEPT_RESPONSES_H
#define HEARTH_SERVICE_KEPT_RESPONSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct store;

enum { KEPT_ID = 64, KEPT_OWNER = 68 }; /* with their 0 */

struct kept_limits {
    size_t bytes;
    int count;
    int64_t age_ms;
};

/* What is kept of one. In: borrowed. Out: the caller's, see kept_response_free(). */
struct kept_response {
    char id[KEPT_ID], previous[KEPT_ID]; /* previous: which it went on from; "" for none */
    char *input, *response;              /* JSON: its own items, an array; the response as it was printed */
    size_t input_len, response_len;
};
void kept_response_free(struct kept_response *r);

struct kept_responses;
/* store: borrowed, until it is closed; NULL: memory alone. */
bool kept_responses_new(struct kept_responses **out, const struct kept_limits *l, struct store *store,
                        struct err *e);
void kept_responses_free(struct kept_responses *k);

/* False: it is larger than all that may be kept, or there is no memory. */
bool kept_responses_put(struct kept_responses *k, const char *owner, const struct kept_response *r,
                        int64_t now_ms);
/* False: there is none such (e->code ERR_NOT_FOUND), no memory, or the store cannot be asked. */
bool kept_responses_get(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms,
                        struct kept_response *out, struct err *e);
/* False as above. */
bool kept_responses_remove(struct kept_responses *k, const char *owner, const char *id, int64_t now_ms,
                           struct err *e);

#endif
