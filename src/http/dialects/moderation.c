/* moderation.c - see moderation.h. input is a string, an array of strings (a result each), or an array of parts, texts and pictures, which have one
 * result together. */
#include "http/dialects/moderation.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/dialects/fields.h"
#include "http/json_in.h"
#include "http/json_out.h"

static bool bad(struct fault *f, const char *where, const char *what)
{
    f->param = "input";
    return err_set(&f->err, ERR_REQUEST, "%s%s", where, what);
}

static bool read_model(struct moderation *m, const json_t *v, struct fault *f)
{
    static const char *const names[] = { "omni-moderation-latest", "omni-moderation-2024-09-26",
                                         "text-moderation-latest", "text-moderation-stable",
                                         "text-moderation-007" };
    const char *name = names[0];
    if (v && !json_is_null(v) && !json_in_str(v, "model", &name, f)) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        m->model = names[i];
        m->old = i >= 2;
        return true;
    }
    f->param = "model";
    return err_set(&f->err, ERR_NOT_FOUND,
                   "there is no moderation model \"%.60s\"; omni-moderation-latest is one", name);
}

static bool read_data(struct moderation_input *in, const char *url, const char *where, struct fault *f)
{
    const char *comma = strchr(url, ',');
    if (!comma || comma - url < 7 || strncasecmp(comma - 7, ";base64", 7) != 0)
        return bad(f, where, "a data URL must be data:image/png;base64,...");
    const size_t n = strlen(comma + 1), room = n / 4 * 3 + 3;
    if (room > REQUEST_PICTURE_BYTES) return bad(f, where, "the picture's file is too large");
    in->bytes = malloc(room);
    if (!in->bytes) return err_set(&f->err, ERR_NOMEM, "out of memory");
    if (sodium_base642bin(in->bytes, room, comma + 1, n, "\r\n ", &in->n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        !in->n)
        return bad(f, where, "the data URL is not base64");
    return true;
}

static bool read_part(struct moderation *m, struct moderation_input *in, const json_t *part, size_t i,
                      bool strict, struct fault *f)
{
    char where[40];
    const char *type = json_string_value(json_object_get(part, "type"));
    snprintf(where, sizeof where, "input[%zu].", i);
    if (!type) return bad(f, where, "type is required: text or image_url");
    if (!strcmp(type, "text")) {
        const json_t *text = json_object_get(part, "text");
        if (!json_in_members(part, "type text", where, strict, "input", f)) return false;
        if (!json_is_string(text)) return bad(f, where, "text must be a string");
        in->text = json_string_value(text);
        in->len = json_string_length(text);
        m->result->text = true;
        return true;
    }
    if (strcmp(type, "image_url") != 0) return bad(f, where, "type must be text or image_url");
    if (m->old) return bad(f, where, "this model takes text alone; omni-moderation-latest takes pictures");
    const json_t *o = json_object_get(part, "image_url"), *url = json_object_get(o, "url");
    if (!json_in_members(part, "type image_url", where, strict, "input", f) ||
        !json_in_members(o, "url detail", where, strict, "input", f))
        return false;
    if (!json_is_string(url)) return bad(f, where, "image_url must be {\"url\": ...}");
    m->result->picture = true;
    if (!strncasecmp(json_string_value(url), "data:", 5))
        return read_data(in, json_string_value(url), where, f);
    in->url = json_string_value(url);
    return true;
}

static bool read_inputs(struct moderation *m, const json_t *input, bool strict, struct fault *f)
{
    const size_t n = json_is_array(input) ? json_array_size(input) : 1;
    const bool parts = json_is_array(input) && json_is_object(json_array_get(input, 0));
    int pictures = 0;
    if (!n || n > MODERATION_INPUTS) return bad(f, "", "input must have from 1 to 2048 items");
    m->input = calloc(n, sizeof *m->input);
    m->result = calloc(parts ? 1 : n, sizeof *m->result);
    if (!m->input || !m->result) return err_set(&f->err, ERR_NOMEM, "out of memory");
    m->n_results = parts ? 1 : (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_is_array(input) ? json_array_get(input, i) : input;
        struct moderation_input *in = &m->input[m->n_inputs++];
        if (parts ? !json_is_object(v) : !json_is_string(v))
            return bad(f, "", "input must be a string, an array of strings, or an array of parts");
        if (parts) {
            if (!read_part(m, in, v, i, strict, f)) return false;
            if (!in->text && ++pictures > MODERATION_PICTURES)
                return bad(f, "", "input has more than 30 pictures");
            continue;
        }
        in->text = json_string_value(v);
        in->len = json_string_length(v);
        in->result = (int)i;
        m->result[i].text = true;
    }
    return true;
}

/* Read one by one behind this, which knows their names. */
static bool take_any(void *reader, const void *row, const json_t *v, struct fault *f)
{
    (void)reader, (void)row, (void)v, (void)f;
    return true;
}
static const struct json_member fields[] = { { "input", 1, "!text|[any]" }, { "model", 1, "text" } };
const struct json_table moderation_fields = JSON_TABLE(fields, take_any);

bool moderation_read(struct moderation *m, const json_t *body, bool strict, struct fault *f)
{
    const json_t *input = json_object_get(body, "input");
    *m = (struct moderation){ 0 };
    const struct json_place place = { .path = "", .form = FIELDS_ALL, .strict = strict };
    if (!json_in_object(&moderation_fields, &place, NULL, body, f)) return false;
    if (!input || json_is_null(input)) return bad(f, "", "input is required");
    if (read_model(m, json_object_get(body, "model"), f) && read_inputs(m, input, strict, f)) return true;
    moderation_free(m);
    return false;
}

void moderation_free(struct moderation *m)
{
    for (int i = 0; i < m->n_inputs; i++) free(m->input[i].bytes);
    free(m->input);
    free(m->result);
    *m = (struct moderation){ 0 };
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

enum member { FLAGGED, SCORE, APPLIED };

static void print_members(struct buf *b, const struct moderation *m, const struct moderation_result *r,
                          enum member what)
{
    bool first = true;
    for (int k = 0; k < N_CATEGORIES; k++) {
        if (m->old && !strncmp(safety_categories[k], "illicit", 7)) continue;
        buf_printf(b, "%s\"%s\":", first ? "" : ",", safety_categories[k]);
        first = false;
        const double score = r->text_score[k] > r->picture_score[k] ? r->text_score[k] : r->picture_score[k];
        /* The classifier knows of one category. */
        const bool seen = r->picture && !strcmp(safety_categories[k], "sexual");
        if (what == FLAGGED)
            buf_puts(b, r->flagged[k] ? "true" : "false");
        else if (what == SCORE)
            json_out_num(b, score);
        else
            buf_printf(b, "[%s%s%s]", r->text ? "\"text\"" : "", r->text && seen ? "," : "",
                       seen ? "\"image\"" : "");
    }
}

void moderation_print(struct buf *b, const struct moderation *m, const char *id)
{
    buf_puts(b, "{\"id\":");
    json_out_cstr(b, id);
    buf_puts(b, ",\"model\":");
    json_out_cstr(b, m->model);
    buf_puts(b, ",\"results\":[");
    for (int i = 0; i < m->n_results; i++) {
        const struct moderation_result *r = &m->result[i];
        bool any = false;
        for (int k = 0; k < N_CATEGORIES; k++) any |= r->flagged[k];
        buf_printf(b, "%s{\"flagged\":%s,\"categories\":{", i ? "," : "", any ? "true" : "false");
        print_members(b, m, r, FLAGGED);
        buf_puts(b, "},\"category_scores\":{");
        print_members(b, m, r, SCORE);
        if (!m->old) {
            buf_puts(b, "},\"category_applied_input_types\":{");
            print_members(b, m, r, APPLIED);
        }
        buf_puts(b, "}}");
    }
    buf_puts(b, "]}");
}
