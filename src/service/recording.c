/* recording.c - see recording.h. */
#include "service/recording.h"

#include <stdlib.h>

struct recording *recording_new(void)
{
    struct recording *r = calloc(1, sizeof *r);
    if (r) r->answer = BUF_INIT(RECORDING_MOST);
    return r;
}

void recording_free(struct recording *r)
{
    if (!r) return;
    free(r->headers);
    buf_free(&r->body);
    buf_free(&r->answer);
    free(r);
}
