/* download.h - one URL into one file, whole or not at all.
 *
 * The bytes go to DIR/.NAME.part, which is checked (size, SHA-256, and that a model file can be parsed) and only then
 * renamed to DIR/NAME. An interrupted download is resumed by Range: the validator of the first answer lies in
 * DIR/.NAME.part.etag and is sent as If-Range, so that a file that changed meanwhile starts over.
 * Locking   the .part file is locked (flock): of two processes that fetch one file the second waits and then finds it
 *           there.
 * Retries   broken connections, 408, 429 and 5xx, with exponential back-off and jitter, Retry-After honoured; the
 *           count starts over whenever bytes have arrived.
 * Security  https only; http to a loopback address is allowed, also after redirects, never from https down to http.
 *           The token goes to the origin it belongs to and nowhere else.
 * Threads   any; a call blocks until it is done. */
#ifndef HEARTH_SERVICE_HUB_DOWNLOAD_H
#define HEARTH_SERVICE_HUB_DOWNLOAD_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Who watches; any function may be NULL. */
struct download_watch {
    /* Ten times a second: done of total bytes (-1: unknown), of which `resumed` were there before. */
    void (*progress)(void *arg, int64_t done, int64_t total, int64_t resumed);
    void (*note)(void *arg, const char *text); /* "connection lost, trying again in 2 s" */
    void *arg;
};

struct download_access {
    const char *origin; /* URL of the host that the token is for; NULL: none */
    const char *token;  /* "" or NULL: none */
    int tries;          /* attempts in a row without a byte; 0: 6 */
    int backoff_ms;     /* before the second attempt, doubled each time; 0: 500 */
};

/* sha256: 64 hex digits, or NULL: then X-Linked-ETag is used where a hub sends it. size: expected bytes, -1 unknown.
 * *was_there: a file of this size and sum (as far as they are known) was there already; nothing was fetched. */
bool download_file(const struct download_access *a, const char *url, const char *dir, const char *name,
                   const char *sha256, int64_t size, const struct download_watch *w, bool *was_there,
                   struct err *e);

/* A copy of a local file, with the same checks and promises. */
bool download_copy(const char *source, const char *dir, const char *name, const char *sha256,
                   const struct download_watch *w, bool *was_there, struct err *e);

/* A JSON answer into `out` (whose maximum holds). next: the URL of the following page in a Link header, "" when there
 * is none; NULL: not wanted. */
bool download_text(const struct download_access *a, const char *url, struct buf *out, char *next,
                   size_t next_cap, const struct download_watch *w, struct err *e);

/* False with the reason when this URL may not be fetched. */
bool download_url_allowed(const char *url, struct err *e);

bool download_is_sha256(const char *hex);

/* Is there room for `need` more bytes on the disk of `path`, a file or folder that need not be there yet? True where that cannot be told. */
bool download_fits(const char *path, int64_t need, struct err *e);

#endif
