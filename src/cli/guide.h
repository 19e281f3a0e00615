/* guide.h - the small functions of the guides (service/advice/guides.h) on this machine, without a server. */
#ifndef HEARTH_CLI_GUIDE_H
#define HEARTH_CLI_GUIDE_H

#include "cli/cli.h"
#include "service/advice/guides.h"

/* Arguments are NAME=VALUE, where a VALUE that is JSON is that and any other a text; a FILE ("-": standard input) holds the question's
 * `member`, or an object that has it; member NULL: there is no file. Returns the exit status; of tools that are not valid 3. */
int guide_command(enum command_bit command, enum guide_function g, const char *member, int argc, char **argv);

#endif
