/* masks.h - which tokens may come next, worked out while a step computes.
 *
 * A thread of its own works through what is asked, in order; a scheduler asks when a sequence has taken a token, and looks again when it has
 * logits to draw from. A sequence whose mask is late waits alone.
 * Threads   a mask's guide and bits belong to the masks from masks_ask() until mask_ready(), else to the scheduler. */
#ifndef HEARTH_LM_MASKS_H
#define HEARTH_LM_MASKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "text/grammar/guide.h"

struct mask {
    struct mask *next;
    struct guide *guide;
    uint32_t *bits; /* [(n_vocab + 31) / 32] */
    bool wanted;    /* the next draw needs it */
    bool over;      /* nothing but the end can come */
    bool failed;
    struct err why;
    atomic_bool ready;
};

struct masks;
/* news: called from the thread when a mask is ready; must not block. */
bool masks_new(struct masks **out, void (*news)(void *arg), void *arg, struct err *e);
void masks_free(struct masks *s); /* nothing may be asked of it */
void masks_ask(struct masks *s, struct mask *m);
/* Not wanted any more: returns when the thread has nothing to do with it. */
void masks_forget(struct masks *s, struct mask *m);
static inline bool mask_ready(const struct mask *m)
{
    return atomic_load_explicit(&m->ready, memory_order_acquire);
}

#endif
