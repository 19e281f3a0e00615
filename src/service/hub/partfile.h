/* partfile.h - a file in the making: locked, hashed as it grows, and renamed into place once it is right.
 *
 * DIR/.NAME.part holds the bytes, DIR/.NAME.part.etag the validator that a resume needs. Both go away on success; on
 * failure they stay for the next try, unless the bytes were wrong.
 * Threads  one owner; the lock keeps other processes out. */
#ifndef HEARTH_SERVICE_HUB_PARTFILE_H
#define HEARTH_SERVICE_HUB_PARTFILE_H

#include <sodium.h>
#include <stdint.h>

#include "base/err.h"

struct partfile {
    int fd;
    char *path, *part, *etag_path; /* DIR/NAME and its two companions */
    int64_t size;                  /* bytes in the part, all of them hashed */
    crypto_hash_sha256_state sha;
};

/* Makes DIR and what is above it, opens and locks the part, and hashes what it already holds. `waiting` is called once
 * when another process has the lock, before this one waits for it. On failure nothing is open. */
bool partfile_open(struct partfile *p, const char *dir, const char *name, void (*waiting)(void *), void *arg,
                   struct err *e);
void partfile_close(struct partfile *p);

bool partfile_append(struct partfile *p, const void *data, size_t n, struct err *e);
bool partfile_restart(struct partfile *p, struct err *e); /* forget all bytes and the validator */

/* The validator of the bytes so far; "" when there is none. */
void partfile_etag(const struct partfile *p, char *out, size_t cap);
void partfile_set_etag(const struct partfile *p, const char *etag);

/* Checks size (-1: any), SHA-256 (NULL: any) and, for .gguf and .safetensors, that the file parses; then renames it into
 * place. On a wrong sum or content the bytes are dropped. */
bool partfile_finish(struct partfile *p, int64_t size, const char *sha256, struct err *e);

/* True when DIR/NAME is there with this size (-1: any) and sum (NULL: any). */
bool partfile_is_installed(const struct partfile *p, int64_t size, const char *sha256);

#endif
