/* pool.h - the machine's compute threads. One pool a process, one owner at a time.
 *
 * A job is a function that runs once for each index; pool_run() returns when all are done. Between
 * jobs the workers spin for a bounded time and then sleep on a futex, so that a decode step's dozens of jobs cost
 * about a microsecond each while an idle server costs nothing. The caller is thread 0.
 *
 * Parts   index i is thread i's, but the caller does the parts of threads that have not begun when its own is done: one that lost its
 *         core to a neighbour, or never got it, holds nobody up. So the parts of a job may run one after the other, must not wait for
 *         each other, and take their work in small pieces from a common count. What needs all of one thing before the next is two jobs.
 *
 * Owners  pool_acquire()/pool_release() bracket a step. Shorter work goes first: among those who wait the one of the
 *         lowest `lane`; and a holder calls pool_offer() where it can be interrupted for long.
 *         Work on pictures is not interrupted but cut into: while a POOL_IMAGE owner holds the pool, one of a shorter lane
 *         gets it as well. The threads then leave the image's job at its next pool_checkpoint(), run the other's jobs
 *         until it releases the pool, and go on. Until the next such cut the image has a share of the time, so that it
 *         goes on under any load, and a text stream slows down by that share and no more.
 *         The two must not use the same scratch memory: give them a device each.
 * Giving up  a holder may name a flag, pool_stop_on(): once it is true its jobs end at their next checkpoint and no other begins. What
 *         they compute is then worth nothing, so whoever sets the flag wants no result, and the holder looks at it before it uses one.
 * Threads pool_run() only by the present owner, on the thread that acquired. */
#ifndef HEARTH_BASE_POOL_H
#define HEARTH_BASE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct pool;

/* LOAD: of a language model; IMAGE_LOAD: of an image model, on the device that draws. */
enum pool_lane { POOL_DECODE, POOL_PREFILL, POOL_LOAD, POOL_IMAGE, POOL_IMAGE_LOAD };

/* n_threads 0: one for each processor that may run at once (machine.h). */
bool pool_new(struct pool **out, int n_threads, struct err *e);
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);

void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg);

void pool_acquire(struct pool *p, enum pool_lane lane);
void pool_release(struct pool *p);
/* The present holder's jobs are given up once *flag is true; NULL: never, as after pool_release(). The flag outlives the holding. Owners that
 * cut in do not notice. */
void pool_stop_on(struct pool *p, const atomic_bool *flag);
/* Inside a job of long work, every fraction of a millisecond: lets an owner that cuts in have this thread. Two loads when there is none.
 * false: the job is given up, and this part of it returns. */
bool pool_checkpoint(struct pool *p);
/* Let waiters of a shorter lane than `lane` run first; returns at once when there are none. Not inside a job. */
void pool_offer(struct pool *p, enum pool_lane lane);

#endif
