/* redirect.h - a port of plain HTTP beside one of HTTPS, on which every request is told to come to the other (308).
 *
 * Nothing is read there but what the answer needs, and nobody is asked for a key.
 * Threads  one event loop of its own; redirect_start() and redirect_stop() as the server's. */
#ifndef HEARTH_HTTP_REDIRECT_H
#define HEARTH_HTTP_REDIRECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

struct redirect;
struct server;

/* fd: a socket that listens; taken over on success. */
bool redirect_start(struct redirect **out, struct server *s, int fd, int https_port, struct err *e);
void redirect_stop(struct redirect *r); /* before the watch ends; NULL: nothing happens */

/* Where a request with this Host header and target is to go. False: the header names no host, and *out is as it was. */
bool redirect_location(struct buf *out, const char *host, const char *target, int https_port);

#endif
