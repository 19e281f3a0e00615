/* key_body.h - what an administrator says of a key that is to be made or changed.
 *
 * name, project, scopes, addresses, limits, budgets, tags, expires, weight, priority, as the options of `hearth keys new`. Lists are arrays of strings, or one string
 * with commas; tags may be an object; expires is a date, a time from now, Unix seconds, or "never". */
#ifndef HEARTH_HTTP_DIALECTS_KEY_BODY_H
#define HEARTH_HTTP_DIALECTS_KEY_BODY_H

#include "http/json_in.h"
#include "service/account/keyring.h"

struct key_body { /* malloc'ed; NULL where the body does not say */
    char *name, *project, *scopes, *addresses, *limits, *budgets, *tags;
    int64_t expires_ms;       /* KEY_EXPIRES_KEPT: it does not say */
    int64_t weight, priority; /* 0, KEY_PRIORITY_KEPT: it does not say */
};

bool key_body_read(struct key_body *out, const json_t *body, struct fault *f);
void key_body_free(struct key_body *b);

#endif
