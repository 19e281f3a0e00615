/* routes.h - what is known of an endpoint; the endpoints are the rows of routes.def. */
#ifndef HEARTH_HTTP_ROUTES_H
#define HEARTH_HTTP_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "http/error.h"
#include "http/lanes.h"

struct exchange;

enum http_method {
    METHOD_GET = 1,
    METHOD_POST = 2,
    METHOD_DELETE = 4,
    METHOD_OPTIONS = 8,
    METHOD_PATCH = 16,
    METHOD_UNKNOWN = 32
};
enum base { BASE_ROOT, BASE_API }; /* BASE_API: under /v1, /inference/v1 and /inference/v1/v1 */
enum body_limit {
    BODY_NONE,
    BODY_JSON,
    BODY_FORM /* JSON or multipart/form-data */,
    BODY_FILE /* a form that goes to the disk (upload.h) */
};
enum access { ACCESS_KEY, ACCESS_ADMIN /* a key of the store, with that scope */, ACCESS_PUBLIC };

struct route {
    enum http_method method;
    enum base base;
    const char *path; /* below the base; a '*' at the end stands for the rest, slashes included */
    void (*handler)(struct exchange *x);
    enum body_limit limit;
    enum lane lane;
    enum access access;
    const char *
        endpoint; /* what is asked for here, as the account names it: such requests are admitted and end (endings.h); NULL: nothing
                             that is counted */
};

enum http_method routes_method(const char *name);
/* The dialect that a path speaks, also when it leads nowhere. anthropic: its client is one of Anthropic's, where others ask there too. */
enum api_dialect routes_dialect(const char *path, bool anthropic);
/* NULL: *allowed has the methods that the path knows (0: none). *tail is what '*' stood for. */
const struct route *routes_find(enum http_method method, const char *path, const char **tail,
                                unsigned *allowed);
/* "GET, POST" for an Allow header; out has room for 64. */
void routes_allow(unsigned allowed, char *out);
const struct route *routes_at(int row); /* NULL behind the last */
int routes_row(const struct route *r);
const char *routes_name(int row);

#endif
