/* tokenizer_config.c - see tokenizer_config.h. */
#include "text/tokenizer_config.h"

#include <stdio.h>
#include <unistd.h>

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

int config_max_length(const json_t *config, int fallback)
{
    double n = json_number_value(json_object_get(config, "model_max_length"));
    return n >= 2 && n <= 1 << 20 ? (int)n : fallback;
}
