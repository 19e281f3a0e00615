#include "service/tools/tools.h"

#include <stdlib.h>

void tool_set_free(struct tool_set *t)
{
    json_decref(t->list);
    free(t->tool);
    *t = (struct tool_set){ 0 };
}
