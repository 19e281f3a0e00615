/* relayed_pictures.c - see relayed_pictures.h. */
#include "http/relayed_pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/dialects/relay_pictures.h"
#include "http/exchange.h"
#include "service/files.h"

struct relayed_pictures {
    const struct picture_wire *w;
    char *model;
    struct relay *relay;
    struct usage usage;
    struct price price;
    struct reply_picture picture[PICTURES_MOST];
    int n, next; /* next: n when only the end is left, n + 1 when nothing is */
};

void relayed_pictures_free(struct relayed_pictures *p)
{
    if (!p) return;
    for (int i = p->next; i < p->n; i++) free(p->picture[i].bytes);
    relay_free(p->relay);
    free(p->model);
    free(p);
}

void relayed_pictures_cancel(struct relayed_pictures *p) { relay_cancel(p->relay); }

/* ---- its start ----------------------------------------------------------------------------------------------------- */

static bool spell(const struct picture_wire *w, const json_t *body, struct buf *out,
                  char boundary[RELAY_BOUNDARY], struct fault *f)
{
    if (w->task != PICTURE_GENERATE) return relay_picture_form(w, body, out, boundary, f);
    char *text = json_memory_dumps(body, JSON_COMPACT);
    const bool ok = text && buf_puts(out, text);
    free(text);
    return ok || err_set(&f->err, ERR_NOMEM, "out of memory");
}

enum relay_is relayed_pictures_start(struct exchange *x, const struct routed *route,
                                     const struct picture_wire *w, loading_next *fn, void *arg,
                                     struct relayed_pictures **out, struct fault *f)
{
    struct buf bytes = BUF_INIT(0);
    char boundary[RELAY_BOUNDARY] = "", path[60];
    struct relayed_pictures *p = calloc(1, sizeof *p);
    enum relay_is is = RELAY_REFUSED;
    *out = p;
    if (p) *p = (struct relayed_pictures){ .w = w, .model = strdup(route->model) };
    json_t *body = relay_picture_body(w, route->model, f);
    bool ok = body && spell(w, body, &bytes, boundary, f);
    if (ok && (!p || !p->model)) ok = err_set(&f->err, ERR_NOMEM, "out of memory");
    snprintf(path, sizeof path, "/v1%s", relay_picture_endpoint(w));
    struct call_request q = { .path = path,
                              .endpoint = relay_picture_endpoint(w),
                              .model = route->model,
                              .body = bytes.data,
                              .len = bytes.len,
                              .boundary = *boundary ? boundary : NULL,
                              .n_choices = 1 };
    if (ok) is = relay_start(x, route, body, true, &q, fn, arg, &p->relay, f);
    json_decref(body);
    buf_free(&bytes);
    if (is == RELAY_STARTED) return is; /* *out may be another's by now */
    relayed_pictures_free(p);
    *out = NULL;
    return is;
}

/* ---- what comes ---------------------------------------------------------------------------------------------------- */

static bool keep(struct relayed_pictures *p, struct blobs *files, struct err *e)
{
    static const char *const extension[] = {
        [IMAGE_PNG] = "png", [IMAGE_JPEG] = "jpg", [IMAGE_WEBP] = "webp"
    };
    for (int i = 0; files && i < p->n; i++) {
        struct reply_picture *is = &p->picture[i];
        if (files_put(files, is->bytes, is->len, extension[p->w->q.format], is->file, e)) continue;
        if (e->code == ERR_BUSY)
            e->code = ERR_CANCELLED; /* 503: the place is away, and nobody asked too much */
        return false;
    }
    return true;
}

enum call_is relayed_pictures_outcome(struct relayed_pictures *p, struct blobs *files, struct fault *f)
{
    struct buf got = BUF_INIT(0);
    const enum call_is is = relay_outcome(p->relay, f);
    if (is != CALL_ANSWERED) return is;
    relay_book(p->relay, &p->usage, &p->price);
    const int n = (int)p->w->q.n;
    bool ok = relay_answer(p->relay, &got) || err_set(&f->err, ERR_NOMEM, "out of memory");
    if (ok) ok = relay_picture_read(p->w, got.data ? got.data : "", got.len, p->picture, n, &f->err);
    if (ok) p->n = n;
    ok = ok && keep(p, files, &f->err);
    buf_free(&got);
    return ok ? CALL_ANSWERED : CALL_FAILED;
}

void relayed_pictures_facts(const struct relayed_pictures *p, struct picture_facts *out, struct price *price)
{
    const struct picture_request *q = &p->w->q;
    *price = p->price;
    *out = (struct picture_facts){ .model = p->model,
                                   .n = p->n,
                                   .width = p->picture[0].width,
                                   .height = p->picture[0].height,
                                   .steps = (int)q->steps,
                                   .guidance = q->guidance < 0 ? 0 : q->guidance,
                                   .seed = p->picture[0].seed };
}

bool relayed_pictures_next(struct relayed_pictures *p, struct reply_event *ev)
{
    if (p->next > p->n) return false;
    *ev = (struct reply_event){ .type = REPLY_DONE, .usage = p->usage };
    if (p->next < p->n)
        *ev = (struct reply_event){ .type = REPLY_PICTURE, .index = p->next, .picture = p->picture[p->next] };
    p->next++;
    return true;
}
