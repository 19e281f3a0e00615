/* openai_pictures.c - /images/generations, /images/edits and /images/variations, with the GPT image models' stream, and the names that
 * other services' clients send there. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/dialects/cost.h"
#include "http/dialects/picture_enhance.h"
#include "http/json_out.h"

/* ---- fields ------------------------------------------------------------------------------------------------ */

static bool take_size(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    const struct picture_named *named = s ? picture_size_named(s) : NULL;
    int w, h;
    if (!s) return picture_bad(a, "must be a string such as 1024x1024");
    if (named) return picture_size(a, named->width, named->height);
    if (!strcmp(s, "auto")) return true;
    if (!picture_pixels(s, &w, &h)) return picture_bad(a, "must be WIDTHxHEIGHT, got \"%.40s\"", s);
    snprintf(a->w->asked_size, sizeof a->w->asked_size, "%dx%d", w, h);
    return picture_size(a, w, h);
}

static bool take_response_format(struct picture_value *a)
{
    static const char *const words[] = { "url", "b64_json", NULL };
    int i;
    if (!picture_word(a, words, &i)) return false;
    a->w->answer = i ? ANSWER_B64 : ANSWER_URL;
    a->w->has_answer = true;
    return true;
}

static bool take_compression(struct picture_value *a)
{
    int64_t v = 0;
    if (!picture_int(a, &v)) return false;
    a->w->compression = (int)v;
    a->w->q.quality = v < 1 ? 1 : (int)v;
    return true;
}

static bool take_quality(struct picture_value *a)
{
    static const char *const words[] = { "auto", "standard", "hd", "low", "medium", "high", NULL };
    int i;
    if (!picture_word(a, words, &i)) return false;
    snprintf(a->w->quality, sizeof a->w->quality, "%s", words[i]);
    return true;
}

static bool take_style(struct picture_value *a)
{
    static const char *const words[] = { "vivid", "natural", NULL };
    int i;
    return picture_word(a, words, &i);
}

static bool take_background(struct picture_value *a)
{
    static const char *const words[] = { "opaque", "auto", NULL };
    int i;
    return picture_word(a, words, &i);
}

static bool take_moderation(struct picture_value *a)
{
    static const char *const words[] = { "auto", "low", NULL };
    int i;
    return picture_word(a, words, &i); /* the server's own policy counts */
}

static bool take_fidelity(struct picture_value *a)
{
    static const char *const words[] = { "low", "high", NULL };
    int i;
    return picture_word(a, words, &i); /* the picture is always looked at as closely */
}

static bool take_stream(struct picture_value *a)
{
    if (!picture_flag(a, &a->w->stream)) return false;
    a->w->q.previews = a->w->stream;
    return true;
}

static bool take_partial(struct picture_value *a)
{
    int64_t n = 0;
    if (!picture_int(a, &n)) return false;
    a->w->partial = (int)n;
    return true;
}

static bool take_left(struct picture_value *a) { return picture_int(a, &a->w->q.expand_left); }
static bool take_right(struct picture_value *a) { return picture_int(a, &a->w->q.expand_right); }
static bool take_top(struct picture_value *a) { return picture_int(a, &a->w->q.expand_top); }
static bool take_bottom(struct picture_value *a) { return picture_int(a, &a->w->q.expand_bottom); }

/* In a JSON body: a data URL, alone or in a list of one. */
static bool take_image(struct picture_value *a)
{
    const json_t *v = json_array_size(a->v) == 1 ? json_array_get(a->v, 0) : a->v;
    const char *s = json_string_value(v);
    if (a->w->task == PICTURE_GENERATE)
        return picture_bad(
            a, "is not taken here; /v1/images/edits and /v1/images/variations start from a picture");
    if (!s || strncmp(s, "data:image/", 11) != 0)
        return picture_bad(a, "must be a data URL, as data:image/png;base64,..., or a file in a form");
    return picture_input(a->w, s, json_string_length(v), a->name, a->f);
}

static const struct picture_field fields[] = {
    PICTURE_FIELD("prompt", "text 1..32000", picture_field_prompt),
    PICTURE_FIELD("model", "text", picture_field_model),
    PICTURE_FIELD("negative_prompt", "text", picture_field_negative),
    PICTURE_FIELD("n", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("samples", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("num_images", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("size", "text", take_size),
    PICTURE_FIELD("image_size", "text", take_size),
    PICTURE_FIELD("width", "int 8..16384|text", picture_field_width),
    PICTURE_FIELD("height", "int 8..16384|text", picture_field_height),
    PICTURE_FIELD("aspect_ratio", "text", picture_field_ratio),
    PICTURE_FIELD("steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("num_inference_steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("guidance_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("cfg_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("seed", "int -1..|text", picture_field_seed),
    PICTURE_FIELD("response_format", "'url'|'b64_json'", take_response_format),
    PICTURE_FIELD("output_format", "'png'|'jpeg'|'webp'|'jpg'|'PNG'|'JPEG'|'WEBP'", picture_field_format),
    PICTURE_FIELD("output_compression", "int 0..100|text", take_compression),
    PICTURE_FIELD("quality", "'auto'|'standard'|'hd'|'low'|'medium'|'high'", take_quality),
    PICTURE_FIELD("style", "'vivid'|'natural'", take_style),
    PICTURE_FIELD("background", "'opaque'|'auto'", take_background),
    PICTURE_FIELD("moderation", "'auto'|'low'", take_moderation),
    PICTURE_FIELD("input_fidelity", "'low'|'high'", take_fidelity),
    PICTURE_FIELD("user", "text", picture_field_any_text),
    PICTURE_FIELD("stream", "bool|text", take_stream),
    PICTURE_FIELD("partial_images", "int 0..3|text", take_partial),
    PICTURE_FIELD("sampler", "text", picture_field_sampler),
    PICTURE_FIELD("strength", "num 0.001..1|text", picture_field_strength),
    PICTURE_FIELD("image_strength", "num 0..100|text", picture_field_image_strength),
    PICTURE_FIELD("expand_left", "int 0..8192|text", take_left),
    PICTURE_FIELD("expand_right", "int 0..8192|text", take_right),
    PICTURE_FIELD("expand_top", "int 0..8192|text", take_top),
    PICTURE_FIELD("expand_bottom", "int 0..8192|text", take_bottom),
    PICTURE_FIELD("clip_skip", "int 0..11|text", picture_field_clip_skip),
    PICTURE_FIELD("safety_check", "bool|text", picture_field_safety),
    PICTURE_FIELD("enable_safety_checker", "bool|text", picture_field_safety),
    PICTURE_FIELD("loras", "text|[any] ..16", picture_field_loras),
    PICTURE_FIELD("image", "text|[text] 1..1", take_image),
    PICTURE_FIELD("enhance", "any", picture_field_enhance),
};

/* What the GPT image models have of their own, under their names here too; and the transparency of a picture to be edited. */
static bool check(struct picture_wire *w, struct fault *f)
{
    const char *model = w->q.model ? w->q.model : "";
    if (w->partial > 0 && !w->stream)
        return picture_wire_bad(w, f, "partial_images", "partial_images above 0 needs stream: true");
    w->gpt = !strncmp(model, "gpt-image-", 10) || !strncmp(model, "chatgpt-image-", 14);
    w->revises = !strcmp(model, "dall-e-3");
    if (w->gpt && w->has_answer && w->answer == ANSWER_URL) {
        return picture_wire_bad(w, f, "response_format",
                                "response_format url is not for %.40s, which always answers b64_json", model);
    }
    if (w->gpt) w->answer = ANSWER_B64;
    if (w->compression >= 0 && w->compression < 100 && w->q.format == IMAGE_PNG) {
        return picture_wire_bad(
            w, f, "output_compression",
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

static bool has_size(const struct catalog_model *c, const char *size)
{
    for (int i = 0; c && i < c->sizes.n; i++) {
        if (!strcmp(c->sizes.v[i], size)) return true;
    }
    return false;
}

static void resolve(struct picture_wire *w, const struct model *m)
{
    /* DALL-E's and gpt-image's names, mapped as the services' own migration guide does. */
    static const struct {
        const char *from;
        int w, h;
    } mapped[] = { { "256x256", 640, 640 },    { "512x512", 640, 640 },    { "1792x1024", 1344, 768 },
                   { "1024x1792", 768, 1344 }, { "1536x1024", 1248, 832 }, { "1024x1536", 832, 1248 } };
    const struct catalog_model *c = model_catalog(m);
    struct picture_request *q = &w->q;
    if (*w->asked_size && c && c->sizes.n && !has_size(c, w->asked_size)) {
        for (size_t i = 0; i < sizeof mapped / sizeof *mapped; i++) {
            if (strcmp(mapped[i].from, w->asked_size) != 0) continue;
            char to[32];
            snprintf(to, sizeof to, "%dx%d", mapped[i].w, mapped[i].h);
            if (!has_size(c, to)) break;
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
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

static const char *format_name(const struct picture_wire *w) { return image_format_mime(w->q.format) + 6; }

/* Nothing is billed by tokens here; clients count on the members. */
static void put_usage(struct buf *b, const struct price *price, const struct usage *u)
{
    buf_puts(
        b, ",\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"total_tokens\":0,\"input_tokens_details\":{"
           "\"text_tokens\":0,\"image_tokens\":0}");
    cost_put(b, price, u);
    buf_putc(b, '}');
}

/* What the GPT image models say beside the pictures. */
static void put_gpt_facts(const struct picture_reply *r, struct buf *b)
{
    const char *q = r->wire->quality;
    bool high = !strcmp(q, "high") || !strcmp(q, "hd");
    buf_printf(b, ",\"background\":\"opaque\",\"output_format\":\"%s\",\"quality\":\"%s\",\"size\":\"%dx%d\"",
               format_name(r->wire),
               high                ? "high"
               : !strcmp(q, "low") ? "low"
                                   : "medium",
               r->picture[0].is.width, r->picture[0].is.height);
}

static void print(struct buf *b, const struct picture_reply *r)
{
    buf_printf(b, "{\"created\":%lld,\"data\":[", (long long)time(NULL));
    for (int i = 0; i < r->n; i++) {
        const struct picture_file *p = &r->picture[i];
        buf_puts(b, i ? ",{" : "{");
        if (r->wire->answer == ANSWER_URL) {
            buf_puts(b, "\"url\":");
            json_out_cstr(b, p->url);
        } else {
            buf_puts(b, "\"b64_json\":\"");
            json_out_base64(b, p->is.bytes, p->is.len);
            buf_putc(b, '"');
        }
        picture_enhance_print(b, r->wire);
        if (r->wire->revises && !r->wire->enhance.wanted) {
            buf_puts(b, ",\"revised_prompt\":");
            json_out_cstr(b, r->wire->q.prompt);
        }
        buf_printf(b, ",\"seed\":%llu", (unsigned long long)p->is.seed);
        if (p->is.nsfw) buf_printf(b, ",\"nsfw\":true,\"filtered\":%s", p->is.filtered ? "true" : "false");
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
    if (r->wire->gpt) put_gpt_facts(r, b);
    if (r->wire->gpt || r->price) put_usage(b, r->price, &r->usage);
    buf_putc(b, '}');
}

/* ---- a stream ---------------------------------------------------------------------------------------------- */

static void open_event(struct buf *b, const struct picture_reply *r, const char *what)
{
    const char *family = r->wire->task == PICTURE_GENERATE ? "image_generation" : "image_edit";
    buf_printf(b, "event: %s.%s\ndata: {\"type\":\"%s.%s\"", family, what, family, what);
}

/* Which preview the event of a step is, from 0; below 0: none, for the client wants fewer and gets them evenly spread. */
static int partial_index(int n, int step, int steps)
{
    if (n < 0 || n >= steps || steps < 1) return step - 1;
    int now = step * n / steps, before = (step - 1) * n / steps;
    return now > before ? now - 1 : -1;
}

static void print_progress(struct buf *b, const struct picture_reply *r, const struct reply_event *ev)
{
    const struct reply_picture *p = &ev->picture;
    int partial = partial_index(r->wire->partial, p->step, p->steps);
    if (partial < 0) return;
    open_event(b, r, "partial_image");
    buf_printf(
        b,
        ",\"index\":%d,\"partial_image_index\":%d,\"step\":%d,\"steps\":%d,\"created_at\":%lld,\"size\":"
        "\"%dx%d\""
        ",\"quality\":\"auto\",\"background\":\"opaque\",\"output_format\":\"jpeg\",\"b64_json\":\"",
        ev->index, partial, p->step, p->steps, (long long)time(NULL), r->facts->width, r->facts->height);
    if (p->bytes) json_out_base64(b, p->bytes, p->len);
    buf_puts(b, "\"}\n\n");
}

static void print_picture(struct buf *b, const struct picture_reply *r, int index)
{
    const struct picture_file *p = &r->picture[index];
    open_event(b, r, "completed");
    buf_printf(b,
               ",\"index\":%d,\"created_at\":%lld,\"size\":\"%dx%d\",\"quality\":\"auto\",\"background\":"
               "\"opaque\",\"output_format\":\"%s\",\"seed\":%llu",
               index, (long long)time(NULL), p->is.width, p->is.height, format_name(r->wire),
               (unsigned long long)p->is.seed);
    put_usage(b, r->price, &(struct usage){ .pictures = 1, .steps = p->steps });
    picture_enhance_print(b, r->wire);
    if (r->wire->answer == ANSWER_URL) {
        buf_puts(b, ",\"url\":");
        json_out_cstr(b, p->url);
    }
    buf_puts(b, ",\"b64_json\":\"");
    json_out_base64(b, p->is.bytes, p->is.len);
    buf_puts(b, "\"}\n\n");
}

static void print_done(struct buf *b, const struct picture_reply *r)
{
    (void)r;
    buf_puts(b, "data: [DONE]\n\n");
}

static void print_fault(struct buf *b, enum fault_kind kind, const char *message)
{
    buf_puts(b, "event: error\ndata: ");
    fault_print(b, DIALECT_OPENAI, kind, NULL, message);
    buf_puts(b, "\n\n");
}

const struct picture_dialect openai_pictures = {
    .fields = JSON_TABLE(fields, picture_field_take),
    .answer = ANSWER_URL,
    .format = IMAGE_PNG,
    .wordless = true,
    .bad = { "", " " },
    .prompt_missing = "prompt is required",
    .check = check,
    .resolve = resolve,
    .print = print,
    .print_progress = print_progress,
    .print_picture = print_picture,
    .print_done = print_done,
    .print_fault = print_fault,
};
