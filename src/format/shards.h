/* shards.h - which files a model consists of: one, the numbered parts of a split model, those that an index names, or
 * what lies in a folder. Nothing is opened but the folder and the index. */
#ifndef HEARTH_FORMAT_SHARDS_H
#define HEARTH_FORMAT_SHARDS_H

#include <stddef.h>

#include "base/err.h"

enum shard_kind { SHARD_GGUF, SHARD_SAFETENSORS };

/* An index says in which file a tensor lies. */
struct shard_entry {
    const char *tensor;
    size_t shard; /* number in name[] */
};

struct shards {
    enum shard_kind kind;
    char *dir;   /* "" or with a slash at its end */
    char **name; /* file names in dir, in order; never with a slash */
    size_t n;
    struct shard_entry *entry; /* NULL when there is no index */
    size_t n_entries;
    char *pool; /* the index's strings */
};

/* On failure nothing is left to free. */
bool shards_find(struct shards *s, const char *path, struct err *e);
void shards_free(struct shards *s);

/* Length of a file's path without its extension and, where it is one part of several, without "-00001-of-00003";
 * *count: of how many parts, else 0. */
size_t shards_stem(const char *path, int *count);

/* "dir/name", owned by the caller; NULL: no memory. */
char *shards_path(const struct shards *s, size_t i);

#endif
