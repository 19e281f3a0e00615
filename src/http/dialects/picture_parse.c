/* picture_parse.c - an image request as a whole: its fields one after the other by the dialect's table, what they must be together, and
 * what the model adds. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/picture_dialect.h"
#include "http/json_out.h"

enum { MOST_FAULTS = 16384 /* bytes of a list of them */ };

void picture_wire_init(struct picture_wire *w, const struct picture_dialect *d, bool under_inference)
{
    *w = (struct picture_wire){ .dialect = d,
                                .answer = d->answer,
                                .any_by_zero = d->any_by_zero || under_inference,
                                .partial = -1,
                                .compression = -1,
                                .image_strength = -1,
                                .schedule_start = -1,
                                .faults = BUF_INIT(MOST_FAULTS + 1) };
    picture_request_init(&w->q);
    w->q.format = d->format;
}

void picture_wire_free(struct picture_wire *w)
{
    picture_request_free(&w->q);
    free(w->transparent);
    free(w->enhance.style);
    free(w->enhance.model);
    str_list_clear(&w->enhance.avoid);
    buf_free(&w->faults);
}

/* ---- fields ------------------------------------------------------------------------------------------------ */

/* A list that is full names no more: whoever mends those comes to the others. */
static void list_fault(struct picture_wire *w, const char *message)
{
    struct buf one = BUF_INIT(4096);
    json_out_cstr(&one, message);
    if (!one.failed && w->faults.len + one.len < MOST_FAULTS) {
        if (w->n_faults++) buf_putc(&w->faults, ',');
        buf_append(&w->faults, one.data, one.len);
    }
    buf_free(&one);
}

bool picture_wire_bad(struct picture_wire *w, struct fault *f, const char *param, const char *fmt, ...)
{
    char why[sizeof f->err.msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (w->dialect->lists_faults) list_fault(w, why);
    f->param = param;
    return err_set(&f->err, ERR_REQUEST, "%s", why);
}

bool picture_wire_field(struct picture_wire *w, const char *key, const json_t *v, struct fault *f)
{
    const struct json_place place = { .path = "", .form = 1, .strict = w->strict };
    if (json_in_member(&w->dialect->fields, &place, w, key, v, f)) return true;
    if (w->dialect->lists_faults && f->err.code != ERR_NOMEM) list_fault(w, f->err.msg);
    return false;
}

bool picture_wire_json(struct picture_wire *w, json_t *body, bool strict, struct fault *f)
{
    const char *key;
    json_t *v;
    bool ok = true;
    w->strict = strict;
    if (!json_in_extra_body(body, f)) return false;
    json_object_foreach(body, key, v)
    {
        ok = picture_wire_field(w, key, v, f) && ok;
        if (!ok && (!w->dialect->lists_faults || f->err.code == ERR_NOMEM)) return false;
    }
    return picture_wire_whole(w, ok, f);
}

/* ---- together ---------------------------------------------------------------------------------------------- */

/* The one strength that the engine knows, out of the three ways to say it. */
static bool settle_strength(struct picture_wire *w, struct fault *f)
{
    const char *says = w->q.strength >= 0       ? "strength"
                       : w->image_strength >= 0 ? "image_strength"
                       : w->schedule_start >= 0 ? "step_schedule_start"
                       : w->by_schedule         ? "init_image_mode"
                                                : NULL;
    if (w->task == PICTURE_GENERATE && says)
        return picture_wire_bad(w, f, says, "%s is for an input picture, which this endpoint does not take",
                                says);
    if (w->q.strength >= 0 && w->image_strength >= 0 && fabs(1 - w->image_strength - w->q.strength) > 1e-6) {
        return picture_wire_bad(w, f, "image_strength",
                                "image_strength %g contradicts strength %g: the one is 1 minus the other",
                                w->image_strength, w->q.strength);
    }
    /* The old SDK always sends the schedule's start; the mode says which of the two counts. */
    if (w->by_schedule || (w->image_strength < 0 && w->schedule_start >= 0))
        w->q.strength = w->schedule_start >= 0 ? fmax(w->schedule_start, 0.001) : 0.65;
    else if (w->image_strength >= 0)
        w->q.strength = fmax(1 - w->image_strength, 0.001);
    return true;
}

bool picture_wire_whole(struct picture_wire *w, bool ok, struct fault *f)
{
    struct fault whole = { 0 };
    if (!ok) f = &whole; /* what was wrong first stays; this is for the list */
    if (!settle_strength(w, f)) return false;
    if (w->task != PICTURE_GENERATE && !w->q.init.pixels)
        return picture_wire_bad(w, f, "image",
                                "image is required: a PNG, JPEG or WebP file, sent as multipart/form-data");
    /* Without a prompt the picture itself says what to draw, which a strength asks for too. */
    bool wordless =
        w->task == PICTURE_VARY || (w->task == PICTURE_EDIT && w->dialect->wordless && w->q.strength >= 0);
    if (!w->q.prompt && wordless && !(w->q.prompt = strdup("")))
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    if (!w->q.prompt && (!w->has_prompt || ok))
        return picture_wire_bad(w, f, "prompt", "%s", w->dialect->prompt_missing);
    if ((w->q.width == 0) != (w->q.height == 0))
        return picture_wire_bad(w, f, w->q.width ? "height" : "width", "width and height go together");
    if (w->q.has_seed && w->q.seed + (uint64_t)w->q.n - 1 > INT64_MAX) {
        return picture_wire_bad(
            w, f, "seed",
            "seed %llu leaves no seeds for %lld pictures: each takes the next one, up to 2^63-1",
            (unsigned long long)w->q.seed, (long long)w->q.n);
    }
    return ok && (!w->dialect->check || w->dialect->check(w, f));
}

/* ---- once the model is known ------------------------------------------------------------------------------- */

static bool resolve_ratio(struct picture_wire *w, const struct model *m, struct fault *f)
{
    struct picture_request *q = &w->q;
    int64_t width = 0, height = 0;
    if (!picture_size_for_ratio(m, w->ratio, &width, &height))
        return picture_wire_bad(w, f, "aspect_ratio", "aspect_ratio %s is not possible with this model",
                                w->ratio);
    /* Sizes are rounded to what networks take: beside the model's own for this ratio, any as near to it as those are. */
    int a = 1, b = 1;
    sscanf(w->ratio, "%d:%d", &a, &b);
    bool agrees = !q->width || (q->width == width && q->height == height) ||
                  fabs(log((double)q->width * b / ((double)q->height * a))) < 0.03;
    if (!agrees) {
        return picture_wire_bad(w, f, "aspect_ratio", "aspect_ratio %s contradicts %s %lldx%lld", w->ratio,
                                *w->asked_size ? "size" : "width and height", (long long)q->width,
                                (long long)q->height);
    }
    if (!q->width) {
        q->width = width;
        q->height = height;
    }
    return true;
}

bool picture_wire_resolve(struct picture_wire *w, const struct model *m, struct fault *f)
{
    if (*w->ratio && !resolve_ratio(w, m, f)) return false;
    /* A quality goes to another server by its name. */
    if (w->dialect->resolve && (m || !*w->quality)) w->dialect->resolve(w, m);
    return true;
}
