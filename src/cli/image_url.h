/* image_url.h - drawing with a running server, through its OpenAI style image endpoints. */
#ifndef HEARTH_CLI_IMAGE_URL_H
#define HEARTH_CLI_IMAGE_URL_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/options.h"

/* A request as the wire has it: fields by their names in the API, files as they were read. */
struct drawing {
    json_t *fields;
    struct buf init, mask; /* empty: none */
};

/* Asks the server of o->url and hands each picture's file to take(), which may fail. */
bool image_url_draw(const struct options *o, const struct drawing *d,
                    bool (*take)(void *arg, const void *file, size_t n, int index, uint64_t seed,
                                 struct err *e),
                    void *arg, struct err *e);

#endif
