/* advice.c - see advice.h. A list of rules is one table of rows; what a question asks is a row of words that rules are held against. */
#include "service/advice/advice.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/words.h"
#include "format/yaml_read.h"
#include "service/advice/advice_data.h"

enum only { FOR_BOTH, FOR_SEED, FOR_BEST };
#define NOT_SAID -1

struct rule {
    /* what it asks for; "" and NOT_SAID: nothing */
    char *task, *complexity, *budget, *use_case, *quality, *has;
    double from, to;
    int only;
    /* what it says */
    char *model, *says, *why, *size;
    double temperature, top_p, guidance, score;
    int top_k, max_tokens, steps;
    const struct catalog_model *found; /* of `model` */
};

struct rules {
    struct rule *v;
    int n;
};

enum list {
    TEXT_MODELS,
    TEXT_PARAMETERS,
    IMAGE_USE_CASES,
    IMAGE_BUDGETS,
    IMAGE_SCORES,
    IMAGE_PARAMETERS,
    IMAGE_FASTER,
    IMAGE_BETTER,
    N_LISTS
};

struct advice {
    const struct catalog *catalog;
    struct rules list[N_LISTS];
    double tier_high, tier_medium;
    char *tasks, *use_cases;
    bool built_in; /* then rules whose model the catalog does not have are left out */
};

#define END                                                                                                  \
    {                                                                                                        \
        .key = NULL                                                                                          \
    }
#define F(field) offsetof(struct rule, field)
static const struct yaml_row rule_rows[] = {
    { .key = "task", .type = YAML_STR, .offset = F(task) },
    { .key = "complexity", .type = YAML_STR, .offset = F(complexity) },
    { .key = "budget", .type = YAML_STR, .offset = F(budget) },
    { .key = "use_case", .type = YAML_STR, .offset = F(use_case) },
    { .key = "quality", .type = YAML_STR, .offset = F(quality) },
    { .key = "has", .type = YAML_STR, .offset = F(has) },
    { .key = "from", .type = YAML_NUMBER, .offset = F(from) },
    { .key = "to", .type = YAML_NUMBER, .offset = F(to) },
    { .key = "only", .type = YAML_WORD, .offset = F(only), .words = "both|seed|best" },
    { .key = "model", .type = YAML_STR, .offset = F(model) },
    { .key = "says", .type = YAML_STR, .offset = F(says) },
    { .key = "why", .type = YAML_STR, .offset = F(why) },
    { .key = "size", .type = YAML_STR, .offset = F(size) },
    { .key = "temperature", .type = YAML_NUMBER, .offset = F(temperature), .max = 2 },
    { .key = "top_p", .type = YAML_NUMBER, .offset = F(top_p), .max = 1 },
    { .key = "guidance", .type = YAML_NUMBER, .offset = F(guidance), .max = 100 },
    { .key = "score", .type = YAML_NUMBER, .offset = F(score), .max = 10 },
    { .key = "top_k", .type = YAML_INT, .offset = F(top_k) },
    { .key = "max_tokens", .type = YAML_INT, .offset = F(max_tokens) },
    { .key = "steps", .type = YAML_INT, .offset = F(steps), .min = 1, .max = 1000 },
    END,
};
#undef F

struct file {
    int version;
    struct {
        double high, medium;
    } tiers;
    const struct yaml_tree *list[N_LISTS];
};
#define F(field) offsetof(struct file, field)
static const struct yaml_row tier_rows[] = {
    { .key = "high", .type = YAML_NUMBER, .offset = F(tiers.high), .needed = true },
    { .key = "medium", .type = YAML_NUMBER, .offset = F(tiers.medium), .needed = true },
    END,
};
static const struct yaml_row file_rows[] = {
    { .key = "version", .type = YAML_INT, .offset = F(version), .min = 1, .max = 1 },
    { .key = "tiers", .type = YAML_WITHIN, .within = tier_rows, .needed = true },
    { .key = "text_models", .type = YAML_TREE, .offset = F(list[TEXT_MODELS]), .needed = true },
    { .key = "text_parameters", .type = YAML_TREE, .offset = F(list[TEXT_PARAMETERS]), .needed = true },
    { .key = "image_use_cases", .type = YAML_TREE, .offset = F(list[IMAGE_USE_CASES]), .needed = true },
    { .key = "image_budgets", .type = YAML_TREE, .offset = F(list[IMAGE_BUDGETS]), .needed = true },
    { .key = "image_scores", .type = YAML_TREE, .offset = F(list[IMAGE_SCORES]), .needed = true },
    { .key = "image_parameters", .type = YAML_TREE, .offset = F(list[IMAGE_PARAMETERS]), .needed = true },
    { .key = "image_faster", .type = YAML_TREE, .offset = F(list[IMAGE_FASTER]) },
    { .key = "image_better", .type = YAML_TREE, .offset = F(list[IMAGE_BETTER]) },
    END,
};
#undef F

/* Lists whose rows name a model, and of which kind. */
static bool names_model(enum list l) { return l != TEXT_PARAMETERS && l != IMAGE_PARAMETERS; }

static bool check_rule(const struct advice *a, const struct yaml_doc *d, const struct yaml_tree *at,
                       enum list l, struct rule *r, struct err *e)
{
    int64_t w, h;
    if (l != IMAGE_FASTER && names_model(l) != (*r->model != '\0'))
        return yaml_bad(d, at, e,
                        names_model(l) ? "a rule of this list needs a model"
                                       : "a rule of this list names no model");
    if (*r->size && !catalog_parse_size(r->size, &w, &h))
        return yaml_bad(d, yaml_member(at, "size"), e, "size must be WIDTHxHEIGHT");
    if (!*r->model) return true;
    r->found = catalog_find(a->catalog, r->model);
    if (!r->found && a->built_in) return true;
    if (!r->found) return yaml_bad(d, yaml_member(at, "model"), e, "the catalog has no model %s", r->model);
    if ((r->found->kind == MODEL_TEXT) != (l == TEXT_MODELS))
        return yaml_bad(d, yaml_member(at, "model"), e, "%s is not a model for %s", r->model,
                        l == TEXT_MODELS ? "text" : "pictures");
    return true;
}

static bool is_open(const struct rule *r)
{
    return !*r->task && !*r->complexity && !*r->budget && !*r->use_case && !*r->quality && !*r->has &&
           r->from < 0 && r->to < 0;
}

/* The first list of rules must always have an answer: its last row asks for nothing. */
static bool read_list(struct advice *a, const struct yaml_doc *d, const struct yaml_tree *at, enum list l,
                      struct err *e)
{
    struct rules *rules = &a->list[l];
    const bool turns = l == IMAGE_FASTER || l == IMAGE_BETTER;
    if (turns && !at)
        return true; /* a file from before: nothing is faster or better than what is asked about */
    if (at->kind != YAML_KIND_LIST || !at->n) return yaml_bad(d, at, e, "expected a list of rules");
    rules->v = calloc((size_t)at->n, sizeof *rules->v);
    if (!rules->v) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < at->n; i++) {
        struct rule *r = &rules->v[rules->n++];
        r->from = r->to = r->temperature = r->top_p = r->guidance = r->score = NOT_SAID;
        r->top_k = r->max_tokens = r->steps = NOT_SAID;
        if (!yaml_fill(d, &at->item[i], rule_rows, r, e) || !check_rule(a, d, &at->item[i], l, r, e))
            return false;
    }
    const struct rule *last = &rules->v[rules->n - 1];
    if (!turns && l != IMAGE_SCORES && l != IMAGE_PARAMETERS && (!is_open(last) || last->only))
        return yaml_bad(d, &at->item[at->n - 1], e,
                        "the last rule must ask for nothing, so that there is always an answer");
    return true;
}

/* "a|b|c" of a column, each once. */
static char *words_of(const struct rules *rules, const struct rules *more, size_t column)
{
    struct buf b = BUF_INIT(0);
    for (int k = 0; k < 2; k++) {
        const struct rules *r = k ? more : rules;
        for (int i = 0; i < r->n; i++) {
            const char *word = *(char *const *)((const char *)&r->v[i] + column);
            if (!*word || (b.data && words_have(b.data, word, NULL))) continue;
            if (b.len) buf_putc(&b, '|');
            buf_puts(&b, word);
        }
    }
    return buf_take(&b);
}

static bool read_rules(struct advice *a, const struct yaml_doc *d, struct err *e)
{
    struct file file = { 0 };
    bool ok = yaml_fill(d, &d->root, file_rows, &file, e);
    a->tier_high = file.tiers.high;
    a->tier_medium = file.tiers.medium;
    for (int l = 0; ok && l < N_LISTS; l++) ok = read_list(a, d, file.list[l], (enum list)l, e);
    if (!ok) return false;
    a->tasks = words_of(&a->list[TEXT_MODELS], &a->list[TEXT_PARAMETERS], offsetof(struct rule, task));
    a->use_cases =
        words_of(&a->list[IMAGE_USE_CASES], &a->list[IMAGE_PARAMETERS], offsetof(struct rule, use_case));
    return (a->tasks && a->use_cases) || err_set(e, ERR_NOMEM, "out of memory");
}

bool advice_load(struct advice **out, const char *path, const struct catalog *c, struct err *e)
{
    struct yaml_doc d = { 0 };
    struct advice *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    a->catalog = c;
    a->built_in = !path || !*path;
    bool ok = path && *path ? yaml_read_file(&d, path, e)
                            : yaml_read_text(&d, "the built-in advice", advice_rules,
                                             (size_t)(advice_rules_end - advice_rules), e);
    ok = ok && read_rules(a, &d, e);
    yaml_doc_free(&d);
    if (ok)
        *out = a;
    else
        advice_free(a);
    return ok;
}

void advice_free(struct advice *a)
{
    if (!a) return;
    for (int l = 0; l < N_LISTS; l++) {
        for (int i = 0; i < a->list[l].n; i++) yaml_fill_free(rule_rows, &a->list[l].v[i]);
        free(a->list[l].v);
    }
    free(a->tasks);
    free(a->use_cases);
    free(a);
}

/* ---- holding a question against rules ------------------------------------------------------------------------------ */

struct question { /* NULL: not said */
    const char *task, *complexity, *budget, *use_case, *quality, *model;
    double dollars;
    enum advice_mode mode;
};

static bool word_fits(const char *asked, const char *said)
{
    return !*asked || (said && !strcmp(asked, said));
}

static bool fits(const struct rule *r, const struct question *q)
{
    if (*r->model && !r->found) return false;
    if (r->only == (q->mode == ADVICE_SEED ? FOR_BEST : FOR_SEED)) return false;
    if (r->from >= 0 && !(q->dollars >= r->from)) return false;
    if (r->to >= 0 && !(q->dollars <= r->to)) return false;
    if (*r->has && !(q->model && strstr(q->model, r->has))) return false;
    return word_fits(r->task, q->task) && word_fits(r->complexity, q->complexity) &&
           word_fits(r->budget, q->budget) && word_fits(r->use_case, q->use_case) &&
           word_fits(r->quality, q->quality);
}

static const struct rule *first(const struct rules *rules, const struct question *q)
{
    for (int i = 0; i < rules->n; i++)
        if (fits(&rules->v[i], q)) return &rules->v[i];
    return NULL;
}

static const struct advised nothing = { .temperature = NOT_SAID,
                                        .top_p = NOT_SAID,
                                        .guidance = NOT_SAID,
                                        .top_k = NOT_SAID,
                                        .max_tokens = NOT_SAID,
                                        .steps = NOT_SAID,
                                        .why = "" };

static bool take_model(struct advised *out, const struct rule *r, struct err *e)
{
    if (!r)
        return err_set(e, ERR_NOT_FOUND,
                       "the catalog has none of the models that the rules recommend for this");
    out->model = r->found;
    out->says = *r->says ? r->says : r->found->id;
    out->why = r->why;
    return true;
}

static bool one_of(const char *words, const char *said, const char *what, struct err *e)
{
    return !said || words_have(words, said, NULL) ||
           err_set(e, ERR_REQUEST, "%s must be one of %s, got \"%.80s\"", what, words, said);
}

bool advise_text(const struct advice *a, const struct text_question *t, struct advised *out, struct err *e)
{
    const struct question q = {
        .task = t->task, .complexity = t->complexity, .budget = t->budget, .mode = t->mode
    };
    if (t->mode == ADVICE_BEST &&
        !(one_of(a->tasks, t->task, "task", e) && one_of("low|medium|high", t->complexity, "complexity", e) &&
          one_of("low|medium|high", t->budget, "budget", e)))
        return false;
    *out = nothing;
    if (!take_model(out, first(&a->list[TEXT_MODELS], &q), e)) return false;
    const struct rule *p = first(&a->list[TEXT_PARAMETERS], &q);
    out->temperature = p->temperature;
    out->top_p = p->top_p;
    out->top_k = p->top_k;
    out->max_tokens = p->max_tokens;
    return true;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

bool advice_takes_negative(const struct catalog_model *m)
{
    return m->kind == MODEL_IMAGE && strcmp(m->arch, "flux") != 0;
}

int64_t advice_picture_cost(const struct catalog_model *m, int steps)
{
    return m->price_unit == PRICE_PER_STEP ? llround(m->price_step * 1e9) * steps : 0;
}

static void take_parameters(const struct advice *a, const struct question *q, struct advised *out)
{
    const struct rule *p = first(&a->list[IMAGE_PARAMETERS], q);
    if (p) {
        if (out->steps < 0) out->steps = p->steps;
        out->guidance = p->guidance;
        out->size = p->size;
    } else { /* as the catalog draws with it */
        if (out->steps < 0) out->steps = out->model->steps;
        out->guidance = out->model->guidance;
        out->size = *out->model->size ? out->model->size : NULL;
    }
}

/* The best picture for the money: of models whose score is enough the best for "highest", the cheapest else; with fewer steps where that
 * brings it within what may be spent. */
static bool take_best(const struct advice *a, const struct image_question *q, struct advised *out,
                      struct err *e)
{
    const struct rules *scores = &a->list[IMAGE_SCORES];
    const bool highest = q->quality && !strcmp(q->quality, "highest"),
               good = q->quality && !strcmp(q->quality, "good");
    const int64_t most = q->dollars < 0 ? INT64_MAX : (int64_t)floor(q->dollars * 1e9 + 0.5);
    const struct rule *best = NULL, *cheapest = NULL;
    int best_steps = 0;
    for (int pass = 0; pass < 2 && !best; pass++) /* first what is good enough, then what there is */
        for (int i = 0; i < scores->n; i++) {
            const struct rule *r = &scores->v[i];
            if (!r->found) continue;
            int steps = r->found->steps > 0 ? r->found->steps : r->steps;
            if (!cheapest || advice_picture_cost(r->found, r->steps) <
                                 advice_picture_cost(cheapest->found, cheapest->steps))
                cheapest = r;
            while (steps > r->steps && advice_picture_cost(r->found, steps) > most) steps--;
            const int64_t nano = advice_picture_cost(r->found, steps);
            if (nano > most || (!pass && good && r->score < 8)) continue;
            const int64_t than = best ? advice_picture_cost(best->found, best_steps) : 0;
            if (best && (highest || pass ? r->score <= best->score : nano >= than)) continue;
            best = r;
            best_steps = steps;
        }
    out->over = !best;
    if (!best && cheapest) best = cheapest, best_steps = cheapest->steps;
    if (!take_model(out, best, e)) return false;
    out->steps = best_steps;
    if (!*out->why)
        out->why = out->over ? "nothing costs less"
                   : highest ? "the best that may be spent on"
                             : "the cheapest that is good enough";
    return true;
}

static const char *tier(const struct advice *a, double dollars)
{
    return dollars > a->tier_high ? "high" : dollars > a->tier_medium ? "medium" : "low";
}

/* The rule for a model that is asked about; NULL given: none is, and the first that names one holds. */
static const struct rule *turn_of(const struct advice *a, enum list l, const struct catalog_model *given)
{
    for (int i = 0; i < a->list[l].n; i++) {
        const struct rule *r = &a->list[l].v[i];
        const bool known = r->found || (given && (!*r->model || l == IMAGE_BETTER));
        if (known && (!given || !*r->has || strstr(given->id, r->has))) return r;
    }
    return NULL;
}

/* Half of them, not below the least; as they are where that would be more. */
static int halved(int steps, int least)
{
    if (least < 1 || steps <= 2 * least) return steps;
    return steps / 2 > least ? steps / 2 : least;
}

/* Something that is given, made faster or better. */
static bool turn(const struct advice *a, const struct image_question *q, struct advised *out, struct err *e)
{
    const char *name = q->model ? q->model : "";
    const struct catalog_model *given = *name ? catalog_find(a->catalog, name) : NULL;
    const bool fast = !strcmp(q->priority, "speed");
    if (*name && (!given || given->kind != MODEL_IMAGE))
        return err_set(e, ERR_NOT_FOUND, "the catalog has no image model %.100s", name);
    if (!given && q->mode == ADVICE_SEED) return err_set(e, ERR_REQUEST, "model is needed for priority");
    const struct rule *r = turn_of(a, fast ? IMAGE_FASTER : IMAGE_BETTER, given);
    const struct catalog_model *to = r ? r->found : NULL;
    out->steps = q->steps;
    out->guidance = q->guidance;
    out->size = q->size;
    if (r && fast && to) {
        out->steps = r->steps > 0 ? r->steps : to->steps;
    } else if (r && fast) {
        const int usual = q->mode == ADVICE_BEST && q->steps < 0 ? given->steps : q->steps;
        const int fewer = halved(usual, r->steps);
        if (fewer < usual) out->steps = fewer;
    } else if (r) {
        out->steps = q->steps > r->steps ? q->steps : r->steps;
        out->guidance = q->guidance > r->guidance ? q->guidance : r->guidance;
    }
    out->model = to ? to : given;
    if (!out->model) return err_set(e, ERR_NOT_FOUND, "the catalog has no model for that");
    out->says = out->model->id;
    if (q->mode == ADVICE_BEST && fast && out->model != given)
        out->guidance = out->model->guidance; /* the other model's own */
    out->why = fast ? "fewer steps" : "more steps, and a closer look at the prompt";
    return true;
}

bool advise_image(const struct advice *a, const struct image_question *q, struct advised *out, struct err *e)
{
    struct question r = { .use_case = q->use_case,
                          .quality = q->quality,
                          .model = q->model,
                          .dollars = q->dollars,
                          .mode = q->mode };
    *out = nothing;
    if (q->priority && !one_of("speed|quality", q->priority, "priority", e)) return false;
    if (q->mode == ADVICE_BEST && !(one_of("highest|good|any", q->quality, "quality", e) &&
                                    one_of(a->use_cases, q->use_case, "use_case", e)))
        return false;
    if (q->priority) {
        if (!turn(a, q, out, e)) return false;
    } else if (q->model && !q->quality) { /* parameters for this one */
        out->model = catalog_find(a->catalog, q->model);
        if (!out->model || out->model->kind != MODEL_IMAGE)
            return err_set(e, ERR_NOT_FOUND, "the catalog has no image model %.100s", q->model);
        out->says = out->model->id;
        r.model = out->model->id;
        take_parameters(a, &r, out);
    } else if (q->quality && q->mode == ADVICE_SEED) {
        const struct rule *f = first(&a->list[IMAGE_BUDGETS], &r);
        if (!take_model(out, f, e)) return false;
        out->steps = f->steps;
    } else if (q->quality || !q->use_case) {
        if (!take_best(a, q, out, e)) return false;
        r.model = out->model->id;
        take_parameters(a, &r, out);
    } else {
        r.budget = tier(a, q->dollars < 0 && q->mode == ADVICE_BEST ? 1e9 : q->dollars);
        const struct rule *f = first(&a->list[IMAGE_USE_CASES], &r);
        if (!take_model(out, f, e)) return false;
        r.model = out->model->id;
        take_parameters(a, &r, out);
        if (q->mode == ADVICE_BEST && q->dollars >= 0 &&
            advice_picture_cost(out->model, out->steps) > llround(q->dollars * 1e9)) {
            *out = nothing; /* what the tier names costs more than may be spent */
            if (!take_best(a, q, out, e)) return false;
            r.model = out->model->id;
            take_parameters(a, &r, out);
        }
    }
    if (out->steps >= 0) out->nano = advice_picture_cost(out->model, out->steps);
    return true;
}

bool advise_batch(const struct advice *a, const char *quality, int64_t n, double dollars,
                  enum advice_mode mode, struct image_plan *out, struct err *e)
{
    if (n < 1) return err_set(e, ERR_REQUEST, "a plan is for at least one picture");
    const struct image_question q = { .quality = quality ? quality : "good",
                                      .dollars = dollars < 0 ? -1 : dollars / (double)n,
                                      .steps = NOT_SAID,
                                      .guidance = NOT_SAID,
                                      .mode = mode };
    *out = (struct image_plan){ .n = n, .affordable = -1 };
    if (!advise_image(a, &q, &out->each, e)) return false;
    if (__builtin_mul_overflow(out->each.nano, n, &out->nano))
        return err_set(e, ERR_REQUEST, "that many pictures cannot be counted");
    out->images_a_dollar = out->each.nano ? 1e9 / (double)out->each.nano : INFINITY;
    const double most = dollars * 1e9;
    out->over = dollars >= 0 && (double)out->nano > most + 0.5;
    if (dollars >= 0 && out->each.nano)
        out->affordable =
            most / (double)out->each.nano > 9e15 ? -1 : (int64_t)(most / (double)out->each.nano + 1e-9);
    if (out->affordable >= n) out->affordable = -1;
    return true;
}
