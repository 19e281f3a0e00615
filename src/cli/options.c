/* options.c - settings from defaults, the configuration file, the environment and flags, in that order of strength. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/options_file.h"
#include "cli/options_table.h"

static void *field_of(struct options *o, const struct option_spec *s) { return (char *)o + s->field; }

/* ---- values -------------------------------------------------------------------------------------------------------- */

static bool list_add(struct str_list *l, const char *s, size_t len, struct err *e)
{
    char **v = realloc(l->v, ((size_t)l->n + 1) * sizeof *v);
    char *copy = strndup(s, len);
    if (v) l->v = v;
    if (!v || !copy) {
        free(copy);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    l->v[l->n++] = copy;
    return true;
}

static void list_clear(struct str_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i]);
    free(l->v);
    *l = (struct str_list){ 0 };
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off",
                                                                                   "0" };
    for (int i = 0; i < 4; i++) {
        if (!strcasecmp(s, yes[i])) return *out = true, true;
        if (!strcasecmp(s, no[i])) return *out = false, true;
    }
    return false;
}

/* A number with, for bytes, a suffix K, M, G or T (and an optional B or iB after it). */
static bool parse_number(const char *s, bool bytes, double *out)
{
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || errno || !isfinite(v)) return false;
    if (bytes && *end) {
        static const char units[] = "KMGT";
        const char *u = strchr(units, toupper((unsigned char)*end));
        if (u) v = ldexp(v, 10 * (int)(u - units + 1)), end++;
        if (*end == 'i') end++;
        if (*end == 'B' || *end == 'b') end++;
    }
    if (*end) return false;
    *out = v;
    return true;
}

/* True when `value` is one of the words of "a|b|c". */
static bool one_of(const char *words, const char *value)
{
    size_t n = strlen(value);
    for (const char *w = words; n; w = strchr(w, '|') + 1) {
        if (!strncmp(w, value, n) && (w[n] == '|' || !w[n])) return true;
        if (!strchr(w, '|')) break;
    }
    return false;
}

/* `where` names the option the way the user wrote it: "--ctx", "HEARTH_CTX", "config.yaml: ctx". */
static bool set_value(struct options *o, const struct option_spec *s, const char *value, const char *where,
                      struct err *e)
{
    void *f = field_of(o, s);
    double v;
    switch (s->type) {
    case OPT_STR:
        if (s->what && strchr(s->what, '|') && *value && !one_of(s->what, value))
            return err_set(e, ERR_REQUEST, "%s must be one of %s, got \"%s\"", where, s->what, value);
        char *copy = strdup(value);
        if (!copy) return err_set(e, ERR_NOMEM, "out of memory");
        free(*(char **)f);
        *(char **)f = copy;
        return true;
    case OPT_LIST: return list_add(f, value, strlen(value), e);
    case OPT_BOOL:
        if (parse_bool(value, f)) return true;
        return err_set(e, ERR_REQUEST, "%s must be yes or no, got \"%s\"", where, value);
    case OPT_INT:
    case OPT_BYTES:
        if (!parse_number(value, s->type == OPT_BYTES, &v) || v != floor(v))
            return err_set(e, ERR_REQUEST, "%s must be a whole number%s, got \"%s\"", where,
                           s->type == OPT_BYTES ? " of bytes (or 64K, 32M, 2G)" : "", value);
        if (v < s->min || v > s->max)
            return err_set(e, ERR_REQUEST, "%s must be between %.0f and %.0f, got %s", where, s->min, s->max,
                           value);
        *(int64_t *)f = (int64_t)v;
        return true;
    case OPT_NUM:
    case OPT_SECONDS:
        if (!parse_number(value, false, &v))
            return err_set(e, ERR_REQUEST, "%s must be a number, got \"%s\"", where, value);
        if (v < s->min || v > s->max)
            return err_set(e, ERR_REQUEST, "%s must be between %g and %g, got %s", where, s->min, s->max,
                           value);
        *(double *)f = v;
        return true;
    }
    return false;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* Edits that turn a into b (insert, delete, replace); names are short, longer ones are simply far away. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b);
    int row[MAX + 1];
    if (n > MAX || m > MAX) return MAX;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

/* The option with this name (length n) among those of `commands`; underscores count as hyphens. */
static const struct option_spec *find_option(const char *name, size_t n, unsigned commands)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        size_t k = 0;
        if (!(s->commands & commands) || strlen(s->name) != n) continue;
        while (k < n && (name[k] == s->name[k] || (name[k] == '_' && s->name[k] == '-'))) k++;
        if (k == n) return s;
    }
    return NULL;
}

/* The option of a flag, name being what follows its hyphens: --name, or one of the few single letters. */
static const struct option_spec *find_flag(const char *flag, const char *name, size_t n, unsigned commands)
{
    if (flag[1] == '-') return find_option(name, n, commands);
    if (n == 1 && *name == 'n') return find_option("n", 1, commands);
    if (n == 1 && *name == 'p') return find_option("port", 4, commands);
    return n == 1 && *name == 'o' ? find_option("output", 6, commands) : NULL;
}

static const char *nearest_option(const char *name, unsigned commands)
{
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(name) / 3; /* further away it is another word, not a slip */
    for (size_t i = 0; i < n_options_table; i++) {
        if (!(options_table[i].commands & commands)) continue;
        int d = distance(name, options_table[i].name);
        if (d <= best_distance) best_distance = d - 1, best = options_table[i].name;
    }
    return best;
}

static bool unknown_option(const char *where, const char *name, unsigned commands, struct err *e)
{
    const char *near = nearest_option(name, commands);
    if (near) return err_set(e, ERR_REQUEST, "%s does not exist; did you mean \"%s\"?", where, near);
    return err_set(e, ERR_REQUEST, "%s does not exist; --help lists what does", where);
}

static void env_name(const struct option_spec *s, char *out, size_t size)
{
    int n = snprintf(out, size, "HEARTH_%s", s->name);
    for (int i = 0; i < n && out[i]; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* ---- sources ------------------------------------------------------------------------------------------------------- */

/* The file's callback: one key with one of its values (`index` counts those of a list). Keys of any command are known. */
static bool from_file(void *arg, const char *file, const char *key, const char *value, int index,
                      struct err *e)
{
    struct options *o = arg;
    char where[300];
    const struct option_spec *s = find_option(key, strlen(key), CMD_ALL);
    snprintf(where, sizeof where, "%s: \"%s\"", file, key);
    if (!s || !strcmp(s->name, "config")) return unknown_option(where, key, CMD_ALL, e);
    if (index > 0 && s->type != OPT_LIST)
        return err_set(e, ERR_REQUEST, "%s takes one value, not a list", where);
    return set_value(o, s, value, where, e);
}

static bool from_environment(struct options *o, struct err *e)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char name[80];
        env_name(s, name, sizeof name);
        const char *v = getenv(name);
        if (!v || !strcmp(s->name, "config")) continue;
        if (s->type != OPT_LIST) {
            if (!set_value(o, s, v, name, e)) return false;
            continue;
        }
        list_clear(field_of(o, s));
        for (; *v; v += strcspn(v, ","), v += *v == ',') {
            size_t n = strcspn(v, ",");
            if (n && !list_add(field_of(o, s), v, n, e)) return false;
        }
    }
    return true;
}

static bool is_secret(const struct option_spec *s)
{
    return !strcmp(s->name, "keys") || !strcmp(s->name, "key") || !strcmp(s->name, "hub-token");
}

/* Walks the command line. With only_config it looks for --config alone, before the file is read. */
static bool from_flags(struct options *o, unsigned command, int argc, char **argv, bool only_config,
                       bool *help, struct err *e)
{
    bool options_over = false, cleared[256] = { false };
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (options_over || a[0] != '-' || !a[1]) {
            if (!only_config && !list_add(&o->args, a, strlen(a), e)) return false;
            continue;
        }
        if (!strcmp(a, "--")) {
            options_over = true;
            continue;
        }
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            *help = true;
            continue;
        }
        const char *name = a + (a[1] == '-' ? 2 : 1), *equal = strchr(name, '='),
                   *value = equal ? equal + 1 : NULL;
        size_t n = equal ? (size_t)(equal - name) : strlen(name);
        const struct option_spec *s = find_flag(a, name, n, command);
        bool negated = false;
        if (!s && a[1] == '-' && !value && !strncmp(name, "no-", 3)) {
            s = find_option(name + 3, n - 3, command);
            if (s && s->type != OPT_BOOL) s = NULL;
            negated = s != NULL;
        }
        if (!s) {
            char where[200], bare[64];
            snprintf(where, sizeof where, "the option %.*s", (int)(name - a + (ptrdiff_t)n), a);
            snprintf(bare, sizeof bare, "%.*s", (int)n, name);
            return only_config || unknown_option(where, bare, command, e);
        }
        if (s->type == OPT_BOOL && !value)
            value = negated ? "no" : "yes";
        else if (!value && ++i < argc)
            value = argv[i];
        if (!value) return err_set(e, ERR_REQUEST, "--%s needs a value: --%s %s", s->name, s->name, s->what);
        bool is_config = !strcmp(s->name, "config");
        if (is_config != only_config) continue;
        char where[80];
        snprintf(where, sizeof where, "--%s", s->name);
        size_t row = (size_t)(s - options_table);
        if (s->type == OPT_LIST && row < sizeof cleared && !cleared[row]) {
            list_clear(field_of(o, s)); /* flags replace what file and environment said */
            cleared[row] = true;
        }
        if (!set_value(o, s, value, where, e)) return false;
        if (is_secret(s)) {
            if (command == CMD_SERVE)
                log_warn("%s: other users of this machine can see what stands on a command line; --key-file "
                         "or the "
                         "environment keeps a key to you",
                         where);
            memset((char *)value, '*', strlen(value)); /* from here on they see that */
        }
    }
    return true;
}

/* XDG folder `variable`, or `fallback` under the home folder, with `tail` behind it. */
static char *xdg_path(const char *variable, const char *fallback, const char *tail)
{
    struct buf b = BUF_INIT(4096);
    const char *dir = getenv(variable), *home = getenv("HOME");
    if (dir && dir[0] == '/')
        buf_printf(&b, "%s/%s", dir, tail);
    else
        buf_printf(&b, "%s/%s/%s", home && *home ? home : ".", fallback, tail);
    char *s = buf_take(&b);
    buf_free(&b);
    return s;
}

char *options_state_file(const char *name)
{
    char *dir = xdg_path("XDG_STATE_HOME", ".local/state", "hearth"), *path = NULL;
    for (char *p = dir ? dir + 1 : NULL; p && *p; p++) { /* what is above it may be missing too */
        if (*p != '/') continue;
        *p = '\0';
        mkdir(dir, 0700);
        *p = '/';
    }
    if (dir && (!mkdir(dir, 0700) || errno == EEXIST) && asprintf(&path, "%s/%s", dir, name) < 0) path = NULL;
    free(dir);
    return path;
}

bool options_colours(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

static bool collect(struct options *o, unsigned command, int argc, char **argv, bool *help, struct err *e)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        const char *v = s->initial ? s->initial : s->type == OPT_STR ? "" : NULL;
        if (v && !set_value(o, s, v, s->name, e)) return false;
    }
    const char *config = getenv("HEARTH_CONFIG");
    if (config && *config && !set_value(o, find_option("config", 6, CMD_ALL), config, "HEARTH_CONFIG", e))
        return false;
    if (!from_flags(o, command, argc, argv, true, help, e) || *help) return *help;
    if (!*o->config) {
        char *usual = xdg_path("XDG_CONFIG_HOME", ".config", "hearth/config.yaml");
        if (!usual) return err_set(e, ERR_NOMEM, "out of memory");
        free(o->config);
        o->config = usual;
        if (access(usual, F_OK)) *usual = 0;
    }
    if (*o->config && !options_file_read(o->config, from_file, o, e)) return false;
    if (!from_environment(o, e)) return false;
    if (!from_flags(o, command, argc, argv, false, help, e)) return false;
    if (!*o->models_dir) {
        free(o->models_dir);
        o->models_dir = xdg_path("XDG_DATA_HOME", ".local/share", "hearth/models");
        if (!o->models_dir) return err_set(e, ERR_NOMEM, "out of memory");
    }
    return true;
}

/* ---- help ---------------------------------------------------------------------------------------------------------- */

static void print_help(const struct command *c, unsigned command)
{
    printf("usage: hearth %s [OPTIONS] %s\n\n%s.\n", c->name, c->args, c->summary);
    if (c->details) printf("\n%s\n", c->details);
    printf("\noptions:\n");
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char left[80];
        if (!(s->commands & command)) continue;
        snprintf(left, sizeof left, "--%s%s%s", s->name, s->what ? " " : "", s->what ? s->what : "");
        printf("  %-34s %s", left, s->help);
        if (s->type == OPT_BOOL)
            printf(" (default %s; --no-%s)", s->initial, s->name);
        else if (s->initial && *s->initial && strcmp(s->initial, "0"))
            printf(" (default %s)", s->initial);
        printf("\n");
    }
    printf("\nEvery option is also a key of the configuration file and a variable HEARTH_NAME of the "
           "environment.\n");
}

void options_print_markdown(void)
{
    printf("# Options\n\n");
    printf("One table describes every setting (`src/cli/options_table.c`); this page is printed from it by "
           "`hearth help --markdown`.\n");
    printf("A flag beats the environment, which beats the configuration file, which beats the default.\n\n");
    printf("| flag and key | environment | default | commands | what it does |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char env[80];
        env_name(s, env, sizeof env);
        printf("| `--%s", s->name);
        for (const char *p = s->what ? s->what : ""; *p; p++)
            printf("%s%s%c", p == s->what ? " " : "", *p == '|' ? "\\" : "", *p);
        printf("` | `%s` | %s |", env, s->initial && *s->initial ? s->initial : "");
        for (unsigned bit = 1; bit & CMD_ALL; bit <<= 1)
            if ((s->commands & bit) && cli_command((enum command_bit)bit))
                printf(" %s", cli_command((enum command_bit)bit)->name);
        printf(" | %s |\n", s->help);
    }
}

int options_parse(struct options *o, enum command_bit command, int argc, char **argv)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    struct err e = { ERR_NONE, "" };
    bool help = false;
    *o = (struct options){ 0 };
    if (!collect(o, command, argc, argv, &help, &e)) {
        fprintf(stderr, "hearth %s: %s\n", argv[0], e.msg);
        return 2;
    }
    if (help) {
        const struct command *c = cli_command(command);
        if (c) print_help(c, command);
        return 0;
    }
    if (*o->isa && setenv("HEARTH_ISA", o->isa, 1)) { /* before there are threads, see base/isa.h */
        fprintf(stderr, "hearth %s: out of memory\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < 4; i++)
        if (!strcmp(o->log_level, levels[i])) log_set_level((enum log_level)i);
    return -1;
}

void options_free(struct options *o)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        if (s->type == OPT_STR) free(*(char **)field_of(o, s));
        if (s->type == OPT_LIST) list_clear(field_of(o, s));
    }
    list_clear(&o->args);
    *o = (struct options){ 0 };
}
