/* commands.c - the table of commands.def, and finding in it. */
#include <string.h>

#include "cli/cli.h"

const struct command commands[N_COMMANDS] = {
#define COMMAND(name, NAME, also, args, summary, details)                                                    \
    [CMD_INDEX_##NAME] = { #name, CMD_##NAME, cmd_##name, also, args, summary, details },
#include "cli/commands.def"
#undef COMMAND
};

bool cli_word_of(const char *words, const char *s, int *index)
{
    size_t n = strlen(s);
    int i = 0;
    for (const char *w = words; n; w = strchr(w, '|') + 1, i++) {
        if (!strncmp(w, s, n) && (w[n] == '|' || !w[n])) {
            if (index) *index = i;
            return true;
        }
        if (!strchr(w, '|')) break;
    }
    return false;
}

const struct command *cli_find(const char *typed)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i].name, typed) || cli_word_of(commands[i].also, typed, NULL))
            return &commands[i];
    return NULL;
}
