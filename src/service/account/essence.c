/* essence.c - see essence.h. */
#include "service/account/essence.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "format/json_memory.h"

enum {
    LONG = 8192 /* bytes of a string above which it is told by its hash */,
    DEEPEST = 64,
    READ = JSON_ALLOW_NUL
};

static void hex_of(const char *bytes, size_t len, char out[ESSENCE_HASH])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const unsigned char *)bytes, len);
    sodium_bin2hex(out, ESSENCE_HASH, hash, sizeof hash);
}

void essence_hash(const struct buf *essence, char out[ESSENCE_HASH])
{
    hex_of(essence->data ? essence->data : "", essence->len, out);
}

static json_t *told_by_hash(const char *bytes, size_t len)
{
    char hex[ESSENCE_HASH];
    hex_of(bytes, len, hex);
    return json_sprintf("%zu bytes, SHA-256 %s", len, hex);
}

/* ---- one JSON ------------------------------------------------------------------------------------------------------ */

/* Another one each time. What a prompt had cached is in usage, too. */
static bool is_volatile(const char *key)
{
    static const char *const keys[] = { "id",   "created",     "created_at",   "usage",
                                        "url",  "timings",     "perf_metrics", "system_fingerprint",
                                        "cost", "obfuscation", "tool_call_id" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

static json_t *kept(const json_t *v, int depth);

static json_t *kept_array(const json_t *v, int depth)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(v); i++)
        if (json_array_append_new(out, kept(json_array_get(v, i), depth + 1))) {
            json_decref(out);
            return NULL;
        }
    return out;
}

static json_t *kept_object(const json_t *v, int depth)
{
    json_t *of = (json_t *)v, *out = json_object();
    for (void *at = json_object_iter(of); at; at = json_object_iter_next(of, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *one = json_object_iter_value(at);
        if (is_volatile(key) || json_typeof(one) == JSON_NULL) continue;
        if (json_object_set_new(out, key, kept(one, depth + 1))) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* A copy without what is volatile. NULL: no memory. */
static json_t *kept(const json_t *v, int depth)
{
    if (depth > DEEPEST) return json_null();
    switch (json_typeof(v)) {
    case JSON_ARRAY: return kept_array(v, depth);
    case JSON_OBJECT: return kept_object(v, depth);
    default: break;
    }
    if (json_string_length(v) > LONG) return told_by_hash(json_string_value(v), json_string_length(v));
    return json_memory_copy(v);
}

/* False also where one of them is none. */
static bool both_are(json_type type, const json_t *a, const json_t *b)
{
    return a && b && json_typeof(a) == type && json_typeof(b) == type;
}

/* ---- a stream ------------------------------------------------------------------------------------------------------ */

/* Pieces of these are the same word again, not more of it. */
static bool is_whole(const char *key)
{
    static const char *const keys[] = { "role", "type", "object", "model", "name", "finish_reason" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

static json_t *with_index(const json_t *array, const json_t *index)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *one = json_array_get(array, i);
        if (json_equal(json_object_get(one, "index"), index)) return one;
    }
    return NULL;
}

static bool merge(json_t *to, json_t *piece);

/* In the order of their indices, for pieces of several choices come as they are made. */
static bool insert(json_t *to, const json_t *one)
{
    size_t at = json_array_size(to);
    const json_int_t index = json_integer_value(json_object_get(one, "index"));
    while (at && json_integer_value(json_object_get(json_array_get(to, at - 1), "index")) > index) at--;
    return !json_array_insert_new(to, at, json_memory_copy(one));
}

static bool merge_array(json_t *to, const json_t *piece)
{
    for (size_t i = 0; i < json_array_size(piece); i++) {
        json_t *one = json_array_get(piece, i);
        const json_t *index = json_object_get(one, "index");
        json_t *has = index ? with_index(to, index) : NULL;
        if (has ? !merge(has, one) : !insert(to, one)) return false;
    }
    return true;
}

static bool merge_key(json_t *to, const char *key, json_t *piece)
{
    json_t *has = json_object_get(to, key);
    if (both_are(JSON_OBJECT, has, piece)) return merge(has, piece);
    if (both_are(JSON_ARRAY, has, piece)) return merge_array(has, piece);
    if (both_are(JSON_STRING, has, piece) && !is_whole(key)) {
        struct buf both = BUF_INIT(ESSENCE_MOST);
        buf_append(&both, json_string_value(has), json_string_length(has));
        buf_append(&both, json_string_value(piece), json_string_length(piece));
        const bool ok =
            !both.failed && !json_object_set_new(to, key, json_stringn(both.data ? both.data : "", both.len));
        buf_free(&both);
        return ok;
    }
    if (json_typeof(piece) == JSON_ARRAY) {
        json_t *empty = json_array();
        return !json_object_set_new(to, key, empty) && merge_array(empty, piece);
    }
    return !json_object_set_new(to, key, json_memory_copy(piece));
}

/* kept() has seen to it that a piece is not deeper than DEEPEST. */
static bool merge(json_t *to, json_t *piece)
{
    for (void *at = json_object_iter(piece); at; at = json_object_iter_next(piece, at))
        if (!merge_key(to, json_object_iter_key(at), json_object_iter_value(at))) return false;
    return true;
}

/* Pictures are whole in their last event; what they looked like on the way is no answer. */
static bool take_event(json_t *all, const char *data, size_t len, struct err *e)
{
    json_t *event = json_memory_load(data, len, READ, NULL), *piece = event ? kept(event, 0) : NULL;
    const char *type = json_string_value(json_object_get(event, "type")),
               *last = type ? strrchr(type, '.') : NULL;
    bool ok = json_is_object(piece);
    if (!ok)
        err_set(e, ERR_FORMAT, "an event of the answer is no JSON object: %.*s", (int)(len < 60 ? len : 60),
                data);
    else if (last && !strcmp(last, ".completed")) {
        json_t *pictures = json_object_get(all, "pictures");
        if (!pictures && !json_object_set_new(all, "pictures", json_array()))
            pictures = json_object_get(all, "pictures");
        ok = !json_array_append(pictures, piece) || err_set(e, ERR_NOMEM, "out of memory");
    } else if (!last) {
        ok = merge(all, piece) || err_set(e, ERR_NOMEM, "out of memory");
    }
    json_decref(event);
    json_decref(piece);
    return ok;
}

static json_t *read_stream(const char *bytes, size_t len, struct err *e)
{
    json_t *all = json_object();
    const char *const end = bytes + len;
    for (const char *line = bytes, *next; line < end; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop - line < 6 || memcmp(line, "data: ", 6) != 0) continue;
        const size_t n = (size_t)(stop - line) - 6;
        if (n == 6 && !memcmp(line + 6, "[DONE]", 6)) continue;
        if (!take_event(all, line + 6, n, e)) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

/* Long strings of a stream have grown out of short ones. */
static json_t *shortened(json_t *v)
{
    json_t *out = kept(v, 0);
    json_decref(v);
    return out;
}

bool essence_of(const char *type, const char *bytes, size_t len, struct buf *out, struct err *e)
{
    json_t *v;
    if (!strncmp(type, "text/event-stream", 17)) {
        v = read_stream(bytes, len, e);
        if (!v) return false;
        v = shortened(v);
    } else if (!strncmp(type, "application/json", 16)) {
        json_error_t why;
        json_t *whole = json_memory_load(bytes, len, READ, &why);
        if (!whole) return err_set(e, ERR_FORMAT, "the answer is no JSON: %.100s", why.text);
        v = shortened(whole);
    } else {
        v = told_by_hash(bytes, len);
    }
    char *text = v ? json_memory_dumps(v, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    json_decref(v);
    if (!text) return err_set(e, ERR_NOMEM, "out of memory");
    const bool ok = buf_puts(out, text) || err_set(e, ERR_LIMIT, "the answer is too long to be compared");
    free(text);
    return ok;
}

/* ---- where two differ ---------------------------------------------------------------------------------------------- */

struct walk {
    char path[400];
    char *where;
    size_t cap;
};

static void step_into(struct walk *w, size_t n, const char *key)
{
    snprintf(w->path + n, sizeof w->path - n, "%s%s", n ? "." : "", key);
}

static void say_strings(struct walk *w, const json_t *a, const json_t *b)
{
    const char *x = json_string_value(a), *y = json_string_value(b);
    const size_t n = json_string_length(a), m = json_string_length(b);
    size_t at = 0;
    while (at < n && at < m && x[at] == y[at]) at++;
    snprintf(w->where, w->cap, "%s, byte %zu: \"%.*s\" is now \"%.*s\"", w->path, at,
             (int)(n - at < 40 ? n - at : 40), x + at, (int)(m - at < 40 ? m - at : 40), y + at);
}

static void say_values(struct walk *w, const json_t *a, const json_t *b)
{
    char *x = a ? json_memory_dumps(a, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *y = b ? json_memory_dumps(b, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(w->where, w->cap, "%s: %.60s is now %.60s", *w->path ? w->path : "the answer", x ? x : "nothing",
             y ? y : "nothing");
    free(x);
    free(y);
}

static bool differ(struct walk *w, const json_t *a, const json_t *b);

/* Two objects that are not equal: they differ in a member, or `b` has one more. */
static void differ_objects(struct walk *w, size_t n, json_t *a, json_t *b)
{
    void *at;
    for (at = json_object_iter(a); at; at = json_object_iter_next(a, at)) {
        step_into(w, n, json_object_iter_key(at));
        if (differ(w, json_object_iter_value(at), json_object_get(b, json_object_iter_key(at)))) return;
    }
    at = json_object_iter(b);
    while (json_object_get(a, json_object_iter_key(at))) at = json_object_iter_next(b, at);
    step_into(w, n, json_object_iter_key(at));
    say_values(w, NULL, json_object_iter_value(at));
}

/* Two arrays that are not equal: at their first difference, or where one of them ends. */
static void differ_arrays(struct walk *w, size_t n, const json_t *a, const json_t *b)
{
    size_t i = 0;
    do snprintf(w->path + n, sizeof w->path - n, "[%zu]", i);
    while (!differ(w, json_array_get(a, i), json_array_get(b, i)) && ++i);
}

/* False: the same. */
static bool differ(struct walk *w, const json_t *a, const json_t *b)
{
    const size_t n = strlen(w->path);
    if (a && b && json_equal(a, b)) return false;
    if (both_are(JSON_OBJECT, a, b))
        differ_objects(w, n, (json_t *)a, (json_t *)b);
    else if (both_are(JSON_ARRAY, a, b))
        differ_arrays(w, n, a, b);
    else if (both_are(JSON_STRING, a, b))
        say_strings(w, a, b);
    else
        say_values(w, a, b);
    return true;
}

bool essence_differ(const struct buf *before, const struct buf *now, char *where, size_t cap)
{
    if (before->len == now->len && (!now->len || !memcmp(before->data, now->data, now->len))) return false;
    json_t *a = json_memory_load(before->data ? before->data : "", before->len, READ | JSON_DECODE_ANY, NULL);
    json_t *b = json_memory_load(now->data ? now->data : "", now->len, READ | JSON_DECODE_ANY, NULL);
    struct walk w = { .where = where, .cap = cap };
    snprintf(where, cap, "the answer"); /* for values that are told apart by their spelling alone */
    differ(&w, a, b);
    json_decref(a);
    json_decref(b);
    return true;
}
