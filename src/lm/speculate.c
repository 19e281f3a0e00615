#include "lm/speculate.h"

#include <string.h>

/* Steps after which a cost is no longer believed, and after which the plain step is measured again. */
enum { COST_FRESH = 512, PLAIN_FRESH = 32 };
/* What guesses must promise beyond the plain step: measured costs are not that exact. */
#define LEAST_GAIN 1.03
/* What a row more costs of a step at least, whatever was measured; and where nothing was, is hoped to cost. */
#define LEAST_ROW 0.02
/* What the first guesses of a class are taken to be, and for how many guesses that and what others had count. */
static const float hoped[GUESS_CLASSES] = { 0.2f, 0.35f, 0.5f, 0.65f, 0.8f, 0.85f, 0.9f, 0.9f };
#define HOPE_WEIGHT 4.0
/* How much of what was learnt is left after one more guess. */
#define MEMORY 0.96f

static int class_of(int match)
{
    static const int upto[GUESS_CLASSES - 1] = { 2, 3, 4, 6, 9, 15, 31 };
    int c = 0;
    while (c < GUESS_CLASSES - 1 && match > upto[c]) c++;
    return c;
}

double guess_odds_of(const struct guess_odds *own, const struct guess_odds *all, int match)
{
    const int c = class_of(match);
    const double common =
        ((double)all->right[c] + HOPE_WEIGHT * (double)hoped[c]) / ((double)all->tried[c] + HOPE_WEIGHT);
    return ((double)own->right[c] + HOPE_WEIGHT * common) / ((double)own->tried[c] + HOPE_WEIGHT);
}

void guess_odds_learn(struct guess_odds *o, int match, bool right)
{
    const int c = class_of(match);
    o->right[c] = o->right[c] * MEMORY + (right ? 1.0f : 0.0f);
    o->tried[c] = o->tried[c] * MEMORY + 1.0f;
}

void guess_odds_fade(struct guess_odds *o, float keep)
{
    for (int c = 0; c < GUESS_CLASSES; c++) {
        o->right[c] *= keep;
        o->tried[c] *= keep;
    }
}

static bool fresh(const struct step_costs *c, int rows, uint64_t steps)
{
    return c->when[rows] && c->now - c->when[rows] <= steps;
}

void step_costs_learn(struct step_costs *c, int rows, double seconds)
{
    c->now++;
    if (rows < 1 || rows > COST_ROWS || !(seconds > 0)) return;
    double *at = &c->at[rows];
    if (fresh(
            c, rows,
            COST_FRESH)) { /* a step that a neighbour's process held up says little: what is less counts more */
        const double v = seconds < 2 * *at ? seconds : 2 * *at;
        *at += (v < *at ? 0.3 : 0.1) * (v - *at);
    } else {
        *at = seconds;
    }
    c->when[rows] = c->now;
}

double step_costs_of(const struct step_costs *c, int rows)
{
    if (rows < 1 || rows > COST_ROWS) return 0;
    int lo = rows, hi = rows;
    while (lo > 0 && !fresh(c, lo, COST_FRESH)) lo--;
    while (hi <= COST_ROWS && !fresh(c, hi, COST_FRESH)) hi++;
    if (lo == 0 && hi > COST_ROWS) return 0;
    if (lo == 0) return c->at[hi] * (0.5 + 0.5 * rows / hi);
    if (hi > COST_ROWS) return c->at[lo] * (1 + LEAST_ROW * (rows - lo));
    if (lo == hi) return c->at[lo];
    return c->at[lo] + (c->at[hi] - c->at[lo]) * (rows - lo) / (hi - lo);
}

void guess_choose(struct guess_offer *offer, int n, int n_plain, int max_rows, const struct step_costs *c)
{
    for (int i = 0; i < n; i++) offer[i].take = 0;
    if (max_rows > COST_ROWS) max_rows = COST_ROWS;
    if (n_plain < 1 || n_plain >= max_rows || !fresh(c, n_plain, PLAIN_FRESH)) return;
    int order[GUESS_ROWS], n_order = 0, best = 0; /* whose guess is taken next; how many of them to take */
    const double plain = step_costs_of(c, n_plain);
    double tokens = n_plain, best_rate = LEAST_GAIN * n_plain / plain;
    while (n_order < GUESS_ROWS && n_plain + n_order < max_rows) {
        int next = -1;
        double most = 0;
        for (int i = 0; i < n; i++) {
            const struct guess_offer *o = &offer[i];
            double p = o->take < o->n ? 1 : 0;
            for (int k = 0; k <= o->take && p > 0; k++) p *= o->odds[k];
            if (p > most) most = p, next = i;
        }
        if (next < 0) break;
        offer[next].take++;
        order[n_order++] = next;
        tokens += most;
        const double measured = step_costs_of(c, n_plain + n_order);
        const double least = plain * (1 + LEAST_ROW * n_order / n_plain);
        const double rate = tokens / (measured > least ? measured : least);
        if (rate > best_rate) best_rate = rate, best = n_order;
    }
    for (int i = best; i < n_order; i++) offer[order[i]].take--;
}
