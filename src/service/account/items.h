/* items.h - the lists of the account's settings, as a person writes them and as a key keeps them: "a, b,c". */
#ifndef HEARTH_SERVICE_ACCOUNT_ITEMS_H
#define HEARTH_SERVICE_ACCOUNT_ITEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { ITEM_MAX = 200 }; /* characters and the 0 */

/* The next item of *list, without the blanks around it; *list goes behind it. False at the end. An empty item, or one that is too long,
 * is an error: *e is set and *bad is true. */
bool items_next(const char **list, char item[ITEM_MAX], bool *bad, struct err *e);
/* A whole number from 1 on; false when it is none, or more than max. */
bool items_number(const char *text, long long max, long long *out);

#endif
