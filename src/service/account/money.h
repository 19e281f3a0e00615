/* money.h - money is nano-dollars, whole ones: a token of the cheapest model costs a hundred of them, and sums are exact. */
#ifndef HEARTH_SERVICE_ACCOUNT_MONEY_H
#define HEARTH_SERVICE_ACCOUNT_MONEY_H

#include <stdbool.h>
#include <stdint.h>

enum { MONEY_TEXT = 32 };
#define MONEY_DOLLAR INT64_C(1000000000)
#define MONEY_MAX (INT64_C(4000000000) * MONEY_DOLLAR) /* twice that still fits */

/* Dollars with up to nine decimals: "20", "1.50", "0.00035". */
bool money_parse(const char *dollars, int64_t *nano);
/* The same back, with no more decimals than it needs. */
const char *money_print(int64_t nano, char out[MONEY_TEXT]);

#endif
