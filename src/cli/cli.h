/* cli.h - the commands of the hearth binary.
 *
 * One file per command, `int cmd_NAME(int argc, char **argv)`, argv[0] being the command's own name; the return value is the exit
 * status: 0 done, 1 failed, 2 not understood. A command's row is in commands.def; its options, which also make its --help, are in
 * options_table.c. */
#ifndef HEARTH_CLI_CLI_H
#define HEARTH_CLI_CLI_H

enum command_index {
#define COMMAND(name, NAME, ...) CMD_INDEX_##NAME,
#include "cli/commands.def"
#undef COMMAND
    N_COMMANDS
};

/* One bit a command: an option says in one mask which commands it belongs to. */
enum command_bit {
#define COMMAND(name, NAME, ...) CMD_##NAME = 1LL << CMD_INDEX_##NAME,
#include "cli/commands.def"
#undef COMMAND
    CMD_ALL = (1LL << N_COMMANDS) - 1
};
_Static_assert(N_COMMANDS < 63, "one bit each");

#define COMMAND(name, ...) int cmd_##name(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

struct command { /* see commands.def */
    const char *name;
    enum command_bit bit;
    int (*run)(int argc, char **argv);
    const char *also, *args, *summary, *details;
};
extern const struct command commands[N_COMMANDS];

/* The command that this word means; NULL when it means none. */
const struct command *cli_find(const char *typed);

#endif
