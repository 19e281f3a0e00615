/* advise.c - see advise.h. */
#include "cli/advise.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "base/words.h"
#include "cli/options.h"
#include "service/advice/advice.h"
#include "service/advice/prompts.h"
#include "service/models/catalog.h"
#include "service/models/model_folder.h"

struct asked {
    const char *task, *complexity, *budget, *use_case, *quality, *priority, *model, *size, *style, *mode,
        *add_quality;
    const char *dollars, *total, *steps, *guidance, *n;
    struct str_list avoid;
};

static bool take(struct asked *a, const char *form, const char *name, size_t len, const char *value,
                 struct err *e)
{
    const struct {
        const char *name, *forms;
        const char **at;
    } rows[] = {
        { "mode", "text|image|plan|enhance", &a->mode },
        { "task", "text", &a->task },
        { "complexity", "text", &a->complexity },
        { "budget", "text", &a->budget },
        { "use_case", "image", &a->use_case },
        { "quality", "image|plan", &a->quality },
        { "priority", "image", &a->priority },
        { "budget_per_image", "image", &a->dollars },
        { "model", "image|enhance", &a->model },
        { "size", "image", &a->size },
        { "steps", "image", &a->steps },
        { "guidance_scale", "image", &a->guidance },
        { "n", "plan", &a->n },
        { "total_budget", "plan", &a->total },
        { "style", "enhance", &a->style },
        { "add_quality", "enhance", &a->add_quality },
    };
    if (len == 5 && !strncmp(name, "avoid", 5) && !strcmp(form, "enhance"))
        return str_list_add(&a->avoid, value, strlen(value), e);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strlen(rows[i].name) == len && !strncmp(rows[i].name, name, len) &&
            words_have(rows[i].forms, form, NULL)) {
            *rows[i].at = value;
            return true;
        }
    return err_set(e, ERR_REQUEST, "%s knows no \"%.*s\"; see hearth help", form, (int)(len < 60 ? len : 60),
                   name);
}

/* A number that stands alone; `otherwise` where none was given. */
static bool number(const char *text, const char *name, double otherwise, double *out, struct err *e)
{
    char *end;
    *out = otherwise;
    if (!text) return true;
    *out = strtod(text, &end);
    return (*text && !*end && *out >= 0 && *out <= 2147483647.0) ||
           err_set(e, ERR_REQUEST, "%s=%.60s: expected a number that is not negative", name, text);
}

struct desk {
    struct catalog *catalog;
    struct advice *advice;
    struct styles *styles;
    struct installed_list have;
};

static bool is_here(const struct desk *d, const struct catalog_model *m)
{
    for (int i = 0; i < d->have.n; i++)
        if (installed_is(&d->have.v[i], m)) return true;
    return false;
}

static void set_number(json_t *to, const char *name, double v)
{
    if (v < 0) return;
    json_object_set_new(to, name, v == floor(v) ? json_integer((json_int_t)v) : json_real(v));
}

static json_t *advised_json(const struct desk *d, const struct advised *a)
{
    json_t *p = json_object(),
           *out = json_pack("{s:s, s:s, s:o, s:s, s:b}", "model", a->model->id, "says", a->says, "parameters",
                            p, "why", a->why, "installed", is_here(d, a->model));
    set_number(p, "temperature", a->temperature);
    set_number(p, "top_p", a->top_p);
    set_number(p, "top_k", a->top_k);
    set_number(p, "max_tokens", a->max_tokens);
    set_number(p, "steps", a->steps);
    set_number(p, "guidance_scale", a->guidance);
    if (a->size) json_object_set_new(p, "size", json_string(a->size));
    if (a->model->kind == MODEL_IMAGE && out) {
        json_object_set_new(out, "cost_per_image", json_real((double)a->nano / 1e9));
        json_object_set_new(out, "over_budget", json_boolean(a->over));
    }
    return out;
}

/* NAME VALUE lines; an object inside gives its members. */
static void print_lines(const json_t *answer)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)answer, name, v)
    {
        if (json_is_object(v)) {
            print_lines(v);
        } else if (json_is_string(v)) {
            if (json_string_length(v)) printf("%-18s %s\n", name, json_string_value(v));
        } else {
            char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
            printf("%-18s %s\n", name, text ? text : "?");
            free(text);
        }
    }
}

static json_t *ask(const struct desk *d, const char *form, const struct asked *a, const char *prompt,
                   struct err *e)
{
    const enum advice_mode mode = a->mode && !strcmp(a->mode, "seed") ? ADVICE_SEED : ADVICE_BEST;
    double dollars, total, steps, guidance, n;
    if (a->mode && !words_have("best|seed", a->mode, NULL))
        return err_set(e, ERR_REQUEST, "mode must be best or seed"), NULL;
    if (!number(a->dollars, "budget_per_image", -1, &dollars, e) ||
        !number(a->total, "total_budget", -1, &total, e) || !number(a->steps, "steps", -1, &steps, e) ||
        !number(a->guidance, "guidance_scale", -1, &guidance, e) || !number(a->n, "n", 0, &n, e))
        return NULL;
    if (!strcmp(form, "text")) {
        struct advised out;
        const struct text_question q = { a->task, a->complexity, a->budget, mode };
        return advise_text(d->advice, &q, &out, e) ? advised_json(d, &out) : NULL;
    }
    if (!strcmp(form, "image")) {
        struct advised out;
        const struct image_question q = { a->quality, a->use_case, a->priority, dollars, a->model,
                                          a->size,    (int)steps,  guidance,    mode };
        return advise_image(d->advice, &q, &out, e) ? advised_json(d, &out) : NULL;
    }
    if (!strcmp(form, "plan")) {
        struct image_plan p;
        if (n < 1 || total < 0)
            return err_set(e, ERR_REQUEST, "a plan needs n=PICTURES and total_budget=DOLLARS"), NULL;
        if (!advise_batch(d->advice, a->quality, (int64_t)n, total, mode, &p, e)) return NULL;
        json_t *out = json_pack("{s:o, s:I, s:f, s:b, s:I}", "each", advised_json(d, &p.each), "n",
                                (json_int_t)p.n, "total_cost", (double)p.nano / 1e9, "over_total_budget",
                                p.over, "affordable", (json_int_t)(p.affordable < 0 ? p.n : p.affordable));
        if (!isinf(p.images_a_dollar))
            json_object_set_new(out, "images_per_dollar", json_real(p.images_a_dollar));
        return out;
    }
    struct buf words = BUF_INIT(0), negative = BUF_INIT(0);
    json_t *out = NULL;
    const struct catalog_model *m = a->model ? catalog_find(d->catalog, a->model) : NULL;
    const bool quality = !a->add_quality || strcmp(a->add_quality, "false") != 0;
    if (!prompt)
        err_set(e, ERR_REQUEST, "enhance needs a prompt");
    else if (m && !advice_takes_negative(m) && a->avoid.n)
        err_set(e, ERR_REQUEST, "%s takes no negative prompt: say in the prompt what should be there", m->id);
    else if (styles_enhance(d->styles, prompt, a->style, quality, mode == ADVICE_BEST, &words, e) &&
             styles_negative(d->styles, &a->avoid, &negative, e))
        out = json_pack("{s:s, s:s?}", "prompt", words.data, "negative_prompt",
                        m && !advice_takes_negative(m) ? NULL : negative.data);
    buf_free(&words);
    buf_free(&negative);
    return out;
}

static bool answer(const struct options *o, const char *form, int from, struct err *e)
{
    struct asked a = { 0 };
    struct desk d = { 0 };
    const char *prompt = NULL;
    json_t *out = NULL;
    bool ok = true;
    for (int i = from; ok && i < o->args.n; i++) {
        const char *s = o->args.v[i];
        const size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz_");
        if (len && s[len] == '=')
            ok = take(&a, form, s, len, s + len + 1, e);
        else if (!strcmp(form, "enhance") && !prompt)
            prompt = s;
        else
            ok = err_set(e, ERR_REQUEST, "\"%.60s\": expected NAME=VALUE", s);
    }
    ok = ok && catalog_load(&d.catalog, o->catalog, e) && advice_load(&d.advice, o->advice, d.catalog, e) &&
         styles_load(&d.styles, o->styles, e) && model_folder_scan(o->registry.models_dir, &d.have, e) &&
         (out = ask(&d, form, &a, prompt, e));
    if (ok && o->json)
        ok = (!json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) && putchar('\n') == '\n') ||
             err_set(e, ERR_IO, "standard output cannot be written");
    else if (ok)
        print_lines(out);
    json_decref(out);
    installed_list_free(&d.have);
    styles_free(d.styles);
    advice_free(d.advice);
    catalog_free(d.catalog);
    str_list_clear(&a.avoid);
    return ok;
}

int advise_command(enum command_bit command, const char *form, int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    int rc = options_parse(&o, command, argc, argv);
    const bool named = form != NULL;
    if (rc < 0 && !named && (!o.args.n || !words_have("text|image", form = o.args.v[0], NULL))) {
        fprintf(stderr, "hearth %s: expected text or image; see hearth help recommend\n", argv[0]);
        rc = 2;
    }
    if (rc < 0) {
        rc = answer(&o, form, named ? 0 : 1, &e) ? 0 : e.code == ERR_REQUEST ? 2 : 1;
        if (rc) fprintf(stderr, "hearth %s: %s\n", argv[0], e.msg);
    }
    options_free(&o);
    return rc;
}
