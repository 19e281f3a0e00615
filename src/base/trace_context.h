/* trace_context.h - which trace a request belongs to, as W3C's Trace Context (level 1) says it in a header:
 * "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01". */
#ifndef HEARTH_BASE_TRACE_CONTEXT_H
#define HEARTH_BASE_TRACE_CONTEXT_H

#include <stdbool.h>

enum { TRACE_ID = 16, SPAN_ID = 8, TRACEPARENT = 56 };

struct trace_context {
    unsigned char trace[TRACE_ID], parent[SPAN_ID]; /* parent: all zero where there is none */
    unsigned char span[SPAN_ID];                    /* ours */
    bool known;                                     /* there is a trace at all */
    bool sampled;                                   /* who began it wants it kept */
};

/* A header's value; NULL or one that is malformed leaves *out as it was, and is no trace, as the standard asks. span is not set. */
bool trace_context_parse(struct trace_context *out, const char *header);
/* A trace of our own, or, when known, another span in it. */
void trace_context_begin(struct trace_context *c);
/* The header for those who are asked on behalf of our span. */
void trace_context_print(const struct trace_context *c, char out[TRACEPARENT]);
void trace_context_hex(const unsigned char *id, int n, char *out); /* 2n digits and a 0 */

#endif
