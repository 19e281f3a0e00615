/* advise.h - the advice of service/advice/ on this machine, without a server. What is asked is given as NAME=VALUE, by the names of the same
 * questions over HTTP (http/advice.c). */
#ifndef HEARTH_CLI_ADVISE_H
#define HEARTH_CLI_ADVISE_H

#include "cli/cli.h"

/* form: text, image, plan or enhance; NULL: the first argument says text or image. Returns the exit status. */
int advise_command(enum command_bit command, const char *form, int argc, char **argv);

#endif
