/* scopes.h - what a key may be used for: "model:*flux*, endpoint:chat, endpoint:image-generation, admin". */
#ifndef HEARTH_SERVICE_ACCOUNT_SCOPES_H
#define HEARTH_SERVICE_ACCOUNT_SCOPES_H

#include <stdbool.h>

#include "base/err.h"

/* Without a model every model may be asked, without an endpoint every endpoint. */
struct scopes {
    char *text; /* the list, its items separated by commas */
    bool admin;
    int n_models, n_endpoints;
};

bool scopes_parse(struct scopes *s, const char *text, struct err *e);
void scopes_free(struct scopes *s);
/* A model's id against the patterns, as a whole or its last part alone ("*" and "?" as in a shell). */
bool scopes_model(const struct scopes *s, const char *id);
/* An endpoint as the table of routes names it; NULL (nothing that is counted) may always be asked. */
bool scopes_endpoint(const struct scopes *s, const char *endpoint);

#endif
