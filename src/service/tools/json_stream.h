/* json_stream.h - one JSON value, read byte by byte, and handed on as it stands as far as it could be closed.
 *
 * The text that has been handed on is always one that json_stream_close() makes whole: a key, a number or half an escape waits until what
 * makes sense of it is there. Control characters inside strings, which models write and JSON forbids, are handed on as escapes.
 * Threads  one owner at a time. */
#ifndef HEARTH_SERVICE_TOOLS_JSON_STREAM_H
#define HEARTH_SERVICE_TOOLS_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { JSON_STREAM_DEPTH = 512 };

enum json_step {
    JSON_MORE,
    JSON_WHOLE,        /* with this byte the value ended */
    JSON_WHOLE_BEFORE, /* it ended before this byte, which has not been taken: a number */
    JSON_WRONG         /* this byte cannot stand here; it has not been taken */
};

struct
    json_stream { /* zeroed (json_stream_begin()) it waits for the value's first byte; white space in front is none of it */
    unsigned char at;  /* where in the grammar */
    unsigned char num; /* where in a number */
    unsigned char hex; /* digits to come of \uXXXX */
    bool key;          /* the string is a key */
    bool low;          /* a low surrogate has to follow */
    unsigned unit;     /* of \uXXXX */
    const char *word;  /* what has to follow of true, false, null */
    int depth;
    unsigned char in_object[JSON_STREAM_DEPTH / 8];
    struct buf held; /* read and not handed on */
    size_t n_held;   /* bytes that were read for it */
};

void json_stream_begin(struct json_stream *j); /* memory is kept */
void json_stream_free(struct json_stream *j);
/* Appends to *out; its failure, and held's, are sticky and for the caller to ask for. */
enum json_step json_stream_feed(struct json_stream *j, char c, struct buf *out);
/* What makes a value out of what was handed on. What is held is forgotten. */
void json_stream_close(struct json_stream *j, struct buf *out);

#endif
