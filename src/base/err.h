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

/* Both are false, so that failing is one line: `return done || err_set(...)`; err_wrap() puts the outer context in front
 * as "context: msg". `e` may be NULL: then nothing is recorded.
 * Macros, so that compilers, analysers and the branches that coverage counts see that nothing but false comes of them. What
 * follows the question mark is never reached: it stops gcc from warning of a value without use where a failure is a statement. */
#define err_set(...) ((err_record(__VA_ARGS__), false) ? (__builtin_unreachable(), false) : false)
#define err_wrap(...) ((err_surround(__VA_ARGS__), false) ? (__builtin_unreachable(), false) : false)

void err_record(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void err_surround(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
