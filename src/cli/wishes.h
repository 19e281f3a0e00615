/* wishes.h - what the command line says of the answer: its form, the tools it may call, and how long to think.
 *
 * Files are read and checked before a model is loaded, as far as that goes without one.
 * Ownership  everything in a struct wishes is its own and goes with wishes_free(); a zeroed one wishes nothing. */
#ifndef HEARTH_CLI_WISHES_H
#define HEARTH_CLI_WISHES_H

#include <jansson.h>

#include "base/err.h"
#include "cli/options.h"
#include "service/request.h"

struct wishes {
    enum form_kind form;
    json_t *schema; /* FORM_SCHEMA */
    char *text;     /* FORM_GRAMMAR, FORM_REGEX */
    size_t len;
    char *from;             /* what said so: the file's name, or the option's */
    json_t *tools;          /* an array as requests have it; NULL: none */
    const char *tools_from; /* their file: borrowed from the options */
    json_t *choice;         /* of a tool, as requests have it; NULL: the model decides */
    const char *reasoning;  /* "" as the model is, or a level: borrowed from the options */
};

/* Errors name the file, or the option. */
bool wishes_read(struct wishes *w, const struct options *o, struct err *e);
void wishes_free(struct wishes *w);

/* Puts them into a request for a model loaded here. choose: --tool-choice is kept to; else the model decides, as once results are there.
 * q goes with gen_request_free() whether this is true or not. */
bool wishes_to_request(const struct wishes *w, bool choose, struct gen_request *q, struct err *e);
/* Puts them into the body of a request to a server. false: no memory. */
bool wishes_to_body(const struct wishes *w, bool choose, json_t *body);

#endif
