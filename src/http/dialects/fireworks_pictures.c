/* fireworks_pictures.c - Fireworks' two image APIs: the FLUX workflows, and /image_generation of the SDXL family. Both answer with a
 * picture's bytes, or with JSON, as the Accept header says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/dialects/picture_enhance.h"
#include "http/json_out.h"

/* ---- fields ------------------------------------------------------------------------------------------------ */

static bool take_schedule_start(struct picture_value *a) { return picture_num(a, &a->w->schedule_start); }

static bool take_schedule_end(struct picture_value *a)
{
    double d = 0;
    return picture_num(a, &d) && (d == 1 || picture_bad(a, "other than 1 is not offered by this server"));
}

static bool take_init_mode(struct picture_value *a)
{
    static const char *const words[] = { "IMAGE_STRENGTH", "STEP_SCHEDULE", NULL };
    int i;
    if (!picture_word(a, words, &i)) return false;
    a->w->by_schedule = i == 1;
    return true;
}

static bool take_only_false(struct picture_value *a)
{
    bool b = false;
    if (!picture_flag(a, &b)) return false;
    return !b || picture_field_refuse(a);
}

static bool take_only_empty(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    return (s && !*s) || picture_field_refuse(a);
}

static bool take_lora_name(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    if (!s) return picture_bad(a, "must be a string");
    return !*s || picture_lora(a, s, strlen(s), 1);
}

/* Prompts with weights, of which the sign counts: those below 0 say what not to draw. */
static bool split_prompts(struct picture_value *a, struct buf *yes, struct buf *no)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(a->v)) return picture_bad(a, "must be a list of {text, weight}");
    json_array_foreach(a->v, i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *weight = json_object_get(one, "weight");
        struct buf *b = json_is_number(weight) && json_number_value(weight) < 0 ? no : yes;
        if (!json_in_members(one, "text weight", "text_prompts[].", a->w->strict, a->name, a->f))
            return false;
        if (!text || (weight && !json_is_number(weight)))
            return picture_bad(a, "must be a list of {text, weight}");
        buf_printf(b, "%s%s", b->len ? ", " : "", text);
    }
    return true;
}

static bool take_text_prompts(struct picture_value *a)
{
    struct picture_request *q = &a->w->q;
    struct buf yes = BUF_INIT(65536), no = BUF_INIT(65536);
    bool ok = split_prompts(a, &yes, &no);
    if (ok && yes.len && q->prompt)
        ok = picture_bad(a, "and prompt say both what to draw; one of them is enough");
    if (ok && no.len && q->negative_prompt)
        ok = picture_bad(a, "and negative_prompt say both what to draw; one of them is enough");
    if (ok && yes.len) q->prompt = buf_take(&yes);
    if (ok && no.len) q->negative_prompt = buf_take(&no);
    buf_free(&yes);
    buf_free(&no);
    return ok;
}

static const struct picture_field workflow_fields[] = {
    PICTURE_FIELD("prompt", "text 1..32000", picture_field_prompt),
    PICTURE_FIELD("model", "text", picture_field_model),
    PICTURE_FIELD("negative_prompt", "text", picture_field_negative),
    PICTURE_FIELD("samples", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("width", "int 8..16384|text", picture_field_width),
    PICTURE_FIELD("height", "int 8..16384|text", picture_field_height),
    PICTURE_FIELD("aspect_ratio", "text", picture_field_ratio),
    PICTURE_FIELD("steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("num_inference_steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("guidance_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("cfg_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("seed", "int -1..|text", picture_field_seed),
    PICTURE_FIELD("output_format", "'png'|'jpeg'|'webp'|'jpg'|'PNG'|'JPEG'|'WEBP'", picture_field_format),
    PICTURE_FIELD("user", "text", picture_field_any_text),
    PICTURE_FIELD("sampler", "text", picture_field_sampler),
    PICTURE_FIELD("strength", "num 0.001..1|text", picture_field_strength),
    PICTURE_FIELD("safety_check", "bool|text", picture_field_safety),
    PICTURE_FIELD("loras", "text|[any] ..16", picture_field_loras),
    PICTURE_FIELD("input_image", "none", picture_field_refuse),
    PICTURE_FIELD("enhance", "any", picture_field_enhance),
};

static const struct picture_field sdxl_fields[] = {
    PICTURE_FIELD("prompt", "text 1..32000", picture_field_prompt),
    PICTURE_FIELD("model", "text", picture_field_model),
    PICTURE_FIELD("negative_prompt", "text", picture_field_negative),
    PICTURE_FIELD("text_prompts", "[object]", take_text_prompts),
    PICTURE_FIELD("samples", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("width", "int 8..16384|text", picture_field_width),
    PICTURE_FIELD("height", "int 8..16384|text", picture_field_height),
    PICTURE_FIELD("aspect_ratio", "text", picture_field_ratio),
    PICTURE_FIELD("steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("num_inference_steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("guidance_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("cfg_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("seed", "int -1..|text", picture_field_seed),
    PICTURE_FIELD("output_format", "'png'|'jpeg'|'webp'|'jpg'|'PNG'|'JPEG'|'WEBP'", picture_field_format),
    PICTURE_FIELD("output_image_format", "'png'|'jpeg'|'webp'|'jpg'|'PNG'|'JPEG'|'WEBP'",
                  picture_field_format),
    PICTURE_FIELD("user", "text", picture_field_any_text),
    PICTURE_FIELD("sampler", "text", picture_field_sampler),
    PICTURE_FIELD("image_strength", "num 0..100|text", picture_field_image_strength),
    PICTURE_FIELD("step_schedule_start", "num 0..1|text", take_schedule_start),
    PICTURE_FIELD("step_schedule_end", "num 0..1|text", take_schedule_end),
    PICTURE_FIELD("init_image_mode", "'IMAGE_STRENGTH'|'STEP_SCHEDULE'", take_init_mode),
    PICTURE_FIELD("crop_padding", "bool|text", picture_field_any_flag),
    PICTURE_FIELD("clip_skip", "int 0..11|text", picture_field_clip_skip),
    PICTURE_FIELD("safety_check", "bool|text", picture_field_safety),
    PICTURE_FIELD("style_preset", "none", take_only_empty),
    PICTURE_FIELD("clip_guidance_preset", "text", picture_field_any_text),
    PICTURE_FIELD("apply_invisible_watermark", "bool|text", picture_field_any_flag),
    PICTURE_FIELD("return_latents", "bool|text", take_only_false),
    PICTURE_FIELD("loras", "text|[any] ..16", picture_field_loras),
    PICTURE_FIELD("lora_adapter_name", "text", take_lora_name),
    PICTURE_FIELD("lora_weight_filename", "none", picture_field_refuse),
    PICTURE_FIELD("enhance", "any", picture_field_enhance),
};

static bool check(struct picture_wire *w, struct fault *f)
{
    return w->answer != ANSWER_BYTES || w->q.n <= 1 ||
           picture_wire_bad(w, f, "samples",
                            "samples above 1 needs Accept: application/json: one answer holds one picture");
}

/* ---- what the headers want --------------------------------------------------------------------------------- */

static const struct offer {
    const char *type;
    enum picture_answer answer;
    enum image_format format;
} offers[] = { { "image/png", ANSWER_BYTES, IMAGE_PNG },       { "image/jpeg", ANSWER_BYTES, IMAGE_JPEG },
               { "image/jpg", ANSWER_BYTES, IMAGE_JPEG },      { "image/webp", ANSWER_BYTES, IMAGE_WEBP },
               { "application/json", ANSWER_JSON, IMAGE_PNG }, { "application/*", ANSWER_JSON, IMAGE_PNG },
               { "image/*", ANSWER_BYTES, IMAGE_PNG },         { "*/*", ANSWER_BYTES, IMAGE_PNG } };

static const struct offer *offer_of(const char *type, size_t len)
{
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++)
        if (strlen(offers[i].type) == len && !strncasecmp(offers[i].type, type, len)) return &offers[i];
    return NULL;
}

/* The heaviest of what the client accepts and we have (the first of equals); false: there is nothing. */
static bool take_accept(struct picture_wire *w, const char *accept)
{
    double best = 0;
    bool found = false;
    for (const char *s = accept; *s;) {
        s += strspn(s, ", \t");
        size_t n = strcspn(s, ","), type = strcspn(s, ",; \t");
        const char *q = memmem(s, n, "q=", 2);
        double weight = q ? strtod(q + 2, NULL) : 1;
        const struct offer *o = offer_of(s, type);
        if (o && weight > best) {
            best = weight;
            found = true;
            w->answer = o->answer;
            w->q.format = o->format;
        }
        if (o && weight > 0 && o->answer == ANSWER_BYTES)
            w->accepts |= o->type[type - 1] == '*' ? ~0u : 1u << o->format;
        s += n;
    }
    return found;
}

static enum fault_kind negotiate(struct picture_wire *w, const struct picture_headers *h, struct fault *f)
{
    const char *inside = h->inside_json;
    if (h->accept && *h->accept && !take_accept(w, h->accept)) {
        f->param = "Accept";
        err_set(&f->err, ERR_REQUEST,
                "Accept must allow image/png, image/jpeg, image/webp or application/json");
        return FAULT_ACCEPT;
    }
    if (w->answer == ANSWER_JSON && inside && !strcasecmp(inside, "image/jpeg")) w->q.format = IMAGE_JPEG;
    char *end = NULL;
    long q = h->jpeg_quality ? strtol(h->jpeg_quality, &end, 10) : 90;
    if (h->jpeg_quality && (!*h->jpeg_quality || *end || q < 0 || q > 100)) {
        f->param = "Jpeg-Quality";
        err_set(&f->err, ERR_REQUEST, "Jpeg-Quality must be a whole number from 0 to 100");
        return FAULT_INVALID;
    }
    if (inside && strcasecmp(inside, "image/png") != 0 && strcasecmp(inside, "image/jpeg") != 0) {
        f->param = "Json-Return-Image-Accept";
        err_set(&f->err, ERR_REQUEST, "Json-Return-Image-Accept must be image/png or image/jpeg");
        return FAULT_INVALID;
    }
    w->q.quality = q < 1 ? 1 : (int)q;
    return FAULT_NONE;
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

static const char *finish_reason(const struct picture_file *p)
{
    return p->is.filtered ? "CONTENT_FILTERED" : "SUCCESS";
}

static void headers(const struct picture_reply *r,
                    void (*put)(void *arg, const char *name, const char *value), void *arg)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->picture[0].is.seed);
    put(arg, "Seed", seed);
    put(arg, "Finish-Reason", finish_reason(&r->picture[0]));
}

/* One object, whose pictures are data URIs. */
static void print_workflow(struct buf *b, const struct picture_reply *r)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, r->id);
    buf_puts(b, ",\"base64\":[");
    for (int i = 0; i < r->n; i++) {
        buf_printf(b, "%s\"data:%s;base64,", i ? "," : "", image_format_mime(r->wire->q.format));
        json_out_base64(b, r->picture[i].is.bytes, r->picture[i].is.len);
        buf_putc(b, '"');
    }
    buf_printf(b, "],\"finishReason\":\"%s\",\"seed\":%llu", finish_reason(&r->picture[0]),
               (unsigned long long)r->picture[0].is.seed);
    picture_enhance_print(b, r->wire);
    buf_putc(b, '}');
}

/* An array, also of one. */
static void print_sdxl(struct buf *b, const struct picture_reply *r)
{
    buf_putc(b, '[');
    for (int i = 0; i < r->n; i++) {
        const struct picture_file *p = &r->picture[i];
        buf_puts(b, i ? ",{\"base64\":\"" : "{\"base64\":\"");
        json_out_base64(b, p->is.bytes, p->is.len);
        buf_printf(b, "\",\"finishReason\":\"%s\",\"seed\":%llu", finish_reason(p),
                   (unsigned long long)p->is.seed);
        picture_enhance_print(b, r->wire);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

const struct picture_dialect workflow_pictures = {
    .fields = JSON_TABLE(workflow_fields, picture_field_take),
    .answer = ANSWER_BYTES,
    .format = IMAGE_PNG,
    .any_by_zero = true,
    .bad = { "", " " },
    .prompt_missing = "prompt is required",
    .negotiate = negotiate,
    .check = check,
    .print = print_workflow,
    .headers = headers,
};

const struct picture_dialect sdxl_pictures = {
    .fields = JSON_TABLE(sdxl_fields, picture_field_take),
    .answer = ANSWER_BYTES,
    .format = IMAGE_PNG,
    .any_by_zero = true,
    .bad = { "", " " },
    .prompt_missing = "prompt is required",
    .negotiate = negotiate,
    .check = check,
    .print = print_sdxl,
    .headers = headers,
};
