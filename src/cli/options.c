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
#include "base/machine.h"
#include "base/words.h"
#include "cli/options_file.h"
#include "cli/options_table.h"

static void *field_of(struct options *o, const struct option_spec *s) { return (char *)o + s->field; }

/* ---- values -------------------------------------------------------------------------------------------------------- */

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

/* An integer, in the width that the field has; the table's test holds every row's range against it. */
static void store_integer(void *f, enum option_store store, int64_t v)
{
    if (store == STORE_BOOL) *(bool *)f = v != 0;
    if (store == STORE_INT) *(int *)f = (int)v;
    if (store == STORE_UNSIGNED) *(unsigned *)f = (unsigned)v;
    if (store == STORE_LONG) *(int64_t *)f = v;
    if (store == STORE_SIZE) *(size_t *)f = (size_t)v;
}

static bool store_text(void *f, const char *value, struct err *e)
{
    char *copy = strdup(value);
    if (!copy) return err_set(e, ERR_NOMEM, "out of memory");
    free(*(char **)f);
    *(char **)f = copy;
    return true;
}

/* `where` names the option the way the user wrote it: "--ctx", "HEARTH_CTX", "config.yaml: ctx". */
static bool set_value(struct options *o, const struct option_spec *s, const char *value, const char *where,
                      struct err *e)
{
    void *f = field_of(o, s);
    const bool bytes = s->type == OPT_BYTES || s->type == OPT_MEMORY;
    double v;
    int word = 0;
    bool on;
    switch (s->type) {
    case OPT_STR: return store_text(f, value, e);
    case OPT_WORD:
        if (!words_have(s->value, value, &word) && (*value || s->store != STORE_STR))
            return err_set(e, ERR_REQUEST, "%s must be one of %s, got \"%s\"", where, s->value, value);
        if (s->store == STORE_STR) return store_text(f, value, e);
        store_integer(f, s->store, word);
        return true;
    case OPT_SECRET:
        if (s->store != STORE_LIST) return store_text(f, value, e);
        return str_list_add(f, value, strlen(value), e);
    case OPT_LIST: return str_list_add(f, value, strlen(value), e);
    case OPT_BOOL:
        if (!parse_bool(value, &on))
            return err_set(e, ERR_REQUEST, "%s must be yes or no, got \"%s\"", where, value);
        store_integer(f, s->store, on);
        return true;
    case OPT_INT:
    case OPT_BYTES:
    case OPT_MEMORY:
        if (!parse_number(value, bytes, &v) || v != floor(v))
            return err_set(e, ERR_REQUEST, "%s must be a whole number%s, got \"%s\"", where,
                           bytes ? " of bytes (or 64K, 32M, 2G)" : "", value);
        if (v < s->min || v > s->max)
            return err_set(e, ERR_REQUEST, "%s must be between %.0f and %.0f, got %s", where, s->min, s->max,
                           value);
        store_integer(f, s->store, (int64_t)v);
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

/* What cannot be kept is not promised, and said before anything is loaded. */
static bool check_memory(const struct options *o, int64_t command, struct err *e)
{
    const size_t machine = machine_memory();
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        if (s->type != OPT_MEMORY || !(s->commands & command)) continue;
        const size_t bytes = *(const size_t *)((const char *)o + s->field);
        if (bytes > machine)
            return err_set(e, ERR_REQUEST, "%s is %zu MB, more than this machine's memory (%zu MB)", s->name,
                           bytes >> 20, machine >> 20);
    }
    return true;
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

/* The option with this name (length n) among those of the commands in `mask`; underscores count as hyphens. */
static const struct option_spec *find_option(const char *name, size_t n, int64_t mask)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        size_t k = 0;
        if (!(s->commands & mask) || strlen(s->name) != n) continue;
        while (k < n && (name[k] == s->name[k] || (name[k] == '_' && s->name[k] == '-'))) k++;
        if (k == n) return s;
    }
    return NULL;
}

/* The option of a flag, name being what follows its hyphens: --name, or one of the few single letters. */
static const struct option_spec *find_flag(const char *flag, const char *name, size_t n, int64_t mask)
{
    if (flag[1] == '-') return find_option(name, n, mask);
    if (n == 1 && *name == 'n') return find_option("n", 1, mask);
    if (n == 1 && *name == 'p') return find_option("port", 4, mask);
    return n == 1 && *name == 'o' ? find_option("output", 6, mask) : NULL;
}

static const char *nearest_option(const char *name, int64_t mask)
{
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(name) / 3; /* further away it is another word, not a slip */
    for (size_t i = 0; i < n_options_table; i++) {
        if (!(options_table[i].commands & mask)) continue;
        int d = distance(name, options_table[i].name);
        if (d <= best_distance) best_distance = d - 1, best = options_table[i].name;
    }
    return best;
}

static bool unknown_option(const char *where, const char *name, int64_t mask, struct err *e)
{
    const char *near = nearest_option(name, mask);
    if (near) return err_set(e, ERR_REQUEST, "%s does not exist; did you mean \"%s\"?", where, near);
    return err_set(e, ERR_REQUEST, "%s does not exist; --help lists what does", where);
}

static void env_name(const struct option_spec *s, char *out, size_t size)
{
    int n = snprintf(out, size, "HEARTH_%s", s->name);
    for (int i = 0; i < n && out[i]; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* ---- sources: a value for an option of other commands is checked, and has no effect ------------------------------ */

struct target {
    int64_t command;
    struct options *o, *others;
};

static struct options *target_of(const struct target *t, const struct option_spec *s)
{
    return s->commands & t->command ? t->o : t->others;
}

/* The file's callback: one key with one of its values (`index` counts those of a list). Keys of any command are known. */
static bool from_file(void *arg, const char *key, const char *value, int index, struct err *e)
{
    const struct target *t = arg;
    char where[100];
    const struct option_spec *s = find_option(key, strlen(key), CMD_ALL);
    snprintf(where, sizeof where, "\"%s\"", key);
    if (!s || !strcmp(s->name, "config")) return unknown_option(where, key, CMD_ALL, e);
    if (index > 0 && s->store != STORE_LIST)
        return err_set(e, ERR_REQUEST, "%s takes one value, not a list", where);
    return set_value(target_of(t, s), s, value, where, e);
}

static bool from_environment(const struct target *t, struct err *e)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char name[80];
        env_name(s, name, sizeof name);
        const char *v = getenv(name);
        struct options *o = target_of(t, s);
        if (!v || !strcmp(s->name, "config")) continue;
        if (s->store != STORE_LIST) {
            if (!set_value(o, s, v, name, e)) return false;
            continue;
        }
        str_list_clear(field_of(o, s));
        for (; *v; v += strcspn(v, ","), v += *v == ',') {
            size_t n = strcspn(v, ",");
            if (n && !str_list_add(field_of(o, s), v, n, e)) return false;
        }
    }
    return true;
}

/* Walks the command line. With only_config it looks for --config alone, before the file is read. */
static bool from_flags(struct options *o, int64_t command, int argc, char **argv, bool only_config,
                       bool *help, struct err *e)
{
    bool options_over = false, cleared[256] = { false };
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (options_over || a[0] != '-' || !a[1]) {
            if (!only_config && !str_list_add(&o->args, a, strlen(a), e)) return false;
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
        if (!value) return err_set(e, ERR_REQUEST, "--%s needs a value: --%s %s", s->name, s->name, s->value);
        bool is_config = !strcmp(s->name, "config");
        if (is_config != only_config) continue;
        char where[80];
        snprintf(where, sizeof where, "--%s", s->name);
        size_t row = (size_t)(s - options_table);
        if (s->store == STORE_LIST && row < sizeof cleared && !cleared[row]) {
            str_list_clear(field_of(o, s)); /* flags replace what file and environment said */
            cleared[row] = true;
        }
        if (!set_value(o, s, value, where, e)) return false;
        if (s->type == OPT_SECRET) {
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

static bool collect(struct options *o, int64_t command, int argc, char **argv, bool *help, struct err *e)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        const char *v = s->initial ? s->initial : s->store == STORE_STR ? "" : NULL;
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
    struct options others = { 0 };
    const struct target t = { command, o, &others };
    const bool ok =
        (!*o->config || options_file_read(o->config, from_file, (void *)&t, e)) && from_environment(&t, e);
    options_free(&others);
    if (!ok) return false;
    if (!from_flags(o, command, argc, argv, false, help, e)) return false;
    if (!*o->registry.models_dir) {
        char *usual = xdg_path("XDG_DATA_HOME", ".local/share", "hearth/models");
        if (!usual) return err_set(e, ERR_NOMEM, "out of memory");
        free((char *)o->registry.models_dir);
        o->registry.models_dir = usual;
    }
    return check_memory(o, command, e);
}

/* ---- help ---------------------------------------------------------------------------------------------------------- */

static void print_help(const struct command *c, int64_t command)
{
    printf("usage: hearth %s [OPTIONS] %s\n\n%s.\n", c->name, c->args, c->summary);
    if (c->details) printf("\n%s\n", c->details);
    printf("\noptions:\n");
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char left[80];
        if (!(s->commands & command)) continue;
        snprintf(left, sizeof left, "--%s%s%s", s->name, s->value ? " " : "", s->value ? s->value : "");
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

/* What stands behind a name in a cell of a table, where a bar would end the cell. */
static void print_behind(const char *s)
{
    if (*s) putchar(' ');
    for (; *s; s++) printf("%s%c", *s == '|' ? "\\" : "", *s);
}

void options_print_markdown(void)
{
    printf("# Commands and options\n\n");
    printf("Printed by `hearth help --markdown` from the rows of `src/cli/commands.def` and "
           "`src/cli/options_table.c`.\n\n");
    printf("| command | what it does |\n|---|---|\n");
    for (int k = 0; k < N_COMMANDS; k++) {
        printf("| `hearth %s", commands[k].name);
        print_behind(commands[k].args);
        printf("` | %s |\n", commands[k].summary);
    }
    printf("\n");
    printf("A flag beats the environment, which beats the configuration file, which beats the default.\n\n");
    printf("| flag and key | environment | default | commands | what it does |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        char env[80];
        env_name(s, env, sizeof env);
        printf("| `--%s", s->name);
        print_behind(s->value ? s->value : "");
        printf("` | `%s` | %s |", env, s->initial && *s->initial ? s->initial : "");
        for (int k = 0; k < N_COMMANDS; k++)
            if (s->commands & commands[k].bit) printf(" %s", commands[k].name);
        printf(" | %s |\n", s->help);
    }
}

int options_parse(struct options *o, enum command_bit command, int argc, char **argv)
{
    struct err e = { ERR_NONE, "" };
    bool help = false;
    *o = (struct options){ 0 };
    if (!collect(o, command, argc, argv, &help, &e)) {
        fprintf(stderr, "hearth %s: %s\n", argv[0], e.msg);
        return 2;
    }
    if (help) {
        for (int i = 0; i < N_COMMANDS; i++)
            if (commands[i].bit == command) print_help(&commands[i], command);
        return 0;
    }
    if (*o->isa && setenv("HEARTH_ISA", o->isa, 1)) { /* before there are threads, see base/isa.h */
        fprintf(stderr, "hearth %s: out of memory\n", argv[0]);
        return 2;
    }
    log_set_level(o->log_level);
    return -1;
}

bool options_again(struct options *o, enum command_bit command, int argc, char **argv, struct err *e)
{
    bool help = false;
    *o = (struct options){ 0 };
    return collect(o, command, argc, argv, &help, e);
}

static bool same_value(const struct option_spec *s, const void *a, const void *b)
{
    static const size_t size[] = {
        [STORE_BOOL] = sizeof(bool),    [STORE_INT] = sizeof(int),     [STORE_UNSIGNED] = sizeof(unsigned),
        [STORE_LONG] = sizeof(int64_t), [STORE_SIZE] = sizeof(size_t), [STORE_DOUBLE] = sizeof(double),
    };
    if (s->store == STORE_STR) return !strcmp(*(char *const *)a, *(char *const *)b);
    if (s->store != STORE_LIST) return !memcmp(a, b, size[s->store]);
    const struct str_list *x = a, *y = b;
    for (int i = 0; i < x->n && i < y->n; i++)
        if (strcmp(x->v[i], y->v[i])) return false;
    return x->n == y->n;
}

void options_differ(const struct options *a, const struct options *b, enum command_bit command,
                    void (*fn)(void *arg, const char *name), void *arg)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        if ((s->commands & command) && !same_value(s, (const char *)a + s->field, (const char *)b + s->field))
            fn(arg, s->name);
    }
}

void options_free(struct options *o)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        if (s->store == STORE_STR) free(*(char **)field_of(o, s));
        if (s->store == STORE_LIST) str_list_clear(field_of(o, s));
    }
    str_list_clear(&o->args);
    *o = (struct options){ 0 };
}
