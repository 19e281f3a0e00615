/* scopes.c - see scopes.h. */
#include "service/account/scopes.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/items.h"

/* What stands behind "model:" or "endpoint:"; NULL when the item is of another kind. */
static const char *behind(const char *item, const char *kind)
{
    const size_t n = strlen(kind);
    return !strncmp(item, kind, n) && item[n] == ':' ? item + n + 1 : NULL;
}

static bool add(struct scopes *s, const char *item, struct err *e)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyz-_";
    const char *model = behind(item, "model"), *endpoint = behind(item, "endpoint");
    if (!strcmp(item, "admin")) return s->admin = true;
    if (model && *model) return ++s->n_models;
    if (endpoint && *endpoint && !endpoint[strspn(endpoint, name)]) return ++s->n_endpoints;
    return err_set(e, ERR_REQUEST, "\"%.80s\" is no scope: model:PATTERN, endpoint:NAME and admin are", item);
}

bool scopes_parse(struct scopes *s, const char *text, struct err *e)
{
    struct scopes new = { .admin = false };
    char item[ITEM_MAX];
    bool bad;
    for (const char *p = text; items_next(&p, item, &bad, e);)
        if (!add(&new, item, e)) return false;
    if (bad) return false;
    new.text = strdup(text);
    if (!new.text) return err_set(e, ERR_NOMEM, "out of memory");
    *s = new;
    return true;
}

void scopes_free(struct scopes *s)
{
    free(s->text);
    *s = (struct scopes){ .admin = false };
}

bool scopes_model(const struct scopes *s, const char *id)
{
    char item[ITEM_MAX];
    bool bad;
    const char *slash = strrchr(id, '/'), *last = slash ? slash + 1 : id;
    if (!s->n_models) return true;
    for (const char *p = s->text; items_next(&p, item, &bad, NULL);) {
        const char *pattern = behind(item, "model");
        if (pattern && (!fnmatch(pattern, id, 0) || !fnmatch(pattern, last, 0))) return true;
    }
    return false;
}

bool scopes_endpoint(const struct scopes *s, const char *endpoint)
{
    char item[ITEM_MAX];
    bool bad;
    if (!s->n_endpoints || !endpoint) return true;
    for (const char *p = s->text; items_next(&p, item, &bad, NULL);) {
        const char *name = behind(item, "endpoint"), *with = endpoint;
        if (!name) continue;
        while (*name && (*name == *with || (*name == '-' && *with == ' '))) name++, with++;
        if (!*name && !*with) return true;
    }
    return false;
}
