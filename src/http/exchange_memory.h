/* exchange_memory.h - requests that come over no connection: unit tests run handlers as the server does, with its preflight, lanes, loading
 * and watch, and without a socket. No part of a running server.
 *
 * Threads  any number of requests at a time, each from a thread of its own, which waits for its reply. */
#ifndef HEARTH_HTTP_EXCHANGE_MEMORY_H
#define HEARTH_HTTP_EXCHANGE_MEMORY_H

#include "base/buf.h"
#include "http/server.h"

struct memory_request {
    const char *method, *path;       /* the path decoded, with its ?query as it stands */
    const char *const (*headers)[2]; /* name and value; ended by one whose name is NULL; NULL: none */
    const char *body;
    size_t len; /* 0: up to the body's 0 */
    int leave_after; /* the client leaves after so many pieces of a stream, or where a plain reply is waited for; 0: it stays */
};

struct memory_reply {
    int status;         /* 499: nobody is there to be answered */
    struct buf headers; /* "Name: value\n" each */
    struct buf body;    /* of a stream everything that came */
};
void memory_reply_free(struct memory_reply *r);

/* A server that listens nowhere and is ready. Options as in server_start(); free with memory_server_free(), when no request runs. */
bool memory_server_new(struct server **out, const struct server_options *o, struct registry *r,
                       const struct catalog *c, struct err *e);
void memory_server_free(struct server *s);

/* One request from its first byte to the end of its reply. False: no memory. */
bool memory_exchange(struct server *s, const struct memory_request *q, struct memory_reply *out);

#endif
