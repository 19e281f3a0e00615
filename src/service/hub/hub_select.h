/* hub_select.h - which of a repository's files make up the model.
 *
 *   an image pipeline  model_index.json and, one folder down, settings, tokenizers and safetensors
 *   safetensors        at the top: settings, tokenizers, all shards
 *   GGUF               one quantisation, all of its parts: the one asked for, else a good middle (Q4_K_M)
 *
 * Pure functions over a listing; names in it come from a server and are trusted with nothing: a path that would leave
 * the folder, or hide in it, makes the whole listing an error. */
#ifndef HEARTH_SERVICE_HUB_HUB_SELECT_H
#define HEARTH_SERVICE_HUB_HUB_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hub_file {
    char *path;      /* relative, '/' between folders */
    int64_t size;    /* bytes */
    char sha256[65]; /* "" when the hub does not say (small files outside LFS) */
    bool wanted;
};

struct hub_list {
    struct hub_file *v;
    size_t n;
};

/* Appends one page of the hub's tree listing (JSON). On failure the list is as it was or longer, never broken. */
bool hub_list_parse(struct hub_list *l, const char *json, size_t len, struct err *e);
bool hub_list_add(struct hub_list *l, const char *path, int64_t size, const char *sha256, struct err *e);
void hub_list_free(struct hub_list *l);

/* Relative, every part printable and without a leading dot, no '\', no empty part. */
bool hub_path_is_safe(const char *path);

/* Sets `wanted`. which: NULL for the model as a whole; a path in the repository (of a split model any part); or the name of
 * a quantisation ("Q8_0"). */
bool hub_select(struct hub_list *l, const char *which, struct err *e);

#endif
