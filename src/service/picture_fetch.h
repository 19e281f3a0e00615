/* picture_fetch.h - a picture that a client names by its URL, fetched from hosts that whoever runs the server has listed.
 *
 * Forgery  a server that fetches what strangers name can be made to ask its own neighbours. So: http and https alone; hosts of the list alone,
 *          also after each redirect; and each address is looked at when the connection to it is made, so that no name can point elsewhere
 *          meanwhile: loopback, private, link-local and other addresses that are not of the open internet are refused, unless the list names that
 *          very address. No proxy, no credentials, no cookies.
 * Limits   of bytes, of the time until a deadline, of PICTURE_FETCH_HOPS redirects.
 * Threads  any; blocks. */
#ifndef HEARTH_SERVICE_PICTURE_FETCH_H
#define HEARTH_SERVICE_PICTURE_FETCH_H

#include <netinet/in.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"

enum { PICTURE_FETCH_HOPS = 3 };

/* The file's bytes into *out, which has room for max_bytes. hosts: "host,host:port,[::1]:8080"; a host without a port is reached at the scheme's
 * own; NULL or empty: everything is refused. deadline: of clock_seconds(). cancel: once set this ends within a second with ERR_CANCELLED; NULL: never. */
bool picture_fetch(struct buf *out, const char *url, const char *hosts, size_t max_bytes, double deadline,
                   const atomic_bool *cancel, struct err *e);

/* Is this an address of the open internet? For tests. */
bool picture_fetch_is_public(const struct sockaddr *a);

/* Whether the list reads as one, for the command line. */
bool picture_fetch_check_hosts(const char *hosts, struct err *e);

#endif
