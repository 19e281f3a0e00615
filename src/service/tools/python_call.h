/* python_call.h - a call as Python writes it, get_weather(city="Rome", days=[1, 2]), as a name and JSON arguments. Pure. */
#ifndef HEARTH_SERVICE_TOOLS_PYTHON_CALL_H
#define HEARTH_SERVICE_TOOLS_PYTHON_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct python_call {
    struct buf name, arguments; /* arguments: a JSON object, with spaces as Python's json has them */
};

/* Values are literals of Python or JSON; every argument has a keyword. method: NAME.call(...). false: it is no such call, or (*memory
 * false) there is no memory. */
bool python_call_read(struct python_call *c, const char *s, size_t n, bool method, bool *memory);
void python_call_free(struct python_call *c);

#endif
