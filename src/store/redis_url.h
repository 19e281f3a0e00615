/* redis_url.h - redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] in its parts. */
#ifndef HEARTH_STORE_REDIS_URL_H
#define HEARTH_STORE_REDIS_URL_H

#include <stdbool.h>

#include "base/err.h"

enum { REDIS_URL_PORT = 6379, REDIS_URL_SHOWN = 320 };

struct redis_url {
    char host[256];                /* a name or an address, without brackets */
    char user[128], password[256]; /* "" for what is not there; %XX has been read */
    int port, database;
};

/* ERR_REQUEST says what is wrong; a password is in no message. */
bool redis_url_parse(struct redis_url *out, const char *text, struct err *e);
/* As it may be shown: without user and password. */
const char *redis_url_show(const struct redis_url *u, char out[REDIS_URL_SHOWN]);

#endif
