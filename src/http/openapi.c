/* openapi.c - GET /openapi.json: the description of this server (described.h). */
#include "http/described.h"
#include "http/exchange.h"
#include "http/handlers.h"

void openapi_get(struct exchange *x)
{
    struct server *s = exchange_server(x);
    const struct described_server is = { .strict = s->o.strict_fields,
                                         .keys = auth_n_keys(&s->auth) > 0 || s->auth.keyring };
    struct buf b = BUF_INIT(0);
    if (described_openapi(&b, &is)) {
        exchange_reply(x, 200, "application/json", &b);
        return;
    }
    buf_free(&b);
    exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
}
