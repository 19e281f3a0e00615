/* described.h - what is said of the endpoints to those who write clients: the rows of described.def beside those of routes.def, as OpenAPI 3.1
 * (/openapi.json) and as a document (docs/endpoints.md, `hearth help --api-markdown`). What a body may hold comes out of the tables that its
 * reader goes by. */
#ifndef HEARTH_HTTP_DESCRIBED_H
#define HEARTH_HTTP_DESCRIBED_H

#include <stdbool.h>

#include "base/buf.h"
#include "http/dialects/fields.h"
#include "http/routes.h"

enum answers {
    ANSWERS_JSON,
    ANSWERS_EVENTS,  /* JSON, or server-sent events where they are asked for */
    ANSWERS_LINES,   /* JSON, or lines of it */
    ANSWERS_PICTURE, /* a file, or JSON, as the Accept header says */
    ANSWERS_TEXT,
    ANSWERS_PAGE,    /* HTML */
    ANSWERS_ANYTHING /* a file of some type */
};

struct described {
    enum http_method method;
    enum base base;
    const char *path, *tag, *summary;
    const struct json_table *fields; /* of its body; NULL: any object, or none */
    unsigned form;                   /* of the fields */
    int status;
    enum answers answers;
    const char *
        reply; /* members of a JSON answer that are always there: NAME:SHAPE with blanks between; NULL: not one object */
    const char *query; /* names of parameters, with blanks between; NULL: none */
};

/* The rows, which end with one without a path. */

/* What of a server its description depends on. */
struct described_server {
    bool strict; /* it refuses fields that no row has */
    bool keys;   /* it asks for keys */
};

/* As JSON. False: there is no memory. */
bool described_openapi(struct buf *b, const struct described_server *s);
bool described_markdown(struct buf *b);

#endif
