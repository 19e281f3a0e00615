/* moderation.h - the body of POST /v1/moderations and its answer, as OpenAI has them. */
#ifndef HEARTH_HTTP_DIALECTS_MODERATION_H
#define HEARTH_HTTP_DIALECTS_MODERATION_H

#include <jansson.h>

#include "base/buf.h"
#include "service/request.h"
#include "service/safety/policy.h"

enum { MODERATION_INPUTS = 2048, MODERATION_PICTURES = 30 };

struct moderation_input {
    const char *text; /* of the body, which must live as long; NULL: a picture ... */
    size_t len;
    unsigned char *bytes; /* [n] its file, or NULL ... */
    size_t n;
    const char *url; /* ... where to fetch it */
    int result;      /* which it belongs to */
};

/* What is found out of the inputs of one result. */
struct moderation_result {
    bool text, picture; /* it has some */
    bool flagged[N_CATEGORIES];
    double text_score[N_CATEGORIES], picture_score[N_CATEGORIES];
};

struct moderation {
    const char *model; /* a constant */
    bool old;          /* one of the models before pictures, with fewer categories */
    struct moderation_input *input;
    int n_inputs;
    struct moderation_result *result;
    int n_results;
};
bool moderation_read(struct moderation *m, const json_t *body, bool strict, struct fault *f);
void moderation_free(struct moderation *m);
void moderation_print(struct buf *b, const struct moderation *m, const char *id);

#endif
