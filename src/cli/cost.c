/* cost.c - `hearth cost`: what tokens or pictures cost. */
#include <stddef.h>

#include "cli/guide.h"

int cmd_cost(int argc, char **argv) { return guide_command(CMD_COST, GUIDE_COST, NULL, argc, argv); }
