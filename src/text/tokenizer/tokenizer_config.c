/* tokenizer_config.c - see tokenizer_config.h. */
#include "text/tokenizer/tokenizer_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json_memory.h"
#include "format/json_read.h"

static bool path_of(char *path, size_t size, const char *dir, const char *name, struct err *e)
{
    int n = snprintf(path, size, "%s/%s", dir, name);
    return (n >= 0 && (size_t)n < size) ||
           err_set(e, ERR_REQUEST, "the path of the folder with %s is too long", name);
}

bool config_read(const char *dir, const char *name, json_t **out, struct err *e)
{
    char path[4096];
    *out = NULL;
    if (!path_of(path, sizeof path, dir, name, e)) return false;
    if (access(path, F_OK) != 0) return true;
    return json_read_file(out, path, e);
}

bool config_map(const char *dir, const char *name, struct filemap *m, bool *found, struct err *e)
{
    char path[4096];
    *found = false;
    if (!path_of(path, sizeof path, dir, name, e)) return false;
    if (access(path, F_OK) != 0) return true;
    return *found = filemap_open(m, path, e);
}

const char *config_token(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* The names of one file over those that are there. */
static bool take_names(json_t *names, const json_t *file, struct err *e)
{
    const char *key;
    json_t *v, *extra = json_object_get(names, "extra");
    bool ok = true;
    json_object_foreach((json_t *)file, key, v)
    {
        if (json_is_array(v) &&
            (strcmp(key, "additional_special_tokens") == 0 || strcmp(key, "extra_special_tokens") == 0)) {
            size_t i;
            json_t *one;
            json_array_foreach(v, i, one)
            {
                if (config_token(one))
                    ok &= json_array_append_new(extra, json_string(config_token(one))) == 0;
            }
        } else if (ends_with(key, "_token") && config_token(v)) {
            ok &= json_object_set_new(names, key, json_string(config_token(v))) == 0;
        }
    }
    return ok || err_set(e, ERR_NOMEM, "no memory for the names of special tokens");
}

static bool is_named(const json_t *names, const char *text)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)names, key, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), text) == 0) return true;
    }
    size_t i;
    json_array_foreach(json_object_get(names, "extra"), i, v)
    {
        if (strcmp(json_string_value(v), text) == 0) return true;
    }
    return false;
}

/* {"32000": {"content": ...}, ...} */
static bool added_of_decoder(json_t *added, const json_t *decoder, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)decoder, key, v)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (!*key || *end || id < 0 || !json_is_string(json_object_get(v, "content")))
            return err_set(e, ERR_FORMAT,
                           "tokenizer_config.json: added_tokens_decoder: \"%.40s\" is not the id of a token "
                           "with its content",
                           key);
        json_t *one = json_memory_copy(v);
        if (!one || json_object_set_new(one, "id", json_integer(id)) != 0 ||
            json_array_append_new(added, one) != 0)
            return err_set(e, ERR_NOMEM, "no memory for the added tokens");
    }
    return true;
}

/* {"<|im_end|>": 32000, ...}; those that a name is given to are special. */
static bool added_of_file(json_t *added, const json_t *file, const json_t *names, struct err *e)
{
    const char *text;
    json_t *v;
    json_object_foreach((json_t *)file, text, v)
    {
        double id = json_is_number(v) ? json_number_value(v) : -1;
        if (!(id >= 0 && id <= INT32_MAX))
            return err_set(e, ERR_FORMAT, "added_tokens.json: \"%.40s\" has no usable id", text);
        int special = is_named(names, text);
        json_t *one = json_pack("{s:I, s:s, s:b, s:b}", "id", (json_int_t)id, "content", text, "special",
                                special, "normalized", !special);
        if (!one || json_array_append_new(added, one) != 0)
            return err_set(e, ERR_NOMEM, "no memory for the added tokens");
    }
    return true;
}

static int by_id(const void *x, const void *y)
{
    const json_t *const *a = x, *const *b = y;
    json_int_t i = json_integer_value(json_object_get(*a, "id")),
               k = json_integer_value(json_object_get(*b, "id"));
    return i < k ? -1 : i > k;
}

static bool sort_added(json_t **added, struct err *e)
{
    size_t n = json_array_size(*added);
    json_t **v = malloc((n + 1) * sizeof(json_t *)), *sorted = json_array();
    bool ok = v && sorted;
    for (size_t i = 0; ok && i < n; i++) v[i] = json_array_get(*added, i);
    if (ok) qsort(v, n, sizeof(json_t *), by_id);
    for (size_t i = 0; ok && i < n; i++) ok = json_array_append(sorted, v[i]) == 0;
    free(v);
    json_decref(*added);
    *added = sorted;
    return ok || err_set(e, ERR_NOMEM, "no memory for %zu added tokens", n);
}

bool config_special_tokens(const char *dir, const json_t *config, struct special_tokens *out, struct err *e)
{
    const json_t *decoder = json_object_get(config, "added_tokens_decoder");
    json_t *map = NULL, *file = NULL;
    *out = (struct special_tokens){ json_pack("{s:[]}", "extra"), json_array() };
    if (!out->names || !out->added) return err_set(e, ERR_NOMEM, "no memory for the special tokens");
    bool ok = take_names(out->names, config, e);
    if (ok && json_is_object(decoder)) {
        ok = added_of_decoder(out->added, decoder, e);
    } else if (ok) {
        ok = config_read(dir, "special_tokens_map.json", &map, e) && take_names(out->names, map, e) &&
             config_read(dir, "added_tokens.json", &file, e) &&
             added_of_file(out->added, file, out->names, e);
    }
    json_decref(map);
    json_decref(file);
    return ok && sort_added(&out->added, e);
}

int config_max_length(const json_t *config, int fallback)
{
    double n = json_number_value(json_object_get(config, "model_max_length"));
    return n >= 2 && n <= 1 << 20 ? (int)n : fallback;
}
