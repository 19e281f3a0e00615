#define PCRE2_CODE_UNIT_WIDTH 8
#include "lm/quantized_modules.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lm/quantization.h"

enum { MATCH_LIMIT = 100000, MAX_RULES = 1 << 14, MAX_NAME = 300 };

/* What is said of a module. Zeros: nothing. */
struct said {
    enum { SAID_NOTHING, SAID_PLAIN, SAID_QUANTISED } what;
    int bits;
    enum { ANY_KIND, WHOLE, FLOATING } kind;
    int64_t group; /* inputs; -1: one scale for a row or the matrix */
};

/* How a list's names are meant. */
enum reading {
    EXACT,     /* compressed-tensors: the module, or a class of modules */
    CONTAINED, /* a part of the name */
    MATCHED    /* a regular expression at its beginning (also of EXACT, behind "re:") */
};

struct rule {
    enum reading reading;
    const char *text; /* borrowed, without what models begin with */
    pcre2_code *code; /* of MATCHED */
    struct said said;
};

struct quantized_modules {
    struct rule *rule; /* the first one that says something counts */
    size_t n;
    struct said otherwise;
    bool vague; /* a class of modules is left out, and which are of it a file does not say */
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* ---- names ---------------------------------------------------------------------------------------------------------- */

/* What stands before a language model's own names, by version and wrapper; the longest first. */
static const char *const beginnings[] = { "model.language_model.model.", "model.language_model.",
                                          "language_model.model.", "language_model.", "model." };
enum { N_BEGINNINGS = sizeof beginnings / sizeof *beginnings };

static const char *own_name(const char *name)
{
    for (size_t i = 0; i < N_BEGINNINGS; i++) {
        const size_t n = strlen(beginnings[i]);
        if (strncmp(name, beginnings[i], n) == 0) return name + n;
    }
    return name;
}

/* Is the pattern, whose asterisks stand for anything, the first n bytes of s? */
static bool glob(const char *pattern, const char *s, size_t n)
{
    const char *star = NULL;
    size_t i = 0, again = 0;
    while (i < n) {
        if (*pattern == '*') {
            star = pattern++;
            again = i;
        } else if (*pattern == s[i]) {
            pattern++, i++;
        } else if (star) {
            pattern = star + 1;
            i = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

/* The pattern is the module, or one that holds it. */
static bool glob_holds(const char *pattern, const char *name)
{
    for (const char *end = name; *end;) {
        end += 1 + strcspn(end + 1, ".");
        if (glob(pattern, name, (size_t)(end - name))) return true;
    }
    return false;
}

/* 2: whole parts of the name, from a dot to a dot; 1: somewhere; 0: not in it. */
static int part_of(const char *text, const char *name)
{
    const size_t n = strlen(text);
    int found = 0;
    for (const char *at = n ? strstr(name, text) : NULL; at; at = strstr(at + 1, text)) {
        const bool begins = at == name || at[-1] == '.' || *text == '.',
                   ends = !at[n] || at[n] == '.' || text[n - 1] == '.';
        found = begins && ends ? 2 : 1;
        if (found == 2) break;
    }
    return found;
}

static bool matches(const struct quantized_modules *q, const struct rule *r, const char *name)
{
    char full[MAX_NAME];
    const char *own = own_name(name);
    for (size_t i = 0; i <= N_BEGINNINGS; i++) {
        snprintf(full, sizeof full, "%s%s", i < N_BEGINNINGS ? beginnings[i] : "", own);
        if (pcre2_match(r->code, (PCRE2_SPTR)full, strlen(full), 0, 0, q->match, q->limits) >= 0) return true;
    }
    return false;
}

/* 2: the rule is for this module; 1: it may be; 0: it is not. */
static int applies(const struct quantized_modules *q, const struct rule *r, const char *name)
{
    const char *own = own_name(name);
    if (r->reading == MATCHED) return matches(q, r, name) ? 2 : 0;
    if (strchr(r->text, '*')) return glob_holds(r->text, own) ? 2 : 0;
    if (r->reading == EXACT && (strcmp(r->text, own) == 0 || strcmp(r->text, "Linear") == 0)) return 2;
    const int part = part_of(r->text, own);
    return r->reading == EXACT && part ? 1 : part;
}

static struct said said_of(const struct quantized_modules *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++) {
        const int fits = applies(q, &q->rule[i], name);
        if (fits == 2) return q->rule[i].said;
        if (fits == 1) return (struct said){ 0 };
    }
    return q->otherwise;
}

/* ---- rules ------------------------------------------------------------------------------------------------------------ */

static bool add(struct quantized_modules *q, enum reading reading, const char *text, struct said said,
                struct err *e)
{
    struct rule r = { .reading = reading, .text = text, .said = said };
    if (q->n >= MAX_RULES)
        return err_set(e, ERR_LIMIT, "quantization_config names more than %d modules", MAX_RULES);
    if (reading == EXACT && strncmp(text, "re:", 3) == 0) r.reading = MATCHED, r.text = text + 3;
    if (r.reading == MATCHED) {
        int code;
        PCRE2_SIZE at;
        r.code = pcre2_compile((PCRE2_SPTR)r.text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code, &at, NULL);
        if (!r.code)
            return err_set(e, ERR_FORMAT, "quantization_config: '%.100s' is not a regular expression", text);
    } else {
        r.text = own_name(text);
    }
    if ((q->n & (q->n - 1)) == 0) { /* full at each power of two */
        struct rule *more = realloc(q->rule, (q->n ? 2 * q->n : 1) * sizeof *more);
        if (!more) {
            pcre2_code_free(r.code);
            return err_set(e, ERR_NOMEM, "no memory for the rules of quantization_config");
        }
        q->rule = more;
    }
    q->rule[q->n++] = r;
    return true;
}

/* A class of modules: which are of it cannot be told from a file. */
static bool is_other_class(const char *target)
{
    return *target >= 'A' && *target <= 'Z' && !strchr(target, '.') && strcmp(target, "Linear") != 0;
}

static bool add_list(struct quantized_modules *q, const json_t *from, const char *key, enum reading reading,
                     struct said said, struct err *e)
{
    const json_t *list = json_object_get(from, key);
    if (!list || json_is_null(list)) return true;
    bool ok = json_is_array(list);
    for (size_t i = 0; ok && i < json_array_size(list); i++) ok = json_is_string(json_array_get(list, i));
    if (!ok) return err_set(e, ERR_FORMAT, "quantization_config: %s is not a list of names", key);
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (said.what == SAID_PLAIN && is_other_class(name)) q->vague = true;
        ok = add(q, reading, name, said, e);
    }
    return ok;
}

static int64_t whole(const json_t *from, const char *key, const char *other)
{
    const json_t *v = json_object_get(from, key);
    if (!json_is_integer(v) && other) v = json_object_get(from, other);
    return json_is_integer(v) ? json_integer_value(v) : 0;
}

/* "weights" of a group of compressed-tensors. */
static struct said said_by_group(const json_t *weights)
{
    struct said s = { .what = json_is_object(weights) ? SAID_QUANTISED : SAID_NOTHING };
    const char *type = json_string_value(json_object_get(weights, "type")),
               *strategy = json_string_value(json_object_get(weights, "strategy"));
    s.bits = (int)whole(weights, "num_bits", NULL);
    if (type) s.kind = strcmp(type, "int") == 0 ? WHOLE : strcmp(type, "float") == 0 ? FLOATING : ANY_KIND;
    if (strategy && (strcmp(strategy, "channel") == 0 || strcmp(strategy, "tensor") == 0))
        s.group = -1;
    else if (!strategy || strcmp(strategy, "block") != 0)
        s.group = whole(weights, "group_size", NULL);
    return s;
}

static bool add_groups(struct quantized_modules *q, const json_t *block, struct err *e)
{
    const char *name;
    json_t *group;
    const json_t *groups = json_object_get(block, "config_groups");
    bool ok = !groups || json_is_null(groups) || json_is_object(groups);
    if (!ok) return err_set(e, ERR_FORMAT, "quantization_config: config_groups is not an object");
    q->otherwise.what = json_object_size(groups) ? SAID_PLAIN : SAID_NOTHING;
    json_object_foreach((json_t *)groups, name, group)
    {
        const json_t *targets = json_object_get(group, "targets");
        if (!json_is_array(targets)) q->otherwise.what = SAID_NOTHING;
        for (size_t i = 0; i < json_array_size(targets); i++) {
            const char *t = json_string_value(json_array_get(targets, i));
            if (t && is_other_class(t)) q->otherwise.what = SAID_NOTHING;
        }
        ok = ok && add_list(q, group, "targets", EXACT, said_by_group(json_object_get(group, "weights")), e);
    }
    return ok;
}

/* GPTQ: of modules by regular expressions; "-:" leaves them out. */
static bool add_dynamic(struct quantized_modules *q, const json_t *block, struct said said, struct err *e)
{
    const char *key;
    json_t *v;
    bool ok = true;
    json_object_foreach(json_object_get(block, "dynamic"), key, v)
    {
        struct said s = said;
        const bool out = strncmp(key, "-:", 2) == 0;
        const char *pattern = out || strncmp(key, "+:", 2) == 0 ? key + 2 : key;
        if (out) s = (struct said){ .what = SAID_PLAIN };
        if (!out && json_object_get(v, "bits")) s.bits = (int)whole(v, "bits", NULL);
        if (!out && json_object_get(v, "group_size")) s.group = whole(v, "group_size", NULL);
        ok = ok && add(q, MATCHED, pattern, s, e);
    }
    const json_t *inside = json_object_get(block, "modules_in_block_to_quantize");
    for (size_t i = 0; ok && i < json_array_size(inside); i++) {
        const json_t *together = json_array_get(inside, i);
        for (size_t k = 0; ok && k < json_array_size(together); k++) {
            const char *name = json_string_value(json_array_get(together, k));
            ok = name ? add(q, CONTAINED, name, said, e)
                      : err_set(e, ERR_FORMAT,
                                "quantization_config: modules_in_block_to_quantize is no list of names");
        }
    }
    if (json_array_size(inside)) q->otherwise = (struct said){ .what = SAID_PLAIN };
    return ok;
}

static bool read_rules(struct quantized_modules *q, const json_t *block, const char *method, struct err *e)
{
    static const char *const lists[] = { "ignore", "modules_to_not_convert", "exclude_modules", "exclude" };
    const struct said plain = { .what = SAID_PLAIN };
    const bool groups =
        strcmp(method, "compressed-tensors") == 0 || json_object_get(block, "config_groups") != NULL;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!add_list(q, block, lists[i], groups ? EXACT : CONTAINED, plain, e)) return false;
    if (groups) return add_groups(q, block, e);
    struct said s = { .what = SAID_QUANTISED };
    if (strcmp(method, "gptq") == 0 || strcmp(method, "awq") == 0) {
        s.kind = WHOLE;
        s.bits = (int)whole(block, "bits", "w_bit");
        s.group = whole(block, "group_size", "q_group_size");
    } else if (strcmp(method, "fp8") == 0 || strcmp(method, "fbgemm_fp8") == 0) {
        if (strcmp(method, "fbgemm_fp8") == 0)
            s.what = SAID_NOTHING; /* it may be experts alone, as Llama 4's */
        s.kind = FLOATING;
        s.bits = 8;
    } else if (strcmp(method, "modelopt") == 0) {
        s.kind = FLOATING;
    } else {
        s = (struct said){
            0
        }; /* Quark's layers have configurations of their own; of gpt-oss' blocks the names say which they are */
    }
    q->otherwise = s;
    return strcmp(method, "gptq") != 0 || add_dynamic(q, block, s, e);
}

bool quantized_modules_open(struct quantized_modules **out, const struct weights *w, struct err *e)
{
    const json_t *block = quantization_of(w);
    *out = NULL;
    if (!json_is_object(block)) return true;
    struct quantized_modules *q = calloc(1, sizeof *q);
    if (q)
        *q = (struct quantized_modules){ .match = pcre2_match_data_create(1, NULL),
                                         .limits = pcre2_match_context_create(NULL) };
    bool ok = (q && q->match && q->limits) ||
              err_set(e, ERR_NOMEM, "no memory for the rules of quantization_config");
    if (ok) pcre2_set_match_limit(q->limits, MATCH_LIMIT);
    ok = ok && read_rules(q, block, quantization_method(w), e);
    if (!ok) {
        quantized_modules_close(q);
        return false;
    }
    *out = q;
    return true;
}

void quantized_modules_close(struct quantized_modules *q)
{
    if (!q) return;
    for (size_t i = 0; i < q->n; i++) pcre2_code_free(q->rule[i].code);
    free(q->rule);
    pcre2_match_data_free(q->match);
    pcre2_match_context_free(q->limits);
    free(q);
}

/* ---- the files against them ------------------------------------------------------------------------------------------- */

bool quantized_modules_check(const struct quantized_modules *q, const char *module,
                             const struct module_numbers *has, struct err *e)
{
    if (!q) return true;
    const struct said s = said_of(q, module);
    const bool is_head =
        strcmp(own_name(module), "lm_head") == 0; /* left out by most methods without a word */
    if (s.what == SAID_PLAIN && has->quantised)
        return err_set(e, ERR_FORMAT, "%.120s is quantised, and quantization_config leaves it out", module);
    if (s.what == SAID_QUANTISED && !has->quantised && !is_head && !q->vague)
        return err_set(e, ERR_FORMAT,
                       "%.120s is not quantised, and quantization_config does not leave it out", module);
    if (!has->quantised) return true;
    if (s.kind != ANY_KIND && (s.kind == FLOATING) != has->floating)
        return err_set(e, ERR_FORMAT, "%.120s has %s numbers, quantization_config says %s ones", module,
                       has->floating ? "floating-point" : "whole",
                       has->floating ? "whole" : "floating-point");
    if (s.bits > 0 && s.bits != has->bits)
        return err_set(e, ERR_FORMAT, "%.120s has numbers of %d bits, quantization_config says %d", module,
                       has->bits, s.bits);
    const int64_t group = s.group < 0 || s.group > has->n_in ? has->n_in : s.group;
    if (group && has->group && group != has->group)
        return err_set(e, ERR_FORMAT, "%.120s has groups of %lld inputs, quantization_config says %lld",
                       module, (long long)has->group, (long long)group);
    return true;
}
