/* Any bytes as the file of aliases. What is taken is found again, and says the same when it is written and read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "service/models/aliases.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { ERR_NONE, "" };
    struct aliases a, again;
    struct buf b = BUF_INIT(0);
    if (!aliases_parse((const char *)data, size, &a, &e)) {
        if (e.code == ERR_NONE || !*e.msg) abort();
        return 0;
    }
    for (int i = 0; i < a.n; i++) {
        if (!aliases_find(&a, a.v[i].name) || !*a.v[i].model) abort();
        buf_printf(&b, "%s %s\n", a.v[i].name, a.v[i].model);
    }
    if (!aliases_parse(b.data ? b.data : "", b.len, &again, &e) || again.n != a.n) abort();
    for (int i = 0; i < a.n; i++)
        if (strcmp(a.v[i].name, again.v[i].name) != 0 || strcmp(a.v[i].model, again.v[i].model) != 0) abort();
    buf_free(&b);
    aliases_free(&again);
    aliases_free(&a);
    return 0;
}
