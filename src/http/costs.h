/* costs.h - what a request costs, said in its answer: usage.cost where the dialect has room for it, and X-Hearth-Cost. A stream's headers are
 * gone before it is known: there it is in the usage alone. */
#ifndef HEARTH_HTTP_COSTS_H
#define HEARTH_HTTP_COSTS_H

#include <stdbool.h>

#include "service/account/prices.h"

struct buf;
struct exchange;

/* The price that holds for x. False: the server has no account, and nothing is said. */
bool costs_price(const struct exchange *x, const char *model, struct price *out);
/* X-Hearth-Cost, in dollars. price NULL: nothing. */
void costs_header(struct exchange *x, const struct price *price, const struct usage *u);

#endif
