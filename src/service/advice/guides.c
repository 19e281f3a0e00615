/* guides.c - see guides.h. */
#include "service/advice/guides.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "service/advice/advice.h"

struct asking {
    const struct catalog *catalog;
    const json_t *q;
    bool seed;
    const char **param;
    struct err *e;
};

static bool bad(struct asking *a, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool bad(struct asking *a, const char *param, const char *fmt, ...)
{
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    *a->param = param;
    return err_set(a->e, ERR_REQUEST, "%s %s", param, why);
}

static const json_t *given(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

/* `otherwise` where it is not said. */
static bool number(struct asking *a, const char *name, double min, double max, double otherwise, double *out)
{
    const json_t *v = given(a->q, name);
    *out = v ? json_number_value(v) : otherwise;
    return !v || (json_is_number(v) && *out >= min && *out <= max) ||
           bad(a, name, "must be a number from %g to %g", min, max);
}

static bool done(struct asking *a, const json_t *answer)
{
    return answer || err_set(a->e, ERR_NOMEM, "out of memory");
}

/* ---- what it costs ------------------------------------------------------------------------------------------------- */

/* The guides' own tables: names whole for text, parts of a name for pictures. */
static const struct {
    const char *model;
    double input, output; /* of a million */
} text_prices[] = { { "accounts/fireworks/models/deepseek-r1-0528", 3.00, 8.00 },
                    { "accounts/fireworks/models/qwen3-235b-a22b", 0.22, 0.88 },
                    { "accounts/fireworks/models/llama4-maverick-instruct-basic", 0.22, 0.88 },
                    { "accounts/fireworks/models/llama4-scout-instruct-basic", 0.15, 0.60 },
                    { "accounts/fireworks/models/deepseek-v3", 0.90, 0.90 } };
static const struct {
    const char *part;
    double step;
} picture_prices[] = { { "flux-1-dev-fp8", 0.0005 },
                       { "flux-1-schnell-fp8", 0.00035 },
                       { "stable-diffusion-xl", 0.00013 } };

/* Below 0: the guides have no price of it. */
static double seed_cost(const char *model, bool pictures, double prompt, double completion, double steps,
                        double n)
{
    if (pictures) {
        for (size_t i = 0; i < sizeof picture_prices / sizeof *picture_prices; i++)
            if (strstr(model, picture_prices[i].part)) return picture_prices[i].step * steps * n;
        return -1;
    }
    for (size_t i = 0; i < sizeof text_prices / sizeof *text_prices; i++)
        if (!strcmp(model, text_prices[i].model))
            return prompt / 1000000 * text_prices[i].input + completion / 1000000 * text_prices[i].output;
    return -1;
}

static bool cost(struct asking *a, json_t **answer)
{
    double prompt, completion, steps, n, dollars;
    const char *model = json_string_value(given(a->q, "model"));
    const bool pictures = given(a->q, "steps") || given(a->q, "n");
    if (!model) return bad(a, "model", "is required");
    if (!number(a, "prompt_tokens", 0, 1e15, 0, &prompt) ||
        !number(a, "completion_tokens", 0, 1e15, 0, &completion) || !number(a, "steps", 0, 1e9, -1, &steps) ||
        !number(a, "n", 0, 1e9, 1, &n))
        return false;
    if (pictures && (given(a->q, "prompt_tokens") || given(a->q, "completion_tokens")))
        return bad(a, "steps", "is of pictures, and tokens of text: say one of them");
    const struct catalog_model *m = catalog_find(a->catalog, model);
    if (a->seed) {
        dollars = seed_cost(model, pictures, prompt, completion, steps < 0 ? 28 : steps, n);
    } else {
        *a->param = "model";
        if (!m) return err_set(a->e, ERR_NOT_FOUND, "the catalog has no model %.100s", model);
        if ((m->kind == MODEL_IMAGE) != (pictures || m->kind == MODEL_IMAGE))
            return bad(a, "model", "%.100s writes text, which has no steps", m->id);
        if (m->kind == MODEL_IMAGE)
            dollars = (double)advice_picture_cost(m, (int)(steps < 0 ? m->steps : steps)) * n / 1e9;
        else
            dollars = (prompt * m->price_input + completion * m->price_output) / 1e6;
    }
    *answer = json_pack("{s:s, s:o}", "model", a->seed || !m ? model : m->id, "cost",
                        dollars < 0 ? json_null() : json_real(dollars));
    return done(a, *answer);
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

static int64_t words(const char *s)
{
    int64_t n = 0;
    for (bool in = false; s && *s; s++) {
        const bool space = strchr(" \t\n\r\v\f", *s) != NULL;
        n += !space && !in;
        in = !space;
    }
    return n;
}

static int64_t words_of(const json_t *message)
{
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    int64_t n = words(json_string_value(content));
    json_array_foreach(content, i, part) n += words(json_string_value(json_object_get(part, "text")));
    return n;
}

static bool has_role(const json_t *message, const char *role)
{
    const char *r = json_string_value(json_object_get(message, "role"));
    return r && !strcmp(r, role);
}

/* The guide's: the system message and the last ten, whatever those have. */
static size_t keep_from_seed(const json_t *messages, size_t head)
{
    const size_t n = json_array_size(messages);
    return n - head > 10 ? n - 10 : head;
}

/* As many of the latest as fit, and at least one; a result goes with the call that it answers. */
static size_t keep_from(const json_t *messages, size_t head, int64_t most)
{
    const size_t n = json_array_size(messages);
    int64_t sum = 0;
    size_t from = n;
    for (size_t i = 0; i < head; i++) sum += words_of(json_array_get(messages, i));
    while (from > head && (from == n || sum + words_of(json_array_get(messages, from - 1)) <= most))
        sum += words_of(json_array_get(messages, --from));
    while (from + 1 < n && has_role(json_array_get(messages, from), "tool")) from++;
    return from;
}

static bool truncate_messages(struct asking *a, json_t **answer)
{
    const json_t *messages = given(a->q, "messages"), *m;
    double most;
    size_t i, head = 0;
    int64_t all = 0, left = 0;
    if (!json_is_array(messages)) return bad(a, "messages", "must be an array");
    if (!number(a, "max_tokens", 0, 1e15, 100000, &most)) return false;
    json_array_foreach(messages, i, m)
    {
        if (!json_is_object(m)) return bad(a, "messages", "[%zu] must be an object", i);
        all += words_of(m);
    }
    const size_t n = json_array_size(messages);
    while (head < n && (has_role(json_array_get(messages, head), "system") ||
                        (!a->seed && has_role(json_array_get(messages, head), "developer")))) {
        head++;
        if (a->seed) break;
    }
    const size_t from = (double)all <= most ? head
                        : a->seed           ? keep_from_seed(messages, head)
                                            : keep_from(messages, head, (int64_t)most);
    json_t *kept = json_array();
    bool ok = kept != NULL;
    json_array_foreach(messages, i, m)
    {
        if (i >= head && i < from) continue;
        ok = ok && !json_array_append(kept, (json_t *)m);
        left += words_of(m);
    }
    *answer = json_pack("{s:o, s:I, s:I}", "messages", kept, "dropped", (json_int_t)(from - head), "words",
                        (json_int_t)left);
    return done(a, ok ? *answer : NULL);
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

/* What Python says of a key that is missing. */
static bool seed_complaint(const json_t *tools, char *out, size_t cap)
{
    static const char *const needed[] = { "name", "description", "parameters" };
    size_t i;
    const json_t *tool;
    json_array_foreach(tools, i, tool)
    {
        const json_t *type = json_object_get(tool, "type"), *f = json_object_get(tool, "function");
        const char *is = json_string_value(type);
        if (!type) return snprintf(out, cap, "'type'") > 0;
        if (!is || strcmp(is, "function") != 0) return snprintf(out, cap, "Tool type must be 'function'") > 0;
        if (!f) return snprintf(out, cap, "'function'") > 0;
        for (size_t k = 0; k < sizeof needed / sizeof *needed; k++)
            if (!json_object_get(f, needed[k]))
                return snprintf(out, cap, "Missing required field: %s", needed[k]) > 0;
    }
    return false;
}

static bool complain(json_t *errors, size_t i, const char *member, const char *why)
{
    char text[200];
    snprintf(text, sizeof text, "tools[%zu]%s%s: %s", i, *member ? "." : "", member, why);
    return !json_array_append_new(errors, json_string(text));
}

static bool name_is_good(const char *name)
{
    const size_t n = strlen(name);
    return n >= 1 && n <= 64 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static bool check_parameters(json_t *errors, size_t i, const json_t *p)
{
    static const char at[] = "function.parameters";
    const char *type = json_string_value(json_object_get(p, "type")), *key;
    const json_t *properties = json_object_get(p, "properties"), *required = json_object_get(p, "required"),
                 *v;
    size_t k;
    bool ok = true;
    if (!json_is_object(p)) return complain(errors, i, at, "must be a JSON Schema of an object");
    if (json_object_size(p) && (!type || strcmp(type, "object") != 0))
        ok = complain(errors, i, at, "type must be \"object\"");
    if (properties && !json_is_object(properties))
        return complain(errors, i, "function.parameters.properties", "must be an object") && ok;
    json_object_foreach((json_t *)properties, key, v) if (!json_is_object(v) && !json_is_boolean(v)) ok =
        complain(errors, i, "function.parameters.properties", key) && ok;
    if (required && !json_is_array(required))
        return complain(errors, i, "function.parameters.required", "must be an array of names") && ok;
    json_array_foreach(required, k, v)
    {
        char why[120];
        snprintf(why, sizeof why, "\"%.60s\" is no property", json_is_string(v) ? json_string_value(v) : "?");
        if (!json_is_string(v) || !json_object_get(properties, json_string_value(v)))
            ok = complain(errors, i, "function.parameters.required", why) && ok;
    }
    return ok;
}

/* All that would be refused. A description and parameters may be left out. False: no memory. */
static bool check_tool(json_t *errors, json_t *names, size_t i, const json_t *tool)
{
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *f = json_object_get(tool, "function"), *parameters = json_object_get(f, "parameters"),
                 *description = json_object_get(f, "description");
    const char *name = json_string_value(json_object_get(f, "name"));
    bool ok = true;
    if (!json_is_object(tool)) return complain(errors, i, "", "must be an object");
    if (!type || strcmp(type, "function") != 0) ok = complain(errors, i, "type", "must be \"function\"");
    if (!json_is_object(f)) return complain(errors, i, "function", "is required, an object") && ok;
    if (!name || !name_is_good(name))
        ok = complain(errors, i, "function.name", "must be 1 to 64 letters, digits, _ and -") && ok;
    else if (json_object_get(names, name))
        ok = complain(errors, i, "function.name", "is the name of another tool too") && ok;
    else
        ok = !json_object_set_new(names, name, json_true()) && ok;
    if (description && !json_is_string(description))
        ok = complain(errors, i, "function.description", "must be a text") && ok;
    return (!parameters || check_parameters(errors, i, parameters)) && ok;
}

static bool check_tools(struct asking *a, json_t **answer)
{
    const json_t *tools = given(a->q, "tools"), *tool;
    char why[200];
    size_t i;
    if (!json_is_array(tools)) return bad(a, "tools", "must be an array");
    json_t *errors = json_array(), *names = json_object();
    bool ok = errors && names;
    if (a->seed && seed_complaint(tools, why, sizeof why)) {
        ok = ok && !json_array_append_new(errors, json_string(why));
    } else if (!a->seed) {
        json_array_foreach(tools, i, tool) ok = ok && check_tool(errors, names, i, tool);
    }
    json_decref(names);
    const bool valid = !json_array_size(errors);
    *answer = json_pack("{s:b, s:o}", "valid", valid, "errors", errors);
    return done(a, ok ? *answer : NULL);
}

/* ---- waits between tries ------------------------------------------------------------------------------------------- */

/* What is worth a second try: the server's trouble and its limits, not a mistake of the request. */
static bool worth_a_try(int status, bool seed)
{
    static const int good[] = { 408, 429, 500, 502, 503, 504 };
    if (seed) return status == 429;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (good[i] == status) return true;
    return false;
}

static bool retry(struct asking *a, json_t **answer)
{
    double tries, base, most, status, after;
    if (!number(a, "max_retries", 0, 20, 3, &tries) || !number(a, "base_delay", 0.001, 3600, 1, &base) ||
        !number(a, "max_delay", 0.001, 86400, 60, &most) || !number(a, "status", 100, 599, 429, &status) ||
        !number(a, "retry_after", 0, 86400, 0, &after))
        return false;
    const bool again = worth_a_try((int)status, a->seed);
    json_t *waits = json_array();
    bool ok = waits != NULL;
    for (int i = 0; ok && again && i < (int)tries; i++) {
        const double step = base * ldexp(1, i);
        /* The guide's: that long, and up to a second more. Full jitter: anything up to that, so that many clients do not come together. */
        double least = a->seed ? step : 0, wait = a->seed ? step + 1 : fmin(step, most);
        if (!a->seed && i == 0 && after > 0) least = after, wait = after + wait;
        ok = !json_array_append_new(waits,
                                    json_pack("{s:i, s:f, s:f}", "attempt", i, "least", least, "most", wait));
    }
    *answer = json_pack("{s:b, s:o}", "retry", again, "waits", waits);
    return done(a, ok ? *answer : NULL);
}

/* ---- DALL-E -------------------------------------------------------------------------------------------------------- */

static const char *guide_dalle_size(const char *size, bool seed)
{
    static const struct {
        const char *from, *to;
    } sizes[] = { { "256x256", "640x640" },    { "512x512", "640x640" },    { "1024x1024", "1024x1024" },
                  { "1792x1024", "1344x768" }, { "1024x1792", "768x1344" }, /* from here on not the guide's */
                  { "1536x1024", "1248x832" }, { "1024x1536", "832x1248" } };
    for (size_t i = 0; i < (seed ? 5 : sizeof sizes / sizeof *sizes); i++)
        if (!strcmp(sizes[i].from, size)) return sizes[i].to;
    return NULL;
}

static bool note(json_t *changed, const char *what, const char *from, const char *to)
{
    char text[200];
    if (!strcmp(from, to)) return true;
    snprintf(text, sizeof text, "%s %.60s becomes %.60s", what, from, to);
    return !json_array_append_new(changed, json_string(text));
}

static bool dalle(struct asking *a, json_t **answer)
{
    const json_t *r = given(a->q, "request"), *prompt = json_object_get(r, "prompt"), *n = given(r, "n"),
                 *format = given(r, "response_format");
    const char *size = json_string_value(given(r, "size")), *quality = json_string_value(given(r, "quality")),
               *model = json_string_value(given(r, "model"));
    if (!json_is_object(r)) return bad(a, "request", "must be the object that is sent to the service");
    if (!json_is_string(prompt)) return bad(a, "request", "needs a prompt, a text");
    if (n && !json_is_integer(n)) return bad(a, "request", "must have an n that is a whole number");
    if (!size || (!a->seed && !strcmp(size, "auto"))) size = "1024x1024";
    if (!quality) quality = "standard";
    const char *to = guide_dalle_size(size, a->seed);
    if (!to) to = "1024x1024"; /* a size that no service of OpenAI's has */
    const bool better = !strcmp(quality, "hd") || (!a->seed && !strcmp(quality, "high")),
               less = !a->seed && !strcmp(quality, "low");
    const int steps = better ? 35 : less ? 20 : 28;
    json_t *changed = json_array(),
           *out = json_pack("{s:s, s:O, s:O*, s:s, s:O*, s:i, s:f}", "model",
                            "accounts/fireworks/models/flux-1-dev-fp8", "prompt", prompt, "n", n, "size", to,
                            "response_format", a->seed ? NULL : format, "steps", steps, "guidance_scale",
                            better ? 4.0 : 3.5);
    bool ok = changed && out;
    if (ok && !n) ok = !json_object_set_new(out, "n", json_integer(1));
    if (ok && (a->seed || !format))
        ok = !json_object_set_new(out, "response_format", json_string("b64_json"));
    if (ok && !a->seed) ok = note(changed, "size", size, to);
    if (ok && !a->seed && model)
        ok = note(changed, "model", model, "accounts/fireworks/models/flux-1-dev-fp8");
    if (ok && !a->seed && given(r, "quality")) {
        char as[60];
        snprintf(as, sizeof as, "%d steps at guidance %g", steps, better ? 4.0 : 3.5);
        ok = note(changed, "quality", quality, as);
    }
    *answer = json_pack("{s:o, s:o}", "request", out, "changed", changed);
    return done(a, ok ? *answer : NULL);
}

/* -------------------------------------------------------------------------------------------------------------------- */

bool guide_answer(enum guide_function g, const struct catalog *c, const json_t *question, json_t **answer,
                  const char **param, struct err *e)
{
    static const struct {
        const char *known; /* members of its question */
        bool (*answer)(struct asking *a, json_t **answer);
    } guides[] = {
        [GUIDE_COST] = { "mode model prompt_tokens completion_tokens steps n ", cost },
        [GUIDE_TRUNCATE] = { "mode messages max_tokens ", truncate_messages },
        [GUIDE_TOOLS] = { "mode tools ", check_tools },
        [GUIDE_RETRY] = { "mode max_retries base_delay max_delay status retry_after ", retry },
        [GUIDE_DALLE] = { "mode request ", dalle },
    };
    struct asking a = { .catalog = c, .q = question, .param = param, .e = e };
    const char *mode = json_string_value(given(question, "mode")), *key;
    json_t *v;
    *param = NULL;
    *answer = NULL;
    if (given(question, "mode") && (!mode || (strcmp(mode, "seed") != 0 && strcmp(mode, "best") != 0)))
        return bad(&a, "mode", "must be best or seed");
    a.seed = mode && !strcmp(mode, "seed");
    json_object_foreach((json_t *)question, key, v)
    {
        char word[80];
        snprintf(word, sizeof word, "%.70s ", key);
        const char *at = strstr(guides[g].known, word);
        if (!at || strchr(key, ' ') || (at > guides[g].known && at[-1] != ' '))
            return err_set(e, ERR_REQUEST, "there is no \"%.60s\" here; there are %s", key, guides[g].known);
    }
    if (guides[g].answer(&a, answer)) return true;
    json_decref(*answer);
    *answer = NULL;
    return false;
}
