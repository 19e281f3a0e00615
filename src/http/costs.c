/* costs.c - see costs.h. */
#include "http/costs.h"

#include "http/exchange.h"
#include "service/account/account.h"
#include "service/account/money.h"

bool costs_price(const struct exchange *x, const char *model, struct price *out)
{
    const struct account *a = exchange_server(x)->o.account;
    const struct ending *e = exchange_ending(x);
    if (!a || !e) return false;
    *out = account_price(a, model, &e->of);
    return true;
}

void costs_header(struct exchange *x, const struct price *price, const struct usage *u)
{
    char dollars[MONEY_TEXT];
    if (price) exchange_header(x, "X-Hearth-Cost", "%s", money_print(price_cost(price, u), dollars));
}
