/* picture_parse.c - the fields of image requests, one table for three APIs. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <strings.h>

#include "http/dialects/picture_wire.h"
#include "http/json_in.h"
#include "http/json_out.h"

enum { MAX_PROMPT = 32000, FIREMOON_PROMPT = 1000 };

void picture_wire_init(struct picture_wire *w, enum picture_style style, bool fireworks)
{
    *w = (struct picture_wire){ .style = style,
                                .fireworks = fireworks,
                                .partial = -1,
                                .compression = -1,
                                .image_strength = -1,
                                .schedule_start = -1,
                                .faults = BUF_INIT(16384) };
    picture_request_init(&w->q);
    w->answer = style == PICTURES_OPENAI || style == PICTURES_FIREMOON ? ANSWER_URL : ANSWER_BYTES;
    if (style == PICTURES_FIREMOON) w->q.format = IMAGE_JPEG;
}

void picture_wire_free(struct picture_wire *w)
{
    picture_request_free(&w->q);
    free(w->transparent);
    buf_free(&w->faults);
}

/* ---- values ------------------------------------------------------------------------------------------------ */

struct field_value {
    struct picture_wire *w;
    const char *name;
    const json_t *v;
    struct fault *f;
};

static bool bad(struct field_value *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(struct field_value *a, const char *fmt, ...)
{
    char why[240];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    a->f->param = a->name;
    if (a->w->style == PICTURES_FIREMOON) { /* collects them all */
        struct buf line = BUF_INIT(400);
        buf_printf(&line, "Invalid value for %s: %s", a->name, why);
        if (a->w->n_faults++) buf_putc(&a->w->faults, ',');
        json_out_cstr(&a->w->faults, line.data ? line.data : why);
        buf_free(&line);
        return err_set(&a->f->err, ERR_REQUEST, "Input validation failed");
    }
    return err_set(&a->f->err, ERR_REQUEST, "%s %s", a->name, why);
}

/* A number, also as text: several clients send "1024". */
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

static bool take_int(struct field_value *a, double min, double max, int64_t *out)
{
    double d = 0;
    if (!number(a->v, &d) || d != floor(d) || d < min || d > max) {
        return bad(a, "must be a whole number from %.0f to %.0f", min, max);
    }
    if (*out != 0 && *out != (int64_t)d && a->w->style != PICTURES_FIREMOON) {
        return bad(a, "contradicts another field of the same meaning (%lld)", (long long)*out);
    }
    *out = (int64_t)d;
    return true;
}

static bool take_num(struct field_value *a, double min, double max, double *out)
{
    double d = 0;
    if (!number(a->v, &d) || d < min || d > max) return bad(a, "must be a number from %g to %g", min, max);
    *out = d;
    return true;
}

static bool take_bool(struct field_value *a, bool *out)
{
    const char *s = json_string_value(a->v);
    if (json_is_boolean(a->v))
        *out = json_is_true(a->v);
    else if (s && (!strcasecmp(s, "true") || !strcmp(s, "1")))
        *out = true;
    else if (s && (!strcasecmp(s, "false") || !strcmp(s, "0")))
        *out = false;
    else
        return bad(a, "must be true or false");
    return true;
}

static bool take_str(struct field_value *a, char **out)
{
    if (!json_is_string(a->v)) return bad(a, "must be a string");
    free(*out);
    *out = strdup(json_string_value(a->v));
    return *out || err_set(&a->f->err, ERR_NOMEM, "out of memory");
}

static bool one_of(struct field_value *a, const char *const *words, int *out)
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
    return bad(a, "must be one of [%s]", list);
}

/* ---- fields ------------------------------------------------------------------------------------------------ */

static size_t code_points(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static bool f_prompt(struct field_value *a)
{
    if (a->w->q.prompt) return bad(a, "and text_prompts say both what to draw; one of them is enough");
    if (!take_str(a, &a->w->q.prompt)) return false;
    size_t n = code_points(a->w->q.prompt),
           most = a->w->style == PICTURES_FIREMOON ? FIREMOON_PROMPT : MAX_PROMPT;
    if (n == 0) return bad(a, "must not be empty");
    if (n > most) return bad(a, "may have at most %zu characters, got %zu", most, n);
    return true;
}

static bool f_negative(struct field_value *a)
{
    if (a->w->q.negative_prompt)
        return bad(a, "and text_prompts say both what not to draw; one of them is enough");
    return take_str(a, &a->w->q.negative_prompt);
}
static bool f_model(struct field_value *a) { return take_str(a, &a->w->q.model); }
static bool f_steps(struct field_value *a)
{
    return take_int(a, 1, a->w->style == PICTURES_FIREMOON ? 50 : 1000, &a->w->q.steps);
}
static bool f_n(struct field_value *a)
{
    int64_t n = a->w->has_n ? a->w->q.n : 0; /* one is the default, which contradicts nothing */
    a->w->has_n = true;
    if (!take_int(a, 1, a->w->style == PICTURES_FIREMOON ? 4 : 10, &n)) return false;
    a->w->q.n = n;
    return true;
}
static bool f_guidance(struct field_value *a)
{
    bool firemoon = a->w->style == PICTURES_FIREMOON;
    double before = a->w->q.guidance;
    if (!take_num(a, firemoon ? 1 : 0, firemoon ? 20 : 100, &a->w->q.guidance)) return false;
    return before < 0 || before == a->w->q.guidance ||
           bad(a, "contradicts another field of the same meaning (%g)", before);
}

/* One side of the picture, however it is spelled. */
static bool take_side(struct field_value *a, int64_t v, const char *which, int64_t *out)
{
    if (*out != 0 && *out != v && a->w->style != PICTURES_FIREMOON)
        return bad(a, "contradicts another field that says %s %lld", which, (long long)*out);
    *out = v;
    return true;
}
static bool f_width(struct field_value *a)
{
    int64_t v = 0;
    return take_int(a, 8, 16384, &v) && take_side(a, v, "width", &a->w->q.width);
}
static bool f_height(struct field_value *a)
{
    int64_t v = 0;
    return take_int(a, 8, 16384, &v) && take_side(a, v, "height", &a->w->q.height);
}
static bool take_size(struct field_value *a, int w, int h)
{
    return take_side(a, w, "width", &a->w->q.width) && take_side(a, h, "height", &a->w->q.height);
}

static bool f_seed(struct field_value *a)
{
    const char *text = json_string_value(a->v);
    int64_t v = 0;
    if (text && !a->w->form) return bad(a, "must be a whole number, not text");
    if (text ? !digits(text, &v)
        : json_is_real(a->v)
            ? (fabs(json_real_value(a->v)) > 9e15 || json_real_value(a->v) != floor(json_real_value(a->v)))
            : !json_is_integer(a->v))
        return bad(a, "must be a whole number from 0 to 2^63-1, or -1 for any");
    if (!text) v = json_is_real(a->v) ? (int64_t)json_real_value(a->v) : json_integer_value(a->v);
    if (v == -1) return true; /* as many tools say "any" */
    if (v < 0) return bad(a, "must be a whole number from 0 to 2^63-1, or -1 for any");
    a->w->q.seed = (uint64_t)v;
    /* Under /inference and in the workflows 0 stands for "any". */
    a->w->q.has_seed = v != 0 || !(a->w->fireworks || a->w->style & (PICTURES_WORKFLOW | PICTURES_SDXL));
    return true;
}

static bool f_size(struct field_value *a)
{
    static const struct {
        const char *name;
        int w, h;
    } named[] = { { "square_hd", 1024, 1024 },    { "square", 512, 512 },
                  { "portrait_4_3", 768, 1024 },  { "portrait_16_9", 576, 1024 },
                  { "landscape_4_3", 1024, 768 }, { "landscape_16_9", 1024, 576 } };
    const char *s = json_string_value(a->v);
    int w = 0, h = 0, used = 0;
    if (!s) return bad(a, "must be a string such as 1024x1024");
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (!strcmp(s, named[i].name)) return take_size(a, named[i].w, named[i].h);
    }
    bool pixels = sscanf(s, "%5dx%5d%n", &w, &h, &used) == 2 && s[used] == '\0' && w > 0 && h > 0;
    if (a->w->style == PICTURES_FIREMOON && !pixels) {
        return bad(
            a,
            "must be one of [square_hd, square, portrait_4_3, portrait_16_9, landscape_4_3, landscape_16_9]");
    }
    if (!strcmp(s, "auto")) return true;
    if (!pixels) return bad(a, "must be WIDTHxHEIGHT, got \"%.40s\"", s);
    snprintf(a->w->asked_size, sizeof a->w->asked_size, "%dx%d", w, h);
    return take_size(a, w, h);
}

static bool f_ratio(struct field_value *a)
{
    static const char *const ratios[] = { "1:1", "21:9", "16:9", "3:2", "5:4", "4:5",
                                          "2:3", "9:16", "9:21", "4:3", "3:4", NULL };
    int i;
    if (!one_of(a, ratios, &i)) return false;
    snprintf(a->w->ratio, sizeof a->w->ratio, "%s", ratios[i]);
    return true;
}

static bool f_response_format(struct field_value *a)
{
    static const char *const words[] = { "url", "b64_json", NULL };
    int i;
    if (!one_of(a, words, &i)) return false;
    a->w->answer = i ? ANSWER_B64 : ANSWER_URL;
    a->w->has_answer = true;
    return true;
}

static bool f_output_format(struct field_value *a)
{
    static const char *const words[] = { "png", "jpeg", "webp", "jpg", "PNG", "JPEG", "WEBP", NULL };
    static const enum image_format formats[] = { IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP, IMAGE_JPEG,
                                                 IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP };
    int i;
    if (!one_of(a, words, &i)) return false;
    if (a->w->answer == ANSWER_BYTES && a->w->accepts && !(a->w->accepts & 1u << formats[i]))
        return bad(a, "contradicts the Accept header, which does not allow %s",
                   image_format_mime(formats[i]));
    a->w->q.format = formats[i];
    return true;
}

static bool f_compression(struct field_value *a)
{
    int64_t v = 0;
    if (!take_int(a, 0, 100, &v)) return false;
    a->w->compression = (int)v;
    a->w->q.quality = v < 1 ? 1 : (int)v;
    return true;
}

static bool f_quality(struct field_value *a)
{
    static const char *const words[] = { "auto", "standard", "hd", "low", "medium", "high", NULL };
    int i;
    if (!one_of(a, words, &i)) return false;
    snprintf(a->w->quality, sizeof a->w->quality, "%s", words[i]);
    return true;
}

static bool f_style_word(struct field_value *a)
{
    static const char *const words[] = { "vivid", "natural", NULL };
    int i;
    return one_of(a, words, &i);
}

static bool f_background(struct field_value *a)
{
    static const char *const words[] = { "opaque", "auto", NULL };
    int i;
    return one_of(a, words, &i);
}

static bool f_moderation(struct field_value *a)
{
    static const char *const words[] = { "auto", "low", NULL };
    int i;
    return one_of(a, words, &i); /* the server's own policy counts */
}

static bool f_fidelity(struct field_value *a)
{
    static const char *const words[] = { "low", "high", NULL };
    int i;
    return one_of(a, words, &i); /* the picture is always looked at as closely */
}

static bool f_stream(struct field_value *a)
{
    if (!take_bool(a, &a->w->stream)) return false;
    a->w->q.previews = a->w->stream;
    return true;
}
static bool f_partial(struct field_value *a)
{
    int64_t n = 0;
    if (!take_int(a, 0, 3, &n)) return false;
    a->w->partial = (int)n;
    return true;
}
static bool f_safety(struct field_value *a) { return take_bool(a, &a->w->q.safety); }
static bool f_sampler(struct field_value *a)
{
    const char *s = json_string_value(a->v);
    return (s && !*s) || take_str(a, &a->w->q.sampler);
}
static bool f_strength(struct field_value *a) { return take_num(a, 0.001, 1, &a->w->q.strength); }
static bool f_image_strength(struct field_value *a)
{
    double d = 0; /* high: stay near the picture; above 1: percent */
    if (!take_num(a, 0, 100, &d)) return false;
    a->w->image_strength = d > 1 ? d / 100 : d;
    return true;
}
static bool f_schedule_start(struct field_value *a) { return take_num(a, 0, 1, &a->w->schedule_start); }
static bool f_schedule_end(struct field_value *a)
{
    double d = 0;
    return take_num(a, 0, 1, &d) && (d == 1 || bad(a, "other than 1 is not offered by this server"));
}
static bool f_init_mode(struct field_value *a)
{
    static const char *const words[] = { "IMAGE_STRENGTH", "STEP_SCHEDULE", NULL };
    int i;
    if (!one_of(a, words, &i)) return false;
    a->w->by_schedule = i == 1;
    return true;
}
static bool f_expand_left(struct field_value *a) { return take_int(a, 0, 8192, &a->w->q.expand_left); }
static bool f_expand_right(struct field_value *a) { return take_int(a, 0, 8192, &a->w->q.expand_right); }
static bool f_expand_top(struct field_value *a) { return take_int(a, 0, 8192, &a->w->q.expand_top); }
static bool f_expand_bottom(struct field_value *a) { return take_int(a, 0, 8192, &a->w->q.expand_bottom); }
static bool f_clip_skip(struct field_value *a) { return take_int(a, 0, 11, &a->w->q.clip_skip); }
/* These have no effect here, and their absence would not be noticed. */
static bool f_any_text(struct field_value *a) { return json_is_string(a->v) || bad(a, "must be a string"); }
static bool f_any_bool(struct field_value *a)
{
    bool b;
    return take_bool(a, &b);
}
static bool f_any_num(struct field_value *a)
{
    double d;
    return take_num(a, -100, 100, &d);
}
static bool f_only_false(struct field_value *a)
{
    bool b = false;
    if (!take_bool(a, &b)) return false;
    return !b || bad(a, "is not offered by this server");
}
static bool f_only_empty(struct field_value *a)
{
    const char *s = json_string_value(a->v);
    return (s && !*s) || bad(a, "is not offered by this server");
}
static bool f_refuse(struct field_value *a) { return bad(a, "is not offered by this server"); }

static bool take_picture(struct picture_wire *w, const char *data, size_t len, const char *name,
                         struct fault *f);

/* In a JSON body: a data URL, alone or in a list of one. */
static bool f_image(struct field_value *a)
{
    const json_t *v = json_array_size(a->v) == 1 ? json_array_get(a->v, 0) : a->v;
    const char *s = json_string_value(v);
    if (a->w->task == PICTURE_GENERATE)
        return bad(a, "is not taken here; /v1/images/edits and /v1/images/variations start from a picture");
    if (!s || strncmp(s, "data:image/", 11) != 0)
        return bad(a, "must be a data URL, as data:image/png;base64,..., or a file in a form");
    return take_picture(a->w, s, json_string_length(v), a->name, a->f);
}

static bool add_lora(struct field_value *a, const char *name, size_t len, double weight)
{
    struct picture_request *q = &a->w->q;
    struct image_lora_spec *v = realloc(q->lora, ((size_t)q->n_lora + 1) * sizeof *v);
    if (v) q->lora = v;
    char *copy = v ? strndup(name, len) : NULL;
    if (!copy) return err_set(&a->f->err, ERR_NOMEM, "out of memory");
    q->lora[q->n_lora++] = (struct image_lora_spec){ copy, (float)weight };
    return true;
}

/* Adapters by name: "NAME", "NAME:0.8,OTHER", or a list of names and of {name, weight}. */
static bool f_loras(struct field_value *a)
{
    const json_t *one;
    size_t i;
    if (json_array_size(a->v) > 16) return bad(a, "may name at most 16 adapters");
    for (const char *s = json_string_value(a->v); s && *s;) {
        size_t n = strcspn(s, ","), name = strcspn(s, ",:");
        char *end = NULL;
        double weight = name < n ? strtod(s + name + 1, &end) : 1;
        if (!name || (end && end != s + n) || !(fabs(weight) <= 100))
            return bad(a, "must be NAME or NAME:WEIGHT, several joined by commas");
        if (!add_lora(a, s, name, weight)) return false;
        s += n + (s[n] == ',');
    }
    if (json_is_string(a->v)) return true;
    if (!json_is_array(a->v)) return bad(a, "must be a list of {name, weight}");
    json_array_foreach(a->v, i, one)
    {
        const json_t *name = json_is_string(one) ? one : json_object_get(one, "name");
        const json_t *weight = json_object_get(one, "weight");
        double w = json_is_number(weight) ? json_number_value(weight) : 1;
        if (!json_is_string(name) || (weight && !json_is_number(weight)) || fabs(w) > 100)
            return bad(a, "must be a list of {name, weight}");
        if (!json_in_members(one, "name weight", "loras[].", a->w->strict, a->name, a->f)) return false;
        if (!add_lora(a, json_string_value(name), json_string_length(name), w)) return false;
    }
    return true;
}

static bool f_lora_name(struct field_value *a)
{
    const char *s = json_string_value(a->v);
    if (!s) return bad(a, "must be a string");
    return !*s || add_lora(a, s, strlen(s), 1);
}

static bool f_text_prompts(struct field_value *a)
{
    struct buf yes = BUF_INIT(65536), no = BUF_INIT(65536);
    size_t i;
    const json_t *one;
    if (!json_is_array(a->v)) return bad(a, "must be a list of {text, weight}");
    json_array_foreach(a->v, i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *weight = json_object_get(one, "weight");
        struct buf *b = json_is_number(weight) && json_number_value(weight) < 0 ? &no : &yes;
        if (!json_in_members(one, "text weight", "text_prompts[].", a->w->strict, a->name, a->f)) {
            buf_free(&yes);
            buf_free(&no);
            return false;
        }
        if (!text || (weight && !json_is_number(weight))) {
            buf_free(&yes);
            buf_free(&no);
            return bad(a, "must be a list of {text, weight}");
        }
        buf_printf(b, "%s%s", b->len ? ", " : "", text);
    }
    const char *twice = yes.len && a->w->q.prompt           ? "prompt"
                        : no.len && a->w->q.negative_prompt ? "negative_prompt"
                                                            : NULL;
    if (yes.len && !twice) a->w->q.prompt = buf_take(&yes);
    if (no.len && !twice) a->w->q.negative_prompt = buf_take(&no);
    buf_free(&yes);
    buf_free(&no);
    return !twice || bad(a, "and %s say both what to draw; one of them is enough", twice);
}

#define O PICTURES_OPENAI
#define W PICTURES_WORKFLOW
#define S PICTURES_SDXL
#define M PICTURES_FIREMOON
static const struct {
    const char *name;
    unsigned styles;
    bool (*take)(struct field_value *a);
} fields[] = {
    { "prompt", O | W | S | M, f_prompt },
    { "model", O | W | S, f_model },
    { "negative_prompt", O | W | S | M, f_negative },
    { "n", O, f_n },
    { "samples", O | W | S, f_n },
    { "num_images", O | M, f_n },
    { "size", O, f_size },
    { "image_size", O | M, f_size },
    { "width", O | W | S, f_width },
    { "height", O | W | S, f_height },
    { "aspect_ratio", O | W | S, f_ratio },
    { "steps", O | W | S, f_steps },
    { "num_inference_steps", O | W | S | M, f_steps },
    { "guidance_scale", O | W | S | M, f_guidance },
    { "cfg_scale", O | W | S, f_guidance },
    { "seed", O | W | S | M, f_seed },
    { "response_format", O, f_response_format },
    { "output_format", O | W | S | M, f_output_format },
    { "output_image_format", S, f_output_format },
    { "output_compression", O, f_compression },
    { "quality", O, f_quality },
    { "style", O, f_style_word },
    { "background", O, f_background },
    { "moderation", O, f_moderation },
    { "input_fidelity", O, f_fidelity },
    { "user", O | W | S, f_any_text },
    { "stream", O, f_stream },
    { "partial_images", O, f_partial },
    { "sampler", O | W | S, f_sampler },
    { "strength", O | W, f_strength },
    { "image_strength", O | S, f_image_strength },
    { "step_schedule_start", S, f_schedule_start },
    { "step_schedule_end", S, f_schedule_end },
    { "init_image_mode", S, f_init_mode },
    { "crop_padding", S, f_any_bool },
    { "expand_left", O, f_expand_left },
    { "expand_right", O, f_expand_right },
    { "expand_top", O, f_expand_top },
    { "expand_bottom", O, f_expand_bottom },
    { "clip_skip", O | S, f_clip_skip },
    { "safety_check", O | W | S, f_safety },
    { "enable_safety_checker", O | M, f_safety },
    { "lora_scale", M, f_any_num },
    { "style_preset", S, f_only_empty },
    { "clip_guidance_preset", S, f_any_text },
    { "apply_invisible_watermark", S, f_any_bool },
    { "text_prompts", S, f_text_prompts },
    { "return_latents", S, f_only_false },
    { "loras", O | W | S, f_loras },
    { "lora_adapter_name", S, f_lora_name },
    { "lora_weight_filename", S, f_refuse },
    { "image", O, f_image },
    { "input_image", W, f_refuse },
};
#undef O
#undef W
#undef S
#undef M

static bool take_field(struct picture_wire *w, const char *key, const json_t *v, struct fault *f)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strcmp(fields[i].name, key) != 0 || !(fields[i].styles & w->style)) continue;
        return json_is_null(v) || fields[i].take(&(struct field_value){ w, fields[i].name, v, f });
    }
    if (json_in_unknown("", key, v, w->strict, NULL, f)) return true;
    if (w->style == PICTURES_FIREMOON) {
        if (w->n_faults++) buf_putc(&w->faults, ',');
        json_out_cstr(&w->faults, f->err.msg);
        err_set(&f->err, ERR_REQUEST, "Input validation failed");
    }
    return false;
}

/* What OpenAI's GPT image models have of their own, under their names here too; and the transparency of a picture to be edited. */
static bool check_openai(struct picture_wire *w, struct fault *f)
{
    if (w->style != PICTURES_OPENAI) return true;
    const char *model = w->q.model ? w->q.model : "";
    w->gpt = !strncmp(model, "gpt-image-", 10) || !strncmp(model, "chatgpt-image-", 14);
    w->revises = !strcmp(model, "dall-e-3");
    if (w->gpt && w->has_answer && w->answer == ANSWER_URL) {
        f->param = "response_format";
        return err_set(&f->err, ERR_REQUEST,
                       "response_format url is not for %.40s, which always answers b64_json", model);
    }
    if (w->gpt) w->answer = ANSWER_B64;
    if (w->compression >= 0 && w->compression < 100 && w->q.format == IMAGE_PNG) {
        f->param = "output_compression";
        return err_set(&f->err, ERR_REQUEST,
                       "output_compression below 100 is for output_format jpeg and webp, not for png");
    }
    if (w->gpt && w->compression < 0) w->q.quality = 100;
    /* "If mask is not provided, image must have transparency, which will be used as the mask" */
    if (w->task == PICTURE_EDIT && w->transparent && !w->q.mask && !w->gpt) {
        w->q.mask = w->transparent;
        w->transparent = NULL;
    }
    return true;
}

static bool check_whole(struct picture_wire *w, struct fault *f)
{
    const char *says = w->q.strength >= 0       ? "strength"
                       : w->image_strength >= 0 ? "image_strength"
                       : w->schedule_start >= 0 ? "step_schedule_start"
                       : w->by_schedule         ? "init_image_mode"
                                                : NULL;
    if (w->task == PICTURE_GENERATE && says) {
        f->param = says;
        return err_set(&f->err, ERR_REQUEST, "%s is for an input picture, which this endpoint does not take",
                       says);
    }
    if (w->q.strength >= 0 && w->image_strength >= 0 && fabs(1 - w->image_strength - w->q.strength) > 1e-6) {
        f->param = "image_strength";
        return err_set(&f->err, ERR_REQUEST,
                       "image_strength %g contradicts strength %g: the one is 1 minus the other",
                       w->image_strength, w->q.strength);
    }
    /* The old SDK always sends the schedule's start; the mode says which of the two counts. */
    if (w->by_schedule || (w->image_strength < 0 && w->schedule_start >= 0))
        w->q.strength = w->schedule_start >= 0 ? fmax(w->schedule_start, 0.001) : 0.65;
    else if (w->image_strength >= 0)
        w->q.strength = fmax(1 - w->image_strength, 0.001);
    if (w->task != PICTURE_GENERATE && !w->q.init.pixels) {
        f->param = "image";
        return err_set(&f->err, ERR_REQUEST,
                       "image is required: a PNG, JPEG or WebP file, sent as multipart/form-data");
    }
    /* Without a prompt the picture itself says what to draw, which a strength asks for too. */
    bool wordless = w->task == PICTURE_VARY ||
                    (w->task == PICTURE_EDIT && w->style == PICTURES_OPENAI && w->q.strength >= 0);
    if (!w->q.prompt && wordless && !(w->q.prompt = strdup("")))
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    if (!w->q.prompt) {
        f->param = "prompt";
        if (w->style == PICTURES_FIREMOON && !strstr(w->faults.data ? w->faults.data : "", "for prompt:")) {
            if (w->n_faults++) buf_putc(&w->faults, ',');
            json_out_cstr(&w->faults, "Missing required field: prompt");
        }
        return err_set(&f->err, ERR_REQUEST,
                       w->style == PICTURES_FIREMOON ? "Input validation failed" : "prompt is required");
    }
    if ((w->q.width == 0) != (w->q.height == 0)) {
        f->param = w->q.width ? "height" : "width";
        return err_set(&f->err, ERR_REQUEST, "width and height go together");
    }
    if (w->q.has_seed && w->q.seed + (uint64_t)w->q.n - 1 > INT64_MAX) {
        f->param = "seed";
        return err_set(&f->err, ERR_REQUEST,
                       "seed %llu leaves no seeds for %lld pictures: each takes the next one, up to 2^63-1",
                       (unsigned long long)w->q.seed, (long long)w->q.n);
    }
    if (w->partial > 0 && !w->stream) {
        f->param = "partial_images";
        return err_set(&f->err, ERR_REQUEST, "partial_images above 0 needs stream: true");
    }
    if (!check_openai(w, f)) return false;
    if (w->answer == ANSWER_BYTES && w->q.n > 1) {
        f->param = "samples";
        return err_set(&f->err, ERR_REQUEST,
                       "samples above 1 needs Accept: application/json: one answer holds one picture");
    }
    return w->n_faults == 0;
}

bool picture_wire_json(struct picture_wire *w, const json_t *body, bool strict, struct fault *f)
{
    const char *key;
    json_t *v;
    bool ok = true;
    w->strict = strict;
    json_object_foreach((json_t *)body, key, v)
    {
        if (!strcmp(key, "extra_body") && json_is_object(v)) {
            /* Copied from Python idiom into the JSON itself: its members count, a field beside it of the same name wins. */
            const char *inner;
            json_t *iv;
            json_object_foreach(v, inner, iv)
            {
                if (ok && !json_object_get(body, inner)) ok = take_field(w, inner, iv, f);
            }
        } else {
            bool one = take_field(w, key, v, f);
            ok = ok && one;
        }
        if (!ok && w->style != PICTURES_FIREMOON) return false;
    }
    struct fault whole = { { ERR_NONE, "" }, NULL };
    if (check_whole(w, ok ? f : &whole) && ok) return true;
    return false;
}

/* ---- forms ------------------------------------------------------------------------------------------------- */

static bool is_name(const struct multipart_part *p, const char *name)
{
    return p->name_len == strlen(name) && !memcmp(p->name, name, p->name_len);
}

/* An upload that does not decode is the client's fault, whatever the decoder calls it. */
static bool bad_picture(const char *name, struct fault *f)
{
    if (f->err.code != ERR_NOMEM) f->err.code = ERR_REQUEST;
    return err_wrap(&f->err, "%s", name);
}

/* A file's bytes, or "data:image/png;base64,..." in their place. */
static bool decode_picture(const char *data, size_t len, int channels, const struct image_limits *limits,
                           struct image_pixels *px, struct err *e)
{
    static const char scheme[] = "data:image/", base64[] = ";base64,";
    const char *at = len > 64 && !memcmp(data, scheme, sizeof scheme - 1)
                         ? memmem(data, 64, base64, sizeof base64 - 1)
                         : NULL;
    if (!at) return image_file_decode(data, len, channels, limits, px, e);
    at += sizeof base64 - 1;
    size_t n = len - (size_t)(at - data), got = 0;
    unsigned char *bytes = malloc(n / 4 * 3 + 3);
    if (!bytes) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = sodium_base642bin(bytes, n / 4 * 3 + 3, at, n, "\r\n ", &got, NULL,
                                sodium_base64_VARIANT_ORIGINAL) == 0 ||
              err_set(e, ERR_REQUEST, "the data URL is not base64");
    ok = ok && image_file_decode(bytes, got, channels, limits, px, e);
    free(bytes);
    return ok;
}

static bool take_picture(struct picture_wire *w, const char *data, size_t len, const char *name,
                         struct fault *f)
{
    struct image_pixels px;
    struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    limits.max_pixels = INT64_C(32) << 20;
    f->param = name;
    if (!decode_picture(data, len, 4, &limits, &px, &f->err)) return bad_picture(name, f);
    size_t n = (size_t)px.width * (size_t)px.height, at = 0;
    unsigned char *mask = NULL;
    while (at < n && px.data[4 * at + 3] == 255) at++;
    if (at < n && !(mask = malloc(n))) {
        free(px.data);
        return err_set(&f->err, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; mask && i < n; i++) mask[i] = (unsigned char)(255 - px.data[4 * i + 3]);
    image_file_flatten(&px);
    free(w->transparent);
    free(w->q.init.pixels);
    w->transparent = mask;
    w->q.init = (struct image_rgb){ px.width, px.height, px.data };
    f->param = NULL;
    return true;
}

/* OpenAI's mask: where it is transparent, the picture is painted anew. */
static bool take_mask(struct picture_wire *w, const struct multipart_part *p, struct fault *f)
{
    struct image_pixels px;
    struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    f->param = "mask";
    if (!decode_picture(p->data, p->len, 4, &limits, &px, &f->err)) return bad_picture("mask", f);
    bool ok = px.width == w->q.init.width && px.height == w->q.init.height;
    if (!ok) {
        err_set(&f->err, ERR_REQUEST, "mask must be as large as the image (%dx%d), got %dx%d",
                w->q.init.width, w->q.init.height, px.width, px.height);
    }
    size_t n = (size_t)px.width * (size_t)px.height;
    unsigned char *mask = ok ? malloc(n) : NULL;
    if (ok && !mask) ok = err_set(&f->err, ERR_NOMEM, "out of memory");
    bool transparent = false;
    for (size_t i = 0; ok && i < n; i++) transparent |= px.data[4 * i + 3] < 255;
    for (size_t i = 0; ok && i < n; i++) {
        /* A mask without transparency is a black and white one: white is painted. Its grey is Rec. 601's, as Pillow converts. */
        const unsigned char *c = px.data + 4 * i;
        mask[i] = transparent
                      ? (unsigned char)(255 - c[3])
                      : (unsigned char)((c[0] * 19595u + c[1] * 38470u + c[2] * 7471u + 0x8000u) >> 16);
    }
    free(px.data);
    if (!ok) return false;
    free(w->q.mask);
    w->q.mask = mask;
    f->param = NULL;
    return true;
}

bool picture_wire_form(struct picture_wire *w, const struct multipart *m, bool strict, struct fault *f)
{
    const struct multipart_part *mask = NULL;
    bool have = false;
    w->strict = strict;
    if (w->task == PICTURE_GENERATE) w->task = PICTURE_EDIT;
    w->form = true;
    for (int i = 0; i < m->n; i++) {
        const struct multipart_part *p = &m->part[i];
        for (int k = 0; k < i; k++) {
            const struct multipart_part *o = &m->part[k];
            if (o->name_len != p->name_len || memcmp(o->name, p->name, p->name_len) || !o->len || !p->len ||
                is_name(p, "image") || is_name(p, "image[]"))
                continue;
            return err_set(&f->err, ERR_REQUEST, "the form has two parts called \"%.*s\"",
                           (int)(p->name_len < 80 ? p->name_len : 80), p->name);
        }
        bool image = is_name(p, "image") || is_name(p, "image[]") || is_name(p, "init_image") ||
                     is_name(p, "image[0]");
        if (image && have) {
            f->param = "image";
            return err_set(&f->err, ERR_UNSUPPORTED, "more than one input image is not supported");
        }
        if (image) {
            if (!take_picture(w, p->data, p->len, "image", f)) return false;
            have = true;
        } else if (is_name(p, "mask")) {
            mask = p;
        } else if (p->len) {
            char key[80];
            snprintf(key, sizeof key, "%.*s", (int)(p->name_len < 79 ? p->name_len : 79), p->name);
            json_t *v = json_stringn(p->data, p->len);
            if (!v) {
                return err_set(&f->err, ERR_REQUEST,
                               "the part \"%s\" is not text in UTF-8; files are taken as image and mask",
                               key);
            }
            bool ok = take_field(w, key, v, f);
            json_decref(v);
            if (!ok) return false;
        }
    }
    if (mask && w->task == PICTURE_VARY) {
        f->param = "mask";
        return err_set(&f->err, ERR_REQUEST, "a variation takes no mask; POST /v1/images/edits does");
    }
    if (mask && have && !take_mask(w, mask, f)) return false;
    w->q.any_size = w->q.width == 0;
    return check_whole(w, f);
}

/* ---- once the model is known ------------------------------------------------------------------------------- */

static bool has_size(const struct model *m, const char *size)
{
    const struct catalog_model *c = model_catalog(m);
    for (int i = 0; c && i < c->sizes.n; i++) {
        if (!strcmp(c->sizes.v[i], size)) return true;
    }
    return false;
}

bool picture_wire_resolve(struct picture_wire *w, const struct model *m, struct fault *f)
{
    /* DALL-E's and gpt-image's names, mapped as the services' own migration guide does. */
    static const struct {
        const char *from;
        int w, h;
    } mapped[] = { { "256x256", 640, 640 },    { "512x512", 640, 640 },    { "1792x1024", 1344, 768 },
                   { "1024x1792", 768, 1344 }, { "1536x1024", 1248, 832 }, { "1024x1536", 832, 1248 } };
    const struct catalog_model *c = model_catalog(m);
    struct picture_request *q = &w->q;
    if (*w->ratio) {
        int64_t width = 0, height = 0;
        f->param = "aspect_ratio";
        if (!picture_size_for_ratio(m, w->ratio, &width, &height))
            return err_set(&f->err, ERR_REQUEST, "aspect_ratio %s is not possible with this model", w->ratio);
        /* Sizes are rounded to what networks take: beside the model's own for this ratio, any as near to it as those are. */
        int a = 1, b = 1;
        sscanf(w->ratio, "%d:%d", &a, &b);
        bool agrees = !q->width || (q->width == width && q->height == height) ||
                      fabs(log((double)q->width * b / ((double)q->height * a))) < 0.03;
        if (!agrees) {
            return err_set(&f->err, ERR_REQUEST, "aspect_ratio %s contradicts %s %lldx%lld", w->ratio,
                           *w->asked_size ? "size" : "width and height", (long long)q->width,
                           (long long)q->height);
        }
        f->param = NULL;
        if (!q->width) {
            q->width = width;
            q->height = height;
        }
    }
    if (w->style == PICTURES_OPENAI && *w->asked_size && c && c->sizes.n && !has_size(m, w->asked_size)) {
        for (size_t i = 0; i < sizeof mapped / sizeof *mapped; i++) {
            if (strcmp(mapped[i].from, w->asked_size) != 0) continue;
            char to[32];
            snprintf(to, sizeof to, "%dx%d", mapped[i].w, mapped[i].h);
            if (!has_size(m, to)) break;
            q->width = mapped[i].w;
            q->height = mapped[i].h;
        }
    }
    /* hd and low are step counts of a model that takes some thirty; a four-step model has no such thing. */
    bool long_way = !c || !c->steps || c->steps >= 20;
    bool better = !strcmp(w->quality, "hd") || !strcmp(w->quality, "high"), less = !strcmp(w->quality, "low");
    if ((better || less) && long_way) {
        if (!q->steps) q->steps = better ? 35 : 20;
        if (q->guidance < 0 && better) q->guidance = 4.0;
    }
    return true;
}

bool picture_wire_accept(struct picture_wire *w, const char *accept, const char *inside_json)
{
    static const struct {
        const char *type;
        enum picture_answer answer;
        enum image_format format;
    } offers[] = {
        { "image/png", ANSWER_BYTES, IMAGE_PNG },       { "image/jpeg", ANSWER_BYTES, IMAGE_JPEG },
        { "image/jpg", ANSWER_BYTES, IMAGE_JPEG },      { "image/webp", ANSWER_BYTES, IMAGE_WEBP },
        { "application/json", ANSWER_JSON, IMAGE_PNG }, { "application/*", ANSWER_JSON, IMAGE_PNG },
        { "image/*", ANSWER_BYTES, IMAGE_PNG },         { "*/*", ANSWER_BYTES, IMAGE_PNG }
    };
    double best = 0;
    bool found = false;
    if (!accept || !*accept) return true;
    for (const char *s = accept; *s;) {
        s += strspn(s, ", \t");
        size_t n = strcspn(s, ","), type = strcspn(s, ",; \t");
        const char *q = memmem(s, n, "q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
            if (strlen(offers[i].type) != type || strncasecmp(offers[i].type, s, type) != 0 || weight <= best)
                continue;
            best = weight;
            found = true;
            w->answer = offers[i].answer;
            w->q.format = offers[i].format;
        }
        for (size_t i = 0; i < sizeof offers / sizeof *offers && weight > 0; i++) {
            if (strlen(offers[i].type) != type || strncasecmp(offers[i].type, s, type) != 0 ||
                offers[i].answer != ANSWER_BYTES)
                continue;
            w->accepts |= offers[i].type[type - 1] == '*' ? ~0u : 1u << offers[i].format;
        }
        s += n;
    }
    if (w->answer == ANSWER_JSON && inside_json && !strcasecmp(inside_json, "image/jpeg"))
        w->q.format = IMAGE_JPEG;
    return found;
}
