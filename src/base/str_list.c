/* str_list.c - see str_list.h. */
#include "base/str_list.h"

#include <stdlib.h>
#include <string.h>

bool str_list_add(struct str_list *l, const char *s, size_t len, struct err *e)
{
    char **v = realloc(l->v, ((size_t)l->n + 1) * sizeof *v);
    char *copy = strndup(s, len);
    if (v) l->v = v;
    if (!v || !copy) {
        free(copy);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    l->v[l->n++] = copy;
    return true;
}

void str_list_clear(struct str_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i]);
    free(l->v);
    *l = (struct str_list){ 0 };
}
