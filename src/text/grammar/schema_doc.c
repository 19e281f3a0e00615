#include "text/grammar/schema_doc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/grammar/schema_keyword.h"

enum { MAX_WALK = 400, MAX_URI = 4096, MAX_TAIL = 600 };

/* Where a subschema stands: "#/properties/a", cut when it is longer than `room`. */
static void path_of(const struct schema_doc *d, int sub, char *out, size_t room)
{
    enum { DEEP = 64 };
    int way[DEEP], n = 0;
    for (int s = sub; s > 0 && d->sub[s].parent >= 0; s = d->sub[s].parent)
        if (d->sub[s].tail && n < DEEP) way[n++] = s;
    size_t at = (size_t)snprintf(out, room, "#");
    while (n > 0 && at < room) at += (size_t)snprintf(out + at, room - at, "/%s", d->sub[way[--n]].tail);
}

bool schema_refuse(const struct schema_doc *d, int sub, enum err_code code, const char *key, struct err *e,
                   const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char path[200];
    path_of(d, sub, path, sizeof path);
    return err_set(e, code, "schema: %s/%s: %s", path, key, text);
}

/* ---- subschemas -------------------------------------------------------------------------------------------------------- */

static unsigned hash_of(const void *p) { return (unsigned)((uintptr_t)p >> 4) * 2654435761u; }

static bool rehash(struct schema_doc *d, struct err *e)
{
    const int n = d->n_bucket ? d->n_bucket * 2 : 256;
    int *b = malloc((size_t)n * sizeof *b);
    if (!b) return err_set(e, ERR_NOMEM, "no memory for a schema");
    for (int i = 0; i < n; i++) b[i] = -1;
    for (int s = DOC_ROOT; s < d->n_sub; s++) {
        unsigned at = hash_of(d->sub[s].json);
        while (b[at & (unsigned)(n - 1)] >= 0) at++;
        b[at & (unsigned)(n - 1)] = s;
    }
    free(d->bucket);
    d->bucket = b;
    d->n_bucket = n;
    return true;
}

static int find_sub(const struct schema_doc *d, const json_t *json)
{
    for (unsigned at = hash_of(json);; at++) {
        const int s = d->bucket[at & (unsigned)(d->n_bucket - 1)];
        if (s < 0 || d->sub[s].json == json) return s;
    }
}

static uint64_t keys_of(struct budget *b, const json_t *json)
{
    const char *key;
    json_t *v;
    uint64_t keys = 0;
    budget_take(b, 2 * (long)json_object_size(json));
    json_object_foreach((json_t *)json, key, v) keys |= schema_key_bit(key);
    return keys;
}

/* Takes over tail. */
static int new_sub(struct schema_doc *d, const json_t *json, int parent, char *tail, int base, struct err *e)
{
    if (d->n_sub >= d->max_sub) {
        free(tail);
        return err_set(e, ERR_LIMIT, "schema: more than %d subschemas", d->max_sub), -1;
    }
    if (!budget_take(d->budget, 35) ||
        !budget_bytes(d->budget, 3 * sizeof *d->sub + (tail ? strlen(tail) + 32 : 0))) {
        free(tail);
        return budget_ok(d->budget, e), -1;
    }
    if (d->n_sub == d->cap_sub) {
        const int cap = d->cap_sub ? d->cap_sub * 2 : 64;
        struct sub *q = realloc(d->sub, (size_t)cap * sizeof *q);
        if (!q) {
            free(tail);
            return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
        }
        d->sub = q;
        d->cap_sub = cap;
    }
    d->sub[d->n_sub++] = (struct sub){
        .json = json, .parent = parent, .tail = tail, .base = base, .keys = keys_of(d->budget, json)
    };
    if (d->n_sub * 2 > d->n_bucket) {
        if (!rehash(d, e)) return -1;
    } else {
        unsigned at = hash_of(json);
        while (d->bucket[at & (unsigned)(d->n_bucket - 1)] >= 0) at++;
        d->bucket[at & (unsigned)(d->n_bucket - 1)] = d->n_sub - 1;
    }
    return d->n_sub - 1;
}

/* The subschema that stands at `tail` of `parent`; tail is cut when it is long. */
static int sub_at(struct schema_doc *d, int parent, int base, const json_t *json, const char *tail,
                  struct err *e)
{
    if (json_is_boolean(json)) return json_is_true(json) ? DOC_TRUE : DOC_FALSE;
    if (!json_is_object(json)) {
        char path[200];
        path_of(d, parent, path, sizeof path);
        err_set(e, ERR_REQUEST, "schema: %s/%.180s: a schema is an object, true or false", path, tail);
        return -1;
    }
    const int known = find_sub(d, json);
    if (known >= 0) return known;
    char *copy = strndup(tail, MAX_TAIL);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
    return new_sub(d, json, parent, copy, base, e);
}

int schema_doc_sub(struct schema_doc *d, int parent, const json_t *json, struct err *e, const char *fmt, ...)
{
    if (json_is_boolean(json)) return json_is_true(json) ? DOC_TRUE : DOC_FALSE;
    if (json_is_object(json)) {
        const int known = find_sub(d, json);
        if (known >= 0) return known;
    }
    char tail[MAX_TAIL];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof tail, fmt, ap);
    va_end(ap);
    return sub_at(d, parent, d->sub[parent].base, json, tail, e);
}

int schema_doc_add(struct schema_doc *d, int parent, json_t *made, struct err *e)
{
    if (!made || (!d->made && !(d->made = json_array())) || json_array_append_new(d->made, made) < 0)
        return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
    return new_sub(d, made, parent, NULL, d->sub[parent].base, e);
}

/* ---- identifiers ------------------------------------------------------------------------------------------------------- */

/* Length of "scheme:" at the front, or 0. */
static size_t scheme(const char *u)
{
    size_t n = strspn(u, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n > 0 && u[n] == ':' ? n + 1 : 0;
}

/* ref[n] against base (RFC 3986, 5.2), without fragments; a new string. */
static char *resolve(const char *base, const char *ref, size_t n)
{
    char *out = NULL;
    char *r = strndup(ref, n);
    if (!r) return NULL;
    const size_t s = scheme(base), base_n = strcspn(base, "#");
    size_t authority = s;
    if (!strncmp(base + s, "//", 2)) authority = s + 2 + strcspn(base + s + 2, "/?#");
    if (scheme(r) || !*base) {
        out = strdup(r);
    } else if (!*r) {
        out = strndup(base, base_n);
    } else if (!strncmp(r, "//", 2)) {
        if (asprintf(&out, "%.*s%s", (int)s, base, r) < 0) out = NULL;
    } else if (*r == '/') {
        if (asprintf(&out, "%.*s%s", (int)authority, base, r) < 0) out = NULL;
    } else { /* behind the last slash of base's path; then dots go */
        size_t path = authority + strcspn(base + authority, "?#");
        while (path > authority && base[path - 1] != '/') path--;
        if (asprintf(&out, "%.*s%s%s", (int)path, base, path == authority && s ? "/" : "", r) < 0) out = NULL;
        if (out) {
            char *from;
            while ((from = strstr(out + authority, "/./"))) memmove(from, from + 2, strlen(from + 2) + 1);
            while ((from = strstr(out + authority, "/../"))) {
                char *to = from;
                while (to > out + authority && to[-1] != '/') to--;
                memmove(to > out + authority ? to - 1 : from, from + 3, strlen(from + 3) + 1);
            }
        }
    }
    free(r);
    return out;
}

static bool add_resource(struct schema_doc *d, char *uri, int root, struct err *e)
{
    struct doc_resource *q = realloc(d->resource, (size_t)(d->n_resource + 1) * sizeof *q);
    if (q) d->resource = q;
    if (!q || !uri) {
        free(uri);
        return err_set(e, ERR_NOMEM, "no memory for a schema");
    }
    d->resource[d->n_resource++] = (struct doc_resource){ uri, root };
    return true;
}

static bool add_anchor(struct schema_doc *d, const char *name, int resource, int sub, bool dynamic,
                       struct err *e)
{
    struct doc_anchor *q = realloc(d->anchor, (size_t)(d->n_anchor + 1) * sizeof *q);
    if (q) d->anchor = q;
    char *copy = strdup(name);
    if (!q || !copy) {
        free(copy);
        return err_set(e, ERR_NOMEM, "no memory for a schema");
    }
    d->anchor[d->n_anchor++] = (struct doc_anchor){ copy, resource, sub, dynamic };
    return true;
}

struct step { /* of the way from the root to where a walk is */
    const struct step *up;
    const char *key, *name; /* name NULL: it is number i of a list, or (i SIZE_MAX) the keyword's own value */
    size_t i;
};

static void write_way(struct buf *b, const struct step *s)
{
    if (!s) return;
    write_way(b, s->up);
    buf_printf(b, "%s%.200s", b->len ? "/" : "", s->key);
    if (s->name)
        buf_printf(b, "/%.200s", s->name);
    else if (s->i != SIZE_MAX)
        buf_printf(b, "/%zu", s->i);
}

/* $id and $anchor of a schema object at the end of `way`, whose surrounding resource is `base`; the resource it is in. -1 on error. */
static int identify(struct schema_doc *d, const json_t *json, const struct step *way, int base, struct err *e)
{
    const char *id = json_string_value(json_object_get(json, "$id"));
    if (!id && (d->draft == DRAFT_4 || d->draft == DRAFT_UNSAID))
        id = json_string_value(json_object_get(json, "id"));
    if (json_object_get(json, "$ref") && d->draft <= DRAFT_7) id = NULL;
    const char *anchor = json_string_value(json_object_get(json, "$anchor"));
    const char *dynamic = json_string_value(json_object_get(json, "$dynamicAnchor"));
    int sub = DOC_ROOT;
    d->n_recursive += json_is_true(json_object_get(json, "$recursiveAnchor"));
    if (json == d->root) {
        if (id && *id && *id != '#') {
            free(d->resource[0].uri);
            d->resource[0].uri = strndup(id, strcspn(id, "#"));
            if (!d->resource[0].uri) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
        }
    } else if (id || anchor || dynamic) {
        struct buf tail = BUF_INIT(1 << 18);
        write_way(&tail, way);
        sub = sub_at(d, DOC_ROOT, base, json, tail.data ? tail.data : "", e);
        buf_free(&tail);
        if (sub < 0) return -1;
        if (id && strlen(id) > MAX_URI)
            return schema_refuse(d, sub, ERR_LIMIT, "$id", e, "longer than %d bytes", MAX_URI), -1;
        if (!budget_take(d->budget, 100)) return budget_ok(d->budget, e), -1;
        if (id && *id == '#') { /* drafts up to 7: an anchor */
            anchor = id + 1;
        } else if (id) {
            if (!add_resource(d, resolve(d->resource[base].uri, id, strcspn(id, "#")), sub, e)) return -1;
            base = d->n_resource - 1;
            d->sub[sub].base = base;
        }
    }
    if (anchor && *anchor && !add_anchor(d, anchor, base, sub, false, e)) return -1;
    if (dynamic && *dynamic && !add_anchor(d, dynamic, base, sub, true, e)) return -1;
    return base;
}

/* Looks for identifiers in schemas below `json`. */
static bool walk(struct schema_doc *d, const json_t *json, const struct step *way, int base, int depth,
                 struct err *e)
{
    static const char *const maps[] = { "properties", "patternProperties", "definitions",
                                        "$defs",      "dependentSchemas",  "dependencies" };
    static const char *const many[] = { "allOf", "anyOf", "oneOf", "prefixItems", "items" };
    static const char *const one[] = { "items",
                                       "additionalItems",
                                       "additionalProperties",
                                       "contains",
                                       "propertyNames",
                                       "not",
                                       "if",
                                       "then",
                                       "else",
                                       "unevaluatedProperties",
                                       "unevaluatedItems" };
    if (!json_is_object(json)) return true;
    if (depth > MAX_WALK) return err_set(e, ERR_LIMIT, "schema: nested deeper than %d", MAX_WALK);
    if (!budget_take(d->budget, 14)) return budget_ok(d->budget, e);
    const uint64_t keys = keys_of(d->budget, json);
    base = identify(d, json, way, base, e);
    if (base < 0) return false;
    for (size_t k = 0; k < sizeof maps / sizeof *maps; k++) {
        const char *key;
        json_t *v;
        if (!(keys & schema_key_bit(maps[k]))) continue;
        json_object_foreach(json_object_get(json, maps[k]), key, v)
        {
            if (!walk(d, v, &(struct step){ way, maps[k], key, 0 }, base, depth + 1, e)) return false;
        }
    }
    for (size_t k = 0; k < sizeof many / sizeof *many; k++) {
        if (!(keys & schema_key_bit(many[k]))) continue;
        const json_t *list = json_object_get(json, many[k]);
        if (!budget_take(d->budget, (long)json_array_size(list))) return budget_ok(d->budget, e);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!walk(d, json_array_get(list, i), &(struct step){ way, many[k], NULL, i }, base, depth + 1,
                      e))
                return false;
    }
    for (size_t k = 0; k < sizeof one / sizeof *one; k++) {
        if (!(keys & schema_key_bit(one[k]))) continue;
        const struct step to = { way, one[k], NULL, SIZE_MAX };
        if (!walk(d, json_object_get(json, one[k]), &to, base, depth + 1, e)) return false;
    }
    return true;
}

static enum draft draft_of(const json_t *root)
{
    const char *s = json_string_value(json_object_get(root, "$schema"));
    if (!s) return DRAFT_UNSAID;
    if (strstr(s, "draft-03") || strstr(s, "draft-04")) return DRAFT_4;
    if (strstr(s, "draft-06")) return DRAFT_6;
    if (strstr(s, "draft-07")) return DRAFT_7;
    if (strstr(s, "2019-09")) return DRAFT_2019;
    if (strstr(s, "2020-12")) return DRAFT_2020;
    return DRAFT_UNSAID;
}

bool schema_doc_open(struct schema_doc *d, const json_t *root, int max_sub, struct budget *b, struct err *e)
{
    *d = (struct schema_doc){ .root = root, .draft = draft_of(root), .max_sub = max_sub, .budget = b };
    bool ok = rehash(d, e) && new_sub(d, json_true(), -1, NULL, 0, e) == DOC_TRUE &&
              new_sub(d, json_false(), -1, NULL, 0, e) == DOC_FALSE;
    if (ok && json_is_boolean(root)) {
        json_t *made = json_is_true(root) ? json_object() : json_pack("{s:{}}", "not");
        ok = schema_doc_add(d, DOC_TRUE, made, e) == DOC_ROOT;
        d->root = made;
    } else if (ok && !json_is_object(root)) {
        ok = err_set(e, ERR_REQUEST, "schema: a schema is an object, true or false");
    } else if (ok) {
        ok = new_sub(d, root, -1, NULL, 0, e) == DOC_ROOT;
    }
    ok = ok && add_resource(d, strdup(""), DOC_ROOT, e) && walk(d, d->root, NULL, 0, 0, e);
    if (!ok) schema_doc_close(d);
    return ok;
}

void schema_doc_close(struct schema_doc *d)
{
    for (int i = 0; i < d->n_sub; i++) free(d->sub[i].tail);
    for (int i = 0; i < d->n_resource; i++) free(d->resource[i].uri);
    for (int i = 0; i < d->n_anchor; i++) free(d->anchor[i].name);
    for (int i = 0; i < d->n_ignored; i++) free(d->ignored[i]);
    free(d->ignored);
    free(d->sub);
    free(d->bucket);
    free(d->resource);
    free(d->anchor);
    json_decref(d->made);
    *d = (struct schema_doc){ 0 };
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* %XX of a fragment, then ~0 and ~1 of a pointer's part, both in place. */
static void unescape(char *s, bool pointer)
{
    char *to = s;
    for (; *s; s++) {
        if (!pointer && *s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            *to++ = (char)(hex(s[1]) * 16 + hex(s[2]));
            s += 2;
        } else if (pointer && *s == '~' && (s[1] == '0' || s[1] == '1')) {
            *to++ = s[1] == '0' ? '~' : '/';
            s++;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

/* Follows a JSON pointer, "/a/b", below a resource's root. */
static int follow(struct schema_doc *d, int sub, int resource, const char *pointer, const char *ref,
                  struct err *e)
{
    const json_t *v = d->sub[d->resource[resource].root].json;
    int base = resource;
    char *save = NULL, *copy = strdup(pointer);
    if (!copy) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
    for (char *part = *copy ? copy + 1 : NULL; part && v;) {
        save = strchr(part, '/');
        if (save) *save++ = 0;
        unescape(part, true);
        if (json_is_array(v)) {
            char *end;
            const unsigned long i = strtoul(part, &end, 10);
            v = *part && !*end ? json_array_get(v, i) : NULL;
        } else {
            v = json_object_get(v, part);
        }
        const int known = json_is_object(v) ? find_sub(d, v) : -1;
        if (known >= 0) base = d->sub[known].base;
        part = save;
    }
    free(copy);
    if (!v) {
        schema_refuse(d, sub, ERR_REQUEST, "$ref", e, "%.120s leads nowhere", ref);
        return -1;
    }
    return sub_at(d, d->resource[resource].root, base, v, *pointer ? pointer + 1 : "", e);
}

int schema_doc_ref(struct schema_doc *d, int sub, const char *ref, struct err *e)
{
    const size_t n = strcspn(ref, "#");
    int resource = d->sub[sub].base;
    if (!budget_take(d->budget, 20 + (long)strlen(ref) / 4 + (n > 0 ? d->n_resource : 0) + d->n_anchor))
        return budget_ok(d->budget, e), -1;
    if (n > MAX_URI) return schema_refuse(d, sub, ERR_LIMIT, "$ref", e, "longer than %d bytes", MAX_URI), -1;
    if (n > 0) {
        char *uri = resolve(d->resource[resource].uri, ref, n);
        if (!uri) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
        resource = -1;
        for (int i = 0; i < d->n_resource; i++)
            if (*d->resource[i].uri && !strcmp(d->resource[i].uri, uri)) resource = i;
        free(uri);
        if (resource < 0) {
            schema_refuse(d, sub, ERR_UNSUPPORTED, "$ref", e,
                          "%.120s is outside this schema; put what it means into $defs", ref);
            return -1;
        }
    }
    char *fragment = strdup(ref[n] == '#' ? ref + n + 1 : "");
    if (!fragment) return err_set(e, ERR_NOMEM, "no memory for a schema"), -1;
    unescape(fragment, false);
    int found = -1;
    if (!*fragment || *fragment == '/') {
        found = follow(d, sub, resource, fragment, ref, e);
    } else {
        for (int i = 0; i < d->n_anchor && found < 0; i++)
            if (d->anchor[i].resource == resource && !strcmp(d->anchor[i].name, fragment))
                found = d->anchor[i].sub;
        if (found < 0) schema_refuse(d, sub, ERR_REQUEST, "$ref", e, "%.120s leads nowhere", ref);
    }
    free(fragment);
    return found;
}

int schema_doc_next_ref(struct schema_doc *d, int sub, int *at, struct err *e)
{
    static const char *const keys[] = { "$ref", "$dynamicRef", "$recursiveRef" };
    while (*at < 3) {
        const char *key = keys[(*at)++], *ref = json_string_value(schema_key(d, sub, key));
        if (!ref) continue;
        const char *name = strchr(ref, '#');
        int same = 0;
        for (int i = 0; *at == 2 && name && i < d->n_anchor; i++)
            same += d->anchor[i].dynamic && !strcmp(d->anchor[i].name, name + 1);
        if (same > 1 || (*at == 3 && d->n_recursive > 1))
            return schema_refuse(d, sub, ERR_UNSUPPORTED, key, e,
                                 "where several schemas have the anchor is not supported"),
                   -1;
        return schema_doc_ref(d, sub, ref, e);
    }
    return DOC_NO_REF;
}

/* ---- keywords ---------------------------------------------------------------------------------------------------------- */

/* The first draft that has a keyword, where that is not the fourth. */
static const struct {
    const char *key;
    enum draft since;
} young[] = { { "if", DRAFT_7 },
              { "const", DRAFT_6 },
              { "contains", DRAFT_6 },
              { "propertyNames", DRAFT_6 },
              { "minContains", DRAFT_2019 },
              { "maxContains", DRAFT_2019 },
              { "dependentRequired", DRAFT_2019 },
              { "dependentSchemas", DRAFT_2019 },
              { "unevaluatedProperties", DRAFT_2019 },
              { "unevaluatedItems", DRAFT_2019 },
              { "$dynamicRef", DRAFT_2020 },
              { "prefixItems", DRAFT_2020 } };

const json_t *schema_key_find(const struct schema_doc *d, int sub, const char *key)
{
    const json_t *s = d->sub[sub].json, *v = json_object_get(s, key);
    if (!v) return NULL;
    for (size_t i = 0; d->draft < DRAFT_2020 && i < sizeof young / sizeof *young; i++)
        if (d->draft < young[i].since && !strcmp(key, young[i].key)) return NULL;
    if (d->draft <= DRAFT_7 && strcmp(key, "$ref") && json_object_get(s, "$ref")) return NULL;
    return v;
}

static bool ignore(struct schema_doc *d, int sub, const char *key, struct err *e)
{
    char path[200], *text;
    if (d->n_ignored == DOC_MAX_IGNORED) return true;
    if (!d->ignored && !(d->ignored = calloc(DOC_MAX_IGNORED, sizeof *d->ignored)))
        return err_set(e, ERR_NOMEM, "no memory for a schema");
    path_of(d, sub, path, sizeof path);
    if (asprintf(&text, "%s/%.100s", path, key) < 0) return err_set(e, ERR_NOMEM, "no memory for a schema");
    d->ignored[d->n_ignored++] = text;
    return true;
}

/* Names that no draft has, and keywords that the document's draft does not have, or not beside a $ref. */
static bool check_names(struct schema_doc *d, int sub, struct err *e)
{
    const char *key, *meant = NULL;
    json_t *v;
    json_object_foreach((json_t *)d->sub[sub].json, key, v)
    {
        const enum keyword_kind kind = schema_keyword(key, &meant);
        if (!budget_take(d->budget, kind == KEYWORD_ENFORCED || kind == KEYWORD_ANNOTATION ? 20 : 1000))
            return budget_ok(d->budget, e);
        if (kind == KEYWORD_MISTAKE)
            return schema_refuse(d, sub, ERR_REQUEST, key, e, "unknown keyword; did you mean %s?", meant);
        const bool means = kind != KEYWORD_UNKNOWN && (kind != KEYWORD_ENFORCED || schema_key(d, sub, key));
        if (!means && !ignore(d, sub, key, e)) return false;
    }
    return true;
}

bool schema_doc_check(struct schema_doc *d, int sub, struct err *e)
{
    if (d->sub[sub].checked) return true;
    d->sub[sub].checked = true;
    return check_names(d, sub, e);
}
