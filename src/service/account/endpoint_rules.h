/* endpoint_rules.h - limits that hold at one endpoint: "express-chat:requests/15-minutes=100, chat:concurrency=4". Several of one endpoint are
 * several items. */
#ifndef HEARTH_SERVICE_ACCOUNT_ENDPOINT_RULES_H
#define HEARTH_SERVICE_ACCOUNT_ENDPOINT_RULES_H

#include "service/account/rules.h"

enum { ENDPOINT_RULES_MAX = 32, ENDPOINT_NAME = 40 };

struct endpoint_rules {
    struct {
        char endpoint[ENDPOINT_NAME]; /* as scopes write it: "image-generation" */
        struct limit_rules limits;
    } v[ENDPOINT_RULES_MAX];
    int n;
};

/* ERR_REQUEST names the item that is wrong. "" has no rules. */
bool endpoint_rules_parse(struct endpoint_rules *r, const char *text, struct err *e);
/* NULL: none hold there. endpoint: as the routes call it, "image generation". */
const struct limit_rules *endpoint_rules_of(const struct endpoint_rules *r, const char *endpoint);

#endif
