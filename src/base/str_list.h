/* str_list.h - a growing list of strings, which it owns. A zeroed one is empty. */
#ifndef HEARTH_BASE_STR_LIST_H
#define HEARTH_BASE_STR_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct str_list {
    char **v;
    int n;
};

/* Adds a copy of len bytes. On failure (ERR_NOMEM) the list is as it was. */
bool str_list_add(struct str_list *l, const char *s, size_t len, struct err *e);
void str_list_clear(struct str_list *l);

#endif
