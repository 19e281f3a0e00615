/* web.c - the playground: a page and its scripts, out of the binary (web_files.def). The page may load nothing from anywhere else, run no script
 * that stands in it, and be framed by nobody; what it asks of the server it asks with the visitor's own key, as any client does. */
#include <string.h>

#include "http/exchange.h"
#include "http/handlers.h"
#include "http/web_data.h"

static const struct web_file {
    const char *name, *type, *bytes, *end;
} web_files[] = {
#define WEB_FILE(symbol, file, type) { file, type, web_##symbol, web_##symbol##_end },
#include "http/web_files.def"
#undef WEB_FILE
};

static void send_file(struct exchange *x, const struct web_file *file)
{
    struct buf b = BUF_INIT(0);
    buf_append(&b, file->bytes, (size_t)(file->end - file->bytes));
    exchange_header(x, "Content-Security-Policy",
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    exchange_header(x, "X-Content-Type-Options", "nosniff");
    exchange_header(x, "Referrer-Policy", "no-referrer");
    exchange_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    exchange_header(x, "Cache-Control", "no-cache"); /* another binary may answer the next time */
    exchange_reply(x, 200, file->type, &b);
}

static bool may_show(struct exchange *x)
{
    if (exchange_server(x)->o.playground) return true;
    exchange_fault(x, FAULT_NOT_FOUND, NULL, "this server was started without its playground");
    return false;
}

void web_page_get(struct exchange *x)
{
    if (may_show(x)) send_file(x, &web_files[0]);
}

void web_file_get(struct exchange *x)
{
    const char *name = exchange_tail(x);
    if (!may_show(x)) return;
    for (size_t i = 0; i < sizeof web_files / sizeof *web_files; i++) {
        if (!strcmp(web_files[i].name, name)) {
            send_file(x, &web_files[i]);
            return;
        }
    }
    exchange_fault(x, FAULT_NOT_FOUND, NULL, "the playground has no file \"%.60s\"", name);
}
