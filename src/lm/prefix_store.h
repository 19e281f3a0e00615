/* prefix_store.h - pages of keys and values on disk, so that a prompt of yesterday is not computed again today.
 *
 * A page is a file whose name is the hash of all tokens from the text's beginning to the page's end, of the space that they belong to
 * (lm.h: who may share prefixes), so whoever does not know space and tokens cannot name it. Files lie in a folder of the model's key: a
 * hash of what decides a page's bytes (prefix_key.h). The content is held against its hash when it is read.
 * Never worse than no cache  what is missing, damaged, of another version or of somebody else's is a miss, and removed where that is ours to
 *          do; a disk that is full or read-only ends the writing, with one line in the log. A file is written under a passing name and
 *          renamed, so that a reader, also of another server with the same folder, sees all of it or nothing.
 * Bounded  above its limit the files that were used least lately are removed.
 * Threads  writing happens on a thread of the store's own; everything else from one owner, the scheduler's thread. */
#ifndef HEARTH_LM_PREFIX_STORE_H
#define HEARTH_LM_PREFIX_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PREFIX_HASH = 32 };

struct prefix_store;

/* dir is made when it is not there, for this user alone; one that others may write to is refused, and so is one of another user's. */
bool prefix_store_open(struct prefix_store **out, const char *dir, const unsigned char key[PREFIX_HASH],
                       size_t page_bytes, size_t limit_bytes, struct err *e);
/* What has been handed over is written before this returns. NULL is fine. */
void prefix_store_close(struct prefix_store *s);

/* The hash of a text's beginning of no tokens, and that of a page behind `before`: of its n tokens. */
void prefix_hash_begin(unsigned char hash[PREFIX_HASH], const unsigned char *space, size_t n_space);
void prefix_hash_page(unsigned char hash[PREFIX_HASH], const unsigned char before[PREFIX_HASH],
                      const int32_t *tokens, int n);

/* Is such a page there, as far as is known? */
bool prefix_store_has(struct prefix_store *s, const unsigned char hash[PREFIX_HASH]);
/* The page's bytes, until the next call; NULL: there is none that is whole. */
const void *prefix_store_read(struct prefix_store *s, const unsigned char hash[PREFIX_HASH]);
/* Memory for a page that is to be written, or NULL: too many wait already, or it is known, or nothing is written any more. wait: until
 * there is room. It goes back with prefix_store_write(), or with prefix_store_drop() unwritten. */
void *prefix_store_room(struct prefix_store *s, const unsigned char hash[PREFIX_HASH], bool wait);
void prefix_store_write(struct prefix_store *s, const unsigned char hash[PREFIX_HASH], void *room);
void prefix_store_drop(struct prefix_store *s, void *room);

/* Is file[n] the page of this model and hash? *page points into it. (What a file is held against, for tests.) */
bool prefix_file_check(const void *file, size_t n, const unsigned char key[PREFIX_HASH],
                       const unsigned char hash[PREFIX_HASH], size_t page_bytes, const void **page);
/* Bytes of the file in front of the page. */
size_t prefix_file_head(void);

#endif
