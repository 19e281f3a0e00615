/* pool.h - the machine's compute threads. One pool a process, one owner at a time.
 *
 * A job is a function that every thread runs once with its index; pool_run() returns when all are done. Between
 * jobs the workers spin for a bounded time and then sleep on a futex, so that a decode step's dozens of jobs cost
 * about a microsecond each while an idle server costs nothing. The caller is thread 0.
 *
 * Owners  pool_acquire()/pool_release() bracket a step. Shorter work goes first: a waiting owner of a lower
 *         `lane` gets the pool when the holder calls pool_offer() at a block boundary, and the holder gets it
 *         back afterwards. Long work (prefill chunks, image blocks) calls pool_offer() every few milliseconds.
 * Threads pool_run() only by the present owner. */
#ifndef HEARTH_BASE_POOL_H
#define HEARTH_BASE_POOL_H

#include <stdbool.h>

#include "base/err.h"

struct pool;

enum pool_lane { POOL_DECODE, POOL_PREFILL, POOL_IMAGE, POOL_LOAD };

/* n_threads 0: one for each core this process may run on. */
bool pool_new(struct pool **out, int n_threads, struct err *e);
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);

void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg);

/* Inside a job: wait until every thread of the job is here. Costs well under a microsecond when cores are free. */
void pool_barrier(struct pool *p, int ith);

void pool_acquire(struct pool *p, enum pool_lane lane);
void pool_release(struct pool *p);
/* Let waiters of a shorter lane than `lane` run first; returns at once when there are none. Not inside a job. */
void pool_offer(struct pool *p, enum pool_lane lane);

#endif
