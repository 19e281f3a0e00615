/* fetch.h - one answer of a running server, for the commands that ask once and print. */
#ifndef HEARTH_CLI_FETCH_H
#define HEARTH_CLI_FETCH_H

#include "base/buf.h"
#include "base/err.h"

/* Where a server on this machine usually is: what is asked when nobody says where. */
#define FETCH_USUAL_URL "http://127.0.0.1:8080"

/* GET PATH of the server at `url` (http://host:port, with or without a /v1 behind it) into body, whose maximum holds. key "": none.
 * An answer other than 200 is an error that says what the server said. On failure body is freed. */
bool fetch_get(const char *url, const char *key, const char *path, struct buf *body, struct err *e);
/* The same of a POST with a body of JSON. It takes as long as the server needs. */
bool fetch_post(const char *url, const char *key, const char *path, const char *json, struct buf *body,
                struct err *e);

#endif
