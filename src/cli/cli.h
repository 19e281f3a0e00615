/* cli.h - the commands of the hearth binary.
 *
 * One file per command, `int cmd_NAME(int argc, char **argv)`, argv[0] being the command's own name; the return value is the exit
 * status: 0 done, 1 failed, 2 not understood. A command gets its row in commands[] of main.c and its options in options[] of
 * options_table.c, which also writes its --help. */
#ifndef HEARTH_CLI_CLI_H
#define HEARTH_CLI_CLI_H

/* One bit a command: an option says in one mask which commands it belongs to. */
enum command_bit {
    CMD_SERVE = 1 << 0,
    CMD_CHAT = 1 << 1,
    CMD_COMPLETE = 1 << 2,
    CMD_PULL = 1 << 3,
    CMD_MODELS = 1 << 4,
    CMD_INSPECT = 1 << 5,
    CMD_BENCH = 1 << 6,
    CMD_IMAGE = 1 << 7,
    CMD_RM = 1 << 8,
    CMD_PS = 1 << 9,
    CMD_VERSION = 1 << 10, /* the last */
    CMD_ALL = 2 * CMD_VERSION - 1
};

struct command {
    const char *name;
    enum command_bit bit;
    int (*run)(int argc, char **argv);
    const char *args;    /* what follows the options in the usage line, "" for nothing */
    const char *summary; /* one line */
    const char *details; /* paragraphs for --help, or NULL */
};

/* The command with this bit; NULL when this build does not have it. */
const struct command *cli_command(enum command_bit bit);

int cmd_serve(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_complete(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
