/* completion.c - `hearth completion SHELL`: what a shell offers at the tab key, made from the tables of commands and options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/options_table.h"
#include "service/models/registry.h"

/* What stands where a command's arguments do, or an option's value. */
enum kind { ANYTHING, NOTHING, WORDS, FILES, FOLDERS, MODEL_NAMES };

static bool has(const char *s, const char *word) { return strstr(s, word) != NULL; }

static enum kind value_kind(const struct option_spec *s)
{
    if (s->type == OPT_BOOL) return NOTHING;
    if (s->type == OPT_WORD) return WORDS;
    if (!strcmp(s->name, "model")) return MODEL_NAMES;
    if (has(s->value, "FILE")) return FILES;
    return has(s->value, "DIR") ? FOLDERS : ANYTHING;
}

static enum kind argument_kind(const struct command *c)
{
    if (has(c->args, "MODEL") || !strcmp(c->name, "rm") || !strcmp(c->name, "inspect")) return MODEL_NAMES;
    return has(c->args, "FILE") ? FILES : ANYTHING;
}

static bool is_small(char c) { return c >= 'a' && c <= 'z'; }

/* The words that a command's first argument may be, "new|list|show ID" -> new, list, show: next one after *at, or false. */
static bool next_word(const char **at, const char **word, size_t *len)
{
    for (const char *s = *at; *s;) {
        const char *begin = s + strspn(s, "[ "), *end = begin;
        while (is_small(*end) || *end == '-') end++;
        s += strcspn(s, "|");
        if (*s) s++;
        if (end == begin || (*end && !strchr(" |]", *end))) continue;
        *word = begin;
        *len = (size_t)(end - begin);
        *at = s;
        return true;
    }
    return false;
}

/* `s` with `escape` in front of each of `special`. */
static void put_escaped(const char *s, const char *special, const char *escape)
{
    for (; *s; s++) {
        if (strchr(special, *s)) fputs(escape, stdout);
        putchar(*s);
    }
}

/* "a|b" as "a b". */
static void put_words(const char *s)
{
    for (; *s; s++) putchar(*s == '|' ? ' ' : *s);
}

static void put_names(const struct command *c, const char *between)
{
    fputs(c->name, stdout);
    for (const char *s = c->also; *s;) {
        const size_t n = strcspn(s, "|");
        if (*s != '-') printf("%s%.*s", between, (int)n, s);
        s += n + (s[n] == '|');
    }
}

/* ---- bash ---------------------------------------------------------------------------------------------------------- */

static void put_bash_values(void)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        switch (value_kind(s)) {
        case NOTHING: continue;
        case WORDS:
            printf("    --%s) COMPREPLY=($(compgen -W '", s->name);
            put_words(s->value);
            printf("' -- \"$cur\")); return;;\n");
            break;
        case FILES: printf("    --%s) _hearth_files -f; return;;\n", s->name); break;
        case FOLDERS: printf("    --%s) _hearth_files -d; return;;\n", s->name); break;
        case MODEL_NAMES: printf("    --%s) _hearth_models; return;;\n", s->name); break;
        case ANYTHING: printf("    --%s) return;;\n", s->name); break;
        }
    }
}

static void print_bash(void)
{
    printf(
        "# hearth's completion for bash; `hearth completion bash` prints it.\n"
        "_hearth_files() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen \"$1\" -- "
        "\"$cur\"); }\n"
        "_hearth_models() {\n"
        "    COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" completion models 2>/dev/null)\" -- "
        "\"$cur\"))\n"
        "    if [[ ! ${COMPREPLY[*]} ]]; then _hearth_files -f; fi\n"
        "}\n"
        "_hearth() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}\n"
        "    COMPREPLY=()\n"
        "    if ((COMP_CWORD == 1)); then\n"
        "        COMPREPLY=($(compgen -W 'help");
    for (int i = 0; i < N_COMMANDS; i++) printf(" %s", commands[i].name);
    printf("' -- \"$cur\"))\n"
           "        return\n"
           "    fi\n"
           "    case $prev in\n");
    put_bash_values();
    printf("    esac\n"
           "    case $command in\n"
           "    help) COMPREPLY=($(compgen -W '");
    for (int i = 0; i < N_COMMANDS; i++) printf("%s%s", i ? " " : "", commands[i].name);
    printf("' -- \"$cur\"));;\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        const char *at = c->args, *word;
        size_t len;
        printf("    ");
        put_names(c, "|");
        printf(")\n        if [[ $cur == -* ]]; then\n            COMPREPLY=($(compgen -W '--help");
        for (size_t k = 0; k < n_options_table; k++)
            if (options_table[k].commands & c->bit)
                printf(" --%s%s%s", options_table[k].name, options_table[k].type == OPT_BOOL ? " --no-" : "",
                       options_table[k].type == OPT_BOOL ? options_table[k].name : "");
        printf("' -- \"$cur\"))\n");
        if (next_word(&at, &word, &len)) {
            printf("        elif ((COMP_CWORD == 2)); then\n            COMPREPLY=($(compgen -W '%.*s",
                   (int)len, word);
            while (next_word(&at, &word, &len)) printf(" %.*s", (int)len, word);
            printf("' -- \"$cur\"))\n");
        }
        if (argument_kind(c) == MODEL_NAMES) printf("        else\n            _hearth_models\n");
        if (argument_kind(c) == FILES) printf("        else\n            _hearth_files -f\n");
        printf("        fi;;\n");
    }
    printf("    esac\n}\ncomplete -F _hearth hearth\n");
}

/* ---- zsh ----------------------------------------------------------------------------------------------------------- */

/* In '...' of _arguments: what stands between brackets and colons. */
static void put_zsh(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static void put_zsh_action(enum kind kind, const char *words)
{
    if (kind == WORDS) {
        putchar('(');
        put_words(words);
        putchar(')');
    }
    if (kind == FILES) fputs("_files", stdout);
    if (kind == FOLDERS) fputs("_files -/", stdout);
    if (kind == MODEL_NAMES) fputs("_hearth_models", stdout);
}

static void print_zsh(void)
{
    printf("#compdef hearth\n"
           "# hearth's completion for zsh; `hearth completion zsh` prints it.\n"
           "_hearth_models() {\n"
           "    local -a names\n"
           "    names=(${(f)\"$(hearth completion models 2>/dev/null)\"})\n"
           "    compadd -a names || _files\n"
           "}\n"
           "_hearth() {\n"
           "    local context state line curcontext=$curcontext\n"
           "    local -a commands\n"
           "    commands=(\n        'help:describe a command and its options'\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        printf("        '%s:", commands[i].name);
        put_zsh(commands[i].summary);
        printf("'\n");
    }
    printf("    )\n"
           "    if ((CURRENT == 2)); then\n"
           "        _describe command commands\n"
           "        return\n"
           "    fi\n"
           "    local command=$words[2]\n"
           "    words=(${words[2,-1]})\n"
           "    ((CURRENT--))\n"
           "    case $command in\n"
           "    help) _describe command commands;;\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        const char *at = c->args, *word;
        size_t len;
        printf("    ");
        put_names(c, "|");
        printf(")\n        _arguments '--help[describe the command and its options]'");
        for (size_t k = 0; k < n_options_table; k++) {
            const struct option_spec *s = &options_table[k];
            const bool again = s->type == OPT_LIST || (s->type == OPT_SECRET && s->store == STORE_LIST);
            if (!(s->commands & c->bit)) continue;
            printf(" \\\n            '%s--%s[", again ? "*" : "", s->name);
            put_zsh(s->help);
            putchar(']');
            if (s->type != OPT_BOOL) {
                putchar(':');
                put_zsh(s->type == OPT_WORD ? s->name : s->value);
                putchar(':');
                put_zsh_action(value_kind(s), s->value);
            }
            putchar('\'');
            if (s->type == OPT_BOOL) printf(" \\\n            '--no-%s[not --%s]'", s->name, s->name);
        }
        if (next_word(&at, &word, &len)) {
            printf(" \\\n            '1:what to do:(%.*s", (int)len, word);
            while (next_word(&at, &word, &len)) printf(" %.*s", (int)len, word);
            printf(")'");
        }
        if (argument_kind(c) != ANYTHING) {
            printf(" \\\n            '*:argument:");
            put_zsh_action(argument_kind(c), "");
            putchar('\'');
        }
        printf(";;\n");
    }
    printf("    esac\n}\nif [[ $funcstack[1] == _hearth ]]; then _hearth \"$@\"; else compdef _hearth "
           "hearth; fi\n");
}

/* ---- fish ---------------------------------------------------------------------------------------------------------- */

static void put_fish_action(enum kind kind, const char *words)
{
    if (kind == WORDS) {
        fputs(" -x -a '", stdout);
        put_words(words);
        putchar('\'');
    }
    if (kind == FILES) fputs(" -r -F", stdout);
    if (kind == FOLDERS) fputs(" -x -a '(__fish_complete_directories)'", stdout);
    if (kind == MODEL_NAMES) fputs(" -x -a '(hearth completion models 2>/dev/null)'", stdout);
    if (kind == ANYTHING) fputs(" -x", stdout);
}

static void print_fish(void)
{
    printf("# hearth's completion for fish; `hearth completion fish` prints it.\n"
           "complete -c hearth -n __fish_use_subcommand -f -a help -d 'describe a command and its options'\n"
           "complete -c hearth -n __fish_use_subcommand -l help -d 'list the commands'\n"
           "complete -c hearth -n '__fish_seen_subcommand_from help' -f -a '");
    for (int i = 0; i < N_COMMANDS; i++) printf("%s%s", i ? " " : "", commands[i].name);
    printf("'\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        const char *at = c->args, *word;
        const enum kind kind = argument_kind(c);
        size_t len;
        printf("complete -c hearth -n __fish_use_subcommand -f -a %s -d '", c->name);
        put_escaped(c->summary, "\\'", "\\");
        printf("'\n");
        while (next_word(&at, &word, &len))
            printf("complete -c hearth -n '__fish_seen_subcommand_from %s' -f -a %.*s\n", c->name, (int)len,
                   word);
        printf("complete -c hearth -n '__fish_seen_subcommand_from ");
        put_names(c, " ");
        printf("'%s\n", kind == MODEL_NAMES ? " -a '(hearth completion models 2>/dev/null)'"
                        : kind == FILES     ? " -F"
                                            : " -f");
    }
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        printf("complete -c hearth -n '__fish_seen_subcommand_from");
        for (int k = 0; k < N_COMMANDS; k++)
            if (commands[k].bit & s->commands) {
                putchar(' ');
                put_names(&commands[k], " ");
            }
        printf("' -l %s", s->name);
        put_fish_action(value_kind(s), s->value);
        printf(" -d '");
        put_escaped(s->help, "\\'", "\\");
        printf("'\n");
    }
}

/* ---- names of models ----------------------------------------------------------------------------------------------- */

/* What a shell asks for while one types: the last parts of ids, and names of one's own, a line each. */
static bool print_models(const struct options *o, struct err *e)
{
    struct catalog *catalog = NULL;
    struct registry *r = NULL;
    struct model_row *rows = NULL;
    struct aliases a = { 0 };
    int n = 0;
    const bool ok = catalog_load(&catalog, o->catalog, e) &&
                    registry_new(&r, &o->registry, catalog, NULL, NULL, e) &&
                    registry_list(r, &rows, &n, e) && registry_aliases(r, &a, e);
    for (int i = 0; ok && i < n; i++) printf("%s\n", catalog_last_part(rows[i].id));
    for (int i = 0; ok && i < a.n; i++) printf("%s\n", a.v[i].name);
    free(rows);
    aliases_free(&a);
    registry_free(r);
    catalog_free(catalog);
    return ok;
}

int cmd_completion(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = { { "bash", print_bash }, { "zsh", print_zsh }, { "fish", print_fish } };
    struct options o;
    struct err e = { 0 };
    int rc = options_parse(&o, CMD_COMPLETION, argc, argv);
    const char *what = rc < 0 && o.args.n == 1 ? o.args.v[0] : "";
    for (size_t i = 0; rc < 0 && i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(what, shells[i].name)) shells[i].print(), rc = 0;
    if (rc < 0 && !strcmp(what, "models")) {
        rc = print_models(&o, &e) ? 0 : 1;
        if (rc) fprintf(stderr, "hearth completion: %s\n", e.msg);
    }
    if (rc < 0) {
        fprintf(stderr, "hearth completion: name a shell: bash, zsh or fish\n");
        rc = 2;
    }
    options_free(&o);
    return rc;
}
