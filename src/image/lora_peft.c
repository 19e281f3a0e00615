#define PCRE2_CODE_UNIT_WIDTH 8
#include "image/lora_peft.h"

#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "format/json_read.h"

enum { MATCH_LIMIT = 100000, MAX_PATTERN = 1000 };
#define DEFAULT_ALPHA 8 /* LoraConfig's own, where a configuration does not name one */

struct pattern {
    size_t network; /* bytes of the network's name in front of the key, without the dot */
    const char *key, *text;
    double value;
    pcre2_code *code;
};

struct lora_peft {
    json_t *config;
    const char *file;
    struct pattern *pattern; /* in the order of the configuration */
    size_t n, cap;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* Names that stand before the module's own, the longest first. */
static const char *const networks[] = { "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.",
                                        "text_encoder_2.",        "text_encoder_3.",  "text_encoder." };

/* The module as its network names it. *network: bytes before it in `module` that name the network, without the dot; 0: none do. */
static const char *own_name(const char *module, size_t *network)
{
    static const char wrapped[] = "base_model.model.";
    *network = 0;
    if (strncmp(module, wrapped, sizeof wrapped - 1) == 0) return module + sizeof wrapped - 1;
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        size_t n = strlen(networks[i]);
        if (strncmp(module, networks[i], n) != 0) continue;
        *network = n - 1;
        return module + n;
    }
    return module;
}

/* "unet.r" -> "r", with the 4 bytes of the network's name in *network; "r" -> "r", with none. */
static const char *bare_key(const char *key, size_t *network)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        size_t n = strlen(networks[i]);
        if (strncmp(key, networks[i], n) != 0) continue;
        *network = n - 1;
        return key + n;
    }
    *network = 0;
    return key;
}

/* ---- keys -------------------------------------------------------------------------------------------------- */

static bool says_nothing(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && (!*json_string_value(v) || !strcmp(json_string_value(v), "none"))) ||
           (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

/* Initialisations that subtract the adapter's beginning from the base weights, which the file does not tell. */
static bool changes_base(const json_t *init)
{
    static const char *const known[] = { "gaussian", "eva", "orthogonal", "true", "false" };
    const char *s = json_string_value(init);
    for (size_t i = 0; s && i < sizeof known / sizeof *known; i++) {
        if (!strcmp(s, known[i])) return false;
    }
    return s != NULL;
}

static bool check_key(const char *key, const json_t *v, const char *file, struct err *e)
{
    static const char *const fine[] = { "r",
                                        "lora_alpha",
                                        "rank_pattern",
                                        "alpha_pattern",
                                        "use_rslora",
                                        "task_type",
                                        "auto_mapping",
                                        "base_model_name_or_path",
                                        "revision",
                                        "peft_version",
                                        "inference_mode",
                                        "target_modules",
                                        "lora_dropout",
                                        "fan_in_fan_out",
                                        "exclude_modules",
                                        "layers_to_transform",
                                        "layers_pattern",
                                        "megatron_config",
                                        "megatron_core",
                                        "loftq_config",
                                        "eva_config",
                                        "corda_config",
                                        "qalora_group_size",
                                        "ensure_weight_tying",
                                        "runtime_config" };
    static const char *const never[] = { "use_dora",
                                         "lora_bias",
                                         "use_qalora",
                                         "bias",
                                         "modules_to_save",
                                         "use_bdlora",
                                         "kasa_config",
                                         "arrow_config",
                                         "layer_replication",
                                         "lora_ga_config",
                                         "velora_config",
                                         "monteclora_config",
                                         "target_parameters",
                                         "trainable_token_indices",
                                         "alora_invocation_tokens" };
    if (says_nothing(v)) return true;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        if (!strcmp(key, fine[i])) return true;
    }
    bool init = !strcmp(key, "init_lora_weights"), type = !strcmp(key, "peft_type");
    if (init && !changes_base(v)) return true;
    if (type && json_is_string(v) && !strcasecmp(json_string_value(v), "LORA")) return true;
    bool refused = init || type;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) refused |= !strcmp(key, never[i]);
    if (!refused) {
        log_warn("adapter %s: nothing here knows its setting %.80s", file, key);
        return true;
    }
    const char *s = json_string_value(v);
    return err_set(e, ERR_UNSUPPORTED, "%s: its configuration says %s%s%.40s; only plain LoRA is supported",
                   file, key, s ? ": " : "", s ? s : "");
}

/* ---- patterns ---------------------------------------------------------------------------------------------- */

static bool add_pattern(struct lora_peft *p, size_t network, const char *key, const char *text,
                        const json_t *value, struct err *e)
{
    if (!json_is_number(value))
        return err_set(e, ERR_FORMAT, "%s: %s: \"%.80s\" has no number", p->file, key, text);
    size_t n = strlen(text);
    if (n > MAX_PATTERN)
        return err_set(e, ERR_LIMIT, "%s: %s: a pattern has more than %d bytes", p->file, key,
                       (int)MAX_PATTERN);
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct pattern *more = realloc(p->pattern, cap * sizeof *more);
        if (!more) return err_set(e, ERR_NOMEM, "no memory for the patterns of %s", p->file);
        p->pattern = more;
        p->cap = cap;
    }
    char whole[MAX_PATTERN + 16];
    int code, len = snprintf(whole, sizeof whole, "(.*\\.)?(%s)$", text);
    PCRE2_SIZE at;
    pcre2_code *c =
        pcre2_compile((PCRE2_SPTR)whole, (PCRE2_SIZE)len, PCRE2_UTF | PCRE2_ANCHORED, &code, &at, NULL);
    if (!c) {
        char why[120];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(e, ERR_FORMAT, "%s: %s: \"%.80s\" is not a regular expression: %s", p->file, key, text,
                       why);
    }
    p->pattern[p->n++] = (struct pattern){ network, key, text, json_number_value(value), c };
    return true;
}

static bool take_key(struct lora_peft *p, const char *full, const json_t *v, struct err *e)
{
    size_t network;
    const char *key = bare_key(full, &network), *text;
    json_t *value;
    bool patterns = !strcmp(key, "alpha_pattern") || !strcmp(key, "rank_pattern");
    if ((!strcmp(key, "lora_alpha") || !strcmp(key, "r")) && !json_is_number(v))
        return err_set(e, ERR_FORMAT, "%s: its %s is not a number", p->file, full);
    if (!check_key(key, v, p->file, e)) return false;
    if (!patterns || says_nothing(v)) return true;
    if (!json_is_object(v)) return err_set(e, ERR_FORMAT, "%s: its %s is not an object", p->file, full);
    json_object_foreach((json_t *)v, text, value)
    {
        if (!add_pattern(p, network, key, text, value, e)) return false;
    }
    return true;
}

static bool has_lora_a(const struct weights *w)
{
    for (size_t i = 0; i < weights_count(w); i++) {
        if (strstr(weights_at(w, i)->name, "lora_A")) return true;
    }
    return false;
}

bool lora_peft_read(struct lora_peft **out, const struct weights *w, const char *file, struct err *e)
{
    const char *note = weights_note(w, "lora_adapter_metadata"), *key;
    char path[4096];
    struct err why = { 0 };
    json_t *config, *v;
    *out = NULL;
    if (!note && (!has_lora_a(w) ||
                  snprintf(path, sizeof path, "%sadapter_config.json", weights_dir(w)) >= (int)sizeof path))
        return true;
    if (!(note ? json_read_text(&config, note, strlen(note), &why) : json_read_file(&config, path, &why))) {
        if (!note && why.code == ERR_NOT_FOUND) return true;
        return err_set(e, why.code, "%s: its %s cannot be read: %.160s", file,
                       note ? "note lora_adapter_metadata" : "adapter_config.json", why.msg);
    }
    struct lora_peft *p = calloc(1, sizeof *p);
    if (p) {
        *p = (struct lora_peft){ .config = config,
                                 .file = file,
                                 .match = pcre2_match_data_create(1, NULL),
                                 .limits = pcre2_match_context_create(NULL) };
    } else {
        json_decref(config);
    }
    bool ok = (p && p->match && p->limits) || err_set(e, ERR_NOMEM, "no memory for adapter %s", file);
    if (ok) pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    json_object_foreach(p ? config : NULL, key, v) { ok = ok && take_key(p, key, v, e); }
    if (!ok) {
        lora_peft_free(p);
        return false;
    }
    *out = p;
    return true;
}

void lora_peft_free(struct lora_peft *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) pcre2_code_free(p->pattern[i].code);
    free(p->pattern);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    json_decref(p->config);
    free(p);
}

/* ---- asking ------------------------------------------------------------------------------------------------ */

static const json_t *setting(const struct lora_peft *p, const char *module, size_t network, const char *key)
{
    char full[64];
    snprintf(full, sizeof full, "%.*s.%s", (int)network, module, key);
    const json_t *v = network ? json_object_get(p->config, full) : NULL;
    return v ? v : json_object_get(p->config, key);
}

/* The first pattern of this key for the module; *out is untouched when none fits. */
static bool from_pattern(const struct lora_peft *p, const char *module, const char *key, double *out,
                         struct err *e)
{
    size_t network;
    const char *name = own_name(module, &network);
    for (size_t i = 0; i < p->n; i++) {
        const struct pattern *t = &p->pattern[i];
        bool ours = !t->network || (t->network == network && !strncmp(t->key - network - 1, module, network));
        if (!ours || strcmp(t->key, key) != 0) continue;
        int rc = pcre2_match(t->code, (PCRE2_SPTR)name, strlen(name), 0, 0, p->match, p->limits);
        if (rc == PCRE2_ERROR_NOMATCH) continue;
        if (rc < 0)
            return err_set(e, ERR_LIMIT, "%s: %s: \"%.80s\" takes too long for %.100s (PCRE2 error %d)",
                           p->file, key, t->text, name, rc);
        *out = t->value;
        return true;
    }
    return true;
}

/* Whether anything is said of this network at all: what its configuration leaves out then has PEFT's own default. */
static bool is_about(const struct lora_peft *p, const char *module, size_t network)
{
    const char *key;
    json_t *v;
    json_object_foreach(p->config, key, v)
    {
        size_t n;
        bare_key(key, &n);
        if (n == 0 || (n == network && !strncmp(key, module, n))) return true;
    }
    return false;
}

bool lora_peft_scale(const struct lora_peft *p, const char *module, int64_t rank, const float *alpha,
                     float *out, struct err *e)
{
    size_t network;
    own_name(module, &network);
    double a = (double)rank, r = (double)rank;
    bool stabilised = false;
    if (p && is_about(p, module, network)) {
        const json_t *all = setting(p, module, network, "lora_alpha"),
                     *ranks = setting(p, module, network, "r");
        a = all ? json_number_value(all) : DEFAULT_ALPHA;
        if (ranks) r = json_number_value(ranks);
        stabilised = json_is_true(setting(p, module, network, "use_rslora"));
        if (!from_pattern(p, module, "alpha_pattern", &a, e) ||
            !from_pattern(p, module, "rank_pattern", &r, e))
            return false;
        if (r != (double)rank) {
            return err_set(e, ERR_FORMAT, "%s: %.160s has rank %lld, its configuration says %g", p->file,
                           module, (long long)rank, r);
        }
    }
    if (alpha) a = (double)*alpha;
    *out = (float)(a / (stabilised ? sqrt((double)rank) : (double)rank));
    return isfinite(*out) || err_set(e, ERR_FORMAT, "%s: the alpha of %.160s is not finite",
                                     p ? p->file : "the adapter", module);
}
