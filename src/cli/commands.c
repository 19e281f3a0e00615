/* commands.c - the table of commands.def, and finding in it. */
#include <string.h>

#include "base/words.h"
#include "cli/cli.h"

const struct command commands[N_COMMANDS] = {
#define COMMAND(name, NAME, also, args, summary, details)                                                    \
    [CMD_INDEX_##NAME] = { #name, CMD_##NAME, cmd_##name, also, args, summary, details },
#include "cli/commands.def"
#undef COMMAND
};

const struct command *cli_find(const char *typed)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i].name, typed) || words_have(commands[i].also, typed, NULL))
            return &commands[i];
    return NULL;
}
