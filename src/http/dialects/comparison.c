/* comparison.c - see comparison.h. */
#include "http/dialects/comparison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/dialects/fields.h"
#include "http/json_out.h"

/* ---- the request --------------------------------------------------------------------------------------------------- */

struct reader {
    const char *prompt, *model;
    const json_t *messages, *models, *styles, *candidates, *parameters;
    bool stream, together;
};

enum take { WORD, FLAG, LIST, OBJECT };

#define F(field) offsetof(struct reader, field)
static const struct row {
    struct json_member member;
    enum take take;
    size_t offset;
} rows[] = {
    { { "prompt", 1, "text" }, WORD, F(prompt) },
    { { "messages", 1, "[any] 1.." }, LIST, F(messages) },
    { { "model", 1, "text" }, WORD, F(model) },
    { { "models", 1, "[any] 1.." }, LIST, F(models) },
    { { "styles", 1, "[any] 1.." }, LIST, F(styles) },
    { { "candidates", 1, "[any] 1.." }, LIST, F(candidates) },
    { { "parameters", 1, "object" }, OBJECT, F(parameters) },
    { { "stream", 1, "bool" }, FLAG, F(stream) },
    { { "together", 1, "bool" }, FLAG, F(together) },
};
#undef F

static bool take(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct row *r = row;
    char *at = (char *)reader + r->offset;
    switch (r->take) {
    case WORD: return json_in_str(v, r->member.name, (const char **)at, f);
    case FLAG: return json_in_bool(v, r->member.name, (bool *)at, f);
    case LIST:
        if (!json_array_size(v)) return json_in_bad(v, r->member.name, "an array that is not empty", f);
        break;
    case OBJECT:
        if (!json_is_object(v)) return json_in_bad(v, r->member.name, "an object", f);
        break;
    }
    *(const json_t **)at = v;
    return true;
}

static bool bad(struct fault *f, const char *param, const char *why)
{
    f->param = param;
    return err_set(&f->err, ERR_REQUEST, "%s", why);
}

static bool no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

/* Members that the comparison says for all, or that would make candidates no longer comparable. */
static bool check_members(const json_t *o, const char *param, struct fault *f)
{
    static const char *const ours[] = { "stream", "stream_options", "messages", "prompt", "extra_body" };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (!json_object_get(o, ours[i])) continue;
        f->param = param;
        return err_set(&f->err, ERR_REQUEST, "%s may not have %s: that is said once for all candidates",
                       param, ours[i]);
    }
    return true;
}

/* {"messages": [system, the prompt]} of a text, {"prompt": ...} of a picture, into the request. */
static bool put_prompt(json_t *request, const struct reader *r, bool draws)
{
    if (draws) return !json_object_set_new(request, "prompt", json_string(r->prompt));
    json_t *system = json_incref(json_object_get(request, "system"));
    json_t *messages = r->messages ? json_copy((json_t *)r->messages)
                                   : json_pack("[{s:s, s:s}]", "role", "user", "content", r->prompt);
    bool ok = messages != NULL;
    if (ok && system)
        ok =
            !json_array_insert_new(messages, 0, json_pack("{s:s, s:O}", "role", "system", "content", system));
    json_object_del(request, "system");
    json_decref(system);
    return (!json_object_set_new(request, "messages", messages) && ok) &&
           !json_object_set_new(request, "stream", json_true()) &&
           !json_object_set_new(request, "stream_options", json_pack("{s:b}", "include_usage", 1));
}

/* `style` of a candidate is what pictures are enhanced with. */
static bool put_style(json_t *request, bool draws, struct fault *f)
{
    json_t *style = json_object_get(request, "style");
    if (!style) return true;
    if (!draws)
        return bad(f, "candidates",
                   "style is for pictures; the candidates of a text have system and parameters");
    if (!json_is_string(style)) return bad(f, "candidates", "style must be a string");
    if (json_object_set_new(request, "enhance", json_pack("{s:O}", "style", style))) return no_memory(f);
    json_object_del(request, "style");
    return true;
}

/* Takes over `own`, NULL for no memory. */
static bool add(struct comparison *c, const struct reader *r, json_t *own,
                bool (*draws)(void *, const char *), void *arg, struct fault *f)
{
    char usual[200];
    const char *model = json_string_value(json_object_get(own, "model")),
               *style = json_string_value(json_object_get(own, "style")),
               *name = json_string_value(json_object_get(own, "name"));
    if (!own) return no_memory(f);
    struct compared *it = &c->v[c->n++];
    it->request = own;
    if (!model && r->model) {
        model = r->model;
        if (json_object_set_new(own, "model", json_string(model))) return no_memory(f);
    }
    if (!model) return bad(f, "candidates", "a candidate needs a model: its own, or the comparison's");
    if (!check_members(own, "candidates", f)) return false;
    const bool picture = draws(arg, model);
    if (c->n == 1) c->draws = picture;
    if (picture != c->draws)
        return bad(f, "candidates", "candidates must be all of text or all of pictures: these are mixed");
    if (picture && (!r->prompt || r->messages)) return bad(f, "prompt", "pictures need a prompt");
    snprintf(usual, sizeof usual, "%.120s%s%.60s", model, style ? " " : "", style ? style : "");
    it->name = strdup(name ? name : usual);
    json_object_del(own, "name");
    if (!it->name || (r->parameters && json_object_update_missing(own, (json_t *)r->parameters)))
        return no_memory(f);
    if (!picture && json_object_get(own, "n"))
        return bad(f, "parameters", "n is for pictures: a candidate of a text says one answer");
    if (picture && !json_object_get(own, "response_format") &&
        json_object_set_new(own, "response_format", json_string("b64_json")))
        return no_memory(f);
    return put_style(own, picture, f) && (put_prompt(own, r, picture) || no_memory(f));
}

static bool all_strings(const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (!json_is_string(v) || !json_string_length(v)) return false;
    return true;
}

static bool check(const struct reader *r, struct fault *f)
{
    if (!r->prompt == !r->messages) return bad(f, "prompt", "one of prompt and messages is required");
    if (r->prompt && !*r->prompt) return bad(f, "prompt", "prompt must not be empty");
    if (!r->candidates && !r->models && !r->styles)
        return bad(f, "candidates", "candidates, models or styles must say what is compared");
    if (r->candidates && (r->models || r->styles))
        return bad(f, "candidates", "candidates stand in place of models and styles");
    if (r->models && r->model) return bad(f, "model", "models stand in place of model");
    if (!all_strings(r->models)) return bad(f, "models", "models must be names");
    if (!all_strings(r->styles)) return bad(f, "styles", "styles must be names");
    return !r->parameters || check_members(r->parameters, "parameters", f);
}

/* Every model in every style. */
static bool add_product(struct comparison *c, const struct reader *r, bool (*draws)(void *, const char *),
                        void *arg, struct fault *f)
{
    const size_t n_models = r->models ? json_array_size(r->models) : 1,
                 n_styles = r->styles ? json_array_size(r->styles) : 1;
    for (size_t m = 0; m < n_models; m++)
        for (size_t s = 0; s < n_styles; s++) {
            json_t *own = json_object();
            bool ok = own != NULL;
            if (ok && r->models) ok = !json_object_set(own, "model", json_array_get(r->models, m));
            if (ok && r->styles) ok = !json_object_set(own, "style", json_array_get(r->styles, s));
            if (!ok) json_decref(own);
            if (!add(c, r, ok ? own : NULL, draws, arg, f)) return false;
        }
    return true;
}

const struct json_table comparison_fields = JSON_TABLE(rows, take);

bool comparison_read(struct comparison *c, const json_t *body, bool (*draws)(void *arg, const char *model),
                     void *arg, bool strict, struct fault *f)
{
    const struct json_place place = { .path = "", .form = 1, .strict = strict };
    struct reader r = { 0 };
    *c = (struct comparison){ 0 };
    if (!json_in_object(&comparison_fields, &place, &r, body, f) || !check(&r, f)) return false;
    c->stream = r.stream;
    c->together = r.together;
    const size_t n = r.candidates ? json_array_size(r.candidates)
                                  : (r.models ? json_array_size(r.models) : 1) *
                                        (r.styles ? json_array_size(r.styles) : 1);
    if (n > COMPARISON_MOST) return bad(f, "candidates", "at most 16 candidates can be compared at once");
    c->v = calloc(n, sizeof *c->v);
    if (!c->v) return no_memory(f);
    if (!r.candidates) return add_product(c, &r, draws, arg, f);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(r.candidates, i);
        if (!json_is_object(o)) return bad(f, "candidates", "candidates must be objects");
        if (!add(c, &r, json_copy((json_t *)o), draws, arg, f)) return false;
    }
    return true;
}

void comparison_free(struct comparison *c)
{
    for (int i = 0; i < c->n; i++) {
        struct compared *it = &c->v[i];
        free(it->name);
        buf_free(&it->text);
        buf_free(&it->thought);
        json_decref(it->request);
        json_decref(it->usage);
        json_decref(it->images);
        json_decref(it->error);
    }
    free(c->v);
    *c = (struct comparison){ 0 };
}

/* ---- what a candidate is answered ---------------------------------------------------------------------------------- */

static void keep(json_t **at, json_t *v)
{
    if (!v || json_is_null(v)) return;
    json_decref(*at);
    *at = json_incref(v);
}

static void open_chunk(struct buf *b, const char *object, const struct comparison *c, int i)
{
    buf_printf(b, "data: {\"object\":\"%s\",\"index\":%d,\"name\":", object, i);
    json_out_cstr(b, c->v[i].name);
}

static void take_piece(struct comparison *c, int i, const json_t *delta, const char *member, struct buf *into,
                       struct buf *out)
{
    const json_t *v = json_object_get(delta, member);
    const size_t n = json_string_length(v);
    if (!n) return;
    buf_append(into, json_string_value(v), n);
    if (!out) return;
    open_chunk(out, "comparison.chunk", c, i);
    buf_printf(out, ",\"delta\":{\"%s\":", member);
    json_out_str(out, json_string_value(v), n);
    buf_puts(out, "}}\n\n");
}

void comparison_event(struct comparison *c, int i, const char *event, size_t len, struct buf *out)
{
    struct compared *it = &c->v[i];
    if (len < 7 || strncmp(event, "data: ", 6) != 0 || event[6] == '[') return; /* [DONE], a ping */
    json_t *chunk = json_memory_load(event + 6, len - 6, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    take_piece(c, i, delta, "reasoning_content", &it->thought, out);
    take_piece(c, i, delta, "content", &it->text, out);
    if (finish) snprintf(it->finish, sizeof it->finish, "%s", finish);
    keep(&it->usage, json_object_get(chunk, "usage"));
    keep(&it->error, json_object_get(chunk, "error"));
    json_decref(chunk);
}

void comparison_reply(struct comparison *c, int i, const char *body, size_t len)
{
    struct compared *it = &c->v[i];
    json_t *o = json_memory_load(body, len, 0, NULL);
    keep(&it->images, json_object_get(o, "data"));
    keep(&it->usage, json_object_get(o, "usage"));
    keep(&it->error, json_object_get(o, "error"));
    json_decref(o);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

static void put_json(struct buf *b, const char *name, const json_t *v)
{
    char *text = json_memory_dumps(v, JSON_COMPACT);
    if (!text)
        b->failed = true;
    else
        buf_printf(b, ",\"%s\":", name), buf_puts(b, text);
    free(text);
}

static bool went_well(const struct compared *it) { return it->status == 200 && !it->error; }

/* Of a text the cost is in its usage. */
static const char *cost_of(const struct compared *it, char *out, size_t cap)
{
    const json_t *v = json_object_get(it->usage, "cost");
    if (*it->cost) return it->cost;
    *out = 0;
    if (json_is_number(v)) snprintf(out, cap, "%.12g", json_number_value(v));
    return out;
}

static void put_candidate(struct buf *b, const struct compared *it, bool whole)
{
    char cost[64];
    const double completion = json_number_value(json_object_get(it->usage, "completion_tokens"));
    buf_puts(b, ",\"model\":");
    json_out_cstr(b, json_string_value(json_object_get(it->request, "model")));
    buf_printf(b, ",\"request_id\":\"%s\",\"status\":%d,\"seconds\":%.4f", it->id, it->status,
               it->ended - it->began);
    if (it->first > 0) buf_printf(b, ",\"first_token_seconds\":%.4f", it->first - it->began);
    if (it->first > 0 && completion > 1 && it->ended > it->first)
        buf_printf(b, ",\"tokens_per_second\":%.2f", (completion - 1) / (it->ended - it->first));
    buf_printf(b, ",\"cost\":%s", *cost_of(it, cost, sizeof cost) ? cost_of(it, cost, sizeof cost) : "null");
    if (it->usage) put_json(b, "usage", it->usage);
    if (*it->finish) buf_printf(b, ",\"finish_reason\":\"%s\"", it->finish);
    if (it->error) put_json(b, "error", it->error);
    if (!whole) return;
    if (it->thought.len) {
        buf_puts(b, ",\"reasoning_content\":");
        json_out_str(b, it->thought.data, it->thought.len);
    }
    if (it->images) put_json(b, "images", it->images);
    if (it->images || !went_well(it)) return;
    buf_puts(b, ",\"text\":");
    json_out_str(b, it->text.data ? it->text.data : "", it->text.len);
}

/* The candidate with the least of what `of` says, or null. */
static void put_least(struct buf *b, const struct comparison *c, const char *name,
                      double (*of)(const struct compared *it))
{
    int best = -1;
    for (int i = 0; i < c->n; i++)
        if (went_well(&c->v[i]) && of(&c->v[i]) >= 0 && (best < 0 || of(&c->v[i]) < of(&c->v[best])))
            best = i;
    buf_printf(b, ",\"%s\":", name);
    json_out_cstr(b, best < 0 ? NULL : c->v[best].name);
}

static double seconds(const struct compared *it) { return it->ended - it->began; }

static double dollars(const struct compared *it)
{
    char text[64];
    const char *cost = cost_of(it, text, sizeof text);
    return *cost ? strtod(cost, NULL) : -1;
}

void comparison_print(struct buf *b, const struct comparison *c, bool whole)
{
    buf_printf(b, "{\"object\":\"comparison\",\"kind\":\"%s\",\"together\":%s,\"candidates\":[",
               c->draws ? "image" : "text", c->together ? "true" : "false");
    for (int i = 0; i < c->n; i++) {
        buf_printf(b, "%s{\"index\":%d,\"name\":", i ? "," : "", i);
        json_out_cstr(b, c->v[i].name);
        put_candidate(b, &c->v[i], whole);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
    put_least(b, c, "fastest", seconds);
    put_least(b, c, "cheapest", dollars);
    buf_putc(b, '}');
}

void comparison_print_end(struct buf *b, const struct comparison *c, int i)
{
    open_chunk(b, "comparison.candidate", c, i);
    put_candidate(b, &c->v[i], true);
    buf_puts(b, "}\n\n");
}

void comparison_print_done(struct buf *b, const struct comparison *c)
{
    buf_puts(b, "data: ");
    comparison_print(b, c, false);
    buf_puts(b, "\n\ndata: [DONE]\n\n");
}

void comparison_print_fault(struct buf *b, enum fault_kind kind, const char *message)
{
    buf_puts(b, "data: ");
    fault_print(b, DIALECT_OPENAI, kind, NULL, message);
    buf_puts(b, "\n\n");
}
