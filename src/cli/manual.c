/* manual.c - see manual.h. */
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/options_table.h"

/* Text in troff: a hyphen that is typed as one, a backslash, and no line that begins with a request. */
static void put(const char *s)
{
    bool begins = true;
    for (; *s; s++) {
        if (begins && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        begins = *s == '\n';
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
    }
}

/* Sentences run on; lines of a table, which have wide gaps in them, stay as they are. */
static void put_details(const char *s)
{
    bool table = false;
    while (*s) {
        const size_t n = strcspn(s, "\n");
        char line[400];
        snprintf(line, sizeof line, "%.*s", (int)n, s);
        if (!strstr(line, "  ") == table) printf(table ? ".fi\n" : ".nf\n");
        table = strstr(line, "  ") != NULL;
        put(line + strspn(line, " "));
        putchar('\n');
        s += n + (s[n] == '\n');
    }
    if (table) printf(".fi\n");
}

static void put_commands(void)
{
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        printf(".TP\n.B hearth ");
        put(c->name);
        if (*c->args) printf(" \\fR[OPTIONS] ");
        put(c->args);
        printf("\n");
        put(c->summary);
        printf(".\n");
        if (c->details) {
            printf(".sp\n");
            put_details(c->details);
        }
    }
}

static void put_options(void)
{
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        printf(".TP\n.B \\-\\-");
        put(s->name);
        if (s->value) {
            printf(" \\fI");
            put(s->value);
        }
        printf("\n");
        put(s->help);
        if (s->initial && *s->initial) {
            printf(" (default ");
            put(s->initial);
            printf(")");
        }
        printf(".\n");
        if ((s->commands & CMD_ALL & ~CMD_VERSION) == (CMD_ALL & ~CMD_VERSION)) continue;
        printf("Of");
        const char *between = " ";
        for (int k = 0; k < N_COMMANDS; k++) {
            if (!(s->commands & commands[k].bit)) continue;
            printf("%s", between);
            put(commands[k].name);
            between = ", ";
        }
        printf(".\n");
    }
}

void manual_print(void)
{
    printf(".\\\" Printed by `hearth help --man` from the tables of commands and options.\n"
           ".TH HEARTH 1 \"\" \"hearth ");
    put(hearth_version);
    printf("\" \"User Commands\"\n"
           ".SH NAME\n"
           "hearth \\- language and image models behind the APIs that programs already use\n"
           ".SH SYNOPSIS\n"
           ".B hearth\n"
           ".I COMMAND\n"
           "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n"
           ".SH DESCRIPTION\n"
           "One program serves language models and image models from their published weight files, behind "
           "the APIs of OpenAI,\n"
           "Anthropic, Ollama, Fireworks and Firemoon, and has a page of its own at the server's address.\n"
           ".B hearth\n"
           "alone says what to do next;\n"
           ".B hearth help\n"
           ".I COMMAND\n"
           "describes a command and its options.\n"
           ".SH COMMANDS\n");
    put_commands();
    printf(".SH OPTIONS\n"
           "Each is also a key of the configuration file and a variable of the environment,\n"
           ".B HEARTH_NAME\n"
           "with underscores for hyphens. A flag beats the environment, which beats the file, which beats "
           "the default. One that is on or\n"
           "off is turned off by\n"
           ".BR \\-\\-no\\-NAME .\n");
    put_options();
    printf(".SH ENVIRONMENT\n"
           ".TP\n.B HEARTH_NAME\n"
           "the option NAME.\n"
           ".TP\n.B NO_COLOR\n"
           "if it is set, no escape sequences are written.\n"
           ".TP\n.BR XDG_CONFIG_HOME \", \" XDG_DATA_HOME \", \" XDG_STATE_HOME\n"
           "where the configuration file, models and histories are.\n"
           ".SH FILES\n"
           ".TP\n.I ~/.config/hearth/config.yaml\n"
           "the configuration file.\n"
           ".TP\n.I ~/.local/share/hearth/models\n"
           "installed models.\n"
           ".SH EXIT STATUS\n"
           "0: done. 1: failed, and standard error says why. 2: the command line was not understood.\n"
           "3: what was looked at is not as it should be, where the command says so.\n"
           ".SH EXAMPLES\n"
           ".EX\n"
           "hearth pull smollm2\\-135m\\-instruct\n"
           "hearth chat\n"
           "hearth serve \\-\\-new\\-key\n"
           "hearth image \"a red apple\" \\-\\-seed 1 \\-o apple.png\n"
           ".EE\n");
}
