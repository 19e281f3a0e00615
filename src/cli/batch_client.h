/* batch_client.h - files and batches of a running server, for `hearth batch`.
 *
 * Each call is one request and takes as long as the server needs. Errors say what the server said; ERR_BUSY: it could not be reached, or has no
 * time now, and may be asked again. */
#ifndef HEARTH_CLI_BATCH_CLIENT_H
#define HEARTH_CLI_BATCH_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct batch_client {
    const char *url, *key;
    /* Called now and then while a file is sent; not 0 gives up. NULL: nobody wants to know. */
    int (*sent)(void *arg, long long done, long long total);
    void *arg;
};

/* Each answer is new, json_decref()'s; NULL with *e. */
json_t *batch_client_upload(const struct batch_client *c, const char *path, struct err *e);
json_t *batch_client_create(const struct batch_client *c, const char *file, const char *endpoint,
                            const char *window, struct err *e);
json_t *batch_client_get(const struct batch_client *c, const char *batch, struct err *e);
json_t *batch_client_cancel(const struct batch_client *c, const char *batch, struct err *e);
/* The content of a file into an open descriptor. */
bool batch_client_download(const struct batch_client *c, const char *file, int fd, struct err *e);
/* One that is not needed any more. */
bool batch_client_delete(const struct batch_client *c, const char *file, struct err *e);

#endif
