#include "image/config_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static const struct config_key *find(const struct config_key *keys, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

bool config_key_known(const struct config_key *keys, size_t n, const char *name)
{
    return name[0] == '_' || find(keys, n, name);
}

/* 1 and 1.0 are the same to what reads these files. */
static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static bool allowed(const json_t *value, const char *only)
{
    json_t *list = json_loads(only, 0, NULL);
    const json_t *one;
    size_t i;
    bool ok = false;
    json_array_foreach(list, i, one) ok |= equal(value, one);
    json_decref(list);
    return ok;
}

bool config_keys_check(const json_t *config, const struct config_key *keys, size_t n, const char *what,
                       struct err *e)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)config, name, value)
    {
        if (name[0] == '_') continue;
        const struct config_key *k = find(keys, n, name);
        if (k && (!k->only || allowed(value, k->only))) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        if (k) {
            err_set(e, ERR_UNSUPPORTED, "%s: %.60s %.60s is not supported (only %.80s)", what, name,
                    text ? text : "", k->only);
        } else {
            log_warn("%s: the key %.60s is not known here, its value %.60s is not followed", what, name,
                     text ? text : "");
        }
        free(text);
        if (k) return false;
    }
    return true;
}
