/* key_json.c - see key_json.h. */
#include "service/account/key_json.h"

#include "base/dates.h"
#include "service/account/keyring.h"

const char *key_state(const struct key_record *k, int64_t now_ms)
{
    return k->revoked_ms ? "revoked" : k->expires_ms && now_ms >= k->expires_ms ? "expired" : "good";
}

static json_t *date(int64_t ms)
{
    char text[DATES_TEXT];
    return ms ? json_string(dates_print(ms, text)) : json_null();
}

json_t *key_json(const struct key_record *k, int64_t now_ms)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:o}", "id",
                     k->id, "name", k->name, "project", k->project, "state", key_state(k, now_ms), "hint",
                     k->hint, "scopes", k->scopes.text, "addresses", k->addresses_text, "limits",
                     k->limits_text, "budgets", k->budgets_text, "tags", k->tags, "weight", k->weight,
                     "priority", k->priority, "created", date(k->made_ms), "expires", date(k->expires_ms),
                     "revoked", date(k->revoked_ms));
}
