/* loading.h - requests that wait for their model to be loaded, without a thread each.
 *
 * Each model is loaded by one task of the LOAD lane, whoever asked first; all who wait for it go on when it is there.
 * Threads  any. */
#ifndef HEARTH_HTTP_LOADING_H
#define HEARTH_HTTP_LOADING_H

#include <stdbool.h>

#include "base/err.h"

struct exchange;
struct lanes;
struct loading;
struct model;
struct registry;

bool loading_new(struct loading **out, struct registry *r, struct lanes *lanes, struct err *e);
void loading_free(struct loading *l); /* the lanes must be gone */

/* The handler of x goes on as fn(x, arg, e), which is to call loading_end() when it no longer needs m: at once when m is loaded, else on
 * the lane that x came from; e says why loading failed, its code is ERR_NONE where it did not. The handler returns having called nothing
 * else. */
typedef void loading_next(struct exchange *x, void *arg, const struct err *e);
void loading_then(struct exchange *x, struct model *m, loading_next *fn, void *arg);
void loading_end(struct exchange *x);
/* The handler of x goes on as fn(x, arg, e) on the LONG lane, where it may wait for others; e says nothing. As above the handler calls
 * nothing else. */
void loading_on_long(struct exchange *x, loading_next *fn, void *arg);
/* The handler of x, which has returned having called nothing else, goes on as fn(x, arg, e) on the lane that it came from: from whoever it
 * waited for. */
void loading_on(struct exchange *x, loading_next *fn, void *arg);

/* The handler of x goes on as fn(x, arg, e), e saying nothing, on the lane that it came from, once somebody calls loading_resume(x) from any
 * thread; it returns having called nothing else. loading_wait_not(): nobody will, and the handler goes on itself. */
void loading_wait(struct exchange *x, loading_next *fn, void *arg);
void loading_wait_not(struct exchange *x);
void loading_resume(struct exchange *x);

#endif
