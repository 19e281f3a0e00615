/* Any bytes as an image request, in every dialect, as JSON or as a form: parse, and print what a refusal says. The first byte picks. */
#include <stdlib.h>
#include <string.h>

#include "http/dialects/picture_dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(struct picture_wire *w, const char *body, size_t len, bool form)
{
    static const struct json_limits limits = { 128, 100000 };
    struct fault f = { 0 };
    bool ok;
    if (form) {
        struct multipart *m = malloc(sizeof *m);
        if (!m) return;
        ok = multipart_parse(m, "multipart/form-data; boundary=b", body, len, &f.err) &&
             picture_wire_form(w, m, true, &f);
        free(m);
    } else {
        json_t *v;
        ok = json_in_parse(body, len, &limits, &v, &f);
        if (ok) {
            ok = picture_wire_json(w, v, true, &f);
            json_decref(v);
        }
    }
    if (ok) {
        if (!w->q.prompt || w->q.n < 1 || w->q.n > PICTURES_MOST || w->n_faults) abort();
        return;
    }
    if (f.err.code == ERR_NONE || !f.err.msg[0]) abort(); /* a refusal says why */
    struct buf b = BUF_INIT(0);
    if (w->dialect->print_refusal)
        w->dialect->print_refusal(&b, w, f.err.msg);
    else
        fault_print(&b, DIALECT_FIREWORKS, fault_of(f.err.code), f.param, f.err.msg);
    json_t *back = b.data ? json_loadb(b.data, b.len, 0, NULL) : NULL;
    if (!back) abort(); /* whatever the client wrote, the answer is JSON */
    json_decref(back);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct picture_dialect *const dialects[] = { &openai_pictures, &workflow_pictures,
                                                              &sdxl_pictures, &firemoon_pictures };
    struct picture_wire w;
    if (!size) return 0;
    picture_wire_init(&w, data[0] & 32 ? &express_pictures : dialects[data[0] & 3], data[0] & 4);
    w.task = data[0] & 8 ? PICTURE_EDIT : PICTURE_GENERATE;
    char *body = malloc(size > 1 ? size - 1 : 1); /* exactly as long as it is: one byte too far is found */
    if (body) {
        memcpy(body, data + 1, size - 1);
        one(&w, body, size - 1, data[0] & 16);
    }
    free(body);
    picture_wire_free(&w);
    return 0;
}
