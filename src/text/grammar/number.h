/* number.h - sets of numbers, as the texts that JSON writes for them (rx.h).
 *
 * Texts   without an exponent, with any number of digits; and d.ddde±x where Python's and JavaScript's printers use an exponent, that is
 *         below 1e-4 and from 1e16 on. Zero has no sign. Where nothing is asked of a number, every text of JSON's grammar will do
 *         (number_any).
 * Exact   every function is exact over these texts, so unions, intersections and complements within number_texts() are, too. */
#ifndef HEARTH_TEXT_GRAMMAR_NUMBER_H
#define HEARTH_TEXT_GRAMMAR_NUMBER_H

#include "text/grammar/rx.h"

/* A decimal number: sign, digits without leading or trailing zeros, and where the point stands: 0.DIGITS * 10^point. No digits: zero. */
struct decimal {
    bool negative;
    char digit[40];
    int n, point;
};
/* From "-12.50e3", as JSON writes numbers; false: too long. */
bool decimal_read(struct decimal *d, const char *text);
void decimal_of(struct decimal *d, double v); /* shortest digits that give v again; v is finite */

rx number_any(struct rx_pool *p);                  /* all texts of JSON's grammar */
rx number_texts(struct rx_pool *p);                /* all texts of the kind above */
rx number_integers(struct rx_pool *p, bool point); /* digits alone; point: or with ".0" */
rx number_integral(struct rx_pool *p); /* and those with a fraction of zeros, or an exponent from 16 on */
rx number_at_least(struct rx_pool *p, const struct decimal *d, bool strictly);
rx number_at_most(struct rx_pool *p, const struct decimal *d, bool strictly);
rx number_equal(struct rx_pool *p, const struct decimal *d); /* every text of that value */
/* The text that a printer writes; real: of an integer also the one with ".0". */
rx number_written(struct rx_pool *p, const struct decimal *d, bool real);
/* Multiples, of the texts without exponent. ERR_LIMIT: the automaton is too large. */
bool number_multiples(struct rx_pool *p, const struct decimal *d, rx *out, struct err *e);

#endif
