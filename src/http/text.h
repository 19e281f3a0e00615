/* text.h - a text request from its body to its reply, for the handlers of every API that has one. */
#ifndef HEARTH_HTTP_TEXT_H
#define HEARTH_HTTP_TEXT_H

#include <jansson.h>

#include "http/dialects/wire.h"

struct exchange;

/* A whole handler: parses the body as the style has it, runs it on its model, and prints what comes. */
void text_post(struct exchange *x, bool chat, const struct wire_style *style);
/* The same where the body was read already. Ends as handlers do. body: the caller's, an object, which parsing may change. */
void text_run(struct exchange *x, bool chat, json_t *body, const struct wire_style *style);

/* What becomes of a reply once it is whole. */
struct text_sequel {
    /* On the event loop, once, and never of a reply that an error ended. */
    void (*said)(void *arg, const struct wire_reply *r, const struct wire_choice *choice,
                 const struct usage *u);
    void (*release)(void *arg);
};
/* The same of a request that was parsed, which is taken over, and so is arg. body: as it came. s NULL: nothing follows. */
void text_run_read(struct exchange *x, const json_t *body, struct wire_request *w,
                   const struct text_sequel *s, void *arg);

#endif
