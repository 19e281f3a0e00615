/* cp.c - `hearth cp MODEL NAME`: as Ollama's users type what alias.c does. */
#include "cli/alias.h"

int cmd_cp(int argc, char **argv) { return alias_command(CMD_CP, 0, false, argc, argv); }
