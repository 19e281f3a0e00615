/* policy.c - see policy.h. */
#include "service/safety/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>

#include "format/yaml_read.h"
#include "service/safety/safety_data.h"

enum { POLICIES_MOST = 64, PROJECTS_MOST = 4096, WARNINGS_MOST = 20 };

const char *const safety_categories[N_CATEGORIES] = {
    "harassment",
    "harassment/threatening",
    "sexual",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm/intent",
    "self-harm/instructions",
    "self-harm",
    "sexual/minors",
    "violence",
    "violence/graphic",
};

struct word_list {
    char *name, *category;
    struct str_list words;
    int index; /* of the category */
};

struct policy_text { /* as the file has it */
    char *name;
    struct str_list refuse, review;
    char *on_review;
    bool answers;
};

struct project_policy {
    char *name;
    const struct word_policy *policy;
};

struct word_rules {
    struct word_judge judge; /* model NULL: none */
    struct phrases *phrases;
    struct word_list list[PHRASES_LISTS];
    int n_lists;
    struct word_policy off, policy[POLICIES_MOST];
    int n_policies;
    struct project_policy *project;
    int n_projects;
    const struct word_policy *first; /* that holds where none is named */
    struct str_list seed_prohibited, seed_warning;
};

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static const struct yaml_row list_rows[] = {
    { .key = "name", .type = YAML_STR, .offset = offsetof(struct word_list, name), .needed = true },
    { .key = "category", .type = YAML_STR, .offset = offsetof(struct word_list, category) },
    { .key = "words", .type = YAML_STRS, .offset = offsetof(struct word_list, words), .needed = true },
    { .key = NULL },
};
static const struct yaml_row policy_rows[] = {
    { .key = "name", .type = YAML_STR, .offset = offsetof(struct policy_text, name), .needed = true },
    { .key = "refuse", .type = YAML_STRS, .offset = offsetof(struct policy_text, refuse) },
    { .key = "review", .type = YAML_STRS, .offset = offsetof(struct policy_text, review) },
    { .key = "on_review", .type = YAML_STR, .offset = offsetof(struct policy_text, on_review) },
    { .key = "answers", .type = YAML_BOOL, .offset = offsetof(struct policy_text, answers) },
    { .key = NULL },
};
struct judge_text { /* as the file has it */
    char *model, *prompt, *on_failure;
    struct str_list labels;
    double threshold;
    bool prompts;
};
static const struct yaml_row judge_rows[] = {
    { .key = "model", .type = YAML_STR, .offset = offsetof(struct judge_text, model), .needed = true },
    { .key = "prompt", .type = YAML_STR, .offset = offsetof(struct judge_text, prompt) },
    { .key = "labels", .type = YAML_STRS, .offset = offsetof(struct judge_text, labels) },
    { .key = "threshold",
      .type = YAML_NUMBER,
      .offset = offsetof(struct judge_text, threshold),
      .min = 0.1,
      .max = 1 },
    { .key = "prompts", .type = YAML_BOOL, .offset = offsetof(struct judge_text, prompts) },
    { .key = "on_failure", .type = YAML_STR, .offset = offsetof(struct judge_text, on_failure) },
    { .key = NULL },
};
struct words_file {
    char *otherwise;
    const struct yaml_tree *lists, *policies, *projects, *judge;
    struct str_list prohibited, warning;
};
static const struct yaml_row seed_rows[] = {
    { .key = "prohibited", .type = YAML_STRS, .offset = offsetof(struct words_file, prohibited) },
    { .key = "warning", .type = YAML_STRS, .offset = offsetof(struct words_file, warning) },
    { .key = NULL },
};
static const struct yaml_row file_rows[] = {
    { .key = "default", .type = YAML_STR, .offset = offsetof(struct words_file, otherwise) },
    { .key = "lists", .type = YAML_TREE, .offset = offsetof(struct words_file, lists) },
    { .key = "policies", .type = YAML_TREE, .offset = offsetof(struct words_file, policies) },
    { .key = "projects", .type = YAML_TREE, .offset = offsetof(struct words_file, projects) },
    { .key = "judge", .type = YAML_TREE, .offset = offsetof(struct words_file, judge) },
    { .key = "seed", .type = YAML_WITHIN, .within = seed_rows },
    { .key = NULL },
};

static bool is_list(const struct yaml_doc *d, const struct yaml_tree *t, const char *what, int most,
                    struct err *e)
{
    if (!t) return true;
    if (t->kind != YAML_KIND_LIST) return yaml_bad(d, t, e, "expected a list of %s", what);
    return t->n <= most || yaml_bad(d, t, e, "more than %d %s", most, what);
}

static int list_named(const struct word_rules *r, const char *name)
{
    for (int i = 0; i < r->n_lists; i++)
        if (!strcmp(r->list[i].name, name)) return i;
    return -1;
}

static bool take_list(struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *t,
                      struct err *e)
{
    struct word_list *l = &r->list[r->n_lists];
    const struct yaml_tree *words = yaml_member(t, "words");
    struct err why;
    bool ok = yaml_fill(d, t, list_rows, l, e);
    if (ok && (!*l->name || list_named(r, l->name) >= 0))
        ok = yaml_bad(d, t, e, "the name of a list, and each once: \"%.60s\"", l->name);
    r->n_lists++;
    l->index = CATEGORY_NONE;
    for (int i = 0; ok && i < N_CATEGORIES; i++)
        if (!strcmp(l->category, safety_categories[i])) l->index = i;
    if (ok && *l->category && l->index == CATEGORY_NONE)
        ok = yaml_bad(d, yaml_member(t, "category"), e, "there is no category \"%.60s\"", l->category);
    for (int i = 0; ok && i < l->words.n; i++) {
        if (phrases_add(r->phrases, l->words.v[i], (unsigned)(r->n_lists - 1), &why)) continue;
        ok = why.code == ERR_NOMEM ? err_set(e, ERR_NOMEM, "out of memory")
                                   : yaml_bad(d, &words->item[i], e, "%s", why.msg);
    }
    return ok;
}

static bool take_names(const struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *t,
                       const struct str_list *names, uint64_t *bits, struct err *e)
{
    for (int i = 0; i < names->n; i++) {
        const int k = list_named(r, names->v[i]);
        if (k < 0) return yaml_bad(d, &t->item[i], e, "there is no list \"%.60s\"", names->v[i]);
        *bits |= UINT64_C(1) << k;
    }
    return true;
}

static bool take_policy(struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *t,
                        struct err *e)
{
    struct policy_text p = { 0 };
    struct word_policy *to = &r->policy[r->n_policies];
    bool ok = yaml_fill(d, t, policy_rows, &p, e);
    if (ok && (!*p.name || !strcmp(p.name, "off") || strlen(p.name) > 60))
        ok = yaml_bad(d, t, e, "\"%.60s\" cannot be a policy's name", p.name);
    for (int i = 0; ok && i < r->n_policies; i++)
        if (!strcmp(r->policy[i].name, p.name)) ok = yaml_bad(d, t, e, "a second policy \"%.60s\"", p.name);
    ok = ok && take_names(r, d, yaml_member(t, "refuse"), &p.refuse, &to->refuse, e) &&
         take_names(r, d, yaml_member(t, "review"), &p.review, &to->review, e);
    if (ok && *p.on_review && strcmp(p.on_review, "hold") != 0 && strcmp(p.on_review, "mark") != 0)
        ok = yaml_bad(d, yaml_member(t, "on_review"), e, "on_review must be hold or mark");
    if (ok && !to->refuse && !to->review) ok = yaml_bad(d, t, e, "a policy needs lists to refuse or review");
    if (ok) {
        to->name = p.name;
        p.name = NULL;
        to->answers = p.answers;
        to->hold = to->review && !strcmp(p.on_review, "hold");
        r->n_policies++;
    }
    yaml_fill_free(policy_rows, &p);
    return ok;
}

static bool take_projects(struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *t,
                          struct err *e)
{
    struct err why;
    if (!t) return true;
    if (t->kind != YAML_KIND_MAP) return yaml_bad(d, t, e, "expected PROJECT: POLICY lines");
    if (t->n > PROJECTS_MOST) return yaml_bad(d, t, e, "more than %d projects", PROJECTS_MOST);
    r->project = calloc((size_t)t->n + 1, sizeof *r->project);
    if (!r->project) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < t->n; i++) {
        const struct yaml_tree *v = &t->item[i];
        struct project_policy *p = &r->project[r->n_projects++];
        if (v->kind != YAML_KIND_TEXT || !*v->text) return yaml_bad(d, v, e, "expected a policy's name");
        if (!(p->policy = word_rules_find(r, v->text, &why))) return yaml_bad(d, v, e, "%s", why.msg);
        if (!(p->name = strdup(v->key))) return err_set(e, ERR_NOMEM, "out of memory");
    }
    return true;
}

static bool take_labels(struct word_judge *j, const struct yaml_doc *d, const struct yaml_tree *t,
                        const struct str_list *names, struct err *e)
{
    if (!names->n) j->labels = (1U << N_CATEGORIES) - 1;
    for (int i = 0; i < names->n; i++) {
        int k = 0;
        while (k < N_CATEGORIES && strcmp(safety_categories[k], names->v[i]) != 0) k++;
        if (k == N_CATEGORIES)
            return yaml_bad(d, &t->item[i], e, "there is no category \"%.60s\"", names->v[i]);
        j->labels |= 1U << k;
    }
    return true;
}

static bool take_judge(struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *t,
                       struct err *e)
{
    struct judge_text p = { .threshold = 0.5 };
    struct word_judge *j = &r->judge;
    if (!t) return true;
    bool ok = yaml_fill(d, t, judge_rows, &p, e);
    if (ok && !*p.model) ok = yaml_bad(d, t, e, "a judge needs the name of a chat model");
    if (ok && *p.on_failure && strcmp(p.on_failure, "refuse") != 0 && strcmp(p.on_failure, "pass") != 0)
        ok = yaml_bad(d, yaml_member(t, "on_failure"), e, "on_failure must be refuse or pass");
    ok = ok && take_labels(j, d, yaml_member(t, "labels"), &p.labels, e);
    if (ok) {
        j->threshold = p.threshold;
        j->prompts = p.prompts;
        j->refuse = strcmp(p.on_failure, "pass") != 0;
        j->model = p.model;
        j->prompt = p.prompt;
        p.model = p.prompt = NULL;
    }
    yaml_fill_free(judge_rows, &p);
    return ok;
}

static bool take_file(struct word_rules *r, const struct yaml_doc *d, const struct yaml_tree *words,
                      struct err *e)
{
    struct words_file f = { 0 };
    bool ok = yaml_fill(d, words, file_rows, &f, e) && is_list(d, f.lists, "lists", PHRASES_LISTS, e) &&
              is_list(d, f.policies, "policies", POLICIES_MOST, e);
    for (int i = 0; ok && f.lists && i < f.lists->n; i++) ok = take_list(r, d, &f.lists->item[i], e);
    for (int i = 0; ok && f.policies && i < f.policies->n; i++)
        ok = take_policy(r, d, &f.policies->item[i], e);
    ok = ok && take_projects(r, d, f.projects, e) && take_judge(r, d, f.judge, e);
    if (ok && *f.otherwise) {
        r->first = word_rules_find(r, f.otherwise, NULL);
        if (!r->first)
            ok = yaml_bad(d, yaml_member(words, "default"), e, "there is no policy \"%.60s\"", f.otherwise);
    }
    if (ok) {
        r->seed_prohibited = f.prohibited;
        r->seed_warning = f.warning;
        f.prohibited = f.warning = (struct str_list){ 0 };
    }
    yaml_fill_free(file_rows, &f);
    return ok;
}

static bool take_doc(struct word_rules **out, const struct yaml_doc *d, struct err *e)
{
    struct word_rules *r = calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_NOMEM, "out of memory");
    const struct yaml_tree *words = yaml_member(&d->root, "words");
    r->first = &r->off;
    bool ok = (r->off.name = strdup("off")) || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && phrases_new(&r->phrases, e) && (!words || take_file(r, d, words, e)) &&
         phrases_finish(r->phrases, e);
    if (ok)
        *out = r;
    else
        word_rules_free(r);
    return ok;
}

bool word_rules_read(struct word_rules **out, const char *name, const char *text, size_t len, struct err *e)
{
    struct yaml_doc d = { 0 };
    bool ok = yaml_read_text(&d, name, text, len, e) && take_doc(out, &d, e);
    yaml_doc_free(&d);
    return ok;
}

bool word_rules_load(struct word_rules **out, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    bool ok;
    if (path && *path) {
        ok = yaml_read_file(&d, path, e) && take_doc(out, &d, e);
        yaml_doc_free(&d);
    } else {
        ok = word_rules_read(out, "the built-in policy", safety_policy,
                             (size_t)(safety_policy_end - safety_policy), e);
    }
    return ok || err_wrap(e, "safety policy");
}

void word_rules_free(struct word_rules *r)
{
    if (!r) return;
    for (int i = 0; i < r->n_lists; i++) yaml_fill_free(list_rows, &r->list[i]);
    for (int i = 0; i < r->n_policies; i++) free(r->policy[i].name);
    for (int i = 0; i < r->n_projects; i++) free(r->project[i].name);
    free(r->project);
    free(r->off.name);
    free(r->judge.model);
    free(r->judge.prompt);
    str_list_clear(&r->seed_prohibited);
    str_list_clear(&r->seed_warning);
    phrases_free(r->phrases);
    free(r);
}

/* ---- what is asked of it ------------------------------------------------------------------------------------------- */

const struct word_policy *word_rules_find(const struct word_rules *r, const char *name, struct err *e)
{
    struct buf names = BUF_INIT(240);
    if (!*name) return r->first;
    if (!strcmp(name, "off")) return &r->off;
    for (int i = 0; i < r->n_policies; i++)
        if (!strcmp(r->policy[i].name, name)) return &r->policy[i];
    for (int i = 0; i < r->n_policies; i++) buf_printf(&names, ", %s", r->policy[i].name);
    err_set(e, ERR_NOT_FOUND, "there is no safety policy \"%.60s\"; there are: off%s", name,
            names.data ? names.data : "");
    buf_free(&names);
    return NULL;
}

const struct word_policy *word_rules_project(const struct word_rules *r, const char *project)
{
    for (int i = 0; i < r->n_projects; i++)
        if (!strcmp(r->project[i].name, project)) return r->project[i].policy;
    return NULL;
}

bool word_rules_may_hold(const struct word_rules *r, bool has_store, struct err *e)
{
    for (int i = 0; !has_store && i < r->n_policies; i++)
        if (r->policy[i].hold)
            return err_set(e, ERR_REQUEST,
                           "the safety policy \"%s\" holds requests for review (on_review), which a store "
                           "keeps; --store names one",
                           r->policy[i].name);
    return true;
}

const struct word_judge *word_rules_judge(const struct word_rules *r)
{
    return r->judge.model ? &r->judge : NULL;
}

const struct phrases *word_rules_phrases(const struct word_rules *r) { return r->phrases; }
int word_rules_category(const struct word_rules *r, unsigned list) { return r->list[list].index; }

const char *word_action(enum word_verdict v)
{
    return v == WORD_REFUSE ? "reject" : v == WORD_REVIEW ? "review" : "proceed";
}

struct checking {
    const struct word_rules *r;
    const struct word_policy *p;
    struct word_found *out;
    struct err *e;
    bool ok;
};

static bool has(const struct str_list *l, const char *s)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->v[i], s)) return true;
    return false;
}

static bool take_hit(void *arg, const struct phrase_hit *hit)
{
    struct checking *c = arg;
    const uint64_t bit = UINT64_C(1) << hit->list;
    struct word_found *f = c->out;
    f->lists |= bit;
    if (c->p->refuse & bit && f->verdict != WORD_REFUSE) {
        f->verdict = WORD_REFUSE;
        snprintf(f->reason, sizeof f->reason, "Contains prohibited keyword: %.60s (%.40s)", hit->phrase,
                 c->r->list[hit->list].name);
    } else if (c->p->review & bit) {
        if (f->verdict == WORD_PROCEED) f->verdict = WORD_REVIEW;
        if (f->warnings.n < WARNINGS_MOST && !has(&f->warnings, hit->phrase))
            c->ok = str_list_add(&f->warnings, hit->phrase, strlen(hit->phrase), c->e);
    }
    return c->ok;
}

bool word_check(const struct word_rules *r, const struct word_policy *p, const char *text, size_t len,
                struct word_found *out, struct err *e)
{
    struct checking c = { r, p, out, e, true };
    return phrases_find(r->phrases, text, len, take_hit, &c, e) && c.ok;
}

void word_found_free(struct word_found *f)
{
    str_list_clear(&f->warnings);
    *f = (struct word_found){ 0 };
}

bool word_check_seed(const struct word_rules *r, const char *prompt, size_t len, struct word_found *out,
                     struct err *e)
{
    size_t n = 0;
    uint8_t *lower = u8_tolower((const uint8_t *)prompt, len, NULL, NULL, NULL, &n);
    bool ok = lower || !len || err_set(e, ERR_REQUEST, "the prompt is no UTF-8");
    *out = (struct word_found){ 0 };
    for (int i = 0; ok && lower && i < r->seed_prohibited.n; i++) {
        const char *word = r->seed_prohibited.v[i];
        if (!memmem(lower, n, word, strlen(word))) continue;
        out->verdict = WORD_REFUSE;
        snprintf(out->reason, sizeof out->reason, "Contains prohibited keyword: %.100s", word);
        break;
    }
    for (int i = 0; ok && lower && out->verdict != WORD_REFUSE && i < r->seed_warning.n; i++) {
        const char *word = r->seed_warning.v[i];
        if (!memmem(lower, n, word, strlen(word))) continue;
        out->verdict = WORD_REVIEW;
        ok = str_list_add(&out->warnings, word, strlen(word), e);
    }
    free(lower);
    return ok;
}
