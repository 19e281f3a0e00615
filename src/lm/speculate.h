/* speculate.h - how many guesses pay: what a step of so many rows takes on this machine, and how often guesses were right.
 *
 * A step computes a row for each sequence and a row for each guess. A row is the same whatever stands beside it, so guesses change when
 * tokens come, never which. They pay where rows are cheap, because reading the weights takes a step's time, and where guesses are good.
 * Neither is assumed: both are measured while the model runs.
 * Costs    seconds of steps by their rows, of late. Those not seen lately are reckoned from their neighbours, rather too low than too high,
 *          so that they are tried. A plain step now and then keeps the comparison fresh.
 * Odds     how often guesses were right, by the length of what matched before them: of each sequence, beginning with what all had so far.
 *          Both forget, so that what did not pay is tried again.
 * Threads  one owner: the scheduler's thread. */
#ifndef HEARTH_LM_SPECULATE_H
#define HEARTH_LM_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

/* Guesses of one sequence in a step, of all together, and rows of a step up to which any are made. */
enum { GUESS_MAX = 16, GUESS_ROWS = 64, GUESS_CLASSES = 8, COST_ROWS = 256 };

struct guess_odds {
    float right[GUESS_CLASSES], tried[GUESS_CLASSES];
};

/* How likely a guess is right behind `match` tokens that matched. */
double guess_odds_of(const struct guess_odds *own, const struct guess_odds *all, int match);
void guess_odds_learn(struct guess_odds *o, int match, bool right);
/* A step has passed; keep: what is left of what was learnt, 0..1. */
void guess_odds_fade(struct guess_odds *o, float keep);

struct step_costs {
    double at[COST_ROWS + 1];          /* seconds of a step of i rows, smoothed */
    uint64_t when[COST_ROWS + 1], now; /* in steps; 0: never */
};

void step_costs_learn(struct step_costs *c, int rows, double seconds);
/* 0: nothing is known. */
double step_costs_of(const struct step_costs *c, int rows);

/* One sequence's guesses: each is of use when all before it are right. */
struct guess_offer {
    int n;                  /* guesses there are */
    double odds[GUESS_MAX]; /* of each, when those before it are right */
    int take;               /* how many to compute: guess_choose()'s */
};

/* Takes what makes the most tokens a second: a step of n_plain rows has n offers, and room for max_rows rows in all. */
void guess_choose(struct guess_offer *offer, int n, int n_plain, int max_rows, const struct step_costs *c);

#endif
