/* handlers.h - what the rows of routes.def call. Each ends as exchange.h asks. */
#ifndef HEARTH_HTTP_HANDLERS_H
#define HEARTH_HTTP_HANDLERS_H

struct exchange;

#define ROUTE(method, base, path, handler, ...) void handler(struct exchange *x);
#include "http/routes.def"
#undef ROUTE

#endif
