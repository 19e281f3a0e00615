/* cost.h - what a request cost, as a member of its usage. */
#ifndef HEARTH_HTTP_DIALECTS_COST_H
#define HEARTH_HTTP_DIALECTS_COST_H

#include "base/buf.h"
#include "service/account/prices.h"

/* ,"cost":0.00035 in dollars, to the nano-dollar; price NULL: nothing. */
void cost_put(struct buf *b, const struct price *price, const struct usage *u);

#endif
