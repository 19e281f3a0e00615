#include "lm/predicted.h"

#include <stdbool.h>
#include <string.h>

/* How far ahead the place is looked for: an answer that leaves out more is found again by the text so far (ngram.h). */
enum { LOOK_AHEAD = 512 };

void predicted_take(struct predicted *p, int32_t id)
{
    const int32_t last = p->last;
    const bool counted = p->run > 0; /* the last one came as foreseen */
    p->last = id;
    if (p->run >= 0 && p->at < p->n && p->id[p->at] == id) {
        p->at++;
        p->run++;
        p->accepted++;
        return;
    }
    p->run = -1;
    const int end = p->n - p->at < LOOK_AHEAD ? p->n : p->at + LOOK_AHEAD;
    for (int i = p->at > 0 ? p->at : 1; i < end; i++) {
        if (p->id[i - 1] != last || p->id[i] != id) continue;
        p->accepted += i > p->at && !counted ? 2 : 1;
        p->at = i + 1;
        p->run = 2;
        return;
    }
}

int predicted_guess(const struct predicted *p, int32_t *guess, int n_max)
{
    if (p->run < 0) return 0;
    const int left = p->n - p->at, n = left < n_max ? left : n_max;
    if (n > 0) memcpy(guess, p->id + p->at, (size_t)n * sizeof *guess);
    return n > 0 ? n : 0;
}
