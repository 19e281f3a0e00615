/* admission.h - a request against the account: its limits when it is admitted, its budget when its model is known. */
#ifndef HEARTH_HTTP_ADMISSION_H
#define HEARTH_HTTP_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct exchange;
struct model;
struct usage;

/* Whether admission_enter() may wait for another machine, and so has no place on an event loop. */
bool admission_waits(const struct exchange *x);
/* Before x is admitted: counts it, and puts what is left into its reply's headers. False: answered. What has entered is due an ending, or
 * admission_undo(). */
bool admission_enter(struct exchange *x);
void admission_undo(struct exchange *x);
/* What is left, into the reply of one that is not admitted: it is refused already, or not counted at all. */
void admission_say_left(struct exchange *x);

/* On x's lane, once its model is known: whether its key may ask for it, and pay the most that x can use, which its handler told its ending
 * (ending_may_use()); or, where that is known only when the model has counted the prompt, the least that anything costs. False: *e says why,
 * and x knows what kind of fault that is. */
bool admission_model(struct exchange *x, struct model *m, struct err *e);
/* On x's lane, for who could not say it before: whether its key can pay this. */
bool admission_reserve(struct exchange *x, const struct usage *most, struct err *e);
/* The same of a model that others may serve, for the most that it costs at any of them. If it is served here after all, this was enough. */
bool admission_route(struct exchange *x, const char *model, int64_t nano, struct err *e);
/* What was reserved is free again: it goes to others after all. False: *e says why. */
bool admission_release(struct exchange *x, struct err *e);
/* Its work begins: from now on it has a row, whatever becomes of this process. */
void admission_begun(struct exchange *x);

#endif
