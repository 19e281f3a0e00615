/* picture_fields.c - see picture_fields.h. */
#include "http/dialects/picture_fields.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/shape.h"

bool picture_field_take(void *wire, const void *row, const json_t *v, struct fault *f)
{
    const struct picture_field *r = row;
    return r->take(&(struct picture_value){ wire, r->member.name, r->member.shape, v, f });
}

/* ---- values ------------------------------------------------------------------------------------------------ */

bool picture_bad(struct picture_value *a, const char *fmt, ...)
{
    const struct picture_dialect *d = a->w->dialect;
    char why[240];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    a->f->param = a->name;
    return err_set(&a->f->err, ERR_REQUEST, "%s%s%s%s", d->bad[0], a->name, d->bad[1], why);
}

static bool number(const json_t *v, double *out)
{
    if (json_is_number(v)) {
        *out = json_number_value(v);
        return true;
    }
    const char *s = json_string_value(v);
    char *end;
    if (!s || !*s) return false;
    *out = strtod(s, &end);
    return *end == '\0' && isfinite(*out);
}

/* A whole number in digits, exactly; false: something else, or beyond 64 bits. */
static bool digits(const char *s, int64_t *out)
{
    char *end;
    errno = 0;
    if (!(*s == '-' ? s[1] >= '0' && s[1] <= '9' : *s >= '0' && *s <= '9')) return false;
    *out = strtoll(s, &end, 10);
    return *end == '\0' && errno == 0;
}

bool picture_int(struct picture_value *a, int64_t *out)
{
    double d = 0, min, max;
    shape_range(a->shape, &min, &max);
    if (!number(a->v, &d) || d != floor(d) || d < min || d > max) {
        return picture_bad(a, "must be a whole number from %.0f to %.0f", min, max);
    }
    if (*out != 0 && *out != (int64_t)d)
        return picture_bad(a, "contradicts another field of the same meaning (%lld)", (long long)*out);
    *out = (int64_t)d;
    return true;
}

bool picture_num(struct picture_value *a, double *out)
{
    double d = 0, min, max;
    shape_range(a->shape, &min, &max);
    if (!number(a->v, &d) || d < min || d > max)
        return picture_bad(a, "must be a number from %g to %g", min, max);
    *out = d;
    return true;
}

bool picture_flag(struct picture_value *a, bool *out)
{
    const char *s = json_string_value(a->v);
    if (json_is_boolean(a->v))
        *out = json_is_true(a->v);
    else if (s && (!strcasecmp(s, "true") || !strcmp(s, "1")))
        *out = true;
    else if (s && (!strcasecmp(s, "false") || !strcmp(s, "0")))
        *out = false;
    else
        return picture_bad(a, "must be true or false");
    return true;
}

/* In place of what was there. */
static bool picture_text(struct picture_value *a, char **out)
{
    if (!json_is_string(a->v)) return picture_bad(a, "must be a string");
    free(*out);
    *out = strdup(json_string_value(a->v));
    return *out || err_set(&a->f->err, ERR_NOMEM, "out of memory");
}

bool picture_word(struct picture_value *a, const char *const *words, int *out)
{
    const char *s = json_string_value(a->v);
    char list[160] = "";
    size_t at = 0;
    for (int i = 0; words[i]; i++) {
        if (s && !strcmp(s, words[i])) {
            *out = i;
            return true;
        }
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", words[i]);
        if (at >= sizeof list) break;
    }
    return picture_bad(a, "must be one of [%s]", list);
}

/* One side of the picture, however it is spelled. */
static bool side(struct picture_value *a, int64_t v, const char *which, int64_t *out)
{
    if (*out != 0 && *out != v)
        return picture_bad(a, "contradicts another field that says %s %lld", which, (long long)*out);
    *out = v;
    return true;
}

bool picture_size(struct picture_value *a, int64_t width, int64_t height)
{
    return side(a, width, "width", &a->w->q.width) && side(a, height, "height", &a->w->q.height);
}

bool picture_pixels(const char *s, int *width, int *height)
{
    int used = 0;
    return sscanf(s, "%5dx%5d%n", width, height, &used) == 2 && s[used] == '\0' && *width > 0 && *height > 0;
}

const struct picture_named picture_named_sizes[] = {
    { "square_hd", 1024, 1024 },
    { "square", 512, 512 },
    { "portrait_4_3", 768, 1024 },
    { "portrait_16_9", 576, 1024 },
    { "landscape_4_3", 1024, 768 },
    { "landscape_16_9", 1024, 576 },
    { NULL, 0, 0 },
};

const struct picture_named *picture_size_named(const char *s)
{
    for (const struct picture_named *n = picture_named_sizes; n->name; n++)
        if (!strcmp(s, n->name)) return n;
    return NULL;
}

bool picture_lora(struct picture_value *a, const char *name, size_t len, double weight)
{
    struct picture_request *q = &a->w->q;
    struct image_lora_spec *v = realloc(q->lora, ((size_t)q->n_lora + 1) * sizeof *v);
    if (v) q->lora = v;
    char *copy = v ? strndup(name, len) : NULL;
    if (!copy) return err_set(&a->f->err, ERR_NOMEM, "out of memory");
    q->lora[q->n_lora++] = (struct image_lora_spec){ copy, (float)weight };
    return true;
}

/* ---- what to draw ------------------------------------------------------------------------------------------ */

static size_t code_points(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

bool picture_field_prompt(struct picture_value *a)
{
    a->w->has_prompt = true;
    if (a->w->q.prompt)
        return picture_bad(a, "and text_prompts say both what to draw; one of them is enough");
    if (!picture_text(a, &a->w->q.prompt)) return false;
    double min, most;
    shape_range(a->shape, &min, &most);
    const size_t n = code_points(a->w->q.prompt);
    if (n == 0) return picture_bad(a, "must not be empty");
    if ((double)n > most) return picture_bad(a, "may have at most %.0f characters, got %zu", most, n);
    return true;
}

bool picture_field_negative(struct picture_value *a)
{
    if (a->w->q.negative_prompt)
        return picture_bad(a, "and text_prompts say both what not to draw; one of them is enough");
    return picture_text(a, &a->w->q.negative_prompt);
}

bool picture_field_model(struct picture_value *a) { return picture_text(a, &a->w->q.model); }

bool picture_field_n(struct picture_value *a)
{
    int64_t n = a->w->has_n ? a->w->q.n : 0; /* one is the default, which contradicts nothing */
    a->w->has_n = true;
    if (!picture_int(a, &n)) return false;
    a->w->q.n = n;
    return true;
}

bool picture_field_width(struct picture_value *a)
{
    int64_t v = 0;
    return picture_int(a, &v) && side(a, v, "width", &a->w->q.width);
}

bool picture_field_height(struct picture_value *a)
{
    int64_t v = 0;
    return picture_int(a, &v) && side(a, v, "height", &a->w->q.height);
}

bool picture_field_ratio(struct picture_value *a)
{
    int i;
    if (!picture_word(a, picture_ratios, &i)) return false;
    snprintf(a->w->ratio, sizeof a->w->ratio, "%s", picture_ratios[i]);
    return true;
}

/* ---- how --------------------------------------------------------------------------------------------------- */

bool picture_field_steps(struct picture_value *a) { return picture_int(a, &a->w->q.steps); }

bool picture_field_guidance(struct picture_value *a)
{
    double before = a->w->q.guidance;
    if (!picture_num(a, &a->w->q.guidance)) return false;
    return before < 0 || before == a->w->q.guidance ||
           picture_bad(a, "contradicts another field of the same meaning (%g)", before);
}

bool picture_field_seed(struct picture_value *a)
{
    const char *text = json_string_value(a->v);
    int64_t v = 0;
    if (text && !a->w->form) return picture_bad(a, "must be a whole number, not text");
    if (text ? !digits(text, &v)
        : json_is_real(a->v)
            ? (fabs(json_real_value(a->v)) > 9e15 || json_real_value(a->v) != floor(json_real_value(a->v)))
            : !json_is_integer(a->v))
        return picture_bad(a, "must be a whole number from 0 to 2^63-1, or -1 for any");
    if (!text) v = json_is_real(a->v) ? (int64_t)json_real_value(a->v) : json_integer_value(a->v);
    if (v == -1) return true; /* as many tools say "any" */
    if (v < 0) return picture_bad(a, "must be a whole number from 0 to 2^63-1, or -1 for any");
    a->w->q.seed = (uint64_t)v;
    a->w->q.has_seed = v != 0 || !a->w->any_by_zero;
    return true;
}

bool picture_field_format(struct picture_value *a)
{
    static const char *const words[] = { "png", "jpeg", "webp", "jpg", "PNG", "JPEG", "WEBP", NULL };
    static const enum image_format formats[] = { IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP, IMAGE_JPEG,
                                                 IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP };
    int i;
    if (!picture_word(a, words, &i)) return false;
    if (a->w->answer == ANSWER_BYTES && a->w->accepts && !(a->w->accepts & 1u << formats[i]))
        return picture_bad(a, "contradicts the Accept header, which does not allow %s",
                           image_format_mime(formats[i]));
    a->w->q.format = formats[i];
    return true;
}

bool picture_field_sampler(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    return (s && !*s) || picture_text(a, &a->w->q.sampler);
}

bool picture_field_strength(struct picture_value *a) { return picture_num(a, &a->w->q.strength); }

bool picture_field_image_strength(struct picture_value *a)
{
    double d = 0;
    if (!picture_num(a, &d)) return false;
    a->w->image_strength = d > 1 ? d / 100 : d;
    return true;
}

bool picture_field_clip_skip(struct picture_value *a) { return picture_int(a, &a->w->q.clip_skip); }
bool picture_field_safety(struct picture_value *a) { return picture_flag(a, &a->w->q.safety); }

bool picture_field_loras(struct picture_value *a)
{
    const json_t *one;
    size_t i;
    if (json_array_size(a->v) > 16) return picture_bad(a, "may name at most 16 adapters");
    for (const char *s = json_string_value(a->v); s && *s;) {
        size_t n = strcspn(s, ","), name = strcspn(s, ",:");
        char *end = NULL;
        double weight = name < n ? strtod(s + name + 1, &end) : 1;
        if (!name || (end && end != s + n) || !(fabs(weight) <= 100))
            return picture_bad(a, "must be NAME or NAME:WEIGHT, several joined by commas");
        if (!picture_lora(a, s, name, weight)) return false;
        s += n + (s[n] == ',');
    }
    if (json_is_string(a->v)) return true;
    if (!json_is_array(a->v)) return picture_bad(a, "must be a list of {name, weight}");
    json_array_foreach(a->v, i, one)
    {
        const json_t *name = json_is_string(one) ? one : json_object_get(one, "name");
        const json_t *weight = json_object_get(one, "weight");
        double w = json_is_number(weight) ? json_number_value(weight) : 1;
        if (!json_is_string(name) || (weight && !json_is_number(weight)) || fabs(w) > 100)
            return picture_bad(a, "must be a list of {name, weight}");
        if (!json_in_members(one, "name weight", "loras[].", a->w->strict, a->name, a->f)) return false;
        if (!picture_lora(a, json_string_value(name), json_string_length(name), w)) return false;
    }
    return true;
}

/* ---- without effect ---------------------------------------------------------------------------------------- */

bool picture_field_any_text(struct picture_value *a)
{
    return json_is_string(a->v) || picture_bad(a, "must be a string");
}

bool picture_field_any_flag(struct picture_value *a)
{
    bool b;
    return picture_flag(a, &b);
}

bool picture_field_refuse(struct picture_value *a) { return picture_bad(a, "is not offered by this server"); }
