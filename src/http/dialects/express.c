/* express.c - see express.h. */
#include "http/dialects/express.h"

#include <string.h>

#include "http/dialects/fields.h"
#include "http/dialects/picture_fields.h"
#include "http/json_out.h"

enum { MOST_PROMPT = 1000, JPEG_QUALITY = 90, CHAT_MAX_TOKENS = 1000 };
#define CHAT_TEMPERATURE 0.7

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

/* As JavaScript counts a string: what UTF-8 needs four bytes for is two. */
static size_t utf16_length(const char *s)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)s; *p; p++)
        n += (*p & 0xc0) != 0x80 ? 1 + (*p >= 0xf0) : 0;
    return n;
}

const char *express_generate_refusal(const json_t *body)
{
    const char *prompt = json_string_value(json_object_get(body, "prompt"));
    if (!prompt || !*prompt) return "Valid prompt is required";
    return utf16_length(prompt) > MOST_PROMPT ? "Prompt too long (max 1000 characters)" : NULL;
}

static bool take_size(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    int w, h;
    if (!s || !picture_pixels(s, &w, &h)) return picture_bad(a, "must be a string such as 1024x1024");
    return picture_size(a, w, h);
}

static const struct picture_field fields[] = {
    PICTURE_FIELD("prompt", "text 1..1000", picture_field_prompt),
    PICTURE_FIELD("model", "text", picture_field_model),
    PICTURE_FIELD("size", "text", take_size),
    PICTURE_FIELD("steps", "int 1..1000|text", picture_field_steps),
    PICTURE_FIELD("guidance_scale", "num 0..100|text", picture_field_guidance),
    PICTURE_FIELD("n", "int 1..10|text", picture_field_n),
    PICTURE_FIELD("seed", "int -1..|text", picture_field_seed),
};

static bool check(struct picture_wire *w, struct fault *f)
{
    (void)f;
    w->q.quality = JPEG_QUALITY;
    return true;
}

/* The guide's server sends its defaults with every model that it is asked for. A model that stands for its own, which is not here, is drawn
 * with as it is used to. */
static void resolve(struct picture_wire *w, const struct model *m)
{
    if (!w->q.model && strcmp(model_id(m), EXPRESS_PICTURE_MODEL) != 0) return;
    if (!w->q.width) w->q.width = w->q.height = 1024;
    if (!w->q.steps) w->q.steps = 28;
    if (w->q.guidance < 0) w->q.guidance = 3.5;
}

static void print_pictures(struct buf *b, const struct picture_reply *r)
{
    const struct picture_wire *w = r->wire;
    buf_puts(b, "{\"images\":[");
    for (int i = 0; i < r->n; i++) {
        buf_puts(b, i ? ",{\"b64_json\":\"" : "{\"b64_json\":\"");
        json_out_base64(b, r->picture[i].is.bytes, r->picture[i].is.len);
        buf_puts(b, "\",\"format\":\"jpeg\"}");
    }
    buf_puts(b, "],\"prompt\":");
    json_out_cstr(b, w->q.prompt);
    buf_puts(b, ",\"model\":");
    json_out_cstr(b, w->q.model ? w->q.model : r->facts->model);
    buf_printf(b, ",\"parameters\":{\"size\":\"%dx%d\",\"steps\":%d,\"guidance_scale\":", r->facts->width,
               r->facts->height, r->facts->steps);
    json_out_num(b, r->facts->guidance);
    if (w->q.has_seed) buf_printf(b, ",\"seed\":%llu", (unsigned long long)w->q.seed);
    buf_puts(b, "}}");
}

const struct picture_dialect express_pictures = {
    .fields = JSON_TABLE(fields, picture_field_take),
    .answer = ANSWER_B64,
    .format = IMAGE_JPEG,
    .bad = { "", " " },
    .prompt_missing = "Valid prompt is required",
    .check = check,
    .resolve = resolve,
    .print = print_pictures,
};

/* ---- chat ---------------------------------------------------------------------------------------------------------- */

const char *express_chat_refusal(const json_t *body)
{
    const char *message = json_string_value(json_object_get(body, "message"));
    return message && *message ? NULL : "Invalid message";
}

/* Read one by one behind this, which knows their names. */
static bool take_any(void *reader, const void *row, const json_t *v, struct fault *f)
{
    (void)reader, (void)row, (void)v, (void)f;
    return true;
}
static const struct json_member chat_members[] = { { "message", 1, "!text 1.." }, { "model", 1, "text" } };
const struct json_table express_chat_fields = JSON_TABLE(chat_members, take_any);

bool express_chat(const json_t *body, const char *model, bool strict, json_t **out, struct fault *f)
{
    const json_t *named = json_object_get(body, "model");
    const struct json_place place = { .path = "", .form = FIELDS_ALL, .strict = strict };
    if (!json_in_object(&express_chat_fields, &place, NULL, body, f)) return false;
    if (named && !json_is_null(named) && !json_in_str(named, "model", &model, f)) return false;
    *out = json_pack("{s:s, s:[{s:s, s:O}], s:i, s:f}", "model", model, "messages", "role", "user", "content",
                     json_object_get(body, "message"), "max_tokens", CHAT_MAX_TOKENS, "temperature",
                     CHAT_TEMPERATURE);
    return *out || err_set(&f->err, ERR_NOMEM, "out of memory");
}

/* No reply of this API carries one. */
static void print_id(struct buf *b, bool chat, const unsigned char random[16])
{
    (void)chat;
    (void)random;
    buf_puts(b, "express");
}

static void print_chat(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                       const struct usage *u)
{
    (void)r;
    (void)n;
    (void)u;
    buf_puts(b, "{\"response\":");
    json_out_str(b, choice->text.data ? choice->text.data : "", choice->text.len);
    buf_putc(b, '}');
}

/* It streams nothing. */
static const struct wire_printer printer = { .full = print_chat };

const struct wire_style express_style = {
    .dialect = DIALECT_EXPRESS_CHAT,
    .parse = wire_parse,
    .printer = &printer,
    .chat_max_tokens = CHAT_MAX_TOKENS,
    .overflow = OVERFLOW_LOWER,
    .stop_may_stay = true,
    .thoughts_in_text = true, /* as the service behind the guide's server has them */
    .id = print_id,
};
