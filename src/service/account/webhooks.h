/* webhooks.h - what happens in an account, told to others: each event (events.h) is posted to each address, in order, until it is taken.
 *
 * Signed    as Standard Webhooks do: webhook-id, webhook-timestamp (Unix seconds) and webhook-signature, "v1," and the base64 of HMAC-SHA256 over
 *           "ID.TIMESTAMP.BODY". The secret is "whsec_" and base64 of 24 to 64 bytes.
 * In order  an event that is not taken holds up those behind it, for its own address alone. Taken is any status of 2xx.
 * Again     after one second, two, four, ... up to an hour, each less up to a half by chance; given up after days, with a line in the log.
 * Durable   how far an address has come is in the store; an event may come twice (with the same id) when a server is killed. Of several
 *           servers over one store one at a time delivers to an address. A new address begins with what happens from then on.
 * Forgotten what every address has taken and is a week older than the days after which it would have been given up. An address that no server
 *           has named for so long is asked no more.
 * Threads   one for each address. Opening and closing from one thread; closing ends a post that is under way. */
#ifndef HEARTH_SERVICE_ACCOUNT_WEBHOOKS_H
#define HEARTH_SERVICE_ACCOUNT_WEBHOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str_list.h"

struct store;
struct webhooks;

struct webhooks_options {
    struct str_list urls; /* http:// or https:// */
    const char *secret;
    int64_t days; /* after which an event is given up */
    struct time_source time;
};

/* The store outlives it. Options are needed until this returns. */
bool webhooks_open(struct webhooks **out, struct store *s, const struct webhooks_options *o, struct err *e);
void webhooks_close(struct webhooks *w);

enum { WEBHOOKS_SECRET = 64, WEBHOOKS_SIGNATURE = 48 };
struct webhooks_key {
    unsigned char bytes[WEBHOOKS_SECRET];
    size_t len;
};
/* ERR_REQUEST; the message does not repeat the secret. */
bool webhooks_key_parse(struct webhooks_key *out, const char *secret, struct err *e);
/* "v1,..." of a message. */
void webhooks_sign(const struct webhooks_key *k, const char *id, int64_t timestamp_s, const char *body,
                   char out[WEBHOOKS_SIGNATURE]);
/* Milliseconds until try number `tries` + 1, by a number that is chance's. */
int64_t webhooks_wait_ms(int64_t tries, uint32_t chance);

#endif
