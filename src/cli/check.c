/* check.c - `hearth check`: what a safety policy would do with a prompt. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "service/safety/policy.h"

static json_t *answer_json(const struct word_found *f)
{
    json_t *o = json_pack("{s:b, s:s}", "safe", f->verdict != WORD_REFUSE, "action", word_action(f->verdict)),
           *warnings = json_array();
    for (int i = 0; i < f->warnings.n; i++) json_array_append_new(warnings, json_string(f->warnings.v[i]));
    if (f->verdict == WORD_REFUSE) json_object_set_new(o, "reason", json_string(f->reason));
    if (f->verdict == WORD_REVIEW) json_object_set(o, "warnings", warnings);
    json_decref(warnings);
    return o;
}

static void print_answer(const struct word_found *f)
{
    printf("%s", word_action(f->verdict));
    if (f->verdict == WORD_REFUSE) printf(": %s", f->reason);
    for (int i = 0; f->verdict == WORD_REVIEW && i < f->warnings.n; i++)
        printf("%s%s", i ? ", " : ": ", f->warnings.v[i]);
    printf("\n");
}

/* *rejects: the exit status says so. */
static bool check(const struct options *o, bool *rejects, struct err *e)
{
    struct word_rules *rules = NULL;
    struct word_found found = { 0 };
    const char *text = NULL;
    bool seed = false, ok = true;
    for (int i = 0; ok && i < o->args.n; i++) {
        const char *s = o->args.v[i];
        if (!text && !strncmp(s, "mode=", 5)) {
            seed = !strcmp(s + 5, "seed");
            ok = seed || !strcmp(s, "mode=best") || err_set(e, ERR_REQUEST, "mode must be best or seed");
        } else if (text) {
            ok = err_set(e, ERR_REQUEST, "one text at a time: put it in quotes");
        } else {
            text = s;
        }
    }
    if (ok && !text) ok = err_set(e, ERR_REQUEST, "say what text to check");
    ok = ok && word_rules_load(&rules, o->safety_policy, e);
    if (ok && seed) {
        ok = word_check_seed(rules, text, strlen(text), &found, e);
    } else if (ok) {
        const struct word_policy *p = word_rules_find(rules, o->server.policy, e);
        ok = p && word_check(rules, p, text, strlen(text), &found, e);
    }
    if (ok && o->json) {
        json_t *out = answer_json(&found);
        ok = (!json_dumpf(out, stdout, JSON_COMPACT) && putchar('\n') == '\n') ||
             err_set(e, ERR_IO, "standard output cannot be written");
        json_decref(out);
    } else if (ok) {
        print_answer(&found);
    }
    *rejects = found.verdict == WORD_REFUSE;
    word_found_free(&found);
    word_rules_free(rules);
    return ok;
}

int cmd_check(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    bool rejects = false;
    int rc = options_parse(&o, CMD_CHECK, argc, argv);
    if (rc < 0) {
        if (check(&o, &rejects, &e)) {
            rc = rejects ? 3 : 0;
        } else {
            fprintf(stderr, "hearth check: %s\n", e.msg);
            rc = e.code == ERR_REQUEST || e.code == ERR_NOT_FOUND ? 2 : 1;
        }
    }
    options_free(&o);
    return rc;
}
