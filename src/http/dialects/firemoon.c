/* firemoon.c - Firemoon's API: /api/v1/flux/MODEL draws, and pages below /api/v1 say what there is. */
#include "http/dialects/firemoon.h"

#include <stdio.h>
#include <string.h>

#include "http/dialects/picture_fields.h"
#include "http/json_out.h"
#include "http/shape.h"

/* ---- what there is ----------------------------------------------------------------------------------------- */

static const struct {
    const char *id, *provider, *model, *name; /* the id is the catalog's, which has the defaults */
} models[] = {
    { "flux/dev", "flux", "dev", "FLUX.1 [dev]" },
    { "flux/schnell", "flux", "schnell", "FLUX.1 [schnell]" },
};
static const struct {
    const char *id, *name, *type;
} providers[] = { { "flux", "FLUX", "image" } };
enum { N_MODELS = sizeof models / sizeof *models, N_PROVIDERS = sizeof providers / sizeof *providers };

static int find_model(const char *path)
{
    for (int i = 0; i < N_MODELS; i++)
        if (!strcmp(models[i].id, path)) return i;
    return -1;
}

const char *firemoon_model(const char *path)
{
    int i = find_model(path);
    return i < 0 ? NULL : models[i].id;
}

static void print_index(struct buf *b)
{
    buf_puts(b, "{\"name\":\"hearth\",\"version\":\"v1\",\"endpoints\":[");
    for (int i = 0; i < N_MODELS; i++)
        buf_printf(b, "{\"method\":\"POST\",\"path\":\"/api/v1/%s\",\"description\":\"Draw with %s\"},",
                   models[i].id, models[i].name);
    buf_puts(b, "{\"method\":\"GET\",\"path\":\"/api/v1/providers\",\"description\":\"Providers and their "
                "models\"}]}");
}

static void print_providers(struct buf *b)
{
    buf_puts(b, "{\"providers\":[");
    for (int p = 0; p < N_PROVIDERS; p++) {
        int n = 0;
        buf_printf(b, "%s{\"id\":\"%s\",\"name\":\"%s\",\"type\":\"%s\",\"models\":[", p ? "," : "",
                   providers[p].id, providers[p].name, providers[p].type);
        for (int i = 0; i < N_MODELS; i++) {
            if (!strcmp(models[i].provider, providers[p].id))
                buf_printf(b, "%s\"%s\"", n++ ? "," : "", models[i].model);
        }
        buf_puts(b, "]}");
    }
    buf_puts(b, "]}");
}

static void print_models(struct buf *b, const char *provider)
{
    int n = 0;
    buf_printf(b, "{\"provider\":\"%s\",\"models\":[", provider);
    for (int i = 0; i < N_MODELS; i++) {
        if (strcmp(models[i].provider, provider) != 0) continue;
        buf_printf(b, "%s{\"id\":\"%s\",\"name\":\"%s\",\"endpoint\":\"/api/v1/%s\"}", n++ ? "," : "",
                   models[i].id, models[i].name, models[i].id);
    }
    buf_puts(b, "]}");
}

struct range {
    double min, max;
};
struct ranges {
    struct range prompt, n, guidance, steps;
};

static struct range range_of(const char *field)
{
    const struct json_table *t = &firemoon_pictures.fields;
    struct range r = { 0, 0 };
    for (size_t i = 0; i < t->n; i++) {
        const struct json_member *m = (const void *)((const char *)t->rows + i * t->size);
        if (!strcmp(m->name, field)) shape_range(m->shape, &r.min, &r.max);
    }
    return r;
}

static void print_schema(struct buf *b, int i, const struct catalog_model *c)
{
    const struct ranges r = { range_of("prompt"), range_of("num_images"), range_of("guidance_scale"),
                              range_of("num_inference_steps") };
    buf_printf(b,
               "{\"id\":\"%s\",\"provider\":\"%s\",\"model\":\"%s\",\"name\":\"%s\",\"type\":\"image\","
               "\"endpoint\":\"/api/v1/%s\",\"input_schema\":{\"type\":\"object\",\"required\":[\"prompt\"],"
               "\"additionalProperties\":false,\"properties\":{"
               "\"prompt\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":%d},"
               "\"num_images\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":%d,\"default\":1},"
               "\"image_size\":{\"type\":\"string\",\"default\":\"landscape_4_3\",\"enum\":[",
               models[i].id, models[i].provider, models[i].model, models[i].name, models[i].id,
               (int)r.prompt.max, (int)r.n.max);
    for (const struct picture_named *n = picture_named_sizes; n->name; n++)
        buf_printf(b, "%s\"%s\"", n == picture_named_sizes ? "" : ",", n->name);
    buf_printf(b,
               "]},\"guidance_scale\":{\"type\":\"number\",\"minimum\":%g,\"maximum\":%g,\"default\":3.5},"
               "\"num_inference_steps\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":%d,\"default\":%lld},"
               "\"seed\":{\"type\":\"integer\"}}}}",
               r.guidance.min, r.guidance.max, (int)r.steps.max, (long long)c->steps);
}

bool firemoon_page(struct buf *b, const char *path, const struct catalog *c)
{
    char of_provider[60];
    int i = find_model(path);
    const struct catalog_model *known = i < 0 ? NULL : catalog_find(c, path);
    if (known) {
        print_schema(b, i, known);
        return true;
    }
    if (!*path) {
        print_index(b);
        return true;
    }
    if (!strcmp(path, "providers")) {
        print_providers(b);
        return true;
    }
    for (int p = 0; p < N_PROVIDERS; p++) {
        snprintf(of_provider, sizeof of_provider, "providers/%s/models", providers[p].id);
        if (strcmp(path, of_provider) != 0) continue;
        print_models(b, providers[p].id);
        return true;
    }
    return false;
}

/* ---- fields ------------------------------------------------------------------------------------------------ */

static bool take_size(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    const struct picture_named *named = s ? picture_size_named(s) : NULL;
    int w, h;
    if (!s) return picture_bad(a, "must be a string such as 1024x1024");
    if (named) return picture_size(a, named->width, named->height);
    if (picture_pixels(s, &w, &h))
        return picture_size(a, w, h); /* as its JavaScript client passes a size on */
    struct buf list = BUF_INIT(200);
    for (const struct picture_named *n = picture_named_sizes; n->name; n++)
        buf_printf(&list, "%s%s", n == picture_named_sizes ? "" : ", ", n->name);
    picture_bad(a, "must be one of [%s]", list.data ? list.data : "");
    buf_free(&list);
    return false;
}

static bool take_lora_scale(struct picture_value *a)
{
    double d;
    return picture_num(a, &d); /* without effect: no adapter is named here */
}

static const struct picture_field fields[] = {
    PICTURE_FIELD("prompt", "text 1..1000", picture_field_prompt),
    PICTURE_FIELD("negative_prompt", "text", picture_field_negative),
    PICTURE_FIELD("num_images", "int 1..4|text", picture_field_n),
    PICTURE_FIELD("image_size", "text", take_size),
    PICTURE_FIELD("num_inference_steps", "int 1..50|text", picture_field_steps),
    PICTURE_FIELD("guidance_scale", "num 1..20|text", picture_field_guidance),
    PICTURE_FIELD("seed", "int -1..|text", picture_field_seed),
    PICTURE_FIELD("output_format", "'png'|'jpeg'|'webp'|'jpg'|'PNG'|'JPEG'|'WEBP'", picture_field_format),
    PICTURE_FIELD("enable_safety_checker", "bool|text", picture_field_safety),
    PICTURE_FIELD("lora_scale", "num -100..100|text", take_lora_scale),
};

/* ---- answers ----------------------------------------------------------------------------------------------- */

/* No further top-level keys: a documented client builds a fixed structure from them. */
static void print(struct buf *b, const struct picture_reply *r)
{
    buf_puts(b, "{\"images\":[");
    for (int i = 0; i < r->n; i++) {
        const struct picture_file *p = &r->picture[i];
        buf_puts(b, i ? ",{\"url\":" : "{\"url\":");
        json_out_cstr(b, p->url);
        buf_printf(b, ",\"width\":%d,\"height\":%d,\"content_type\":\"%s\"}", p->is.width, p->is.height,
                   image_format_mime(r->wire->q.format));
    }
    buf_printf(b, "],\"seed\":%llu,\"has_nsfw_concepts\":[", (unsigned long long)r->facts->seed);
    for (int i = 0; i < r->n; i++)
        buf_printf(b, "%s%s", i ? "," : "", r->picture[i].is.nsfw ? "true" : "false");
    buf_printf(b, "],\"timings\":{\"inference\":%.3f}}", r->usage.total_s - r->usage.queue_s);
}

static void print_refusal(struct buf *b, const struct picture_wire *w, const char *message)
{
    struct buf one = BUF_INIT(4096);
    if (!w->n_faults) json_out_cstr(&one, message);
    const char *list = w->n_faults ? w->faults.data : one.data ? one.data : "";
    buf_puts(b, "{\"error\":\"Invalid input\",\"message\":");
    json_out_cstr(b, w->n_faults ? "Input validation failed" : message);
    buf_printf(b, ",\"errors\":[%s],\"details\":{\"errors\":[%s]}}", list, list);
    buf_free(&one);
}

const struct picture_dialect firemoon_pictures = {
    .fields = JSON_TABLE(fields, picture_field_take),
    .answer = ANSWER_URL,
    .format = IMAGE_JPEG,
    .lists_faults = true,
    .bad = { "Invalid value for ", ": " },
    .prompt_missing = "Missing required field: prompt",
    .print = print,
    .print_refusal = print_refusal,
};
