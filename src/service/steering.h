/* steering.h - what a request's wishes mean for the model that answers it: how its text is read, and what steers its tokens.
 *
 * A request may hold the answer to a form, offer tools, and bound or forbid thoughts; a model has marks around its thoughts and a way to write
 * calls. Schemas and grammars are compiled here, once for all that ask for the same. */
#ifndef HEARTH_SERVICE_STEERING_H
#define HEARTH_SERVICE_STEERING_H

#include <stdatomic.h>

#include "lm/lm.h"
#include "service/models/catalog.h"
#include "service/reply.h"
#include "service/request.h"

struct steering {
    struct reply_style style;
    struct guide_plan *plan; /* NULL: nothing steers */
    /* Keywords of the request's schemas that no draft has and that decide nothing, as "#/properties/a/keyword, ..." in printable ASCII, fit for
     * a header; cut where they are many. NULL: none. */
    char *ignored;
};

/* m: what the catalog says of the model, or NULL. prompt: what is in front of the answer, as text, or NULL; it may have opened a thought. cancel: once set, by any thread, this ends soon with
 * ERR_CANCELLED; NULL: never. The fault names the field that asked for what cannot be had. */
bool steering_make(struct steering *out, const struct lm *lm, const struct catalog_model *m,
                   const struct gen_request *q, const char *prompt, const atomic_bool *cancel,
                   struct fault *f);
void steering_free(struct steering *s);

#endif
