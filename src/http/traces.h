/* traces.h - a span for every request, sent to a collector as OpenTelemetry's OTLP over HTTP in JSON.
 *
 * A request that comes with a traceparent header is part of that trace, unless its sender does not want it kept; any other begins one. Its
 * span has what the access log has; below it are spans of the queue, the prompt and the generation, or of the drawing.
 *
 * Spans wait for a thread that sends them in batches. What waits has a limit: while the collector is away, or slow, spans beyond it are dropped and
 * counted, and so is a batch that could not be sent in some tries. Requests never wait.
 *
 * Threads  any, but traces_open() and traces_close(). */
#ifndef HEARTH_HTTP_TRACES_H
#define HEARTH_HTTP_TRACES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str_list.h"
#include "service/ending.h"

struct traces;

/* url: http(s)://host:port, to which the standard's path /v1/traces is added, or one with a path of its own. headers: "Name: value" of each
 * request to it; copied. */
bool traces_open(struct traces **out, const char *url, const struct str_list *headers, struct err *e);
/* Sends what waits if the collector takes it within a moment. NULL: nothing happens. */
void traces_close(struct traces *t);
/* A sink of endings. arg: the traces. */
void traces_take(void *arg, const struct ending *e);

struct traces_counts {
    unsigned long long sent, dropped;
};
struct traces_counts traces_counts(const struct traces *t);

#endif
