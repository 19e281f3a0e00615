/* err.h - errors are values: a code for the program, one sentence for the person.
 *
 * Functions that can fail return bool and take `struct err *e` last: true means done and *e is untouched,
 * false means *e says why and no output was written. A message names what, where and what to do.
 * Threads  a struct err belongs to whoever declared it. */
#ifndef HEARTH_BASE_ERR_H
#define HEARTH_BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE,
    ERR_NOMEM,         /* memory could not be had */
    ERR_IO,            /* the operating system said no: a file, a socket */
    ERR_FORMAT,        /* a model file, an image or a template is not what it claims to be */
    ERR_LIMIT,         /* a limit of ours: size, count, depth, queue full */
    ERR_REQUEST,       /* the caller asked for something invalid */
    ERR_NOT_FOUND,     /* no such model, file or route */
    ERR_UNSUPPORTED,   /* valid, but not offered by this build or this model */
    ERR_CONTEXT,       /* prompt and output do not fit the model's context */
    ERR_BUSY,          /* the queue is full: try again later */
    ERR_CANCELLED,     /* the client went away or the server is stopping */
    ERR_UPSTREAM,      /* another server that was asked failed: its answer is of no use, or none came */
    ERR_UPSTREAM_LATE, /* it did not answer in time */
    ERR_UPSTREAM_BUSY, /* it takes no requests now, or is left alone after failures: try again later */
};

struct err {
    enum err_code code;
    char msg[400];
};

/* Both return false, so that failing is one line; err_wrap() puts the outer context in front as "context: msg".
 * `e` may be NULL: then nothing is recorded. */
bool err_set(struct err *e, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* so that the analyser sees that both return false */
#define err_set(...) ((void)err_set(__VA_ARGS__), false)
#define err_wrap(...) ((void)err_wrap(__VA_ARGS__), false)
#endif

#endif
