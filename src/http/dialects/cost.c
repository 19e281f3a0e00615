/* cost.c - see cost.h. */
#include "http/dialects/cost.h"

#include "service/account/money.h"

void cost_put(struct buf *b, const struct price *price, const struct usage *u)
{
    char dollars[MONEY_TEXT];
    if (price) buf_printf(b, ",\"cost\":%s", money_print(price_cost(price, u), dollars));
}
