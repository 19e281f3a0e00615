/* recommend.c - `hearth recommend`: which model, and which parameters. */
#include <stddef.h>

#include "cli/advise.h"

int cmd_recommend(int argc, char **argv) { return advise_command(CMD_RECOMMEND, NULL, argc, argv); }
