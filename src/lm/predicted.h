/* predicted.h - an answer that the client foresees, followed token by token as the real one comes.
 *
 * The place in it is where the answer is now: a token that stands there moves it on; after one that does not, the place is found again behind
 * it, by two tokens in a row. What is counted depends on the answer alone, not on which guesses were computed.
 * Threads   one owner at a time; the foreseen tokens are only read. */
#ifndef HEARTH_LM_PREDICTED_H
#define HEARTH_LM_PREDICTED_H

#include <stdint.h>

struct predicted {
    const int32_t *id; /* borrowed */
    int n, at;         /* tokens of it; the next one */
    int run;           /* tokens that came as foreseen without a break; -1: out of step */
    int accepted;      /* all that came as foreseen */
    int32_t last;      /* the answer's last token; -1: none yet */
};

static inline struct predicted predicted_begin(const int32_t *id, int n)
{
    return (struct predicted){ .id = id, .n = n, .last = -1 };
}

/* The answer's next token. */
void predicted_take(struct predicted *p, int32_t id);
/* Up to n_max tokens that come if it goes on as foreseen, into guess[]; their number, 0 when out of step. */
int predicted_guess(const struct predicted *p, int32_t *guess, int n_max);

#endif
