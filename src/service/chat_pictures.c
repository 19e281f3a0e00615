/* chat_pictures.c - see chat_pictures.h. */
#include "service/chat_pictures.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "format/image_file.h"
#include "service/picture_fetch.h"

/* What is wrong with picture i, and where it stands; it is the client's to mend, whatever the decoder calls it. */
static bool bad(const struct gen_request *q, int i, struct fault *f)
{
    const enum err_code code = f->err.code;
    if (code != ERR_NOMEM && code != ERR_CANCELLED && code != ERR_BUSY) f->err.code = ERR_REQUEST;
    return err_wrap(&f->err, "messages[%zu].content: picture %d", q->picture[i].message, i + 1);
}

/* pixels: of the pictures before it; counted on. */
static bool open_one(struct lm_picture **out, const struct lm *lm, const struct gen_request *q, int i,
                     int64_t *pixels, double deadline, const atomic_bool *cancel, struct fault *f)
{
    const struct gen_picture *g = &q->picture[i];
    const struct image_limits limits = { .max_bytes = REQUEST_PICTURE_BYTES,
                                         .max_pixels = REQUEST_PICTURE_PIXELS,
                                         .max_side = IMAGE_LIMITS_DEFAULT.max_side };
    struct buf fetched = BUF_INIT(REQUEST_PICTURE_BYTES + 1);
    struct image_pixels px;
    const void *bytes = g->bytes;
    size_t n = g->n;
    bool ok = true;
    if (g->url) {
        ok =
            picture_fetch(&fetched, g->url, q->image_hosts, REQUEST_PICTURE_BYTES, deadline, cancel, &f->err);
        bytes = fetched.data;
        n = fetched.len;
    }
    ok = ok && image_file_decode(bytes, n, 3, &limits, &px, &f->err);
    buf_free(&fetched);
    if (!ok) return false;
    *pixels += (int64_t)px.width * px.height;
    if (*pixels > REQUEST_PICTURES_PIXELS)
        ok = err_set(&f->err, ERR_REQUEST, "all pictures of a request together may have %d million pixels",
                     REQUEST_PICTURES_PIXELS >> 20);
    ok = ok && lm_picture_new(out, lm, &px, g->whole, &f->err);
    free(px.data);
    return ok;
}

bool chat_pictures_open(struct chat_pictures *out, const struct lm *lm, const struct gen_request *q,
                        const atomic_bool *cancel, struct fault *f)
{
    *out = (struct chat_pictures){ 0 };
    if (!q->n_pictures) return true;
    f->param = "messages";
    if (!lm_sees(lm))
        return err_set(
            &f->err, ERR_REQUEST,
            "messages[%zu].content: the model %s sees no pictures; send text parts, or ask a model that "
            "takes images",
            q->picture[0].message, lm_info(lm)->name);
    out->of = calloc((size_t)q->n_pictures, sizeof *out->of);
    if (!out->of) return err_set(&f->err, ERR_NOMEM, "out of memory");
    int64_t pixels = 0;
    const double deadline = clock_seconds() + REQUEST_PICTURES_S;
    for (; out->n < q->n_pictures; out->n++) {
        if (cancel && atomic_load(cancel)) return err_set(&f->err, ERR_CANCELLED, "cancelled");
        if (!open_one(&out->of[out->n], lm, q, out->n, &pixels, deadline, cancel, f))
            return bad(q, out->n, f);
    }
    return true;
}

void chat_pictures_close(struct chat_pictures *p)
{
    for (int i = 0; i < p->n; i++) lm_picture_unref(p->of[i]);
    free(p->of);
    *p = (struct chat_pictures){ 0 };
}

/* The pictures of the messages in order, into of[]; how many. */
static int listed(const struct chat_pictures *p, const json_t *messages, struct lm_picture **of)
{
    const json_t *m, *part;
    size_t i, k;
    int n = 0;
    json_array_foreach(messages, i, m)
    {
        json_array_foreach(json_object_get(m, "content"), k, part)
        {
            const json_t *number = json_object_get(part, "picture");
            if (json_is_integer(number) && n < p->n) of[n++] = p->of[json_integer_value(number)];
        }
    }
    return n;
}

bool chat_pictures_place(const struct chat_pictures *p, const json_t *messages, int32_t mark,
                         struct token_list *ids, struct lm_picture_at **at, int *n_at, struct fault *f)
{
    struct lm_picture **of = calloc((size_t)p->n + 1, sizeof *of);
    struct lm_picture_at *places = calloc((size_t)p->n + 1, sizeof *places);
    const int n = of ? listed(p, messages, of) : 0;
    int32_t *all = NULL;
    size_t marks = 0, total = ids->n, bytes, k = 0;
    bool ok = of && places;
    for (size_t i = 0; i < ids->n; i++) marks += ids->id[i] == mark;
    if (ok && marks != (size_t)n) {
        f->param = "messages";
        ok = err_set(&f->err, ERR_REQUEST,
                     "messages have %d pictures, but the model's chat template prints %zu marks for pictures",
                     n, marks);
        goto end;
    }
    for (int i = 0; i < n; i++) total += lm_picture_n_tokens(of[i]) - 1;
    ok = ok && mem_mul(total ? total : 1, sizeof *all, &bytes) && (all = malloc(bytes));
    if (!ok) {
        err_set(&f->err, ERR_NOMEM, "out of memory");
        goto end;
    }
    int seen = 0;
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->id[i] != mark) {
            all[k++] = ids->id[i];
            continue;
        }
        places[seen] = (struct lm_picture_at){ of[seen], k };
        lm_picture_tokens(of[seen], all + k);
        k += lm_picture_n_tokens(of[seen++]);
    }
    free(ids->id);
    ids->id = all;
    ids->n = ids->cap = total;
    *at = places;
    *n_at = n;
    places = NULL;
end:
    free(of);
    free(places);
    return ok;
}
