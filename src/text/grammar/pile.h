/* pile.h - memory that is used from the bottom up and released from the top: what a machine makes as it walks on, and drops as it walks back.
 *
 * Moving    what is still held on to can be copied into another pile (struct mover), so that a long walk needs no more than it holds.
 * Threads   one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_PILE_H
#define HEARTH_TEXT_GRAMMAR_PILE_H

#include <stdbool.h>
#include <stddef.h>

struct pile {
    struct pile_piece *first, *at;
    size_t used, below; /* bytes of `at`; of the pieces under it */
    bool failed;        /* no memory: what was made since is incomplete */
};
struct pile_mark {
    struct pile_piece *at;
    size_t used, below;
};

/* Not zeroed, aligned to 16 bytes; NULL: no memory, and `failed` is set. */
void *pile_alloc(struct pile *p, size_t bytes);
void pile_free(struct pile *p);
static inline struct pile_mark pile_mark(const struct pile *p)
{
    return (struct pile_mark){ p->at, p->used, p->below };
}
static inline void pile_release(struct pile *p, struct pile_mark to)
{
    p->at = to.at;
    p->used = to.used;
    p->below = to.below;
}
static inline size_t pile_bytes(const struct pile *p) { return p->below + p->used; }

/* Where things have gone that were copied to another pile. Zeroed: nothing has. */
struct mover {
    struct pile *to;
    struct moved {
        const void *from;
        void *to;
    } * known;
    size_t n, cap; /* cap: a power of two */
    bool failed;   /* no memory */
};
void *mover_find(const struct mover *m, const void *from); /* NULL: not yet */
/* Copies `bytes` at `from`, and remembers it. NULL: no memory. */
void *mover_copy(struct mover *m, const void *from, size_t bytes);
void mover_free(struct mover *m);

#endif
