/* key_json.h - a key as JSON, wherever one is shown: without the key itself, of which nobody has more than a hash. */
#ifndef HEARTH_SERVICE_ACCOUNT_KEY_JSON_H
#define HEARTH_SERVICE_ACCOUNT_KEY_JSON_H

#include <jansson.h>
#include <stdint.h>

struct key_record;

const char *key_state(const struct key_record *k, int64_t now_ms); /* "good", "expired", "revoked" */
/* New. NULL: no memory, or its texts are no UTF-8. */
json_t *key_json(const struct key_record *k, int64_t now_ms);

#endif
