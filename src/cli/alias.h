/* alias.h - what `hearth alias` and `hearth cp` do alike. */
#ifndef HEARTH_CLI_ALIAS_H
#define HEARTH_CLI_ALIAS_H

#include "cli/options.h"

/* The command's main: with two arguments the model called args[model_at] gets the other one for a name; without any, where
 * may_list, all such names are printed. */
int alias_command(enum command_bit command, int model_at, bool may_list, int argc, char **argv);

#endif
