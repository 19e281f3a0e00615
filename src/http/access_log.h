/* access_log.h - one line of JSON for every request, admitted or not, once it is over: into a file, or standard output.
 *
 * Lines are handed to a thread of its own, so that no event loop and no engine waits for a disk. What waits for it has a limit; lines beyond
 * that are dropped, counted, and named in the log. Keys are never written, only their ids.
 *
 * Threads  any, but access_log_open() and access_log_close(). */
#ifndef HEARTH_HTTP_ACCESS_LOG_H
#define HEARTH_HTTP_ACCESS_LOG_H

#include <stdbool.h>

#include "base/err.h"
#include "service/ending.h"

struct access_log;
struct account;

/* path: a file, which is made or added to; "-": standard output. account: what requests cost, or NULL; borrowed. */
bool access_log_open(struct access_log **out, const char *path, struct account *account, struct err *e);
/* Writes what waits. NULL: nothing happens. */
void access_log_close(struct access_log *a);
/* Opens the file by its name again, for who has moved it away. What was handed over before still goes into the old one; where the new one cannot be
 * opened, the old one is kept and the log says so. */
void access_log_reopen(struct access_log *a);
/* A sink of endings. arg: the access log. */
void access_log_take(void *arg, const struct ending *e);
/* Lines that were dropped, because the disk was too slow or said no. */
unsigned long long access_log_dropped(const struct access_log *a);

#endif
