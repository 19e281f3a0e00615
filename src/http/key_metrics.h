/* key_metrics.h - counters of each key for Prometheus, where they are asked for (metrics-per-key): what a key has used since the server started.
 *
 * Memory   a number of keys is told apart; those that come later are counted together as "other", so that nobody who makes up keys fills it.
 * Threads  any. */
#ifndef HEARTH_HTTP_KEY_METRICS_H
#define HEARTH_HTTP_KEY_METRICS_H

#include "base/buf.h"
#include "base/err.h"
#include "service/ending.h"

struct key_metrics;
struct account;

/* account: what requests cost, or NULL; borrowed. */
bool key_metrics_open(struct key_metrics **out, struct account *account, struct err *e);
void key_metrics_close(struct key_metrics *m); /* NULL: nothing happens */
/* A sink of endings. arg: the key metrics. */
void key_metrics_take(void *arg, const struct ending *e);
void key_metrics_print(struct buf *b, struct key_metrics *m);

#endif
